"""Threads of user code: they begin, wait, go on, and run on top of each other as in production."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zfut.core.executor.inbox import CREATE, TASK, Call
from zfut.core.worker import WorkerMachine
from zfut.exits import EXIT_CONSTRUCTOR
from zfut.sim.process import Code, Pending, Process, Thread
from zfut.sim.values import SessionOver, UserError

if TYPE_CHECKING:
    from zfut.sim.cluster import Cluster


class Threads:
    """Runs the user code of a cluster's processes."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def start(self, process: Process, code: Callable[[Thread], Code]) -> Thread:
        """Start a thread of user code in a driver."""
        thread = Thread(process)
        thread.code = code(thread)
        process.threads.append(thread)
        self._cluster.at(self._cluster.moment(), self.resume, thread, None)
        return thread

    def start_calls(self, process: Process) -> None:
        """A worker's main thread looks for work; see ``zfut.actors.worker``."""
        machine = process.machine
        if not process.alive or not isinstance(machine, WorkerMachine):
            return
        if process.paused_until > self._cluster.now:
            self._cluster.at(
                process.paused_until - self._cluster.now, self.start_calls, process
            )
            return
        executor = machine.executor
        while executor.inbox.queue and len(process.threads) < executor.max_concurrency:
            call = executor.take()
            assert call is not None
            self._start_call(process, call, None)
            if not process.alive:
                return
        while executor.inbox.nested:
            below = self._waiting_call(process)
            call = executor.inbox.take_nested() if below is not None else None
            if call is None:
                break
            self._start_call(process, call, below)
            if not process.alive:
                return
        if process.releases and not process.threads:
            process.release_kept()
        if process.end is not None and not executor.inbox.queue and not process.threads:
            self._cluster.leave(process, process.end.code)

    def _start_call(self, process: Process, call: Call, below: Thread | None) -> None:
        self._cluster.ghost.started(process, call)
        self._cluster.trace.append((self._cluster.now, process, call, "runs"))
        thread = Thread(process, call, below)
        if below is not None:
            below.above = thread
        thread.code = self._cluster.run_call(thread, call)
        process.threads.append(thread)
        self.resume(thread, None)

    @staticmethod
    def _waiting_call(process: Process) -> Thread | None:
        """The call on top of which another one may run: see ``Session.await_objects``."""
        if not process.threads:
            return None
        top = process.threads[-1]
        waits = top.waits_for
        return top if waits is not None and waits.reenters and not waits.done else None

    def resume(self, thread: Thread, waited: Pending | None) -> None:
        """A thread goes on, if it still waits for what came."""
        process = thread.process
        if not process.alive or thread.code is None or thread.waits_for is not waited:
            return
        if thread.above is not None:
            return  # it goes on when what runs on top of it has ended
        if process.paused_until > self._cluster.now:
            self._cluster.at(
                process.paused_until - self._cluster.now, self.resume, thread, waited
            )
            return
        thread.waits_for = None
        try:
            wants = self._advance(thread, waited)
        except StopIteration:
            self._code_ended(thread)
        except SessionOver:
            thread.code = None
        else:
            self._suspend(thread, wants)

    @staticmethod
    def _advance(thread: Thread, waited: Pending | None) -> int | Pending:
        code = thread.code
        assert code is not None
        wants: int | Pending
        if thread.interrupted and thread.in_code and (waited is None or waited.interruptible):
            thread.interrupted = False
            wants = code.throw(UserError(["TaskCancelledError", thread.name]))
        else:
            wants = code.send(None)
        return wants

    def _suspend(self, thread: Thread, wants: int | Pending) -> None:
        if isinstance(wants, int):
            self._cluster.at(wants, self.resume, thread, None)
            return
        thread.waits_for = wants
        wants.thread = thread
        if wants.done:
            self._cluster.at(1, self.resume, thread, wants)
        elif wants.deadline is not None:
            self._cluster.at(
                max(0, wants.deadline - self._cluster.now), self.resume, thread, wants
            )

    def _code_ended(self, thread: Thread) -> None:
        process = thread.process
        thread.code = None
        process.threads.remove(thread)
        if thread.below is not None:
            self._go_on(thread.below)
        machine = process.machine
        if thread.call is None or not isinstance(machine, WorkerMachine):
            return
        code = self._cluster.ghost.exit_wanted.pop(process.uid, None)
        if code is not None:
            self._cluster.turn(process)
            self._cluster.leave(process, code)
        elif thread.call.kind == CREATE:
            self._cluster.turn(process)
            if machine.executor.exiting == "constructor failed":
                self._cluster.leave(process, EXIT_CONSTRUCTOR)
            self._cluster.at(self._cluster.moment(), self.start_calls, process)
        elif self._cluster.rng.random() < self._cluster.setting.batches:
            self._cluster.at(1, self.start_calls, process)
        else:
            self._cluster.soon(process)

    def _go_on(self, below: Thread) -> None:
        """What ran on top of a call that waits has ended."""
        below.above = None
        waits = below.waits_for
        assert waits is not None
        late = waits.deadline is not None and waits.deadline <= self._cluster.now
        if waits.done or late:
            self._cluster.at(1, self.resume, below, waits)

    def interrupt(self, process: Process, task_id: bytes) -> None:
        """User code sees it when it runs next; a method of an actor does not look."""
        for thread in process.threads:
            if thread.call is not None and thread.call.spec.task_id == task_id:
                thread.interrupted = thread.call.kind == TASK
                waits = thread.waits_for
                if waits is not None and waits.interruptible:
                    self._cluster.at(self._cluster.moment(), self.resume, thread, waits)
