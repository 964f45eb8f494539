"""Values to bytes and back: types, layout, memory, references, registered serializers."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zfut import errors
from zfut.wire.serialize import Encoding, Packed, pack, pack_call, unpack
from zfut.wire.specs import Address

OWNER = Address(b"p" * 16)


def in_arena(packed: Packed) -> memoryview:
    """Write a value as the store does, at a multiple of 64; between the parts is dirt."""
    room = np.full(packed.size_bytes + 64, 0xAA, np.uint8)
    start = -room.ctypes.data % 64
    arena = memoryview(room)[start : start + packed.size_bytes]  # type: ignore[arg-type]
    for part, offset in zip(packed.parts, packed.offsets, strict=True):
        arena[offset : offset + len(part)] = part
    return arena


def back(value: object) -> Any:
    """Send a value both ways; returns it from the arena."""
    packed = pack(value)
    joined = packed.to_bytes()
    assert len(joined) == packed.size_bytes
    unpack(packed.encoding, joined)
    return unpack(packed.encoding, in_arena(packed))


# ------------------------------------------------------------------ encodings and types


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.binary().map(bytearray)
    | st.complex_numbers(allow_nan=False)
    | st.dates()
    | st.decimals(allow_nan=False),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.frozensets(st.integers())
    ),
    max_leaves=20,
)
arrays = hnp.arrays(
    hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
)


@given(plain)
def test_plain_values_come_back_as_they_were(value: object) -> None:
    got = back(value)
    assert type(got) is type(value)
    assert got == value


@given(st.lists(arrays, max_size=5), plain)
def test_arrays_come_back_as_they_were(values: list[np.ndarray], beside: object) -> None:
    got, besides = back((values, beside))
    assert besides == beside
    for before, after in zip(values, got, strict=True):
        native = before.dtype.newbyteorder("=")  # numpy pickles dates in the native order
        assert after.dtype in (before.dtype, native if before.dtype.kind in "mM" else None)
        assert after.shape == before.shape
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        (None, Encoding.NONE),
        (b"", Encoding.RAW),
        (b"raw", Encoding.RAW),
        ("text", Encoding.PICKLE),
        (bytearray(b"x"), Encoding.PICKLE),
        ([b"raw"], Encoding.PICKLE),
        (np.arange(3), Encoding.ARRAY),
        ([np.arange(3)], Encoding.FRAMED),
        ({"a": np.arange(3)}, Encoding.FRAMED),
        (pickle.PickleBuffer(b"x"), Encoding.FRAMED),
        (pa.table({"a": [1]}), Encoding.ARROW),
        (pa.record_batch({"a": [1]}), Encoding.ARROW),
        ([pa.table({"a": [1]})], Encoding.FRAMED),
    ],
    ids=str,
)
def test_the_encoding_of_a_value(value: object, encoding: Encoding) -> None:
    packed = pack(value)
    assert packed.encoding == encoding
    assert type(packed.encoding) is int
    assert packed.size_bytes == len(packed.to_bytes())


def test_other_encodings_can_be_read() -> None:
    assert unpack(Encoding.MSGPACK, b"\x92\x01\xa1a") == [1, "a"]
    with pytest.raises(errors.RemoteProtocolError, match="unknown encoding 99"):
        unpack(99, b"")


def test_bytes_are_not_copied_and_nothing_takes_no_bytes() -> None:
    value = b"x" * 1000
    packed = pack(value)
    assert packed.parts[0] is value
    assert packed.to_bytes() is value
    assert unpack(Encoding.RAW, value) is value
    assert unpack(Encoding.RAW, memoryview(value)) == value
    assert pack(None).size_bytes == 0


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Reduced:
    x: int

    def __reduce__(self) -> tuple[Any, ...]:
        return Reduced, (self.x,)


class SubBytes(bytes):
    pass


def test_types_survive_exactly() -> None:
    """Behaviour 16."""
    given_default = collections.defaultdict(lambda: 7, a=1)
    got = back(given_default)
    assert type(got) is collections.defaultdict
    assert got["missing"] == 7
    for value in (
        np.float32(1.5),
        np.int8(-3),
        np.datetime64("2020-01-01"),
        np.bool_(1),
        Reduced(3),
        Colour.RED,
        SubBytes(b"x"),
        collections.OrderedDict(a=1),
        collections.deque([1], maxlen=3),
        range(3),
        functools.partial(int, base=2),
    ):
        got = back(value)
        assert type(got) is type(value)
        assert repr(got) == repr(value)
    objects = np.array([1, "a", None, [2]], dtype=object)
    assert back(objects).tolist() == objects.tolist()
    assert back(Reduced) is Reduced


def test_classes_defined_inside_a_function_and_of_one_name() -> None:
    """Behaviour 16."""

    def make(number: int) -> type:
        class Same:
            value = number

            def get(self) -> int:
                return self.value

        return Same

    classes = [make(i) for i in range(3)]
    got = back([cls() for cls in classes])
    assert [one.get() for one in got] == [0, 1, 2]
    assert len({type(one) for one in got}) == 3
    assert [type(one) for one in got] == classes


def test_one_object_passed_twice_arrives_equal() -> None:
    """Behaviour 20."""
    array = np.arange(100)
    packed = pack_call((array, [array]), {"k": array}, "f")
    args, kwargs = unpack(packed.encoding, packed.to_bytes())
    np.testing.assert_array_equal(args[0], array)
    assert args[1][0] is args[0]
    assert kwargs["k"] is args[0]
    assert len(packed.parts) == 2


def test_a_call_without_arrays_is_one_pickle() -> None:
    packed = pack_call((1, "a"), {"k": None}, "f")
    assert packed.encoding == Encoding.PICKLE
    assert unpack(packed.encoding, packed.to_bytes()) == ((1, "a"), {"k": None})


# ------------------------------------------------------------------ Arrow


def address_of(table: pa.Table | pa.RecordBatch) -> int:
    column = table.column(0)
    chunk = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    return int(chunk.buffers()[1].address)


@pytest.mark.parametrize(
    "value",
    [
        pa.table({"a": np.arange(10_000), "b": [str(i) for i in range(10_000)]}),
        pa.table({"a": np.arange(10_000)}).slice(7, 100),
        pa.table({"a": pa.array(["x", "y"] * 50).dictionary_encode()}),
        pa.table({"a": [1, None, 3], "b": [[1], None, []]}),
        pa.table({}),
        pa.table({"a": pa.array([], pa.int64())}),
        pa.concat_tables([pa.table({"a": [1]}), pa.table({"a": [2, 3]})]),
        pa.table({"a": [1]}).replace_schema_metadata({"k": "v"}),
        pa.record_batch({"a": np.arange(10_000)}),
        pa.record_batch({"a": pa.array([], pa.int64())}),
    ],
    ids=lambda value: f"{type(value).__name__}-{value.num_columns}x{value.num_rows}",
)
def test_tables_and_batches(value: Any) -> None:
    packed = pack(value)
    assert packed.encoding == Encoding.ARROW
    stream = packed.to_bytes()
    for buffer in (stream, in_arena(packed), bytearray(stream)):
        got = unpack(packed.encoding, buffer)
        assert type(got) is type(value)
        assert got.equals(value, check_metadata=True)
    assert pa.ipc.open_stream(stream).read_all().num_rows == value.num_rows


def test_columns_are_copied_neither_way() -> None:
    table = pa.table({"a": np.arange(100_000)})
    packed = pack(table)
    starts = [np.frombuffer(part, np.uint8).ctypes.data for part in packed.parts]
    assert address_of(table) in starts
    arena = in_arena(packed)
    begin = np.frombuffer(arena, np.uint8).ctypes.data
    assert begin <= address_of(unpack(packed.encoding, arena)) < begin + packed.size_bytes


def test_importing_this_is_cheap() -> None:
    program = (
        "import sys; from zfut.wire.serialize import *\n"
        "pack((1, 'a')), pack_call((1,), {}, 'f'), unpack(1, pack([len]).to_bytes())\n"
        "heavy = {'numpy', 'pyarrow', 'cloudpickle', 'asyncio', 'zfut.wire.diagnose'}\n"
        "sys.exit(str(sorted(heavy & set(sys.modules))))"
    )
    arrays = program.replace(
        "heavy = {'numpy',", "import numpy; pack(numpy.ones(3)); heavy = {"
    )
    for source in (program, arrays):
        done = subprocess.run([sys.executable, "-c", source], capture_output=True, check=False)  # noqa: S603
        assert done.stderr.decode().strip() == "[]"
