"""Whose code runs: which virtual process a thread works for, and what is on the stacks.

A call runs in a context of its own, which says whose it is; coroutines and
``asyncio.to_thread`` inherit it.  A bare thread does not, so starting one is noted for as long
as the session lasts: it works for whoever started it.

What must hold: a thread that no call started belongs to the program.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from msgspec import Struct

from zfut.inline.coroutines import POOL_NAME

if TYPE_CHECKING:
    from zfut.inline.workers import Worker
    from zfut.session import Session

inside: ContextVar[Session | None] = ContextVar("zfut_inside", default=None)
"""The session of the virtual process whose code runs in this context."""

FRAMES_TO_SPARE = 200
"""Python frames that a call on top of another may use beyond what the limit allows already."""


class Frame(Struct, eq=False):
    """One call, or one round of an actor's event loop, on some thread's stack."""

    worker: Worker
    label: str
    thread: int


class Threads:
    """The stacks of user code, and the threads that may use the session."""

    def __init__(self, program: Session) -> None:
        self._program = program
        self._known: weakref.WeakKeyDictionary[threading.Thread, Session] = (
            weakref.WeakKeyDictionary({threading.current_thread(): program})
        )
        self._resting: dict[int, None] = {}
        self._lock = threading.Lock()
        self._plain_start: Callable[[threading.Thread], None] = threading.Thread.start
        self._noting_start = self._note_starts()
        self.frames: list[Frame] = []

    def _note_starts(self) -> Callable[[threading.Thread], None]:
        def start(thread: threading.Thread) -> None:
            self._known[thread] = self.session()
            self._plain_start(thread)

        threading.Thread.start = start  # type: ignore[assignment, method-assign]
        return start

    def close(self) -> None:
        """Threads are started as ever."""
        if threading.Thread.start is self._noting_start:
            threading.Thread.start = self._plain_start  # type: ignore[assignment, method-assign]

    # ---------------------------------------------------------------- whose

    def session(self) -> Session:
        """Return the session of the virtual process for which this thread works."""
        session = inside.get()
        if session is None:
            session = self._known.setdefault(threading.current_thread(), self._program)
        return session

    # ---------------------------------------------------------------- the stacks

    @contextmanager
    def running(self, worker: Worker, label: str) -> Iterator[None]:
        """Note that code of ``worker`` runs on this thread, on top of what is there."""
        thread = threading.get_ident()
        frame = Frame(worker, label, thread)
        previous, worker.session.thread = worker.session.thread, thread
        with self._lock:
            self.frames.append(frame)
            sys.setrecursionlimit(sys.getrecursionlimit() + FRAMES_TO_SPARE)
        try:
            yield
        finally:
            worker.session.thread = previous
            with self._lock:
                sys.setrecursionlimit(sys.getrecursionlimit() - FRAMES_TO_SPARE)
                self.frames.remove(frame)

    def below(self) -> list[Frame]:
        """Return what is on this thread's stack, the outermost first."""
        thread = threading.get_ident()
        return [frame for frame in self.frames if frame.thread == thread]

    # ---------------------------------------------------------------- who else may act

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Note that this thread has nothing to do until another one acts."""
        thread = threading.get_ident()
        self._resting[thread] = None
        try:
            yield
        finally:
            self._resting.pop(thread, None)

    def others_may_act(self) -> bool:
        """Whether another thread is there that could end this one's wait."""
        here = threading.current_thread()
        return any(
            thread in self._known and not _minds_its_own(thread)
            for thread in threading.enumerate()
            if thread is not here and thread.ident not in self._resting
        )


def _minds_its_own(thread: threading.Thread) -> bool:
    """Whether it is a debugger's, or of an actor's executor, whose jobs are counted."""
    return getattr(thread, "pydev_do_not_trace", False) or thread.name.startswith(POOL_NAME)
