"""The whole thing on real processes, once through each door: what a new user would try first."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zfut
from zfut import errors

pytestmark = pytest.mark.cluster
WAIT_S = 30


@pytest.fixture(scope="module", autouse=True)
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setenv("ZFUT_SESSION_DIR", str(tmp_path_factory.mktemp("s")))
    zfut.init(num_cpus=2, object_store_memory=256 * 2**20)
    yield
    zfut.shutdown()
    patch.undo()


@zfut.remote
def add(a: Any, b: Any = 0) -> Any:
    return a + b


@zfut.remote
def pause(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@zfut.remote
def fail(text: str) -> None:
    raise ValueError(text)


@zfut.remote
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.n = start
        self.held: Any = None

    def inc(self) -> int:
        self.n += 1
        return self.n

    def pid(self) -> int:
        return os.getpid()

    def hold(self, value: Any) -> None:
        self.held = value

    def look(self) -> Any:
        return zfut.get(self.held[0])

    def total(self) -> int:
        return int(self.held.sum())


def until(true: Any, what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, what
        zfut.nodes()  # a question that takes no worker


def rows() -> dict[bytes, Any]:
    from zfut.session import current

    return current().owner.rows


def test_a_chain_of_dependent_tasks() -> None:
    ref = add.remote(0)
    for _ in range(200):
        ref = add.remote(ref, b=1)
    assert zfut.get(ref, timeout=WAIT_S) == 200


def test_large_arrays_are_read_in_place_and_read_only() -> None:
    array = np.arange(10**6)
    back = zfut.get(zfut.put(array))
    assert np.array_equal(array, back)
    assert not back.flags.writeable
    copy = zfut.get(zfut.put(array), copy=True)
    copy[0] = 7


def test_a_value_given_by_reference_and_by_value() -> None:
    array = np.ones(10**6)
    assert zfut.get(add.remote(zfut.put(array), array), timeout=WAIT_S).sum() == 2e6


def test_an_error_is_of_its_own_class_and_a_task_error() -> None:
    with pytest.raises(ValueError, match="oops") as caught:
        zfut.get(fail.remote("oops"), timeout=WAIT_S)
    assert isinstance(caught.value, errors.TaskError)


def test_an_error_passes_through_dependent_tasks() -> None:
    with pytest.raises(ValueError, match="could not be computed"):
        zfut.get(add.remote(fail.remote("deep"), 1), timeout=WAIT_S)


def test_wait_returns_what_is_ready() -> None:
    slow, fast = pause.remote(0.5), pause.remote(0.0)
    ready, rest = zfut.wait([slow, fast], timeout=WAIT_S)
    assert (ready, rest) == ([fast], [slow])
    with pytest.raises(TimeoutError):
        zfut.get(slow, timeout=0)


def test_short_tasks_do_not_stay_behind_a_long_one() -> None:
    zfut.get([pause.remote(0.0) for _ in range(100)], timeout=WAIT_S)
    long, short = pause.remote(2.0), [pause.remote(0.0) for _ in range(50)]
    zfut.get(short, timeout=WAIT_S)
    assert zfut.wait([long], timeout=0)[0] == []
    zfut.get(long, timeout=WAIT_S)


def test_a_worker_that_dies_is_replaced_and_its_task_run_again(tmp_path: Path) -> None:
    mark = tmp_path / "died"

    @zfut.remote
    def die_once(path: str) -> str:
        if not Path(path).exists():
            Path(path).touch()
            os.kill(os.getpid(), 9)
        return "alive"

    assert zfut.get(die_once.remote(str(mark)), timeout=WAIT_S) == "alive"


def test_without_retries_the_crash_is_told() -> None:
    @zfut.remote(max_retries=0)
    def die() -> None:
        os._exit(3)

    with pytest.raises(errors.WorkerCrashedError, match="code 3"):
        zfut.get(die.remote(), timeout=WAIT_S)


def test_nested_tasks_within_the_cap_of_processes() -> None:
    @zfut.remote
    def nest(depth: int) -> int:
        return 0 if depth == 0 else 1 + zfut.get(nest_ref[0].remote(depth - 1))

    nest_ref = [nest]
    assert zfut.get(nest.remote(40), timeout=WAIT_S) == 40
    assert len(zfut.nodes()[0]["workers"]) <= 4 * 2 + 16 + 1


def test_calls_of_an_actor_run_in_order() -> None:
    counter = Counter.remote(5)
    refs = [counter.inc.remote() for _ in range(200)]
    assert zfut.get(refs, timeout=WAIT_S) == list(range(6, 206))


def test_a_reference_that_an_actor_keeps_outlives_its_callers() -> None:
    counter = Counter.remote()
    ref = zfut.put("kept")
    zfut.get(counter.hold.remote([ref]), timeout=WAIT_S)
    name = ref.binary()
    del ref
    zfut.get(counter.inc.remote(), timeout=WAIT_S)
    assert zfut.get(counter.look.remote(), timeout=WAIT_S) == "kept"
    zfut.get(counter.hold.remote(None), timeout=WAIT_S)
    until(lambda: name not in rows(), "the owner never let the object go")


def test_an_array_that_an_actor_keeps_is_not_overwritten() -> None:
    counter = Counter.remote()
    zfut.get(counter.hold.remote(np.full(10**6, 7)), timeout=WAIT_S)
    for _ in range(30):
        zfut.get(zfut.put(np.zeros(10**6, dtype=np.int64)))
    assert zfut.get(counter.total.remote(), timeout=WAIT_S) == 7 * 10**6


def test_an_actor_ends_with_its_last_handle() -> None:
    counter = Counter.remote()
    fd = os.pidfd_open(zfut.get(counter.pid.remote(), timeout=WAIT_S))
    del counter
    import select

    assert select.select([fd], [], [], WAIT_S)[0]
    os.close(fd)


def test_coroutine_methods_wait_together() -> None:
    @zfut.remote
    class Barrier:
        def __init__(self) -> None:
            self.count = 0
            self.all = asyncio.Event()

        async def meet(self, n: int) -> int:
            self.count += 1
            if self.count == n:
                self.all.set()
            await self.all.wait()
            return self.count

    barrier = Barrier.remote()
    assert zfut.get([barrier.meet.remote(50) for _ in range(50)], timeout=WAIT_S) == [50] * 50


def test_references_can_be_awaited_and_made_futures() -> None:
    async def main() -> list[int]:
        return list(await asyncio.gather(*(add.remote(i, 1) for i in range(10))))

    assert asyncio.run(main()) == list(range(1, 11))
    assert add.remote(1, 2).future().result(WAIT_S) == 3


def test_many_threads_use_one_session() -> None:
    sums: list[int] = []

    def work() -> None:
        sums.append(sum(zfut.get([add.remote(i) for i in range(300)], timeout=WAIT_S)))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == [sum(range(300))] * 6


def test_a_returned_reference_can_be_followed() -> None:
    @zfut.remote
    def make() -> list[Any]:
        return [zfut.put("inner")]

    assert zfut.get(zfut.get(make.remote(), timeout=WAIT_S)[0], timeout=WAIT_S) == "inner"


def test_everything_is_back_at_the_end() -> None:
    until(lambda: zfut.available_resources().get("CPU") == 2.0, "a CPU is still lent")
    until(lambda: not rows(), "the owner's table is not empty")
