"""mode="inline": the same machines and the same answers, on the calling thread alone."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zfut
from zfut.errors import (
    ActorDiedError,
    GetTimeoutError,
    ObjectFreedError,
    SerializationError,
    TaskCancelledError,
    TaskError,
    WorkerCrashedError,
)
from zfut.inline.loop import DROPS_AT_ONCE
from zfut.session import current
from zfut.testing import lose


@pytest.fixture(autouse=True)
def session() -> Iterator[zfut.Session]:
    """Start a session of two CPUs in this process, and see that nothing is left of it."""
    threads = threading.active_count()
    with zfut.init(mode="inline", num_cpus=2) as made:
        yield made
    assert not zfut.is_initialized()
    assert threading.active_count() == threads
    assert not multiprocessing.active_children()


@zfut.remote
def where() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


@zfut.remote
def add(*values: Any) -> Any:
    return sum(values)


@zfut.remote
def tree(depth: int) -> int:
    return 1 if depth == 0 else sum(zfut.get([tree.remote(depth - 1) for _ in range(2)]))


@zfut.remote
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.count = start

    def add(self, by: int = 1) -> int:
        self.count += by
        return self.count

    def leave(self) -> None:
        zfut.exit_actor()


def test_everything_runs_here_so_a_debugger_stops_in_it() -> None:
    assert zfut.get(where.remote()) == (os.getpid(), threading.get_ident())


def test_nothing_runs_before_it_is_asked_for(tmp_path: Path) -> None:
    @zfut.remote
    def note(number: int) -> None:
        (tmp_path / str(number)).touch()

    refs = [note.remote(n) for n in range(3)]
    assert not list(tmp_path.iterdir())
    zfut.get(refs)
    assert len(list(tmp_path.iterdir())) == 3


def test_tasks_references_and_nesting() -> None:
    assert zfut.get(add.remote(1, add.remote(2, 3))) == 6
    assert zfut.get(tree.remote(6)) == 64
    assert zfut.get([add.remote(n) for n in range(100)]) == list(range(100))
    ready, rest = zfut.wait([add.remote(1), add.remote(2)], num_returns=2)
    assert (len(ready), rest) == (2, [])


def test_values_are_snapshots_and_arrays_read_only() -> None:
    array = np.zeros(100_000)
    ref = zfut.put(array)
    array[0] = 1
    found = zfut.get(ref)
    assert found[0] == 0
    assert not found.flags.writeable
    with pytest.raises(SerializationError):
        zfut.put(threading.Lock())


def test_errors_are_those_of_processes() -> None:
    @zfut.remote
    def fail() -> None:
        raise KeyError("missing")

    @zfut.remote(max_retries=0)
    def leave() -> None:
        os.sys.exit(3)  # type: ignore[attr-defined]

    with pytest.raises(KeyError, match="missing") as caught:
        zfut.get(add.remote(fail.remote()))
    assert isinstance(caught.value, TaskError)
    with pytest.raises(WorkerCrashedError, match="code 3"):
        zfut.get(leave.remote())


def test_actors_keep_state_order_and_names() -> None:
    counter = Counter.options(name="inline counter").remote(10)
    assert zfut.get([counter.add.remote() for _ in range(5)]) == [11, 12, 13, 14, 15]
    assert zfut.get(zfut.get_actor("inline counter").add.remote(5)) == 20
    with pytest.raises(ActorDiedError, match="exit_actor"):
        zfut.get(counter.leave.remote())
    killed = Counter.remote()
    zfut.kill(killed)
    with pytest.raises(ActorDiedError, match=r"zfut\.kill"):
        zfut.get(killed.add.remote())


def test_an_actor_lives_again() -> None:
    phoenix = Counter.options(max_restarts=1, max_task_retries=1).remote()
    assert zfut.get(phoenix.add.remote()) == 1
    zfut.kill(phoenix, no_restart=False)
    assert zfut.get(phoenix.add.remote()) == 1


def test_coroutines_of_an_actor_meet() -> None:
    @zfut.remote
    class Gate:
        def __init__(self) -> None:
            self.open = asyncio.Event()

        async def wait(self) -> str:
            await self.open.wait()
            return "open"

        async def let(self) -> None:
            self.open.set()

        async def forever(self) -> None:
            await asyncio.sleep(1000)

    gate = Gate.remote()
    waits = [gate.wait.remote() for _ in range(3)]
    stuck = gate.forever.remote()
    zfut.get(gate.let.remote())
    assert zfut.get(waits) == ["open"] * 3
    zfut.cancel(stuck)
    with pytest.raises(TaskCancelledError):
        zfut.get(stuck)


def test_awaiting_and_futures() -> None:
    async def main() -> list[int]:
        return await asyncio.gather(*[_value(add.remote(n)) for n in range(5)])

    async def _value(ref: Any) -> int:
        return await ref  # type: ignore[no-any-return]

    assert asyncio.run(main()) == list(range(5))
    assert add.remote(2, 2).future().result(timeout=20) == 4


def test_a_wait_that_nothing_can_end_says_so(session: zfut.Session) -> None:
    del session
    never = add.options(resources={"unicorn": 1}).remote(1)
    with pytest.raises((GetTimeoutError, zfut.errors.ZfutError), match="unicorn"):
        zfut.get(never)
    zfut.cancel(never)


def test_a_cancelled_task_never_runs(tmp_path: Path) -> None:
    @zfut.remote
    def touch() -> None:
        (tmp_path / "ran").touch()

    ref = touch.remote()
    zfut.cancel(ref)
    with pytest.raises(TaskCancelledError):
        zfut.get(ref)
    assert not (tmp_path / "ran").exists()


def test_a_lost_value_is_made_again(tmp_path: Path) -> None:
    @zfut.remote
    def big() -> Any:
        runs = len(list(tmp_path.iterdir()))
        (tmp_path / str(runs)).touch()
        return np.full(50_000, float(runs))

    ref = big.remote()
    assert zfut.get(ref)[0] == 0
    lose(ref)
    assert zfut.get(ref)[0] == 1


def test_the_chain_of_causes_is_told() -> None:
    ref = add.remote(add.remote(1))
    assert "add(), which waits for arguments" in ref.explain()
    assert zfut.get(ref) == 1


def test_threads_may_call_at_once() -> None:
    found: list[int] = []

    def ask(number: int) -> None:
        found.append(zfut.get(add.remote(number, 1)))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found) == list(range(1, 9))


@zfut.remote
def make(size: int) -> Any:
    return np.arange(size, dtype=float)


@zfut.remote
def grow(array: Any) -> Any:
    return np.resize(array, 50_000)


@pytest.mark.parametrize("size", [1, 50_000])
def test_free(size: int) -> None:
    made = make.remote(size)
    grown = grow.remote(made)
    right = zfut.get(grown).copy()
    zfut.free(made)
    with pytest.raises(ObjectFreedError):
        zfut.get(made)
    with pytest.raises(ObjectFreedError):
        zfut.get(grow.remote(made))
    lose(grown)
    assert np.array_equal(zfut.get(grown), right)
    pending = make.remote(size)
    zfut.free(pending)
    with pytest.raises(ObjectFreedError):
        zfut.get(pending)


@pytest.mark.parametrize("soft", [False, True])
def test_actors_that_have_ended_and_keep_each_others_puts_go(
    tmp_path: Path, *, soft: bool
) -> None:
    class Keeper:
        def put(self) -> list[zfut.ObjectRef[int]]:
            return [zfut.put(7)]

        def keep(self, thing: Any) -> None:
            self.kept = thing

        def on_exit(self) -> None:
            with (tmp_path / "log").open("a") as file:
                file.write("x")

    class Soft(Keeper):
        async def nothing(self) -> None:
            pass

    kind = zfut.remote(Soft if soft else Keeper)
    a, b = kind.remote(), kind.remote()
    x, y = zfut.get([a.put.remote(), b.put.remote()])
    zfut.get([a.keep.remote(y), b.keep.remote(x)])
    del a, b
    for _ in range(9):
        current().glance()
    assert (tmp_path / "log").read_text() == "xx"
    assert zfut.get([*x, *y]) == [7, 7]
    del x, y
    for _ in range(9):
        current().glance()
    assert (tmp_path / "log").read_text() == "xx"
    assert not [w for w in zfut.nodes()[0]["workers"] if w["actor"]]


def test_a_view_keeps_the_bytes_of_what_is_freed() -> None:
    ref = zfut.put(np.full(50_000, 7.0))
    array = zfut.get(ref)
    zfut.free(ref)
    others = [zfut.put(np.full(50_000, float(n))) for n in range(10)]
    assert (array == 7.0).all()
    assert len(others) == 10


def test_a_call_goes_before_what_is_left_of_many_drops() -> None:
    refs = [zfut.put(number) for number in range(20_000)]
    refs.clear()
    loop = current().loop
    assert loop.drops
    assert zfut.get(add.remote(1, 2)) == 3
    assert loop.drops
    while loop.drops:
        before = len(loop.drops)
        loop.turn()
        assert before - len(loop.drops) <= DROPS_AT_ONCE
    loop.turn()
    assert not current().owner.rows


def test_a_call_drops_what_it_was_given_before_it_is_answered() -> None:
    refs = [zfut.put(number) for number in range(5_000)]

    @zfut.remote
    def forget(given: list[Any]) -> int:
        count = len(given)
        given.clear()
        return count

    assert zfut.get(forget.remote(refs)) == 5_000
    rows = current().owner.rows
    assert not [ref for ref in refs if rows[ref.binary()].borrowers]
