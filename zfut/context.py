"""What a thread or coroutine is running now: the call it serves, and what covers new references."""

from __future__ import annotations

from contextvars import ContextVar

from msgspec import Struct


class Running(Struct, frozen=True):
    """The call that user code runs in. A driver's own code has the empty one."""

    task_id: bytes = b""
    attempt: int = 0
    depth: int = -1
    name: str = ""
    actor_id: bytes = b""
    blocks: bool = False
    trace: bytes = b""
    """The outermost call that this one serves: what it submits carries the same."""


NOTHING = Running()
running: ContextVar[Running] = ContextVar("zfut_running", default=NOTHING)
cover: ContextVar[bytes] = ContextVar("zfut_cover", default=b"")
