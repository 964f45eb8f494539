"""What calls that are not sent yet wait for, when arguments are lost or fail.

An argument that was there when a call was submitted can be lost before the call is sent: while it
waits for other arguments, for a worker, or for an actor's next life.  Then it waits for that
argument as well, or fails with it at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from zfut.core.owner.ledger import Ledger
from zfut.core.owner.records import FAILED, FREED, PENDING, ObjectRow, Task


def still_ready(ledger: Ledger, task: Task) -> bool:
    """Whether a call that was ready can be sent: what it takes may be lost since.

    If not it waits again, or fails, like a call that is submitted now.
    """
    failure: bytes | None = None
    for _, object_id, _ in task.deps:
        row = ledger.objects.rows[object_id]
        if row.state in (PENDING, FREED):
            _wait_for(ledger, task, object_id, row)
        elif row.state == FAILED and failure is None:
            failure = _failure(row)
    if failure is not None:
        ledger.unblocked.append((task, failure))
    return failure is None and not task.waiting_on


def value_lost(ledger: Ledger, object_id: bytes) -> None:
    """Calls that wait for other arguments take a value that is lost: they wait for it, too."""
    lost = ledger.objects.rows.get(object_id)
    if lost is None or not lost.submitted or lost.state not in (PENDING, FREED, FAILED):
        return
    known = _calls_that_wait([lost])
    for task_id, task in _calls_that_wait(ledger.objects.rows.values()).items():
        times = sum(1 for dep in task.deps if dep[1] == object_id)
        if not times or task_id in known:
            continue
        if lost.state == FAILED:
            ledger.unblocked.append((task, _failure(lost)))
            continue
        for _ in range(times):
            _wait_for(ledger, task, object_id, lost)


def values_freed(ledger: Ledger, gone: Collection[bytes]) -> None:
    """Calls that wait for other arguments take values that failed now: they fail, too."""
    rows = ledger.objects.rows
    for task in _calls_that_wait(rows.values()).values():
        failed = next((dep[1] for dep in task.deps if dep[1] in gone), b"")
        if failed:
            ledger.unblocked.append((task, _failure(rows[failed])))


def _calls_that_wait(rows: Iterable[ObjectRow]) -> dict[bytes, Task]:
    """Return the calls that wait for values of these rows, each once."""
    return {
        waiter.task_id: waiter
        for row in rows
        for waiter in row.waiters or ()
        if type(waiter) is Task and not waiter.given_up()
    }


def _wait_for(ledger: Ledger, task: Task, object_id: bytes, row: ObjectRow) -> None:
    task.waiting_on += 1
    row.add_waiter(task)
    ledger.locate(object_id, row)


def _failure(row: ObjectRow) -> bytes:
    return row.value if isinstance(row.value, bytes) else b""
