"""What the measured systems are given to run: the same bodies for all of them.

Workers import this module by name, so a system ships no code. Standard library only;
numpy is imported where a value needs it.
"""

from __future__ import annotations

import os
import signal
import time
from functools import cache
from pathlib import Path
from typing import Any

MIB = 1 << 20


def nothing() -> None:
    """The empty task."""


def add_one(value: int) -> int:
    """A link of a chain."""
    return value + 1


def count(*arguments: object) -> int:
    """How many arguments came."""
    return len(arguments)


def first_byte(block: Any) -> int:
    """Reads one byte of a block."""
    return int(block[0])


def block(size_bytes: int) -> Any:
    """A written block of that size, made once in each process: results cost their transport."""
    return _block(size_bytes)


@cache
def _block(size_bytes: int) -> Any:
    import numpy as np  # noqa: PLC0415 - only workloads with large values need it

    return np.ones(size_bytes, dtype=np.uint8)


def killed_at_first(marker: str) -> int:
    """Leaves its pid in ``marker`` and waits to be killed; run again, says when that was."""
    path = Path(marker)
    if path.exists():
        return time.monotonic_ns()
    scratch = path.with_suffix(".tmp")
    scratch.write_text(str(os.getpid()))
    scratch.rename(path)
    signal.pause()
    return 0


class Counter:
    """An actor with a plain method."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, amount: int) -> int:
        """The new value."""
        self.value += amount
        return self.value


class AsyncCounter:
    """An actor with a coroutine method."""

    def __init__(self) -> None:
        self.value = 0

    async def add(self, amount: int) -> int:
        """The new value."""
        self.value += amount
        return self.value
