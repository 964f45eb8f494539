"""Where ``remote`` waits before it packs anything: too many calls of this process are unfinished.

Three kinds of code are never made to wait, since what they hold up may be what they would wait for:
the thread of a running event loop, a finaliser, and what runs while a value is unpickled.
"""

from __future__ import annotations

import sys
import weakref
from types import CodeType, FrameType
from typing import Protocol

from zfut.context import running
from zfut.core.owner.backlog import Backlog
from zfut.waiting import Driving
from zfut.wire import serialize


class Submitter(Protocol):
    """What waiting for room takes of a session."""

    loop: Driving
    backlog: Backlog

    def check_open(self) -> None:
        """Raise SessionError if the session has ended."""

    def await_room(self, submitter: bytes) -> None:
        """Wait until enough calls have ended."""


def wait_for_room(session: Submitter) -> None:
    """Wait until enough calls have ended, unless this code may not wait.

    Raises SessionError if the session ends meanwhile.
    """
    session.check_open()
    if _in_event_loop() or _in_between():
        return
    session.loop.turn()  # what has been posted is counted
    submitter = running.get().task_id
    if session.backlog.is_full(submitter):
        session.await_room(submitter)


def _in_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001


def _in_between() -> bool:
    """Whether a finaliser or the unpickler runs, or the machine that this thread has in hand."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None:
        code = frame.f_code
        if code in _BETWEEN or code.co_name == "__del__":
            return True
        if code.co_name in _LOOP and "zfut" in code.co_filename:
            return code.co_name == "handle_all"
        frame = frame.f_back
    return False


_BETWEEN: tuple[CodeType, ...] = (
    weakref.finalize.__call__.__code__,
    serialize.unpack.__code__,
)

_LOOP = ("handle_all", "run_nested")
"""Whoever runs the first has the machine; the second begins a call that is its own master."""
