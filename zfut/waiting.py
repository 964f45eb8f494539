"""What a session needs of whatever drives its machine: a loop on sockets, or a pump in one thread."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

log = logging.getLogger("zfut")


class Pending:
    """A call that a thread, a future or a coroutine waits for."""

    __slots__ = ("callback", "done", "event", "outcome")

    def __init__(self, callback: Callable[[], None] | None = None) -> None:
        self.done = False
        self.outcome: Any = None
        self.event: threading.Event | None = None
        self.callback = callback


class Counting(Protocol):
    """References that came inside a value and are not counted yet; see ``zfut.refs.Arriving``."""

    def count(self, note: Callable[[Any], None]) -> None:
        """Count those made so far."""


class Driving(Protocol):
    """Drives one machine; see ``zfut.actors.loop.Loop``."""

    inbox: deque[Any]
    drops: deque[Any]  # what was dropped and has time
    batches: list[Counting]
    calls: dict[int, Pending]
    closed: str

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Held by whoever touches the machine."""

    def post(self, event: Any) -> None:
        """Hand an event in."""

    def drop(self, gone: Any) -> None:
        """A finaliser says that a reference is gone (its ObjectID), or a view (an event)."""

    def wake(self) -> None:
        """Make whoever waits for messages look again."""

    def turn(self) -> None:
        """Handle everything that was posted, and some of the drops."""

    def check_outside(self) -> None:
        """Raise UsageError in a finaliser that has come while its thread has the machine."""

    def wait(
        self,
        pending: Pending,
        deadline_ns: int | None = None,
        until: Callable[[], bool] | None = None,
    ) -> bool:
        """Drive until ``pending`` is done, time has run out, or ``until()``.

        Returns whether it is done.
        """


class Reentry(Protocol):
    """How a worker runs calls of its own on top of one that waits."""

    def ready(self) -> bool:
        """Whether there is such a call."""

    def run(self) -> None:
        """Run one."""


def call_back(callback: Callable[[], object], wake: Callable[[], None]) -> None:
    """Tell a future or a coroutine; what its user's code raises does not end zfut's threads.

    Raises what is no Exception (Ctrl-C, sys.exit) in the main thread: others go on with the rest.
    """
    try:
        callback()
    except Exception:
        log.exception("a callback failed")
    except BaseException:
        if threading.current_thread() is threading.main_thread():
            wake()
            raise
        log.exception("a callback would have ended its thread")
