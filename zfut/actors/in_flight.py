"""The calls of an actor with coroutines: each runs to its first wait, then beside the others.

    start --- plain method ------------------------> answer
       '----- coroutine ---> task of the loop ------> answer

Who owns the event loop sees to its turns; ``note_answer`` tells it that an answer has gathered.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from functools import partial
from typing import Any

from zfut.actors.user_code import CancelInterrupt, Runner
from zfut.context import cover, running
from zfut.core.events import Returned
from zfut.core.executor.inbox import Call
from zfut.core.executor.machine import ExecutorMachine
from zfut.refs import ObjectRef
from zfut.session import ArgumentHold
from zfut.untrusted import is_a


class InFlight:
    """Starts calls in an event loop, as many at once as the actor allows, and answers them."""

    def __init__(
        self,
        executor: ExecutorMachine,
        runner: Runner,
        answers: deque[Any],
        aio: asyncio.AbstractEventLoop,
    ) -> None:
        self._executor = executor
        self._runner = runner
        self._answers = answers
        self._aio = aio
        self._limit = executor.max_concurrency
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._active = 0
        self._leaving = False

    def note_answer(self) -> None:
        """An answer lies ready; it may leave with others."""

    def _has_room(self) -> bool:
        return bool(self._executor.inbox.queue) and self._active < self._limit

    def _start(self, call: Call) -> None:
        runner = self._runner
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
            if inspect.isawaitable(value) and not isinstance(value, ObjectRef):
                begins = [value]
                task = self._aio.create_task(self._finish(call, name, begins, holds))
                if not task.done():  # an eager one may be
                    self._tasks[call.spec.task_id] = task
                task.add_done_callback(partial(self._cut_off, call, name, begins, holds))
                return
            runner.keep(call, holds)
            self._done(call, runner.returned(call, name, value, time.monotonic_ns() - began))
        except BaseException as error:  # noqa: BLE001  it belongs to the caller
            args, kwargs = [], {}
            runner.keep(call, holds)
            self._done(call, runner.failed(call, name, error, time.monotonic_ns() - began))
        finally:
            cover.reset(covering)
            running.reset(context)

    async def _finish(
        self, call: Call, name: str, begins: list[Any], holds: list[ArgumentHold]
    ) -> None:
        runner = self._runner
        value: Any = None
        returned: Returned | None
        began = time.monotonic_ns()
        try:
            value = await begins.pop()
            runner.keep(call, holds)
            returned = runner.returned(call, name, value, time.monotonic_ns() - began)
        except BaseException as error:  # noqa: BLE001  it belongs to the caller
            returned = self._failed(call, name, holds, error, time.monotonic_ns() - began)
        self._ended(call, returned)

    def _failed(
        self, call: Call, name: str, holds: list[ArgumentHold], error: BaseException, took: int
    ) -> Returned | None:
        runner = self._runner
        runner.keep(call, holds)
        cancelled = call.spec.task_id in runner.cancelled
        asked = cancelled and is_a(error, asyncio.CancelledError)
        return runner.failed(call, name, CancelInterrupt() if asked else error, took)

    def _cut_off(
        self,
        call: Call,
        name: str,
        begins: list[Any],
        holds: list[ArgumentHold],
        _: asyncio.Task[None],
    ) -> None:
        """A task that was cancelled before its first step has run nothing: this is its answer."""
        if begins:
            awaitable = begins.pop()
            if inspect.iscoroutine(awaitable):
                awaitable.close()
            self._ended(call, self._failed(call, name, holds, asyncio.CancelledError(), 0))

    def _ended(self, call: Call, returned: Returned | None) -> None:
        """A coroutine has its answer."""
        self._tasks.pop(call.spec.task_id, None)
        self._done(call, returned)

    def cancel_one(self, task_id: bytes) -> None:
        """Cancel the coroutine of a call."""
        task = self._tasks.get(task_id)
        if task is not None:
            task.cancel()

    def _done(self, call: Call, returned: Returned | None) -> None:
        """A call has ended. What the end of the actor cut off is answered by that end."""
        self._active -= 1
        self._runner.cancelled.pop(call.spec.task_id, None)
        if self._leaving:
            return
        if returned is not None:
            self._runner.let_go(call)
            self._answers.append(returned)
        self.note_answer()
