"""Which references are inside the value that this thread pickles right now.

A reference may be pickled only inside a value that zfut sends: whoever sends it must know of
it, to keep it alive until the receiver holds it.  So the sender opens a list, the sink,
and each reference that is pickled puts itself in.  Pickling can run user code that packs other
values: sinks nest, the innermost counts, and they belong to their thread.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import NamedTuple

from zfut.errors import UsageError
from zfut.wire.specs import Address


class Noted(NamedTuple):
    """A reference or handle found in a value."""

    object_id: bytes
    owner: Address
    holder: object
    """Keeps the value alive."""


class Packing:
    """What one thread pickles now."""

    __slots__ = ("sink",)

    def __init__(self) -> None:
        self.sink: list[Noted] | None = None


class _Thread(threading.local):
    def __init__(self) -> None:
        self.packing = Packing()


thread = _Thread()
"""``thread.packing`` is looked up once for each value: a thread's own attributes are slow."""


def ref_sink() -> list[Noted] | None:
    """Return the list that takes the references pickled now, or None outside zfut."""
    return thread.packing.sink


def note_reference(holder: object, object_id: bytes, owner: Address) -> None:
    """Take note of a reference that is being pickled; outside of a packed value: UsageError."""
    sink = thread.packing.sink
    if sink is None:
        text = f"{_a(type(holder).__name__)} was pickled outside zfut, where nothing keeps it alive."
        raise UsageError(text, "Pass it as an argument, return it, or put() what contains it.")
    sink.append(Noted(object_id, owner, holder))


def _a(name: str) -> str:
    return f"An {name}" if name[:1] in "AEIOU" else f"A {name}"


class packing:  # noqa: N801  used like a function
    """``with packing(sink):`` collects the references pickled inside in ``sink``."""

    __slots__ = ("_outer", "_packing", "_sink")

    def __init__(self, sink: list[Noted]) -> None:
        self._sink = sink
        self._packing = thread.packing
        self._outer = self._packing.sink

    def __enter__(self) -> list[Noted]:
        self._packing.sink = self._sink
        return self._sink

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._packing.sink = self._outer
