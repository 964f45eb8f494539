"""What must hold after every turn, and what must be left when everything has ended.

The tables check themselves (``check``); here is what concerns several of them, or the truth
that only the simulator knows.  Letters in the comments name the families of the design: R
references, T tasks and leases, O objects, Q quiescence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zfut.core.node.machine import NodeMachine
from zfut.core.node.resources import CPU
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.records import STATE_NAMES, ObjectRow, Task
from zfut.core.worker import WorkerMachine
from zfut.sim import custody, rules
from zfut.sim.arena import violate
from zfut.sim.history import check_names

if TYPE_CHECKING:
    from zfut.sim.cluster import Cluster
    from zfut.sim.process import Process

SHOWN = 400


def require(holds: object, text: str) -> None:
    """Raise Violation unless it holds."""
    if not holds:
        violate(text)


def after_turn(cluster: Cluster, process: Process) -> None:
    """Check what one turn can break: the tables of its process, and what several agree on."""
    process.machine.check()
    if isinstance(process.machine, NodeMachine):
        resources_conserved(process.machine)
        leases_have_owners(cluster, process.machine)
    else:
        containment_is_counted(process.owner)
        rules.tables_agree(process)
        cluster.retries.check(process.owner)
        cluster.history.check_order(process)
        cluster.history.check_tokens(process)
        rules.foreigners_are_watched(process)
        custody.covers_are_there(process)
        custody.holds_are_counted(process)
    uses_are_held(cluster)
    workers_have_one_owner(cluster)
    rules.runs_once(cluster)
    custody.custody_is_founded(cluster)
    check_names(cluster)


def resources_conserved(node: NodeMachine) -> None:
    """T6: what is free, what leases hold, and devices of processes that leave, is all there is."""
    resources = node.granting.resources
    held = dict.fromkeys(resources.total, 0)
    for lease in node.granting.leases.granted.values():
        for kind, amount in lease.demand:
            if not (lease.blocked and kind == CPU):
                held[kind] += amount
    for worker in node.granting.pool.workers.values():
        for kind, amount in worker.kept:
            held[kind] += amount
    for kind, total in resources.total.items():
        free = resources.free[kind]
        if free + held[kind] != total:
            violate(f"{kind}: {free} free + {held[kind]} held != {total}")


def leases_have_owners(cluster: Cluster, node: NodeMachine) -> None:
    """T7: no request and no lease outlives the notice of its owner's death."""
    pool = node.granting.pool.workers
    bound: dict[bytes, None] = {}
    for lease in node.granting.leases:
        owner = lease.owner
        if owner not in node.drivers and owner not in pool:
            violate(f"lease {lease.lease_id} outlives {cluster.processes[owner].name}")
        if lease.worker and not lease.nested:
            if lease.worker in bound:
                violate(f"{cluster.processes[lease.worker].name} is bound to two leases")
            bound[lease.worker] = None


def uses_are_held(cluster: Cluster) -> None:
    """R1: what live code holds is known to its living owner, or on its way to it."""
    ghost = cluster.ghost
    for process in cluster.processes.values():
        if not process.alive or not process.uses:
            continue
        for object_id in process.uses:
            owner = cluster.processes[object_id[:16]]
            if not owner.alive or object_id in owner.owner.rows:
                continue
            if owner is process and _on_its_way(process, object_id):
                continue
            if not ghost.excused(process.uid, object_id):
                violate(
                    f"{process.name} holds {object_id.hex()}, which {owner.name} has forgotten"
                )


def _on_its_way(process: Process, object_id: bytes) -> bool:
    """Whether the event that makes the row, or makes it again, is still to be handled."""
    for event in process.inbox:
        if isinstance(event, Task):
            if event.task_id == object_id[:24]:
                return True
            continue
        made = (getattr(event, "stored", event), event)
        if any(getattr(one, "object_id", None) == object_id for one in made):
            return True
    return False


def workers_have_one_owner(cluster: Cluster) -> None:
    """T5: no two living owners think that the same worker is lent to them."""
    owners: dict[bytes, str] = {}
    for process in cluster.processes.values():
        if not process.alive or isinstance(process.machine, NodeMachine):
            continue
        for worker in process.owner.tasks.submission.by_worker:
            if worker == process.uid:
                continue  # lent to itself, on top of what it was lent for
            other = owners.setdefault(worker, process.name)
            if other != process.name:
                name = cluster.processes[worker].name
                violate(f"{name} is lent to {other} and {process.name}")


# -------------------------------------------------------------------- when all has ended


def at_rest(cluster: Cluster) -> None:
    """Q1: with every program ended and every reference dropped, nothing is left anywhere."""
    for process in cluster.processes.values():
        if not process.alive:
            continue
        for thread in process.threads:
            call = thread.call
            name = (
                cluster.ghost.calls[call.spec.task_id].name if call is not None else "a program"
            )
            violate(f"{process.name}: {name} waits for ever")
        if isinstance(process.machine, WorkerMachine):
            _executor_is_empty(process.name, process.machine)
        if isinstance(process.machine, NodeMachine):
            _node_is_empty(process.machine)
        else:
            _owner_is_empty(process)


def ended_actors_keep_nothing(cluster: Cluster) -> None:
    """R13: an actor that nobody can call keeps nothing, though its process may have to stay."""
    for process in cluster.workers():
        executor = process.worker.executor
        if process.alive and executor.actor_id and executor.exiting and not process.over:
            require(not process.kept, f"{process.name} has ended, and keeps {process.kept}")


def session_is_over(cluster: Cluster) -> None:
    """L1, L8: the node manager has ended: no worker is left, and no program waits."""
    for process in cluster.processes.values():
        if not process.alive:
            continue
        require(process in cluster.drivers, f"{process.name} outlives its session")
        require(process.over, f"{process.name} does not know that its session is over")
        require(not process.calls, f"{process.name} waits, and its session is over")
        waits = [one for one in process.threads if one.waits_for is not None and one.code]
        require(not waits, f"{process.name} has a get that waits for ever")


def only_cycles_are_left(cluster: Cluster) -> bool:
    """Whether rows are left, each held only by values that are left: a cycle of users."""
    left = False
    for process in cluster.processes.values():
        if not process.alive or isinstance(process.machine, NodeMachine):
            continue
        for object_id, row in process.owner.rows.items():
            left = True
            if row.local or row.submitted != _held_for_restarts(process.owner, object_id):
                return False
            for token, borrower in (row.borrowers or {}).items():
                held = cluster.processes[borrower].owner.rows.get(object_id)
                if held is None or token not in (held.tokens or ()):
                    return False
    return left


def _held_for_restarts(owner: OwnerMachine, object_id: bytes) -> int:
    """How often living actors hold the object as an argument of their constructor."""
    creations = [
        actor.creation
        for actor in owner.calls.actors.actors.values()
        if actor.creation is not None and actor.creation_held and actor.state != "dead"
    ]
    named = [
        name
        for creation in creations
        for name in (*(dep[1] for dep in creation.deps), *(one[0] for one in creation.nested))
    ]
    return named.count(object_id)


def containment_is_counted(owner: OwnerMachine) -> None:
    """R7, R10: an object counts each value of this process that it is in, once."""
    count: dict[bytes, int] = {}
    for row in owner.rows.values():
        for inner_id, _ in row.contains:
            count[inner_id] = count.get(inner_id, 0) + 1
    for inner_id, _ in owner.ledger.falling:
        count[inner_id] = count.get(inner_id, 0) + 1
    for object_id, row in owner.rows.items():
        right = count.get(object_id, 0)
        if row.contained_in != right:
            violate(f"{object_id.hex()} is in {right} values and counts {row.contained_in}")


def _owner_is_empty(process: Process) -> None:
    name, owner = process.name, process.owner
    ledger = owner.ledger
    submission = owner.tasks.submission
    tables = {
        "rows": [_row(*item) for item in ledger.objects.rows.items()],
        "waits": ledger.objects.waits,
        "covered references": list(ledger.covers.items()),
        "leases": submission.leases,
        "leased workers": submission.by_worker,
        "scheduling keys": submission.keys,
        "actors": owner.calls.actors.actors,
        "actors by worker": owner.calls.actors.by_worker,
        "calls that wait for registrations": owner.borrowing.missing,
        "tokens that wait": owner.ledger.tokens.unsaid,
        "calls that wait for a word": owner.ledger.tokens.held_up,
        "values kept for what is in them": owner.ledger.kept,
        "calls given up": owner.calls.doomed,
        "holds for the dead": owner.mourning.held,
        "answers about the dead": owner.mourning.answers,
        "calls of the dead": owner.mourning.orphans,
        "calls whose arguments are to be open": owner.mourning.opening,
        "calls that cover nothing": owner.borrowing.void,
        "allocated memory": ledger.memory.written_for,
        "waits for memory": ledger.memory.waiting,
        "waits for room to submit": ledger.backlog.waits,
    }
    for what, table in tables.items():
        require(not table, f"{name} is left with {what}: {_brief(table)}")
    backlog = ledger.backlog
    counts = backlog.open_calls, backlog.open_bytes
    require(counts == (0, 0), f"{name} counts unfinished calls, and their bytes: {counts}")


def _executor_is_empty(name: str, worker: WorkerMachine) -> None:
    inbox = worker.executor.inbox
    require(not inbox.queue, f"{name} is left with calls: {_brief(inbox.queue)}")
    require(not inbox.running, f"{name} still runs {_brief(inbox.running)}")
    require(not worker.executor.blocked, f"{name} still says that it is blocked")
    require(not worker.executor.held, f"{name} holds answers back")
    require(not worker.executor._early, f"{name} keeps early messages")  # noqa: SLF001


def _node_is_empty(node: NodeMachine) -> None:
    leases = node.granting.leases
    require(not leases.queued, f"requests wait: {_brief(leases.queued)}")
    require(not leases.granted, f"workers are lent: {_brief(leases.granted)}")
    resources = node.granting.resources
    require(resources.free == resources.total, f"resources are out: {resources.free}")
    lending = node.lending
    require(not lending.waiting, f"requests for memory wait: {_brief(lending.waiting)}")
    require(not lending.estates, f"the dead own memory: {_brief(lending.estates)}")
    require(not node.fencing.fences, f"fences wait: {_brief(node.fencing.fences)}")
    require(not lending.claimed, f"memory is claimed: {_brief(lending.claimed)}")
    require(not node.head.directory.names, "names are taken")
    alive = [*node.drivers, *node.granting.pool.workers]
    for watched in node.watchers:
        require(watched in alive, "a dead process is watched")
    for uid in lending.lent:
        require(uid in alive, "memory is lent to a dead process")


def _row(object_id: bytes, row: ObjectRow) -> str:
    holds = f"local={row.local} submitted={row.submitted} contained_in={row.contained_in}"
    counter = int.from_bytes(object_id[16:24], "big")
    return (
        f"#{counter} of {object_id[8:12].hex()} {STATE_NAMES[row.state]} {holds} "
        f"borrowers={row.borrowers} tokens={row.tokens}"
    )


def _brief(table: object) -> str:
    text = repr(table)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."
