"""Arena memory that the node lent to this process, and what is written in it.

A process writes values into extents it was lent in advance, so a put sends no message before its
copy.  What is freed stays with the process that wrote it: its pages are mapped and warm there.
The node can ask for unused memory back while others wait (``scarce``).
"""

from __future__ import annotations

from zfut.core.extents import ALIGN, Extents
from zfut.wire import messages as m

PAGE_BYTES = 4096


class Memory:
    """Facts only: the machine beside it sends what the methods return."""

    def __init__(self, extent_bytes: int) -> None:
        self._extent_bytes = extent_bytes
        self.extents = Extents()
        self.written_for: dict[int, bytes] = {}
        self.handed: dict[bytes, dict[int, None]] = {}  # answered to others, who own it
        self.waiting: dict[int, tuple[int, bytes]] = {}
        self.withdrawn: list[int] = []  # requests to the node that nobody waits for any more
        self.lent_bytes = 0
        self.scarce = False

    def allocate(self, size_bytes: int, owner: bytes) -> int | None:
        """Take room for a value that ``owner`` will own; None if more must be borrowed."""
        offset = self.extents.allocate(size_bytes)
        if offset is not None:
            self.written_for[offset] = owner
        return offset

    def wait(self, call_id: int, size_bytes: int, owner: bytes) -> m.BorrowMemory:
        """Remember who waits for room, and return the request for it."""
        self.waiting[call_id] = (size_bytes, owner)
        padded = -(-size_bytes // PAGE_BYTES) * PAGE_BYTES
        return m.BorrowMemory(call_id, padded, max(padded, self._extent_bytes))

    def lent(self, request: int, offset: int, size_bytes: int) -> list[tuple[int, int]]:
        """The node answered a request. Returns (call, offset) for each wait that this ends.

        That request's comes first: one in front of it still has a request of its own at the node.
        """
        self.extents.add(offset, size_bytes)
        self.lent_bytes += size_bytes
        served: list[tuple[int, int]] = []
        for call_id in sorted(self.waiting, key=lambda one: one != request):
            size, owner = self.waiting[call_id]
            place = self.allocate(size, owner)
            if place is not None:
                served.append((call_id, place))
                self._served(call_id, answered=call_id == request)
        return served

    def _served(self, call_id: int, *, answered: bool) -> None:
        del self.waiting[call_id]
        if not answered:
            self.withdrawn.append(call_id)

    def refused(self, call_id: int) -> bool:
        """The node has no room. Returns whether somebody still waits for that answer."""
        return self.waiting.pop(call_id, None) is not None

    def free(self, offset: int) -> None:
        """The value at ``offset`` is not needed; its memory stays here, warm."""
        owner = self.written_for.pop(offset, None)
        if owner is None:
            return
        self.extents.free(offset)
        if owner in self.handed:
            self._take_back(owner, offset)

    def _take_back(self, owner: bytes, offset: int) -> None:
        handed = self.handed[owner]
        handed.pop(offset, None)
        if not handed:
            del self.handed[owner]

    def hand_over(self, offset: int) -> None:
        """The answer says that this value is there: from now on its owner frees it."""
        owner = self.written_for.get(offset)
        if owner is not None:
            self.handed.setdefault(owner, {})[offset] = None

    def cede(self, owner: bytes) -> tuple[tuple[int, int], ...]:
        """The owner of what we wrote is dead. Returns (offset, size) of it, no longer ours."""
        pieces = []
        for offset in self.handed.pop(owner, ()):
            del self.written_for[offset]
            size = self.extents.cede(offset)
            self.lent_bytes -= size
            pieces.append((offset, size))
        return tuple(pieces)

    def serve_waiting(self) -> list[tuple[int, int]]:
        """Return (call, offset) for each wait that freed memory of our own can end."""
        served: list[tuple[int, int]] = []
        for call_id, (size, owner) in list(self.waiting.items()):
            place = self.allocate(size, owner)
            if place is None:
                break
            served.append((call_id, place))
            self._served(call_id, answered=False)
        return served

    def give_back(self, size_bytes: int) -> list[tuple[int, int]]:
        """Return up to that many unused bytes, as (offset, size), no longer ours."""
        pieces = self.extents.take(size_bytes, ALIGN)
        self.lent_bytes -= sum(size for _, size in pieces)
        return pieces

    def check(self) -> None:
        """Assert that what is written is what is allocated."""
        self.extents.check()
        assert list(self.written_for) == [
            offset for offset in self.written_for if offset in self.extents.allocated
        ]
        assert len(self.written_for) == len(self.extents.allocated)
        for owner, offsets in self.handed.items():
            assert all(self.written_for[offset] == owner for offset in offsets)
