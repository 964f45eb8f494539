"""The pump: every process of a session on one thread, driven by whoever waits.

    deliver    all loops handle what is there, until nothing but drops is left; no user code runs
    step       one call runs, or one round of an actor's event loop
    wait       deliver and step until the wait is over; else until a timer is due

A wait inside a call pumps on top of that call.  Among the calls that may run, those go first
that the wait needs; else workers take turns, so the same program runs the same way each time.

What must hold: nothing of the user's runs under the lock; a wait that nothing can end says so.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import assert_never

from zfut.config import Config
from zfut.core import effects as f
from zfut.core.events import ProcessEnded, ProcessStarted
from zfut.exits import describe_exit
from zfut.inline import needs
from zfut.inline.loop import InlineLoop
from zfut.inline.session import PAUSE_S, InlineSession
from zfut.inline.threads import Threads
from zfut.inline.workers import Worker
from zfut.shield import shielded
from zfut.store.backend import Store
from zfut.wire import messages as m
from zfut.wire.codec import encode, join

log = logging.getLogger("zfut")

NEVER_NS = 1 << 62
"""A timer that is due after this is none."""


class Pump:
    """Moves messages, performs effects, keeps time, and says what runs next."""

    node: InlineLoop
    driver: InlineSession
    threads: Threads

    def __init__(self, store: Store, config: Config) -> None:
        self.store = store
        self.config = config
        self.lock = threading.RLock()
        self.loops: dict[bytes, InlineLoop] = {}
        self.workers: dict[bytes, Worker] = {}
        self._gone: list[Worker] = []

    def add(self, loop: InlineLoop, kind: str) -> None:
        """A process joins the session."""
        self.loops[loop.uid] = loop
        if loop is not self.node:
            hello = m.Hello(m.PROTOCOL_VERSION, b"", loop.uid, kind, os.getpid())
            self._send(loop, f.Send(self.node.uid, hello))

    def session_of(self, loop: InlineLoop) -> InlineSession:
        """Return the session of a process that runs user code."""
        worker = self.workers.get(loop.uid)
        return self.driver if worker is None else worker.session

    # ---------------------------------------------------------------- delivering

    def deliver(self) -> None:
        """Let every loop handle what is there, until nothing is left but drops that have time."""
        with shielded(_nothing), self.lock:
            now = time.monotonic_ns()
            for loop in list(self.loops.values()):
                loop.let_go(now)
            busy = True
            while busy:
                busy = False
                for loop in list(self.loops.values()):
                    busy = loop.handle(now) or busy
        for loop in list(self.loops.values()):
            loop.run_callbacks()

    def perform(self, loop: InlineLoop, effects: list[f.Effect]) -> None:  # noqa: C901, PLR0912
        """Do what a machine asks for."""
        for effect in effects:
            match effect:
                case f.Send():
                    self._send(loop, effect)
                case f.Complete(call_id, outcome):
                    loop.complete(call_id, outcome)
                case f.Note(level, text):
                    _note(level, text)
                case f.StartWorker(uid):
                    self._start_worker(uid)
                case f.KillProcess(uid):
                    self._kill(uid)
                case f.EndProcess(code, why):
                    self._end_process(loop, code, why)
                case f.Interrupt(why):
                    self._interrupt(loop, why)
                case f.CollectGarbage():
                    loop.collect()
                case f.InterruptCall(task_id):
                    self.workers[loop.uid].interrupt(task_id)
                case f.ConfirmOpened(task_id):
                    self.workers[loop.uid].runner.confirm(task_id)
                case f.ReleaseInstance():
                    self.workers[loop.uid].releases = True
                case f.Forget() | f.WatchProcess() | f.Close():
                    pass  # there are no connections, and this program's end is everybody's
                case _:
                    assert_never(effect)

    def _send(self, loop: InlineLoop, effect: f.Send) -> None:
        """Put a message where its receiver looks; one that has ended gets none."""
        receiver = self.loops.get(effect.to)
        if receiver is not None:
            payload = join(effect.payload) if effect.payload else b""
            receiver.arrived.append((loop.uid, encode(effect.message), payload))

    def _start_worker(self, uid: bytes) -> None:
        worker = self.workers[uid] = Worker(self, uid)
        self.node.post(ProcessStarted(uid, os.getpid()))
        self.add(worker.loop, "worker")

    def _kill(self, uid: bytes) -> None:
        worker = self.workers.get(uid)
        if worker is not None:
            self.end(worker, describe_exit(-signal.SIGKILL))

    def _end_process(self, loop: InlineLoop, code: int, why: str) -> None:
        worker = self.workers.get(loop.uid)
        if worker is not None:
            worker.ending = code
        elif loop is self.node:
            for other in self.loops.values():
                self._interrupt(other, why)

    def _interrupt(self, loop: InlineLoop, why: str) -> None:
        loop.fail_all(why)
        if loop.owner is not None:
            session = self.session_of(loop)
            session.closed = session.closed or why

    def end(self, worker: Worker, why: str) -> None:
        """A virtual process is gone, this very moment, wherever its code is."""
        with self.lock:
            if self.workers.pop(worker.uid, None) is None:
                return
            del self.loops[worker.uid]
            worker.loop.alive = False
            worker.loop.fail_all("the worker ended")
            worker.session.closed = worker.session.closed or why
            self._gone.append(worker)
            self.node.post(ProcessEnded(worker.uid, why))

    # ---------------------------------------------------------------- stepping

    def step(self, loop: InlineLoop) -> bool:
        """Run one call, preferably one that ``loop`` waits for. Returns whether one ran."""
        if self._gone:
            self._gone = [worker for worker in self._gone if not worker.dispose()]
        for worker in itertools.chain(needs.Walk(self, loop), list(self.workers.values())):
            if worker.step():
                if self.workers.pop(worker.uid, None) is not None:
                    self.workers[worker.uid] = worker  # the others' turn comes before its next
                return True
        return False

    # ---------------------------------------------------------------- waiting

    def wait(
        self,
        loop: InlineLoop,
        done: Callable[[], bool],
        deadline_ns: int | None,
        *,
        others: bool = False,
    ) -> bool:
        """Run what there is to run until ``done()``, or the deadline; says whether done.

        Raises UsageError if nothing can ever end it; ``others`` says that something else may.
        """
        began = time.monotonic()
        tried = False
        while True:
            self.deliver()
            if done() or loop.closed:
                return done()
            late = deadline_ns is not None and time.monotonic_ns() >= deadline_ns
            if late and tried:
                return False
            tried = True
            if not self.step(loop) and not late and not self._is_left():
                began = self._rest(loop, deadline_ns, began, others=others)

    def _is_left(self) -> bool:
        return any(loop.drops for loop in self.loops.values())

    def _rest(
        self, loop: InlineLoop, deadline_ns: int | None, began: float, *, others: bool
    ) -> float:
        """Nothing can run now: sleep until a timer is due, or something happens outside."""
        due = [at for at in (self._wake_at(), deadline_ns) if at is not None]
        with self.threads.resting():
            others = others or self.threads.others_may_act() or self._waits_outside()
            if not due and not others:
                raise needs.deadlock(self, loop)
            left = (min(due) - time.monotonic_ns()) / 1e9 if due else PAUSE_S
            time.sleep(max(0.0, min(left, PAUSE_S) if others else left))
        if time.monotonic() - began < self.config.log_blocked_get_s:
            return began
        what = needs.deadlock(self, loop).text
        log.warning("a wait has nothing to run, only others can end it: %s", what)
        return float("inf")

    def _wake_at(self) -> int | None:
        wakes = [loop.machine.wake_at() for loop in self.loops.values()]
        wakes += [
            worker.coroutines.aio.wake_at()
            for worker in self.workers.values()
            if worker.coroutines is not None and not worker.coroutines.turning
        ]
        return min((at for at in wakes if at is not None and at < NEVER_NS), default=None)

    def _waits_outside(self) -> bool:
        return any(
            worker.coroutines is not None and worker.coroutines.aio.waits_outside()
            for worker in self.workers.values()
        )

    # ---------------------------------------------------------------- the end

    def close(self) -> None:
        """End every process, as a node that is killed does: nothing says goodbye."""
        for worker in list(self.workers.values()):
            self.end(worker, "the session ended")
        self._gone = [worker for worker in self._gone if not worker.dispose()]
        for loop in self.loops.values():
            loop.fail_all("it was shut down")
            loop.run_callbacks()
        self.threads.close()


def _note(level: str, text: str) -> None:
    number = logging.getLevelNamesMapping()[level.upper()]
    log.log(number, "%s", text)
    if number >= logging.WARNING and not log.hasHandlers():
        sys.stderr.write(f"zfut: {text}\n")


def _nothing() -> None:
    return
