"""A store that is full, and values that are as large as it or larger."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import zfut
from tests.api.conftest import Start
from tests.cluster.leftovers import until
from zfut import errors

pytestmark = pytest.mark.cluster
WAIT_S = 50
MIB = 2**20
PATIENCE_NS = 200_000_000
"""How long a test that wants to be refused waits for room."""


@zfut.remote
def zeros(size_bytes: int) -> np.ndarray:
    return np.zeros(size_bytes, np.uint8)


@zfut.remote
def leaves_garbage(array: np.ndarray) -> int:
    gc.disable()
    cycle: list[object] = [array]
    cycle.append(cycle)
    return len(array)


@zfut.remote
def ends(array: np.ndarray) -> tuple[int, int, int]:
    return len(array), int(array[0]), int(array[-1])


def waiting() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = zfut.nodes()[0]["waiting_for_memory"]
    return found


def test_a_put_into_a_full_store_fails_with_the_figures(start: Start) -> None:
    """A full store: nothing can be freed, so the error says how much there is and who has it."""
    start(num_cpus=1, object_store_memory=64 * MIB, store_full_timeout_ns=PATIENCE_NS)
    kept = [zfut.put(np.zeros(20 * MIB, np.uint8)) for _ in range(3)]
    with pytest.raises(MemoryError, match=r"20\.0 MiB.*of 67108864 bytes free") as caught:
        zfut.put(np.zeros(20 * MIB, np.uint8))
    assert isinstance(caught.value, errors.ObjectStoreFullError)
    assert zfut.get(zfut.put(b"small")) == b"small"
    kept.pop()
    kept.append(zfut.put(np.ones(20 * MIB, np.uint8)))
    assert zfut.get(kept[-1])[-1] == 1


def test_a_return_into_a_full_store_is_an_error_of_its_task(start: Start) -> None:
    """A full store: the task fails, its worker lives and the next one finds room."""
    start(num_cpus=1, object_store_memory=64 * MIB, store_full_timeout_ns=PATIENCE_NS)
    kept = [zfut.put(np.zeros(20 * MIB, np.uint8)) for _ in range(3)]
    with pytest.raises(errors.ObjectStoreFullError, match="of 67108864 bytes free"):
        zfut.get(zeros.remote(20 * MIB), timeout=WAIT_S)
    kept.clear()
    assert len(zfut.get(zeros.remote(20 * MIB), timeout=WAIT_S)) == 20 * MIB


@pytest.mark.parametrize("how", ["put", "return", "argument"])
def test_who_waits_for_room_is_seen_waiting_and_goes_on_when_there_is_some(
    start: Start, how: str
) -> None:
    """A full store: the put or return waits."""
    start(num_cpus=1, object_store_memory=64 * MIB)
    kept = [zfut.put(np.zeros(20 * MIB, np.uint8)) for _ in range(3)]
    array = np.ones(20 * MIB, np.uint8)
    with ThreadPoolExecutor(1) as pool:
        if how == "put":
            waits = pool.submit(lambda: len(zfut.get(zfut.put(array))))
        elif how == "return":
            waits = pool.submit(lambda: len(zfut.get(zeros.remote(20 * MIB))))
        else:
            waits = pool.submit(lambda: zfut.get(ends.remote(array))[0])
        (one,) = until(waiting, "it is seen waiting for memory")
        assert one["bytes"] >= 20 * MIB
        assert not waits.done()
        kept.pop()
        assert waits.result(WAIT_S) == 20 * MIB
    until(lambda: not waiting(), "nobody waits for memory")


def test_small_returns_pass_a_put_that_does_not_fit(start: Start) -> None:
    """A full store: what is free is lent to who can use it, up to what the large one wants."""
    start(num_cpus=2, object_store_memory=64 * MIB)
    kept = zfut.put(np.zeros(30 * MIB, np.uint8))
    large = zeros.remote(40 * MIB)
    until(waiting, "the large one waits")
    for _ in range(3):
        assert len(zfut.get(zeros.remote(15 * MIB), timeout=WAIT_S)) == 15 * MIB
    (one,) = waiting()
    assert one["bytes"] >= 40 * MIB
    assert one["passed"] >= 45 * MIB
    small = zeros.remote(15 * MIB)
    until(lambda: len(waiting()) == 2, "enough has passed the large one")
    assert "bytes are asked for behind a request of" in small.explain()
    assert "smaller requests that came later got" in large.explain()
    del kept
    assert len(zfut.get(large, timeout=WAIT_S)) == 40 * MIB
    del large
    assert len(zfut.get(small, timeout=WAIT_S)) == 15 * MIB


@pytest.mark.parametrize("where", ["worker", "program", "inline"])
def test_garbage_that_holds_memory_is_collected_when_somebody_waits(
    start: Start, where: str
) -> None:
    """A full store: reference cycles hold views of what nobody can reach."""
    mode = "inline" if where == "inline" else "processes"
    start(
        num_cpus=1,
        object_store_memory=64 * MIB,
        mode=mode,
        store_full_timeout_ns=20_000_000_000,
    )
    ref = zfut.put(np.full(40 * MIB, 3, np.uint8))
    gc.disable()
    try:
        if where == "worker":
            assert zfut.get(leaves_garbage.remote(ref), timeout=WAIT_S) == 40 * MIB
        else:
            leaves_garbage.local(zfut.get(ref))
        del ref
        with ThreadPoolExecutor(1) as pool:
            put = pool.submit(zfut.put, np.ones(40 * MIB, np.uint8))
            assert zfut.get(put.result(WAIT_S))[-1] == 1
        del put
    finally:
        gc.enable()


def test_a_value_larger_than_the_store_is_refused_with_the_figures(start: Start) -> None:
    """A full store: what can never fit leaves nothing behind."""
    start(num_cpus=1, object_store_memory=64 * MIB, store_full_timeout_ns=PATIENCE_NS)
    huge = np.zeros(65 * MIB, np.uint8)
    for call in (lambda: zfut.put(huge), lambda: ends.remote(huge)):
        with pytest.raises(errors.ObjectStoreFullError, match=r"65\.0 MiB.*67108864 bytes"):
            call()
    with pytest.raises(errors.ObjectStoreFullError, match=r"65\.0 MiB"):
        zfut.get(zeros.remote(65 * MIB), timeout=WAIT_S)
    assert zfut.get(ends.remote(zfut.put(huge[: 32 * MIB])), timeout=WAIT_S)[0] == 32 * MIB


@pytest.mark.timeout(240)
def test_an_object_of_3_gib(start: Start) -> None:
    """A 3 GiB object: put, read in place by a task and here, and made by a task."""
    size = 3 * 2**30 + 5
    start(num_cpus=1, object_store_memory=size + 64 * MIB)
    array = np.zeros(size, np.uint8)
    array[0], array[2**31], array[-1] = 1, 2, 3
    ref = zfut.put(array)
    del array
    assert zfut.get(ends.remote(ref), timeout=WAIT_S) == (size, 1, 3)
    got = zfut.get(ref)
    assert (len(got), got[0], got[2**31], got[-1]) == (size, 1, 2, 3)
    assert got[2**31 - 1] == got[2**31 + 1] == 0
    del got, ref
    until(lambda: zfut.nodes()[0]["memory"]["claimed"] == 0, "the memory is free again")
    made = zeros.remote(size)
    assert zfut.get(ends.remote(made), timeout=WAIT_S) == (size, 0, 0)
