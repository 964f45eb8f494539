"""A node's leases a second time: lists of requests, leases and workers, and sums over them.

What is free is added up from what is granted each time it is asked for.  Which of several idle
workers is lent is left to the machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from zfut.wire.specs import Demand

STARTING, IDLE, LENT, LEAVING = "starting", "idle", "lent", "leaving"
Name = tuple[bytes, int]


@dataclass(eq=False)
class Request:
    """What an owner asked for; with a worker once it has one."""

    name: Name
    demand: Demand
    depth: int
    actor: bool = False
    worker: bytes = b""
    blocked: bool = False


@dataclass(eq=False)
class DumbNode:
    """Facts, and what follows from them."""

    total: dict[str, int]
    waiting: list[Request] = field(default_factory=list)
    granted: list[Request] = field(default_factory=list)
    workers: dict[bytes, str] = field(default_factory=dict)
    actors: set[bytes] = field(default_factory=set)
    doomed: set[bytes] = field(default_factory=set)
    orphaned: set[bytes] = field(default_factory=set)
    retiring: set[bytes] = field(default_factory=set)
    may_end: set[bytes] = field(default_factory=set)
    kept: dict[bytes, Demand] = field(default_factory=dict)

    def free(self) -> dict[str, int]:
        """Return the total less what is granted, but for the CPUs of those that wait.

        What is not a CPU is not free before the process that had it is gone.
        """
        free = dict(self.total)
        for demand in self.kept.values():
            for kind, amount in demand:
                if kind != "CPU":
                    free[kind] -= amount
        for lease in self.granted:
            for kind, amount in lease.demand:
                if not (lease.blocked and kind == "CPU"):
                    free[kind] -= amount
        return free

    def fits(self, request: Request) -> bool:
        """Whether the request could be granted now, if there were a worker."""
        free = self.free()
        return all(free.get(kind, 0) >= amount for kind, amount in request.demand)

    def in_state(self, state: str) -> list[bytes]:
        """Return the workers in this state."""
        return [uid for uid, its in self.workers.items() if its == state]

    def lease_of(self, worker: bytes) -> Request | None:
        """Return the lease on this worker."""
        found = [lease for lease in self.granted if lease.worker == worker]
        assert len(found) <= 1, "a worker is lent once"
        return found[0] if found else None

    def find(self, name: Name) -> Request | None:
        """Return the request or lease of this name."""
        found = [each for each in [*self.waiting, *self.granted] if each.name == name]
        assert len(found) <= 1, "a request waits or is granted"
        return found[0] if found else None

    # ---------------------------------------------------------------- what happens

    def next(self) -> Request | None:
        """Return the request to be granted: of those that fit the deepest, then the oldest."""
        able = [request for request in self.waiting if self.fits(request)]
        return max(able, key=lambda request: request.depth, default=None)

    def grant(self, request: Request, worker: bytes) -> None:
        """Lend an idle worker."""
        assert self.workers[worker] == IDLE, "only an idle worker is lent"
        self.waiting.remove(request)
        self.granted.append(request)
        request.worker = worker
        self.workers[worker] = LENT
        if request.actor:
            self.actors.add(worker)

    def end(self, name: Name) -> None:
        """A request is cancelled, or a lease returned: an actor's process ends with it."""
        request = self.find(name)
        if request is None:
            return
        if not request.worker:
            self.waiting.remove(request)
            return
        self.granted.remove(request)
        worker = request.worker
        leaves = request.actor or worker in self.retiring
        self.workers[worker] = LEAVING if leaves else IDLE
        if leaves:
            self.kept[worker] = request.demand
        if request.actor:
            self.doomed.add(worker)
        elif leaves:
            self.may_end.add(worker)

    def retire(self, uid: bytes) -> None:
        """A worker takes no more."""
        if self.workers[uid] == LEAVING:
            return
        self.retiring.add(uid)
        if self.workers[uid] == IDLE:
            self.workers[uid] = LEAVING
            self.may_end.add(uid)

    def linger(self, uid: bytes) -> None:
        """A worker runs nothing any more, and stays: its lease has ended, its devices are free."""
        self.granted = [lease for lease in self.granted if lease.worker != uid]
        self.workers[uid] = LEAVING
        self.kept.pop(uid, None)

    def die(self, uid: bytes) -> None:
        """A process is gone: its lease, and all that it asked for; who ran for it is to end."""
        self.workers.pop(uid, None)
        self.doomed.discard(uid)
        self.orphaned.discard(uid)
        self.retiring.discard(uid)
        self.may_end.discard(uid)
        self.kept.pop(uid, None)
        self.granted = [lease for lease in self.granted if lease.worker != uid]
        self.waiting = [request for request in self.waiting if request.name[0] != uid]
        for lease in [lease for lease in self.granted if lease.name[0] == uid]:
            self.granted.remove(lease)
            self.workers[lease.worker] = LEAVING
            self.kept[lease.worker] = lease.demand
            holds_more = any(kind != "CPU" and amount for kind, amount in lease.demand)
            ended = self.doomed if lease.actor or holds_more else self.orphaned
            ended.add(lease.worker)
