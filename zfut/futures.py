"""A real ``concurrent.futures.Future`` of a reference's value.

Who asks it for its result waits as ``get`` does, and so do those who sleep on several of them: a
task that waits so lends its CPU.  A future that nobody waits for is no wait.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zfut import errors
from zfut.context import running
from zfut.core import events as e
from zfut.core.owner.records import READY, ObjectRow
from zfut.refs import ObjectRef
from zfut.shield import Notice, shielded, wakes_nobody

if TYPE_CHECKING:
    from zfut.session import Session

HANDOVER_S = 0.01
"""The value is known: another thread is about to hand it to the future."""


class RefFuture(concurrent.futures.Future[Any]):
    """A real future of a reference's value."""

    def __init__(self, session: Session, ref: ObjectRef[Any]) -> None:
        super().__init__()
        self._ref = ref
        self._zfut = session
        self._waits: dict[int, None] = {}  # those that end if this is cancelled
        self._caller: bytes | None = None  # the call that has left a callback here
        self._waiters: list[Any] = _Waiters(
            session, ref.binary()
        )  # those of concurrent.futures.wait()
        self._await()

    def _await(self) -> None:
        call_id, _ = self._zfut.new_call(self._finish)
        ids = (self._ref.binary(),)
        event = e.AwaitObjects(call_id, ids, 1, fail_fast=True, caller=self._caller)
        self._zfut.loop.post(event)

    def _finish(self) -> None:
        object_id = self._ref.binary()
        row = self._zfut.owner.row(object_id)
        if row is not None and row.state < READY and not self._zfut.loop.closed:
            self._await()  # it was lost meanwhile, and is being made again
            return
        value, error = self._outcome(row)
        if not self.set_running_or_notify_cancel():
            return
        if error is not None:
            self.set_exception(error)
        else:
            self.set_result(value)

    def _outcome(self, row: ObjectRow | None) -> tuple[Any, BaseException | None]:
        """Return the value, or what it raises; a signal's handler interrupts only the program."""
        with shielded(wakes_nobody, Notice) as signals:
            try:
                if row is None or row.state < READY:
                    raise errors.SessionError("this session", self._zfut.loop.closed)  # noqa: TRY301
                return self._zfut.value_of(self._ref.binary(), row), None
            except BaseException as error:
                if signals.hit:
                    self._await()  # once more, for the value
                    raise
                return None, error

    # ---------------------------------------------------------------- waiting

    def result(self, timeout: float | None = None) -> Any:
        """Return the value, or raise the error; GetTimeoutError if it takes too long."""
        self._wait(timeout)
        return super().result()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the error, or None if there is a value; GetTimeoutError if it takes too long."""
        self._wait(timeout)
        return super().exception()

    def _wait(self, timeout: float | None) -> None:
        """Wait until this is done, as ``get`` waits."""
        if timeout is not None and timeout > threading.TIMEOUT_MAX:
            timeout = None
        deadline = None if timeout is None else time.monotonic() + timeout
        ids = (self._ref.binary(),)
        while not super().done():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = self._zfut.await_objects(ids, 1, left, fail_fast=True, opened=self._opened)
            if ready:
                self._zfut.loop.turn()
                with contextlib.suppress(TimeoutError, concurrent.futures.CancelledError):
                    super().exception(HANDOVER_S)
            late = deadline is not None and time.monotonic() >= deadline
            if (late or not ready) and not super().done():
                raise self._zfut.timed_out((self._ref,), timeout)

    def _opened(self, call_id: int) -> None:
        calls = self._zfut.loop.calls
        self._waits = {wait: None for wait in (*self._waits, call_id) if wait in calls}
        if super().done():  # perhaps it was cancelled just now
            self._zfut.end_wait(call_id)

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Call ``fn`` with this future when it is done; until then somebody waits for it."""
        super().add_done_callback(fn)
        if self._caller is None and not super().done():
            self._caller = running.get().task_id
            with contextlib.suppress(errors.SessionError):  # it is about to be done
                self._opened(self._zfut.note_wait((self._ref.binary(),)))

    def cancel(self) -> bool:
        """Cancel the future, and the task if it has not started."""
        if not super().cancel():
            return False
        self._zfut.loop.post(e.Cancelled(self._ref.binary()))
        for call_id in list(self._waits):
            self._zfut.end_wait(call_id)
        return True


class _Waiters(list[Any]):
    """The waiters that ``concurrent.futures`` puts on a future: their events say what for.

    It does not know the future itself: in a ring the two would outlive their last use.
    """

    def __init__(self, session: Session, object_id: bytes) -> None:
        super().__init__()
        self._session = session
        self._object_id = object_id

    def append(self, waiter: Any) -> None:
        """Note a waiter; one waits for several futures."""
        if not isinstance(waiter.event, _Watched):
            waiter.event = _Watched(self._session)
        waiter.event.object_ids.append(self._object_id)
        super().append(waiter)


class _Watched(threading.Event):
    """What ``concurrent.futures.wait`` and ``as_completed`` sleep on."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.object_ids: list[bytes] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, and have it known what for."""
        ids = tuple([name for name in self.object_ids if not self._session.is_ready(name)])
        call_id = 0
        if ids and not self.is_set():
            with contextlib.suppress(errors.SessionError):  # they are about to be done
                call_id = self._session.note_wait(ids)
        try:
            return super().wait(timeout)
        finally:
            self._session.end_wait(call_id)
