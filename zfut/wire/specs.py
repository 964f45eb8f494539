"""The nouns that messages carry: addresses, task specs, arguments and results.

A header never holds a user's bytes.  It says how many there are (``size_bytes``) and how they are
encoded; the bytes themselves follow in the message's payload frame, in the order in which the
header names them.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct


class Address(Struct, frozen=True, array_like=True, gc=False):
    """Where a party can be reached: its process, and which move of the party this is.

    ``epoch`` leaves room for a party that moves to another process: it grows with each move.
    """

    uid: bytes
    epoch: int = 0


class RefInfo(Struct, frozen=True, array_like=True, gc=False):
    """A reference found inside a value.

    ``token`` names the registration that protects it at its owner; empty where the receiver is the
    owner itself.
    """

    object_id: bytes
    owner: Address
    token: bytes = b""


class Inline(Struct, frozen=True, array_like=True, tag=0, gc=False):
    """A value small enough to travel: ``size_bytes`` of the payload frame."""

    size_bytes: int
    encoding: int
    refs: tuple[RefInfo, ...] = ()


class Stored(Struct, frozen=True, array_like=True, tag=1, gc=False):
    """A value sealed in a node's arena, written once by ``creator``.

    ``attempt`` is the generation: copies of different attempts never mix.
    """

    object_id: bytes
    owner: Address
    attempt: int
    node: bytes
    creator: bytes
    offset: int
    size_bytes: int
    encoding: int
    refs: tuple[RefInfo, ...] = ()


class Failed(Struct, frozen=True, array_like=True, tag=2, gc=False):
    """An error instead of a value: ``size_bytes`` of the payload frame, an encoded failure."""

    size_bytes: int
    refs: tuple[RefInfo, ...] = ()


Value: TypeAlias = Inline | Stored | Failed


class Dep(Struct, frozen=True, array_like=True, gc=False):
    """An argument that was given by reference, and its value: position or keyword."""

    where: int | str
    value: Inline | Stored


class FunctionDef(Struct, frozen=True, array_like=True, gc=False):
    """A function or class, shipped once to each executor; its code is in the payload frame."""

    function_id: bytes
    name: str
    size_bytes: int


class TaskSpec(Struct, frozen=True, array_like=True, gc=False):
    """One call to run. Payload: the packed arguments, then each inline dependency.

    ``function`` is a FunctionID, or a method's name for an actor call.  ``sequence`` leaves room
    for numbering one caller's calls to an actor.  ``name`` is empty unless the call has one of its
    own: many names may share one function.
    """

    task_id: bytes
    attempt: int
    function: bytes
    size_bytes: int
    encoding: int
    num_returns: int
    deps: tuple[Dep, ...] = ()
    depth: int = 0
    sequence: int = 0
    trace: bytes = b""
    name: str = ""


class TaskResult(Struct, frozen=True, array_like=True, gc=False):
    """How one call ended. Payload: each inline value, or the failure, in order.

    ``retained`` are references of the receiver that the executor still uses; ``run_ns`` is how
    long user code ran.
    """

    task_id: bytes
    attempt: int
    status: int
    values: tuple[Value, ...]
    run_ns: int = 0
    retained: tuple[tuple[bytes, bytes], ...] = ()


OK, RAISED, CANCELLED, RETRIABLE, BEREFT = 0, 1, 2, 3, 4
"""Values of ``TaskResult.status``; RETRIABLE: it raised, and asks to be run again.

BEREFT: it let the death of an owner pass, of whose objects it may have new ones if run again.
"""

Demand: TypeAlias = tuple[tuple[str, int], ...]
"""Resource name and ten-thousandths of it, sorted by name: a scheduling key can hold it."""

LeaseReason: TypeAlias = Literal["done", "suspect", "exiting"]
