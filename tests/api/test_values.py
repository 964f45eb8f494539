"""Values through a whole session: in place, aligned, of their own types, by users' serializers."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import zfut
from tests.api.conftest import Start
from tests.cluster.leftovers import until
from zfut import errors

pytestmark = pytest.mark.cluster
WAIT_S = 30
LARGE = 50_000


@zfut.remote
def identity(value: Any) -> Any:
    return value


@zfut.remote
class Keeper:
    def __init__(self) -> None:
        self.kept: Any = None

    def keep(self, value: Any) -> None:
        self.kept = value

    def back(self) -> Any:
        return self.kept


# ------------------------------------------------------------------ in place


@pytest.mark.parametrize("size", [10, LARGE])
@pytest.mark.parametrize("box", [lambda array: array, lambda array: {"a": [array]}])
def test_arrays_are_read_only_wherever_they_come_from(size: int, box: Any) -> None:
    """Behaviour 14: put, returned by a task, kept by an actor; in a worker too."""

    @zfut.remote
    def tries_to_write(value: Any) -> str:
        array = value["a"][0] if isinstance(value, dict) else value
        try:
            array[0] = 1
        except ValueError as error:
            return str(error)
        return "wrote"

    value = box(np.arange(size))
    keeper = Keeper.remote()
    zfut.get(keeper.keep.remote(value), timeout=WAIT_S)
    for ref in (zfut.put(value), identity.remote(value), keeper.back.remote()):
        got = zfut.get(ref, timeout=WAIT_S)
        array = got["a"][0] if isinstance(got, dict) else got
        assert array.tolist() == list(range(size))
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        assert "read-only" in zfut.get(tries_to_write.remote(ref), timeout=WAIT_S)


def test_large_arrays_are_not_copied_and_a_copy_is_if_asked_for() -> None:
    """Behaviour 14: every get of one process reads the same memory."""
    for ref in (zfut.put(np.arange(LARGE)), identity.remote(np.arange(LARGE))):
        first, second = zfut.get([ref, ref], timeout=WAIT_S)
        assert first is not second
        assert np.shares_memory(first, second)
        private = zfut.get(ref, copy=True)
        assert not np.shares_memory(private, first)
        private[0] = 7
        assert first[0] == 0


def test_arrays_are_aligned_wherever_they_come_from() -> None:
    """Behaviour 15: to 64 bytes for one, to 8 for each of many, inline and in place."""
    for size in (1, 10, 1000, LARGE):
        ones = [np.arange(size), {"a": np.arange(size)}]
        for value in ones:
            for ref in (zfut.put(value), identity.remote(value)):
                got = zfut.get(ref, timeout=WAIT_S)
                array = got["a"] if isinstance(got, dict) else got
                assert array.ctypes.data % 64 == 0
        many = zfut.get(identity.remote([np.arange(size + i) for i in range(9)]))
        assert all(array.ctypes.data % 8 == 0 for array in many)


# ------------------------------------------------------------------ types


@dataclasses.dataclass
class Reduced:
    x: int

    def __reduce__(self) -> tuple[Any, ...]:
        return Reduced, (self.x,)


def test_types_survive_a_task_exactly() -> None:
    """Behaviour 16."""
    default = zfut.get(identity.remote(collections.defaultdict(lambda: 7, a=1)))
    assert type(default) is collections.defaultdict
    assert (default["a"], default["missing"]) == (1, 7)
    for value in (np.float32(1.5), np.int8(-3), np.datetime64("2020-01-01"), Reduced(3)):
        got = zfut.get(identity.remote(value), timeout=WAIT_S)
        assert type(got) is type(value)
        assert got == value
    objects = np.array([1, "a", None, [2]], dtype=object)
    back = zfut.get(identity.remote(objects), timeout=WAIT_S)
    assert back.dtype == object
    assert back.tolist() == objects.tolist()


def test_classes_defined_inside_a_task_arrive_with_their_methods() -> None:
    """Behaviour 16: and three of one name stay three."""

    @zfut.remote
    def make(number: int) -> Any:
        class Same:
            value = number

            def get(self) -> int:
                return self.value

        return Same()

    @zfut.remote
    def ask(*values: Any) -> list[int]:
        return [value.get() for value in values]

    refs = [make.remote(n) for n in range(3)]
    values = zfut.get(refs, timeout=WAIT_S)
    assert [type(value).__name__ for value in values] == ["Same"] * 3
    assert [value.get() for value in values] == [0, 1, 2]
    assert len({type(value) for value in values}) == 3
    assert zfut.get(ask.remote(*refs), timeout=WAIT_S) == [0, 1, 2]
    assert zfut.get(ask.remote(*values), timeout=WAIT_S) == [0, 1, 2]


# ------------------------------------------------------------------ users' serializers


class Client:
    """Cannot be pickled as it is."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lock = threading.Lock()


@pytest.fixture
def registered() -> Iterator[None]:
    """Register a serializer before there is a session."""
    zfut.shutdown()
    zfut.register_serializer(Client, serializer=lambda client: client.url, deserializer=Client)
    yield
    zfut.deregister_serializer(Client)


@pytest.mark.usefixtures("registered")
def test_a_serializer_registered_before_init_travels_to_the_workers(start: Start) -> None:
    """Behaviour 17."""
    start(num_cpus=2)

    @zfut.remote
    def make(url: str) -> Any:
        return Client(url)

    @zfut.remote
    def nested(url: str) -> Any:
        return zfut.get(identity.remote(Client(url))).url

    keeper = Keeper.remote()
    zfut.get(keeper.keep.remote(Client("kept")), timeout=WAIT_S)
    refs = [zfut.put(Client("put")), make.remote("made"), keeper.back.remote()]
    got = zfut.get([*refs, identity.remote([Client("boxed")])], timeout=WAIT_S)
    assert [client.url for client in (*got[:3], got[3][0])] == ["put", "made", "kept", "boxed"]
    assert all(type(client) is Client for client in got[:3])
    assert zfut.get(nested.remote("inside"), timeout=WAIT_S) == "inside"


@pytest.mark.usefixtures("registered")
def test_a_serializer_can_be_undone_here_and_in_the_workers(start: Start) -> None:
    """Behaviour 17: what was sent before stays readable."""
    start(num_cpus=1)

    @zfut.remote
    def make(url: str) -> Any:
        return Client(url)

    before = make.remote("before")
    assert zfut.get(before, timeout=WAIT_S).url == "before"
    zfut.deregister_serializer(Client)
    with pytest.raises(TypeError, match=r"argument 'value' of identity\(\).*lock"):
        identity.remote(Client("here"))
    with pytest.raises(TypeError, match=r"the result of make\(\).*lock"):
        zfut.get(make.remote("there"), timeout=WAIT_S)
    assert zfut.get(before, timeout=WAIT_S).url == "before"


# ------------------------------------------------------------------ what cannot be sent


@pytest.mark.parametrize(
    ("args", "kwargs", "where"),
    [
        (({"k": [threading.Lock()]},), {}, r"value\['k'\]\[0\] -> _thread\.lock"),
        ((), {"value": Client("x")}, r"value -> Client\.lock -> _thread\.lock"),
    ],
)
def test_an_argument_of_an_actor_that_cannot_be_pickled_is_named_at_the_call(
    args: Any, kwargs: Any, where: str
) -> None:
    """Behaviour 18, for constructors and methods."""

    @zfut.remote
    class Made:
        def __init__(self, value: Any = None) -> None:
            self.value = value

        def keep(self, value: Any) -> None:
            self.value = value

    made = Made.remote()
    for call, name in ((Made.remote, "Made"), (made.keep.remote, r"Made\.keep")):
        with pytest.raises(TypeError, match=rf"argument 'value' of {name}\(\): {where}"):
            call(*args, **kwargs)
    zfut.get(made.keep.remote(1), timeout=WAIT_S)


# ------------------------------------------------------------------ too large for code


def test_a_function_or_class_with_a_huge_closure_is_refused_at_the_call() -> None:
    """Behaviour 19."""
    data = np.zeros(100 * 10**6 + 1, np.uint8)

    @zfut.remote
    def drags() -> int:
        return len(data)

    @zfut.remote
    class Drags:
        table = data

    for call, what in ((drags.remote, "function drags"), (Drags.remote, "class Drags")):
        with pytest.raises(ValueError, match=rf"{what}.* is over 95\.4 MiB.*data") as caught:
            call()
        assert isinstance(caught.value, errors.FunctionTooLargeError)
    assert zfut.get(identity.remote(1), timeout=WAIT_S) == 1


# ------------------------------------------------------------------ awaiting


def test_one_reference_can_be_awaited_twice_and_after_a_cancelled_wait() -> None:
    """Behaviour 32."""

    @zfut.remote
    class Gate:
        def __init__(self) -> None:
            self.open = asyncio.Event()

        async def passed(self) -> str:
            await self.open.wait()
            return "through"

        async def lift(self) -> None:
            self.open.set()

    gate = Gate.remote()
    ref = gate.passed.remote()

    async def main() -> list[str]:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ref, 0.01)
        waits = asyncio.ensure_future(ref)
        await asyncio.sleep(0)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        both = asyncio.gather(ref, ref)
        await gate.lift.remote()
        return [*(await both), await ref, await asyncio.wait_for(ref, WAIT_S)]

    assert asyncio.run(main()) == ["through"] * 4
    assert zfut.get(ref) == "through"
    until(lambda: not zfut.nodes()[0]["waiting"], "nothing is queued")


def test_arrays_cannot_be_made_writable(start: Start) -> None:
    start(num_cpus=1)
    for size in (10, 100_000):
        array = zfut.get(zfut.put(np.ones(size)))
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)
