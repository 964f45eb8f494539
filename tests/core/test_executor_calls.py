"""What a call that was sent here says of itself."""

from __future__ import annotations

import pytest

from zfut.core.executor.inbox import METHOD, Call
from zfut.wire.specs import Address, TaskSpec


@pytest.mark.parametrize(
    ("sent", "name"), [(b"look", "look"), ("größer".encode(), "größer"), (b"a\xff", "a\\xff")]
)
def test_a_methods_name_need_not_be_text(sent: bytes, name: str) -> None:
    """A peer may send anything: the call fails, and not the process that it is for."""
    call = Call(METHOD, TaskSpec(b"t" * 24, 0, sent, 0, 0, 1), Address(b"o" * 16), b"")
    assert call.method() == name
