"""What a session stands on: its process's names, its loop, and the checks before each use."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from zfut import errors
from zfut.config import Config
from zfut.context import cover
from zfut.core import events as e
from zfut.core.owner.machine import OwnerMachine
from zfut.ids import ProcUid, node_of, short
from zfut.refs import Maker, ObjectRef
from zfut.store.backend import Store
from zfut.waiting import Driving, Pending, Reentry
from zfut.wire.context import Noted
from zfut.wire.serialize import Packed
from zfut.wire.specs import Address

Refs = Sequence[ObjectRef[Any]]


class Binding(Maker):
    """Binds a process's user threads to the machine and store they share."""

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
        self.is_cancelled: Callable[[bytes], bool] = _never
        self.check_interrupt: Callable[[], None] = _nothing
        self._pid = os.getpid()
        self._tasks = itertools.count(1)
        self._calls = itertools.count(1)
        self._rows = owner.rows
        self.backlog = owner.ledger.backlog
        self.thread = threading.get_ident()  # runs the calls of this process

    # ---------------------------------------------------------------- names

    def new_task_id(self) -> bytes:
        """Name a task or put of this process."""
        return self.uid + next(self._tasks).to_bytes(8, "big")

    def is_forked(self) -> bool:
        """Whether this process is a fork of the one the session belongs to."""
        return os.getpid() != self._pid

    def check_unique(self, refs: Refs, function: str = "wait()") -> None:
        """Raise unless these are different references of this session."""
        if set(map(type, refs)) != _REF_ONLY or {r._session for r in refs} != {self}:  # noqa: SLF001
            self.check_refs(refs, function)
        different = {ref._id for ref in refs}  # noqa: SLF001
        if len(different) != len(refs):
            raise errors.DuplicateRefError(function, len(refs), len(different))

    def check_open(self) -> None:
        """Raise SessionError if this session has ended, or belongs to the parent of a fork."""
        if self.closed:
            raise errors.SessionError("this session", self.closed)

    def disown(self) -> None:
        """End here: in a fork, the session, its sockets and its locks are the parent's."""
        self.closed = self.loop.closed = (
            f"it belongs to process {self._pid}, of which this one is a fork; "
            "call zfut.init() here"
        )

    def check_inside(self, packed: Packed) -> None:
        """Raise unless the references inside a value are of this session."""
        for noted in packed.holders:
            assert isinstance(noted, Noted)
            session = getattr(noted.holder, "_session", self)
            if session is not self:
                raise errors.SessionError(
                    f"the reference {short(noted.object_id)} inside it", "its session has ended"
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

    def new_call(self, callback: Callable[[], None] | None = None) -> tuple[int, Pending]:
        """Open a call that the loop will complete."""
        call_id = next(self._calls)
        pending = self.loop.calls[call_id] = Pending(callback)
        if self.loop.closed:
            self.loop.calls.pop(call_id, None)
            self._check_loop()
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


def _nothing() -> None:
    return


def _never(_: bytes) -> bool:
    return False


def _no_actor() -> NoReturn:
    raise errors.UsageError("exit_actor() works only in an actor's method")


_REF_ONLY = {ObjectRef}
