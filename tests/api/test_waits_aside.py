"""Tasks that wait for tasks in another way than get: futures, coroutines, threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import zfut
from tests.api.conftest import Start
from tests.cluster.leftovers import until
from zfut.errors import GetTimeoutError, TaskError

pytestmark = pytest.mark.cluster
WAIT_S = 60


@zfut.remote
def leaf(n: int) -> int:
    return n


@zfut.remote
def fails() -> None:
    raise KeyError("no such thing")


def by_future(ref: Any) -> Any:
    return ref.future().result()


def by_exception(ref: Any) -> Any:
    future = ref.future()
    assert future.exception() is None
    return future.result(timeout=0)


def by_futures_wait(ref: Any) -> Any:
    done, _ = concurrent.futures.wait([ref.future(), leaf.remote(0).future()])
    return sum(future.result() for future in done)


def by_futures_as_completed(ref: Any) -> Any:
    futures = [ref.future(), leaf.remote(0).future()]
    return sum(future.result() for future in concurrent.futures.as_completed(futures))


def by_callback(ref: Any) -> Any:
    came = threading.Event()
    future = ref.future()
    future.add_done_callback(lambda _: came.set())
    came.wait()
    return future.result()


def by_await(ref: Any) -> Any:
    async def wait() -> Any:
        return await ref

    return asyncio.run(wait())


def by_wrapped_future(ref: Any) -> Any:
    async def wait() -> Any:
        return await asyncio.wrap_future(ref.future())

    return asyncio.run(wait())


def by_to_thread(ref: Any) -> Any:
    return asyncio.run(asyncio.to_thread(zfut.get, ref))


def by_thread(ref: Any) -> Any:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(zfut.get, ref).result()


WAYS: list[Callable[[Any], Any]] = [
    by_future,
    by_exception,
    by_futures_wait,
    by_futures_as_completed,
    by_callback,
    by_await,
    by_wrapped_future,
    by_to_thread,
    by_thread,
]


@zfut.remote
def parent(way: Callable[[Any], Any], n: int) -> Any:
    return way(leaf.remote(n))


@zfut.remote
def grandparent(way: Callable[[Any], Any], n: int) -> Any:
    return way(parent.remote(way, n))


@pytest.fixture(scope="module", params=[0, 1], ids=["", "workers_max=1"])
def one_cpu(request: pytest.FixtureRequest, base: Any) -> Iterator[None]:
    """One CPU; in the second round all tasks but one have to share one process, if they can."""
    del base
    zfut.shutdown()
    zfut.init(num_cpus=1, workers_max=request.param)
    yield
    zfut.shutdown()
    zfut.init(num_cpus=2, object_store_memory=256 * 2**20)


@pytest.mark.usefixtures("one_cpu")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_nested_tasks_finish_on_one_cpu_however_they_wait(way: Callable[[Any], Any]) -> None:
    refs = [grandparent.remote(way, n) for n in range(3)]
    assert zfut.get(refs, timeout=WAIT_S) == [0, 1, 2]


def test_the_cpu_is_taken_back_when_the_wait_ends(start: Start, tmp_path: Path) -> None:
    start(num_cpus=1)
    gate = tmp_path / "gate"

    @zfut.remote(num_cpus=0)
    def opened() -> None:
        until(gate.exists, "the gate is open")

    @zfut.remote
    def waits() -> int:
        by_thread(opened.remote())
        (tmp_path / "goes on").touch()
        until((tmp_path / "enough").exists, "the test has seen enough")
        return 1

    def free() -> float:
        return zfut.available_resources().get("CPU", 0)

    ref = waits.remote()
    until(lambda: not free(), "the task has the CPU")
    until(lambda: free() == 1, "it is lent while the thread waits")
    gate.touch()
    until((tmp_path / "goes on").exists, "the task goes on")
    until(lambda: not free(), "the CPU is its own again")
    (tmp_path / "enough").touch()
    assert zfut.get(ref, timeout=WAIT_S) == 1


@zfut.remote(num_cpus=0)
def when_there(path: Path) -> int:
    until(path.exists, "the file is there")
    return 1


@pytest.mark.parametrize("ask", ["result", "exception"])
@pytest.mark.parametrize("timeout", [0, 0.05])
def test_a_future_that_is_late_says_why(tmp_path: Path, ask: str, timeout: float) -> None:
    ref = when_there.remote(tmp_path / "now")
    future = ref.future()
    with pytest.raises(GetTimeoutError, match=r"1 of 1 ref.*when_there\(\)"):
        getattr(future, ask)(timeout)
    (tmp_path / "now").touch()
    assert future.result(timeout=WAIT_S) == 1


def test_a_future_gives_the_error_of_its_task() -> None:
    future = fails.remote().future()
    assert isinstance(future.exception(timeout=WAIT_S), KeyError)
    with pytest.raises(TaskError, match="no such thing"):
        future.result()


def test_who_waits_for_a_future_that_another_thread_cancels_goes_on(tmp_path: Path) -> None:
    ref = when_there.remote(tmp_path / "now")
    future = ref.future()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waits = pool.submit(future.result)
        until(lambda: future._waits, "the other thread waits")  # type: ignore[attr-defined]  # noqa: SLF001
        assert future.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            waits.result(WAIT_S)
    (tmp_path / "now").touch()


def test_a_task_that_waits_in_a_coroutine_can_be_cancelled(tmp_path: Path) -> None:
    @zfut.remote
    def waits(path: Path, way: Callable[[Any], Any]) -> Any:
        (tmp_path / "began").touch()
        return way(when_there.remote(path))

    for way in (by_await, by_future):
        ref = waits.remote(tmp_path / "never", way)
        until((tmp_path / "began").exists, "it runs")
        (tmp_path / "began").unlink()
        zfut.cancel(ref)
        with pytest.raises(zfut.errors.TaskCancelledError):
            zfut.get(ref, timeout=WAIT_S)
