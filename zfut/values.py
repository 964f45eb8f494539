"""Values on their way in and out: arguments packed, puts written, results opened."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from zfut import errors, task_errors
from zfut.arriving import Arriving
from zfut.binding import Binding
from zfut.context import cover, running
from zfut.core import events as e
from zfut.core.owner.records import ACTOR, FAILED, READY, ObjectRow, Task, Template
from zfut.ids import PUT_INDEX, short
from zfut.refs import ObjectRef, arriving
from zfut.room import wait_for_room
from zfut.shield import NO_SHIELD, NoShield, Shield, shielded, wakes_nobody
from zfut.sites import call_site
from zfut.waiting import Pending
from zfut.wire import serialize
from zfut.wire.specs import Address, Stored

_PackedArgs = tuple[int, bytes | Stored, tuple[tuple[bytes, Address], ...], object]
"""Encoding, bytes or place, the references inside, and what holds the place."""


class ArgumentHold:
    """Knows whether the views of one argument are gone; called when the last one is.

    The last view may go at any moment, on any thread: whoever takes the event out tells it, once.
    """

    __slots__ = ("_drop", "_due", "released", "stored")

    def __init__(self, stored: Stored, drop: Callable[[e.ViewClosed], None]) -> None:
        self.stored = stored
        self.released = False
        self._drop = drop
        self._due: list[e.ViewClosed] = []

    def __call__(self) -> None:
        self.released = True
        self._tell()

    def count(self) -> None:
        """The views are counted as a use of the object: its end is to be told."""
        self._due.append(e.ViewClosed(self.stored.object_id))
        if self.released:
            self._tell()

    def _tell(self) -> None:
        try:
            closed = self._due.pop()
        except IndexError:
            return
        self._drop(closed)


class Values(Binding):
    """Submits calls and puts; reads what they made."""

    # ---------------------------------------------------------------- submitting

    def submit(self, task: Task) -> list[ObjectRef[Any]]:
        """Hand a call in and return its references; nothing waits."""
        if self.closed:
            self.check_open()
        task_id = task.task_id
        count = task.num_returns
        refs: list[ObjectRef[Any]]  # made before the call is handed in: an interrupt leaks none
        if count == 1:
            refs = [ObjectRef(task_id + b"\0\0\0\1", self.address, self, self.loop.drop)]
        else:
            refs = [self.make_ref(task_id + (i + 1).to_bytes(4, "big")) for i in range(count)]
        hold, task.hold = task.hold, None
        self.loop.post(task)
        del hold  # the call holds that from here on
        return refs

    @abstractmethod
    def await_objects(
        self, ids: tuple[bytes, ...], need: int, timeout_s: float | None, *, fail_fast: bool
    ) -> bool:
        """Wait until ``need`` of the objects are ready. Returns False if time ran out."""

    @abstractmethod
    def await_room(self, submitter: bytes) -> None:
        """Wait until enough calls of this process have ended to submit more."""

    def make_task(
        self, template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Task:
        """Pack a call's arguments into a task that is ready to be submitted.

        Waits first if too many calls of this process are unfinished; see ``zfut.room``.
        """
        backlog = self.backlog
        if backlog.open_calls + len(self.loop.inbox) >= backlog.bar:
            wait_for_room(self)
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
            packed: _PackedArgs = (0, b"", (), None)
        else:
            packed = self._pack_args(template, tuple(plain), kwargs)
        encoding, data, nested, hold = packed
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
            site=self._site(),
            parent=now.task_id,
            hold=hold,
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
    ) -> _PackedArgs:
        packed = serialize.pack_call(args, kwargs, template.name, template.parameters)
        nested = packed.refs
        if nested:
            self.check_inside(packed)
        if packed.size_bytes <= self.config.inline_max_bytes:
            return packed.encoding, packed.to_bytes(), nested, packed.holders or None
        object_id = self.new_task_id() + PUT_INDEX
        hold = self.make_ref(object_id)
        stored = self._put_stored(packed, object_id)
        return packed.encoding, stored, ((object_id, self.address),), hold

    # ---------------------------------------------------------------- values

    def free(self, refs: Sequence[ObjectRef[Any]]) -> None:
        """Take the values of objects of this process away, though references to them exist."""
        self.check_refs(refs, "free()")
        for ref in refs:
            if ref.owner.uid != self.uid:
                raise errors.UsageError(
                    f"free() was given {short(ref.binary())}, which belongs to process "
                    f"{short(ref.owner.uid)}: only an object's owner can free it",
                    "Drop the reference here, or free it where its task was called, or its put",
                )
        self.loop.post(e.ObjectsFreed(tuple([ref.binary() for ref in refs])))
        self.loop.turn()

    def put(self, value: Any) -> ObjectRef[Any]:
        """Store an immutable snapshot of ``value`` and return its reference."""
        self.check_open()
        if isinstance(value, ObjectRef):
            raise errors.UsageError(
                "put() was given a reference; it stores values", "Pass the reference itself"
            )
        packed = serialize.pack(value, "put() value")
        if packed.refs:
            self.check_inside(packed)
        object_id = self.uid + next(self._tasks).to_bytes(8, "big") + PUT_INDEX
        ref: ObjectRef[Any] = ObjectRef(object_id, self.address, self, self.loop.drop)
        if packed.size_bytes <= self.config.inline_max_bytes:
            self.loop.post(
                e.PutInline(
                    object_id, packed.encoding, packed.to_bytes(), packed.refs, self._site()
                )
            )
        else:
            self._put_stored(packed, object_id)
        return ref

    def _site(self) -> str:
        return call_site() if self.config.record_call_sites else ""

    def _put_stored(self, packed: serialize.Packed, object_id: bytes) -> Stored:
        """Write a value of ours and hand it in.

        A signal may come before or after, not between: memory that nobody knows of stays taken.
        """
        while True:
            with shielded(wakes_nobody) as shield:
                offset = self._allocate(packed.size_bytes, self.uid, shield)
                if offset is not None:
                    stored = self._write_at(offset, packed, object_id, self.address, 0)
                    self.loop.post(e.PutStored(stored, packed.refs, self._site()))
                    return stored
            # The program's own handler let it go on.

    def write(
        self, packed: serialize.Packed, object_id: bytes, owner: Address, attempt: int
    ) -> Stored:
        """Write a result into the arena, waiting for room if need be.

        Raises ObjectStoreFullError with the figures if none came free in time.
        """
        offset = self._allocate(packed.size_bytes, owner.uid, NO_SHIELD)
        assert offset is not None
        return self._write_at(offset, packed, object_id, owner, attempt)

    def unwrite(self, stored: Stored) -> None:
        """A result that ``write`` wrote is not answered."""
        self._free(stored.offset)

    def _write_at(
        self,
        offset: int,
        packed: serialize.Packed,
        object_id: bytes,
        owner: Address,
        attempt: int,
    ) -> Stored:
        try:
            self.store.write(offset, packed.parts, packed.offsets)
        except BaseException:
            self._free(offset)
            raise
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

    def _allocate(
        self,
        size_bytes: int,
        owner: bytes,
        shield: Shield | NoShield,
    ) -> int | None:
        """Take memory, waiting for room if need be; None: ``shield`` was hit."""
        if self.closed:
            self.check_open()
        loop = self.loop
        loop.check_outside()
        left = True
        while left:
            with loop.lock:
                offset = self.owner.ledger.memory.allocate(size_bytes, owner)
            if offset is not None:
                return offset
            left = bool(loop.drops)  # they may hold enough
            loop.turn()
        call_id, pending = self.new_call()
        try:
            loop.post(e.AllocateMemory(call_id, size_bytes, owner))
            loop.wait(pending, None, lambda: shield.hit)
        except BaseException:
            if not self._free_later(pending):
                self._free(pending.outcome)
            raise
        if self._free_later(pending):
            return None
        self._check_loop()
        outcome = pending.outcome
        if isinstance(outcome, int):
            return outcome
        raise errors.ObjectStoreFullError(size_bytes, str(outcome))

    def _free_later(self, pending: Pending) -> bool:
        """Nobody waits for this memory any more. Returns False if it has come."""
        with self.loop.lock:
            if not pending.done:
                pending.callback = lambda: self._free(pending.outcome)
            return not pending.done

    def _free(self, offset: object) -> None:
        """Nothing was made of this memory."""
        if isinstance(offset, int):
            with self.loop.lock:
                self.owner.ledger.memory.free(offset)

    def value_of(self, object_id: bytes, row: ObjectRow, *, copy: bool = False) -> Any:
        """Return the value of a ready object, or raise its error."""
        state, value, encoding = row.state, row.value, row.encoding
        if isinstance(value, Stored):
            return self.read(value, object_id, copy=copy)
        if state < READY:  # lost since somebody looked
            return self._value_now(object_id, row, copy=copy)
        if state == ACTOR or value is None:
            raise errors.UsageError("an actor handle has no value", "Call one of its methods")
        if state == FAILED:
            raise task_errors.decode_failure(value)
        if copy:
            return self._unpack(object_id, encoding, bytearray(value))
        if encoding == serialize.PICKLE and not row.contains and row.owner is None:
            return serialize.unpack(encoding, value)
        return self._unpack(object_id, encoding, value)

    def _unpack(self, object_id: bytes, encoding: int, data: Any) -> Any:
        token = cover.set(object_id)
        loop = self.loop
        batch = Arriving(self, loop.drop, loop.inbox.append, loop.turn, object_id)
        outer = arriving.set(batch)
        loop.batches.append(batch)
        try:
            return serialize.unpack(encoding, data)
        finally:
            loop.batches.remove(batch)
            arriving.reset(outer)
            cover.reset(token)
            batch.count(loop.post)

    def read(self, stored: Stored, object_id: bytes, *, copy: bool = False) -> Any:
        """Open a value in the arena; what is made of it holds the object."""
        drop, closed = self.loop.drop, e.ViewClosed(object_id)
        self.loop.check_outside()
        with shielded(wakes_nobody):
            with self.loop.lock:
                row = self._rows.get(object_id)
                gone = row is not None and row.value is not stored
                if row is not None and not gone:  # what protects it protects its views
                    row.local += 1
                    row.views += 1
            if not gone:
                if row is None:
                    self.loop.post(e.ViewArrived(stored, cover.get()))
                place, size_bytes = stored.offset, stored.size_bytes
                view: Any = self.store.read(place, size_bytes, lambda: drop(closed))
        if gone:
            assert row is not None
            return self._value_now(object_id, row, copy=copy)
        if copy:
            view = bytearray(view)
        return self._unpack(object_id, stored.encoding, view)

    def _value_now(self, object_id: bytes, row: ObjectRow, *, copy: bool) -> Any:
        """Another thread freed the object, or lost its value, since this one looked."""
        if row.state < READY:
            self.await_objects((object_id,), 1, None, fail_fast=True)
        return self.value_of(object_id, row, copy=copy)

    def read_argument(self, stored: Stored, holds: list[ArgumentHold]) -> Any:
        """Open a call's argument; the call covers it, and ``keep_arguments`` what is left then."""
        hold = ArgumentHold(stored, self.loop.drop)
        view = self.store.read(stored.offset, stored.size_bytes, hold)
        holds.append(hold)  # an interrupt before this leaves no view, and nothing to hold
        return serialize.unpack(stored.encoding, view)

    def keep_arguments(self, holds: list[ArgumentHold], task_id: bytes) -> None:
        """The call is over: views of its arguments that live on are uses of their objects."""
        for hold in holds:
            if not hold.released:
                self.loop.post(e.ViewArrived(hold.stored, task_id))
                hold.count()
