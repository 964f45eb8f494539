"""The actors that xoscar is given; its classes must derive from its own base.

They are imported by name in its worker processes, which a runner started as a script is not.
"""

from __future__ import annotations

import importlib
from typing import Any

_xoscar: Any = importlib.import_module("xoscar")


class Counter(_xoscar.Actor):  # type: ignore[misc]
    """An actor with a plain method."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, amount: int) -> int:
        """The new value."""
        self.value += amount
        return self.value


class AsyncCounter(_xoscar.Actor):  # type: ignore[misc]
    """An actor with a coroutine method."""

    def __init__(self) -> None:
        self.value = 0

    async def add(self, amount: int) -> int:
        """The new value."""
        self.value += amount
        return self.value
