"""One NumPy array as a block that says what it is: no pickle, nothing to copy, any language.

    offset  size
         0     8   magic: the bytes "zfutarr" and the version, 1
         8     8   offset of the data, a multiple of 64
        16     8   n, the number of dimensions
        24     8   length of the type's name
        32   8 n   the shape
                   the type as NumPy's array protocol writes it, "<f8" say, in ASCII
                   the data, in C order

Numbers are unsigned, 64 bits, little endian.  Only arrays of plain numbers (booleans, integers,
floats, complex numbers) in C order come here; all others are pickled.
"""

from __future__ import annotations

import struct
import sys
from math import prod
from typing import Any

from zfut.errors import RemoteProtocolError

MAGIC = b"zfutarr\x01"
HEAD_BYTES = 32
LINE_BYTES = 64
PLAIN_KINDS = "biufc"

_head = struct.Struct("<8sQQQ")
_shapes = [struct.Struct(f"<{count}Q") for count in range(65)]
_types: dict[bytes, Any] = {}


def is_array(value: object) -> bool:
    """Whether ``value`` is an array that can be written this way; imports nothing."""
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value) is not numpy.ndarray:
        return False
    array: Any = value
    return array.dtype.kind in PLAIN_KINDS and array.flags.c_contiguous and array.nbytes > 0


def lay_out(array: Any) -> tuple[int, list[bytes | memoryview], list[int]]:
    """Return the block's size, and its parts with the offset of each."""
    shape = array.shape
    name = array.dtype.str.encode()
    end = HEAD_BYTES + 8 * len(shape) + len(name)
    start = -(-end // LINE_BYTES) * LINE_BYTES
    head = _head.pack(MAGIC, start, len(shape), len(name)) + _shapes[len(shape)].pack(*shape)
    data = memoryview(array.reshape(-1).view("B"))
    return start + data.nbytes, [head + name, data], [0, start]


def load(block: memoryview) -> Any:
    """Return the array; it lies in ``block`` and is read-only if that is."""
    import numpy as np  # noqa: PLC0415  only when there is an array

    try:
        magic, start, count, length = _head.unpack_from(block)
        shape = _shapes[count].unpack_from(block, HEAD_BYTES)
        at = HEAD_BYTES + 8 * count
        name = bytes(block[at : at + length])
        kind = _types.get(name)
        if kind is None:
            kind = _types[name] = np.dtype(name.decode())
        if magic != MAGIC or kind.kind not in PLAIN_KINDS:
            raise _malformed(f"magic {magic!r}, type {name!r}")
        # An ndarray made of the block would rest on the memory below, which can be written.
        return np.frombuffer(block, kind, prod(shape), start).reshape(shape)
    except (struct.error, IndexError, TypeError, ValueError) as error:
        raise _malformed(str(error)) from None


def _malformed(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"a value that should be an array is not: {why}")
