"""A session of one virtual process: the same doors, and whoever looks in lets something happen.

In a session on processes work goes on while the program does something else, so a program may
poll: ``wait(timeout=0)``, ``Future.done()``, ``available_resources()``.  Here nothing goes on
meanwhile; so each of these runs one call first.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable, Generator
from typing import Any, Protocol

from zfut.binding import Refs
from zfut.config import Config
from zfut.core.owner.machine import OwnerMachine
from zfut.futures import RefFuture
from zfut.ids import ProcUid
from zfut.inline.coroutines import ActorEventLoop
from zfut.inline.loop import Driver, InlineLoop
from zfut.refs import ObjectRef
from zfut.session import Session
from zfut.store.backend import Store
from zfut.waiting import Pending

PAUSE_S = 0.005
"""Who waits for something that happens outside the session looks again after this time."""


class Stepper(Driver, Protocol):
    """What a session needs of the pump beyond what its loop does."""

    def step(self, loop: InlineLoop) -> bool:
        """Run one call, preferably one that ``loop`` waits for. Returns whether one ran."""

    def wait(
        self,
        loop: InlineLoop,
        done: Callable[[], bool],
        deadline_ns: int | None,
        *,
        others: bool = False,
    ) -> bool:
        """Run what there is to run until ``done()``; ``others`` says that others may end it."""


class InlineSession(Session):
    """The session of a virtual process."""

    loop: InlineLoop

    def __init__(
        self, loop: InlineLoop, owner: OwnerMachine, store: Store, config: Config, pump: Stepper
    ) -> None:
        super().__init__(ProcUid(loop.uid), loop, owner, store, config)
        self._pump = pump
        self._ticks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Handle] = (
            weakref.WeakKeyDictionary()
        )

    # ---------------------------------------------------------------- waiting

    def glance(self) -> None:
        """Let one call run, for a program that polls."""
        self._pump.deliver()
        self._pump.step(self.loop)
        self.loop.turn()

    def _wait_or_say(
        self, call_id: int, pending: Pending, deadline: int | None, ids: tuple[bytes, ...]
    ) -> bool:
        """Wait; the pump says what for when it has nothing left to run."""
        del ids
        done = self.wait_for(call_id, pending, deadline)
        self.check_interrupt()
        return done

    def ready_split(
        self, refs: Refs, need: int, timeout_s: float | None
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        """Return at most ``need`` ready references, and all others, each in the given order."""
        if timeout_s is not None and timeout_s <= 0:
            self.loop.turn()
            if len(self._ready_of(refs, need)) < need:
                self.glance()
        return super().ready_split(refs, need, timeout_s)

    def ask(self, make: Callable[[int], Any], timeout_s: float = 30.0) -> Any:
        """Send the node a question that carries the call's number, and return its answer."""
        self.check_open()
        self.glance()
        return super().ask(make, timeout_s)

    # ---------------------------------------------------------------- futures and coroutines

    def future(self, ref: ObjectRef[Any]) -> InlineFuture:
        """Return a future for a reference."""
        self.check_open()
        self.check_refs((ref,), "future()")
        self.help_event_loop()
        return InlineFuture(self, ref)

    def awaiting(self, ref: ObjectRef[Any]) -> Generator[Any, None, Any]:
        """Wait for a reference in the running event loop."""
        self.help_event_loop()
        return (yield from super().awaiting(ref))

    def help_event_loop(self) -> None:
        """See to it that the running event loop, if any, pumps while something waits."""
        try:
            aio = asyncio.get_running_loop()
        except RuntimeError:
            return
        if not isinstance(aio, ActorEventLoop) and aio not in self._ticks:
            self._ticks[aio] = aio.call_soon(self._tick, aio)

    def _tick(self, aio: asyncio.AbstractEventLoop) -> None:
        """Run one call; come again for as long as a coroutine or a future waits."""
        self._ticks.pop(aio, None)
        if not self.loop.calls or self.loop.closed:
            return
        self._pump.deliver()
        ran = self._pump.step(self.loop)
        self._pump.deliver()
        if ran:
            self._ticks[aio] = aio.call_soon(self._tick, aio)
        else:
            self._ticks[aio] = aio.call_later(PAUSE_S, self._tick, aio)

    def serve(
        self, done: Callable[[], bool], timeout_s: float | None, *, others: bool = False
    ) -> None:
        """Run what there is to run until ``done()``, or time has run out."""
        deadline = None
        if timeout_s is not None:
            deadline = time.monotonic_ns() + int(max(0.0, timeout_s) * 1e9)
        self._pump.wait(self.loop, done, deadline, others=others)


class InlineFuture(RefFuture):
    """A future whose waiting thread does the work itself."""

    _zfut: InlineSession

    def __init__(self, session: InlineSession, ref: ObjectRef[Any]) -> None:
        super().__init__(session, ref)
        self._waiters: list[Any] = _Waiters(session)  # those of concurrent.futures.wait()

    def result(self, timeout: float | None = None) -> Any:
        """Return the value, or raise the error, once it is known."""
        began = time.monotonic()
        self._zfut.serve(super().done, timeout)
        return super().result(_left(timeout, began))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the error, or None, once it is known which."""
        began = time.monotonic()
        self._zfut.serve(super().done, timeout)
        return super().exception(_left(timeout, began))

    def done(self) -> bool:
        """Whether the value or the error is known."""
        if not super().done():
            self._zfut.glance()
        return super().done()

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Call ``fn`` with this future when it is done."""
        self._zfut.help_event_loop()
        super().add_done_callback(fn)


def _left(timeout_s: float | None, began: float) -> float | None:
    return None if timeout_s is None else max(0.0, began + timeout_s - time.monotonic())


class _Waiters(list[Any]):
    """The waiters that ``concurrent.futures`` puts on a future: their event pumps."""

    def __init__(self, session: InlineSession) -> None:
        super().__init__()
        self._session = session

    def append(self, waiter: Any) -> None:
        """Note a waiter; one waits for several futures."""
        if not isinstance(waiter.event, _PumpingEvent):
            waiter.event = _PumpingEvent(self._session)
        super().append(waiter)


class _PumpingEvent(threading.Event):
    def __init__(self, session: InlineSession) -> None:
        super().__init__()
        self._session = session

    def wait(self, timeout: float | None = None) -> bool:
        """Do the work that ends the wait; futures of other kinds may be waited for as well."""
        self._session.serve(self.is_set, timeout, others=True)
        return self.is_set()
