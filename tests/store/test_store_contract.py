"""What every store does, run on each in the registry."""

from __future__ import annotations

import gc
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zfut.store import STORES, Store

CAPACITY_BYTES = 1 << 20
DEADLINE_S = 30


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = STORES[request.param](CAPACITY_BYTES, str(tmp_path))
    yield made
    made.close()


class Released:
    """Counts how often it is called."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def held(store: Store, offset: int, size: int) -> bytes:
    return bytes(store.read(offset, size, Released()))


def test_parts_land_where_they_should(store: Store) -> None:
    array: Any = np.arange(6, dtype=np.int32)
    fortran: Any = np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3))
    parts = [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"-memoryview-")[1:-1],
        pickle.PickleBuffer(array),
        array,
        fortran,
        pa.py_buffer(b"arrow"),
        b"",
    ]
    offsets = [3, 64, 128, 192, 256, 320, 384, 448]
    store.write(4096, parts, offsets)
    expected = bytearray(512)
    for at, data in zip(
        offsets,
        (
            b"bytes",
            b"bytearray",
            b"memoryview",
            array.tobytes(),
            array.tobytes(),
            fortran.tobytes(order="F"),
            b"arrow",
            b"",
        ),
        strict=True,
    ):
        expected[at : at + len(data)] = data
    assert held(store, 4096, 512) == expected


def test_the_last_byte_can_be_used_and_no_more(store: Store) -> None:
    end = store.info.capacity_bytes
    store.write(end - 4, [b"last"], [0])
    assert held(store, end - 4, 4) == b"last"
    assert held(store, end, 0) == b""


@pytest.mark.parametrize(("offset", "after"), [(CAPACITY_BYTES, -3), (-1, 0), (0, -1)])
def test_a_write_that_is_not_inside_changes_nothing(
    store: Store, offset: int, after: int
) -> None:
    with pytest.raises(ValueError, match="not inside the object store"):
        store.write(offset, [b"1234", b"5678"], [16 - offset, after])
    assert held(store, 0, 64) == bytes(64)
    assert held(store, CAPACITY_BYTES - 64, 64) == bytes(64)


@pytest.mark.parametrize(
    ("offset", "size"), [(CAPACITY_BYTES, 1), (-1, 1), (0, -1), (0, CAPACITY_BYTES + 1)]
)
def test_a_range_that_is_not_inside_is_refused(store: Store, offset: int, size: int) -> None:
    released = Released()
    with pytest.raises(ValueError, match="not inside the object store"):
        store.read(offset, size, released)
    with pytest.raises(ValueError, match="not inside the object store"):
        store.punch(offset, size)
    assert released.times == 0


def test_parts_that_cannot_be_copied_change_nothing(store: Store) -> None:
    gaps: Any = np.arange(10)[::2]
    with pytest.raises(BufferError):
        store.write(0, [b"fine", gaps], [0, 64])
    with pytest.raises(ValueError, match="zip"):
        store.write(0, [b"fine", b"no place"], [0])
    assert held(store, 0, 128) == bytes(128)


def test_views_are_read_only_bytes(store: Store) -> None:
    store.write(64, [b"abcdef"], [0])
    view = store.read(64, 6, Released())
    assert (view.readonly, view.format, view.ndim, view.nbytes) == (True, "B", 1, 6)
    with pytest.raises(TypeError):
        view[0] = 1
    array = np.frombuffer(view, dtype=np.uint8)
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.setflags(write=True)
    assert not pa.py_buffer(view).is_mutable


def test_a_view_is_no_copy(store: Store) -> None:
    view = store.read(64, 5, Released())
    store.write(64, [b"later"], [0])
    assert bytes(view) == b"later"


def test_released_when_the_last_derived_view_is_gone(store: Store) -> None:
    released = Released()
    view = store.read(0, 1024, released)
    array = np.frombuffer(view[64:128], dtype=np.uint8)
    arrow = pa.py_buffer(view).slice(8, 8)
    column = pa.Array.from_buffers(pa.int64(), 1, [None, arrow])
    del view, array
    assert released.times == 0
    del arrow
    assert released.times == 0
    assert column.to_pylist() == [0]
    assert released.times == 0
    del column
    assert released.times == 1


def test_released_when_an_unpickled_array_is_gone(store: Store) -> None:
    out_of_band: list[pickle.PickleBuffer] = []
    array = np.arange(1000, dtype=np.float64)
    head = pickle.dumps([array, array[:10]], protocol=5, buffer_callback=out_of_band.append)
    offsets = [0, 8192]
    store.write(128, out_of_band, offsets)
    released = [Released(), Released()]
    sizes = [buffer.raw().nbytes for buffer in out_of_band]
    views = [
        store.read(128 + after, size, one)
        for after, size, one in zip(offsets, sizes, released, strict=True)
    ]
    first, second = pickle.loads(head, buffers=views)  # noqa: S301
    del views
    assert np.array_equal(first, array)
    assert not first.flags.writeable
    part = first[5:7].reshape(1, 2)
    del first
    assert [one.times for one in released] == [0, 0]
    del part
    assert [one.times for one in released] == [1, 0]
    del second
    assert [one.times for one in released] == [1, 1]


def test_each_read_is_released_once_and_alone(store: Store) -> None:
    released = [Released() for _ in range(100)]
    views = [store.read(index, 100, one) for index, one in enumerate(released)]
    copies = [view[1:] for view in views]
    for index in range(0, 100, 2):
        views[index].release()
    del views
    assert [one.times for one in released] == [0] * 100
    del copies[::2]
    assert [one.times for one in released] == [1, 0] * 50
    copies.clear()
    assert [one.times for one in released] == [1] * 100


class Ring:
    """An object in a cycle whose finaliser still reads its view."""

    def __init__(self, view: memoryview, released: Released, seen: list[Any]) -> None:
        self.me = self
        self.view = view
        self.released = released
        self.seen = seen

    def __del__(self) -> None:
        self.seen.append((bytes(self.view), self.released.times))


def test_released_after_the_finalisers_of_a_cycle_have_run(store: Store) -> None:
    store.write(0, [b"ring"], [0])
    released = Released()
    seen: list[Any] = []
    view = store.read(0, 4, released)
    ring = Ring(view, released, seen)
    del ring, view
    assert released.times == 0
    gc.collect()
    assert seen == [(b"ring", 0)]
    assert released.times == 1


def test_released_on_whichever_thread_lets_go(store: Store) -> None:
    threads: list[int] = []
    views = [store.read(0, 8, lambda: threads.append(threading.get_ident()))]
    other = threading.Thread(target=views.clear)
    other.start()
    other.join(DEADLINE_S)
    assert threads == [other.ident]


def test_a_failing_callback_is_reported_once_and_harms_nobody(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise LookupError

    reported: list[sys.UnraisableHookArgs] = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    released = Released()
    views = [store.read(0, 8, fail), store.read(0, 8, released)]
    views.clear()
    assert released.times == 1
    assert [one.exc_type for one in reported] == [LookupError]
    reported.clear()  # With its traceback.
    assert reported == []
    assert held(store, 0, 8) == bytes(8)


def test_punched_bytes_can_be_written_again(store: Store) -> None:
    store.write(0, [b"x" * CAPACITY_BYTES], [0])
    store.punch(100, 100_000)
    assert held(store, 0, 100) == b"x" * 100
    assert held(store, 100_100, 100) == b"x" * 100
    store.write(100, [b"y" * 100_000], [0])
    assert held(store, 99, 100_002) == b"x" + b"y" * 100_000 + b"x"
    store.punch(CAPACITY_BYTES, 0)


def test_a_closed_store_refuses_and_its_views_stay(store: Store) -> None:
    store.write(0, [b"still here"], [0])
    released = Released()
    view = store.read(0, 10, released)
    store.close()
    store.close()
    with pytest.raises(ValueError, match="closed"):
        store.read(0, 1, Released())
    with pytest.raises(ValueError, match="closed"):
        store.write(0, [b"x"], [0])
    with pytest.raises(ValueError, match="closed"):
        store.punch(0, 1)
    assert bytes(view) == b"still here"
    assert released.times == 0
    del view
    assert released.times == 1


@pytest.mark.parametrize("size", [0, -1])
@pytest.mark.parametrize("name", sorted(STORES))
def test_a_store_needs_a_size(name: str, size: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="positive size"):
        STORES[name](size, str(tmp_path))


WRITES = st.lists(
    st.tuples(
        st.integers(0, 60_000),
        st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 9000)), max_size=3),
        st.booleans(),
    ),
    max_size=12,
)


@pytest.mark.parametrize("name", sorted(STORES))
@given(writes=WRITES)
def test_any_writes_do_what_they_do_to_a_bytearray(
    name: str, writes: list[tuple[int, list[tuple[int, int]], bool]]
) -> None:
    store = STORES[name](1 << 17, "/")
    expected = bytearray(1 << 17)
    try:
        for number, (offset, places, punch) in enumerate(writes):
            data = [bytes([number + 1]) * size for _, size in places]
            store.write(offset, data, [after for after, _ in places])
            for (after, size), part in zip(places, data, strict=True):
                expected[offset + after : offset + after + size] = part
            if punch:
                store.punch(65536, 8192)
                store.write(65536, [bytes(expected[65536 : 65536 + 8192])], [0])
        assert held(store, 0, 1 << 17) == expected
    finally:
        store.close()
