"""Leases: requests that wait, and workers that are lent.

    queued --- grant ---> granted --- end ---> (forgotten)
       '------ cancel, owner died ------------------^

Deeper requests go first: the tasks that submitted them hold workers and wait for them, and a
thousand nested tasks then need no thousand workers.  Among equals the older goes first.

Invariants, checked by ``LeaseTable.check``: a request is queued or granted, never both; a lease
debits its demand once, less its CPU while it is blocked.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from zfut.wire.specs import Demand

Name = tuple[bytes, int]
"""A lease's id is its owner's choice, so the owner is part of the name."""


class NodeLease(Struct, gc=False):
    """A request at this node, later a worker lent to ``owner``."""

    owner: bytes
    lease_id: int
    demand: Demand
    depth: int
    backlog: int
    label: str
    since: int  # enqueued, or granted
    actor_id: bytes = b""
    worker: bytes = b""  # grant
    bind: int = 0  # grant
    blocked: bool = False  # NodeMachine
    revoked: bool = False  # NodeMachine
    nested: bool = False  # Granting: the worker is the owner, and runs it on top of its call
    told: bool = False  # NodeMachine: the owner knows that it cannot fit


class LeaseTable:
    """Facts only: the machine beside it decides and sends."""

    def __init__(self) -> None:
        self.queued: dict[Name, NodeLease] = {}
        self.granted: dict[Name, NodeLease] = {}

    def find(self, owner: bytes, lease_id: int) -> NodeLease | None:
        """Return the request or lease of this name."""
        name = (owner, lease_id)
        return self.queued.get(name) or self.granted.get(name)

    def enqueue(self, lease: NodeLease) -> None:
        """A request arrived."""
        self.queued[lease.owner, lease.lease_id] = lease

    def in_order(self) -> list[NodeLease]:
        """Return waiting requests, the one to be served first at the front."""
        return sorted(self.queued.values(), key=lambda lease: -lease.depth)

    def grant(self, lease: NodeLease, worker: bytes, bind: int) -> None:
        """Lend ``worker``."""
        name = (lease.owner, lease.lease_id)
        del self.queued[name]
        lease.worker = worker
        lease.bind = bind
        self.granted[name] = lease

    def end(self, owner: bytes, lease_id: int) -> NodeLease | None:
        """Forget a request or lease, and return it."""
        name = (owner, lease_id)
        return self.queued.pop(name, None) or self.granted.pop(name, None)

    def of_owner(self, owner: bytes) -> list[NodeLease]:
        """Return everything that ``owner`` asked for or holds."""
        return [lease for lease in self if lease.owner == owner]

    def held(self) -> dict[bytes, int]:
        """Return how many workers without actors are lent to each owner that has any."""
        counts: dict[bytes, int] = {}
        for lease in self.granted.values():
            if not lease.actor_id:
                counts[lease.owner] = counts.get(lease.owner, 0) + 1
        return counts

    def __iter__(self) -> Iterator[NodeLease]:
        yield from list(self.queued.values())
        yield from list(self.granted.values())

    def check(self) -> None:
        """Assert the invariants above."""
        for name, lease in self.granted.items():
            assert name not in self.queued
            assert lease.worker
        for lease in self.queued.values():
            assert not lease.worker
