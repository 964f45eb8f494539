"""What the death of a process means for what it had lent on.

Until its calls end, a process protects what it passes on.  Dead, it protects nothing, while those
who run its calls go on.  Two duties follow, and the node's fence (``zfut.core.node.fencing``) joins
them.

  Who lent to it, as an owner that had it registered or as the caller of what it ran, holds what it
  had lent until the fence is complete.
  Who runs a call of its, registers what that call uses, and answers the notice of the death only
  when the call's arguments are open and every registration that was under way by then is
  acknowledged.

The published scheme has neither: what a dead process passed on may be freed under its user.
"""

from __future__ import annotations

from zfut.core.effects import ConfirmOpened
from zfut.core.owner.borrowing import Borrowing
from zfut.core.owner.calls import Calls
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.records import PENDING
from zfut.core.owner.tasks import Tasks
from zfut.wire import messages as m
from zfut.wire.specs import Stored


class Mourning:
    """Holds for the dead's users, and answers that wait."""

    def __init__(
        self, ledger: Ledger, borrowing: Borrowing, tasks: Tasks, calls: Calls
    ) -> None:
        self._ledger = ledger
        self._borrowing = borrowing
        self._tasks = tasks
        self._calls = calls
        self.held: dict[bytes, list[bytes]] = {}  # dead -> what is held until its fence
        self.orphans: dict[bytes, list[bytes]] = {}  # call of a dead caller -> what it uses
        self.opening: dict[bytes, None] = {}  # those whose arguments may not be open yet
        self.answers: list[
            tuple[bytes, int, dict[bytes, None]]
        ] = []  # each with what it awaits

    def fail_objects_of(self, owner: bytes) -> None:
        """The owner died: its objects that we borrow cannot be asked for any more."""
        for object_id, row in list(self._ledger.objects.rows.items()):
            if row.owner is not None and row.owner.uid == owner and row.state == PENDING:
                self._ledger.fail_row(row, self._ledger.owner_died(object_id, owner))

    # ---------------------------------------------------------------- who lent to the dead

    def lent_to(self, dead: bytes) -> None:
        """Hold what the dead process may have passed on, before its own holds end."""
        rows = self._ledger.objects.rows
        lent = [name for name, row in rows.items() if row.is_lent_to(dead)]
        for task in self._tasks.submission.ran_on(dead) + self._calls.ran_on(dead):
            lent += [object_id for _, object_id, _ in task.deps]
            lent += [object_id for object_id, _ in task.nested]
        lent = [object_id for object_id in lent if object_id in rows]
        if not lent:
            return
        for object_id in lent:
            rows[object_id].submitted += 1
        self.held[dead] = lent
        self._ledger.out.send(self._ledger.node, m.FenceProcess(dead))

    def fenced(self, dead: bytes) -> None:
        """Whoever uses what it had lent on is registered."""
        rows = self._ledger.objects.rows
        for object_id in self.held.pop(dead, ()):
            self._ledger.unsubmit(object_id, rows[object_id])

    # ---------------------------------------------------------------- who runs a call of the dead

    def adopt(self, task_id: bytes, arguments: list[Stored], dead: bytes) -> None:
        """A call that runs here has lost its caller: what it uses is registered from now on."""
        if task_id in self.orphans:
            return
        ledger = self._ledger
        used: list[bytes] = []
        for value in arguments:
            row = ledger.row_of(value.object_id, value.owner)
            row.local += 1
            row.views += 1
            used.append(value.object_id)
            ledger.note_place(row, value)
        self.orphans[task_id] = used
        self.opening[task_id] = None
        ledger.out.add(ConfirmOpened(task_id))
        self._borrowing.cover_lost(task_id, used, dead)

    def opened(self, task_id: bytes) -> None:
        """The references in its arguments are known, and being registered."""
        if task_id not in self.opening:
            return
        del self.opening[task_id]
        for _, _, awaited in self.answers:
            if task_id in awaited:
                awaited.update(dict.fromkeys(self._ledger.tokens.unsaid))

    def ended(self, task_id: bytes) -> None:
        """Such a call ended."""
        self.opened(task_id)
        self._borrowing.void.pop(task_id, None)
        for object_id in self.orphans.pop(task_id, ()):
            self._ledger.close_view(object_id)

    def owe(self, dead: bytes, fence: int) -> None:
        """The node waits for our answer to the notice of a death."""
        awaited = dict.fromkeys((*self._ledger.tokens.unsaid, *self.opening))
        self.answers.append((dead, fence, awaited))

    def settle(self) -> None:
        """Answer in order, as far as arguments are open and registrations acknowledged."""
        waiting, opening = self._ledger.tokens.unsaid, self.opening
        while self.answers:
            dead, fence, awaited = self.answers[0]
            if any(name in waiting or name in opening for name in awaited):
                return
            del self.answers[0]
            self._ledger.out.send(self._ledger.node, self.claims_on(dead, fence))

    def claims_on(self, creator: bytes, fence: int) -> m.ClaimMemory:
        """List what a dead process wrote, owned, or had claimed, and we still need."""
        ledger = self._ledger
        pieces = []
        for row in ledger.objects.rows.values():
            place = row.place()
            if place is not None and (
                place.creator == creator
                or (row.owner is not None and row.owner.uid in ledger.dead)
            ):
                pieces.append((place.offset, place.size_bytes))
        return m.ClaimMemory(creator, tuple(pieces), fence)
