"""What a loop drives: any of the pure machines of ``zfut.core``."""

from __future__ import annotations

from typing import Any, Protocol

from zfut.core import effects as f


class Machine(Protocol):
    """What the loop drives: see ``zfut.core``."""

    def handle(self, event: Any, now: int) -> None:
        """Take one event."""

    def settle(self, now: int) -> list[f.Effect]:
        """Return what is to be done."""

    def wake_at(self) -> int | None:
        """Return when to hand in Woken."""
