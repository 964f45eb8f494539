"""What must hold of one process's tables after its turn, where they name other processes.

Letters name the families of the design: R references, T tasks, G lineage, M membership, F freed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from zfut.config import Config
from zfut.core.owner.actors import is_handle
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.lineage import arguments
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.records import FREED, ObjectRow, Task
from zfut.core.worker import WorkerMachine
from zfut.ids import PROC_BYTES
from zfut.sim.arena import violate
from zfut.wire.specs import Stored

if TYPE_CHECKING:
    from zfut.sim.cluster import Cluster
    from zfut.sim.process import Process


def tables_agree(process: Process) -> None:
    """Check one owner's tables, after its turn."""
    owner = process.owner
    ledger = owner.ledger
    for object_id, row in owner.rows.items():
        _owned_or_borrowed(process, object_id, row)
        _borrowers_live(process, object_id, row)
        _value_is_kept(process, object_id, row)
        _freed_is_let_go(process, object_id, row)
    if ledger.lineage.bytes > owner.ledger.config.lineage_max_bytes:
        violate(f"{process.name}: lineage takes {ledger.lineage.bytes} bytes")
    _lineage_is_whole(process, ledger)


def _owned_or_borrowed(process: Process, object_id: bytes, row: ObjectRow) -> None:
    """R8: an object is owned where its id says, and borrowed everywhere else."""
    mine = object_id[:PROC_BYTES] == process.uid
    if mine != (row.owner is None):
        violate(f"{process.name}: {object_id.hex()} is owned here: {row.owner is None}")
    if row.owner is None and process.uid in (row.borrowers or {}).values() and not row.in_use():
        violate(f"{process.name} borrows {object_id.hex()} from itself")


def _value_is_kept(process: Process, object_id: bytes, row: ObjectRow) -> None:
    """G4: only what a kept call can make again is freed; what was taken away is another thing."""
    freed = row.state == FREED and row.owner is None and not (row.made_by or row.task)
    bounded = process.owner.ledger.config.lineage_max_bytes < Config().lineage_max_bytes
    if freed and not bounded and object_id not in process.cluster.ghost.lost:
        violate(f"{process.name}: {object_id.hex()} is freed, and nothing makes it again")


def _freed_is_let_go(process: Process, object_id: bytes, row: ObjectRow) -> None:
    """F1: the memory of what user code freed is kept for somebody who may read it."""
    read = row.submitted or row.borrowers or row.contained_in or row.views
    if isinstance(row.spent, Stored) and not read:
        violate(f"{process.name} keeps the memory of {object_id.hex()}, which nobody may read")


def _borrowers_live(process: Process, object_id: bytes, row: ObjectRow) -> None:
    """R5: no registration outlives the notice of its holder's death."""
    for table in (row.borrowers, row.lineage_tokens):
        for borrower in (table or {}).values():
            if borrower in process.owner.ledger.dead:
                violate(f"{process.name}: a dead process borrows {object_id.hex()}")


def _lineage_is_whole(process: Process, ledger: Ledger) -> None:
    """G1: what a kept call takes can be had: it is ours, or registered with a living owner."""
    protected = {name: None for _, held in ledger.covers.items() for name in held}
    machine = process.machine
    if isinstance(machine, WorkerMachine) and machine.executor.exiting == "constructor failed":
        return  # this process ends, and makes nothing again
    for task in ledger.lineage.retained.values():
        for object_id in arguments(task):
            row = ledger.objects.rows.get(object_id)
            if row is None:
                violate(f"{process.name}: {task.template.name} needs a forgotten object")
            elif row.owner is None or row.tokens or row.in_use() or object_id in protected:
                continue
            elif row.owner.uid not in ledger.dead:
                violate(f"{process.name}: {task.template.name} needs an unregistered object")


def foreigners_are_watched(process: Process) -> None:
    """M4: whoever is in a table is watched, or is known to be dead."""
    ledger = process.owner.ledger
    for uid, where in _foreigners(process):
        if uid not in ledger.watched and uid not in ledger.dead:
            violate(f"{process.name} does not watch {uid.hex()}, which is in its {where}")


def _foreigners(process: Process) -> Iterator[tuple[bytes, str]]:
    owner = process.owner
    for row in owner.rows.values():
        yield from _in_row(row)
    for worker in owner.tasks.submission.by_worker:
        yield worker, "leases"
    for actor in owner.calls.actors.actors.values():
        if actor.state != "dead":
            yield actor.owner.uid, "actors"
            if actor.worker:
                yield actor.worker, "actors' workers"
    if isinstance(process.machine, WorkerMachine):
        inbox = process.machine.executor.inbox
        for call in (*inbox.queue, *inbox.running.values()):
            yield call.owner.uid, "calls"


def _in_row(row: ObjectRow) -> Iterator[tuple[bytes, str]]:
    if row.owner is not None:
        yield row.owner.uid, "borrowed objects"
    for token, borrower in (row.borrowers or {}).items():
        yield borrower, "borrowers"
        yield token[:PROC_BYTES], "issuers"
    for value in (row.value, row.spent):
        if isinstance(value, Stored):
            yield value.creator, "values"


class Retries:
    """T12, T2: tries are only used up, and no call runs in two processes at once."""

    def __init__(self) -> None:
        self._left: dict[bytes, int] = {}

    def check(self, owner: OwnerMachine) -> None:
        """Check the pending calls of one owner."""
        for task in _pending(owner):
            before = self._left.get(task.task_id, task.retries_left)
            if before >= 0 and not 0 <= task.retries_left <= before:
                violate(f"{task.template.name} had {before} tries and has {task.retries_left}")
            self._left[task.task_id] = task.retries_left


def _pending(owner: OwnerMachine) -> list[Task]:
    rows = owner.rows.items()
    return [row.task for name, row in rows if row.task is not None and not is_handle(name)]


def runs_once(cluster: Cluster) -> None:
    """T2: no call runs in two processes at once."""
    runs: dict[bytes, str] = {}
    for process in cluster.workers():
        for task_id in process.worker.executor.inbox.running:
            if task_id in runs:
                name = cluster.ghost.calls[task_id].name
                violate(f"{name} runs in {runs[task_id]} and in {process.name}")
            runs[task_id] = process.name
