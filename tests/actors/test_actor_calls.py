"""Calls to actors: their order, arguments and errors, and the handles that make them."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import zfut
from zfut.errors import (
    ActorDiedError,
    DirectCallError,
    TaskCancelledError,
    TaskError,
    UsageError,
)

pytestmark = pytest.mark.cluster


@zfut.remote
class Gate:
    """Tells those who wait when somebody opens it."""

    def __init__(self) -> None:
        import asyncio

        self.open = asyncio.Event()

    async def passed(self, value: object = None) -> object:
        await self.open.wait()
        return value

    async def lift(self) -> None:
        self.open.set()


@zfut.remote
class Record:
    """Remembers what it was called with, in order."""

    def __init__(self, *first: object) -> None:
        self.seen: list[object] = list(first)

    def add(self, *values: object) -> int:
        self.seen.extend(values)
        return len(self.seen)

    def all(self) -> list[object]:
        return self.seen


# ------------------------------------------------------------------ order


def test_calls_of_one_caller_run_in_order() -> None:
    record = Record.remote()
    counts = [record.add.remote(n) for n in range(2000)]
    assert zfut.get(counts) == list(range(1, 2001))
    assert zfut.get(record.all.remote()) == list(range(2000))


def test_order_holds_when_arguments_become_ready_out_of_order() -> None:
    gate, record = Gate.remote(), Record.remote()
    last = record.add.remote(gate.passed.remote("first"))
    refs = [record.add.remote(zfut.put(n)) for n in range(3)]
    ready, _ = zfut.wait([last, *refs], num_returns=1, timeout=0)
    assert ready == []
    zfut.get(gate.lift.remote())
    assert zfut.get([last, *refs]) == [1, 2, 3, 4]
    assert zfut.get(record.all.remote()) == ["first", 0, 1, 2]


def test_a_call_that_waits_for_its_argument_holds_back_no_other_caller() -> None:
    @zfut.remote
    def other(handle: Any) -> int:
        return zfut.get(handle.add.remote("other"))

    gate, record = Gate.remote(), Record.remote()
    mine = record.add.remote(gate.passed.remote("mine"))
    assert zfut.get(other.remote(record), timeout=20) == 1
    zfut.get(gate.lift.remote())
    assert zfut.get(mine) == 2


def test_order_holds_for_each_copy_of_a_handle() -> None:
    @zfut.remote
    def write(handle: Any, name: str, deeper: int) -> None:
        below = write.remote(handle, name + "'", deeper - 1) if deeper else None
        zfut.get([handle.add.remote((name, n)) for n in range(100)])
        if below is not None:
            zfut.get(below)

    record = Record.remote()
    zfut.get([write.remote(record, name, 2) for name in "ab"])
    seen = zfut.get(record.all.remote())
    for name in ("a", "a'", "a''", "b", "b'", "b''"):
        assert [n for who, n in seen if who == name] == list(range(100))


def test_order_holds_for_a_handle_that_was_pickled() -> None:
    """Behaviour 49: the copies that come out of values, used in turn with the first."""

    @zfut.remote
    def write(boxed: list[Any], name: str) -> None:
        again = zfut.get(zfut.put({"inside": boxed}))["inside"][0]
        handles = [boxed[0], again] * 50
        zfut.get([handle.add.remote((name, n)) for n, handle in enumerate(handles)])

    record = Record.remote()
    copy = zfut.get(zfut.put([record]))[0]
    refs = [write.remote([record], "a"), write.remote([copy], "b")]
    refs += [handle.add.remote(("mine", n)) for n, handle in enumerate([record, copy] * 50)]
    zfut.get(refs)
    seen = zfut.get(record.all.remote())
    for name in ("a", "b", "mine"):
        assert [n for who, n in seen if who == name] == list(range(100))


def test_threads_of_one_program_may_call_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    record = Record.remote()

    def call(name: int) -> None:
        zfut.get([record.add.remote((name, n)) for n in range(50)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(8)))
    seen = zfut.get(record.all.remote())
    for name in range(8):
        assert [n for who, n in seen if who == name] == list(range(50))


# ------------------------------------------------------------------ arguments and results


def test_references_at_top_level_are_replaced_and_others_are_not() -> None:
    @zfut.remote
    class Look:
        def kinds(self, plain: object, *, named: object, inside: list[object]) -> object:
            assert isinstance(inside[0], zfut.ObjectRef)
            return plain, named, zfut.get(inside[0])

    ref = zfut.put(7)
    look = Look.remote()
    assert zfut.get(look.kinds.remote(ref, named=ref, inside=[ref])) == (7, 7, 7)


def test_large_arguments_and_results_of_an_actor() -> None:
    record = Record.remote(np.ones(300_000))
    zfut.get(record.add.remote(np.arange(300_000), zfut.put(np.zeros(300_000))))
    ones, numbers, zeros = zfut.get(record.all.remote())
    assert ones.sum() == 300_000
    assert numbers[-1] == 299_999
    assert zeros.sum() == 0


def test_a_method_with_several_returns() -> None:
    @zfut.remote
    class Pair:
        @zfut.method(num_returns=2)
        def both(self, a: int, b: int) -> tuple[int, int]:
            return a, b

        def three(self) -> tuple[int, int, int]:
            return 1, 2, 3

        def nothing(self) -> None:
            return None

    pair = Pair.remote()
    assert zfut.get(list(pair.both.remote(1, 2))) == [1, 2]
    assert zfut.get(pair.three.options(num_returns=3).remote()) == [1, 2, 3]
    assert pair.nothing.options(num_returns=0).remote() is None
    wrong = pair.three.options(num_returns=2).remote()
    for ref in wrong:
        with pytest.raises(ValueError, match="num_returns=2 but returned 3 values"):
            zfut.get(ref)


def test_inherited_static_and_class_methods() -> None:
    class Base:
        step = 3

        def inherited(self) -> str:
            return "base"

        @classmethod
        def of_class(cls) -> int:
            return cls.step

    @zfut.remote
    class Derived(Base):
        step = 5

        @staticmethod
        def static(a: int, b: int = 1) -> int:
            return a + b

        def __call__(self, x: int) -> int:
            return x

    it = Derived.remote()
    assert zfut.get([it.inherited.remote(), it.of_class.remote(), it.static.remote(2)]) == [
        "base",
        5,
        3,
    ]
    assert zfut.get(it.__call__.remote(9)) == 9


def test_actors_keep_their_state_apart() -> None:
    records = [Record.remote(n) for n in range(3)]
    zfut.get([record.add.remote("x") for record in records for _ in range(2)])
    states = zfut.get([record.all.remote() for record in records])
    assert states == [[n, "x", "x"] for n in range(3)]


def test_the_context_inside_a_method() -> None:
    @zfut.remote
    class Where:
        def __init__(self) -> None:
            self.born = zfut.get_runtime_context()

        def ids(self) -> tuple[str, str, str, str]:
            here = zfut.get_runtime_context()
            return here.actor_id, self.born.actor_id, here.task_name, here.worker_id

    where = Where.remote()
    actor_id, born, name, worker = zfut.get(where.ids.remote())
    assert actor_id == born == where.actor_id.hex()
    assert name == "Where.ids"
    assert worker != zfut.get_runtime_context().worker_id


def test_special_methods() -> None:
    record = Record.remote(1, 2)
    assert zfut.get(record.__zfut_ready__.remote()) is True
    assert zfut.get(record.__zfut_call__.remote(lambda self, n: self.seen[n], 1)) == 2


# ------------------------------------------------------------------ errors


def test_an_error_in_a_method_is_the_callers_and_the_actor_lives_on() -> None:
    @zfut.remote
    class Fragile:
        def __repr__(self) -> str:
            return "Fragile(ü)"

        def divide(self, a: int, b: int) -> float:
            return a / b

    fragile = Fragile.remote()
    with pytest.raises(ZeroDivisionError) as caught:
        zfut.get(fragile.divide.remote(1, 0))
    assert isinstance(caught.value, TaskError)
    text = str(caught.value)
    assert "Fragile.divide()" in text
    assert "Fragile(ü)" in text
    assert "return a / b" in text
    assert text.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert zfut.get(fragile.divide.remote(1, 2)) == 0.5


def test_interrupts_base_exceptions_and_groups_of_a_method() -> None:
    class OwnError(BaseException):
        pass

    @zfut.remote
    class Raises:
        def interrupt(self) -> None:
            raise KeyboardInterrupt

        def own(self) -> None:
            text = "own"
            raise OwnError(text)

        def group(self) -> None:
            text = "group"
            raise ExceptionGroup(text, [ValueError("one"), KeyError("two")])

        def fine(self) -> int:
            return 1

    raises = Raises.remote()
    with pytest.raises(TaskCancelledError, match=r"Raises\.interrupt"):
        zfut.get(raises.interrupt.remote())
    with pytest.raises(BaseException, match="own") as caught:
        zfut.get(raises.own.remote())
    assert isinstance(caught.value, TaskError)
    assert type(caught.value.cause).__name__ == "OwnError"
    with pytest.raises(ExceptionGroup) as group:
        zfut.get(raises.group.remote())
    assert group.value.subgroup(KeyError) is not None
    assert zfut.get(raises.fine.remote()) == 1


def test_an_actor_whose_repr_raises_still_says_what_failed() -> None:
    @zfut.remote
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

        def fail(self) -> None:
            text = "the reason"
            raise LookupError(text)

    odd = Odd.remote()
    for _ in range(2):
        with pytest.raises(LookupError, match="the reason"):
            zfut.get(odd.fail.remote())


def test_a_call_with_more_than_fits_in_one_frame() -> None:
    @zfut.remote
    class Count:
        def bytes(self, *values: bytes) -> int:
            return sum(map(len, values))

        def many(self, count: int) -> tuple[bytes, ...]:
            return tuple(bytes(100_000) for _ in range(count))

    count = Count.remote()
    refs = [zfut.put(bytes(100_000)) for _ in range(700)]
    assert zfut.get(count.bytes.remote(*refs), timeout=30) == 70_000_000
    parts = count.many.options(num_returns=700).remote(700)
    assert sum(map(len, zfut.get(list(parts), timeout=30))) == 70_000_000


def test_a_call_whose_argument_failed_never_runs_and_the_next_ones_do() -> None:
    @zfut.remote
    def fail() -> None:
        message = "no argument"
        raise KeyError(message)

    record = Record.remote()
    before = record.add.remote("before")
    never = record.add.remote(fail.remote())
    after = record.add.remote("after")
    with pytest.raises(KeyError, match="input argument"):
        zfut.get(never)
    assert zfut.get([before, after]) == [1, 2]
    assert zfut.get(record.all.remote()) == ["before", "after"]


def test_a_result_that_cannot_be_pickled_is_an_error_that_names_it() -> None:
    @zfut.remote
    class Locks:
        def lock(self) -> object:
            import threading

            return {"inner": threading.Lock()}

        def fine(self) -> int:
            return 1

    locks = Locks.remote()
    with pytest.raises(TypeError, match=r"Locks\.lock"):
        zfut.get(locks.lock.remote())
    assert zfut.get(locks.fine.remote()) == 1


def test_wrong_calls_raise_where_they_are_written() -> None:
    record = Record.remote()

    @zfut.remote
    class Strict:
        def __init__(self, a: int, *, key: int = 0) -> None:
            self.a = a + key

        def take(self, a: int, b: int = 2) -> int:
            return a + b

    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        Strict.remote()
    with pytest.raises(TypeError, match="unexpected keyword argument 'kee'"):
        Strict.remote(1, kee=3)
    strict = Strict.remote(1, key=2)
    for args, kwargs in (((), {}), ((1, 2, 3), {}), ((1,), {"a": 1}), ((1,), {"c": 1})):
        with pytest.raises(TypeError, match=r"Strict\.take"):
            strict.take.remote(*args, **kwargs)
    with pytest.raises(AttributeError, match=r"no method 'ad'\. Did you mean 'add'"):
        record.ad  # noqa: B018
    with pytest.raises(DirectCallError, match=r"Record.add.remote\(") as direct:
        record.add(1)
    assert "local" not in str(direct.value)
    with pytest.raises(DirectCallError, match=r"Record\.remote\("):
        Record()
    with pytest.raises(UsageError, match=r"no option 'num_return'.*num_returns"):
        record.add.options(num_return=2)
    assert zfut.get(strict.take.remote(1)) == 3


def test_a_queued_call_can_be_cancelled_and_the_others_run() -> None:
    gate, record = Gate.remote(), Record.remote()
    first = record.add.remote(gate.passed.remote("first"))
    victim, last = record.add.remote("victim"), record.add.remote("last")
    zfut.cancel(victim)
    with pytest.raises(TaskCancelledError):
        zfut.get(victim, timeout=20)
    zfut.get(gate.lift.remote())
    assert zfut.get([first, last]) == [1, 2]
    zfut.cancel(last)
    assert zfut.get(last) == 2
    assert zfut.get(record.all.remote()) == ["first", "last"]


# ------------------------------------------------------------------ handles


def test_handles_are_equal_and_hash_equal_in_every_process() -> None:
    @zfut.remote
    def compare(one: Any, more: list[Any], other: Any) -> tuple[bool, int, bool, Any]:
        return one == more[0], len({one, *more}), one == other, one

    record, other = Record.remote(), Record.remote()
    equal, count, same, back = zfut.get(compare.remote(record, [record], other))
    assert (equal, count, same) == (True, 1, False)
    assert back == record
    assert hash(back) == hash(record)
    assert {record: "x"}[back] == "x"
    assert record != other
    assert zfut.get(back.add.remote(1)) == 1


def test_handles_travel_in_arguments_containers_and_results() -> None:
    @zfut.remote
    class Keeper:
        def keep(self, handles: dict[str, list[Any]]) -> None:
            self.handle = handles["deep"][0]

        def use(self) -> int:
            return zfut.get(self.handle.add.remote("kept"))

        def back(self) -> dict[str, Any]:
            return {"handle": self.handle}

    record, keeper = Record.remote(), Keeper.remote()
    zfut.get(keeper.keep.remote({"deep": [record]}))
    assert zfut.get(keeper.use.remote()) == 1
    back = zfut.get(keeper.back.remote())["handle"]
    assert zfut.get(back.add.remote("back")) == 2
    boxed = zfut.get(zfut.put([record]))[0]
    assert zfut.get(boxed.all.remote()) == ["kept", "back"]


def test_a_task_makes_an_actor_and_returns_its_handle() -> None:
    @zfut.remote
    def make() -> Any:
        record = Record.remote("made")
        record.add.remote("inside")
        return record

    record = zfut.get(make.remote())
    assert zfut.get(record.all.remote()) == ["made", "inside"]


def test_a_handle_of_a_dead_actor_is_still_a_handle() -> None:
    @zfut.remote
    def call(handle: Any) -> object:
        return zfut.get(handle.add.remote(1))

    record = Record.remote()
    zfut.get(record.add.remote(0))
    zfut.kill(record)
    with pytest.raises(ActorDiedError):
        zfut.get(record.add.remote(1))
    with pytest.raises(ActorDiedError) as caught:
        zfut.get(call.remote(record), timeout=20)
    assert isinstance(caught.value, TaskError)


def test_dir_shows_the_methods_and_nothing_that_cannot_be_called() -> None:
    @zfut.remote
    class Shown:
        limit = 3

        def method(self) -> None: ...

        @property
        def size(self) -> int:
            return 1

    shown = Shown.remote()
    assert {"method", "actor_id"} <= set(dir(shown))
    assert not {"limit", "size", "__init__"} & set(dir(shown))
    for name in ("limit", "size"):
        with pytest.raises(AttributeError, match=name):
            getattr(shown, name)


def test_a_handle_cannot_be_pickled_where_nothing_keeps_it() -> None:
    record = Record.remote()
    with pytest.raises(UsageError, match="ActorHandle was pickled outside zfut"):
        pickle.dumps(record)
    assert zfut.get(record.add.remote(1)) == 1
