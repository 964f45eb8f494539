"""Fences: when nobody uses any more what only a dead process protected.

A process passes references on and holds them until its calls have ended.  When it dies, those who
run its calls still use them, and their owners do not know.  An owner that would let go of
something because of a death asks for a fence first: every process is told of all deaths that it has
not heard of, registers what it uses under a call of the dead, and answers; then the owner goes on.
Nothing of this happens for a death after which nobody would let go of anything.

    asked --- every process answered, or died and was fenced itself ---> told

One who dies before it has answered may have lent on what it would have registered: those who run its
calls do that when they hear of its death.
"""

from __future__ import annotations

from msgspec import Struct

OBITUARIES_MAX = 1000
"""So many deaths are remembered for those who ask late."""


class Fence(Struct, gc=False):
    """Who asked for it, and who has not answered yet."""

    dead: bytes
    askers: dict[bytes, None]
    unanswered: dict[bytes, None]


class Fencing:
    """Facts only: the machine beside it sends what the methods return."""

    def __init__(self) -> None:
        self.obituaries: dict[bytes, str] = {}
        self.fences: dict[int, Fence] = {}
        self._numbers = 0
        self._deaths = 0
        self._told: dict[bytes, int] = {}  # of so many deaths a process has heard, or need not

    def greeted(self, uid: bytes) -> None:
        """A process has its mailbox: none that is dead by now can have sent it anything."""
        self._told.setdefault(uid, self._deaths)

    def died(self, uid: bytes, why: str) -> bool:
        """A process is gone. Returns whether it needs a fence: others wait for its answer."""
        self._deaths += 1
        self.obituaries[uid] = why
        if len(self.obituaries) > OBITUARIES_MAX:
            del self.obituaries[next(iter(self.obituaries))]
        self._told.pop(uid, None)
        for fence in self.fences.values():
            fence.askers.pop(uid, None)
        return any(uid in fence.unanswered for fence in self.fences.values())

    def ask(self, asker: bytes, dead: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
        """An owner wants a fence. Returns its number, and whom to tell first of whose death.

        No asker: nobody waits for it, but everybody is to say what memory it needs.
        Every process is told of this death with the number, and answers with it.
        """
        self._numbers += 1
        askers: dict[bytes, None] = {asker: None} if asker else {}
        self.fences[self._numbers] = Fence(dead, askers, dict.fromkeys(self._told))
        order = list(self.obituaries)
        news: list[tuple[bytes, bytes]] = []
        for uid, told in self._told.items():
            missed = order[max(0, len(order) - (self._deaths - told)) :]
            news += [(uid, name) for name in missed if name != dead]
            self._told[uid] = self._deaths
        return self._numbers, news

    def answered(self, uid: bytes, number: int) -> list[Fence]:
        """A process has registered what it needs. Returns the fences that are complete by that."""
        if number in self.fences:
            self.fences[number].unanswered.pop(uid, None)
        complete: list[Fence] = []
        todo = [number]
        while todo:
            name = todo.pop()
            fence = self.fences.get(name)
            if fence is None or fence.unanswered:
                continue
            del self.fences[name]
            complete.append(fence)
            for other, waits in self.fences.items():
                if fence.dead in waits.unanswered:
                    del waits.unanswered[fence.dead]
                    todo.append(other)
        return complete
