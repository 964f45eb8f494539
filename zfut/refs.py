"""References: a name for a value that exists, or will, and the hold that keeps it.

An ``ObjectRef`` is what ``remote`` and ``put`` return.  It is hashable, equal by id, awaitable, and
picklable only inside a zfut message: pickled elsewhere it would name an object that nothing
holds.  Its finaliser only appends to a queue, because it may run anywhere, even inside a lock.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Generator
from contextvars import ContextVar
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

from zfut.ids import PUT_INDEX, short
from zfut.wire.context import note_reference
from zfut.wire.specs import Address

T = TypeVar("T")


class Maker(Protocol):
    """What a reference needs of the session it belongs to; see ``zfut.session.Session``."""

    def explain(self, ref: ObjectRef[Any]) -> str:
        """Say why a reference is pending."""

    def describe(self, object_id: bytes) -> str:
        """Say what is known here of an object, without asking anyone."""

    def future(self, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
        """Return a future that gets the value."""

    def awaiting(self, ref: ObjectRef[Any]) -> Generator[Any, None, Any]:
        """Wait for the value in the running event loop."""


class ObjectRef(Struct, Generic[T], gc=False, eq=False):
    """A reference to a value of type ``T``, held until this object is collected.

    The cyclic collector does not look at it: it refers to its session only, and a million of them
    cost a collection nothing.  So there are no weak references to it.
    """

    _id: bytes
    _owner: Address
    _session: Maker
    _drop: Callable[[bytes], None]

    def __del__(self) -> None:
        try:
            self._drop(self._id)
        except AttributeError:  # never made: arguments were missing
            return

    @property
    def owner(self) -> Address:
        """The process that owns the object."""
        return self._owner

    def binary(self) -> bytes:
        """Return the ObjectID: 28 bytes."""
        return self._id

    def hex(self) -> str:
        """Return the ObjectID in hexadecimal digits."""
        return self._id.hex()

    def future(self) -> concurrent.futures.Future[T]:
        """Return a real ``concurrent.futures.Future`` that gets the value or the error.

        Cancelling it cancels the task if that has not started.
        """
        return self._session.future(self)

    def explain(self) -> str:
        """Return why this is pending, as a chain of causes, a line each; asks who knows.

        ``zfut why`` shows the same from outside.  Raises SessionError if the session has ended.
        """
        return self._session.explain(self)

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the value; cancelling the await does not cancel the task."""
        return self._session.awaiting(self)

    def __hash__(self) -> int:
        return hash(self._id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectRef) and self._id == other._id

    def __repr__(self) -> str:
        index = int.from_bytes(self._id[-4:], "big")
        which = f".{index}" if 1 < index < _PUT else ""
        return f"ObjectRef({short(self._id)}{which} {self._session.describe(self._id)})"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        note_reference(self, self._id, self._owner)
        return _rebuild, (self._id, self._owner.uid, self._owner.epoch)

    def __copy__(self) -> ObjectRef[T]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ObjectRef[T]:
        return self


_PUT = int.from_bytes(PUT_INDEX, "big")

_arrive: list[Callable[[bytes, Address], ObjectRef[Any]]] = []


def bind(arrive: Callable[[bytes, Address], ObjectRef[Any]]) -> None:
    """Say who makes references that arrive inside values: the session of this process."""
    _arrive[:] = [arrive]


class Batch(Protocol):
    """Makes the references of one value; see ``zfut.arriving``."""

    def make(self, object_id: bytes, uid: bytes, epoch: int) -> ObjectRef[Any]:
        """Make one of them."""


arriving: ContextVar[Batch | None] = ContextVar("zfut_arriving", default=None)


def _rebuild(object_id: bytes, uid: bytes, epoch: int) -> ObjectRef[Any]:
    """Make the reference again in the process that unpickles it."""
    batch = arriving.get()
    if batch is not None:
        return batch.make(object_id, uid, epoch)
    return _arrive[0](object_id, Address(uid, epoch))
