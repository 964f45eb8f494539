"""An actor with coroutines here: an event loop of its own that runs one round at a time.

    pump -- turn --> event loop: one round --> calls begin, go on, answer
                         |
                         '-- would sleep: its selector says for how long instead

The event loop is asyncio's own; only its selector never waits, and stops the loop after each
look.  So timers, sockets, executors and what coroutines do among themselves work as anywhere.

What must hold: a round runs on one thread at a time and never inside another round of the same
loop; the event loop of the program, if one runs below on this stack, does not notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

from zfut.actors.in_flight import InFlight
from zfut.actors.user_code import Runner
from zfut.core.executor.machine import ExecutorMachine

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

POOL_NAME = "zfut-inline"
"""How threads of an actor's default executor are called; the executor's jobs are counted."""

LAST_ROUNDS = 50
"""Coroutines that are cancelled with their actor have this many rounds to clean up."""


class _Glance(selectors.DefaultSelector):
    """Looks at what is ready, never sleeps, and lets the loop stop after this round."""

    def __init__(self) -> None:
        super().__init__()
        self.wish_s: float | None = None
        self.found = False
        self.stop: Callable[[], None] = _nothing

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; remember how long the loop would have slept."""
        self.wish_s = timeout
        self.stop()
        ready = super().select(0)
        self.found = bool(ready)
        return ready


class ActorEventLoop(asyncio.SelectorEventLoop):
    """Runs one round for each ``run_forever``."""

    def __init__(self) -> None:
        self.glance = _Glance()
        super().__init__(self.glance)
        self.glance.stop = self.stop
        self.set_default_executor(ThreadPoolExecutor(thread_name_prefix=POOL_NAME))
        self.jobs = 0

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a function in a thread, and count it until it ends."""
        future = super().run_in_executor(executor, func, *args)
        self.jobs += 1
        future.add_done_callback(self._job_ended)
        return future

    def _job_ended(self, _: asyncio.Future[Any]) -> None:
        self.jobs -= 1

    def round(self) -> bool:
        """Run what is ready now. Returns whether anything was."""
        with apart():
            self.run_forever()
        return self.glance.wish_s == 0 or self.glance.found

    def wake_at(self) -> int | None:
        """When its first timer is due."""
        wish = self.glance.wish_s
        return None if wish is None else time.monotonic_ns() + int(wish * 1e9)

    def waits_outside(self) -> bool:
        """Whether a socket or a thread may still bring something."""
        return self.jobs > 0 or len(self.glance.get_map()) > 1  # its own pipe is one


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Run code as if no event loop ran below on this stack."""
    outer = asyncio._get_running_loop()  # noqa: SLF001  for whoever runs loops
    if outer is None:
        yield
        return
    task = asyncio.current_task(outer)
    if task is not None:
        asyncio.tasks._leave_task(outer, task)  # noqa: SLF001
    asyncio._set_running_loop(None)  # noqa: SLF001
    try:
        yield
    finally:
        asyncio._set_running_loop(outer)  # noqa: SLF001
        if task is not None:
            asyncio.tasks._enter_task(outer, task)  # noqa: SLF001


class Coroutines(InFlight):
    """The calls of one actor with coroutines."""

    def __init__(
        self,
        executor: ExecutorMachine,
        runner: Runner,
        answers: deque[Any],
        lock: AbstractContextManager[Any],
    ) -> None:
        self.aio = ActorEventLoop()
        super().__init__(executor, runner, answers, self.aio)
        self._lock = lock
        self.turning = False

    def turn(self, context: Context) -> bool:
        """Begin what may begin and run one round. Returns whether anything ran."""
        if self._has_room():
            self.aio.call_soon(self._begin, context=context)
        return self.aio.round()

    def _begin(self) -> None:
        while self._has_room():
            with self._lock:
                call = self._executor.take()
            if call is not None:
                self._start(call)

    def close(self) -> None:
        """The actor has ended: so do its coroutines."""
        self._leaving = True
        self.aio.set_exception_handler(lambda *_: None)
        for task in asyncio.all_tasks(self.aio):
            task.cancel()
        for _ in range(LAST_ROUNDS):
            if not (asyncio.all_tasks(self.aio) and self.aio.round()):
                break
        self.aio.close()


def _nothing() -> None:
    return
