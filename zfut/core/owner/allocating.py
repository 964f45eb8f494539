"""Room for values: found in what the node has lent, or asked for, or what became free here."""

from __future__ import annotations

from zfut.core.effects import CollectGarbage, Complete
from zfut.core.events import AllocateMemory
from zfut.core.owner.ledger import Ledger
from zfut.wire import messages as m


class Allocating:
    """Asks and answers; ``zfut.core.owner.memory`` has the tables."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._memory = ledger.memory

    def allocate(self, event: AllocateMemory) -> None:
        """A thread needs room for a value."""
        offset = self._memory.allocate(event.size_bytes, event.owner)
        if offset is not None:
            self._ledger.out.add(Complete(event.call_id, offset))
            return
        request = self._memory.wait(event.call_id, event.size_bytes, event.owner)
        self._ledger.out.send(self._ledger.node, request)

    def free(self, owner: bytes, offsets: tuple[int, ...]) -> None:
        """An owner needs no more what was written here for it, and for nobody else."""
        for offset in offsets:
            if self._memory.written_for.get(offset) == owner:
                self._memory.free(offset)
        self._ledger.give_room(self._memory.serve_waiting())

    def on_message(self, message: m.MemoryLent | m.MemoryRefused | m.ReclaimMemory) -> None:
        """The node answers, or wants back what is unused."""
        match message:
            case m.MemoryLent(request, offset, size_bytes):
                self._ledger.give_room(self._memory.lent(request, offset, size_bytes))
            case m.MemoryRefused(request, why):
                if self._memory.refused(request):
                    self._ledger.out.add(Complete(request, why))
            case m.ReclaimMemory(size_bytes, garbage):
                self._memory.scarce = size_bytes > 0
                if garbage:
                    self._ledger.out.add(CollectGarbage())
                if size_bytes:
                    pieces = self._memory.give_back(size_bytes)
                    self._ledger.out.send(self._ledger.node, m.ReturnMemory(tuple(pieces)))
