"""An actor with coroutines: one event loop on the main thread, many calls in flight.

The mailbox's descriptor is watched by the event loop itself, so a message, the coroutine it starts
and the answer meet on one thread.  Answers that gather in one round of the loop leave together.
Plain methods of such an actor run on the same thread, between coroutines.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import TYPE_CHECKING

from zfut.actors.in_flight import InFlight
from zfut.actors.loop import LEAVE_S
from zfut.exits import EXIT_ACTOR

if TYPE_CHECKING:
    from zfut.actors.worker import WorkerProcess


class _Selector(selectors.DefaultSelector):
    """Tells the actor when its event loop sleeps: while it does not, user code may compute.

    The background thread then serves the mailbox, as it does in every other process.
    """

    def __init__(self, actor: AsyncActor) -> None:
        super().__init__()
        self._actor = actor

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        try:
            return super().select(0 if self._actor.rest() else timeout)
        finally:
            self._actor.resume()


class AsyncActor(InFlight):
    """The main loop of an actor with coroutines."""

    def __init__(self, worker: WorkerProcess) -> None:
        aio = asyncio.SelectorEventLoop(_Selector(self))
        super().__init__(worker.machine.executor, worker.runner, worker.loop.inbox, aio)
        self._worker = worker
        self._flush_soon = False
        self._timer: asyncio.TimerHandle | None = None
        self._stopped: asyncio.Future[None] | None = None

    def run(self) -> int | None:
        """Serve until the actor ends. Returns the exit code, or None if its process stays."""
        loop = self._worker.loop
        loop.hold()
        asyncio.set_event_loop(self._aio)
        self._stopped = self._aio.create_future()
        for fd in loop.fds():
            self._aio.add_reader(fd, self._on_readable, fd)
        self._aio.call_soon(self._turn)
        self._worker.cancel_coroutine = self._cancel_soon
        try:
            self._aio.run_until_complete(self._stopped)
        finally:
            self._leaving = True
            self._cancel_all()
            self._worker.cancel_coroutine = None
            self._aio.close()
        wanted = self._worker.runner.exit_wanted
        if wanted:
            return EXIT_ACTOR if wanted == "exit_actor" else int(wanted[5:]) & 0xFF
        end = self._worker.end
        return end.code if end is not None else None

    def _cancel_all(self) -> None:
        """End every coroutine; one that will not end is left behind."""
        tasks = asyncio.all_tasks(self._aio)
        for task in tasks:
            task.cancel()
        if tasks:
            self._aio.run_until_complete(asyncio.wait(tasks, timeout=LEAVE_S))

    def _cancel_soon(self, task_id: bytes) -> None:
        """Cancel the coroutine of a call; any thread may ask."""
        self._aio.call_soon_threadsafe(self.cancel_one, task_id)

    # ---------------------------------------------------------------- the mailbox

    def _on_readable(self, fd: int) -> None:
        self._worker.loop.after_readable(fd)
        self._turn()

    def _turn(self) -> None:
        """Handle what has arrived, start what may start, and send what has gathered."""
        self._flush_soon = False
        worker = self._worker
        loop = worker.loop
        loop.turn()
        while self._has_room() and not worker.runner.exit_wanted:
            with loop.lock:
                call = self._executor.take()
            if call is not None:
                self._start(call)
        if worker.has_ended() or worker.runner.exit_wanted:
            self._stop()
        self._set_timer()

    def rest(self) -> bool:
        """The event loop is about to sleep. Returns whether there is something to do first."""
        self._worker.loop.rest()
        if self._worker.loop.is_left() or self._has_room():
            self.note_answer()
        return self._flush_soon

    def resume(self) -> None:
        """The event loop goes on."""
        self._worker.loop.resume()

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
        self._worker.loop.activity += 1
        if not self._flush_soon:
            self._flush_soon = True
            self._aio.call_soon(self._turn)

    def _stop(self) -> None:
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)
