"""Whatever waits has a cause that is alive: looked at when nothing is under way.

Then no message travels, no process has anything to handle, and only time can change something.
What is pending at such a moment must be explained by code that runs, by a process that is
stopped, or by a request that cannot be met yet; never by something that is *about to* happen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zfut.core.node.machine import NodeMachine
from zfut.core.node.worker_pool import LEAVING, STARTING
from zfut.core.owner.records import FREED, PENDING
from zfut.core.owner.why import Cause, Question, read_answer
from zfut.sim.arena import violate

if TYPE_CHECKING:
    from zfut.sim.cluster import Cluster
    from zfut.sim.process import Process


def causes_are_alive(cluster: Cluster) -> None:
    """Q3: follow everything that somebody waits for to its end."""
    for process in cluster.processes.values():
        if not process.alive:
            continue
        if isinstance(process.machine, NodeMachine):
            requests_wait_for_something(process.machine)
            continue
        rows = process.owner.rows
        for wait in process.owner.ledger.objects.waits.values():
            for object_id in wait.object_ids or _unfinished(process):
                if object_id in rows and rows[object_id].state in (PENDING, FREED):
                    _follow(cluster, process, object_id)


def _unfinished(process: Process) -> tuple[bytes, ...]:
    """What is to end before a call that waits to submit more goes on."""
    rows = process.owner.rows
    return tuple(name for name, row in rows.items() if row.task is not None)


def _follow(cluster: Cluster, process: Process, object_id: bytes) -> None:
    seen: dict[Question, None] = {}
    stack = [Question(process.uid, "object", object_id)]
    told: list[str] = []
    while stack:
        question = stack.pop()
        if question in seen:
            continue
        seen[question] = None
        if not cluster.lives(question.to):
            violate(f"{process.name} waits for the dead: {'; '.join(told)}")
        cause = _ask(cluster, question)
        told.append(cause.text)
        if cause.passing:
            violate(f"{process.name} waits for nothing: {'; '.join(told)}")
        stack.extend(reversed(cause.deeper))


def _ask(cluster: Cluster, question: Question) -> Cause:
    owner = cluster.processes[question.to].owner
    return read_answer(owner.told(question.kind, question.name))


def requests_wait_for_something(node: NodeMachine) -> None:
    """L3: a request that fits waits for a worker that starts, or for one that is at work."""
    granting = node.granting
    pool = granting.pool
    if granting._attempts <= 0:  # noqa: SLF001
        return  # no worker can be started: who asks has one to go on with
    plain = [worker for worker in pool.plain() if worker.state != LEAVING]
    for lease in granting.leases.queued.values():
        if not granting.resources.fits(lease.demand) or pool.count(STARTING):
            continue
        if pool.idle() is not None:
            violate(f"{lease.label} fits, and a worker is idle")
        if len(plain) < granting.workers_max:
            violate(f"{lease.label} fits, and no worker starts")
        if all(worker.stuck for worker in plain):
            violate(f"{lease.label} fits, and every worker is stuck")
