"""The worker pool: processes being started, idle, lent, or on their way out.

    starting --- ready ---> idle <--- lend / take back ---> lent
        '-------------------- died, from any state ----------'

Invariants, checked by ``WorkerPool.check``: an idle worker is in no lease; the counts of plain
workers agree with the table.
"""

from __future__ import annotations

from msgspec import Struct

from zfut.wire.specs import Demand

STARTING, IDLE, LENT, LEAVING = "starting", "idle", "lent", "leaving"


class Worker(Struct, gc=False):
    """One worker process of this node."""

    uid: bytes
    state: str = STARTING
    pid: int = 0  # started
    bind: int = 0  # lend
    idle_at: int = 0  # ready, take_back
    lease: tuple[bytes, int] | None = None  # lend, take_back
    actor_id: bytes = b""  # lend
    retiring: bool = False  # Granting: it takes no more work
    doomed: bool = False  # Granting: it is being killed
    kept: Demand = ()  # Granting: its lease has ended, and this is free when it is gone
    blocked: bool = False  # Granting
    stuck: bool = False  # Granting: it waits, and nothing runs on top of what waits
    nested_lease_id: int = 0  # Granting: a request that would let it go on


class WorkerPool:
    """Facts only: the machine beside it starts and ends processes."""

    def __init__(self) -> None:
        self.workers: dict[bytes, Worker] = {}

    def start(self, uid: bytes) -> Worker:
        """A process is being forked."""
        worker = self.workers[uid] = Worker(uid)
        return worker

    def ready(self, uid: bytes, now: int) -> Worker | None:
        """The process has its mailbox and may be lent."""
        worker = self.workers.get(uid)
        if worker is None or worker.state != STARTING:
            return None
        worker.state = IDLE
        worker.idle_at = now
        return worker

    def idle(self) -> Worker | None:
        """Return the idle worker that was used last: its memory is warm."""
        best: Worker | None = None
        for worker in self.workers.values():
            if worker.state == IDLE and (best is None or worker.idle_at > best.idle_at):
                best = worker
        return best

    def lend(self, worker: Worker, lease: tuple[bytes, int], actor_id: bytes) -> int:
        """Bind the worker to a lease. Returns the number that tells this binding apart."""
        worker.state = LENT
        worker.lease = lease
        worker.actor_id = actor_id
        worker.bind += 1
        return worker.bind

    def take_back(self, worker: Worker, now: int) -> None:
        """The lease ended and the worker lives."""
        worker.state = IDLE
        worker.lease = None
        worker.blocked = worker.stuck = False
        worker.idle_at = now

    def died(self, uid: bytes) -> Worker | None:
        """The process is gone."""
        return self.workers.pop(uid, None)

    def count(self, state: str) -> int:
        """How many workers are in this state."""
        return sum(1 for worker in self.workers.values() if worker.state == state)

    def plain(self) -> list[Worker]:
        """Return workers that live no actor, and stay."""
        return [
            worker
            for worker in self.workers.values()
            if not (worker.actor_id or worker.state == LEAVING)
        ]

    def greeted(self) -> list[bytes]:
        """Return the workers that have a mailbox."""
        return [worker.uid for worker in self.workers.values() if worker.state != STARTING]

    def check(self) -> None:
        """Assert the invariants above."""
        for worker in self.workers.values():
            assert (worker.lease is not None) == (worker.state == LENT), worker
