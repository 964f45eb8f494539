"""References inside values: noted while packing, refused outside of it."""

from __future__ import annotations

import functools
import pickle
import threading
from typing import Any, NoReturn

import cloudpickle
import numpy as np
import pytest

from zfut import errors
from zfut.wire import serialize
from zfut.wire.serialize import Encoding, Packed, pack, pack_call, unpack
from zfut.wire.specs import Address

OWNER = Address(b"p" * 16)


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
