"""Keeps Ctrl-C out of a machine that is between two of its tables."""

from __future__ import annotations

import _signal  # the C functions: the signal module turns handlers into enums and back
import os
import signal
import threading
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any, Self


class Shield:
    """Remembers an interrupt until the machine is in a consistent state again."""

    __slots__ = ("_caught", "_previous", "_wake", "hit")

    def __init__(self, wake: Callable[[], None], previous: Callable[..., Any]) -> None:
        self.hit = False
        self._wake = wake
        self._previous = previous
        self._caught: tuple[int, FrameType | None] | None = None

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.hit = True
        self._caught = (number, frame)
        self._wake()

    def __enter__(self) -> Self:
        _signal.signal(_SIGINT, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        _signal.signal(_SIGINT, self._previous)
        if self._caught is not None:
            caught, self._caught = self._caught, None  # its frame may hold this shield
            self._previous(*caught)


class NoShield:
    """In other threads, and where nobody handles the signal, there is nothing to keep out."""

    hit = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


NO_SHIELD = NoShield()


class Mask:
    """Keeps signals of any kind out of the main thread, but for the windows it opens.

    A handler that raises, or that uses zfut itself, runs in a window or after the block.
    """

    __slots__ = ("_blocked", "window")

    def __init__(self) -> None:
        self._blocked: Collection[int] = ()
        self.window: Window | NoShield = NO_SHIELD

    def __enter__(self) -> Self:
        if threading.get_ident() != _main_thread:
            return self
        blocked = _HANDLED
        try:  # a handler may raise here, for a signal that came before
            before = _signal.pthread_sigmask(_BLOCK, _HANDLED)
            blocked = _HANDLED - before if before else _HANDLED
        except BaseException:
            _signal.pthread_sigmask(_UNBLOCK, blocked)
            raise
        if blocked:
            self._blocked = blocked
            self.window = Window(blocked)
        return self

    def __exit__(self, *_: object) -> None:
        if self._blocked:
            _signal.pthread_sigmask(_UNBLOCK, self._blocked)


class Window:
    """Lets the signals in that a mask keeps out."""

    __slots__ = ("_blocked",)
    hit = False

    def __init__(self, blocked: Collection[int]) -> None:
        self._blocked = blocked

    def __enter__(self) -> Self:
        _signal.pthread_sigmask(_UNBLOCK, self._blocked)
        return self

    def __exit__(self, *_: object) -> None:
        _signal.pthread_sigmask(_BLOCK, self._blocked)


def _find_main_thread() -> None:
    global _main_thread  # noqa: PLW0603  a fork has another one
    _main_thread = threading.main_thread().ident or 0


_main_thread = threading.main_thread().ident or 0
os.register_at_fork(after_in_child=_find_main_thread)

_BLOCK, _UNBLOCK = int(signal.SIG_BLOCK), int(signal.SIG_UNBLOCK)
_HANDLED = frozenset(
    int(getattr(signal, name))
    for name in (
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGUSR1",
        "SIGUSR2",
        "SIGALRM",
        "SIGTERM",
        "SIGVTALRM",
        "SIGPROF",
        "SIGCHLD",
    )
)
"""Signals for which programs have handlers."""


_SIGINT = int(signal.SIGINT)


def shielded(wake: Callable[[], None]) -> Shield | NoShield:
    """Keep Ctrl-C from interrupting a machine between two of its tables.

    In the main thread the interrupt is remembered and raised when the block is left; the handler
    that the program installed decides what it means.
    """
    if threading.get_ident() == threading.main_thread().ident:
        previous = _signal.getsignal(_SIGINT)
        if callable(previous):
            return Shield(wake, previous)
    return NO_SHIELD
