"""Programs that wait for themselves: for what is made of what they do next.

A task may get hold of a reference to its own result, or call an actor whose constructor takes that,
or submit, beyond the bound, what waits for it (decision 0018).  Such a program never ends, and no
runtime could help it.  Only data are followed here: what a call takes, what it asks for and who
makes that.  A ring through a queue, or a worker that is not there, is the runtime's fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from zfut.core.owner.records import FREED, PENDING, Task
from zfut.ids import PROC_BYTES

if TYPE_CHECKING:
    from zfut.sim.cluster import Cluster
    from zfut.sim.process import Process


def a_program_waits_for_itself(cluster: Cluster) -> bool:
    """Whether a call that runs waits for something that is made of its own result."""
    return any(
        _comes_to(cluster, worker, call)
        for worker in cluster.workers()
        for call in worker.worker.executor.inbox.running
    )


def _comes_to(cluster: Cluster, worker: Process, call: bytes) -> bool:
    stack = list(_asked_by(worker, call))
    seen: dict[bytes, None] = {}
    while stack:
        object_id = stack.pop()
        if object_id in seen:
            continue
        seen[object_id] = None
        if object_id.startswith(call):
            return True
        stack.extend(_needed_for(cluster, object_id))
    return False


def _asked_by(process: Process, call: bytes) -> Iterator[bytes]:
    """Yield what a call that runs waits for."""
    owner = process.owner
    for wait in owner.ledger.objects.waits.values():
        if wait.caller == call:
            yield from (name for name in wait.object_ids if _is_pending(process, name))
    if any(submitter == call for submitter, _ in owner.ledger.backlog.waits.values()):
        for object_id, row in owner.rows.items():
            if row.task is not None and row.task.parent == call:
                yield object_id


def _needed_for(cluster: Cluster, object_id: bytes) -> Iterator[bytes]:
    """Yield what is missing for an object to be made."""
    owner = cluster.processes[object_id[:PROC_BYTES]]
    row = owner.owner.rows.get(object_id) if owner.alive else None
    task = row.task if row is not None else None
    if task is None:
        return
    if task.waiting_on:
        yield from _missing(owner, task)
        return
    if task.actor_id:
        home = cluster.processes[task.actor_id[:PROC_BYTES]]
        actor = home.owner.calls.actors.actors.get(task.actor_id) if home.alive else None
        creation = actor.creation if actor is not None and not actor.created else None
        if creation is not None and creation.waiting_on:
            yield from _missing(home, creation)
            return
    for worker in cluster.workers():
        if task.task_id in worker.worker.executor.inbox.running:
            yield from _asked_by(worker, task.task_id)


def _missing(process: Process, task: Task) -> Iterator[bytes]:
    yield from (name for _, name, _ in task.deps if _is_pending(process, name))


def _is_pending(process: Process, object_id: bytes) -> bool:
    row = process.owner.rows.get(object_id)
    return row is not None and row.state in (PENDING, FREED)
