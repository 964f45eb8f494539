"""A session: one process's part in it, behind the module-level functions.

They use the current session; there is no other state.  In a program it is made by ``init``; in a
worker it is there from the start.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Self

from zfut import errors, refs
from zfut.context import running
from zfut.core import events as e
from zfut.refs import ObjectRef
from zfut.values import ArgumentHold
from zfut.waits import Waits
from zfut.wire import messages as m
from zfut.wire.specs import Address

if TYPE_CHECKING:
    import concurrent.futures

__all__ = ["ArgumentHold", "Session", "current", "current_or_none", "set_current"]

_current: Session | None = None
_find: Callable[[], Session | None] | None = None


def current() -> Session:
    """Return the session of this process. Raises UsageError if there is none."""
    session = _current
    if session is None:
        session = current_or_none()
        if session is None:
            raise errors.UsageError("zfut is not initialised here", "Call zfut.init() first")
    return session


def current_or_none() -> Session | None:
    """Return the session of this process if there is one."""
    return _current if _current is not None or _find is None else _find()


def set_current(
    session: Session | None, find: Callable[[], Session | None] | None = None
) -> None:
    """Make this the session that module-level functions use.

    Without one, ``find`` is asked at each use: several may share a process, see ``zfut.inline``.
    """
    global _current, _find
    _current, _find = session, find


def _arrived(object_id: bytes, owner: Address) -> ObjectRef[Any]:
    """Make a reference that came inside a value; called by the unpickler."""
    return current().arrive(object_id, owner)


def _disown() -> None:
    session = current_or_none()
    if session is not None:
        session.disown()


refs.bind(_arrived)
os.register_at_fork(after_in_child=_disown)


class Session(Waits):
    """Puts, gets, waits, submissions, futures and questions to the node."""

    # ---------------------------------------------------------------- futures and coroutines

    def future(self, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
        """Return a future for a reference."""
        self.check_open()
        self.check_refs((ref,), "future()")
        from zfut.futures import RefFuture  # noqa: PLC0415  only programs that want futures

        return RefFuture(self, ref)

    def awaiting(self, ref: ObjectRef[Any]) -> Generator[Any, None, Any]:
        """Wait for a reference in the running event loop."""
        self.check_open()
        self.check_refs((ref,), "await")
        object_id = ref.binary()
        while not self.is_ready(object_id):  # it may be lost again meanwhile
            yield from self._await_in_loop(object_id)
        return self.value_of(object_id, self._rows[object_id])

    def _await_in_loop(self, object_id: bytes) -> Generator[Any, None, None]:
        import asyncio  # noqa: PLC0415  only programs with an event loop get here

        aio = asyncio.get_running_loop()
        thread = threading.get_ident()
        ready = aio.create_future()

        def done() -> None:
            if threading.get_ident() == thread:
                _resolve(ready)
            else:
                aio.call_soon_threadsafe(_resolve, ready)

        call_id, _ = self.new_call(done)
        caller = running.get().task_id
        event = e.AwaitObjects(call_id, (object_id,), 1, fail_fast=True, caller=caller)
        try:
            self.loop.post(event)
            yield from ready
        finally:
            if self.loop.calls.pop(call_id, None) is not None:
                self.loop.post(e.StopWaiting(call_id))
        self._check_loop()

    # ---------------------------------------------------------------- why

    def explain(self, ref: ObjectRef[Any]) -> str:
        """Return the chain of causes for which a reference is pending."""
        self.check_open()
        self.check_refs((ref,), "explain()")
        self.loop.turn()
        from zfut.explain import explain  # noqa: PLC0415  only who asks needs it

        return explain(self, ref.binary())

    # ---------------------------------------------------------------- as a context

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.on_exit()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.on_exit()

    # ---------------------------------------------------------------- asking the node

    def ask(self, make: Callable[[int], Any], timeout_s: float = 30.0) -> Any:
        """Send the node a question that carries the call's number, and return its answer.

        Raises GetTimeoutError if none comes in time: the question is withdrawn.
        """
        self.check_open()
        call_id, pending = self.new_call()
        message = make(call_id)
        deadline = time.monotonic_ns() + int(timeout_s * 1e9)
        try:
            self.loop.post(e.Asked(call_id, message))
            if not self.wait_for(call_id, pending, deadline):
                raise errors.GetTimeoutError(1, 1, timeout_s, "the node manager did not answer")
        finally:
            if not pending.done:
                self._withdraw(call_id, message)
        return pending.outcome

    def _withdraw(self, call_id: int, message: m.Message) -> None:
        """Nobody waits for the node's answer, though the tables may."""
        self.loop.calls.pop(call_id, None)
        if not isinstance(message, m.RegisterName):  # the answer tells whose the name is
            self.loop.post(e.StopWaiting(call_id))


def _resolve(future: Any) -> None:
    if not future.done():
        future.set_result(None)
