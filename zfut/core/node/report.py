"""What a node manager says of itself when it is asked: plain data for ``status`` and its kin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zfut.ids import node_of, short

if TYPE_CHECKING:
    from zfut.core.node.lending import Waiting
    from zfut.core.node.machine import NodeMachine


def report(node: NodeMachine, topic: str) -> dict[str, Any]:
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
            "runs": _label(node, worker.lease),
        }
        for worker in node.granting.pool.workers.values()
        if worker.pid  # 0 means no process yet, and to ``kill`` the whole process group
    ]
    answer["waiting"] = [
        {
            "task": lease.label,
            "demand": {kind: amount / 10_000 for kind, amount in lease.demand},
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


def _label(node: NodeMachine, lease: tuple[bytes, int] | None) -> str:
    found = node.granting.leases.granted.get(lease) if lease is not None else None
    return found.label if found is not None else ""
