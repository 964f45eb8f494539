"""Whatever waits has a cause that is alive: looked at when nothing is under way.

Then no message travels, no process has anything to handle, and only time can change something.
What is pending at such a moment must be explained by code that runs, by a process that is
stopped, or by a request that cannot be met yet; never by something that is *about to* happen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from zfut.core.node.machine import NodeMachine
from zfut.core.node.worker_pool import LEAVING, STARTING
from zfut.core.owner.records import FREED, PENDING, Task
from zfut.core.owner.why import Cause, Question, read_answer, read_wanted
from zfut.sim.arena import violate
from zfut.wire.specs import Demand

if TYPE_CHECKING:
    from zfut.sim.cluster import Cluster
    from zfut.sim.process import Process


def causes_are_alive(cluster: Cluster) -> None:
    """Q3: follow everything that is pending, whether somebody waits for it or not, to its end."""
    seen: dict[Question, None] = {}
    for process in cluster.processes.values():
        if not process.alive:
            continue
        if isinstance(process.machine, NodeMachine):
            requests_wait_for_something(process.machine)
            continue
        for question in _pending(process):
            _follow(cluster, process, question, seen)


def _pending(process: Process) -> Iterator[Question]:
    """All that is to come here: what is waited for, calls of this process, actors of its own."""
    owner, uid = process.owner, process.uid
    rows = owner.rows
    for wait in owner.ledger.objects.waits.values():
        for object_id in wait.object_ids:
            if object_id in rows and rows[object_id].state in (PENDING, FREED):
                yield Question(uid, "object", object_id)
    for object_id, row in rows.items():
        if row.task is not None or (row.owner is None and row.state == PENDING):
            yield Question(uid, "object", object_id)
    for actor in owner.calls.actors.actors.values():
        begins = actor.creation is not None and not actor.created
        if begins and actor.state != "dead":
            yield Question(uid, "actor", actor.actor_id)


def _follow(
    cluster: Cluster, process: Process, first: Question, seen: dict[Question, None]
) -> None:
    stack = [first]
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
        if cause.passing or not _is_live(cluster, question):
            violate(f"{process.name} waits for nothing: {'; '.join(told)}")
        stack.extend(reversed(cause.deeper))


def _ask(cluster: Cluster, question: Question) -> Cause:
    if question.kind == "room":
        return Cause("the store is full")
    if question.kind == "workers":
        return Cause("others have the workers")
    owner = cluster.processes[question.to].owner
    return read_answer(owner.told(question.kind, question.name))


def _is_live(cluster: Cluster, question: Question) -> bool:
    """Whether what is asked about is where its answer says: the tables agree, and the node."""
    process = cluster.processes[question.to]
    if question.kind == "room":
        return _has_asked_for_room(cluster, question.name)
    if question.kind == "workers":
        return _is_wanted(cluster, read_wanted(question.name))
    if question.kind == "task":
        return _runs(process, question.name)
    if question.kind == "actor":
        return _begins(cluster, process, question.name)
    row = process.owner.rows.get(question.name)
    if row is None or row.owner is not None or row.state != PENDING:
        return True
    return row.task is not None and _is_somewhere(cluster, process, row.task)


def _has_asked_for_room(cluster: Cluster, uid: bytes) -> bool:
    """Whether the node knows of everything for which a process waits for room."""
    node = cluster.node.machine
    assert isinstance(node, NodeMachine)
    asked = cluster.processes[uid].owner.ledger.memory.waiting
    return all((uid, request) in node.lending.waiting for request in asked)


def _is_wanted(cluster: Cluster, demand: Demand) -> bool:
    """Whether a request for this waits at the node, which knows that it could be met."""
    node = cluster.node.machine
    assert isinstance(node, NodeMachine)
    queued = node.granting.leases.queued.values()
    return any(lease.demand == demand and not lease.told for lease in queued)


def _runs(process: Process, task_id: bytes) -> bool:
    """A call that was sent here is queued behind others, or there is a thread that runs it."""
    inbox = process.worker.executor.inbox
    if task_id not in inbox.running:
        return any(call.spec.task_id == task_id for call in (*inbox.queue, *inbox.nested))
    calls = [thread.call for thread in process.threads if thread.code is not None]
    return any(call is not None and call.spec.task_id == task_id for call in calls)


def _begins(cluster: Cluster, process: Process, actor_id: bytes) -> bool:
    """An actor waits for its arguments, for a worker that the node knows of, or it has one."""
    actor = process.owner.calls.actors.actors.get(actor_id)
    if actor is None or actor.creation is None or actor.created or actor.state == "dead":
        return True
    if actor.creation.waiting_on:
        return True
    if actor.lease is None:
        return actor.between  # its last life is being ended
    return bool(actor.lease.worker) or _is_asked(cluster, process, actor.lease.lease_id)


def _is_somewhere(cluster: Cluster, process: Process, task: Task) -> bool:
    """A pending call of ours waits for arguments, is sent, or is in one queue that moves."""
    if task.waiting_on or task.lease is not None:
        return True
    if task.actor_id:
        actor = process.owner.calls.actors.actors.get(task.actor_id)
        return actor is not None and (task.task_id in actor.sent or task in actor.queue)
    submission = process.owner.tasks.submission
    key = submission.keys.get((task.template.demand, task.depth))
    if key is None or all(queued is not task for queued in key.queue):
        return False
    busy = any(lease.in_flight for lease in key.leases.values())
    return busy or any(_is_asked(cluster, process, lease_id) for lease_id in key.requests)


def _is_asked(cluster: Cluster, process: Process, lease_id: int) -> bool:
    """Whether the node knows of a request that somebody waits for."""
    node = cluster.node.machine
    assert isinstance(node, NodeMachine)
    return (process.uid, lease_id) in node.granting.leases.queued


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
