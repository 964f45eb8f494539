"""A worker: an owner and an executor behind one mailbox."""

from __future__ import annotations

from zfut.config import Config
from zfut.core import events as e
from zfut.core.effects import Complete, Effect, EndProcess
from zfut.core.executor.machine import ExecutorMachine
from zfut.core.executor.telling import Telling
from zfut.core.owner.failures import Failures
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.records import Task
from zfut.exits import EXIT_NO_SOCKET
from zfut.ids import is_program, short
from zfut.wire import messages as m


class WorkerMachine:
    """Pure: hands each event to the party it is for."""

    def __init__(self, uid: bytes, node: bytes, config: Config, failures: Failures) -> None:
        self.owner = OwnerMachine(uid, node, config, failures)
        self.executor = ExecutorMachine(self.owner)
        self.owner.tell_task = Telling(self.owner, self.executor).task
        self.owner.runs_for = self.executor.callers
        self._stack = self.owner.tasks.stack
        self._blocking = self._stack.waits
        self._aside = self.executor.aside

    def handle(self, event: e.Event | Task | bytes, now: int) -> None:  # noqa: C901, PLR0912  one for each
        """Take one event."""
        kind = type(event)
        if kind is e.Returned:
            self.executor.on_returned(event)  # type: ignore[arg-type]
            return
        if kind is e.ArgumentsOpened:
            self.owner.mourning.opened(event.task_id)  # type: ignore[union-attr]
            return
        if kind is e.Retired:
            self.executor.retire()
            return
        if kind is e.Received:
            message = event.message  # type: ignore[union-attr]
            if self.executor.takes(message):
                if event.sender not in self.owner.ledger.dead:  # type: ignore[union-attr]
                    self.executor.handle(event)  # type: ignore[arg-type]
                return
            if type(message) is m.ProcessDied:
                self.executor.owner_died(message.uid)
                if self.owner.ledger.config.fate_share == "kill":
                    self._share_fate(message.uid)
            elif type(message) is m.AuditBorrows:
                self.executor.owner_died(message.dead)
            elif type(message) is m.LeaseGranted and message.nested:
                self.executor.told = None  # the node takes it that we run something on top
        elif kind is e.Woken:
            self.executor.woken(now)
        elif kind is e.Unreachable and is_program(event.uid):  # type: ignore[union-attr]
            self.owner.ledger.out.add(EndProcess(EXIT_NO_SOCKET, "nobody can be answered"))
        self.owner.handle(event, now)
        if kind is e.AwaitObjects:
            self._on_await(event, now)  # type: ignore[arg-type]
        elif kind is e.AwaitRoom:
            self._on_await_room(event, now)  # type: ignore[arg-type]
        elif kind is e.StopWaiting:
            self._waited(event.call_id, now)  # type: ignore[union-attr]

    def _on_await(self, event: e.AwaitObjects, now: int) -> None:
        """The thread that runs the task waits: others may need its CPU, or what it has queued."""
        if event.caller is None or event.call_id not in self.owner.ledger.objects.waits:
            return
        if not event.blocks:
            self._aside.begin(event.call_id, event.caller, now)
            return
        self._blocking[event.call_id] = len(self.executor.inbox.running)
        if len(self._blocking) > 1:
            return  # a call on top of one that waits: the CPU is given back already
        rows = self.owner.rows
        undispatched = False
        for object_id in event.object_ids:
            row = rows.get(object_id)
            if row is not None and row.task is not None and row.task.lease is None:
                undispatched = undispatched or not row.task.actor_id
        self.executor.block(now, at_once=undispatched)

    def _on_await_room(self, event: e.AwaitRoom, now: int) -> None:
        """The task has submitted much and waits to submit more: its children need the CPU."""
        if event.call_id not in self.owner.ledger.objects.waits:
            return
        if not event.blocks:
            self._aside.begin(event.call_id, event.submitter, now)
        else:
            self._blocking[event.call_id] = len(self.executor.inbox.running)
            if len(self._blocking) == 1:
                self.executor.block(now, at_once=True)

    def _waited(self, call_id: int, now: int) -> None:
        """A wait is over. The CPU is taken back if none is left on the stack."""
        if call_id in self._blocking:
            del self._blocking[call_id]
            self.executor.return_nested()
            if not self._blocking:
                self.executor.unblock(now)
        else:
            self._aside.end(call_id)

    def settle(self, now: int) -> list[Effect]:
        """Return everything that is to be done about the events so far."""
        self.executor.settle()
        waits = bool(self._blocking or self._aside.waits or self.executor.blocked)
        if waits:
            self.executor.look_at_stack()
        effects = self.owner.settle(now)
        again = bool(self.owner.borrowing.settled or self.executor.exiting)
        while again:  # an answer that leaves lets go of what it kept
            self.executor.settle()
            effects += self.owner.settle(now)
            again = bool(self.owner.borrowing.settled)
        if waits:
            self._settle_waits(effects, now)
        return effects

    def _settle_waits(self, effects: list[Effect], now: int) -> None:
        """Note which calls go on, and tell the node how those stand that wait."""
        over = [one.call_id for one in effects if type(one) is Complete]
        for call_id in over:
            self._waited(call_id, now)
        if self._aside.waits or not self._blocking:
            self.executor.look_aside(now)
        self.executor.look_at_stack()
        if over:
            effects += self.owner.settle(now)
        self.executor.tell_node()
        effects += self.owner.ledger.out.take()

    def step(self, event: e.Event | Task | bytes, now: int) -> list[Effect]:
        """Handle one event and settle."""
        self.handle(event, now)
        return self.settle(now)

    def _share_fate(self, uid: bytes) -> None:
        """The owner of something that is used here died: this process ends as well."""
        rows = self.owner.rows.values()
        if any(r.owner is not None and r.owner.uid == uid and r.in_use() for r in rows):
            ledger = self.owner.ledger
            why = f"it shared the fate of process {short(uid)}, whose objects it used"
            ledger.out.send(ledger.node, m.KillWorker(ledger.uid, why))

    def wake_at(self) -> int | None:
        """When to hand in a Woken event."""
        mine, owners = self.executor.wake_at(), self.owner.wake_at()
        if mine is None or owners is None:
            return owners if mine is None else mine
        return min(mine, owners)

    def check(self) -> None:
        """Assert every invariant of both parties."""
        self.owner.check()
        self.executor.check()
