"""User values to bytes and back, and the references that are inside.

    NONE     0   no bytes: the value None
    PICKLE   1   a pickle, protocol 5
    FRAMED   2   a pickle and its out-of-band buffers in one block, see ``zfut.wire.frames``
    RAW      3   the bytes themselves
    MSGPACK  4   msgpack, from other languages
    ARROW    5   an Arrow IPC stream: a table or a record batch, see ``zfut.wire.arrow``
    ERROR    6   a failure, see ``zfut.failure``
    ARRAY    7   one array of plain numbers, see ``zfut.wire.arrays``

What must hold: a value comes back as the same type; large buffers are copied neither here nor
there; what cannot be sent is refused here, with the path to the culprit, and leaves nothing.
"""

from __future__ import annotations

import ctypes
import importlib
import pickle
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

import msgspec

from zfut.errors import (
    RemoteProtocolError,
    ZfutError,
)
from zfut.pickles import (
    deregister_serializer,
    exported,
    install,
    is_registered,
    plain,
    register_serializer,
    thorough,
)
from zfut.task_errors import decode_failure
from zfut.wire import arrays, arrow, frames
from zfut.wire.code import (
    Code,
    dump_function,
    dump_plain,
    load_code,
    load_function,
    load_plain,
)
from zfut.wire.context import Noted, note_reference, packing, ref_sink, thread
from zfut.wire.specs import Address

__all__ = [
    "ARROW",
    "ERROR",
    "FRAMED",
    "MSGPACK",
    "NONE",
    "PICKLE",
    "RAW",
    "Code",
    "Encoding",
    "Packed",
    "deregister_serializer",
    "dump_function",
    "dump_plain",
    "exported",
    "install",
    "load_code",
    "load_function",
    "load_plain",
    "note_reference",
    "pack",
    "pack_call",
    "packing",
    "ref_sink",
    "register_serializer",
    "unpack",
]

REALIGN_MAX_BYTES = 1024 * 1024
"""Up to this, a block in a ``bytes`` object is moved to where its array is aligned."""

BYTES_HEAD = bytes.__basicsize__ - 1
"""Where CPython keeps the content of a ``bytes`` object."""


class Encoding(IntEnum):
    """How a value is written."""

    NONE = 0
    PICKLE = 1
    FRAMED = 2
    RAW = 3
    MSGPACK = 4
    ARROW = 5
    ERROR = 6
    ARRAY = 7


NONE, PICKLE, FRAMED, RAW, MSGPACK, ARROW, ERROR, ARRAY = (
    int(encoding) for encoding in Encoding
)
"""The same as plain numbers: they are compared for every value."""

NEVER_ARROW = frozenset((tuple, list, dict, str, int, float, bool, set, bytearray))


class Packed(msgspec.Struct, frozen=True, gc=False):
    """A value ready to be written: ``parts`` go to ``offsets`` in ``size_bytes`` bytes.

    ``refs`` are the references inside it, ``holders`` what keeps these alive: keep the Packed
    until somebody else does.
    """

    encoding: int
    size_bytes: int
    parts: Sequence[bytes | memoryview]
    offsets: Sequence[int]
    refs: tuple[tuple[bytes, Address], ...] = ()
    holders: Sequence[object] = ()

    def to_bytes(self) -> bytes:
        """Return the whole value in one piece."""
        parts = self.parts
        if len(parts) == 1 and type(parts[0]) is bytes:
            return parts[0]
        pieces: list[bytes | memoryview] = []
        end = 0
        for part, offset in zip(parts, self.offsets, strict=True):
            if offset > end:
                pieces.append(bytes(offset - end))
            pieces.append(part)
            end = offset + len(part)
        return b"".join(pieces)


AT_START = (0,)
NOTHING = Packed(NONE, 0, (), ())


# ------------------------------------------------------------------ values to bytes


def pack(value: object, what: str = "the value", root: str = "value") -> Packed:
    """Return ``value`` ready to be written.

    Raises SerializationError, which says ``what`` and the path to the culprit from ``root``.
    """
    if value is None:
        return NOTHING
    kind = type(value)
    if kind is bytes:
        return Packed(RAW, len(value), (value,), AT_START)  # type: ignore[arg-type]
    if kind not in NEVER_ARROW:
        if arrays.is_array(value) and not is_registered(kind):
            size_bytes, parts, offsets = arrays.lay_out(value)
            return Packed(ARRAY, size_bytes, parts, offsets)
        if arrow.is_arrow(value):
            packed = _pack_arrow(value)
            if packed is not None:
                return packed
    try:
        return _pickled(value)
    except (ZfutError, MemoryError):
        raise
    except Exception as error:
        diagnose = importlib.import_module("zfut.wire.diagnose")
        raise diagnose.refusal(value, error, what, root) from error


def pack_call(
    args: tuple[Any, ...], kwargs: dict[str, Any], name: str, parameters: Sequence[str] = ()
) -> Packed:
    """Return a call's arguments ready to be written; they come back as ``(args, kwargs)``.

    ``name`` and ``parameters`` are for the text of the SerializationError.
    """
    try:
        return _pickled((args, kwargs))
    except (ZfutError, MemoryError):
        raise
    except Exception as error:
        diagnose = importlib.import_module("zfut.wire.diagnose")
        raise diagnose.refusal_of_call(args, kwargs, error, (name, parameters)) from error


def _pickled(value: object) -> Packed:
    sink: list[Noted] = []
    buffers: list[pickle.PickleBuffer] = []
    state = thread.packing
    outer = state.sink
    state.sink = sink
    try:
        data = plain(value, buffers.append)
        if data is None:
            sink.clear()
            buffers.clear()
            data = thorough(value, buffers.append)
    finally:
        state.sink = outer
    if not sink and not buffers:
        return Packed(PICKLE, len(data), (data,), AT_START)
    refs = tuple((noted.object_id, noted.owner) for noted in sink)
    if not buffers:
        return Packed(PICKLE, len(data), (data,), AT_START, refs, sink)
    size_bytes, parts, offsets = frames.lay_out(data, buffers)
    return Packed(FRAMED, size_bytes, parts, offsets, refs, sink)


def _pack_arrow(value: object) -> Packed | None:
    """Return a table or batch as a stream, or None if Arrow has no form for it."""
    try:
        size_bytes, parts, offsets = arrow.lay_out(value)
    except arrow.errors():
        return None
    return Packed(ARROW, size_bytes, parts, offsets)


# ------------------------------------------------------------------ bytes to values


def unpack(encoding: int, buffer: bytes | bytearray | memoryview) -> Any:
    """Return the value; arrays and tables in it lie in ``buffer`` and are read-only.

    Give a memoryview that starts at a multiple of 64, a ``bytes`` object, or a bytearray of
    your own: then what lies in it can be changed.
    """
    if encoding == PICKLE:
        return pickle.loads(buffer)  # noqa: S301  from a process of this session
    if encoding == FRAMED:
        return _unpack_framed(buffer)
    if encoding == ARRAY:
        return _unpack_array(buffer)
    opened = _READERS.get(encoding)
    if opened is None:
        text = f"a value of unknown encoding {encoding}"
        raise RemoteProtocolError(text)
    return opened(buffer)


def _unpack_framed(buffer: bytes | bytearray | memoryview) -> object:
    block = memoryview(buffer).cast("B")
    if type(buffer) is bytes:
        if buffer[8:16] == frames.ONE and len(buffer) <= REALIGN_MAX_BYTES:
            block = _aligned(buffer)
    elif type(buffer) is not bytearray:
        block = block.toreadonly()
    data, buffers = frames.take_apart(block)
    return pickle.loads(data, buffers=buffers)  # noqa: S301  from a process of this session


def _unpack_array(buffer: bytes | bytearray | memoryview) -> object:
    if type(buffer) is bytes and len(buffer) <= REALIGN_MAX_BYTES:
        return arrays.load(_aligned(buffer))
    if type(buffer) is memoryview and not buffer.readonly:
        return arrays.load(buffer.toreadonly())
    return arrays.load(memoryview(buffer))


def _aligned(content: bytes) -> memoryview:
    """Return a view of these bytes that starts at a multiple of 64 in memory."""
    if (id(content) + BYTES_HEAD) % frames.LINE_BYTES == 0:
        return memoryview(content)
    room = bytearray(len(content) + frames.LINE_BYTES)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(room)) % frames.LINE_BYTES
    view = memoryview(room)[start : start + len(content)]
    view[:] = content
    return view.toreadonly()


def _unpack_arrow(buffer: bytes | bytearray | memoryview) -> object:
    return arrow.load(memoryview(buffer).toreadonly())


_READERS: dict[int, Callable[[Any], Any]] = {
    NONE: lambda _: None,
    RAW: bytes,
    MSGPACK: msgspec.msgpack.decode,
    ARROW: _unpack_arrow,
    ERROR: decode_failure,
}
