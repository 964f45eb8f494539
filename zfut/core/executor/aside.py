"""The waits of a task that are not its own thread's in ``get``.

A coroutine awaits a reference, a thread that the task started is in ``get``, or somebody looks at
several futures.  The task itself may compute meanwhile, or wait for just that: nobody can see
which.  So such a wait lends the task's CPU too, but only once it has lasted a while, in which
nothing else began or ended here.  Nothing runs on top of it: its thread is not there to run it.

What must hold: without waits nothing is due, nor lent; see ``Aside.check``.  A wait counts no
longer than the call that waits.  One of a thread that no call is known for counts as long as the
call that was the lowest of the stack when it began.
"""

from __future__ import annotations

from zfut.core.executor.inbox import TASK, Call

ASIDE_DELAY_NS = 30_000_000
"""Shorter ones keep the CPU: the task may well compute meanwhile."""


class Aside:
    """Facts only: the machine beside it decides and sends."""

    def __init__(self, running: dict[bytes, Call]) -> None:
        self._running = running
        self._seen: tuple[int, bytes] = (
            0,
            b"",
        )  # so many calls ran when it began, the last of them
        self.waits: dict[int, bytes] = {}  # and the call with which each ends to count
        self.due_at = (
            0  # when they will have lasted long enough; 0: they have, or there is none
        )
        self.lends = False  # they have lasted long enough

    def begin(self, call_id: int, caller: bytes, now: int) -> None:
        """A wait begins; ``caller`` is empty if it is a thread's of which no call is known."""
        base = caller if caller in self._running else next(iter(self._running), b"")
        if not base or self._running[base].kind != TASK:
            return  # an actor keeps its CPU
        if not self.waits:
            self._seen = self._stack()
            self.due_at = now + ASIDE_DELAY_NS
        self.waits[call_id] = base

    def end(self, call_id: int) -> None:
        """A wait is over."""
        if self.waits.pop(call_id, None) is not None and not self.waits:
            self.due_at, self.lends = 0, False

    def restart(self, now: int) -> None:
        """The task certainly goes on now: it may compute for a while."""
        self.lends = False
        self.due_at = now + ASIDE_DELAY_NS if self.waits else 0

    def look(self, now: int) -> None:
        """Forget the waits of calls that have ended; begin anew if any began or ended."""
        seen = self._stack()
        if self.waits and seen != self._seen:
            self._seen = seen
            self.waits = {
                wait: base for wait, base in self.waits.items() if base in self._running
            }
            self.restart(now)

    def woken(self, now: int) -> bool:
        """Return whether the waits have lasted long enough."""
        if self.due_at and now >= self.due_at:
            self.due_at, self.lends = 0, True
        return self.lends

    def check(self) -> None:
        """Assert the invariant above."""
        assert self.waits or not (self.due_at or self.lends), (self.due_at, self.lends)

    def _stack(self) -> tuple[int, bytes]:
        return len(self._running), next(reversed(self._running), b"")
