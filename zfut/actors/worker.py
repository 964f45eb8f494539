"""A worker's process: receives, runs and answers on its main thread.

Tiny calls stream: answers gather while more calls wait, and leave when the inbox is empty, after
a few dozen, or after half a millisecond.  While user code keeps the main thread, the loop's
background thread serves the mailbox.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from zfut.actors.failures import WordedFailures
from zfut.actors.interrupts import Interrupts
from zfut.actors.loop import Loop
from zfut.actors.mailbox import Mailbox
from zfut.actors.start import NodePlan
from zfut.actors.user_code import Runner
from zfut.core import effects as f
from zfut.core.executor.inbox import CREATE, TASK, Call
from zfut.core.worker import WorkerMachine
from zfut.errors import SessionError
from zfut.exits import EXIT_ACTOR, EXIT_CONSTRUCTOR, EXIT_NO_FILES, EXIT_NO_SOCKET
from zfut.ids import ProcUid, node_of, short
from zfut.session import Session, set_current
from zfut.signatures import has_coroutines
from zfut.store import Arena
from zfut.wire import messages as m
from zfut.wire.codec import decode_to_worker

log = logging.getLogger("zfut")

FLUSH_RESULTS = 64
FLUSH_NS = 500_000
SWITCH_INTERVAL_S = 0.0005
"""A process that owns objects must answer while its user code computes."""

FAREWELL_S = 0.2

NESTED_FRAMES = 200
"""Python frames that a call on top of another may use beyond what the limit allows already."""


class WorkerProcess:
    """Joins a worker's machine, its mailbox, and the user code it runs."""

    def __init__(self, plan: NodePlan, arena: Arena, uid: bytes) -> None:
        self.plan = plan
        self.end: f.EndProcess | None = None
        self.releases = False  # the actor has ended; its instance is to go, this process stays
        self.machine = WorkerMachine(uid, plan.manager, plan.config, WordedFailures())
        hello = m.Hello(m.PROTOCOL_VERSION, plan.key, uid, "worker", os.getpid())
        self.mailbox = Mailbox(
            plan.sockets, hello, decode_to_worker, plan.config.message_max_bytes
        )
        self.loop = Loop(self.machine, self.mailbox)
        self.loop.handlers = {
            f.Forget: lambda effect: self.mailbox.forget(effect.uid),
            f.Note: _note,
            f.CollectGarbage: lambda _: self.loop.callbacks.append(gc.collect),
            f.EndProcess: self._end,
            f.ReleaseInstance: lambda _: setattr(self, "releases", True),
            f.InterruptCall: self._interrupt,
            f.ConfirmOpened: lambda effect: self.runner.confirm(effect.task_id),
            f.Interrupt: lambda effect: self.loop.fail_all(effect.why),
            f.Close: lambda effect: setattr(self.session, "closed", effect.why),
        }
        self.loop.leave = _end_at_once
        self.session = Session(ProcUid(uid), self.loop, self.machine.owner, arena, plan.config)
        self.session.reenter = _Nested(self)
        set_current(self.session)
        node = short(node_of(uid))
        self.runner = Runner(self.session, self.machine.executor, node)
        self.interrupts = Interrupts(self.runner)
        self.cancel_coroutine: Callable[[bytes], None] | None = None

    # ---------------------------------------------------------------- on top of a call that waits

    def ready(self) -> bool:
        """Whether this process was lent to itself and has a call to run."""
        return bool(self.machine.executor.inbox.nested)

    def run_nested(self) -> None:
        """Run one such call here, with stack of its own to spare."""
        with self.loop.lock:
            call = self.machine.executor.inbox.take_nested()
        if call is None:
            return
        limit = sys.getrecursionlimit()
        serializers = self.runner.serializers
        sys.setrecursionlimit(limit + NESTED_FRAMES)
        try:
            self.runner.run(call, self.loop.post)
        finally:
            sys.setrecursionlimit(limit)
            if self.runner.serializers != serializers:
                self.runner.install(serializers)
        self.interrupts.look()
        if self.runner.exit_wanted.startswith("exit:"):
            os._exit(self._leave(int(self.runner.exit_wanted[5:]) & 0xFF))

    def _end(self, effect: f.EndProcess) -> None:
        self.end = effect

    # ---------------------------------------------------------------- interrupts

    def _interrupt(self, effect: f.InterruptCall) -> None:
        """A call that runs was cancelled: a task is interrupted, an actor's call is told."""
        task_id = effect.task_id
        call = self.machine.executor.inbox.running.get(task_id)
        if call is None:
            return
        if call.kind == TASK:
            self.interrupts.ask(task_id)
            return
        self.runner.cancelled[task_id] = None
        if self.cancel_coroutine is not None:
            self.cancel_coroutine(task_id)

    # ---------------------------------------------------------------- the main loop

    def run(self) -> int:
        """Serve until told to end. Returns the exit code."""
        loop = self.loop
        executor = self.machine.executor
        inbox = executor.inbox
        with loop.lock:
            self.mailbox.greet(self.plan.manager)
        loop.start_background()
        unflushed = 0
        flushed_at = 0
        while True:
            with loop.lock:
                call = executor.take()
            if call is None:
                unflushed = 0
                loop.serve(lambda: bool(inbox.queue) or self.has_ended())
                if self.releases:
                    self._release_instance()
                if self.end is not None and not inbox.queue:
                    return self._leave(self.end.code)
                flushed_at = time.monotonic_ns()
                continue
            self.runner.run(call, loop.post)
            unflushed += 1
            if self.runner.exit_wanted or call.kind == CREATE:
                code = self._after_special(call)
                if code is not None:
                    return self._leave(code)
            if unflushed >= FLUSH_RESULTS or time.monotonic_ns() - flushed_at > FLUSH_NS:
                loop.turn()
                unflushed = 0
                flushed_at = time.monotonic_ns()

    def has_ended(self) -> bool:
        """Whether the machine wants the actor's instance, or this process, to end."""
        return self.releases or self.end is not None

    def _release_instance(self) -> None:
        self.releases = False
        self.runner.farewell()
        gc.collect()  # a process in which nothing runs would not look for cycles

    def _after_special(self, call: Call) -> int | None:
        """A constructor returned, or user code asked to exit. Returns an exit code to end with."""
        self.loop.turn()
        wanted = self.runner.exit_wanted
        if wanted == "exit_actor":
            return EXIT_ACTOR
        if wanted.startswith("exit:"):
            return int(wanted[5:]) & 0xFF
        if call.kind == CREATE and self.machine.executor.exiting:
            return EXIT_CONSTRUCTOR
        if call.kind == CREATE:
            return self._serve_actor()
        return None

    def _serve_actor(self) -> int | None:
        """Actors with coroutines or threads have main loops of their own, while they live."""
        if has_coroutines(type(self.runner.instance)):
            from zfut.actors.async_actor import AsyncActor  # noqa: PLC0415  imports asyncio

            return AsyncActor(self).run()
        if self.machine.executor.max_concurrency > 1:
            from zfut.actors.threaded_actor import ThreadedActor  # noqa: PLC0415

            return ThreadedActor(self).run()
        return None

    def _leave(self, code: int) -> int:
        """Let the last answers leave, run what user code registered, close everything."""
        self.loop.turn()
        if code != EXIT_CONSTRUCTOR:
            self._farewell()
        self.loop.close("the worker ended")
        self.mailbox.close(linger_ms=int(FAREWELL_S * 1000))
        return code

    def _farewell(self) -> None:
        import atexit  # noqa: PLC0415  only a process that ends in peace gets here

        self.runner.farewell()
        atexit._run_exitfuncs()  # noqa: SLF001  os._exit would skip them


class _Nested:
    """What the session sees of a worker that can run calls on top of one that waits."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.ready = worker.ready
        self.run = worker.run_nested


def _end_at_once(_: str) -> None:
    """Whoever waits for this process learns of its end, even while user code has the main thread."""
    os._exit(EXIT_NO_FILES)


def _note(effect: f.Note) -> None:
    log.log(logging.getLevelName(effect.level.upper()), "%s", effect.text)


def run_worker(plan: NodePlan, arena: Arena, uid: bytes) -> int:
    """Be a worker; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    forget_warmth: Any = getattr(arena, "forget_warmth", None)
    if forget_warmth is not None:
        forget_warmth()
    try:
        worker = WorkerProcess(plan, arena, uid)
    except SessionError as error:
        sys.stderr.write(f"zfut: a worker cannot start: {error}\n")
        return EXIT_NO_SOCKET
    signal.signal(signal.SIGINT, worker.interrupts.on_signal)
    return worker.run()
