"""Functions and classes to bytes, with what they capture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zfut import errors
from zfut.wire import code, serialize
from zfut.wire.specs import Address

OWNER = Address(b"p" * 16)


class Captured:
    """Does what a reference does when it is pickled."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        serialize.note_reference(self, self.name, OWNER)
        return Captured, (self.name,)


def test_a_function_and_what_it_captures() -> None:
    """Behaviour 23: what is captured must be held."""
    held = Captured(b"captured")
    factor = 3

    def f(x: int) -> tuple[int, bytes]:
        return x * factor, held.name

    sent, holders = serialize.dump_function(f, "function f")
    assert holders == [held]
    assert serialize.load_function(sent)(2) == (6, b"captured")
    sent, holders = serialize.dump_function(Captured, "class Captured")
    assert serialize.load_function(sent) is Captured
    assert holders == []


def test_a_large_closure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behaviour 19."""
    monkeypatch.setattr(code, "FUNCTION_MAX_BYTES", 1_000_000)
    small, data = np.zeros(10), np.zeros(200_000)

    class Big:
        table = data

    with pytest.raises(ValueError, match=r"closure 'data', a ndarray, has 1\.5 MiB") as caught:
        serialize.dump_function(lambda: (small, data), "function f")
    assert isinstance(caught.value, errors.FunctionTooLargeError)
    assert "function f is over 976.6 KiB" in str(caught.value)
    assert "zfut.put(data)" in str(caught.value)
    with pytest.raises(errors.FunctionTooLargeError, match=r"Big.table, a ndarray"):
        serialize.dump_function(Big, "class Big")


def test_plain_data_is_msgpack() -> None:
    data = {"a": [1, "x", b"y", None], "b": {"c": 1.5}}
    assert serialize.load_plain(serialize.dump_plain(data)) == data
