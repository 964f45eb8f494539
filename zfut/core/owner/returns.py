"""What calls returned: values and errors go into the rows that were made when they were submitted.

A result that could be lost is kept with its call (``zfut.core.owner.lineage``).  One that nobody
wants any more is cleaned up: it may take memory and hold references.
"""

from __future__ import annotations

from zfut.core.owner.answering import answer_askers
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.records import ObjectRow, Task
from zfut.ids import FIRST_RETURN
from zfut.wire.specs import Failed, Inline, Stored, Value


class Returns:
    """Ends calls; the ledger keeps what they made."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._rows = ledger.objects.rows

    def finish(self, task: Task, values: tuple[Value, ...], payload: bytes) -> None:
        """Record what a call of ours returned; what nobody wants any more is cleaned up."""
        ledger = self._ledger
        ledger.backlog.end(task)
        if task.again:
            ledger.withheld.end(task)
        if len(values) == 1 and type(values[0]) is Inline and not values[0].refs:
            self._finish_small(task, values[0], payload)
            return
        made = self._record(task, values, payload)
        again = [row for _, row in made if row.made_by is task]
        if again:
            ledger.lineage.keep(task, again)
        elif task.task_id in ledger.lineage.retained:
            self._spent(task)
        for object_id, row in made:
            if row.freed or not row.local:
                ledger.value_came(object_id, row)

    def _finish_small(self, task: Task, value: Inline, payload: bytes) -> None:
        """Record one small value without references: what most calls return."""
        ledger = self._ledger
        object_id = task.task_id + FIRST_RETURN
        row = self._rows.get(object_id)
        if row is not None and row.task is task:
            row.made_by = None  # it stays in its row
            ledger.set_value(row, value.encoding, payload[: value.size_bytes])
            if row.askers:
                answer_askers(ledger, object_id, row)
            if row.freed or not row.local:
                ledger.value_came(object_id, row)
        if task.task_id in ledger.lineage.retained:
            self._spent(task)

    def _record(
        self, task: Task, values: tuple[Value, ...], payload: bytes
    ) -> list[tuple[bytes, ObjectRow]]:
        """Put each value into its row. Returns the rows that were still there."""
        offset = 0
        made: list[tuple[bytes, ObjectRow]] = []
        for index, value in enumerate(values):
            object_id = task.task_id + (index + 1).to_bytes(4, "big")
            start = offset
            if type(value) is not Stored:
                offset += value.size_bytes
            row = self._rows.get(object_id)
            if row is None or row.task is not task:
                self._ledger.discard(value)
                continue
            self._take(task, row, value, payload[start:offset])
            if row.askers:
                answer_askers(self._ledger, object_id, row)
            made.append((object_id, row))
        return made

    def _take(self, task: Task, row: ObjectRow, value: Value, data: bytes) -> None:
        ledger = self._ledger
        if value.refs:
            row.contains = ledger.contain(value.refs)
        if isinstance(value, Stored):
            ledger.watch(value.creator)
            row.made_by = task if task.retries_left else None
            if row.made_by is None:
                row.why_once = _why_once(task)
            ledger.set_value(row, value.encoding, value)
        elif isinstance(value, Failed):
            ledger.fail_row(row, data)
        else:
            row.made_by = None  # it stays in its row
            ledger.set_value(row, value.encoding, data)

    def _spent(self, task: Task) -> None:
        """A call has had its last try: what it made stays, and what only it needed goes."""
        lineage = self._ledger.lineage
        if not lineage.results(task):
            for object_id, row in lineage.drop(task):
                self._ledger.release(object_id, row)

    def fail(self, task: Task, failure: bytes) -> None:
        """The call failed: so do all its return values."""
        self._ledger.backlog.end(task)
        self._ledger.withheld.end(task)
        for object_id in task.result_ids():
            row = self._rows.get(object_id)
            if row is not None and row.task is task:
                self._ledger.fail_row(row, failure)
                answer_askers(self._ledger, object_id, row)


def _why_once(task: Task) -> str:
    return "attempts exceeded" if task.template.max_retries else "retries off"
