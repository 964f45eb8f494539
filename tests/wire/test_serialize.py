"""Values to bytes and back: types, layout, memory, references, registered serializers."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import cloudpickle
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zfut import errors
from zfut.wire import code, frames, serialize
from zfut.wire.serialize import Encoding, Packed, pack, pack_call, unpack
from zfut.wire.specs import Address

OWNER = Address(b"p" * 16)


def in_arena(packed: Packed) -> memoryview:
    """Write a value as the store does, at a multiple of 64; what is between the parts is dirt."""
    room = np.full(packed.size_bytes + 64, 0xAA, np.uint8)
    start = -room.ctypes.data % 64
    arena = memoryview(room)[start : start + packed.size_bytes]  # type: ignore[arg-type]
    for part, offset in zip(packed.parts, packed.offsets, strict=True):
        arena[offset : offset + len(part)] = part
    return arena


def back(value: object) -> Any:  # noqa: ANN401
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
    lambda inner: st.lists(inner)
    | st.tuples(inner, inner)
    | st.dictionaries(st.text(), inner)
    | st.frozensets(st.integers()),
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
        assert after.dtype == before.dtype
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
        (np.arange(3), Encoding.FRAMED),
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


# ------------------------------------------------------------------ layout and memory


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
        packed = pack(np.arange(size, dtype=np.float64))
        kept = []
        for _ in range(20):
            block = packed.to_bytes()[:-1] + packed.to_bytes()[-1:]
            kept.append(unpack(packed.encoding, block))
            assert kept[-1].ctypes.data % 64 == 0
        assert unpack(packed.encoding, in_arena(packed)).ctypes.data % 64 == 0
    many = pack([np.arange(i + 1) for i in range(9)] + [np.arange(5000)])
    for got in (unpack(many.encoding, many.to_bytes()), unpack(many.encoding, in_arena(many))):
        assert all(array.ctypes.data % 8 == 0 for array in got)
    assert unpack(many.encoding, in_arena(many))[-1].ctypes.data % 64 == 0


def test_arrays_are_views_of_the_buffer_and_read_only() -> None:
    """Behaviour 14."""
    array = np.arange(1000)
    packed = pack({"a": array})
    assert packed.parts[1].obj is array or np.shares_memory(packed.parts[1], array)  # type: ignore[union-attr,arg-type]
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
        got = back(array)
        np.testing.assert_array_equal(got, array)
        assert got.dtype == array.dtype
    record = np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")])
    assert back(record).dtype == record.dtype


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
def test_tables_and_batches(value: Any) -> None:  # noqa: ANN401
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


# ------------------------------------------------------------------ what lives in __main__


MAIN = """
import enum, sys
from zfut.wire.serialize import pack
sys.path.insert(0, 'no such directory')
THREE = 3
class Point:
    def __init__(self, x): self.x = x
    def plus(self, y): return self.x + y + THREE
class Kind(enum.Enum):
    A = 1
def double(x):
    return 2 * x + THREE
value = {'point': Point(1), 'bound': Point(2).plus, 'double': double, 'kind': Kind.A,
         'class': Point, 'lambda': lambda x: double(x), 'text': '__main__'}
packed = pack(value)
sys.stdout.buffer.write(bytes([packed.encoding]) + packed.to_bytes())
"""


def run(program: str, sent: bytes = b"") -> bytes:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], input=sent, capture_output=True, check=False
    )
    assert not done.returncode, done.stderr.decode()
    return done.stdout


def test_what_lives_in_the_main_module_is_sent_by_value() -> None:
    """Plain pickle would take it by reference without a sound."""
    sent = run(MAIN)
    got = unpack(sent[0], sent[1:])
    assert got["point"].plus(1) == 5
    assert got["bound"](1) == 6
    assert got["double"](4) == 11
    assert got["lambda"](4) == 11
    assert got["class"](9).x == 9
    assert got["kind"].name == "A"
    again = unpack(Encoding.PICKLE, pack(got["point"]).to_bytes())
    assert type(again) is got["class"]


def test_a_module_can_be_sent_by_value() -> None:
    module = sys.modules[Colour.__module__]
    assert b"__main__" not in pack(Reduced).to_bytes()
    by_reference = pack(Reduced).size_bytes
    cloudpickle.register_pickle_by_value(module)
    try:
        assert pack(Reduced).size_bytes > 4 * by_reference
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert pack(Reduced).size_bytes == by_reference


# ------------------------------------------------------------------ references


class FakeRef:
    """Does what a reference does when it is pickled."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        serialize.note_reference(self, self.name, OWNER)
        return FakeRef, (self.name,)


class Container:
    """Packs another value while it is pickled, as something that calls put() does."""

    def __init__(self, inner: object) -> None:
        self.inner = inner
        self.packed: list[Packed] = []

    def __reduce__(self) -> tuple[Any, ...]:
        self.packed.append(pack(self.inner))
        return FakeRef, (b"put",)


def test_references_are_noted_in_order() -> None:
    a, b = FakeRef(b"a"), FakeRef(b"b")
    packed = pack({"x": [a, b], "y": b})
    assert packed.refs == ((b"a", OWNER), (b"b", OWNER))
    assert [noted.holder for noted in packed.holders] == [a, b]  # type: ignore[attr-defined]
    assert unpack(packed.encoding, packed.to_bytes())["y"].name == b"b"
    with_array = pack([a, np.arange(3)])
    assert with_array.refs == ((b"a", OWNER),)
    assert pack_call((1, [a]), {"k": b}, "f").refs == ((b"a", OWNER), (b"b", OWNER))
    assert pack([1]).refs == ()


def test_a_second_attempt_notes_each_reference_once() -> None:
    """Plain pickle gets as far as the lambda, then cloudpickle starts anew."""
    packed = pack([FakeRef(b"a"), np.arange(3), lambda: 1])
    assert packed.refs == ((b"a", OWNER),)
    assert len(packed.parts) == 2
    assert unpack(packed.encoding, packed.to_bytes())[2]() == 1


def test_a_reference_does_not_pickle_outside() -> None:
    for dumps in (pickle.dumps, cloudpickle.dumps):
        with pytest.raises(errors.UsageError, match="outside zfut"):
            dumps([FakeRef(b"a")])
    assert serialize.ref_sink() is None


def test_packing_nests() -> None:
    container = Container([FakeRef(b"inner"), lambda: 1])
    packed = pack([FakeRef(b"before"), container, FakeRef(b"after")])
    assert [name for name, _ in packed.refs] == [b"before", b"after"]
    assert [name for name, _ in container.packed[0].refs] == [b"inner"]
    assert serialize.ref_sink() is None
    outer: list[Any] = []
    with serialize.packing(outer):
        pickle.dumps(FakeRef(b"x"))
        assert serialize.ref_sink() is outer
        pack(FakeRef(b"y"))
        assert serialize.ref_sink() is outer
    assert [noted.object_id for noted in outer] == [b"x"]
    assert serialize.ref_sink() is None


def test_the_sink_belongs_to_its_thread() -> None:
    seen: list[object] = []
    with serialize.packing([]):
        thread = threading.Thread(target=lambda: seen.append(serialize.ref_sink()))
        thread.start()
        thread.join(10)
    assert seen == [None]


class Refuses:
    def __reduce__(self) -> NoReturn:
        text = "of an ended session"
        raise errors.SessionError(text)


def test_a_failure_leaves_nothing_behind() -> None:
    with pytest.raises(errors.SerializationError):
        pack([FakeRef(b"a"), threading.Lock()])
    assert serialize.ref_sink() is None
    with pytest.raises(errors.SessionError):
        pack([FakeRef(b"a"), Refuses()])
    with pytest.raises(errors.SessionError):
        pack_call((FakeRef(b"a"), Refuses()), {}, "f")
    with pytest.raises(errors.SessionError):
        serialize.dump_function(functools.partial(print, Refuses()), "f")
    assert serialize.ref_sink() is None
    assert pack([1]).refs == ()


class Chased:
    """Unpickling it unpickles the next, as something that calls get() does."""

    def __init__(self, depth: int) -> None:
        self.depth = depth

    def __reduce__(self) -> tuple[Any, ...]:
        return _chase, (pack(Chased(self.depth - 1)).to_bytes() if self.depth else b"",)


def _chase(sent: bytes) -> Chased:
    return Chased(unpack(Encoding.PICKLE, sent).depth + 1 if sent else 0)


def test_unpickling_that_unpickles_ten_deep() -> None:
    """Behaviour 21."""
    packed = pack(Chased(10))
    assert unpack(packed.encoding, packed.to_bytes()).depth == 10


# ------------------------------------------------------------------ registered serializers


class Client:
    """Cannot be pickled as it is."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lock = threading.Lock()


class SubClient(Client):
    pass


@pytest.fixture
def registered() -> Iterator[None]:
    serialize.register_serializer(
        Client, serializer=lambda client: client.url, deserializer=lambda url: Client(url)
    )
    yield
    serialize.install(b"")


@pytest.mark.usefixtures("registered")
def test_a_registered_serializer_is_used_everywhere() -> None:
    """Behaviour 17."""
    for value in ([Client("a")], [Client("a"), lambda: 1], [Client("a"), np.arange(3)]):
        packed = pack(value)
        sent = packed.to_bytes()
        got = unpack(packed.encoding, sent)
        assert type(got[0]) is Client
        assert got[0].url == "a"
    with pytest.raises(errors.SerializationError, match=r"SubClient.lock -> _thread.lock"):
        pack(SubClient("a"))
    serialize.deregister_serializer(Client)
    serialize.deregister_serializer(Client)
    assert unpack(packed.encoding, sent)[0].url == "a"
    with pytest.raises(errors.SerializationError):
        pack(Client("a"))


@pytest.mark.usefixtures("registered")
def test_what_is_registered_can_be_taken_to_a_worker_and_replaced() -> None:
    program = (
        "import sys\n"
        "from zfut.wire.serialize import install, pack, unpack, exported\n"
        "install(sys.stdin.buffer.read())\n"
        "from zfut import pickles\n"
        "(cls, (serializer, _)), = pickles._serializers.items()\n"
        "client = cls.__new__(cls); client.url = 'from afar'\n"
        "client.lock = sys.modules['threading'].Lock()\n"
        "sys.stdout.buffer.write(pack(client).to_bytes())\n"
    )

    class Local(Client):
        pass

    serialize.install(b"")
    serialize.register_serializer(
        Local, serializer=lambda client: client.url, deserializer=lambda url: url.upper()
    )
    sent = run(program.replace("import sys\n", "import sys, threading\n", 1), serialize.exported())
    serialize.install(b"")
    assert serialize.exported() == b""
    assert unpack(Encoding.PICKLE, sent) == "FROM AFAR"
    with pytest.raises(errors.SerializationError):
        pack(Local("a"))


def test_registering_nonsense_is_refused() -> None:
    register: Callable[..., None] = serialize.register_serializer
    for cls in (3, "Client", int, dict, np.ndarray.__class__):
        with pytest.raises(errors.UsageError):
            register(cls, serializer=str, deserializer=str)
    with pytest.raises(errors.UsageError, match="deserializer is 3"):
        register(Client, serializer=str, deserializer=3)
    assert serialize.exported() == b""


# ------------------------------------------------------------------ code


def test_a_function_and_what_it_captures() -> None:
    """Behaviour 23: what is captured must be held."""
    held = FakeRef(b"captured")
    factor = 3

    def f(x: int) -> tuple[int, bytes]:
        return x * factor, held.name

    sent, holders = serialize.dump_function(f, "function f")
    assert holders == [held]
    assert serialize.load_function(sent)(2) == (6, b"captured")
    sent, holders = serialize.dump_function(Reduced, "class Reduced")
    assert serialize.load_function(sent) is Reduced
    assert holders == []


def test_a_large_closure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behaviour 19."""
    monkeypatch.setattr(code, "FUNCTION_MAX_BYTES", 1_000_000)
    small, data = np.zeros(10), np.zeros(200_000)

    class Big:
        table = data

    with pytest.raises(ValueError, match="closure 'data', a ndarray, has 1.5 MiB") as caught:
        serialize.dump_function(lambda: (small, data), "function f")
    assert isinstance(caught.value, errors.FunctionTooLargeError)
    assert "function f is over 976.6 KiB" in str(caught.value)
    assert "zfut.put(data)" in str(caught.value)
    with pytest.raises(errors.FunctionTooLargeError, match=r"Big.table, a ndarray"):
        serialize.dump_function(Big, "class Big")


def test_plain_data_is_msgpack() -> None:
    data = {"a": [1, "x", b"y", None], "b": {"c": 1.5}}
    assert serialize.load_plain(serialize.dump_plain(data)) == data


def test_importing_this_is_cheap() -> None:
    heavy = "{'numpy', 'pyarrow', 'cloudpickle', 'asyncio', 'dis_'}"
    values = "pack((1, 'a')), pack_call((1,), {}, 'f'), unpack(1, pack([len]).to_bytes())"
    program = (
        "import sys; from zfut.wire.serialize import *\n"
        f"{values}; sys.stdout.write(str(sorted({heavy} & set(sys.modules))))"
    )
    assert run(program) == b"[]"
