"""Granting: which request gets which worker, and when workers start and end.

A worker is started when a request fits and no idle worker is left for it.  Plain workers (those
without actors) are capped.  At the cap, when every plain worker waits in ``get``, those are lent to
themselves that have queued what they wait for: they run it on top of the call that waits.  One
more worker starts only if none of them can, so nested tasks neither dead-lock nor start a
thousand processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from zfut.config import Config
from zfut.core.effects import KillProcess, Outbox, StartWorker
from zfut.core.node.draining import REFUSAL
from zfut.core.node.leases import LeaseTable, NodeLease
from zfut.core.node.resources import CPU, Resources, cpu_part
from zfut.core.node.worker_pool import IDLE, LEAVING, LENT, STARTING, Worker, WorkerPool
from zfut.exits import MAX_CALLS
from zfut.ids import TASK_UNITS
from zfut.wire import messages as m

REVOKE_AFTER_NS = 50_000_000
"""A request that waits this long while another owner holds more makes that one give way."""

ATTEMPTS = 3
"""So many workers may end before they are ready, one after another; then requests are refused."""


class Granting:
    """Leases, workers and resources of one node, and the decisions that join them."""

    def __init__(
        self,
        config: Config,
        resources: Resources,
        out: Outbox,
        name_worker: Callable[[], bytes],
    ) -> None:
        self._config = config
        self._out = out
        self._name_worker = name_worker
        self.resources = resources
        self.leases = LeaseTable()
        self.pool = WorkerPool()
        self.cpus = max(1, resources.total.get(CPU, 0) // TASK_UNITS)
        self.workers_max = config.workers_max or 4 * self.cpus + 16
        self.dirty = False
        self.prestart = 0
        self._over_since: int | None = None  # more CPUs are lent than there are
        self._refused: Mapping[bytes, int] = {}
        self._attempts = ATTEMPTS

    # ---------------------------------------------------------------- requests

    def request(self, owner: bytes, message: m.RequestLease, now: int) -> None:
        """An owner wants a worker."""
        known = self.leases.find(owner, message.lease_id)
        if known is not None:
            if known.worker:
                self._tell(known)
            return
        if owner in self._refused:
            self._out.send(owner, m.LeaseFailed(message.lease_id, REFUSAL))
            return
        lease = NodeLease(
            owner,
            message.lease_id,
            message.demand,
            message.depth,
            message.backlog,
            message.label,
            now,
            message.actor_id,
        )
        self.leases.enqueue(lease)
        self._attempts = max(self._attempts, 1)
        if not self.resources.feasible(lease.demand):
            lease.told = True
            why = self.resources.lacking(lease.demand)
            self._out.send(owner, m.LeaseWaits(lease.lease_id, why))
        self.dirty = True

    def end(self, owner: bytes, lease_id: int, now: int, *, to_pool: bool = True) -> None:
        """A lease was returned or cancelled, or its owner died."""
        lease = self.leases.end(owner, lease_id)
        if lease is None:
            return
        self.dirty = True
        if not lease.worker:
            return
        worker = self.pool.workers.get(lease.worker)
        if worker is None or lease.nested:
            self._credit(lease)
        elif not to_pool:
            self._credit(lease, worker)
        elif lease.actor_id:
            self._credit(lease, worker)
            self.retire(worker)
            self._out.add(KillProcess(worker.uid))
        elif worker.retiring:
            self._credit(lease, worker)
            self._let_go(worker)
        elif worker.doomed:
            self._credit(lease, worker)
            self.retire(worker)
        else:
            self._credit(lease)
            self.pool.take_back(worker, now)

    def drain(self, programs: Mapping[bytes, int]) -> None:
        """Programs, later ones too, get nothing new; what running tasks ask for is still lent."""
        self._refused = programs
        self.prestart = 0
        for lease in self.leases:
            if lease.owner not in programs:
                continue
            if not lease.worker:
                self.leases.end(lease.owner, lease.lease_id)
                self._out.send(lease.owner, m.LeaseFailed(lease.lease_id, REFUSAL))
            elif not (lease.actor_id or lease.revoked):
                lease.revoked = True
                self._out.send(lease.owner, m.LeaseRevoked(lease.lease_id))

    def _credit(self, lease: NodeLease, leaves: Worker | None = None) -> None:
        """A lease has ended; what is not a CPU is free when the worker that ``leaves`` is gone."""
        self.resources.give(lease.demand)
        if lease.blocked:
            self.resources.take(cpu_part(lease.demand))
            lease.blocked = False
        if leaves is not None:
            leaves.kept = tuple(item for item in lease.demand if item[0] != CPU)
            self.resources.take(leaves.kept)

    def _give_kept(self, worker: Worker) -> None:
        self.resources.give(worker.kept)
        worker.kept = ()
        self.dirty = True

    def retire(self, worker: Worker) -> None:
        """Lend a worker to nobody any more: it ends by itself or is being killed."""
        worker.state = LEAVING
        worker.lease = None
        worker.blocked = worker.stuck = False

    def doom(self, worker: Worker) -> None:
        """A worker is being killed: it is lent to nobody any more."""
        worker.doomed = True
        if worker.state == IDLE:
            self.retire(worker)

    def _let_go(self, worker: Worker) -> None:
        """Nobody sends this worker anything more: it may end."""
        self.retire(worker)
        self._out.send(worker.uid, m.Exit(MAX_CALLS))

    # ---------------------------------------------------------------- workers

    def worker_ready(self, uid: bytes, now: int) -> None:
        """A worker has its mailbox."""
        if self.pool.ready(uid, now) is not None:
            self.dirty = True
            self._attempts = ATTEMPTS

    def worker_retires(self, uid: bytes) -> None:
        """A worker takes no more work: its owner returns it, and nobody else gets it."""
        worker = self.pool.workers.get(uid)
        lease = self._lease_of(uid)
        if worker is None:
            return
        worker.retiring = True
        if lease is None and worker.state == IDLE:
            self._let_go(worker)
        elif lease is not None and not lease.actor_id:
            lease.revoked = True
            self._out.send(lease.owner, m.LeaseRevoked(lease.lease_id))

    def worker_lingers(self, uid: bytes, now: int) -> None:
        """A worker has ended all but its process: others use what it owns."""
        worker = self.pool.workers.get(uid)
        if worker is None:
            return
        if worker.lease is not None:
            self.end(*worker.lease, now, to_pool=False)
        self.retire(worker)
        self._give_kept(worker)
        self._more_may_fit()

    def _more_may_fit(self) -> None:
        """Something is free that no process is free for: those who had to give up may start one."""
        self.dirty = True
        self._attempts = max(self._attempts, 1)

    def worker_died(self, uid: bytes, why: str, now: int) -> None:
        """A worker is gone, and its lease with it."""
        worker = self.pool.died(uid)
        self.dirty = True
        if worker is None:
            return
        if worker.lease is not None:
            self.end(*worker.lease, now, to_pool=False)
        self._give_kept(worker)
        if worker.state != STARTING:
            self._attempts = max(self._attempts, 1)  # those who had it need another
            return
        self._attempts -= 1
        if self._attempts <= 0:
            self._refuse(f"no worker can be started there: {why}")

    def _refuse(self, why: str) -> None:
        """Requests that would need a new worker fail, unless their owner has one to go on with."""
        held = self.leases.held()
        for lease in self.leases.in_order():
            has_one = lease.owner in held and not lease.actor_id
            if not has_one and self.resources.fits(lease.demand):
                self.leases.end(lease.owner, lease.lease_id)
                self._out.send(lease.owner, m.LeaseFailed(lease.lease_id, why))

    def block(self, uid: bytes, nested_lease_id: int, *, runs: bool) -> None:
        """A worker's task waits: its CPU may be used meanwhile."""
        lease = self._lease_of(uid)
        if lease is None:
            return
        worker = self.pool.workers[uid]
        worker.stuck = not runs
        worker.nested_lease_id = nested_lease_id
        self._more_may_fit()
        if not lease.blocked:
            lease.blocked = worker.blocked = True
            self.resources.give(cpu_part(lease.demand))

    def unblock(self, uid: bytes, now: int) -> None:
        """A worker's task goes on; it takes its CPU even if that is lent by now."""
        lease = self._lease_of(uid)
        if lease is not None and lease.blocked:
            worker = self.pool.workers[uid]
            lease.blocked = worker.blocked = worker.stuck = False
            self.resources.take(cpu_part(lease.demand))
            if self._overcommitted() and self._over_since is None:
                self._over_since = now

    def _overcommitted(self) -> bool:
        """Whether more CPUs are lent than there are, and not about to be given back."""
        free = self.resources.free.get(CPU, 0)
        if free >= 0:
            return False
        ending = [x for x in self.leases.granted.values() if x.revoked and not x.blocked]
        return free + sum(amount for x in ending for _, amount in cpu_part(x.demand)) < 0

    def _lease_of(self, uid: bytes) -> NodeLease | None:
        worker = self.pool.workers.get(uid)
        if worker is None or worker.lease is None:
            return None
        return self.leases.granted.get(worker.lease)

    # ---------------------------------------------------------------- deciding

    def settle(self, now: int) -> None:
        """Grant what fits, start what is missing."""
        if not self.dirty:
            return
        self.dirty = False
        if self._over_since is not None and not self._overcommitted():
            self._over_since = None
        missing = 0
        for lease in self.leases.in_order():
            if not self.resources.fits(lease.demand):
                continue
            worker = self.pool.idle()
            if worker is None:
                missing += 1
                continue
            self._grant(lease, worker, now)
        self._start(max(missing, self.prestart - len(self.pool.plain())), missing)

    def _grant(self, lease: NodeLease, worker: Worker, now: int) -> None:
        lease.since = now
        self.resources.take(lease.demand)
        name = (lease.owner, lease.lease_id)
        bind = self.pool.lend(worker, name, lease.actor_id)
        self.leases.grant(lease, worker.uid, bind)
        self._out.send(worker.uid, m.Bind(bind, lease.lease_id, lease.owner, lease.demand))
        self._tell(lease)

    def _tell(self, lease: NodeLease) -> None:
        message = m.LeaseGranted(lease.lease_id, lease.worker, lease.bind, lease.nested)
        self._out.send(lease.owner, message)

    def _start(self, wanted: int, missing: int) -> None:
        if self._attempts <= 0:
            return
        starting = self.pool.count(STARTING)
        queued = self.leases.queued.values()
        actors = sum(1 for x in queued if x.actor_id and self.resources.fits(x.demand))
        plain = self.pool.plain()
        room = self.workers_max + actors - len(plain)
        if room <= 0 and missing and all(worker.stuck for worker in plain):
            room = 0 if self._grant_to_themselves() else 1
        limit = min(self._config.starting_max, room + starting)
        limit = min(limit, self._fitting(wanted))
        for _ in range(limit - starting):
            uid = self._name_worker()
            self.pool.start(uid)
            self._out.add(StartWorker(uid))

    def _grant_to_themselves(self) -> bool:
        """At the cap, with every worker waiting: those run what they wait for who can.

        Such a lease holds no CPU: its worker has given one back and will take it again.  Devices
        need a process of their own, which is gone when they are lent again.
        """
        granted = False
        for worker in self.pool.plain():
            lease = self.leases.queued.get((worker.uid, worker.nested_lease_id))
            if lease is None or not worker.stuck or worker.retiring:
                continue
            if any(amount for kind, amount in lease.demand if kind != CPU):
                continue
            lease.demand = ()
            lease.nested = True
            worker.stuck = False  # until it says otherwise
            self.leases.grant(lease, worker.uid, worker.bind)
            self._tell(lease)
            granted = True
        return granted

    def _fitting(self, wanted: int) -> int:
        """How many of the waiting requests fit together, so that no worker starts in vain."""
        free = dict(self.resources.free)
        count = 0
        for lease in self.leases.in_order():
            if all(free.get(kind, 0) >= amount for kind, amount in lease.demand if amount):
                for kind, amount in lease.demand:
                    free[kind] = free.get(kind, 0) - amount
                count += 1
        return min(wanted, max(count, self.prestart))

    # ---------------------------------------------------------------- time

    def woken(self, now: int) -> None:
        """Let owners with few workers have a turn; end workers that nobody needed for long."""
        self.dirty = True
        self._revoke(now)
        spare = len(self.pool.plain()) - max(self.cpus, self.prestart)
        for worker in self.pool.plain():
            if spare <= 0:
                break
            if worker.state == IDLE and now - worker.idle_at >= self._config.worker_idle_ns:
                self.retire(worker)
                self._out.send(worker.uid, m.Exit("idle"))
                spare -= 1

    def _revoke(self, now: int) -> None:
        if not self._overcommitted():
            self._over_since = None
        elif self._over_since is not None and now - self._over_since >= REVOKE_AFTER_NS:
            self._over_since = now
            self._revoke_what_was_lent_twice()
        held = self.leases.held()
        for lease in self.leases.in_order():
            if lease.told or now - lease.since < REVOKE_AFTER_NS:
                continue
            victim = self._victim(lease, held)
            if victim is not None and now - victim.since >= REVOKE_AFTER_NS:
                victim.revoked = True
                self._out.send(victim.owner, m.LeaseRevoked(victim.lease_id))
                return

    def _revoke_what_was_lent_twice(self) -> None:
        """The youngest leases with a CPU end with their tasks: who had waited has its CPU."""
        for lease in reversed(self.leases.granted.values()):
            if not self._overcommitted():
                return
            if cpu_part(lease.demand) and not (
                lease.actor_id or lease.blocked or lease.revoked
            ):
                lease.revoked = True
                self._out.send(lease.owner, m.LeaseRevoked(lease.lease_id))

    def _victim(self, lease: NodeLease, held: dict[bytes, int]) -> NodeLease | None:
        """Return the lease that is to make way; None if none can, or one does already.

        A deeper one cannot: its owner would ask again and go first.
        """
        free = self.resources.free
        lacks = [kind for kind, amount in lease.demand if free.get(kind, 0) < amount]
        mine = held.get(lease.owner, 0)
        for victim in self.leases.granted.values():
            if victim.owner == lease.owner or victim.actor_id or victim.blocked:
                continue
            helps = not lacks or any(kind in lacks for kind, _ in victim.demand)
            rich = held[victim.owner] > mine
            if helps and rich and victim.depth <= lease.depth:
                return None if victim.revoked else victim
        return None

    def _revoke_at(self, lease: NodeLease, held: dict[bytes, int]) -> int | None:
        victim = None if lease.told else self._victim(lease, held)
        if victim is None:
            return None
        return max(lease.since, victim.since) + REVOKE_AFTER_NS

    def wake_at(self) -> int | None:
        """When a request has waited for long, or a worker has idled for long."""
        held = self.leases.held()
        oldest = {  # of those that are alike the oldest waits longest
            (lease.owner, lease.demand, lease.depth, lease.told): lease
            for lease in reversed(self.leases.queued.values())
        }
        wakes = [self._revoke_at(lease, held) for lease in oldest.values()]
        if self._over_since is not None and self._overcommitted():
            wakes.append(self._over_since + REVOKE_AFTER_NS)
        if len(self.pool.plain()) > max(self.cpus, self.prestart):
            wakes += [
                worker.idle_at + self._config.worker_idle_ns
                for worker in self.pool.plain()
                if worker.state == IDLE
            ]
        return min((wake for wake in wakes if wake is not None), default=None)

    def check(self) -> None:
        """Assert every invariant."""
        self.resources.check()
        self.leases.check()
        self.pool.check()
        for name, lease in self.leases.granted.items():
            if lease.nested:
                continue
            worker = self.pool.workers[lease.worker]
            assert worker.state == LENT, worker
            assert worker.lease == name, worker
