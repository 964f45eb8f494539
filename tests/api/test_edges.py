"""Edges of ownership on real processes that the simulator's scenarios do not show."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zfut
from tests.api.conftest import owned
from tests.cluster.leftovers import ended, until
from zfut.errors import (
    GetTimeoutError,
    ObjectFreedError,
    OwnerDiedError,
    ReconstructionFailedError,
    TaskCancelledError,
)
from zfut.session import current
from zfut.testing import lose
from zfut.wire import serialize
from zfut.wire.specs import Stored

pytestmark = pytest.mark.cluster

WAIT_S = 30
LARGE = 50_000


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


@zfut.remote
def same(value: Any) -> Any:
    return value


@zfut.remote
def larger(value: Any) -> Any:
    return np.full(LARGE, float(value))


@zfut.remote
class Maker:
    """Owns what it makes."""

    def put(self, value: Any) -> list[Any]:
        return [zfut.put(value)]

    def many(self, count: int) -> list[Any]:
        return [zfut.put(n) for n in range(count)]

    def array(self) -> Any:
        return np.ones(LARGE)

    def keep(self, value: Any) -> int:
        self.kept = value
        return os.getpid()

    def rows(self) -> int:
        return len(current().owner.rows)

    def pid(self) -> int:
        return os.getpid()


# ------------------------------------------------------------------ references


def test_overlapping_calls_of_one_actor_are_one_user_of_an_object() -> None:
    @zfut.remote
    class Overlaps:
        def __init__(self) -> None:
            self.gates = [asyncio.Event() for _ in range(3)]

        async def use(self, boxed: list[Any], n: int) -> Any:
            await self.gates[n].wait()
            return await boxed[0]

        async def let(self, n: int) -> None:
            self.gates[n].set()

    actor, ref = Overlaps.remote(), zfut.put("used by three")
    name = ref.binary()
    calls = [actor.use.remote([ref], n) for n in range(3)]
    del ref
    for n in (1, 2, 0):
        zfut.get(actor.let.remote(n), timeout=WAIT_S)
        assert zfut.get(calls[n], timeout=WAIT_S) == "used by three"
        assert n == 0 or len(owned()[name].borrowers or {}) <= 1
    until(lambda: name not in owned(), "nobody uses it any more")


def test_a_value_with_ten_thousand_references_is_dropped_unread() -> None:
    maker = Maker.remote()
    before = zfut.get(maker.rows.remote(), timeout=WAIT_S)
    ref = maker.many.remote(10_000)
    zfut.wait([ref], timeout=WAIT_S)
    del ref
    until(lambda: zfut.get(maker.rows.remote()) <= before, "all of them are let go")
    assert len(zfut.get(maker.many.remote(10), timeout=WAIT_S)) == 10


def test_a_captured_reference_lives_as_long_as_the_function_wherever_it_is_called() -> None:
    def capture(held: Any) -> Any:
        inner = zfut.remote(num_cpus=0)(lambda: zfut.get(held))

        @zfut.remote(num_cpus=0)
        def nested(levels: int) -> Any:
            if levels:
                return zfut.get(nested_in[0].remote(levels - 1))
            return zfut.get(inner.remote())

        nested_in = [nested]
        return inner, nested

    ref = zfut.put("captured")
    name = ref.binary()
    inner, nested = capture(ref)
    del ref
    calls = [inner.remote(), nested.remote(0), nested.remote(2)]
    assert zfut.get(calls, timeout=WAIT_S) == ["captured"] * 3
    assert name in owned()
    del calls, inner, nested
    for worker in zfut.nodes()[0]["workers"]:  # workers keep functions until they end
        os.kill(worker["pid"], signal.SIGKILL)
    gc.collect()
    until(lambda: name not in owned(), "the functions are gone")


def test_references_in_cycles_are_let_go_by_the_collector_of_any_thread() -> None:
    class Ring:
        def __init__(self, ref: Any) -> None:
            self.ref, self.me = ref, self

    over = threading.Event()

    def collect() -> None:
        while not over.is_set():
            gc.collect()

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        names = []
        for n in range(200):
            ring = Ring(zfut.put(n))
            names.append(ring.ref.binary())
            assert zfut.get(same.remote(ring.ref), timeout=WAIT_S) == n
        del ring
        until(lambda: not {*names} & {*owned()}, "all of them are let go")
    finally:
        over.set()
        collector.join()


def test_what_a_wait_names_is_freed_and_dropped_by_other_threads(tmp_path: Path) -> None:
    """Freed, it is ready, with an error; dropped, it is held by the wait itself."""
    gates = fifo(tmp_path / "one"), fifo(tmp_path / "two")

    @zfut.remote(num_cpus=0)
    def behind(gate: Path) -> str:
        gate.read_bytes()
        return "made"

    freed, dropped = (behind.remote(gate) for gate in gates)
    names = [freed.binary(), dropped.binary()]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(zfut.wait, [freed], timeout=WAIT_S)
        second = pool.submit(zfut.wait, [dropped], timeout=WAIT_S)
        until(lambda: all(owned()[name].waiters for name in names), "both wait")
        zfut.free(freed)
        gates[0].write_bytes(b"")
        assert first.result(WAIT_S) == ([freed], [])
        with pytest.raises(ObjectFreedError):
            zfut.get(freed, timeout=WAIT_S)
        del dropped
        assert names[1] in owned()
        gates[1].write_bytes(b"")
        (ready,), _ = second.result(WAIT_S)
    assert zfut.get(ready, timeout=WAIT_S) == "made"


# ------------------------------------------------------------------ owners and readers that die


def test_a_value_that_is_mapped_already_outlives_its_owner() -> None:
    maker = Maker.remote()
    inner = zfut.get(maker.put.remote(np.full(LARGE, 8.0)), timeout=WAIT_S)[0]
    array = zfut.get(inner, timeout=WAIT_S)
    pid = zfut.get(maker.pid.remote(), timeout=WAIT_S)
    other = zfut.get(maker.put.remote(np.ones(LARGE)), timeout=WAIT_S)[0]
    os.kill(pid, signal.SIGKILL)
    assert ended(pid)
    with pytest.raises(OwnerDiedError):
        zfut.get(other, timeout=WAIT_S)
    others = [zfut.put(np.zeros(LARGE)) for _ in range(50)]
    assert (array == 8).all(), "its memory was given to nobody else"
    del others


def test_a_reader_that_dies_lets_its_view_go() -> None:
    reader, ref = Maker.remote(), zfut.put(np.ones(LARGE))
    name = ref.binary()
    pid = zfut.get(reader.keep.remote(ref), timeout=WAIT_S)
    del ref
    assert name in owned(), "the view is a use"
    os.kill(pid, signal.SIGKILL)
    until(lambda: name not in owned(), "the view is gone with its process")


# ------------------------------------------------------------------ small and large


def stored(ref: Any) -> bool:
    return isinstance(owned()[ref.binary()].value, Stored)


def test_the_largest_inline_value_and_the_smallest_stored_one() -> None:
    limit = current().config.inline_max_bytes
    spare = limit - serialize.pack(b"x" * limit, "it").size_bytes
    for size, is_stored in ((0, False), (limit + spare, False), (limit + spare + 1, True)):
        for ref in (zfut.put(b"x" * size), same.remote(b"x" * size)):
            assert zfut.get(ref, timeout=WAIT_S) == b"x" * size
            assert stored(ref) is is_stored, size
    empty = zfut.put(np.zeros(0))
    assert zfut.get(same.remote(empty), timeout=WAIT_S).shape == (0,)


def test_results_of_one_call_that_are_too_much_for_a_message_lie_in_the_store() -> None:
    @zfut.remote(num_returns=30)
    def thirty(size: int) -> list[bytes]:
        return [bytes([n]) * size for n in range(30)]

    refs = thirty.remote(99 * 1024)
    assert zfut.get(refs, timeout=WAIT_S) == [bytes([n]) * 99 * 1024 for n in range(30)]
    inline = [ref for ref in refs if not stored(ref)]
    assert 0 < len(inline) * 99 * 1024 <= current().config.inline_sum_max_bytes
    many = [same.remote(bytes(99 * 1024)) for _ in range(500)]
    assert all(len(value) == 99 * 1024 for value in zfut.get(many, timeout=WAIT_S))


# ------------------------------------------------------------------ lost values


def test_a_small_argument_is_kept_for_what_was_made_from_it() -> None:
    small = same.remote(4)
    made = larger.remote(small)
    zfut.wait([made], timeout=WAIT_S)
    del small
    lose(made)
    assert zfut.get(made, timeout=WAIT_S)[0] == 4


@pytest.mark.parametrize("restarts", [0, 3])
def test_a_lost_result_of_an_actor_that_has_ended_says_so(restarts: int) -> None:
    maker = Maker.options(max_restarts=restarts).remote()
    ref = maker.array.options(max_task_retries=3).remote()
    zfut.wait([ref], timeout=WAIT_S)
    pid = zfut.get(maker.pid.remote(), timeout=WAIT_S)
    del maker
    assert ended(pid)
    assert zfut.get(ref, timeout=WAIT_S).sum() == LARGE, "it lies in the node's store"
    lose(ref)
    with pytest.raises(ReconstructionFailedError, match="its actor is gone"):
        zfut.get(ref, timeout=WAIT_S)


# ------------------------------------------------------------------ calls in a ring, and cancelling


def test_plain_actors_that_call_each_other_in_a_ring_wait_for_ever_or_time_out() -> None:
    @zfut.remote
    class Ring:
        def through(self, other: Any, me: Any) -> str:
            return zfut.get(other.back.remote(me))

        def back(self, first: Any) -> str:
            try:
                zfut.get(first.hello.remote(), timeout=0.2)
            except GetTimeoutError as error:
                return str(error)
            return "answered"

        def hello(self) -> None:
            return

    one, two = Ring.remote(), Ring.remote()
    told = zfut.get(one.through.remote(two, one), timeout=WAIT_S)
    assert "Ring.hello()" in told
    assert zfut.get(one.hello.remote(), timeout=WAIT_S) is None, "it serves again"


def test_cancelling_a_task_spares_what_another_of_its_worker_submitted(tmp_path: Path) -> None:
    @zfut.remote(num_cpus=0)
    def child(begun: Path, until_told: Path) -> str:
        begun.write_bytes(b"")
        until_told.read_bytes()
        return "went on"

    @zfut.remote
    class Worker:
        """One process whose calls are tasks' parents."""

        def leave(self, begun: Path, until_told: Path) -> list[Any]:
            self.child = child.remote(begun, until_told)
            return [self.child]

        async def wait(self, begun: Path, until_told: Path) -> Any:
            return await child.remote(begun, until_told)

    worker = Worker.remote()
    paths = [fifo(tmp_path / name) for name in ("b1", "u1", "b2", "u2")]
    left = zfut.get(worker.leave.remote(*paths[:2]), timeout=WAIT_S)[0]
    paths[0].read_bytes()
    waits = worker.wait.remote(*paths[2:])
    paths[2].read_bytes()
    zfut.cancel(waits)
    with pytest.raises(TaskCancelledError):
        zfut.get(waits, timeout=WAIT_S)
    paths[1].write_bytes(b"")
    assert zfut.get(left, timeout=WAIT_S) == "went on"
