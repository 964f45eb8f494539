"""For tests of programs on zfut: faults on demand."""

from __future__ import annotations

from typing import Any

from zfut import errors
from zfut.core import events as e
from zfut.refs import ObjectRef
from zfut.session import current
from zfut.wire.specs import Stored


def lose(ref: ObjectRef[Any]) -> None:
    """Take the value of ``ref`` out of the store, as the loss of its place would.

    It is made again by its task if that may run again, else ``get`` raises
    ReconstructionFailedError.  Views of the value must be gone, in every process.  Raises
    UsageError if this process does not own the value, or it does not lie in a store.
    """
    session = current()
    session.check_open()
    session.check_refs((ref,), "lose()")
    session.loop.turn()
    row = session.owner.row(ref.binary())
    if row is None or row.owner is not None or not isinstance(row.value, Stored):
        raise errors.UsageError(
            f"{ref!r} has no value of this process in a store",
            "Take a value of more than 100 KiB whose call, or put, was made here.",
        )
    session.loop.post(e.ValueLost(ref.binary(), row.value.attempt))
    session.loop.turn()
