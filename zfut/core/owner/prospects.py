"""Whether a lost value can be made again, looked at before anything runs for it.

A call runs again only if every argument that it lacks is there, is on its way, or can be made again
itself.  So a loss that cannot be mended costs no work, and fails with the first cause on the way.
The walk has a stack of its own: chains may be thousands long.
"""

from __future__ import annotations

from zfut.core.owner.actors import is_handle
from zfut.core.owner.calls import Calls
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.records import FAILED, FREED, STORED, ObjectRow, Task
from zfut.wire.specs import Stored


class Prospects:
    """Facts only: the recovery beside it decides."""

    def __init__(self, ledger: Ledger, calls: Calls) -> None:
        self._ledger = ledger
        self._calls = calls
        self._rows = ledger.objects.rows

    def why_not(self, row: ObjectRow) -> str:
        """Why the call that made a value cannot run again; empty: it can, or does already."""
        if row.made_by is not None and row.made_by.again:
            return ""
        return self._obstacle(row)

    def _obstacle(self, row: ObjectRow) -> str:  # noqa: PLR0911  one for each
        task = row.made_by
        if task is None:
            return row.why_once or "put"
        if task.task_id not in self._ledger.lineage.retained:
            return "lineage dropped"
        if task.given_up():
            return "cancelled" if task.cancelled else "its last attempt failed"
        if not task.retries_left:
            return "attempts exceeded"
        if isinstance(task.args, Stored):
            packed = self._rows.get(task.args.object_id)
            if packed is None or packed.state != STORED:
                return "input lost"
        if task.actor_id:
            actor = self._calls.actors.actors.get(task.actor_id)
            if actor is None or actor.state == "dead":
                return "its actor is gone"
        if any(is_handle(inner) and inner not in self._rows for inner, _ in task.nested):
            return "an actor that it needs is gone"
        return ""

    def failure_of(self, object_id: bytes) -> bytes | None:
        """Return the error of a value of ours that cannot be made again; None: it can."""
        known: dict[bytes, bytes | None] = {}
        opened: dict[bytes, None] = {}
        stack = [object_id]
        while stack:
            name = stack[-1]
            if name in known:
                stack.pop()
                continue
            task, failure = self._prospect(name)
            if task is not None and name not in opened:
                opened[name] = None
                stack.extend(dep[1] for dep in task.deps if dep[1] not in known)
                continue
            if task is not None:
                failure = self._first_failure(task, known)
            known[name] = failure
            stack.pop()
        return known[object_id]

    def _first_failure(self, task: Task, known: dict[bytes, bytes | None]) -> bytes | None:
        for _, name, _ in task.deps:
            failure = known.get(name)
            if failure is not None:
                return self._ledger.failures.dependency(failure, task.template.name)
        return None

    def _prospect(self, object_id: bytes) -> tuple[Task | None, bytes | None]:
        """Return the call that has to run for a value, or the error; neither: it is there."""
        row = self._rows[object_id]
        freed = row.freed and row.state == FAILED
        if row.state != FREED and not freed:
            return None, row.value if row.state == FAILED else None  # type: ignore[return-value]
        if freed and row.spent is not None:
            return None, None  # it is lent
        if row.owner is not None:
            dead = row.owner.uid in self._ledger.dead
            return None, self._ledger.owner_died(object_id, row.owner.uid) if dead else None
        why = self.why_not(row)
        if row.made_by is None or why:
            if freed:
                return None, row.value  # type: ignore[return-value]
            system = self._ledger.failures.system
            return None, system("ReconstructionFailedError", object_id, why)
        return (None, None) if row.made_by.again else (row.made_by, None)
