"""Tasks that wait for tasks: the CPU they give back, and how many processes that takes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

import zfut
from tests.api.conftest import Start
from tests.cluster.leftovers import until
from zfut import errors

pytestmark = pytest.mark.cluster
WAIT_S = 60


@zfut.remote
def leaf(n: int) -> int:
    return n


@zfut.remote
def branch(n: int) -> int:
    return zfut.get(leaf.remote(n))


@zfut.remote
def root(n: int) -> int:
    return zfut.get(branch.remote(n))


@zfut.remote
class Never:
    """Answers nobody, until it is told to."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def come(self) -> str:
        await self.over.wait()
        return "came"

    async def let_go(self) -> None:
        self.over.set()


@zfut.remote
def count(files: Path, n: int) -> None:
    """Note how many of these run while this one does."""
    (files / "running" / str(n)).touch()
    (files / "most" / str(len(os.listdir(files / "running")))).touch()  # noqa: PTH208
    (files / "running" / str(n)).unlink()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "running").mkdir()
    (tmp_path / "most").mkdir()
    return tmp_path


def most(files: Path) -> int:
    return max(int(path.name) for path in (files / "most").iterdir())


def test_a_task_that_waits_gives_its_cpu_back(start: Start) -> None:
    """Behaviour 37: nested tasks finish on one CPU, whichever call they wait in."""
    start(num_cpus=1)

    @zfut.remote
    def by_wait(n: int) -> int:
        ready, _ = zfut.wait([leaf.remote(n)])
        return zfut.get(ready[0])

    @zfut.remote
    def by_as_completed(n: int) -> int:
        return sum(zfut.get(ref) for ref in zfut.as_completed([leaf.remote(n)]))

    @zfut.remote
    def of_another(boxed: list[Any]) -> int:
        return zfut.get(boxed[0])

    late = leaf.remote(5)
    refs = [root.remote(4), by_wait.remote(5), by_as_completed.remote(6)]
    assert zfut.get([*refs, of_another.remote([late])], timeout=WAIT_S) == [4, 5, 6, 5]


def test_a_get_that_is_answered_at_once_lets_no_other_worker_start(
    start: Start, files: Path
) -> None:
    """Behaviour 37: values that are here already cost the task nothing of its CPU."""
    start(num_cpus=1)

    @zfut.remote
    def reads(given: list[Any]) -> list[str]:
        zfut.get(given[0])
        (files / "began").touch()
        until((files / "queued").exists, "another task waits for the CPU")
        for n in range(2000):
            zfut.get(zfut.put(n))
            zfut.wait([given[0]], timeout=0)
            zfut.get(given, timeout=0)
        return [path.name for path in (files / "most").iterdir()]

    ref = reads.remote([zfut.put(1)])
    until((files / "began").exists, "the task runs")
    other = count.remote(files, 0)
    until(lambda: zfut.nodes()[0]["waiting"], "the other one waits for the CPU")
    (files / "queued").touch()
    assert zfut.get(ref, timeout=WAIT_S) == []
    zfut.get(other, timeout=WAIT_S)
    assert most(files) == 1


@pytest.mark.parametrize("timeout", [0, 0.0001, 0.003])
def test_a_blocked_get_with_tiny_timeouts_lends_its_cpu_no_more_than_once(
    start: Start, files: Path, timeout: float
) -> None:
    """Behaviour 38."""
    start(num_cpus=1)

    @zfut.remote
    def impatient(boxed: list[Any]) -> int:
        tries = 0
        while not (files / "enough").exists():
            tries += 1
            try:
                zfut.get(boxed[0], timeout=timeout)
            except errors.GetTimeoutError:
                zfut.wait(boxed, timeout=timeout)
            if tries == 300:
                (files / "enough").touch()
        return tries

    never = Never.remote()
    pending = never.come.remote()
    ref = impatient.remote([pending])
    others = [count.remote(files, n) for n in range(200)]
    assert zfut.get(ref, timeout=WAIT_S) == 300
    zfut.get(others, timeout=WAIT_S)
    assert most(files) <= 2, "on the CPU that was lent, and on that of the task when it is over"
    until(lambda: zfut.available_resources().get("CPU") == 1, "exactly what there was")
    zfut.get(never.let_go.remote())
    assert zfut.get(pending) == "came"


def test_a_thousand_tasks_nested_three_deep_on_one_cpu(start: Start) -> None:
    """Behaviour 46: neither a deadlock nor a thousand workers."""
    start(num_cpus=1)
    refs = [root.remote(n) for n in range(1000)]
    largest = 0
    while zfut.wait(refs, num_returns=len(refs), timeout=0.02)[1]:
        largest = max(largest, len(zfut.nodes()[0]["workers"]))
    assert zfut.get(refs, timeout=WAIT_S) == list(range(1000))
    assert 0 < largest <= 4 * 1 + 16 + 1


def test_a_tree_of_a_thousand_leaves_on_one_cpu(start: Start) -> None:
    """Behaviour 46, each task waiting for ten at a time."""
    start(num_cpus=1)

    @zfut.remote
    def tree(depth: int) -> int:
        if not depth:
            return 1
        return sum(zfut.get([tree_in[0].remote(depth - 1) for _ in range(10)]))

    tree_in = [tree]
    assert zfut.get(tree.remote(3), timeout=WAIT_S) == 1000
    assert len(zfut.nodes()[0]["workers"]) <= 4 * 1 + 16 + 1
