"""One block for a pickle and its out-of-band buffers, which any language can take apart.

    offset  size
         0     8   magic: the bytes "zfutfrm" and the version, 1
         8     8   n, how many buffers there are
        16     8   offset of the pickle
        24     8   length of the pickle
        32  16 n   offset and length of each buffer, in the order the pickle wants them
                   the pickle, then the buffers; what is between them means nothing

Numbers are unsigned, 64 bits, little endian; offsets count from the start of the block.  A
buffer starts at a multiple of 64 if it is the only one or has at least 4096 bytes, else of 8.
It does so in memory too if the block itself starts at a multiple of 64.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence

from zfut.errors import RemoteProtocolError

MAGIC = b"zfutfrm\x01"
HEAD_BYTES = 32
ENTRY_BYTES = 16
HEAD_OF_ONE_BYTES = HEAD_BYTES + ENTRY_BYTES

LINE_BYTES = 64
"""A line of the processor's cache: what vector instructions like best."""

WORD_BYTES = 8
LARGE_BYTES = 4096

ONE = struct.pack("<Q", 1)
_head = struct.Struct("<8sQQQ")
_head_of_one = struct.Struct("<8sQQQQQ")


def lay_out(
    data: bytes, buffers: Sequence[pickle.PickleBuffer]
) -> tuple[int, list[bytes | memoryview], list[int]]:
    """Return the block's size, and its parts with the offset of each."""
    if len(buffers) == 1:
        view = buffers[0].raw()
        offset = (HEAD_OF_ONE_BYTES + len(data) + LINE_BYTES - 1) & -LINE_BYTES
        size = view.nbytes
        head = _head_of_one.pack(MAGIC, 1, HEAD_OF_ONE_BYTES, len(data), offset, size)
        return offset + size, [head + data, view], [0, offset]
    start = HEAD_BYTES + ENTRY_BYTES * len(buffers)
    end = start + len(data)
    parts: list[bytes | memoryview] = [b""]
    offsets = [0]
    numbers: list[int] = []
    for buffer in buffers:
        view = buffer.raw()
        align = LINE_BYTES if view.nbytes >= LARGE_BYTES else WORD_BYTES
        offset = (end + align - 1) & -align
        parts.append(view)
        offsets.append(offset)
        numbers += (offset, view.nbytes)
        end = offset + view.nbytes
    head = _head.pack(MAGIC, len(buffers), start, len(data))
    parts[0] = head + struct.pack(f"<{len(numbers)}Q", *numbers) + data
    return end, parts, offsets


def take_apart(block: memoryview) -> tuple[memoryview, list[memoryview]]:
    """Return the pickle and the buffers, as views of the block."""
    size = block.nbytes
    if size < HEAD_BYTES:
        raise _wrong(size)
    magic, count, start, length = _head.unpack_from(block)
    if magic != MAGIC:
        raise _wrong(size)
    if count > (size - HEAD_BYTES) // ENTRY_BYTES or start + length > size:
        raise _wrong(size)
    numbers = struct.unpack_from(f"<{2 * count}Q", block, HEAD_BYTES)
    buffers: list[memoryview] = []
    for at in range(0, 2 * count, 2):
        offset, end = numbers[at], numbers[at] + numbers[at + 1]
        if end > size:
            raise _wrong(size)
        buffers.append(block[offset:end])
    return block[start : start + length], buffers


def _wrong(size_bytes: int) -> RemoteProtocolError:
    return RemoteProtocolError(f"{size_bytes} bytes that are no block of frames")
