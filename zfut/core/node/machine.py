"""The node manager: lends its node's workers and memory, notices deaths, tells who must know.

It never sees a task: owners push work to the workers they were lent.  What it decides: who gets a
worker, in which order; when to start one and when to end one; who may write in the arena; and
what the end of a process means for all of these.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from zfut.config import Config
from zfut.core import events as e
from zfut.core.effects import (
    Effect,
    EndProcess,
    Forget,
    KillProcess,
    Note,
    Outbox,
    WatchProcess,
)
from zfut.core.head.machine import HeadMachine
from zfut.core.node.draining import Draining
from zfut.core.node.fencing import Fence, Fencing
from zfut.core.node.granting import Granting
from zfut.core.node.lending import Lending, Piece, Waiting
from zfut.core.node.report import report
from zfut.core.node.resources import CPU, Resources
from zfut.core.node.worker_pool import LENT
from zfut.exits import ORPHANED
from zfut.wire import messages as m

COLLECT_AFTER_NS, COLLECT_EVERY_NS = 50_000_000, 1_000_000_000
"""A request for memory waits so long before everybody is asked to collect garbage for it, and so
long lies between two times: a store that is full but moves costs no collections."""


class NodeMachine:
    """Pure: events go in by ``handle``, effects come out of ``settle``."""

    def __init__(
        self,
        uid: bytes,
        config: Config,
        total: dict[str, int],
        capacity_bytes: int,
        name_worker: Callable[[], bytes],
    ) -> None:
        self.uid = uid
        self.config = config
        self.out = Outbox()
        self.granting = Granting(config, Resources(total), self.out, name_worker)
        self.lending = Lending(capacity_bytes)
        self.head = HeadMachine(self.out)
        self.drivers: dict[bytes, int] = {}
        self.watchers: dict[bytes, dict[bytes, None]] = {}
        self.draining = Draining(config)
        self.stopping = ""
        self._scarce: dict[bytes, None] = {}
        self._collected = -COLLECT_EVERY_NS
        self._condemned: dict[bytes, str] = {}
        self._orphans: dict[bytes, int] = {}  # workers of dead owners -> when they are killed
        self.fencing = Fencing()

    # ---------------------------------------------------------------- the doors

    def handle(self, event: e.Event, now: int) -> None:
        """Take one event."""
        match event:
            case e.Received(sender, message):
                if sender in self.drivers or sender in self.granting.pool.workers:
                    self._on_message(sender, message, now)
                elif isinstance(message, m.Hello):
                    self._on_hello(sender, message, now)
            case e.ProcessStarted(uid, pid):
                self._on_process_started(uid, pid)
            case e.ProcessEnded(uid, why):
                self._on_process_ended(uid, why, now)
            case e.Woken():
                self._on_woken(now)
            case e.Unreachable(uid):
                if uid in self.granting.pool.workers:
                    self.out.add(KillProcess(uid))
            case _:
                raise AssertionError(event)

    def settle(self, now: int) -> list[Effect]:
        """Return everything that is to be done about the events so far."""
        if not self.stopping:
            self.granting.settle(now)
            out = len(self.granting.leases.granted)
            if over := self.draining.over(out, self.drivers, now):
                self.stop(over)
        return self.out.take()

    def step(self, event: e.Event, now: int) -> list[Effect]:
        """Handle one event and settle."""
        self.handle(event, now)
        return self.settle(now)

    def wake_at(self) -> int | None:
        """When to hand in a Woken event."""
        wakes = [self.granting.wake_at(), self.draining.wake_at(), *self._orphans.values()]
        if self.lending.waiting:
            oldest = min(waiting.since for waiting in self.lending.waiting.values())
            wakes += [oldest + self.config.store_full_timeout_ns, self._collects_at()]
        return min((wake for wake in wakes if wake is not None), default=None)

    def check(self) -> None:
        """Assert every invariant."""
        self.granting.check()
        self.lending.check()

    # ---------------------------------------------------------------- messages

    def _on_process_started(self, uid: bytes, pid: int) -> None:
        worker = self.granting.pool.workers.get(uid)
        if worker is not None:
            worker.pid = pid

    def _on_hello(self, sender: bytes, message: m.Hello, now: int) -> None:
        if message.kind == "worker":
            if sender in self.granting.pool.workers:  # it may be dead by now
                self._on_process_started(sender, message.pid)  # its own word may come first
                self.fencing.greeted(sender)
                self.granting.worker_ready(sender, now)
        elif message.kind == "driver":
            self.drivers[sender] = message.pid
            self.fencing.greeted(sender)
            self.out.add(WatchProcess(sender, message.pid))

    def _on_message(self, sender: bytes, message: m.Message, now: int) -> None:
        granting = self.granting
        match message:
            case m.RequestLease():
                granting.request(sender, message, now)
            case m.ReturnLease(lease_id) | m.CancelLease(lease_id):
                granting.end(sender, lease_id, now)
            case m.Blocked(nested_lease_id, runs):
                granting.block(sender, nested_lease_id, runs=runs)
            case m.Unblocked():
                granting.unblock(sender, now)
            case m.Watch(uids):
                self._on_watch(sender, uids)
            case m.KillWorker(uid, why, lease_id):
                lease = granting.leases.find(sender, lease_id) if lease_id else None
                lent = lease is not None and lease.worker == uid
                if uid in granting.pool.workers and (lent or not lease_id):
                    self._condemned[uid] = why
                    granting.doom(granting.pool.workers[uid])
                    self.out.add(KillProcess(uid))
            case m.FenceProcess(uid):
                self._on_fence(sender, uid)
            case m.RegisterName() | m.FindName() | m.ReleaseName():
                self.head.handle(sender, message)
            case m.AskNode(request, topic):
                answer = msgspec.json.encode(report(self, topic, now))
                self.out.send(sender, m.NodeSays(request, answer))
            case m.Stop(why, drain):
                if not drain:
                    self.stop(why)
                elif self.draining.begin(why, sender, now):
                    self.granting.drain(self.drivers)
            case m.Retire(lingers):
                if lingers:
                    self._orphans.pop(sender, None)
                    granting.worker_lingers(sender, now)
                else:
                    granting.worker_retires(sender)
            case m.Farewell():
                self._on_process_ended(sender, "left", now)
            case m.Hello():
                self._on_hello(sender, message, now)
            case _:
                self._on_memory_message(sender, message, now)

    def _on_watch(self, watcher: bytes, uids: tuple[bytes, ...]) -> None:
        for uid in uids:
            if uid in self.drivers or uid in self.granting.pool.workers:
                self.watchers.setdefault(uid, {})[watcher] = None
            elif uid != self.uid:
                why = self.fencing.obituaries.get(uid, "it had ended before")
                self.out.send(watcher, m.ProcessDied(uid, why))

    # ---------------------------------------------------------------- memory

    def _on_memory_message(self, sender: bytes, message: m.Message, now: int) -> None:
        match message:
            case m.BorrowMemory():
                self._on_borrow(sender, message, now)
            case m.ReturnMemory(pieces, withdrawn):
                self.lending.give_back(sender, pieces)
                self.lending.withdraw(sender, withdrawn)
                self._serve_memory()
            case m.ClaimMemory(uid, pieces, fence, number):
                self.lending.claim(sender, pieces)
                if number:
                    self.out.send(sender, m.MemoryClaimed(number))
                    return
                self.lending.answered(uid, sender)
                self._tell_fenced(self.fencing.answered(sender, fence))
                self._serve_memory()
            case m.CedeMemory(uid, pieces):
                self._on_cede(sender, uid, pieces)
            case m.FreeClaimed(offsets):
                self.lending.free_claimed(sender, offsets)
                self._serve_memory()
            case _:
                raise AssertionError(message)

    def _on_cede(self, writer: bytes, dead: bytes, pieces: tuple[Piece, ...]) -> None:
        """Memory that was written for a dead owner: everybody is asked what they need of it."""
        if self._is_here(dead):
            return
        number = self._begin_fence(b"", dead)
        asked = dict(self.fencing.fences[number].unanswered)
        self.lending.cede(writer, dead, pieces, asked)

    def _on_borrow(self, sender: bytes, message: m.BorrowMemory, now: int) -> None:
        size = message.size_bytes
        if size > self.lending.capacity_bytes:
            self.out.send(sender, m.MemoryRefused(message.request, self._full_text(size)))
            return
        piece = None
        if not self.lending.waiting:
            piece = self.lending.borrow(sender, size, message.wish_bytes)
        if piece is not None:
            self.out.send(sender, m.MemoryLent(message.request, *piece))
            return
        self.lending.wait(Waiting(sender, message.request, size, message.wish_bytes, now))
        self._serve_memory()  # it may pass those that wait for more

    def _ask_for_memory(self) -> None:
        """Everybody gives back what is unused, until nobody waits."""
        needed = self._needed()
        for uid in self.lending.lent:
            if uid not in self._scarce:
                self._scarce[uid] = None
                self.out.send(uid, m.ReclaimMemory(needed))

    def _collects_at(self) -> int | None:
        """When everybody is asked to collect garbage for those who wait, once for each."""
        waiting = self.lending.unsearched()
        if waiting is None:
            return None
        patience = min(COLLECT_AFTER_NS, self.config.store_full_timeout_ns // 2)
        again = min(COLLECT_EVERY_NS, self.config.store_full_timeout_ns // 2)
        return max(waiting.since + patience, self._collected + again)

    def _collect(self, now: int) -> None:
        """Everybody is asked who may have views, also those who have been lent nothing."""
        collects_at = self._collects_at()
        if collects_at is None or now < collects_at:
            return
        self._collected = now
        self.lending.searched()
        needed = self._needed()
        for uid in (*self.drivers, *self.granting.pool.greeted()):
            self._scarce[uid] = None
            self.out.send(uid, m.ReclaimMemory(needed, garbage=True))

    def _needed(self) -> int:
        return sum(waiting.size_bytes for waiting in self.lending.waiting.values())

    def _serve_memory(self) -> None:
        for waiting, piece in self.lending.serve():
            self.out.send(waiting.uid, m.MemoryLent(waiting.request, *piece))
        if self.lending.waiting:
            self._ask_for_memory()
        elif self._scarce:
            for uid in self._scarce:
                self.out.send(uid, m.ReclaimMemory(0))
            self._scarce.clear()

    def _full_text(self, size_bytes: int, passed_bytes: int = 0) -> str:
        figures = self.lending.figures()
        passed = f"; {passed_bytes} went meanwhile to smaller requests that came later"
        return (
            f"{size_bytes} bytes wanted, {figures['free']} of {figures['capacity']} bytes free "
            f"(largest piece {figures['largest']}), {figures['lent']} lent to "
            f"{len(self.lending.lent)} processes{passed if passed_bytes else ''}"
        )

    # ---------------------------------------------------------------- life and death

    def _on_process_ended(self, uid: bytes, why: str, now: int) -> None:
        """One step: everything that the end of ``uid`` means."""
        worker = self.granting.pool.workers.get(uid)
        if worker is None and self.drivers.pop(uid, None) is None:
            return
        why = self._condemned.pop(uid, "") or why
        self._orphans.pop(uid, None)
        is_awaited = self.fencing.died(uid, why)
        if worker is not None:
            self.granting.worker_died(uid, why, now)
        self._end_what_it_owned(uid, now)
        self.head.on_process_died(uid)
        self._scarce.pop(uid, None)
        witnesses = self.watchers.pop(uid, {})
        if self.lending.leaves(uid):  # a Watch may be under way: all are asked what they need
            witnesses.update(dict.fromkeys(self.drivers))
            witnesses.update(dict.fromkeys(self.granting.pool.greeted()))
        for others in self.watchers.values():
            others.pop(uid, None)
        self.lending.died(uid, witnesses)
        self.out.add(Forget(uid))
        for witness in witnesses:
            self.out.send(witness, m.ProcessDied(uid, why))
        if is_awaited:  # what it would have answered for is answered for with its own death
            self._tell_fenced(self.fencing.answered(uid, self._begin_fence(b"", uid)))
        self._serve_memory()

    def _on_fence(self, asker: bytes, dead: bytes) -> None:
        """Everybody is asked what it uses that only the dead process protected."""
        if not self._is_here(dead):
            self._begin_fence(asker, dead)

    def _is_here(self, uid: bytes) -> bool:
        return uid in self.drivers or uid in self.granting.pool.workers

    def _begin_fence(self, asker: bytes, dead: bytes) -> int:
        obituaries = self.fencing.obituaries
        number, news = self.fencing.ask(asker, dead)
        for uid, other in news:
            self.out.send(uid, m.ProcessDied(other, obituaries[other]))
        why = obituaries.get(dead, "it had ended before")
        for uid in self.fencing.fences[number].unanswered:
            self.out.send(uid, m.ProcessDied(dead, why, number))
        return number

    def _tell_fenced(self, complete: list[Fence]) -> None:
        for fence in complete:
            for asker in fence.askers:
                self.out.send(asker, m.ProcessFenced(fence.dead))

    def _end_what_it_owned(self, uid: bytes, now: int) -> None:
        """Leases end with their owner; a worker that ran for it has nobody to answer to."""
        for lease in self.granting.leases.of_owner(uid):
            worker = self.granting.pool.workers.get(lease.worker)
            self.granting.end(lease.owner, lease.lease_id, now, to_pool=False)
            if worker is not None and worker.state == LENT:
                self._condemned[worker.uid] = ORPHANED
                self.granting.retire(worker)
                holds_more = any(kind != CPU and amount for kind, amount in lease.demand)
                self._end_orphan(worker.uid, now, at_once=bool(lease.actor_id) or holds_more)

    def _end_orphan(self, uid: bytes, now: int, *, at_once: bool) -> None:
        """The owner of what a worker runs is dead: it stops, and ends when nobody needs it.

        ``at_once``: it is an actor, or has a device that the next one must find free.
        """
        if at_once or self.config.fate_share == "kill":
            self.out.add(KillProcess(uid))
            return
        self._orphans[uid] = now + self.config.orphan_grace_ns
        self.out.send(uid, m.Exit(ORPHANED))

    def _on_woken(self, now: int) -> None:
        while late := self.lending.expire(now, self.config.store_full_timeout_ns):
            text = self._full_text(late.size_bytes, late.passed_bytes)
            self.out.send(late.uid, m.MemoryRefused(late.request, text))
            if late.closes:  # those it held up are served before they are late themselves
                self._serve_memory()
        self._serve_memory()
        self._collect(now)
        for uid in [uid for uid, at in self._orphans.items() if at <= now]:
            del self._orphans[uid]
            self.out.add(KillProcess(uid))
        self.granting.woken(now)

    def stop(self, why: str) -> None:
        """The session ends: everybody is told, workers are killed."""
        if self.stopping:
            return
        self.stopping = why or "stopped"
        for uid in self.drivers:
            self.out.send(uid, m.NodeStops(self.stopping))
        for uid in self.granting.pool.workers:
            self.out.add(KillProcess(uid))
        self.out.add(Note("info", f"the node stops: {self.stopping}"))
        self.out.add(EndProcess(0, self.stopping))
