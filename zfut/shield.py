"""Keeps Ctrl-C out of a machine that is between two of its tables."""

from __future__ import annotations

import _signal  # the C functions: the signal module turns handlers into enums and back
import signal
import threading
from collections.abc import Callable
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
