"""What a store is: numbered bytes that are written once, read in place and reused.

A store knows offsets and nothing of objects: ``zfut.core.extents`` decides what goes where, and
the caller sees to it that nobody writes where somebody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from typing_extensions import Buffer


class ArenaInfo(Struct, frozen=True):
    """What another process must know to attach, and what a person wants to know."""

    kind: str
    """Where the bytes are: memfd, shm, file or heap."""

    path: str
    """What to open to attach; empty if no other process can."""

    capacity_bytes: int

    inode: int = 0
    """Tells the arena from another file that has the same path later."""

    advice: str | None = None
    """One line for the user if another backing would be better; None if all is well."""


class Store(Protocol):
    """Bytes from 0 to ``info.capacity_bytes``.

    A range that is not inside raises ValueError and changes nothing; so does everything after
    ``close``.
    """

    @property
    def info(self) -> ArenaInfo:
        """Say where the bytes are and how many."""

    def write(self, offset: int, parts: Sequence[Buffer], offsets: Sequence[int]) -> None:
        """Copy each part to ``offset`` plus its own of ``offsets``.

        A part is anything contiguous with the buffer protocol.  Raises OSError (ENOSPC) if a
        file system has no room for bytes that were never written before.
        """

    def read(self, offset: int, size_bytes: int, on_release: Callable[[], None]) -> memoryview:
        """Return a read-only view of bytes that were written, without a copy.

        ``on_release`` is called once, when the view and all that was made from it is gone, on
        whichever thread and in the middle of whatever that happens: it may only note the fact.
        """

    def punch(self, offset: int, size_bytes: int) -> None:
        """Give the memory behind these bytes back to the system; what they hold is lost.

        A hint: whole pages at most, and nothing at all where that is not possible.
        """

    def close(self) -> None:
        """Let go of the memory; views that are still out stay valid."""


def check_range(offset: int, size_bytes: int, capacity_bytes: int) -> None:
    """Raise ValueError unless these bytes are inside; ``capacity_bytes`` < 0 means closed."""
    if capacity_bytes < 0:
        message = "the object store is closed: nothing can be read or written any more"
        raise ValueError(message)
    if offset < 0 or size_bytes < 0 or offset + size_bytes > capacity_bytes:
        message = (
            f"{size_bytes} bytes at offset {offset} are not inside the object store, which has "
            f"{capacity_bytes} bytes: an offset was used that nobody allocated"
        )
        raise ValueError(message)


def check_capacity(capacity_bytes: int) -> None:
    """Raise ValueError unless a store can have this size."""
    if capacity_bytes <= 0:
        message = f"an object store needs a positive size, not {capacity_bytes} bytes"
        raise ValueError(message)
