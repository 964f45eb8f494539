"""The block of frames: its layout, and that reading it copies nothing."""

from __future__ import annotations

import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zfut import errors
from zfut.wire import frames
from zfut.wire.serialize import Encoding, Packed, pack, unpack


def in_arena(packed: Packed) -> memoryview:
    """Write a value as the store does, at a multiple of 64; between the parts is dirt."""
    room = np.full(packed.size_bytes + 64, 0xAA, np.uint8)
    start = -room.ctypes.data % 64
    arena = memoryview(room)[start : start + packed.size_bytes]  # type: ignore[arg-type]
    for part, offset in zip(packed.parts, packed.offsets, strict=True):
        arena[offset : offset + len(part)] = part
    return arena


def parse(block: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """Take a block of frames apart with nothing but its description."""
    magic, count, offset, length = struct.unpack_from("<8sQQQ", block)
    assert magic == b"zfutfrm\x01"
    table = [struct.unpack_from("<QQ", block, 32 + 16 * i) for i in range(count)]
    assert offset == 32 + 16 * count
    return block[offset : offset + length], table


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=6))
def test_the_block_is_laid_out_as_described(sizes: list[int]) -> None:
    contents = [bytes([i]) * size for i, size in enumerate(sizes)]
    packed = pack([pickle.PickleBuffer(content) for content in contents])
    block = packed.to_bytes()
    data, table = parse(block)
    assert pickle.loads(data, buffers=contents)  # noqa: S301
    end = 0
    for (offset, length), content in zip(table, contents, strict=True):
        assert block[offset : offset + length] == content
        assert offset >= end
        large = len(contents) == 1 or length >= 4096
        assert offset % (64 if large else 8) == 0
        end = offset + length
    assert end == packed.size_bytes


def test_buffers_are_aligned_in_memory() -> None:
    """Behaviour 15, from the arena and from a message."""
    for size in (1, 1000, 50_000):
        packed = pack([np.arange(size, dtype=np.float64)])
        assert packed.encoding == Encoding.FRAMED
        kept = []
        for _ in range(20):
            block = packed.to_bytes()[:-1] + packed.to_bytes()[-1:]
            kept += unpack(packed.encoding, block)
            assert kept[-1].ctypes.data % 64 == 0
        assert unpack(packed.encoding, in_arena(packed))[0].ctypes.data % 64 == 0
    many = pack([np.arange(i + 1) for i in range(9)] + [np.arange(5000)])
    for got in (unpack(many.encoding, many.to_bytes()), unpack(many.encoding, in_arena(many))):
        assert all(array.ctypes.data % 8 == 0 for array in got)
    assert unpack(many.encoding, in_arena(many))[-1].ctypes.data % 64 == 0


def test_arrays_are_views_of_the_buffer_and_read_only() -> None:
    """Behaviour 14."""
    array = np.arange(1000)
    packed = pack({"a": array})
    assert packed.parts[1].obj is array or np.shares_memory(packed.parts[1], array)  # type: ignore[union-attr]
    arena = in_arena(packed)
    got = unpack(packed.encoding, arena)["a"]
    assert np.shares_memory(got, np.frombuffer(arena, np.uint8))
    inline = unpack(packed.encoding, packed.to_bytes())["a"]
    for one in (got, inline, inline[3:], got.reshape(10, 100)):
        with pytest.raises(ValueError, match="read-only"):
            one[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        got.flags.writeable = True


def test_a_bytearray_gives_values_that_can_be_changed() -> None:
    packed = pack({"a": np.arange(10), "b": np.arange(5)})
    private = bytearray(packed.to_bytes())
    got = unpack(packed.encoding, private)
    got["a"][0] = 7
    got["b"][0] = 8
    assert (got["a"][0], got["b"][0]) == (7, 8)


def test_arrays_of_every_layout() -> None:
    base = np.arange(24).reshape(4, 6)
    for array in (base.T, base[::2, ::3], np.asfortranarray(base), base[1:3], np.zeros((0, 3))):
        packed = pack([array])
        (got,) = unpack(packed.encoding, in_arena(packed))
        np.testing.assert_array_equal(got, array)
        assert got.dtype == array.dtype
    record = np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")])
    assert unpack(Encoding.FRAMED, in_arena(pack(record))).dtype == record.dtype


def test_views_outlive_everything_else() -> None:
    packed = pack([np.arange(1000), np.arange(10)])
    first, _ = unpack(packed.encoding, in_arena(packed))
    del packed
    assert first[999] == 999


@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda rest: frames.MAGIC + rest))
def test_taking_garbage_apart_is_refused_or_stays_inside(data: bytes) -> None:
    try:
        body, buffers = frames.take_apart(memoryview(data))
    except errors.RemoteProtocolError:
        return
    assert all(part.nbytes <= len(data) for part in (body, *buffers))


def test_a_truncated_block_is_refused() -> None:
    block = pack([np.arange(10), np.arange(20)]).to_bytes()
    for size in range(len(block)):
        with pytest.raises(errors.RemoteProtocolError):
            frames.take_apart(memoryview(block)[:size])
    huge = bytearray(block)
    huge[8:16] = (1 << 63).to_bytes(8, "little")
    with pytest.raises(errors.RemoteProtocolError):
        unpack(Encoding.FRAMED, huge)
