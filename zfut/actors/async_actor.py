"""An actor with coroutines: one event loop on the main thread, many calls in flight.

The mailbox's descriptor is watched by the event loop itself, so a message, the coroutine it starts
and the answer meet on one thread.  Answers that gather in one round of the loop leave together.
Plain methods of such an actor run on the same thread, between coroutines.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from zfut.actors.in_flight import InFlight
from zfut.exits import EXIT_ACTOR

if TYPE_CHECKING:
    from zfut.actors.worker import WorkerProcess


class AsyncActor(InFlight):
    """The main loop of an actor with coroutines."""

    def __init__(self, worker: WorkerProcess) -> None:
        super().__init__(
            worker.machine.executor, worker.runner, worker.loop.inbox, asyncio.new_event_loop()
        )
        self._worker = worker
        self._flush_soon = False
        self._timer: asyncio.TimerHandle | None = None
        self._stopped: asyncio.Future[None] | None = None

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
        while self._has_room():
            with loop.lock:
                call = self._executor.take()
            if call is not None:
                self._start(call)
        if loop.inbox and not self._flush_soon:
            self.note_answer()
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

    def note_answer(self) -> None:
        """Turn once more when this round of the event loop is over."""
        if not self._flush_soon:
            self._flush_soon = True
            self._aio.call_soon(self._turn)

    def _stop(self) -> None:
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)
