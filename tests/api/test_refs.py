"""References: replaced or passed on, what they keep alive, and where they are refused."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zfut
from tests.api.conftest import Start, owned
from tests.cluster.leftovers import ended, until
from zfut import errors

pytestmark = pytest.mark.cluster
WAIT_S = 30


@zfut.remote
def kind(*values: Any, **named: Any) -> list[str]:
    return [type(value).__name__ for value in (*values, *named.values())]


@zfut.remote
def identity(value: Any) -> Any:
    return value


@zfut.remote
def first(boxed: Any) -> Any:
    return zfut.get(boxed[0])


@zfut.remote
class Keeper:
    """Holds what it is given."""

    def __init__(self) -> None:
        self.held: Any = None

    def hold(self, boxed: Any) -> None:
        self.held = boxed

    def look(self) -> Any:
        return zfut.get(self.held[0])

    def pid(self) -> int:
        return os.getpid()


def gone(object_id: bytes) -> None:
    until(lambda: object_id not in owned(), "the object is let go")


# ------------------------------------------------------------------ as arguments


def test_references_at_top_level_become_values_and_those_inside_stay_references() -> None:
    ref = zfut.put(5)
    pending = identity.remote(6)
    assert zfut.get(kind.remote(ref, pending, named=ref), timeout=WAIT_S) == ["int"] * 3
    inside = kind.remote([ref], {"a": pending}, named=(ref,))
    assert zfut.get(inside, timeout=WAIT_S) == ["list", "dict", "tuple"]
    assert zfut.get(first.remote([ref]), timeout=WAIT_S) == 5
    assert zfut.get(first.remote((pending,)), timeout=WAIT_S) == 6


def test_one_object_passed_several_ways_arrives_equal_in_each() -> None:
    @zfut.remote
    def compare(a: Any, b: Any, *, c: Any, d: Any) -> bool:
        return all(np.array_equal(a, other) for other in (b, zfut.get(c[0]), d))

    for value in (np.arange(10), np.arange(100_000)):
        ref = zfut.put(value)
        assert zfut.get(compare.remote(ref, value, c=[ref], d=ref), timeout=WAIT_S)
        assert zfut.get(compare.remote(value, ref, c=(ref,), d=value), timeout=WAIT_S)


def test_the_same_reference_twice_in_one_call() -> None:
    ref = identity.remote(b"x" * 200_000)
    assert zfut.get(kind.remote(ref, ref, named=ref), timeout=WAIT_S) == ["bytes"] * 3
    assert zfut.get(kind.remote(ref, [ref, ref]), timeout=WAIT_S) == ["bytes", "list"]


def test_references_returned_inside_references_can_be_chased() -> None:
    @zfut.remote
    def deeper(levels: int) -> Any:
        return [deeper_in[0].remote(levels - 1)] if levels else "the end"

    deeper_in = [deeper]
    value = zfut.get(deeper.remote(25), timeout=WAIT_S)
    for _ in range(25):
        value = zfut.get(value[0], timeout=WAIT_S)
    assert value == "the end"


def test_a_reference_may_be_a_key_in_a_set_and_is_copied_as_itself() -> None:
    import copy

    a, b = zfut.put(1), zfut.put(1)
    assert len({a, b, a}) == 2
    assert copy.copy(a) is a
    assert copy.deepcopy([a])[0] is a
    assert a != b
    assert a != "something else"
    assert a.hex() == a.binary().hex()
    assert zfut.get(zfut.get(identity.remote([a]), timeout=WAIT_S)[0]) == 1
    assert zfut.get(identity.remote([a]), timeout=WAIT_S)[0] == a


# ------------------------------------------------------------------ what they keep


def test_an_object_goes_with_its_last_reference() -> None:
    small, large = zfut.put(1), zfut.put(b"x" * 200_000)
    names = [small.binary(), large.binary()]
    assert set(names) <= set(owned())
    del small, large
    for name in names:
        gone(name)


def test_a_reference_in_a_closure_keeps_its_object_without_its_name(start: Start) -> None:
    """Workers keep functions, and what these capture, until they end."""
    start(num_cpus=1)
    ref = zfut.put("captured")
    name = ref.binary()

    def capture(held: Any) -> Any:
        return zfut.remote(lambda: zfut.get(held))

    function = capture(ref)
    del ref
    assert zfut.get(function.remote(), timeout=WAIT_S) == "captured"
    assert zfut.get(function.remote(), timeout=WAIT_S) == "captured"
    assert name in owned()
    zfut.shutdown()


def test_a_pending_call_keeps_what_its_function_captured(start: Start) -> None:
    start(num_cpus=1)

    def call(held: Any) -> Any:
        return zfut.remote(lambda: zfut.get(held)).remote()

    refs = [call(zfut.put(i)) for i in range(10)]
    assert zfut.get(refs, timeout=WAIT_S) == list(range(10))
    zfut.shutdown()


def test_a_reference_in_an_actor_class_keeps_its_object_without_its_name() -> None:
    ref = zfut.put("in the class")

    def capture(held: Any) -> Any:
        class Reader:
            def read(self) -> Any:
                return zfut.get(held)

        return zfut.remote(Reader)

    reader = capture(ref).remote()
    del ref
    assert zfut.get(reader.read.remote(), timeout=WAIT_S) == "in the class"
    assert zfut.get(reader.read.remote(), timeout=WAIT_S) == "in the class"


def test_arguments_of_a_waiting_task_survive_a_store_full_of_garbage(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    @zfut.remote
    def slow() -> int:
        gate.read_bytes()
        return 1

    @zfut.remote
    def use(array: Any, number: int) -> int:
        return int(array.sum()) + number

    waits = use.remote(zfut.put(np.ones(10**6, dtype=np.int64)), slow.remote())
    for _ in range(60):  # twice the store's size
        zfut.put(np.zeros(10**6))
    gate.write_bytes(b"")
    assert zfut.get(waits, timeout=WAIT_S) == 10**6 + 1


def test_what_is_inside_lives_as_long_as_what_is_around() -> None:
    inner = zfut.put("inner")
    outer = zfut.put([inner])
    name = inner.binary()
    del inner
    assert zfut.get(zfut.get(outer)[0]) == "inner"
    assert name in owned()
    del outer
    gone(name)


def test_a_borrower_that_kept_a_reference_keeps_the_object_until_it_dies() -> None:
    keeper = Keeper.remote()
    ref = zfut.put(b"y" * 300_000)
    name = ref.binary()
    zfut.get(keeper.hold.remote([ref]), timeout=WAIT_S)
    del ref
    assert len(zfut.get(keeper.look.remote(), timeout=WAIT_S)) == 300_000
    assert name in owned()
    zfut.kill(keeper)
    gone(name)


def test_a_borrower_that_lets_go_frees_the_object() -> None:
    keeper = Keeper.remote()
    ref = zfut.put("held for a while")
    name = ref.binary()
    zfut.get(keeper.hold.remote([ref]), timeout=WAIT_S)
    del ref
    zfut.get(keeper.hold.remote(None), timeout=WAIT_S)
    gone(name)


def test_a_value_whose_owner_died_raises_and_does_not_hang() -> None:
    @zfut.remote
    class Owner:
        def make(self) -> list[Any]:
            return [zfut.put("mine"), os.getpid()]

    owner = Owner.remote()
    inner, pid = zfut.get(owner.make.remote(), timeout=WAIT_S)
    zfut.kill(owner)
    assert ended(pid)
    with pytest.raises(errors.OwnerDiedError):
        zfut.get(inner, timeout=WAIT_S)
    with pytest.raises(errors.OwnerDiedError):
        zfut.get(identity.remote(inner), timeout=WAIT_S)


def test_an_object_whose_unpickling_gets_another_ten_deep() -> None:
    class Lazy:
        def __init__(self, ref: Any) -> None:
            self.ref = ref

        def __reduce__(self) -> Any:
            return zfut.get, (self.ref,)

    value: Any = "the bottom"
    kept = []
    for _ in range(10):
        kept.append(zfut.put(value))
        value = Lazy(kept[-1])
    ref = zfut.put(value)
    del kept, value
    assert zfut.get(ref, timeout=WAIT_S) == "the bottom"
    assert zfut.get(identity.remote(ref), timeout=WAIT_S) == "the bottom"
    assert zfut.get(first.remote([ref]), timeout=WAIT_S) == "the bottom"


# ------------------------------------------------------------------ get and put


def test_one_reference_can_be_got_many_times_and_in_any_order() -> None:
    refs = [identity.remote(i) for i in range(50)]
    order = [*range(49, -1, -1), 7, 7, *range(50)]
    assert zfut.get([refs[i] for i in order], timeout=WAIT_S) == order
    assert [zfut.get(refs[3]) for _ in range(5)] == [3] * 5
    assert zfut.get([]) == []
    assert zfut.get(tuple(refs[:2])) == [0, 1]


def test_each_get_of_a_mutable_value_gives_another_copy() -> None:
    ref = zfut.put([1, 2])
    zfut.get(ref).append(3)
    assert zfut.get(ref) == [1, 2]


def test_a_put_value_is_a_snapshot() -> None:
    value = [1]
    large = np.zeros(100_000)
    refs = zfut.put(value), zfut.put(large)
    value.append(2)
    large[0] = 7
    assert zfut.get(refs[0]) == [1]
    assert zfut.get(refs[1])[0] == 0


def test_put_of_a_reference_is_an_error() -> None:
    with pytest.raises(errors.UsageError, match="Pass the reference itself"):
        zfut.put(zfut.put(1))
    assert zfut.get(zfut.get(zfut.put([zfut.put(1)]))[0]) == 1


def test_a_reference_cannot_be_pickled_where_nothing_keeps_it() -> None:
    ref = zfut.put(1)
    with pytest.raises(errors.UsageError, match="pickled outside zfut"):
        pickle.dumps(ref)


def test_a_reference_shows_what_is_known_of_it() -> None:
    ref = identity.remote(1)
    assert repr(ref).startswith("ObjectRef(")
    zfut.get(ref, timeout=WAIT_S)
    waits = identity.options(num_cpus=99).remote(1)
    until(lambda: "identity() waits for" in repr(waits), "it says what it waits for")
    zfut.cancel(waits)


# ------------------------------------------------------------------ other sessions


def uses(ref: Any) -> list[Callable[[], Any]]:
    async def wait_for() -> Any:
        return await ref

    return [
        lambda: zfut.get(ref),
        lambda: zfut.get([ref], timeout=0),
        lambda: zfut.wait([ref], timeout=0),
        lambda: list(zfut.as_completed([ref])),
        lambda: identity.remote(ref),
        lambda: identity.remote(value=ref),
        lambda: identity.remote([ref]),
        lambda: zfut.put([ref]),
        lambda: zfut.cancel(ref),
        ref.future,
        lambda: asyncio.run(wait_for()),
    ]


def test_a_reference_of_an_earlier_session_is_refused_everywhere(start: Start) -> None:
    start(num_cpus=1)
    done, pending = zfut.put(1), identity.options(num_cpus=9).remote(2)
    keeper = Keeper.remote()
    zfut.shutdown()
    for use in uses(done):
        with pytest.raises(errors.UsageError, match=r"not initialised|has ended|shut down"):
            use()
    start(num_cpus=1)
    fresh = zfut.put(0)
    for ref in (done, pending):
        for use in uses(ref):
            with pytest.raises(ValueError, match=r"its session has ended|was shut down"):
                use()
        with pytest.raises(ValueError, match="its session has ended"):
            zfut.wait([fresh, ref], timeout=1)
        with pytest.raises(ValueError, match="its session has ended"):
            zfut.get([fresh, ref], timeout=1)
        assert repr(ref).startswith("ObjectRef(")
    for call in (keeper.pid.remote, lambda: identity.remote([keeper])):
        with pytest.raises(ValueError, match=r"ended|shut down"):
            call()
    assert zfut.get(identity.remote(fresh), timeout=WAIT_S) == 0


def test_a_function_with_a_reference_of_an_earlier_session_is_refused(start: Start) -> None:
    start(num_cpus=1)
    ref = zfut.put(1)
    function = zfut.remote(lambda: zfut.get(ref))
    assert zfut.get(function.remote(), timeout=WAIT_S) == 1
    zfut.shutdown()
    start(num_cpus=1)
    assert zfut.put(1)
    with pytest.raises(ValueError, match="its session has ended"):
        function.remote()


def test_nothing_works_without_a_session_and_says_what_to_do(start: Start) -> None:
    del start  # there is none
    for use in (lambda: zfut.put(1), lambda: identity.remote(1), zfut.nodes, Keeper.remote):
        with pytest.raises(errors.UsageError, match=r"zfut\.init\(\)"):
            use()
    assert not zfut.is_initialized()


# ------------------------------------------------------------------ several threads


def test_references_made_and_dropped_in_many_threads() -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for i in range(60):
                ref = zfut.put(np.full(20_000, seed + i))
                doubled = identity.remote(ref)
                assert zfut.get(doubled, timeout=WAIT_S)[0] == seed + i
                del ref, doubled
        except BaseException as error:  # noqa: BLE001  the test's own thread raises it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# ------------------------------------------------------------------ found in several values


@zfut.remote
def filled(number: int) -> Any:
    return np.full(20_000, number)


@zfut.remote
def array_and_a_list_with_it(number: int) -> list[Any]:
    array = filled.remote(number)
    return [array, identity.remote([array])]


@zfut.remote
class Arrays:
    """Keeps arrays, and none of the references through which it found them."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, Any]] = []

    def add(self, number: int, boxed: list[Any]) -> None:
        array, listed = zfut.get(boxed[0])
        self.kept.append((number, zfut.get(array)))
        self.kept.append((number, zfut.get(zfut.get(listed)[0])))

    def changed(self) -> list[int]:
        return [number for number, array in self.kept if not (array == number).all()]


def test_what_was_found_in_two_values_stays_when_both_are_gone() -> None:
    arrays: Any = Arrays.remote()
    for number in range(40):
        zfut.get(arrays.add.remote(number, [array_and_a_list_with_it.remote(number)]))
    assert zfut.get(arrays.changed.remote()) == []
