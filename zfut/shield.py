"""Keeps signals out of a machine that is between two of its tables.

Also tells what a signal's handler raised from what other code raised by itself.
"""

from __future__ import annotations

import _signal  # the C functions: the signal module turns handlers into enums and back
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

_Previous = list[tuple[int, Callable[..., Any]]]


class Shield:
    """Remembers signals until the machine is in a consistent state again.

    The program's handlers are set aside meanwhile: blocking a signal would not do, since any
    thread that does not block it, one of a numeric library say, takes it for the main thread.
    """

    __slots__ = ("_caught", "_previous", "_wake", "hit")

    def __init__(self, wake: Callable[[], None], previous: _Previous) -> None:
        self.hit = False
        self._wake = wake
        self._previous = previous
        self._caught: dict[int, FrameType | None] = {}

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.hit = True
        self._caught[number] = frame
        self._wake()

    def __enter__(self) -> Self:
        remember = self._remember
        try:
            for number, _ in self._previous:
                _signal.signal(number, remember)
        except BaseException:  # of a handler, for a signal that came before
            self._restore()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._restore()
        finally:
            if self._caught:
                caught, self._caught = self._caught, {}  # their frames may hold this shield
                _deliver(list(caught.items()), dict(self._previous))

    def _restore(self) -> None:
        """Give the program its handlers back, all of them, though one that is back may raise."""
        left = self._previous[:]
        raised: BaseException | None = None
        while left:
            try:
                while left:
                    _signal.signal(*left[-1])
                    left.pop()
            except BaseException as error:  # noqa: BLE001  raised below
                raised = error
        if raised is not None:
            raise raised


def _deliver(
    caught: list[tuple[int, FrameType | None]], handlers: dict[int, Callable[..., Any]]
) -> None:
    number, frame = caught.pop(0)
    try:
        handlers[number](number, frame)
    finally:
        if caught:
            _deliver(caught, handlers)


class Notice(Shield):
    """Lets the program's handlers act at once; ``hit`` says that one of them raised.

    A handler that is installed meanwhile stays.
    """

    __slots__ = ()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        try:
            dict(self._previous)[number](number, frame)
        except BaseException:
            self.hit = True
            raise

    def __exit__(self, *_: object) -> None:
        mine = self._remember
        self._previous = [each for each in self._previous if _signal.getsignal(each[0]) == mine]
        self._restore()


DELIVERY = (Shield.__exit__.__code__, _deliver.__code__)
"""What lies between a handler and the block that kept its signal waiting."""


class NoShield:
    """In other threads, and where nobody handles a signal, there is nothing to keep out."""

    hit = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


NO_SHIELD = NoShield()


def _find_main_thread() -> None:
    global _main_thread  # noqa: PLW0603  a fork has another one
    _main_thread = threading.main_thread().ident or 0


_main_thread = threading.main_thread().ident or 0
os.register_at_fork(after_in_child=_find_main_thread)

_HANDLED = tuple(
    int(getattr(signal, name))
    for name in (
        "SIGINT",
        "SIGHUP",
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
"""Signals for which programs have handlers; the first is given back last."""


def shielded(wake: Callable[[], None], kind: type[Shield] = Shield) -> Shield | NoShield:
    """Keep signals from interrupting a machine between two of its tables.

    In the main thread they are remembered and handled when the block is left; the handlers that
    the program installed decide what they mean, and may use zfut.  With ``Notice`` they act at
    once, and are told apart.
    """
    if threading.get_ident() == _main_thread:
        get = _signal.getsignal
        previous = [(n, handler) for n in _HANDLED if callable(handler := get(n))]
        if previous:
            return kind(wake, previous)
    return NO_SHIELD


def wakes_nobody() -> None:
    """For what is shielded while nobody sleeps who would have to look at a signal."""
