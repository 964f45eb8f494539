"""What a node manager says of itself when it is asked: plain data for ``status`` and its kin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zfut.core.node.resources import CPU
from zfut.core.node.worker_pool import STARTING
from zfut.ids import TASK_UNITS, node_of, short

if TYPE_CHECKING:
    from zfut.core.node.lending import Waiting
    from zfut.core.node.machine import NodeMachine
    from zfut.core.node.worker_pool import Worker
    from zfut.wire.specs import Demand


def report(node: NodeMachine, topic: str, now: int) -> dict[str, Any]:
    """Answer ``topic``: "resources" or "status"."""
    resources = node.granting.resources
    answer: dict[str, Any] = {
        "node": node_of(node.uid).hex(),
        "total": resources.as_dict(free=False),
        "available": resources.as_dict(free=True),
    }
    if topic != "status":
        return answer
    leases = node.granting.leases
    answer["draining"] = node.draining.why
    answer["memory"] = node.lending.figures()
    answer["drivers"] = [
        {"id": short(uid), "uid": uid.hex(), "pid": pid} for uid, pid in node.drivers.items()
    ]
    answer["workers"] = [
        {
            "id": short(worker.uid),
            "uid": worker.uid.hex(),
            "pid": worker.pid,
            "state": "blocked" if worker.blocked else worker.state,
            "actor": short(worker.actor_id) if worker.actor_id else "",
            "actor_id": worker.actor_id.hex(),
            **_lent(node, worker, now),
        }
        for worker in node.granting.pool.workers.values()
        if worker.pid  # 0 means no process yet, and to ``kill`` the whole process group
    ]
    answer["starting"] = node.granting.pool.count(STARTING)
    answer["workers_max"] = node.granting.workers_max
    answer["waiting"] = [
        {
            "task": lease.label,
            "demand": _plain(lease.demand),
            "backlog": lease.backlog,
            "owner": short(lease.owner),
            "infeasible": lease.told,
        }
        for lease in leases.queued.values()
    ]
    answer["waiting_for_memory"] = [
        {
            "process": short(waiting.uid),
            "uid": waiting.uid.hex(),
            "bytes": waiting.size_bytes,
            "passed": waiting.passed_bytes,
            "behind": _behind(node, waiting),
        }
        for waiting in node.lending.waiting.values()
    ]
    answer["names"] = [
        {"namespace": namespace, "name": name, "actor": short(entry.actor_id)}
        for (namespace, name), entry in node.head.directory.names.items()
    ]
    return answer


def _behind(node: NodeMachine, waiting: Waiting) -> dict[str, Any] | None:
    other = node.lending.behind(waiting)
    if other is None:
        return None
    return {"process": short(other.uid), "bytes": other.size_bytes}


def _lent(node: NodeMachine, worker: Worker, now: int) -> dict[str, Any]:
    """Say what a worker was lent for, to whom, when, and what it keeps others from having."""
    lease = node.granting.leases.granted.get(worker.lease) if worker.lease else None
    if lease is None:
        return {"runs": "", "owner": "", "lent_s": 0.0, "holds": _plain(worker.kept)}
    held = lease.demand
    if lease.blocked:
        held = tuple(item for item in held if item[0] != CPU)
    return {
        "runs": lease.label,
        "owner": lease.owner.hex(),
        "lent_s": (now - lease.since) / 1e9,
        "holds": _plain(held),
    }


def _plain(demand: Demand) -> dict[str, float]:
    return {kind: amount / TASK_UNITS for kind, amount in demand if amount}
