"""What the experiments run in workers. The functions travel with their globals.

``link`` says on disk when it is done, so that the program which waits need not look.
"""

from __future__ import annotations

import os
import time
from typing import Any

import zfut

_kept: list[Any] = []


@zfut.remote
def empty(_shared: object) -> None:
    """Take an argument and do nothing."""


@zfut.remote
def submits(refs: list[Any], count: int) -> int:
    """Borrow the object in the list, own ``count`` children that take it, wait for them."""
    shared = refs[0]
    zfut.get([empty.remote(shared) for _ in range(count)])
    return os.getpid()


@zfut.remote
def submits_and_keeps(refs: list[Any], count: int) -> int:
    """Do the same, and use the object beyond the call."""
    shared = refs[0]
    zfut.get([empty.remote(shared) for _ in range(count)])
    _kept.append(shared)
    return os.getpid()


class Empty:
    """An actor that takes an argument and does nothing."""

    def call(self, _shared: object) -> None:
        """Do nothing."""


class Keeper:
    """An actor that keeps references, and drops them."""

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def keep(self, refs: list[Any]) -> None:
        """Use them beyond the call."""
        self._kept = refs

    def drop(self) -> None:
        """Use them no more."""
        self._kept = []


@zfut.remote
def returns(refs: list[Any]) -> list[Any]:
    """Give back the references that came in."""
    return refs


@zfut.remote
def makes(count: int) -> list[Any]:
    """Return references to objects that this worker owns."""
    return [zfut.put(number) for number in range(count)]


@zfut.remote
def link(_previous: object, number: int, delay_s: float, size_bytes: int, log: str) -> Any:
    """Work for a while; return a number, or an array of that size.

    Adds a line to the log: the link's number, and the monotonic clock in nanoseconds.
    """
    time.sleep(delay_s)
    value: Any = number
    if size_bytes:
        import numpy as np  # noqa: PLC0415  only for large values

        value = np.zeros(size_bytes, np.uint8)
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, f"{number} {time.monotonic_ns()}\n".encode())
    finally:
        os.close(fd)
    return value
