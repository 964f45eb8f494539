"""Symbolic values and failures: what simulated user code computes with.

A value is a number, the references inside it, and a size that may be larger than its bytes: a
value of 200 KiB is some ten bytes that claim 200 KiB of the arena.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from msgspec import Struct

from zfut.wire.specs import Address, Stored

if TYPE_CHECKING:
    from zfut.sim.process import Process

PICKLE = 1
"""The encoding number that production uses for a plain pickle."""

Ref: TypeAlias = tuple[bytes, bytes, bool]
"""An object, its owner's process, and whether who waits for it might wait for itself."""

Failure: TypeAlias = list[Any]
"""A failure: its kind, then what is said of it."""


class Symbol(Struct, frozen=True):
    """What a call returned or a put stored, before its references are made handles."""

    number: int
    refs: tuple[Ref, ...] = ()


class Plan(Struct, frozen=True, array_like=True):
    """What a call is to do: its arguments, as far as they are no references.

    ``number`` names the call and seeds what it does; ``expects`` are its references at top
    level and the numbers of the values that they stand for.
    """

    number: int
    kind: str
    raises: bool
    sizes: tuple[int, ...]
    budget: int
    slow_ns: int
    expects: tuple[tuple[bytes, int], ...] = ()
    refs: tuple[Ref, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode_value = msgspec.msgpack.Decoder(tuple[int, tuple[Ref, ...]]).decode
_decode_plan = msgspec.msgpack.Decoder(Plan).decode
_decode_failure = msgspec.msgpack.Decoder(list[Any]).decode


def pack(number: int, refs: tuple[Ref, ...]) -> bytes:
    """Return a value's bytes."""
    return _encode((number, refs))


def unpack(data: bytes) -> Symbol:
    """Read a value's bytes."""
    return Symbol(*_decode_value(data))


def pack_plan(plan: Plan) -> bytes:
    """Return a call's packed arguments."""
    return _encode(plan)


def unpack_plan(data: bytes) -> Plan:
    """Read a call's packed arguments."""
    return _decode_plan(data)


class SymbolicFailures:
    """Makes failures of kinds and fields; see ``zfut.core.owner.failures.Failures``."""

    def dependency(self, failure: bytes, task_name: str) -> bytes:
        """Return the failure of a task whose argument failed."""
        return _encode(["Dependency", failure, task_name])

    def system(self, kind: str, *fields: object) -> bytes:
        """Return the failure of this kind."""
        return _encode([kind, *fields])

    def brief(self, failure: bytes) -> str:
        """Name the kind."""
        return str(read_failure(failure)[0])


def raised(number: int) -> bytes:
    """Return the failure of a call whose user code raised."""
    return _encode(["Raised", number])


def read_failure(failure: bytes) -> Failure:
    """Return a failure's kind and fields."""
    return _decode_failure(failure)


class UserError(Exception):
    """A get or a put failed in simulated user code."""

    def __init__(self, failure: Failure, of: bytes = b"") -> None:
        super().__init__(str(failure[0]))
        self.failure = failure
        self.of = of  # the object that was asked for

    def is_bereft(self) -> bool:
        """Whether the owner of the very object that was asked for is dead."""
        return bool(self.failure[0] == "OwnerDiedError" and self.failure[1] == self.of)


class SessionOver(Exception):  # noqa: N818  it is no error of the user's
    """The session ended while user code waited."""


class ExitWanted(Exception):  # noqa: N818  exit_actor() and sys.exit() raise it
    """User code asked for the end of its process."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Handle:
    """A reference or a mapped view, held by user code of one process until it is dropped."""

    __slots__ = ("live", "object_id", "owner", "process", "risky", "view", "weak")

    def __init__(
        self,
        process: Process,
        object_id: bytes,
        owner: Address,
        *,
        weak: bool = False,
        view: Stored | None = None,
    ) -> None:
        self.process = process
        self.object_id = object_id
        self.owner = owner
        self.risky = False
        self.live = True
        self.weak = weak
        self.view = view
        if not weak:
            process.uses[object_id] = process.uses.get(object_id, 0) + 1

    def count(self) -> None:
        """A view of an argument outlives its call: from now on it is a use."""
        self.weak = False
        self.process.uses[self.object_id] = self.process.uses.get(self.object_id, 0) + 1

    def drop(self) -> None:
        """Let go; what a finaliser does."""
        if self.live:
            self.live = False
            if not self.weak:
                self.process.drop(self.object_id, view=self.view is not None)

    @property
    def ref(self) -> Ref:
        """What is written of it into a value."""
        return (self.object_id, self.owner.uid, self.risky)

    @property
    def is_actor(self) -> bool:
        """Whether it is an actor's handle."""
        return self.object_id.endswith(b"\0\0\0\0")


class Opened(Struct):
    """A value that user code holds: its number, and handles for what keeps it and is in it."""

    number: int
    handles: list[Handle]
    view: Handle | None = None

    def drop(self) -> None:
        """Let go of all of it."""
        for handle in self.handles:
            handle.drop()
        if self.view is not None:
            self.view.drop()


class Chances(Struct):
    """What programs of one seed are like."""

    budget: int = 12
    ops: int = 10
    depth: int = 3
    stored: float = 0.2
    raises: float = 0.05
    slow: float = 0.1
    slow_ns: int = 30_000_000
    actors: float = 0.1
    cancels: float = 0.05
    kills: float = 0.02
    exits: float = 0.0
    restarts: bool = False
    chains: bool = False
    retries: int = 3
    flaky: float = 0.0  # tasks that raise the first time, and are tried again for that
    max_calls: int = 0  # calls of one function after which a worker ends
    names: float = 0.0  # uses of actors by name, among those of actors
    frees: float = 0.0  # has random numbers of its own: the rest of a seed stays as it is
    walks: float = 0.0  # putting values into values, and reading them from outside in
    opens: float = 0.0  # arguments that take long to open; has random numbers of its own
