"""What can happen to a machine, besides a submitted task (see ``zfut.core.owner.records.Task``).

A dropped reference is the commonest event of all, and a finaliser must not do more than append:
it is the bare ObjectID, a ``bytes``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from msgspec import Struct

from zfut.wire.messages import Message
from zfut.wire.specs import Address, Stored, TaskResult


class Received(Struct, gc=False):
    """A message arrived in the mailbox, from a process that has proven who it is."""

    sender: bytes
    message: Message
    payload: bytes = b""


class Woken(Struct, gc=False):
    """The time that ``wake_at`` named has come."""


class PutInline(Struct, gc=False):
    """User code put a small value; ``refs`` are the references inside it."""

    object_id: bytes
    encoding: int
    value: bytes
    refs: tuple[tuple[bytes, Address], ...] = ()
    site: str = ""


class PutStored(Struct, gc=False):
    """User code put a large value, which is written and sealed."""

    stored: Stored
    refs: tuple[tuple[bytes, Address], ...] = ()
    site: str = ""


class RefArrived(Struct, gc=False):
    """Unpickling made a reference. ``cover`` (a TaskID or an ObjectID) is what protects it now."""

    object_id: bytes
    owner: Address
    cover: bytes


class ViewArrived(Struct, gc=False):
    """A value in the arena is open here, or stays open beyond its call; ``cover`` as above."""

    stored: Stored
    cover: bytes


class RefsArrived(Struct, gc=False):
    """Unpickling one value made these references: object, owner; ``cover`` protects them now.

    They are gone through once.
    """

    refs: Iterable[tuple[bytes, Address]]
    cover: bytes


class ViewClosed(Struct, gc=False):
    """A mapped view of a value, and all that was made from it, is gone."""

    object_id: bytes


class ObjectsFreed(Struct, gc=False):
    """User code freed these objects of ours; see ``zfut.free``."""

    object_ids: tuple[bytes, ...]


class ValueLost(Struct, gc=False):
    """A stored value of ours is not in its store any more; ``attempt`` says which of them."""

    object_id: bytes
    attempt: int


class AwaitObjects(Struct, gc=False):
    """Somebody waits until ``need`` of these exist, or the first fails if ``fail_fast``.

    ``blocks`` says that it is the thread that runs this worker's task.  ``caller`` is the call
    that waits, empty if it is not known: a program's own code, or a thread that a call started.
    None: nobody waits yet, there is only a future.
    """

    call_id: int
    object_ids: tuple[bytes, ...]
    need: int
    fail_fast: bool
    blocks: bool = False
    caller: bytes | None = None


class AwaitRoom(Struct, gc=False):
    """Somebody waits to submit more, in the call ``submitter``; see ``zfut.core.owner.backlog``.

    ``blocks`` as above.
    """

    call_id: int
    submitter: bytes
    blocks: bool = False


class StopWaiting(Struct, gc=False):
    """The wait ``call_id`` is over, whatever came."""

    call_id: int


class AllocateMemory(Struct, gc=False):
    """Somebody wants room for a value; completes with an offset, or a refusal's text."""

    call_id: int
    size_bytes: int
    owner: bytes


class Cancelled(Struct, gc=False):
    """User code cancelled the task that makes this object; see ``zfut.cancel``."""

    object_id: bytes
    force: bool = False
    recursive: bool = True


class ActorKilled(Struct, gc=False):
    """User code called kill() on a handle."""

    actor_id: bytes
    owner: Address
    no_restart: bool = True


class Asked(Struct, gc=False):
    """User code asks its node; completes with the answering message."""

    call_id: int
    message: Message


class AskedOwner(Struct, gc=False):
    """User code asks another process what it knows; completes with the answering message."""

    call_id: int
    to: bytes
    topic: str
    name: bytes


class Returned(Struct, gc=False):
    """User code ended: the result and its payload parts, and the references in its values.

    ``hold`` keeps those alive that were made when the values were packed, until this is handed in.
    """

    result: TaskResult
    payload: tuple[bytes, ...]
    refs: tuple[tuple[tuple[bytes, Address], ...], ...] = ()
    hold: object = None


class ArgumentsOpened(Struct, gc=False):
    """The arguments of a running call are open; every reference in them has been handed in."""

    task_id: bytes


class Retired(Struct, gc=False):
    """The worker is to run nothing more: a function has had its ``max_calls`` here."""


class ProcessEnded(Struct, gc=False):
    """A worker process is gone, for certain; ``why`` says how."""

    uid: bytes
    why: str


class ProcessStarted(Struct, gc=False):
    """A worker process was forked."""

    uid: bytes
    pid: int


class Unreachable(Struct, gc=False):
    """The sockets' directory is gone; there was no connection to this process, nor can be one."""

    uid: bytes


Event: TypeAlias = (
    Received
    | Woken
    | PutInline
    | PutStored
    | ViewArrived
    | RefArrived
    | RefsArrived
    | ViewClosed
    | ObjectsFreed
    | ValueLost
    | AwaitObjects
    | AwaitRoom
    | StopWaiting
    | AllocateMemory
    | Cancelled
    | ActorKilled
    | Asked
    | AskedOwner
    | Returned
    | ArgumentsOpened
    | Retired
    | ProcessEnded
    | ProcessStarted
    | Unreachable
)
