"""An actor with coroutines: one event loop on the main thread, many calls in flight.

The mailbox's descriptor is watched by the event loop itself, so a message, the coroutine it starts
and the answer meet on one thread.  Answers that gather in one round of the loop leave together.
Plain methods of such an actor run on the same thread, between coroutines.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, Any

from zfut.context import cover, running
from zfut.core.executor.inbox import Call
from zfut.core.events import Returned
from zfut.exits import EXIT_ACTOR
from zfut.session import ArgumentHold

if TYPE_CHECKING:
    from zfut.actors.worker import WorkerProcess


class AsyncActor:
    """The main loop of an actor with coroutines."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self._executor = worker.machine.executor
        self._limit = self._executor.max_concurrency
        self._aio = asyncio.new_event_loop()
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._flush_soon = False
        self._timer: asyncio.TimerHandle | None = None
        self._stopped: asyncio.Future[None] | None = None
        self._active = 0
        self._leaving = False

    def run(self) -> int:
        """Serve until the actor ends. Returns the exit code."""
        loop = self._worker.loop
        loop.hold()
        asyncio.set_event_loop(self._aio)
        self._stopped = self._aio.create_future()
        for fd in loop.fds():
            self._aio.add_reader(fd, self._on_readable, fd)
        self._aio.call_soon(self._turn)
        try:
            self._aio.run_until_complete(self._stopped)
        finally:
            self._leaving = True
            for task in self._tasks.values():
                task.cancel()
            self._aio.run_until_complete(asyncio.gather(*self._tasks.values(), return_exceptions=True))
            self._aio.close()
            loop.driving = False
        wanted = self._worker.runner.exit_wanted
        if wanted:
            return EXIT_ACTOR if wanted == "exit_actor" else int(wanted[5:]) & 0xFF
        end = self._worker.end
        return end.code if end is not None else 0

    # ---------------------------------------------------------------- the mailbox

    def _on_readable(self, fd: int) -> None:
        self._worker.loop.after_readable(fd)
        self._turn()

    def _turn(self) -> None:
        """Handle what has arrived, start what may start, and send what has gathered."""
        self._flush_soon = False
        worker = self._worker
        loop = worker.loop
        loop.blocked = False
        loop.turn()
        inbox = self._executor.inbox
        while inbox.queue and self._active < self._limit:
            with loop.lock:
                call = self._executor.take()
            if call is not None:
                self._start(call)
        if loop.inbox and not self._flush_soon:
            self._schedule_flush()
        if worker.end is not None or worker.runner.exit_wanted:
            self._stop()
        self._set_timer()
        loop.blocked = True

    def _set_timer(self) -> None:
        wake_at = self._worker.machine.wake_at()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wake_at is not None:
            delay = max(0.0, (wake_at - time.monotonic_ns()) / 1e9)
            self._timer = self._aio.call_later(delay, self._turn)

    def _schedule_flush(self) -> None:
        if not self._flush_soon:
            self._flush_soon = True
            self._aio.call_soon(self._turn)

    def _stop(self) -> None:
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)

    # ---------------------------------------------------------------- calls

    def _start(self, call: Call) -> None:
        runner = self._worker.runner
        name = runner.name_of(call)
        self._active += 1
        context = running.set(runner.context(call, name))
        covering = cover.set(call.spec.task_id)
        holds: list[ArgumentHold] = []
        began = time.monotonic_ns()
        try:
            function = runner.target(call)
            args, kwargs = runner.arguments(call, holds)
            value = function(*args, **kwargs)
            args, kwargs = [], {}
            if inspect.isawaitable(value):
                task = self._aio.create_task(self._finish(call, name, value, holds))
                self._tasks[call.spec.task_id] = task
                return
            runner.keep(call, holds)
            self._done(runner.returned(call, name, value, time.monotonic_ns() - began))
        except BaseException as error:  # noqa: BLE001  it belongs to the caller
            args, kwargs = [], {}
            runner.keep(call, holds)
            self._done(runner.failed(call, name, error, time.monotonic_ns() - began))
        finally:
            cover.reset(covering)
            running.reset(context)

    async def _finish(
        self, call: Call, name: str, awaitable: Any, holds: list[ArgumentHold]
    ) -> None:
        runner = self._worker.runner
        value: Any = None
        returned: Returned | None
        began = time.monotonic_ns()
        try:
            value = await awaitable
            del awaitable
            runner.keep(call, holds)
            returned = runner.returned(call, name, value, time.monotonic_ns() - began)
        except BaseException as error:  # noqa: BLE001  it belongs to the caller
            runner.keep(call, holds)
            returned = runner.failed(call, name, error, time.monotonic_ns() - began)
        self._tasks.pop(call.spec.task_id, None)
        self._done(returned)

    def _done(self, returned: Returned | None) -> None:
        """A call has ended. What the end of the actor cut off is answered by that end."""
        self._active -= 1
        if returned is not None and not self._leaving:
            self._worker.loop.inbox.append(returned)
        if not self._leaving:
            self._schedule_flush()
