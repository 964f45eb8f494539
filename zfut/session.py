"""A session: binds a process's user threads to its actor's loop.

Module-level functions use the current session; there is no other state.  In a program it is made
by ``init``; in a worker it is there from the start.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, NoReturn, Protocol

from zfut import errors, refs, task_errors
from zfut.config import Config
from zfut.context import cover, running
from zfut.core import events as e
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.records import ACTOR, FAILED, INLINE, PENDING, STATE_NAMES, ObjectRow
from zfut.core.owner.records import Task, Template
from zfut.ids import PUT_INDEX, ProcUid, node_of, short
from zfut.refs import ObjectRef
from zfut.store.backend import Store
from zfut.waiting import Driving, Pending
from zfut.wire import serialize
from zfut.wire.specs import Address, Stored

log = logging.getLogger("zfut")

Refs = Sequence[ObjectRef[Any]]

_current: Session | None = None


def current() -> Session:
    """Return the session of this process. Raises UsageError if there is none."""
    session = _current
    if session is None:
        raise errors.UsageError("zfut is not initialised here", "Call zfut.init() first")
    return session


def current_or_none() -> Session | None:
    """Return the session of this process if there is one."""
    return _current


def set_current(session: Session | None) -> None:
    """Make this the session that module-level functions use."""
    global _current  # noqa: PLW0603  the one place that knows
    _current = session


def _arrived(object_id: bytes, owner: Address) -> ObjectRef[Any]:
    """Make a reference that came inside a value; called by the unpickler."""
    return current().arrive(object_id, owner)


refs.bind(_arrived)


class Reentry(Protocol):
    """How a worker runs calls of its own on top of one that waits."""

    def ready(self) -> bool:
        """Whether there is such a call."""

    def run(self) -> None:
        """Run one."""


class Session:
    """One process's part in a session: puts, gets, waits and submissions."""

    def __init__(
        self, uid: ProcUid, loop: Driving, owner: OwnerMachine, store: Store, config: Config
    ) -> None:
        self.uid = uid
        self.node = node_of(uid)
        self.address = Address(uid)
        self.loop = loop
        self.owner = owner
        self.store = store
        self.config = config
        self.namespace = ""
        self.closed = ""
        self.on_exit: Callable[[], None] = _nothing
        self.reenter: Reentry | None = None
        self.exit_actor: Callable[[], NoReturn] = _no_actor
        self._pid = os.getpid()
        self._tasks = itertools.count(1)
        self._calls = itertools.count(1)
        self._rows = owner.rows
        self._main = threading.get_ident()

    # ---------------------------------------------------------------- names

    def new_task_id(self) -> bytes:
        """Name a task or put of this process."""
        return self.uid + next(self._tasks).to_bytes(8, "big")

    def is_forked(self) -> bool:
        """Whether this process is a fork of the one the session belongs to."""
        return os.getpid() != self._pid

    def check_unique(self, refs: Refs) -> None:
        """Raise unless these are different references of this session."""
        if set(map(type, refs)) != _REF_ONLY:
            self.check_refs(refs, "wait()")
        different = {ref._id for ref in refs}  # noqa: SLF001
        if len(different) != len(refs):
            raise errors.DuplicateRefError("wait()", len(refs), len(different))
        self.check_refs(refs[:1], "wait()")

    def check_open(self) -> None:
        """Raise SessionError if this session has ended, or belongs to the parent of a fork."""
        if self.closed:
            raise errors.SessionError("this session", self.closed)
        if os.getpid() != self._pid:
            raise errors.SessionError(
                "this session",
                f"it belongs to process {self._pid}, of which this one is a fork; "
                "call zfut.init() here",
            )

    def check_refs(self, refs: Refs, function: str) -> None:
        """Raise unless these are references of this session."""
        for ref in refs:
            if not isinstance(ref, ObjectRef):
                raise errors.WrongTypeError(function, "references", ref)
            if ref._session is not self:  # noqa: SLF001  a reference and its session are one
                raise errors.SessionError(
                    f"the reference {short(ref.binary())}", "its session has ended"
                )

    def make_ref(self, object_id: bytes, owner: Address | None = None) -> ObjectRef[Any]:
        """Make the handle of a hold that a table already counts."""
        return ObjectRef(object_id, owner or self.address, self, self.loop.drop)

    def arrive(self, object_id: bytes, owner: Address) -> ObjectRef[Any]:
        """Make a reference that came inside a value, and count it."""
        self.loop.post(e.RefArrived(object_id, owner, cover.get()))
        return self.make_ref(object_id, owner)

    # ---------------------------------------------------------------- submitting

    def submit(self, task: Task) -> list[ObjectRef[Any]]:
        """Hand a call in and return its references; nothing waits."""
        if self.closed:
            self.check_open()
        args = task.args
        self.loop.post(task)
        if type(args) is Stored:
            self.loop.drop(args.object_id)  # put for this call: the call holds it
        task_id = task.task_id
        count = task.num_returns
        if count == 1:
            return [ObjectRef(task_id + b"\0\0\0\1", self.address, self, self.loop.drop)]
        return [self.make_ref(task_id + (i + 1).to_bytes(4, "big")) for i in range(count)]

    def make_task(
        self, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Task:
        """Pack a call's arguments into a task that is ready to be submitted."""
        deps: list[tuple[int | str, bytes, Address]] = []
        plain: Any = args
        for index, value in enumerate(args):
            if type(value) is ObjectRef:
                if not deps:
                    plain = list(args)
                deps.append(self._dep(index, value))
                plain[index] = None
        if kwargs:
            kwargs = self._plain_kwargs(kwargs, deps)
        if not kwargs and len(deps) == len(args):
            data, encoding, nested = b"", 0, ()
        else:
            encoding, data, nested = self._pack_args(template, tuple(plain), kwargs)
        now = running.get()
        return Task(
            self.uid + next(self._tasks).to_bytes(8, "big"),
            template,
            data,
            encoding,
            template.num_returns,
            tuple(deps) if deps else (),
            nested,
            now.depth + 1,
            trace=now.trace,
        )

    def _dep(self, where: int | str, ref: ObjectRef[Any]) -> tuple[int | str, bytes, Address]:
        if ref._session is not self:  # noqa: SLF001  a reference and its session are one
            self.check_refs((ref,), "a call")
        return where, ref._id, ref._owner  # noqa: SLF001

    def _plain_kwargs(
        self, kwargs: dict[str, Any], deps: list[tuple[int | str, bytes, Address]]
    ) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for name, value in kwargs.items():
            if type(value) is ObjectRef:
                deps.append(self._dep(name, value))
            else:
                plain[name] = value
        return plain

    def _pack_args(
        self, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[int, bytes | Stored, tuple[tuple[bytes, Address], ...]]:
        packed = serialize.pack_call(args, kwargs, template.name, template.parameters)
        nested = packed.refs
        if packed.size_bytes <= self.config.inline_max_bytes:
            return packed.encoding, packed.to_bytes(), nested
        object_id = self.new_task_id() + PUT_INDEX
        stored = self.write(packed, object_id, self.address)
        self.loop.post(e.PutStored(stored, nested))
        return packed.encoding, stored, ((object_id, self.address),)

    # ---------------------------------------------------------------- values

    def put(self, value: Any) -> ObjectRef[Any]:
        """Store an immutable snapshot of ``value`` and return its reference."""
        self.check_open()
        if isinstance(value, ObjectRef):
            raise errors.UsageError(
                "put() was given a reference; it stores values", "Pass the reference itself"
            )
        packed = serialize.pack(value, "put() value")
        object_id = self.uid + next(self._tasks).to_bytes(8, "big") + PUT_INDEX
        if packed.size_bytes <= self.config.inline_max_bytes:
            self.loop.post(
                e.PutInline(object_id, packed.encoding, packed.to_bytes(), packed.refs)
            )
        else:
            stored = self.write(packed, object_id, self.address)
            self.loop.post(e.PutStored(stored, packed.refs))
        return ObjectRef(object_id, self.address, self, self.loop.drop)

    def write(
        self, packed: serialize.Packed, object_id: bytes, owner: Address, attempt: int = 0
    ) -> Stored:
        """Write a value into the arena, waiting for room if need be.

        Raises ObjectStoreFullError with the figures if none came free in time.
        """
        offset = self._allocate(packed.size_bytes, owner.uid)
        self.store.write(offset, packed.parts, packed.offsets)
        return Stored(
            object_id,
            owner,
            attempt,
            self.node,
            self.uid,
            offset,
            packed.size_bytes,
            packed.encoding,
        )

    def _allocate(self, size_bytes: int, owner: bytes) -> int:
        loop = self.loop
        with loop.lock:
            offset = self.owner.ledger.memory.allocate(size_bytes, owner)
        if offset is not None:
            return offset
        loop.turn()
        call_id, pending = self.new_call()
        loop.post(e.AllocateMemory(call_id, size_bytes, owner))
        self.wait_for(call_id, pending, None)
        outcome = pending.outcome
        if isinstance(outcome, int):
            return outcome
        raise errors.ObjectStoreFullError(size_bytes, str(outcome))

    def value_of(self, object_id: bytes, row: ObjectRow, *, copy: bool = False) -> Any:
        """Return the value of a ready object, or raise its error."""
        state = row.state
        if state == INLINE:
            encoding = row.encoding
            if copy:
                assert isinstance(row.value, bytes)
                return self._unpack(object_id, encoding, bytearray(row.value))
            if encoding == serialize.PICKLE and not row.contains and row.owner is None:
                return serialize.unpack(encoding, row.value)
            return self._unpack(object_id, encoding, row.value)
        if state == FAILED:
            raise task_errors.decode_failure(row.value)
        if state == ACTOR:
            raise errors.UsageError("an actor handle has no value", "Call one of its methods")
        assert isinstance(row.value, Stored)
        return self.read(row.value, object_id, copy=copy)

    def _unpack(self, object_id: bytes, encoding: int, data: Any) -> Any:
        token = cover.set(object_id)
        try:
            return serialize.unpack(encoding, data)
        finally:
            cover.reset(token)

    def read(self, stored: Stored, object_id: bytes, *, copy: bool = False) -> Any:
        """Open a value in the arena; what is made of it holds the object."""
        if copy:
            held = self.store.read(stored.offset, stored.size_bytes, _nothing)
            return self._unpack(object_id, stored.encoding, bytearray(held))
        with self.loop.lock:
            row = self._rows.get(object_id)
            if row is not None and (row.owner is None or row.tokens):
                row.local += 1
            else:
                row = None
        if row is None:
            self.loop.post(e.RefArrived(object_id, stored.owner, cover.get()))
        drop = self.loop.drop
        view = self.store.read(stored.offset, stored.size_bytes, lambda: drop(object_id))
        return self._unpack(object_id, stored.encoding, view)

    def read_argument(self, stored: Stored, holds: list[ArgumentHold]) -> Any:
        """Open a call's argument; the call covers it, and ``keep_arguments`` what is left then."""
        hold = ArgumentHold(stored, self.loop.drop)
        holds.append(hold)
        view = self.store.read(stored.offset, stored.size_bytes, hold)
        return serialize.unpack(stored.encoding, view)

    def keep_arguments(self, holds: list[ArgumentHold], task_id: bytes) -> None:
        """The call is over: views of its arguments that live on are uses of their objects."""
        for hold in holds:
            if not hold.released:
                stored = hold.stored
                self.loop.post(e.RefArrived(stored.object_id, stored.owner, task_id))
                hold.counted = True
                if hold.released:
                    self.loop.drop(stored.object_id)

    # ---------------------------------------------------------------- waiting

    def new_call(self, callback: Callable[[], None] | None = None) -> tuple[int, Pending]:
        """Open a call that the loop will complete."""
        call_id = next(self._calls)
        pending = self.loop.calls[call_id] = Pending(callback)
        return call_id, pending

    def wait_for(self, call_id: int, pending: Pending, deadline_ns: int | None) -> bool:
        """Wait for a call. Raises SessionError if the session ends meanwhile."""
        if self.loop.wait(pending, deadline_ns):
            if self.loop.closed and call_id:
                self._check_loop()
            return True
        self._check_loop()
        return False

    def _check_loop(self) -> None:
        if self.loop.closed:
            raise errors.SessionError("this session", self.loop.closed)

    def await_objects(
        self, ids: tuple[bytes, ...], need: int, timeout_s: float | None, *, fail_fast: bool
    ) -> bool:
        """Wait until ``need`` of the objects are ready. Returns False if time ran out."""
        call_id, pending = self.new_call()
        blocks = running.get().blocks and threading.get_ident() == self._main
        self.loop.post(e.AwaitObjects(call_id, ids, need, fail_fast, blocks))
        deadline = None
        if timeout_s is not None:
            deadline = time.monotonic_ns() + max(0, int(timeout_s * 1e9))
            if timeout_s <= 0:
                self.loop.turn()
        done = False
        try:
            if blocks and self.reenter is not None:
                done = self._wait_and_run(call_id, pending, deadline)
            else:
                done = pending.done or self._wait_or_say(call_id, pending, deadline, ids)
        finally:
            if not done:
                self.loop.calls.pop(call_id, None)
                self.loop.post(e.StopWaiting(call_id))
        return done

    def _wait_and_run(self, call_id: int, pending: Pending, deadline: int | None) -> bool:
        """Wait inside a task; run what this process is lent to itself for meanwhile."""
        reenter = self.reenter
        assert reenter is not None
        while not self.loop.wait(pending, deadline, reenter.ready):
            self._check_loop()
            if reenter.ready():
                reenter.run()
            elif deadline is not None and time.monotonic_ns() >= deadline:
                return False
        if self.loop.closed and call_id:
            self._check_loop()
        return True

    def _wait_or_say(
        self, call_id: int, pending: Pending, deadline: int | None, ids: tuple[bytes, ...]
    ) -> bool:
        """Wait; after ``log_blocked_get_s`` seconds say once what is waited for."""
        patience = time.monotonic_ns() + int(self.config.log_blocked_get_s * 1e9)
        if deadline is None or patience < deadline:
            if self.wait_for(call_id, pending, patience):
                return True
            waiting = [name for name in ids if not self.is_ready(name)]
            shown = "; ".join(f"{short(name)} {self.describe(name)}" for name in waiting[:3])
            log.warning(
                "a get has waited %g s for %d of %d references: %s",
                self.config.log_blocked_get_s,
                len(waiting),
                len(ids),
                shown,
            )
        return self.wait_for(call_id, pending, deadline)

    def get_one(self, ref: ObjectRef[Any], timeout_s: float | None, *, copy: bool) -> Any:
        """Return one value."""
        object_id = ref._id  # noqa: SLF001
        row = self._rows.get(object_id)
        if (row is None or row.state == PENDING) and not self.await_objects(
            (object_id,), 1, timeout_s, fail_fast=True
        ):
            raise self._timeout((ref,), timeout_s)
        return self.value_of(object_id, self._rows[object_id], copy=copy)

    def get_many(self, refs: Refs, timeout_s: float | None, *, copy: bool) -> list[Any]:
        """Return all values in order, or raise the first error at once."""
        ids = tuple([ref._id for ref in refs])  # noqa: SLF001
        if not ids:
            return []
        if not self.await_objects(ids, len(ids), timeout_s, fail_fast=True):
            raise self._timeout(refs, timeout_s)
        rows = self._rows
        found = [rows[object_id] for object_id in ids]
        for object_id, row in zip(ids, found, strict=True):
            if row.state == FAILED:
                self.value_of(object_id, row)
        return [
            self.value_of(object_id, row, copy=copy)
            for object_id, row in zip(ids, found, strict=True)
        ]

    def _timeout(self, refs: Refs, timeout_s: float | None) -> errors.GetTimeoutError:
        waiting = [ref for ref in refs if not self.is_ready(ref.binary())]
        what = "; ".join(
            f"{short(ref.binary())} {self.describe(ref.binary())}" for ref in waiting[:3]
        )
        return errors.GetTimeoutError(len(waiting), len(refs), float(timeout_s or 0), what)

    def is_ready(self, object_id: bytes) -> bool:
        """Whether the value or the error of an object is known here."""
        row = self._rows.get(object_id)
        return row is not None and row.state != PENDING

    def describe(self, object_id: bytes) -> str:
        """Say what is known here of an object, without asking anyone."""
        row = self._rows.get(object_id)
        if row is None:
            return "unknown here"
        task = row.task
        if task is None:
            return STATE_NAMES[row.state].lower()
        name = f"{task.template.name}()"
        if task.waiting_on:
            return f"{name} waits for {task.waiting_on} arguments"
        if task.actor_id:
            return f"{name} is with its actor or queued for it"
        if task.lease is not None:
            return f"{name} was sent to worker {short(task.lease.worker)}"
        return f"{name} waits for {self._why_queued(task)}"

    def _why_queued(self, task: Task) -> str:
        key = self.owner.tasks.submission.keys.get((task.template.demand, task.depth))
        if key is not None and key.why:
            return f"a node: {key.why}"
        wants = ", ".join(f"{kind}:{amount / 10_000:g}" for kind, amount in task.template.demand)
        return f"a worker ({wants or 'no resources'})"

    def ready_split(
        self, refs: Refs, need: int, timeout_s: float | None
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        """Return at most ``need`` ready references, and all others, each in the given order."""
        ready = self._ready_of(refs, need)
        if len(ready) < need and (timeout_s is None or timeout_s > 0 or self.loop.inbox):
            ids = tuple([ref._id for ref in refs])  # noqa: SLF001
            self.await_objects(ids, need, timeout_s, fail_fast=False)
            ready = self._ready_of(refs, need)
        if ready and len(ready) == 1 and refs[0] is ready[0]:
            return ready, list(refs[1:])
        chosen = {id(ref) for ref in ready}
        return ready, [ref for ref in refs if id(ref) not in chosen]

    def _ready_of(self, refs: Refs, need: int) -> list[ObjectRef[Any]]:
        rows = self._rows
        ready: list[ObjectRef[Any]] = []
        for ref in refs:
            row = rows.get(ref._id)  # noqa: SLF001
            if row is not None and row.state != PENDING:
                ready.append(ref)
                if len(ready) == need:
                    break
        return ready

    # ---------------------------------------------------------------- futures and coroutines

    def future(self, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
        """Return a future for a reference."""
        self.check_refs((ref,), "future()")
        return _RefFuture(self, ref)

    def awaiting(self, ref: ObjectRef[Any]) -> Generator[Any, None, Any]:
        """Wait for a reference in the running event loop."""
        self.check_refs((ref,), "await")
        object_id = ref.binary()
        if not self.is_ready(object_id):
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
        self.loop.post(e.AwaitObjects(call_id, (object_id,), 1, fail_fast=True))
        try:
            yield from ready
        finally:
            if self.loop.calls.pop(call_id, None) is not None:
                self.loop.post(e.StopWaiting(call_id))
        self._check_loop()

    # ---------------------------------------------------------------- as a context

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.on_exit()

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.on_exit()

    # ---------------------------------------------------------------- asking the node

    def ask(self, make: Callable[[int], Any], timeout_s: float = 30.0) -> Any:
        """Send the node a question that carries the call's number, and return its answer."""
        self.check_open()
        call_id, pending = self.new_call()
        self.loop.post(e.Asked(call_id, make(call_id)))
        deadline = time.monotonic_ns() + int(timeout_s * 1e9)
        if not self.wait_for(call_id, pending, deadline):
            raise errors.GetTimeoutError(1, 1, timeout_s, "the node manager did not answer")
        return pending.outcome


class ArgumentHold:
    """Knows whether the views of one argument are gone; called when the last one is."""

    __slots__ = ("_drop", "counted", "released", "stored")

    def __init__(self, stored: Stored, drop: Callable[[bytes], None]) -> None:
        self.stored = stored
        self.released = False
        self.counted = False
        self._drop = drop

    def __call__(self) -> None:
        if self.counted:
            self._drop(self.stored.object_id)
        self.released = True


class _RefFuture(concurrent.futures.Future[Any]):
    """A real future of a reference's value."""

    def __init__(self, session: Session, ref: ObjectRef[Any]) -> None:
        super().__init__()
        self._ref = ref
        self._zfut = session
        call_id, _ = session.new_call(self._finish)
        session.loop.post(e.AwaitObjects(call_id, (ref.binary(),), 1, fail_fast=True))

    def _finish(self) -> None:
        if not self.set_running_or_notify_cancel():
            return
        object_id = self._ref.binary()
        row = self._zfut.owner.row(object_id)
        try:
            if row is None or row.state == PENDING:
                raise errors.SessionError("this session", self._zfut.loop.closed)  # noqa: TRY301
            value = self._zfut.value_of(object_id, row)
        except BaseException as error:  # noqa: BLE001  it belongs to whoever asks the future
            self.set_exception(error)
        else:
            self.set_result(value)

    def cancel(self) -> bool:
        """Cancel the future, and the task if it has not started."""
        if not super().cancel():
            return False
        self._zfut.loop.post(e.Cancelled(self._ref.binary()))
        return True


def _resolve(future: Any) -> None:
    if not future.done():
        future.set_result(None)


def _nothing() -> None:
    return


def _no_actor() -> NoReturn:
    raise errors.UsageError("exit_actor() works only in an actor's method")


_REF_ONLY = {ObjectRef}
