"""The loop of one virtual process: what was posted and what has arrived, into its machine.

    user code -- post, drop --> inbox --.
                                         >-- handle --> machine --> effects --> the pump
    another loop -- letters --> arrived -'

What is dropped in great numbers has time: so much of it is handled each time the pump delivers.
It has no thread: whoever waits, or turns it, lets the pump turn all of them.

What must hold: a finaliser may run anywhere, so ``post`` and ``drop`` only append; nothing of
the user's runs while the lock is held; once a process has ended nothing in it goes on.
"""

from __future__ import annotations

import contextvars
import gc
import logging
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

from zfut.core import effects as f
from zfut.core.events import Received, ViewClosed, Woken
from zfut.core.node.machine import NodeMachine
from zfut.core.owner.machine import OwnerMachine
from zfut.core.worker import WorkerMachine
from zfut.waiting import Counting, Pending
from zfut.wire import messages as m
from zfut.wire.codec import decode_to_node, decode_to_owner, decode_to_worker

log = logging.getLogger("zfut")

DROPS_AT_ONCE = 1000
"""So many are handled in their order among events, and so many of the rest at a time."""

Machine: TypeAlias = OwnerMachine | WorkerMachine | NodeMachine
Letter: TypeAlias = tuple[bytes, bytes, bytes]
"""Sender, header, payload: as on a socket."""


class Killed(BaseException):
    """Unwinds what is still on the stack of a virtual process that has ended."""


class Driver(Protocol):
    """What a loop needs of the pump, which drives all of them."""

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Held by whoever touches a machine."""

    def perform(self, loop: InlineLoop, effects: list[f.Effect]) -> None:
        """Do what a machine asks for."""

    def deliver(self) -> None:
        """Let every loop handle what is there."""

    def wait(self, loop: InlineLoop, done: Callable[[], bool], deadline_ns: int | None) -> bool:
        """Run what there is to run until ``done()``, or the deadline; says whether done."""


class InlineLoop:
    """Drives one machine; its doors are those of ``zfut.actors.loop.Loop``."""

    def __init__(self, uid: bytes, machine: Machine, pump: Driver) -> None:
        self.uid = uid
        self.machine = machine
        self.inbox: deque[Any] = deque()
        self.drops: deque[Any] = deque()  # that have time
        self.batches: list[Counting] = []  # of values that are being unpickled
        self.arrived: deque[Letter] = deque()
        self.calls: dict[int, Pending] = {}
        self.looked_to: dict[int, int] = {}  # needs.Walk: where each wait's pending ones begin
        self.closed = ""
        self.alive = True
        self.context = contextvars.Context()
        self._pump = pump
        self._woken = -1
        self._callbacks: deque[Callable[[], object]] = deque()

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Held by whoever touches a machine: one lock for all, and it may be taken again."""
        return self._pump.lock

    @property
    def owner(self) -> OwnerMachine | None:
        """The owner in this process; the node manager is none."""
        if isinstance(self.machine, WorkerMachine):
            return self.machine.owner
        return self.machine if isinstance(self.machine, OwnerMachine) else None

    # ---------------------------------------------------------------- user code

    def post(self, event: object) -> None:
        """Hand an event in; it is handled at the next turn."""
        for batch in self.batches[:]:
            batch.count(self.inbox.append)
        self.inbox.append(event)

    def drop(self, gone: bytes | ViewClosed) -> None:
        """A finaliser says that a reference is gone, or a view."""
        if self.drops or len(self.inbox) >= DROPS_AT_ONCE:
            self.drops.append(gone)
        else:
            self.inbox.append(gone)

    def wake(self) -> None:
        """Nobody sleeps on a mailbox here."""

    def turn(self) -> None:
        """Handle everything that was posted, in all processes; no user code runs."""
        self._pump.deliver()
        self._check_alive()

    def wait(
        self,
        pending: Pending,
        deadline_ns: int | None = None,
        until: Callable[[], bool] | None = None,
    ) -> bool:
        """Run what there is to run until ``pending`` is done, time has run out, or ``until()``.

        Returns whether it is done.  Raises UsageError if nothing can ever end it.
        """
        self._pump.wait(
            self, lambda: pending.done or (until is not None and until()), deadline_ns
        )
        self._check_alive()
        return pending.done

    def _check_alive(self) -> None:
        if not self.alive:
            raise Killed(self.closed)

    # ---------------------------------------------------------------- handling

    def handle(self, now: int) -> bool:
        """Handle what was posted and what has arrived. The caller holds the lock.

        Returns whether there was anything.
        """
        machine = self.machine
        handled = False
        while self.inbox:
            machine.handle(self.inbox.popleft(), now)
            handled = True
        if handled:
            self._pump.perform(self, machine.settle(now))
        arrived = False
        while self.arrived:
            sender, head, payload = self.arrived.popleft()
            machine.handle(Received(sender, self._decode(head), payload), now)
            arrived = True
        wake_at = machine.wake_at()
        if wake_at is not None and wake_at <= now != self._woken:
            self._woken = now
            machine.handle(Woken(), now)
            arrived = True
        if arrived:
            self._pump.perform(self, machine.settle(now))
        return handled or arrived

    def let_go(self, now: int) -> None:
        """Handle some of what was dropped, the oldest first. The caller holds the lock."""
        dropped = min(len(self.drops), DROPS_AT_ONCE)
        if dropped:
            self.handle(now)  # what was posted before it
            for _ in range(dropped):
                self.machine.handle(self.drops.popleft(), now)
            self._pump.perform(self, self.machine.settle(now))

    def _decode(self, head: bytes) -> m.Message:
        if isinstance(self.machine, WorkerMachine):
            return decode_to_worker(head)
        if isinstance(self.machine, OwnerMachine):
            return decode_to_owner(head)
        return decode_to_node(head)

    def complete(self, call_id: int, outcome: object) -> None:
        """A call is done: whoever waits for it goes on."""
        pending = self.calls.pop(call_id, None)
        if pending is not None:
            pending.outcome = outcome
            self._end(pending)

    def collect(self) -> None:
        """Collect garbage soon, with the callbacks: finalisers run, and only outside the lock."""
        self._callbacks.append(gc.collect)

    def fail_all(self, why: str) -> None:
        """The process or its session is over: every wait ends."""
        self.closed = self.closed or why
        for pending in list(self.calls.values()):
            self._end(pending)
        self.calls.clear()

    def _end(self, pending: Pending) -> None:
        pending.done = True
        if pending.callback is not None:
            self._callbacks.append(pending.callback)

    def check_outside(self) -> None:
        """Nothing is refused: the lock may be taken again."""

    def run_callbacks(self) -> None:
        """Tell futures and coroutines, outside the lock, as the process they belong to."""
        while self._callbacks:
            try:
                callback = self._callbacks.popleft()
            except IndexError:
                return  # another thread took it
            try:
                self.context.copy().run(callback)
            except Exception:
                log.exception("a callback failed")
