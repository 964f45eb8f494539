"""A virtual worker: a worker's machine, the user code it runs, and how it ends.

    calls one at a time ---- constructor of a class with coroutines returned ----> event loop
              '------------ exit, kill, or nothing left to do ------> gone <-----------'

A threaded actor runs its calls here one at a time too, but while one waits in ``get`` others
may run on top of it, up to ``max_concurrency``.
"""

from __future__ import annotations

import time
from bdb import BdbQuit
from typing import TYPE_CHECKING

from zfut.actors.failures import WordedFailures
from zfut.actors.user_code import CancelInterrupt, Runner
from zfut.core.events import Returned
from zfut.core.executor.inbox import CREATE, TASK, Call
from zfut.core.worker import WorkerMachine
from zfut.exits import EXIT_ACTOR, EXIT_CONSTRUCTOR, describe_exit
from zfut.ids import node_of, short
from zfut.inline.coroutines import Coroutines, apart
from zfut.inline.loop import InlineLoop, Killed
from zfut.inline.session import InlineSession
from zfut.inline.threads import inside
from zfut.signatures import has_coroutines
from zfut.untrusted import is_a, traceback_of

if TYPE_CHECKING:
    from zfut.inline.pump import Pump


class InlineRunner(Runner):
    """Runs user code; an interrupt, or leaving the debugger, ends the wait below it too."""

    interrupt: BaseException | None = None
    owns_process = False  # alarms are the program's

    def install(self, serializers: bytes) -> None:
        """What is registered is in this process already."""

    def failed(self, call: Call, name: str, error: BaseException, took: int) -> Returned | None:
        """Say how a call failed; None: the end of the process is the answer."""
        if is_a(error, Killed):
            return None
        trace = traceback_of(error)
        answer = super().failed(call, name, error, took)
        if is_a(error, KeyboardInterrupt, BdbQuit) and not is_a(error, CancelInterrupt):
            self.interrupt = BaseException.with_traceback(error, trace)
        return answer

    def untold(self, name: str, other: BaseException) -> None:
        """The program was interrupted while it looked at how a call failed: so is its wait."""
        super().untold(name, other)
        self.interrupt = other


class Worker:
    """One virtual worker process."""

    def __init__(self, pump: Pump, uid: bytes) -> None:
        self.uid = uid
        self._pump = pump
        self.machine = WorkerMachine(uid, pump.node.uid, pump.config, WordedFailures())
        self.loop = InlineLoop(uid, self.machine, pump)
        self.session = InlineSession(
            self.loop, self.machine.owner, pump.store, pump.config, pump
        )
        self.loop.context.run(inside.set, self.session)
        self.runner = InlineRunner(self.session, self.machine.executor, short(node_of(uid)))
        self.ending: int | None = None
        self.releases = False  # the actor has ended; its instance is to go, this process stays
        self.coroutines: Coroutines | None = None
        self._created = False

    # ---------------------------------------------------------------- running

    def _take(self) -> Call | None:
        """Start a call if one may run. The caller holds the lock."""
        executor = self.machine.executor
        if executor.inbox.nested:
            return executor.inbox.take_nested()
        limit = executor.max_concurrency if self._created else 1
        return executor.take() if len(executor.inbox.running) < limit else None

    def step(self) -> bool:
        """Run one call, one round of the event loop, or the end; says whether anything ran."""
        if not self.loop.alive:
            return False
        ran = self._turn() if self.coroutines is not None else self._run_one()
        if self.runner.interrupt is not None:
            interrupt, self.runner.interrupt = self.runner.interrupt, None
            raise interrupt
        return self._end_if_due() or ran

    def interrupt(self, task_id: bytes) -> None:
        """A call that runs was cancelled: it sees it when its next wait ends, or looks."""
        call = self.machine.executor.inbox.running.get(task_id)
        if call is None:
            return
        if call.kind == TASK:
            self.runner.interrupts[task_id] = None
            return
        self.runner.cancelled[task_id] = None
        if self.coroutines is not None:
            self.coroutines.cancel_one(task_id)

    def _run_one(self) -> bool:
        with self.loop.lock:
            call = self._take()
        if call is None:
            return False
        with self._pump.threads.running(self, f"{self.runner.name_of(call)}()"), apart():
            self.loop.context.copy().run(self.runner.run, call, self.loop.post)
        if self.loop.alive and call.kind == CREATE and not self.runner.exit_wanted:
            self._after_constructor()
        return True

    def _after_constructor(self) -> None:
        executor = self.machine.executor
        with self.loop.lock:
            self.loop.handle(time.monotonic_ns())
        if executor.exiting:
            self._leave(EXIT_CONSTRUCTOR)
            return
        self._created = True
        if has_coroutines(type(self.runner.instance)):
            self.coroutines = Coroutines(
                executor, self.runner, self.loop.inbox, self._pump.lock
            )

    def _turn(self) -> bool:
        coroutines = self.coroutines
        assert coroutines is not None
        with self.loop.lock:
            if coroutines.turning:
                return False
            coroutines.turning = True
        try:
            with self._pump.threads.running(self, f"{self.runner.class_name}'s coroutines"):
                return coroutines.turn(self.loop.context.copy())
        except SystemExit as error:
            self.runner.note_exit(error)
            return True
        finally:
            coroutines.turning = False

    # ---------------------------------------------------------------- the end

    def _end_if_due(self) -> bool:
        """End as the user's code, or the machine, asked for. Returns whether it did."""
        if not self.loop.alive or (self.coroutines is not None and self.coroutines.turning):
            return False
        wanted = self.runner.exit_wanted
        inbox = self.machine.executor.inbox
        if wanted:
            self._leave(EXIT_ACTOR if wanted == "exit_actor" else int(wanted[5:]) & 0xFF)
        elif self.ending is not None and not (inbox.queue or inbox.running):
            self._leave(self.ending)
        elif self.releases:
            self.releases = False
            self._close_coroutines()
            self._farewell()
        else:
            return False
        return True

    def _leave(self, code: int) -> None:
        """Say goodbye and end; the last answers arrive together with the news of the end."""
        with self.loop.lock:
            self.loop.handle(time.monotonic_ns())
        self._close_coroutines()
        if code != EXIT_CONSTRUCTOR:
            self._farewell()
        with self.loop.lock:
            self._pump.end(self, describe_exit(code))
            self._pump.node.handle(time.monotonic_ns())

    def _farewell(self) -> None:
        with self._pump.threads.running(self, "on_exit()"), apart():
            self.loop.context.copy().run(self.runner.farewell)

    def dispose(self) -> bool:
        """Let go of what the process was. Returns False if its code still is on a stack."""
        if any(frame.worker is self for frame in self._pump.threads.frames):
            return False
        self.runner.instance = None
        self._close_coroutines()
        return True

    def _close_coroutines(self) -> None:
        closing, self.coroutines = self.coroutines, None
        if closing is not None:
            with self._pump.threads.running(self, "the end of its coroutines"), apart():
                self.loop.context.copy().run(closing.close)
