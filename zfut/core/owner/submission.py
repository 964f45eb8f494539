"""Submission: tasks that wait for a worker, and the leases they run on.

Tasks of one scheduling key (demand and depth) share a queue and leases.  A granted lease is used
again and again; it is filled by measured run time, so that tiny tasks stream and long ones
balance; what it has not started can be recalled.  An idle lease lingers for a few milliseconds:
a loop of single calls then meets no node manager.

Invariants, checked by ``Submission.check``:
  - a task is in one queue or in flight on one lease, never both;
  - a lease's load is the sum of what its tasks in flight are thought to take;
  - lease requests of a key are at most ``lease_requests_max``, and none without a queue once settled.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection

from zfut.config import Config
from zfut.core.owner.records import Key, Lease, Task, take_from
from zfut.wire.specs import Demand


class Submission:
    """Facts only: the machine beside it decides and sends."""

    def __init__(self, uid: bytes, config: Config) -> None:
        self._uid = uid
        self._config = config
        self.keys: dict[tuple[Demand, int], Key] = {}
        self.leases: dict[int, Lease] = {}
        self.dirty: list[Key] = []
        self.by_worker: dict[bytes, Lease] = {}
        self.shipped: dict[bytes, dict[bytes, None]] = {}
        self.run_ns: dict[bytes, int] = {}
        self.hurried: list[Task] = []
        self.version = 0  # counts what may have come into a queue
        self._waiting: dict[bytes, tuple[int, Task]] = {}  # until they are pushed
        self._due: list[tuple[int, bytes]] = []
        self._next_lease = 1

    # ---------------------------------------------------------------- queues

    def enqueue(self, task: Task) -> None:
        """The task has its arguments and needs a worker."""
        key = self.key(task)
        key.queue.append(task)
        self.touch(key)
        if task.template.schedule_timeout_ns:
            self.hurried.append(task)

    def requeue(self, tasks: list[Task]) -> None:
        """These came back unstarted; they go first, in their order."""
        for task in reversed(tasks):
            key = self.key(task)
            key.queue.appendleft(task)
            self.touch(key)
            if task.template.schedule_timeout_ns:
                self.hurried.append(task)

    def take_out(self, gone: Collection[bytes]) -> list[Task]:
        """Take those that take one of these values out of their queues: they were lost."""
        out: list[Task] = []
        for key in self.keys.values():
            taken = [task for task in key.queue if any(d[1] in gone for d in task.deps)]
            if taken:
                names = dict.fromkeys(task.task_id for task in taken)
                left = [task for task in key.queue if task.task_id not in names]
                key.queue.clear()
                key.queue.extend(left)
                self.touch(key)
                out += taken
        return out

    def remove(self, task: Task) -> bool:
        """Take a cancelled task out of its queue. Returns whether it was there."""
        key = self.keys.get((task.template.demand, task.depth))
        if key is None or not take_from(key.queue, task):
            return False
        self.touch(key)
        return True

    def start_clocks(self, now: int) -> None:
        """These have just been queued and must find a worker in time."""
        for task in self.hurried:
            due = now + task.template.schedule_timeout_ns
            self._waiting[task.task_id] = due, task
            heapq.heappush(self._due, (due, task.task_id))
        self.hurried.clear()

    def overdue(self, now: int) -> list[tuple[Task, str]]:
        """Take out what has found no worker in time, and say why."""
        late: list[tuple[Task, str]] = []
        while (due := self._next_due()) is not None and due <= now:
            _, task = self._waiting.pop(self._due[0][1])
            if self.remove(task):
                limit = task.template.schedule_timeout_ns / 1e9
                lacking = self.key(task).why or "others keep the workers busy"
                late.append((task, f"{lacking}; its schedule_timeout of {limit:g} s is over"))
        return late

    def _next_due(self) -> int | None:
        """When the first of them will have waited too long; forgets those that do not wait."""
        while self._due:
            due, task_id = self._due[0]
            if self._waiting.get(task_id, (0,))[0] == due:
                return due
            heapq.heappop(self._due)
        return None

    def touch(self, key: Key) -> None:
        """Something changed for this key: look at it when the machine settles."""
        if not key.dirty:
            key.dirty = True
            self.version += 1
            self.dirty.append(key)

    def key(self, task: Task) -> Key:
        """Return the scheduling key of a task."""
        demand = task.template.demand
        key = self.keys.get((demand, task.depth))
        if key is None:
            key = self.keys[demand, task.depth] = Key(demand, task.depth)
        return key

    def forget(self, key: Key) -> None:
        """Nothing of this key is queued, asked for or lent: its next task makes it anew."""
        if self.keys.get((key.demand, key.depth)) is key:
            del self.keys[key.demand, key.depth]

    # ---------------------------------------------------------------- leases

    def new_lease(self, key: Key | None, actor_id: bytes = b"") -> Lease:
        """Name a lease to ask for."""
        lease = Lease(self._next_lease, key, actor_id)
        self._next_lease += 1
        self.leases[lease.lease_id] = lease
        if key is not None:
            key.requests[lease.lease_id] = lease
        return lease

    def wanted(self, key: Key) -> int:
        """How many more lease requests this key should have out."""
        limit = min(len(key.queue), self._config.lease_requests_max)
        return max(0, limit - len(key.requests))

    def grant(
        self, lease: Lease, worker: bytes, bind: int, now: int, *, nested: bool = False
    ) -> None:
        """The node lent us ``worker``."""
        lease.worker = worker
        lease.nested = nested
        lease.bind = bind
        lease.idle_at = lease.progress_at = now
        self.by_worker[worker] = lease
        if lease.key is not None:
            lease.key.requests.pop(lease.lease_id, None)
            lease.key.leases[lease.lease_id] = lease
            self.touch(lease.key)

    def end(self, lease: Lease) -> list[Task]:
        """The lease is over. Returns what was in flight on it."""
        self.leases.pop(lease.lease_id, None)
        if self.by_worker.get(lease.worker) is lease:
            del self.by_worker[lease.worker]
            for other in self.own() if lease.worker == self._uid else ():
                self.by_worker[self._uid] = other
        if lease.key is not None:
            lease.key.requests.pop(lease.lease_id, None)
            lease.key.leases.pop(lease.lease_id, None)
            self.touch(lease.key)
        tasks = list(lease.in_flight.values())
        lease.in_flight.clear()
        lease.load_ns = 0
        for task in tasks:
            task.lease = None
        return tasks

    def find(self, worker: bytes, task_id: bytes) -> Task | None:
        """Return the task in flight at ``worker``; a process lent to itself may have many leases."""
        lease = self.by_worker.get(worker)
        if lease is None:
            return None
        task = lease.in_flight.get(task_id)
        if task is None and worker == self._uid:
            for other in self.leases.values():
                if other.worker == worker and task_id in other.in_flight:
                    return other.in_flight[task_id]
        return task

    def own(self) -> list[Lease]:
        """Return the leases on this process itself."""
        return [lease for lease in self.leases.values() if lease.worker == self._uid]

    @staticmethod
    def nested(key: Key) -> list[Lease]:
        """Return the leases by which this process runs its own on top of what waits."""
        return [lease for lease in key.leases.values() if lease.nested]

    def ran_on(self, worker: bytes) -> list[Task]:
        """Return our tasks that are with this worker, begun or not."""
        lease = self.by_worker.get(worker)
        return list(lease.in_flight.values()) if lease is not None else []

    def forget_worker(self, worker: bytes) -> Lease | None:
        """The worker died: what it was shipped died with it. Returns our lease on it."""
        self.shipped.pop(worker, None)
        return self.by_worker.get(worker)

    # ---------------------------------------------------------------- pushing

    def fill(self, key: Key, now: int) -> list[tuple[Lease, list[Task]]]:
        """Move queued tasks to leases that have room, the emptiest first."""
        batches: list[tuple[Lease, list[Task]]] = []
        room = [lease for lease in key.leases.values() if self._has_room(lease)]
        room.sort(key=lambda lease: lease.load_ns)
        while key.queue and room:
            share = -(-len(key.queue) // len(room))
            lease = room.pop(0)
            tasks = self._take(key, lease, share, now)
            if tasks:
                batches.append((lease, tasks))
        return batches

    def _has_room(self, lease: Lease) -> bool:
        full = lease.load_ns >= self._config.pipeline_ns
        return not (full or lease.draining or lease.recalled or lease.nested)

    def take(self, task: Task, lease: Lease, now: int) -> bool:
        """Move one queued task to a lease. Returns whether it was there."""
        if not self.remove(task):
            return False
        self._waiting.pop(task.task_id, None)
        task.cost_ns = self.cost(task)
        task.lease = lease
        lease.progress_at = now
        lease.in_flight[task.task_id] = task
        lease.load_ns += task.cost_ns
        return True

    def _take(self, key: Key, lease: Lease, share: int, now: int) -> list[Task]:
        limit = self._config.pipeline_ns
        tasks: list[Task] = []
        queue = key.queue
        in_flight = lease.in_flight
        share = min(share, self._config.batch_max)
        while queue and len(tasks) < share and lease.load_ns < limit:
            task = queue[0]
            cost = self.cost(task)
            if cost >= limit and in_flight:
                break
            queue.popleft()
            if self._waiting:
                self._waiting.pop(task.task_id, None)
            task.cost_ns = cost
            task.lease = lease
            if not in_flight:
                lease.progress_at = now
            in_flight[task.task_id] = task
            lease.load_ns += cost
            tasks.append(task)
        return tasks

    def cost(self, task: Task) -> int:
        """What the task is thought to take; the whole pipeline if that is unknown.

        A task that must not run twice goes alone: if its worker dies, no doubt is left whether
        it had started.
        """
        template = task.template
        if task.alone or template.max_retries == 0:
            return self._config.pipeline_ns
        known = self.run_ns.get(template.function_id)
        if known is None:
            return self._config.pipeline_ns
        return min(known + self._config.task_overhead_ns, self._config.pipeline_ns)

    def to_ship(self, worker: bytes, tasks: list[Task]) -> list[Task]:
        """One task for each function that ``worker`` has not been sent yet; now it is."""
        known = self.shipped.get(worker)
        if known is None:
            known = self.shipped[worker] = {}
        new: list[Task] = []
        for task in tasks:
            function_id = task.template.function_id
            if function_id not in known:
                known[function_id] = None
                new.append(task)
        return new

    # ---------------------------------------------------------------- answers

    def finish(self, task: Task, run_ns: int, now: int) -> Lease | None:
        """The task ended. Returns its lease, which has room again."""
        lease = task.lease
        if lease is None:
            return None
        task.lease = None
        if run_ns:
            function_id = task.template.function_id
            known = self.run_ns.get(function_id, run_ns)
            self.run_ns[function_id] = (
                (7 * known + run_ns) // 8 if run_ns < known else (known + run_ns) // 2
            )
        lease.in_flight.pop(task.task_id, None)
        lease.load_ns -= task.cost_ns
        lease.progress_at = lease.idle_at = now
        lease.recalled = False
        if lease.key is not None:
            self.touch(lease.key)
        return lease

    def push_back(self, task: Task) -> None:
        """The worker gave the task back unstarted, because something else takes long there."""
        lease = task.lease
        task.lease = None
        if lease is not None:
            lease.in_flight.pop(task.task_id, None)
            lease.load_ns -= task.cost_ns
            lease.recalled = bool(lease.in_flight)
            if lease.key is not None:
                self.touch(lease.key)

    def stuck(self, now: int) -> list[Lease]:
        """Leases that have been silent for long with work queued behind what they run."""
        limit = now - self._config.recall_after_ns
        return [
            lease
            for lease in self.leases.values()
            if len(lease.in_flight) > 1 and not lease.recalled and lease.progress_at <= limit
        ]

    def lingering(self, now: int) -> list[Lease]:
        """Leases that have been idle for long enough to go back."""
        limit = now - self._config.lease_linger_ns
        return [
            lease
            for lease in self.leases.values()
            if lease.key is not None
            and lease.worker
            and not lease.in_flight
            and not lease.key.queue
            and (lease.idle_at <= limit or lease.draining)
        ]

    def wake_at(self) -> int | None:
        """When a lease will have been silent, or idle, for too long."""
        wake = self._next_due()
        for lease in self.leases.values():
            if not lease.worker or lease.key is None:
                continue
            if len(lease.in_flight) > 1 and not lease.recalled:
                at = lease.progress_at + self._config.recall_after_ns
            elif not lease.in_flight:
                at = lease.idle_at + self._config.lease_linger_ns
            else:
                continue
            if wake is None or at < wake:
                wake = at
        return wake

    def check(self) -> None:
        """Assert the invariants above."""
        for key in self.keys.values():
            assert len(key.requests) <= self._config.lease_requests_max
            assert key.dirty or key.queue or (key.leases and not key.requests), key
            for task in key.queue:
                assert task.lease is None
        for lease in self.leases.values():
            assert lease.load_ns == sum(task.cost_ns for task in lease.in_flight.values())
            for task in lease.in_flight.values():
                assert task.lease is lease
