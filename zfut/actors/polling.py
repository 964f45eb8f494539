"""What the threads of a loop sleep on: the mailbox, a descriptor to be woken by, and others."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from zfut.errors import UsageError

_all: weakref.WeakSet[Polling] = weakref.WeakSet()


class Polling:
    """Two pollers, for the thread that drives and for the one in the background.

    Each has a descriptor of its own to be woken by, or one would take the other's wake.
    """

    def __init__(self, mailbox_fd: int, lock: Any) -> None:
        self._mailbox_fd = mailbox_fd
        self._lock = lock
        self.has_lock: Callable[[], bool] = lock._is_owned  # noqa: SLF001  conditions ask it, too
        self._wakes = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2)]
        self._waking = threading.RLock()  # a finaliser or a signal may come in between
        self._watched: dict[int, Callable[[], None]] = {}
        self.polls = [self._new_poll(wake) for wake in self._wakes]
        _all.add(self)

    def _new_poll(self, wake: int) -> select.poll:
        poll = select.poll()
        for fd in (self._mailbox_fd, wake, *self._watched):
            poll.register(fd, select.POLLIN)
        return poll

    @contextlib.contextmanager
    def another(self) -> Iterator[None]:
        """Give the driving thread a second poller: a signal handler of its waits as well."""
        first = self.polls[0]
        self.polls[0] = self._new_poll(self._wakes[0])
        try:
            yield
        finally:
            self.polls[0] = first

    def check_outside(self) -> None:
        """Raise UsageError in a finaliser that has come while its thread has the lock."""
        if self.has_lock():
            raise UsageError(
                "a finaliser (__del__) waits, or has a large value, while zfut handles messages",
                "Finalisers may call remote(), kill() and cancel(), and put what is small",
            )

    def watch_fd(self, fd: int, callback: Callable[[], None]) -> None:
        """Call ``callback``, under the lock, when ``fd`` is readable."""
        self._watched[fd] = callback
        for poll in self.polls:
            poll.register(fd, select.POLLIN)

    def unwatch_fd(self, fd: int) -> None:
        """Look at ``fd`` no more."""
        if self._watched.pop(fd, None) is not None:
            for poll in self.polls:
                poll.unregister(fd)

    def wake(self) -> None:
        """Make whoever polls look again."""
        with self._waking:
            for fd in self._wakes:
                os.eventfd_write(fd, 1)

    def fds(self) -> list[int]:
        """Return every descriptor that says there is something to do."""
        return [self._mailbox_fd, self._wakes[0], *self._watched]

    def after(self, ready: list[tuple[int, int]]) -> None:
        """Poll has returned: forget the wakes, tell those who watch."""
        for fd, _ in ready:
            if fd in self._wakes:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(fd)
            elif fd in self._watched:
                with self._lock:
                    callback = self._watched.get(fd)
                    if callback is not None:
                        callback()

    def close(self) -> None:
        """Close the descriptors to be woken by."""
        with self._waking:
            fds, self._wakes = self._wakes, []
            for fd in fds:
                os.close(fd)

    def forget(self) -> None:
        """In a forked child: descriptors are the parent's, and locks may never come free."""
        self._wakes = []
        self._waking = threading.RLock()


def _after_fork() -> None:
    for polling in _all:
        polling.forget()


os.register_at_fork(after_in_child=_after_fork)
