"""The arena as it ought to be: who wrote what where, and who looks at it.

The real arena has no such memory: a wrong offset there is a wrong value somewhere, some day.
"""

from __future__ import annotations

from typing import NoReturn

from zfut.sim.values import Handle
from zfut.wire.specs import Stored


class Violation(AssertionError):  # noqa: N818  it is what the simulator looks for
    """Something that must always hold did not."""


def violate(text: str) -> NoReturn:
    """Stop the run: something that must always hold did not."""
    raise Violation(text)


class Written:
    """One sealed value."""

    __slots__ = ("attempt", "data", "object_id", "offset", "size", "views")

    def __init__(self, object_id: bytes, attempt: int, place: tuple[int, int]) -> None:
        self.object_id = object_id
        self.attempt = attempt
        self.offset, self.size = place
        self.data = b""
        self.views: list[Handle] = []


class GhostArena:
    """Every value that was written and not overwritten."""

    def __init__(self) -> None:
        self._written: dict[int, Written] = {}

    def write(
        self, object_id: bytes, attempt: int, place: tuple[int, int], data: bytes
    ) -> None:
        """Write a value; nobody may be looking at what was there."""
        start, size = place
        end = start + size
        for other in list(self._written.values()):
            if other.offset < end and start < other.offset + other.size:
                del self._written[other.offset]
                for view in other.views:
                    if view.live and view.process.alive:
                        violate(
                            f"{view.process.name} looks at {other.object_id.hex()} at "
                            f"{other.offset} while {object_id.hex()} is written over it"
                        )
        written = Written(object_id, attempt, place)
        written.data = data
        self._written[start] = written

    def is_looked_at(self, offset: int) -> bool:
        """Whether user code has the value there open."""
        written = self._written.get(offset)
        return written is not None and any(view.live for view in written.views)

    def read(self, stored: Stored, view: Handle) -> bytes:
        """Return the value that a header says is there."""
        written = self._written.get(stored.offset)
        right = (stored.object_id, stored.attempt)
        if written is None or (written.object_id, written.attempt) != right:
            found = "nothing" if written is None else written.object_id.hex()
            violate(
                f"{view.process.name} reads {stored.object_id.hex()} attempt "
                f"{stored.attempt} at {stored.offset} and finds {found}"
            )
        written.views = [other for other in written.views if other.live]
        written.views.append(view)
        return written.data
