"""The owner: submits tasks and calls, owns what they return, borrows from others.

Every process that runs user code has one.  ``handle`` takes an event, ``settle`` says what is to be
done about all that was handled; between the two nothing is sent, so that many events make few
messages.  ``step`` is both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from zfut.config import Config
from zfut.core import events as e
from zfut.core.effects import Complete, Effect, Forget, Interrupt
from zfut.core.owner.allocating import Allocating
from zfut.core.owner.answering import on_locate, on_ready
from zfut.core.owner.borrowing import Borrowing
from zfut.core.owner.calls import Calls
from zfut.core.owner.failures import Failures
from zfut.core.owner.freeing import Freeing
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.lives import Lives
from zfut.core.owner.mourning import Mourning
from zfut.core.owner.obituaries import Obituaries, named_in_actor, named_in_row
from zfut.core.owner.readiness import still_ready, value_lost
from zfut.core.owner.records import FREED, PENDING, ObjectRow, Task, Wait
from zfut.core.owner.recovery import Recovery
from zfut.core.owner.tasks import Tasks
from zfut.core.owner.why import Cause, Why, answer
from zfut.ids import FIRST_RETURN, PUT_INDEX
from zfut.wire import messages as m
from zfut.wire.specs import Address, RefInfo, Stored, TaskResult

UNREACHABLE = "it could not be reached: the session's socket directory was deleted"


def _runs_nothing(_: bytes) -> Cause:
    return Cause("a program runs no calls of others")


class OwnerMachine:
    """Pure: events go in by ``handle``, effects come out of ``settle``."""

    def __init__(self, uid: bytes, node: bytes, config: Config, failures: Failures) -> None:
        self.ledger = Ledger(uid, node, config, failures)
        self.allocating = Allocating(self.ledger)
        self.borrowing = Borrowing(self.ledger)
        self.tasks = Tasks(self.ledger)
        self.calls = Calls(self.ledger, self.tasks)
        self.freeing = Freeing(self.ledger, self._values_gone)
        self.lives = Lives(self.ledger, self.tasks, self.calls, self.freeing)
        self.mourning = Mourning(self.ledger, self.borrowing, self.tasks, self.calls)
        self.recovery = Recovery(self.ledger, self.calls, self.freeing, self._ready)
        self.why = Why(self.ledger, self.tasks, self.calls.actors)
        self.tell_task: Callable[[bytes], Cause] = _runs_nothing
        self.runs_for: Callable[[], Iterable[bytes]] = tuple
        self.obituaries = Obituaries(
            self.ledger.dead, self.ledger.watched, config.deaths_max, self._named
        )
        self.rows = self.ledger.objects.rows
        self._lineage_max = config.lineage_max_bytes
        self._deaths: list[m.ProcessDied] = []
        self._audits: list[tuple[bytes, m.AuditBorrows]] = []
        self._asked: dict[int, bytes] = {}  # the actor that a question announced, if any
        ledger = self.ledger
        self._due = ledger.unblocked, ledger.handles_gone, ledger.withheld.due, ledger.uncovered
        self._dirty = (*self._due, self.calls.actors.dirty, self.tasks.submission.dirty)

    # ---------------------------------------------------------------- the doors

    def handle(self, event: e.Event | Task | bytes, now: int) -> None:
        """Take one event; what follows from it is asked for by ``settle``."""
        kind = type(event)
        if kind is bytes:
            self.ledger.drop(event)  # type: ignore[arg-type]
        elif kind is Task:
            self._on_task(event)  # type: ignore[arg-type]
        elif kind is e.Received:
            self._on_received(event, now)  # type: ignore[arg-type]
        elif kind is e.ViewClosed:
            self.ledger.close_view(event.object_id)  # type: ignore[union-attr]
        else:
            self._on_other(event, now)  # type: ignore[arg-type]

    def settle(self, now: int) -> list[Effect]:
        """Return everything that is to be done about the events so far."""
        ledger = self.ledger
        if self._deaths:
            if ledger.uncovered:  # the answer to a death waits for what this registers
                self.borrowing.covers_ended()
            deaths, self._deaths = self._deaths, []
            for death in deaths:
                self._on_process_died(death)
            audits, self._audits = self._audits, []
            for sender, audit in audits:
                self.borrowing.on_audit(sender, audit)
        if ledger.let_out:
            ledger.fall()
        while True:
            if any(self._dirty):
                self._settle_tables(now)
            if ledger.lineage.bytes > self._lineage_max:
                self.recovery.drop_excess()
            if any(self.borrowing.gathered):
                self.borrowing.flush()
            if not any(self._due):
                break
        if ledger.backlog.waits:
            ledger.backlog.settle()
        ledger.flush()
        if self.mourning.answers:
            self.mourning.settle()
        if ledger.dead:
            self.obituaries.settle()
        return ledger.out.take()

    def _settle_tables(self, now: int) -> None:
        ledger = self.ledger
        if ledger.handles_gone:
            self.lives.handles_gone()
        if ledger.withheld.due:
            self.freeing.settle()
        if ledger.unblocked:  # before anything is sent: what it takes may be freed
            self._route_unblocked()
        if self.calls.actors.dirty:
            self.calls.settle()
        if self.tasks.submission.dirty:
            self.tasks.settle(now)
        if ledger.uncovered:
            self.borrowing.covers_ended()

    def step(self, event: e.Event | Task | bytes, now: int) -> list[Effect]:
        """Handle one event and settle."""
        self.handle(event, now)
        return self.settle(now)

    def wake_at(self) -> int | None:
        """When to hand in a Woken event."""
        return 0 if self.ledger.falling else self.tasks.submission.wake_at()

    def check(self) -> None:
        """Assert every invariant of the tables."""
        self.ledger.check()
        self.freeing.check()
        self.tasks.submission.check()
        self.calls.actors.check()
        self.ledger.backlog.check(self.tasks.submission, self.calls.actors)

    # ---------------------------------------------------------------- user code

    def _on_task(self, task: Task) -> None:
        """We own what the call will return from this moment on, before anyone hears of it."""
        rows = self.rows
        task.retries_left = task.template.max_retries
        self.ledger.backlog.begin(task)
        if task.creation is not None:
            self.lives.create(task)
        else:
            count = task.num_returns
            if count:
                row = rows[task.task_id + FIRST_RETURN] = ObjectRow(task=task, local=1)
                if task.site:
                    row.site = task.site
            for index in range(2, count + 1):
                row = ObjectRow(task=task, local=1, site=task.site)
                rows[task.task_id + index.to_bytes(4, "big")] = row
        if task.nested:
            for object_id, owner in task.nested:
                self.ledger.hold_argument(object_id, owner)
        missing, failure = self.ledger.hold_deps(task) if task.deps else ((), None)
        if task.actor_id:
            self.calls.submit(task)
        for object_id in missing:
            self.recovery.need(object_id)  # it may be there no more
        if failure is not None:
            self.ledger.unblocked.append((task, failure))
        elif not missing:  # else whoever makes the last of them, or fails one, says so
            self._ready(task)

    def _ready(self, task: Task) -> None:
        if task.actor_id:
            self.calls.unblocked(task)
        elif task.creation is not None:
            self.lives.request(task)
        else:
            self.tasks.submission.enqueue(task)

    def _route_unblocked(self) -> None:
        unblocked = self.ledger.unblocked
        while unblocked:
            task, failure = unblocked.popleft()
            if failure is None:
                if not task.given_up() and self._has_all(task):
                    self._ready(task)
                continue
            if task.given_up():
                continue
            task.over = True
            failed = self.ledger.failures.dependency(failure, task.template.name)
            if task.actor_id:
                self.calls.dependency_failed(task, failed)
            elif task.creation is not None:
                actor = self.calls.actors.actors.get(task.task_id)
                if actor is not None:
                    actor.failure = failed
                    self.lives.construction_failed(actor)
            else:
                self.tasks.fail(task, failed)

    def _has_all(self, task: Task) -> bool:
        """Whether what came first is still there, now that the last has come."""
        if task.creation is not None:  # it is asked when the actor has a process
            return True
        return not task.deps or still_ready(self.ledger, task)

    def _on_other(self, event: e.Event, now: int) -> None:
        match event:
            case e.AwaitObjects():
                self._on_await(event)
            case e.StopWaiting(call_id):
                self.ledger.backlog.stop_waiting(call_id)
                self._asked.pop(call_id, None)
            case e.AwaitRoom(call_id, submitter):
                self.ledger.backlog.wait(call_id, submitter)
            case e.PutInline():
                self._on_put(event.object_id, event.refs)
                row = self.rows[event.object_id]
                row.site = event.site
                self.ledger.set_value(row, event.encoding, event.value)
            case e.PutStored():
                self._on_put(event.stored.object_id, event.refs)
                row = self.rows[event.stored.object_id]
                row.site = event.site
                self.ledger.set_value(row, event.stored.encoding, event.stored)
            case e.RefArrived(object_id, owner, cover):
                self.borrowing.arrive(((object_id, owner),), cover)
            case e.ViewArrived(stored, cover):
                self.borrowing.view(stored, cover)
            case e.ObjectsFreed(object_ids):
                self.freeing.free(object_ids)
            case e.RefsArrived(refs, cover):
                self.borrowing.arrive(refs, cover)
            case e.AllocateMemory():
                self.allocating.allocate(event)
            case e.Cancelled(object_id, force, recursive):
                self._on_cancelled(object_id, force=force, recursive=recursive)
            case e.ActorKilled(actor_id, owner, no_restart):
                self.lives.kill(actor_id, owner, no_restart=no_restart)
            case e.Asked(call_id, message):
                announced = message.actor_id if isinstance(message, m.RegisterName) else b""
                if announced:
                    self.lives.announce(announced)
                self._asked[call_id] = announced
                self.ledger.out.send(self.ledger.node, message)
            case e.ValueLost(object_id, attempt):
                self.recovery.lost(object_id, attempt)
                value_lost(self.ledger, object_id)
                self._values_gone((object_id,))
            case e.AskedOwner(call_id, to, topic, name):
                self._asked[call_id] = b""
                self.ledger.out.send(to, m.AskOwner(call_id, topic, name))
            case e.Woken():
                self.tasks.woken(now)
            case e.Unreachable(uid):
                self.ledger.out.send(self.ledger.node, m.KillWorker(uid, UNREACHABLE))
            case _:
                raise AssertionError(event)

    def _values_gone(self, gone: Collection[bytes]) -> None:
        """Calls of ours that were about to be sent take values that are not there."""
        self.tasks.values_lost(gone)
        self.calls.values_lost(gone)

    def _on_put(self, object_id: bytes, refs: tuple[tuple[bytes, Address], ...]) -> None:
        row = self.ledger.objects.own(object_id, None)
        if refs:
            row.contains = self.ledger.contain(RefInfo(name, owner) for name, owner in refs)

    def _on_await(self, event: e.AwaitObjects) -> None:
        partial = event.need < len(event.object_ids)
        wait = Wait(event.call_id, event.need, event.fail_fast, event.object_ids, partial)
        wait.caller = event.caller
        pending = self.ledger.objects.wait(wait)
        if not pending:
            self.ledger.out.add(Complete(event.call_id))
            return
        for object_id in pending:
            row = self.rows[object_id]
            if row.state == FREED:
                self.recovery.need(object_id)
            elif row.owner is not None:
                self.ledger.locate(object_id, row)

    def _on_cancelled(self, object_id: bytes, *, force: bool, recursive: bool) -> None:
        row = self.rows.get(object_id)
        if row is None:
            return
        if row.owner is not None:
            if row.state == PENDING and row.owner.uid not in self.ledger.dead:
                message = m.CancelObject(object_id, force, recursive)
                self.ledger.out.send(row.owner.uid, message)
        elif row.task is not None:
            self._cancel(row.task, force=force, recursive=recursive)

    def _cancel(self, task: Task, *, force: bool, recursive: bool) -> None:
        if task.actor_id:
            self.calls.cancel(task, recursive=recursive)
        else:
            self.tasks.cancel(task, force=force, recursive=recursive)

    def cancel_children(self, task_id: bytes, *, spare_used: bool = False) -> None:
        """A call that runs here is cancelled, and with it what it has submitted.

        ``spare_used``: but for what others wait for, or something that they wait for.
        """
        if task_id not in self.ledger.backlog.by_parent:
            return  # it has submitted nothing that is unfinished
        unblocked = [task for task, _ in self.ledger.unblocked]
        for task in self.ledger.backlog.children(
            task_id, unblocked, self.tasks.submission, self.calls.actors
        ):
            rows = [self.rows[name] for name in task.result_ids() if name in self.rows]
            if not (spare_used and any(row.used_elsewhere() for row in rows)):
                self._cancel(task, force=False, recursive=True)

    # ---------------------------------------------------------------- messages

    def _on_received(self, event: e.Received, now: int) -> None:
        sender, message, payload = event.sender, event.message, event.payload
        if sender in self.ledger.dead:
            return
        match message:
            case m.TasksFinished(results):
                self._on_finished(sender, results, payload, now)
            case m.LeaseGranted(lease_id, worker):
                asked = self.tasks.submission.leases.get(lease_id)
                if asked is not None and asked.actor_id and worker in self.ledger.dead:
                    self.lives.granted_the_dead(asked.actor_id)
                    return
                lease = self.tasks.on_granted(message, now)
                if lease is not None and lease.actor_id:
                    self.lives.granted(lease.actor_id)
            case m.TasksPushedBack():
                self.tasks.on_pushed_back(sender, message)
                self.calls.on_pushed_back(sender, message)
            case m.FreeMemory(offsets):
                self.allocating.free(sender, offsets)
            case m.ProcessDied():
                self._deaths.append(message)  # what it said before may come after it
            case m.ProcessFenced(uid):
                self.mourning.fenced(uid)
            case m.LeaseFailed(lease_id, why):
                lease = self.tasks.submission.leases.get(lease_id)
                if lease is not None and lease.actor_id:
                    self.lives.lease_failed(lease.actor_id, why)
                self.tasks.on_failed(message)
            case m.LeaseWaits():
                self.tasks.on_waits(message, self.lives.class_of)
            case m.LeaseRevoked():
                self.tasks.on_revoked(message)
            case m.MemoryLent() | m.MemoryRefused() | m.ReclaimMemory():
                self.allocating.on_message(message)
            case m.MemoryClaimed(number):
                self.borrowing.on_claimed(number)
            case m.NodeStops(why):
                self.ledger.out.add(Interrupt(why))
            case m.NameAnswer(request) | m.NodeSays(request) | m.OwnerSays(request):
                announced = self._asked.pop(request, None)
                if announced is not None:
                    if announced and isinstance(message, m.NameAnswer) and message.taken:
                        self.lives.renounce(announced)
                    self.ledger.out.add(Complete(request, message))
            case _:
                self._on_borrowing(sender, message, payload)

    def _on_borrowing(self, sender: bytes, message: m.Message, payload: bytes) -> None:
        match message:
            case m.LocateObjects():
                on_locate(self.ledger, sender, message)
                for object_id in message.object_ids:
                    self.recovery.need(object_id)  # it may be there no more
            case m.ObjectReady():
                on_ready(self.ledger, message, payload)
            case m.RegisterBorrows():
                self.borrowing.on_register(sender, message)
            case m.BorrowsRegistered():
                self.borrowing.on_registered(message)
            case m.ReleaseBorrows():
                self.borrowing.on_release(message)
            case m.DowngradeBorrows():
                self.recovery.on_downgrade(message)
            case m.ReviveBorrows():
                self.recovery.on_revive(sender, message)
            case m.AuditBorrows(dead, why):
                self._deaths.append(m.ProcessDied(dead, why))
                self._audits.append((sender, message))
            case m.LocateActor():
                self.lives.on_locate(sender, message)
            case m.ActorMoved():
                self.calls.on_moved(message)
            case m.AskOwner(request, topic, name):
                self.ledger.out.send(sender, m.OwnerSays(request, self.told(topic, name)))
            case m.CancelObject(object_id, force, recursive):
                self._on_cancelled(object_id, force=force, recursive=recursive)
            case m.KillActor():
                self.lives.on_kill(message)
            case m.Hello():
                pass
            case _:
                raise AssertionError(message)

    def _on_finished(
        self, sender: bytes, results: tuple[TaskResult, ...], payload: bytes, now: int
    ) -> None:
        offset = 0
        whole = len(results) == 1
        for result in results:
            size = 0
            for value in result.values:
                if type(value) is not Stored:
                    size += value.size_bytes
            part = payload if whole else payload[offset : offset + size]
            offset += size
            if result.retained:
                self.borrowing.retain(sender, result.retained)
            if self.tasks.on_result(sender, result, part, now):
                continue
            if self.lives.on_created(sender, result, part):
                continue
            if not self.calls.on_result(sender, result, part):
                for value in result.values:
                    self.ledger.discard(value)

    def _on_process_died(self, death: m.ProcessDied) -> None:
        """One step: everything that the death of a process means here."""
        ledger, uid, why = self.ledger, death.uid, death.why
        known = uid in ledger.dead
        if not known:
            self.borrowing.holder_died(uid)
        self.mourning.owe(uid, death.fence)
        if known:
            return
        self.mourning.lent_to(uid)
        ledger.dead[uid] = self.why.obituary(uid, why)
        self.tasks.on_worker_died(uid, why)
        self.lives.on_process_died(uid, self.calls.on_process_died(uid, why), why)
        self.borrowing.audit(uid, why)
        self.borrowing.drop_borrower(uid)
        self.mourning.fail_objects_of(uid)
        self.borrowing.owner_died(uid)
        if pieces := ledger.memory.cede(uid):
            ledger.out.send(ledger.node, m.CedeMemory(uid, pieces))
        ledger.out.add(Forget(uid))

    def _named(self) -> Iterator[bytes]:
        """Yield the processes that any table names: what is known of them is not forgotten."""
        for row in self.rows.values():
            yield from named_in_row(row)
        for row in self.borrowing.kept_rows():
            yield from named_in_row(row)
        for refs in self.ledger.inner.values():
            yield from (ref.owner.uid for ref in refs)
        for actor in self.calls.actors.actors.values():
            yield from named_in_actor(actor)
        yield from (owner for _, owner in self.ledger.tokens.unsaid.values())
        yield from self.tasks.submission.by_worker
        yield from self.calls.doomed
        yield from self.lives.leaving
        yield from self.mourning.held
        yield from (dead for dead, _, _ in self.mourning.answers)
        yield from self.runs_for()

    # ---------------------------------------------------------------- questions

    def told(self, topic: str, name: bytes) -> bytes:
        """Answer a question about what is pending here, or what takes memory."""
        match topic:
            case "object":
                return answer(self.why.object(name))
            case "actor":
                return answer(self.why.actor(name))
            case "task":
                return answer(self.why.with_room(self.tell_task(name)))
            case "memory":
                return self.why.page(int.from_bytes(name, "big"))
            case _:
                return answer(Cause(f"nobody here knows about {topic}"))

    def row(self, object_id: bytes) -> ObjectRow | None:
        """Return what is known of an object, for the thread that reads its value."""
        return self.rows.get(object_id)

    def mint_put(self, task_id: bytes) -> bytes:
        """Name the object of a put."""
        return task_id + PUT_INDEX
