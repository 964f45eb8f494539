"""Values that user code frees, while references to them exist.

    ready --- free ---> FAILED, its value withheld --- nobody may read it ---> its memory is free
                          ^         |
                          |         | a call that makes a lost value again takes it
                          |         v
                          '------ lent: it has its value again, or is made again
        the last such call ended

Whoever asks gets ObjectFreedError from then on.  The row and its lineage stay, so what was
computed from the object can be made again when that is lost.

What must hold: memory is never written over while somebody may read it.  Who may: calls of ours
that carry the object, processes that are registered for it, whoever has a value open that it is
in, and views of it in this process.  Handles alone keep no memory.  A small value that lineage
names stays in its row, as any small value does.

Paper: none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from zfut.core.owner.answering import answer_askers, say_freed
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.lineage import arguments
from zfut.core.owner.readiness import values_freed
from zfut.core.owner.records import (
    ACTOR,
    FAILED,
    FREED,
    INLINE,
    PENDING,
    STORED,
    ObjectRow,
    Task,
)
from zfut.wire.specs import Stored


class Freeing:
    """Decides when what is freed is gone."""

    def __init__(
        self, ledger: Ledger, values_gone: Callable[[Collection[bytes]], None]
    ) -> None:
        self._ledger = ledger
        self._values_gone = values_gone
        self._gone: dict[bytes, None] = {}  # taken away, and calls of ours carry it
        self._rows = ledger.objects.rows
        self._withheld = ledger.withheld

    # ---------------------------------------------------------------- user code

    def free(self, object_ids: Iterable[bytes]) -> None:
        """User code frees objects; what it does not own, or what has failed, stays as it is."""
        again = [(task, self._reach(task)) for task in self._withheld.rerun.values()]
        for object_id in object_ids:
            row = self._rows.get(object_id)
            if row is None or row.owner is not None or row.freed:
                continue
            if row.state in (FAILED, ACTOR):
                continue
            row.freed = True
            self._withheld.due[object_id] = None
            takers = [task for task, reach in again if object_id in reach]
            for task in takers:
                self._withheld.lend(object_id, task)
            if takers:
                continue
            if row.state == PENDING:
                self._give_up_waiting(object_id, row)
            else:
                self._take_away(object_id, row)

    def _give_up_waiting(self, object_id: bytes, row: ObjectRow) -> None:
        """It is freed before its value is known: calls that wait for it fail, and so do others."""
        failure = self._ledger.was_freed(object_id)
        waiters, row.waiters = row.waiters or [], []
        for waiter in waiters:
            if isinstance(waiter, Task):
                waiter.waiting_on -= 1
                self._ledger.unblocked.append((waiter, failure))
            else:
                row.waiters.append(waiter)  # it is told when the value is known
        askers, row.askers = row.askers, None
        for asker in askers or ():
            if asker[0] not in self._ledger.dead:
                say_freed(self._ledger, asker, object_id)

    def _take_away(self, object_id: bytes, row: ObjectRow) -> None:
        """Nobody gets the value from here on; who reads it may go on."""
        value = row.value
        self._ledger.fail_row(row, self._ledger.was_freed(object_id))
        row.spent = value
        answer_askers(self._ledger, object_id, row)
        if row.submitted:
            self._gone[object_id] = None

    def _tell_calls(self) -> None:
        """Calls that take what was taken away, and are not sent yet, fail."""
        if self._gone:
            gone, self._gone = self._gone, {}
            self._values_gone(gone)
            values_freed(self._ledger, gone)

    # ---------------------------------------------------------------- for what was made from it

    def lend(self, task: Task, why_not: Callable[[ObjectRow], str] | None = None) -> None:
        """A call runs ``again``: what it takes and was freed is there for it, if it can be.

        ``why_not`` says what keeps an object from being made again; None: nothing is.
        """
        for object_id in self._reach(task):
            row = self._rows.get(object_id)
            if row is None or not row.freed:
                continue
            if row.state == FAILED:
                if row.spent is not None:
                    row.state = STORED if isinstance(row.spent, Stored) else INLINE
                    row.value, row.spent = row.spent, None
                elif why_not is not None and row.made_by is not None and not why_not(row):
                    row.state, row.value = FREED, None
                else:
                    continue
            self._withheld.lend(object_id, task)

    def _reach(self, task: Task) -> dict[bytes, None]:
        """Return what a call's arguments name, and what is in those that are there, and so on."""
        found = dict.fromkeys(arguments(task))
        todo = list(found)
        while todo:
            row = self._rows.get(todo.pop())
            for inner_id, _ in row.contains if row is not None else ():
                if inner_id not in found:
                    found[inner_id] = None
                    todo.append(inner_id)
        return found

    # ---------------------------------------------------------------- settling

    def settle(self) -> None:
        """Let go of what nobody may read any more, and what no call needs again."""
        due = self._withheld.due
        while due:  # what is let go may be the last that held another
            object_id, _ = due.popitem()
            row = self._rows.get(object_id)
            if row is None or not row.freed:
                self._withheld.lent.pop(object_id, None)
            elif not self._is_lent(object_id):
                self._look_at(object_id, row)
        self._tell_calls()

    def _is_lent(self, object_id: bytes) -> bool:
        takers = [task for task in self._withheld.lent.pop(object_id, ()) if task.again]
        if takers:
            self._withheld.lent[object_id] = takers
        return bool(takers)

    def _look_at(self, object_id: bytes, row: ObjectRow) -> None:
        if row.state == PENDING:
            return
        if row.state != FAILED:
            self._take_away(object_id, row)
        if not self.may_be_read(row):
            for inner_id, inner in self._ledger.forget(object_id, row):
                self._ledger.release(inner_id, inner)

    @staticmethod
    def may_be_read(row: ObjectRow) -> bool:
        """Whether a value that is taken away has to stay in memory."""
        if row.submitted or row.borrowers or row.contained_in or row.views:
            return True
        return isinstance(row.spent, bytes) and row.lineage > 0  # nothing can make it again

    def check(self) -> None:
        """Assert that nothing is withheld without a reason, once settled."""
        withheld = self._withheld
        for task_id, task in withheld.rerun.items():
            assert task.again, task_id.hex()
        for object_id, takers in withheld.lent.items():
            assert all(task.task_id in withheld.rerun for task in takers), object_id.hex()
        for object_id, row in self._rows.items():
            if row.freed and object_id not in withheld.lent and object_id not in withheld.due:
                assert row.state in (PENDING, FAILED), (object_id.hex(), row.state)
                kept = row.spent is not None or row.contains
                assert not kept or self.may_be_read(row), object_id.hex()
