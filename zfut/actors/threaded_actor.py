"""An actor whose calls run on several threads: ``max_concurrency`` of them.

The main thread drives the loop and hands calls to the threads, in order; they end as they may.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from zfut.core.executor.inbox import Call
from zfut.exits import EXIT_ACTOR

if TYPE_CHECKING:
    from zfut.actors.worker import WorkerProcess


class ThreadedActor:
    """The main loop of a threaded actor."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self._limit = worker.machine.executor.max_concurrency
        self._pool = ThreadPoolExecutor(self._limit, thread_name_prefix="zfut-call")

    def run(self) -> int | None:
        """Serve until the actor ends. Returns the exit code, or None if its process stays."""
        worker = self._worker
        executor = worker.machine.executor
        inbox = executor.inbox
        while True:
            worker.loop.serve(self._may_go_on)
            wanted = worker.runner.exit_wanted
            if wanted:
                self._pool.shutdown(wait=False, cancel_futures=True)
                return EXIT_ACTOR if wanted == "exit_actor" else int(wanted[5:]) & 0xFF
            if worker.has_ended() and not inbox.queue:
                self._pool.shutdown(wait=False)
                return worker.end.code if worker.end is not None else None
            while inbox.queue and len(inbox.running) < self._limit:
                with worker.loop.lock:
                    call = executor.take()
                if call is not None:
                    self._pool.submit(self._run, call)

    def _may_go_on(self) -> bool:
        worker = self._worker
        inbox = worker.machine.executor.inbox
        room = inbox.queue and len(inbox.running) < self._limit
        return bool(room or worker.has_ended() or worker.runner.exit_wanted)

    def _run(self, call: Call) -> None:
        self._worker.runner.run(call, self._worker.loop.post)
        self._worker.loop.wake()
