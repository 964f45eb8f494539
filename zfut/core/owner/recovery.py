"""Recovery: what was lost is made again, by the smallest set of calls, or fails with its reason.

``need`` walks from a lost value to the calls that made it and to those of their arguments that
are not there, with a stack of its own: chains may be thousands long.  Before anything runs it asks
whether all of it can (``zfut.core.owner.prospects``).  One run serves all lost
results of a call, and one that is under way serves whoever asks later.  Each run is a new attempt
of the same call; its arguments are waited for as those of any other.  References of other owners
inside them were kept as lineage alone: the call goes when their owners have said that they keep the
values again, since whom it is lent to asks them, and may be there first.
"""

from __future__ import annotations

from collections.abc import Callable

from zfut.core.owner.answering import answer_askers
from zfut.core.owner.calls import Calls
from zfut.core.owner.freeing import Freeing
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.prospects import Prospects
from zfut.core.owner.records import FREED, PENDING, STORED, ObjectRow, Task
from zfut.wire import messages as m
from zfut.wire.specs import Address


class Recovery:
    """Decides what runs again."""

    def __init__(
        self, ledger: Ledger, calls: Calls, freeing: Freeing, ready: Callable[[Task], None]
    ) -> None:
        self._ledger = ledger
        self._calls = calls
        self._freeing = freeing
        self._ready = ready
        self._prospects = Prospects(ledger, calls)
        self._rows = ledger.objects.rows

    def lost(self, object_id: bytes, attempt: int) -> None:
        """A value of ours that lay in a store is there no more."""
        row = self._rows.get(object_id)
        value = row.value if row is not None else None
        if row is None or row.owner is not None or row.state != STORED:
            return
        if getattr(value, "attempt", -1) != attempt:
            return  # it has been made again already
        for inner_id, inner in self._ledger.forget_value(row):
            self._ledger.release(inner_id, inner)
        if row.in_use():
            self.need(object_id)

    def need(self, object_id: bytes) -> None:
        """Somebody uses a value that is not there: make it again, and what that takes."""
        row = self._rows.get(object_id)
        if row is None or row.state != FREED:
            return
        failure = self._prospects.failure_of(object_id) if row.owner is None else None
        if failure is not None:
            self._ledger.fail_row(row, failure)
            answer_askers(self._ledger, object_id, row)
            return
        stack = [object_id]
        while stack:
            wanted = stack.pop()
            row = self._rows.get(wanted)
            if row is None or row.state != FREED:
                continue
            if row.owner is not None:
                self._revive(wanted, row, row.owner)
                continue
            assert row.made_by is not None
            stack.extend(self._run_again(row.made_by))

    def _revive(self, object_id: bytes, row: ObjectRow, owner: Address) -> None:
        """The value of a borrowed object is wanted again: its owner makes it if it must."""
        row.state, row.question = PENDING, 0
        if owner.uid in self._ledger.dead:
            self._ledger.fail_row(row, self._ledger.owner_died(object_id, owner.uid))
            return
        if row.downgraded:
            self._ledger.tokens.revive(object_id, row)
        self._ledger.locate(object_id, row)

    def drop_excess(self) -> None:
        """Lineage needs more memory than it may: the oldest calls will not run again."""
        lineage = self._ledger.lineage
        for task in lineage.excess():
            for _, row in lineage.results(task):
                row.made_by = None
                row.why_once = "lineage dropped"
            for object_id, row in lineage.drop(task):
                self._ledger.release(object_id, row)

    # ---------------------------------------------------------------- tokens for lineage only

    def on_downgrade(self, message: m.DowngradeBorrows) -> None:
        """A borrower needs objects of ours only to make others again."""
        for object_id, token in message.items:
            row = self._rows.get(object_id)
            holder = (
                row.borrowers.pop(token, None) if row is not None and row.borrowers else None
            )
            if row is None or holder is None:
                continue
            row.borrowers = row.borrowers or None
            row.lineage_tokens = {**(row.lineage_tokens or {}), token: holder}
            self._ledger.unheld(object_id, row)

    def on_revive(self, sender: bytes, message: m.ReviveBorrows) -> None:
        """A borrower needs the values of objects of ours again."""
        tokens = tuple([token for _, token in message.items])
        self._ledger.out.send(sender, m.BorrowsRegistered(tokens, ()))
        for object_id, token in message.items:
            row = self._rows.get(object_id)
            if row is None or not row.lineage_tokens:
                continue
            holder = row.lineage_tokens.pop(token, None)
            row.lineage_tokens = row.lineage_tokens or None
            if holder is not None:
                row.borrowers = {**(row.borrowers or {}), token: holder}
                self.need(object_id)

    def _expect_results(self, task: Task) -> bool:
        """What the call made and is gone is pending again. Returns whether it runs already."""
        for _, row in self._ledger.lineage.results(task):
            if row.state == FREED:
                row.state, row.task = PENDING, task
        under_way = task.again
        self._ledger.withheld.begin(task)
        return under_way

    def _run_again(self, task: Task) -> list[bytes]:
        """Submit a call once more. Returns those of its arguments that must be made again too."""
        if self._expect_results(task):
            return []
        assert not task.over
        task.attempt += 1
        task.retries_left -= 1 if task.retries_left > 0 else 0
        self._ledger.backlog.begin(task)
        self._freeing.lend(task, self._prospects.why_not)
        for object_id, owner in task.nested:
            self._ledger.tokens.hold_up(self._ledger.hold_argument(object_id, owner), task)
        missing, failure = self._ledger.hold_deps(task)
        if task.actor_id:
            self._calls.submit(task, again=True)
        if failure is not None:
            self._ledger.unblocked.append((task, failure))
        elif not task.waiting_on:
            self._ready(task)
        return missing
