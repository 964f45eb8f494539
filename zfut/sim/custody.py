"""Who keeps what for whom: covers and tokens after every turn, every hold when nothing moves.

R2, R3: a process that borrows an object has a registration at its owner, or what brought it the
object is still there, and so on to the owner or to one who is registered.  Q2: when no message is
under way each hold has a use behind it, in a process that lives; R9, T10: and memory a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from zfut.core.node.machine import NodeMachine
from zfut.core.owner.actors import handle_id, is_handle
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.records import ObjectRow, Task
from zfut.core.worker import WorkerMachine
from zfut.ids import OBJECT_BYTES, PROC_BYTES, TASK_BYTES
from zfut.sim.arena import violate
from zfut.wire.specs import Stored

if TYPE_CHECKING:
    from zfut.sim.cluster import Cluster
    from zfut.sim.process import Process

Use: TypeAlias = tuple[bytes, bytes]
"""A process, and an object that it uses."""


# -------------------------------------------------------------------- after every turn


def covers_are_there(process: Process) -> None:
    """R2: what is borrowed is registered, and its owner has said so, or what it rests on is there."""
    owner = process.owner
    if _keeps_nothing(process):
        return
    for object_id, row in owner.rows.items():
        if row.owner is None or row.owner.uid in owner.ledger.dead or not row.needed():
            continue
        if object_id == _own_handle(process):
            continue  # an actor does not keep itself alive
        if not _owner_has_said_so(owner, row) and not _rests_on_something(process, object_id):
            violate(f"{process.name} borrows {object_id.hex()} without a token or a cover")
        if owner.ledger.tokens.is_known(row) and _is_for_lineage(process, object_id, row):
            violate(
                f"{process.name} believes that the value of {object_id.hex()} is kept for it"
            )


def _owner_has_said_so(owner: OwnerMachine, row: ObjectRow) -> bool:
    registered = [
        token for token in row.tokens or () if token not in owner.ledger.tokens.unsaid
    ]
    return bool(registered) and not row.lacks_token()


def _is_for_lineage(process: Process, object_id: bytes, row: ObjectRow) -> bool:
    """Whether all that the owner has of us stands for lineage alone."""
    known, unsaid = _lineage_at_owner(process, object_id), process.owner.ledger.tokens.unsaid
    return all(token in known for token in row.tokens or () if token not in unsaid)


def _lineage_at_owner(process: Process, object_id: bytes) -> dict[bytes, bytes]:
    """Return the tokens that stand for lineage alone, as the owner has it."""
    made = process.cluster.processes[object_id[:PROC_BYTES]].owner.rows.get(object_id)
    return (made.lineage_tokens or {}) if made is not None else {}


def _rests_on_something(process: Process, object_id: bytes) -> bool:
    """Whether a cover is there, or whoever must wait for the registration is."""
    owner = process.owner
    waiting = owner.ledger.tokens.unsaid
    tokens = owner.rows[object_id].tokens or ()
    waits = [one for token in tokens if token in waiting for one in waiting[token][0]]
    if _is_at_its_owner(process, object_id):
        return True
    return any(_waits(process, one) for one in waits) or any(
        _is_there(process, cover)
        and not any(one[:PROC_BYTES] in owner.ledger.dead for one in through)
        for cover, through in process.owner.ledger.covers.over(object_id).items()
    )


def _is_at_its_owner(process: Process, object_id: bytes) -> bool:
    """Whether the owner has the registration; or will have it, before the word that revives it."""
    made = process.cluster.processes[object_id[:PROC_BYTES]].owner.rows.get(object_id)
    if made is None:
        return False
    unsaid = process.owner.ledger.tokens.unsaid
    known = {**(made.borrowers or {}), **(made.lineage_tokens or {})}
    tokens = process.owner.rows[object_id].tokens or ()
    revived = [token for token in tokens if token in unsaid and not unsaid[token][0]]
    return bool(revived) or any(token in known for token in tokens)


def _waits(process: Process, name: bytes) -> bool:
    """Whether this is not over: a dead process's fence, a value that is kept, a call."""
    if len(name) == PROC_BYTES:
        return True
    if len(name) == OBJECT_BYTES:
        return name in process.owner.ledger.kept
    return _is_there(process, name)


def _keeps_nothing(process: Process) -> bool:
    """A process whose constructor failed ends, whatever it still has."""
    machine = process.machine
    failed = "constructor failed"
    return isinstance(machine, WorkerMachine) and machine.executor.exiting == failed


def _own_handle(process: Process) -> bytes:
    machine = process.machine
    return handle_id(machine.executor.actor_id) if isinstance(machine, WorkerMachine) else b""


def _is_there(process: Process, cover: bytes) -> bool:
    if len(cover) == OBJECT_BYTES:
        row = process.owner.rows.get(cover)
        return row is not None and row.needed()
    if not isinstance(process.machine, WorkerMachine):
        return False
    executor = process.machine.executor
    return cover in executor.inbox.running or cover in executor.held


def holds_are_counted(process: Process) -> None:
    """R10: an object counts each unfinished call of this process that carries it, once."""
    count: dict[bytes, int] = {}
    for object_id in _carried(process.owner):
        count[object_id] = count.get(object_id, 0) + 1
    for object_id, row in process.owner.rows.items():
        right = count.get(object_id, 0)
        if row.submitted != right:
            text = f"{object_id.hex()} is in {right} calls and counts {row.submitted}"
            violate(f"{process.name}: {text}")


def _carried(owner: OwnerMachine) -> Iterator[bytes]:
    given_up = [task for tasks in owner.calls.doomed.values() for task in tasks.values()]
    for task in [*_unfinished(owner), *given_up]:
        yield from (dep[1] for dep in task.deps)
        yield from (inner[0] for inner in task.nested)
        if task.actor_id and not task.weak:
            yield handle_id(task.actor_id)
    for held in owner.mourning.held.values():
        yield from held


def _unfinished(owner: OwnerMachine) -> list[Task]:
    """Every call of the tables, once; constructors for as long as they may run again."""
    found: dict[bytes, Task] = {}
    for row in owner.rows.values():
        waiters = [one for one in row.waiters or () if isinstance(one, Task)]
        for task in (row.task, *(one for one in waiters if not one.given_up())):
            if task is not None and task.creation is None:
                found[task.task_id] = task
    for tasks in owner.ledger.tokens.held_up.values():
        found.update((task.task_id, task) for task in tasks if not task.given_up())
    submission = owner.tasks.submission
    for lease in submission.leases.values():
        found.update(lease.in_flight)
    for key in submission.keys.values():
        found.update((task.task_id, task) for task in key.queue)
    for actor in owner.calls.actors.actors.values():
        found.update(actor.sent)
        found.update((task.task_id, task) for task in actor.queue)
        if actor.creation is not None and actor.creation_held:
            found[actor.actor_id] = actor.creation
    return list(found.values())


# -------------------------------------------------------------------- well-founded


def custody_is_founded(cluster: Cluster) -> None:
    """R3: of what protects a use one is not protected by that use itself, however indirectly."""
    founded: dict[Use, None] = {}
    for process in cluster.processes.values():
        if not process.alive or isinstance(process.machine, NodeMachine):
            continue
        if _keeps_nothing(process):
            continue
        for object_id, row in process.owner.rows.items():
            if row.owner is None or row.tokens or not row.in_use():
                continue
            if not _is_founded(cluster, (process.uid, object_id), founded, {}):
                violate(f"{process.name} and others protect {object_id.hex()} in a circle")


def _is_founded(
    cluster: Cluster, use: Use, founded: dict[Use, None], path: dict[Use, None]
) -> bool:
    """Whether a cover leads to the owner, or to one who is registered, by another way than this."""
    if use in founded:
        return True
    if use in path:
        return False
    path[use] = None
    covers = _supports(cluster, use)
    well = not covers or any(
        all(_is_founded(cluster, one, founded, path) for one in cover) for cover in covers
    )
    del path[use]
    if well:
        founded[use] = None
    return well


def _supports(cluster: Cluster, use: Use) -> list[list[Use]]:
    """Return for each cover what it rests on; none: it owns it, has a token, or is excused."""
    uid, object_id = use
    process = cluster.processes[uid]
    if not process.alive or object_id[:PROC_BYTES] == uid:
        return []
    row = process.owner.rows.get(object_id)
    if row is None or not cluster.lives(object_id[:PROC_BYTES]):
        return []
    covers: list[list[Use]] = []
    if row.registered():
        if not _is_revived_too_late(process, object_id, row):
            return []
        covers.append([use])
    for cover, through in process.owner.ledger.covers.over(object_id).items():
        way = [*through, object_id]
        inside = [(value[:PROC_BYTES], inner) for value, inner in pairwise(way)]
        if len(cover) == TASK_BYTES:
            lent = _lent_by_caller(cluster, process, cover, way[0])
            covers += [[*one, *inside] for one in lent]
        elif cover.startswith(uid):
            covers.append([])
        else:
            covers.append([(uid, cover), (cover[:PROC_BYTES], way[0]), *inside])
    return covers


def _is_revived_too_late(process: Process, object_id: bytes, row: ObjectRow) -> bool:
    """Whether the owner has not heard that we need more than lineage, and no call waits for it."""
    unsaid = process.owner.ledger.tokens.unsaid
    waits = any(unsaid[token][0] for token in row.tokens or () if token in unsaid)
    known = _lineage_at_owner(process, object_id)
    return not waits and all(token in known for token in row.tokens or ())


def _lent_by_caller(
    cluster: Cluster, process: Process, task_id: bytes, object_id: bytes
) -> list[list[Use]]:
    """A call's references are held by its caller; those inside an argument with the argument."""
    told = cluster.ghost.calls[task_id]
    caller = cluster.processes[told.owner]
    if not caller.alive or caller is process:
        return [[]]
    brought = [name for name, _ in told.plan.expects]
    brought += [name for name, _, _ in told.plan.refs if name == object_id]
    return [[(caller.uid, name)] for name in brought]


# -------------------------------------------------------------------- when nothing moves


def holds_are_real(cluster: Cluster) -> None:
    """Q2, R12: no message is under way, so each hold has its use, and each use its hold."""
    living = [process for process in cluster.processes.values() if process.alive]
    for process in living:
        if isinstance(process.machine, NodeMachine) or _keeps_nothing(process):
            continue
        handles_are_counted(process)
        for object_id, row in process.owner.rows.items():
            _borrowers_use_it(cluster, process, object_id, row)
            _owner_knows(cluster, process, object_id, row)
        memory_has_values(cluster, process)
        the_dead_are_forgotten(cluster, process)
    if isinstance(cluster.node.machine, NodeMachine):
        node_forgets_the_dead(cluster, cluster.node.machine)


def handles_are_counted(process: Process) -> None:
    """Q2: ``local`` is the handles and views of user code, and what the machine keeps by name."""
    uses = dict(process.uses)
    for held in process.owner.mourning.orphans.values():
        for object_id in held:
            uses[object_id] = uses.get(object_id, 0) + 1
    if isinstance(process.machine, WorkerMachine):
        for answer in process.machine.executor.held.values():
            for object_id in answer[3]:
                uses[object_id] = uses.get(object_id, 0) + 1
    for object_id, row in process.owner.rows.items():
        right = uses.pop(object_id, 0)
        if row.local != right:
            text = f"{object_id.hex()} has {right} handles and counts {row.local}"
            violate(f"{process.name}: {text}")
    if uses:
        violate(
            f"{process.name} has handles of what it does not know: {next(iter(uses)).hex()}"
        )


def _borrowers_use_it(
    cluster: Cluster, process: Process, object_id: bytes, row: ObjectRow
) -> None:
    """Q2, Q4: a registration is that of a process that lives and has the token."""
    for table in (row.borrowers, row.lineage_tokens):
        for token, uid in (table or {}).items():
            borrower = cluster.processes[uid]
            if not borrower.alive:
                violate(f"{process.name}: a dead process borrows {object_id.hex()}")
            held = borrower.owner.rows.get(object_id)
            if held is None or token not in (held.tokens or ()) or not held.needed():
                violate(f"{borrower.name} is registered for {object_id.hex()} and has no use")


def _owner_knows(cluster: Cluster, process: Process, object_id: bytes, row: ObjectRow) -> None:
    """R2: a token is known to the owner of what it stands for."""
    if row.owner is None or not cluster.lives(row.owner.uid):
        return
    if is_handle(object_id) and cluster.ghost.actors[object_id[:TASK_BYTES]].handed_on:
        return  # by the actor itself, whose handle keeps nobody alive
    made = cluster.processes[row.owner.uid].owner.rows.get(object_id)
    values = (made.borrowers or {}) if made is not None else {}
    lineage = (made.lineage_tokens or {}) if made is not None else {}
    tokens = row.tokens or []
    if not all(token in values or token in lineage for token in tokens):
        if not cluster.ghost.excused(process.uid, object_id):
            violate(f"{process.name} has a token for {object_id.hex()} that its owner has not")
        return
    if any((token in values) == row.downgraded for token in tokens):
        violate(f"{process.name} and its owner differ on how it uses {object_id.hex()}")


def memory_has_values(cluster: Cluster, process: Process) -> None:
    """R9, T10: what is written is the value of a row, or a call writes it now."""
    runs: dict[bytes, None] = {}
    outcomes: list[object] = []
    for thread in process.threads:
        if thread.call is not None:
            runs[thread.call.spec.task_id] = None
        if thread.waits_for is not None:
            outcomes.append(thread.waits_for.outcome)
    if isinstance(process.machine, WorkerMachine):
        runs.update(dict.fromkeys(process.machine.executor.held))
    for offset, uid in process.owner.ledger.memory.written_for.items():
        written = cluster.arena._written.get(offset)  # noqa: SLF001
        if not cluster.lives(uid) or offset in outcomes or written is None:
            continue
        if written.object_id[:TASK_BYTES] in runs:
            continue
        row = cluster.processes[uid].owner.rows.get(written.object_id)
        value = (row.spent or row.value) if row is not None else None
        if not isinstance(value, Stored) or value.offset != offset:
            name = written.object_id.hex()
            violate(f"{process.name} keeps memory for {name}, which is no value any more")


# -------------------------------------------------------------------- the dead


def the_dead_are_forgotten(cluster: Cluster, process: Process) -> None:
    """Q4: no dead process is in a table as a worker, a follower, or somebody who asked."""
    owner = process.owner
    submission = owner.tasks.submission
    actors = owner.calls.actors
    tables: dict[str, list[bytes]] = {
        "leases": list(submission.by_worker),
        "shipped functions": list(submission.shipped),
        "actors' workers": list(actors.by_worker),
        "followers": [uid for one in actors.actors.values() for uid in one.followers],
        "askers": [uid for row in owner.rows.values() for uid, _ in row.askers or ()],
        "calls given up": list(owner.calls.doomed),
    }
    for where, uids in tables.items():
        for uid in uids:
            if not cluster.lives(uid):
                name = cluster.processes[uid].name
                violate(f"{process.name}: {name}, which is dead, is in its {where}")
    if (owner.mourning.held or owner.mourning.answers) and not _opens_something(cluster):
        violate(f"{process.name} waits for a fence, and nothing is under way")


def node_forgets_the_dead(cluster: Cluster, node: NodeMachine) -> None:
    """Q4: leases, watchers, memory, names and fences are of processes that live."""
    lending = node.lending
    claims = [
        uid
        for _, claimers in lending.claimed.values()
        for uid in claimers
        if uid not in lending.estates  # until that is divided
    ]
    tables: dict[str, list[bytes]] = {
        "owners of leases": [lease.owner for lease in node.granting.leases],
        "lent workers": [one.worker for one in node.granting.leases.granted.values()],
        "watched": list(node.watchers),
        "watchers": [uid for watchers in node.watchers.values() for uid in watchers],
        "borrowers of memory": list(lending.lent),
        "claims": claims,
        "owners of names": [entry.owner for entry in node.head.directory.names.values()],
    }
    for where, uids in tables.items():
        for uid in uids:
            if not cluster.lives(uid):
                name = cluster.processes[uid].name
                violate(f"the node: {name}, which is dead, is in its {where}")
    if (node.fencing.fences or lending.estates) and not _opens_something(cluster):
        violate("the node waits for answers about the dead, and nothing is under way")


def _opens_something(cluster: Cluster) -> bool:
    """Whether a call of a dead caller opens its arguments: its process answers after that."""
    return any(worker.owner.mourning.opening for worker in cluster.workers())
