"""The loop of one process: events into the machine, its effects into the world.

The thread that waits does the work: a user thread in ``wait`` drives the loop itself, and a worker's
main thread receives, runs and answers without a hand-over.  Nobody holds the lock while blocked,
so any thread may take it for the microseconds that handling costs.

A background thread takes over when user code has kept the others for more than about a
millisecond.  Its states:

    ticking   user threads use zfut: look every millisecond that nothing is left lying
    polling   user threads do something else: block in poll, handle what comes
    parked    a user thread has been blocked in ``wait`` for more than a tick: sleep until it leaves

A process in which nothing happens is blocked in poll: nothing ticks.

No turn is long: what was dropped in great numbers, and what has arrived, is handled in slices, and
nobody sleeps while some of it is left.  A drop may be handled later than what was posted after it (a
hold only lasts longer), but never before what was posted before it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from zfut.actors.machine import Machine
from zfut.actors.mailbox import Mailbox, MailboxError
from zfut.actors.polling import Polling
from zfut.core import effects as f
from zfut.core.events import Event, Unreachable, ViewClosed, Woken
from zfut.shield import NO_SHIELD, NoShield, Shield, shielded
from zfut.waiting import Counting, Pending, call_back

log = logging.getLogger("zfut")

TICK_S = 0.001
SPIN_NS = 100_000
"""How long a waiting thread looks before it sleeps: waking a sleeping core costs about as much."""
POLL_MAX_MS = 2**31 - 1
LEAVE_S = 2.0
"""How long the end waits for the threads that drive to leave."""
FLUSH_AT = 128
"""A thread that submits this much without waiting hands it over itself."""
DROPS_AT_ONCE = 1000
"""So many are handled in their order among events; what is dropped beyond them has time."""
SLICE_NS, LOOK_EVERY = 1_000_000, 16
"""So long one turn handles what has time, and what has arrived; it looks after so many drops."""


class Loop:
    """Drives one machine on one mailbox."""

    def __init__(self, machine: Machine, mailbox: Mailbox) -> None:
        self.machine = machine
        self.mailbox = mailbox
        self.inbox: deque[Any] = deque()
        self.drops: deque[bytes | ViewClosed] = deque()  # that have time
        self.more = False  # something has arrived and was not received yet
        mailbox.unreachable = lambda uid: self.inbox.append(Unreachable(uid))
        self.lock = threading.RLock()  # a finaliser may run while its thread has it
        self.calls: dict[int, Pending] = {}
        self.activity = 0
        self.driving = False
        self.closed = ""
        self.leave: Callable[[str], None] = self.fail_all  # a message cannot be sent
        self.handlers: dict[type, Callable[[Any], None]] = {}
        self._pid = os.getpid()
        self._token = threading.Lock()
        self._holder = 0
        self._driver = 0
        self._claimed = False
        self._ended = False
        self._sleepers: list[threading.Event] = []
        self.batches: list[Counting] = []  # of values that are being unpickled
        self.callbacks: deque[Callable[[], object]] = deque()  # run outside the lock
        self._polling_on = Polling(mailbox.fd, self.lock)
        self.has_lock = self._polling_on.has_lock
        self.check_outside = self._polling_on.check_outside
        self.wake = self._polling_on.wake
        self.watch_fd = self._polling_on.watch_fd
        self.unwatch_fd = self._polling_on.unwatch_fd
        self.fds = self._polling_on.fds
        self._background: threading.Thread | None = None
        self._tick = threading.Lock()
        self._tick.acquire()
        self._parked = self._polling = self.blocked = False

    def start_background(self) -> None:
        """Start the thread that stands in for user threads."""
        self._background = threading.Thread(
            target=self._run_background, name="zfut-loop", daemon=True
        )
        self._background.start()

    # ---------------------------------------------------------------- posting

    def post(self, event: Event | Any) -> None:
        """Hand an event in; it is handled soon, or when a thread waits."""
        for batch in self.batches[:] if self.batches else ():
            batch.count(self.inbox.append)  # user code runs while a value is unpickled
        self.inbox.append(event)
        self.activity += 1
        if self._polling or self.blocked:
            self._polling = self.blocked = False
            self.wake()
        elif len(self.inbox) >= FLUSH_AT and not self.driving:
            self.turn()

    def drop(self, gone: bytes | ViewClosed) -> None:
        """A finaliser says that a reference, or a view, is gone; it may run anywhere: only append."""
        if self.drops or len(self.inbox) >= DROPS_AT_ONCE:
            self.drops.append(gone)
        else:
            self.inbox.append(gone)
        if self._polling or self.blocked:
            self._polling = self.blocked = False
            self.wake()

    # ---------------------------------------------------------------- handling

    def turn(self) -> None:
        """Handle everything that was posted, and some of the rest, in the calling thread."""
        if self.has_lock():
            return  # a finaliser came in between: this thread, or another, looks again soon
        try:
            with shielded(self.wake), self.lock:
                if not self._ended:
                    self.handle_all()
        finally:  # a signal that came meanwhile may raise, and others wait all the same
            self.run_callbacks()
            if self.driving or self.is_left():
                self.wake()  # who drives may sleep by now, and has not seen what was taken here

    def handle_all(self, *, receive: bool = True) -> None:
        """Handle what was posted and what has arrived. The caller holds the lock.

        Whoever receives takes everything or says that there is ``more``; so the mailbox's descriptor
        need not be readable.  ``receive=False`` is for a thread that looks at it next.
        """
        machine = self.machine
        now = time.monotonic_ns()
        inbox = self.inbox
        dropped = len(self.drops)  # what was posted before these is in the inbox by now
        if inbox or dropped:
            handle = machine.handle
            for _ in range(len(inbox)):
                handle(inbox.popleft(), now)
            if dropped:
                self._let_go(dropped, now)
            self._perform(machine.settle(now))
        arrived = receive and self._receive(now)
        wake_at = machine.wake_at()
        if wake_at is not None and now >= wake_at:
            machine.handle(Woken(), now)
            arrived = True
        if arrived:
            self._perform(machine.settle(now))

    def _let_go(self, count: int, now: int) -> None:
        """Handle at most so many of what was dropped, the oldest first, for as long as a slice."""
        handle, drops = self.machine.handle, self.drops
        until = time.monotonic_ns() + SLICE_NS
        for number in range(1, count + 1):
            handle(drops.popleft(), now)
            if number % LOOK_EVERY == 0 and time.monotonic_ns() > until:
                return

    def _receive(self, now: int) -> bool:
        """Handle what has arrived, for as long as a slice. Returns whether anything had."""
        self.more = False
        until = 0
        for received in self.mailbox.receive():
            self.machine.handle(received, now)
            clock = time.monotonic_ns()
            until = until or clock + SLICE_NS
            if clock > until:
                self.more = True
                break
        return until > 0

    def is_left(self) -> bool:
        """Whether a turn has left something that is to be handled soon."""
        return bool(self.inbox or self.drops or self.more)

    def _perform(self, effects: list[f.Effect]) -> None:
        try:
            for effect in effects:
                kind = type(effect)
                if kind is f.Send:
                    self.mailbox.send(effect.to, effect.message, effect.payload)  # type: ignore[union-attr]
                elif kind is f.Complete:
                    self._complete(effect)  # type: ignore[arg-type]
                else:
                    self.handlers[kind](effect)
        except MailboxError as error:
            log.critical("this process leaves its session: %s", error)
            self.leave(str(error))

    def _complete(self, effect: f.Complete) -> None:
        pending = self.calls.pop(effect.call_id, None)
        if pending is None:
            return
        pending.outcome = effect.outcome
        pending.done = True
        if pending.event is not None:
            pending.event.set()
        if pending.callback is not None:
            self.callbacks.append(pending.callback)

    def run_callbacks(self) -> None:
        """Tell futures and coroutines, outside the lock: they may call back in."""
        while self.callbacks:
            try:
                callback = self.callbacks.popleft()
            except IndexError:
                return
            call_back(callback, self.wake)

    def fail_all(self, why: str) -> None:
        """The session is over: every wait ends. The caller holds the lock."""
        if not self.closed:
            self.closed = why
        for pending in list(self.calls.values()):
            pending.done = True
            if pending.event is not None:
                pending.event.set()
            if pending.callback is not None:
                self.callbacks.append(pending.callback)
        self.calls.clear()

    # ---------------------------------------------------------------- waiting

    def wait(
        self,
        pending: Pending,
        deadline_ns: int | None = None,
        until: Callable[[], bool] | None = None,
    ) -> bool:
        """Drive the loop until ``pending`` is done, time has run out, or ``until()``.

        Returns whether it is done.
        """
        self.check_outside()
        while True:
            with shielded(lambda: self._rouse(pending)) as shield:
                self._wait(pending, deadline_ns, until, shield)
            if pending.done or not shield.hit:
                return pending.done
            # The program's own handler let it go on.

    def _wait(
        self,
        pending: Pending,
        deadline_ns: int | None,
        until: Callable[[], bool] | None,
        shield: Shield | NoShield,
    ) -> None:
        def over() -> bool:
            return pending.done or (until is not None and until())

        while not (pending.done or shield.hit or self._ended):
            if not self._claimed and self._token.acquire(blocking=False):
                self._driver = threading.get_ident()
                try:
                    self._drive(over, deadline_ns, shield)
                finally:
                    self._driver = 0
                    self._token.release()
                    self._hand_on()
            elif threading.get_ident() in (self._holder, self._driver):
                self._drive_within(over, deadline_ns, shield)
            else:
                self._sleep(pending, deadline_ns)
            if deadline_ns and time.monotonic_ns() >= deadline_ns:
                return
            if self.closed or over():
                return

    def _drive_within(
        self,
        until: Callable[[], bool],
        deadline_ns: int | None,
        shield: Shield | NoShield,
    ) -> None:
        """Drive on a thread that drives already: its event loop, or a signal handler, waits."""
        before = self.driving, self.blocked
        try:
            with self._polling_on.another():  # the thread may be in poll right now
                self._drive(until, deadline_ns, shield)
        finally:
            self.driving, self.blocked = before

    def _rouse(self, pending: Pending) -> None:
        """Ctrl-C: make the thread that waits look, wherever it sleeps."""
        self.wake()
        if pending.event is not None:
            pending.event.set()

    def _sleep(self, pending: Pending, deadline_ns: int | None) -> None:
        """Another thread drives: sleep until our call is done or that thread leaves."""
        event = pending.event = pending.event or threading.Event()
        self._sleepers.append(event)
        self.wake()
        if not pending.done and (self._token.locked() or self._claimed):
            left = None
            if deadline_ns is not None:
                left = max(0.0, (deadline_ns - time.monotonic_ns()) / 1e9)
            event.wait(left)
        event.clear()
        with contextlib.suppress(ValueError):
            self._sleepers.remove(event)

    def _hand_on(self) -> None:
        """The driving thread leaves: another one that waits takes over."""
        for event in list(self._sleepers):
            event.set()

    def serve(self, until: Callable[[], bool]) -> None:
        """Drive as the thread that owns the process: others that wait leave it the work."""
        if not self._holder:
            self._claim()
        self._holder = 0  # the event loop that held it, if any, has ended
        try:
            self._drive(until, None, NO_SHIELD)
        finally:
            self._token.release()
            self._hand_on()

    def hold(self) -> None:
        """The calling thread's event loop drives, with ``rest`` and ``resume``; nobody else."""
        self._claim()
        self._holder = threading.get_ident()

    def rest(self) -> None:
        """The event loop that drives sleeps until one of ``fds()`` is readable."""
        self.driving = self.blocked = True

    def resume(self) -> None:
        """It goes on, and user code may keep its thread."""
        self.activity += 1
        self.driving = self.blocked = False
        self._release_parked()

    def _claim(self) -> None:
        if not self._token.acquire(blocking=False):
            self._claimed = True
            self.wake()
            self._token.acquire()
            self._claimed = False

    def _drive(
        self,
        until: Callable[[], bool],
        deadline_ns: int | None,
        shield: Shield | NoShield,
    ) -> None:
        """Handle and poll until ``until()`` or the deadline. One thread at a time."""
        self.activity += 1
        self.driving = True
        poll = self._polling_on.polls[0].poll
        try:
            receive = False
            while True:
                with self.lock:
                    self.handle_all(receive=receive)
                receive = True
                if self.callbacks:
                    self.run_callbacks()
                if until() or shield.hit or self.closed or self._claimed:
                    return
                timeout = self._timeout_ms(deadline_ns)
                if timeout == 0 and deadline_ns and time.monotonic_ns() >= deadline_ns:
                    return
                if self.inbox or self._spin():
                    continue
                self.blocked = True
                ready = poll(0 if self.is_left() else timeout)
                self._polling_on.after(ready)
                self.blocked = False
        finally:
            self.driving = self.blocked = False
            self._release_parked()

    def _spin(self) -> bool:
        """Look for an answer for a moment before sleeping. Returns whether one came.

        Most answers come soon, and a core that sleeps takes long to wake.  Each look lets other
        threads run first, those of ZeroMQ among them.
        """
        limit = time.monotonic_ns() + SPIN_NS
        readable = self.mailbox.readable
        lock = self.lock  # a socket is one thread's at a time, to look at as well
        while time.monotonic_ns() < limit:
            os.sched_yield()
            with lock:
                if readable():
                    return True
        return False

    def _timeout_ms(self, deadline_ns: int | None) -> float | None:
        wake_at = self.machine.wake_at()
        if wake_at is None or (deadline_ns is not None and deadline_ns < wake_at):
            wake_at = deadline_ns
        if wake_at is None:
            return None
        left = wake_at - time.monotonic_ns()
        return 0 if left <= 0 else min(left // 1_000_000 + 1, POLL_MAX_MS)

    def after_readable(self, fd: int) -> None:
        """Another event loop saw that ``fd`` is readable."""
        self._polling_on.after([(fd, select.POLLIN)])

    # ---------------------------------------------------------------- the background thread

    def _run_background(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            while not self.closed:
                self._background_tick()
        except Exception:
            log.exception("the background thread of zfut failed")
            with self.lock:
                self.fail_all("its background thread failed; see the log")
            self._hand_on()
        self.run_callbacks()  # what the end of the session has ended is told by nobody else

    def _background_tick(self) -> None:
        seen = self.activity
        self._tick.acquire(timeout=TICK_S)
        if self.closed:
            return
        if self.driving:
            if self.activity == seen:
                self._park()
        elif self.activity != seen:
            if self.is_left():
                self.turn()
        else:
            self._poll_in_background()

    def _release_parked(self) -> None:
        if self._parked:
            self._parked = False
            self._tick.release()

    def _park(self) -> None:
        self._parked = True
        if self.driving:
            self._tick.acquire()
        elif self._parked:
            self._parked = False
        else:
            self._tick.acquire(timeout=0)

    def _poll_in_background(self) -> None:
        poll = self._polling_on.polls[1].poll
        while not (self.closed or self.driving):
            self._polling = True
            self.turn()
            if self._holder and not self.driving:
                self.wake()  # its event loop may sleep by now, and has not seen what came
            timeout = self._timeout_ms(None)
            leave = self.driving or timeout == 0 or self.is_left()
            ready = [] if leave else poll(timeout)
            woken = leave or not self._polling
            self._polling = False
            self._polling_on.after(ready)
            if woken:
                return

    # ---------------------------------------------------------------- the end

    def close(self, why: str) -> None:
        """End the loop; every wait ends with ``why``. The mailbox may be closed after it."""
        if os.getpid() != self._pid:
            self.closed = why
            return
        with self.lock:
            self.fail_all(why)
            if self._ended:
                return
            self._ended = True
        self.run_callbacks()
        self._hand_on()
        self.wake()
        background = self._background
        if background is not None and background is not threading.current_thread():
            self._release_parked()
            background.join(LEAVE_S)
        mine = self._holder == threading.get_ident()
        if mine or self._token.acquire(timeout=LEAVE_S):  # nobody drives from here on
            self._polling_on.close()
