"""Programs, tasks and actors that submit without end: ``remote`` waits when much is unfinished."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import zfut
from tests.api.conftest import Start
from tests.cluster.leftovers import until
from zfut import errors
from zfut.session import Session, current

pytestmark = pytest.mark.cluster
WAIT_S = 60
BOUND = 5
KIB = 1024


@zfut.remote
def same(n: Any) -> Any:
    return n


@zfut.remote
def size_of(data: bytes) -> int:
    return len(data)


@zfut.remote
def behind(gate: Path, n: int) -> int:
    """Return once nobody holds the gate any more."""
    with gate.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
    return n


@zfut.remote
def flood(count: int) -> tuple[int, int]:
    """Submit many tasks; return the sum of their results, and the most that were unfinished."""
    backlog = current().backlog
    refs, most = [], 0
    for n in range(count):
        refs.append(same.remote(n))
        most = max(most, backlog.open_calls)
    return sum(zfut.get(refs)), most


@zfut.remote
def flood_behind(gate: Path) -> int:
    return sum(zfut.get([behind.remote(gate, n) for n in range(3 * BOUND)]))


@zfut.remote
def flood_tree(depth: int) -> int:
    """Submit more than the bound at each of several levels."""
    if not depth:
        return 1
    return sum(zfut.get([flood_tree.remote(depth - 1) for _ in range(BOUND + 1)]))


@zfut.remote
class Flooder:
    """Submits from a coroutine, from a plain method beside it, and from a thread."""

    async def many(self, count: int) -> int:
        refs = [same.remote(n) for n in range(count)]
        return sum([await ref for ref in refs])

    async def in_a_thread(self, count: int) -> int:
        def submit() -> int:
            return sum(zfut.get([same.remote(n) for n in range(count)]))

        return await asyncio.to_thread(submit)


class Gate:
    """A file that tasks wait for without a call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def open(self) -> None:
        """Let everybody through."""
        self._file.close()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path / "gate")
    yield made
    made.open()


def waits(session: Session) -> bool:
    """Whether a thread of this process waits in ``remote``."""
    return bool(session.backlog.waits)


def fill(gate: Gate) -> list[Any]:
    """Submit as many tasks as may be unfinished."""
    return [behind.remote(gate.path, n) for n in range(BOUND)]


# ------------------------------------------------------------------ floods end


@pytest.mark.timeout(180)
def test_a_program_submits_100_000_tasks(start: Start) -> None:
    """The table of its calls stays small, and every result is right."""
    bound = 1000
    session = start(num_cpus=2, pending_calls_max=bound)
    kept: list[Any] = []
    most_calls = most_rows = 0
    for n in range(100_000):
        ref = same.remote(n)
        if n % 100 == 0:
            kept.append(ref)
            most_rows = max(most_rows, len(session.owner.rows) - len(kept))
        most_calls = max(most_calls, session.backlog.open_calls)
    assert zfut.get(ref) == n
    assert zfut.get(kept, timeout=WAIT_S) == list(range(0, 100_000, 100))
    assert most_calls <= bound
    assert most_rows <= 2 * bound, "those that have ended are let go by and by"


def test_several_threads_of_a_program_share_the_bound(start: Start) -> None:
    session = start(num_cpus=2, pending_calls_max=50)
    most = []

    def submit(base: int) -> int:
        refs = []
        for n in range(1000):
            refs.append(same.remote(base + n))
            most.append(session.backlog.open_calls)
        return sum(zfut.get(refs))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(submit, range(0, 4000, 1000))) == sum(range(4000))
    assert max(most) <= 50 + 4


@pytest.mark.parametrize("workers_max", [0, 1], ids=["any processes", "one process"])
def test_a_task_submits_2000_on_one_cpu(start: Start, workers_max: int) -> None:
    """Its CPU runs its children while it waits; with one process they run on top of it."""
    start(num_cpus=1, pending_calls_max=50, workers_max=workers_max)
    total, most = zfut.get(flood.remote(2000), timeout=WAIT_S)
    assert total == sum(range(2000))
    assert most <= 50
    workers = zfut.nodes()[0]["workers"]
    assert len(workers) <= (workers_max or 2)


@pytest.mark.parametrize("workers_max", [0, 1, 2])
def test_tasks_that_flood_submit_tasks_that_flood(start: Start, workers_max: int) -> None:
    start(num_cpus=1, pending_calls_max=BOUND, workers_max=workers_max)
    assert zfut.get(flood_tree.remote(3), timeout=WAIT_S) == (BOUND + 1) ** 3


def test_a_bound_of_one_call(start: Start) -> None:
    """One call is always let through."""
    start(num_cpus=1, pending_calls_max=1, pending_args_max_bytes=1)
    assert zfut.get([same.remote(n) for n in range(20)], timeout=WAIT_S) == list(range(20))
    assert zfut.get(flood.remote(20), timeout=WAIT_S)[0] == sum(range(20))


def test_no_bound(start: Start, gate: Gate) -> None:
    session = start(num_cpus=1, pending_calls_max=0, pending_args_max_bytes=0)
    refs = [behind.remote(gate.path, n) for n in range(1000)]
    session.loop.turn()
    assert session.backlog.open_calls == 1000
    gate.open()
    assert zfut.get(refs, timeout=WAIT_S) == list(range(1000))


def test_the_arguments_of_unfinished_calls_are_bounded(start: Start) -> None:
    session = start(num_cpus=1, pending_args_max_bytes=300 * KIB)
    refs, most = [], 0
    for _ in range(100):
        refs.append(size_of.remote(os.urandom(50 * KIB)))
        session.loop.turn()
        most = max(most, session.backlog.open_bytes)
    assert zfut.get(refs, timeout=WAIT_S) == [50 * KIB] * 100
    assert 100 * KIB < most < 400 * KIB
    assert session.backlog.open_bytes == 0


def test_coroutines_of_an_actor_go_on_and_its_threads_wait(start: Start) -> None:
    start(num_cpus=1, pending_calls_max=BOUND)
    actor = Flooder.remote()
    assert zfut.get(actor.many.remote(500), timeout=WAIT_S) == sum(range(500))
    assert zfut.get(actor.in_a_thread.remote(500), timeout=WAIT_S) == sum(range(500))


# ------------------------------------------------------------------ the wait itself


def test_ctrl_c_ends_the_wait_and_leaves_nothing(start: Start, gate: Gate) -> None:
    session = start(num_cpus=1, pending_calls_max=BOUND)
    refs = fill(gate)

    def interrupt() -> None:
        until(lambda: waits(session), "the main thread waits")
        os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            behind.remote(gate.path, BOUND)
    session.loop.turn()
    assert not waits(session)
    assert session.backlog.open_calls == BOUND
    gate.open()
    assert zfut.get(refs, timeout=WAIT_S) == list(range(BOUND))
    assert zfut.get(same.remote(7), timeout=WAIT_S) == 7


def test_a_shutdown_from_another_thread_ends_the_wait(start: Start, gate: Gate) -> None:
    session = start(num_cpus=1, pending_calls_max=BOUND)
    refs = fill(gate)
    with ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(behind.remote, gate.path, BOUND)
        until(lambda: waits(session), "the other thread waits")
        zfut.shutdown()
        with pytest.raises(errors.SessionError, match="it was shut down"):
            blocked.result(WAIT_S)
    del refs


def test_a_task_that_waits_is_explained_and_can_be_cancelled(start: Start, gate: Gate) -> None:
    start(num_cpus=1, pending_calls_max=BOUND)
    ref = flood_behind.remote(gate.path)
    told = until(lambda: "remote() waits" in (text := ref.explain()) and text, "its task waits")
    assert f"where remote() waits: {BOUND} calls of this process are unfinished" in told
    assert f"(pending_calls_max is {BOUND})" in told
    zfut.cancel(ref)
    with pytest.raises(errors.TaskCancelledError):
        zfut.get(ref, timeout=WAIT_S)
    gate.open()
    assert zfut.get(same.remote(1), timeout=WAIT_S) == 1


def test_a_long_wait_says_so_once(
    start: Start, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    start(num_cpus=1, pending_calls_max=BOUND, log_blocked_get_s=0.1)
    refs = fill(gate)
    with caplog.at_level(logging.WARNING, "zfut"), ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(behind.remote, gate.path, BOUND)
        until(lambda: caplog.records, "it says that it waits")
        gate.open()
        refs.append(blocked.result(WAIT_S))
    (said,) = [record.getMessage() for record in caplog.records if "remote()" in record.message]
    assert "a remote() has waited 0.1 s" in said
    assert (
        f"{BOUND} calls of this process are unfinished (pending_calls_max is {BOUND})" in said
    )
    assert "is made by behind()" in said
    assert zfut.get(refs, timeout=WAIT_S) == list(range(BOUND + 1))


# ------------------------------------------------------------------ who never waits


def test_the_thread_of_an_event_loop_never_waits(start: Start, gate: Gate) -> None:
    session = start(num_cpus=1, pending_calls_max=BOUND)

    async def submit() -> list[int]:
        refs = [behind.remote(gate.path, n) for n in range(3 * BOUND)]
        session.loop.turn()
        assert session.backlog.open_calls == 3 * BOUND
        gate.open()
        return [await ref for ref in refs]

    assert asyncio.run(submit()) == list(range(3 * BOUND))


class Parting:
    """Submits when it goes."""

    def __init__(self, made: list[Any]) -> None:
        self._made = made

    def __del__(self) -> None:
        self._made.append(same.remote("gone"))


class Opened:
    """Submits when it is unpickled."""

    made: Any = None

    def __getstate__(self) -> tuple[int]:
        return (1,)

    def __setstate__(self, _: Any) -> None:
        self.made = same.remote("unpickled")


def test_finalisers_never_wait(start: Start, gate: Gate) -> None:
    session = start(num_cpus=1, pending_calls_max=BOUND)
    made: list[Any] = []
    refs = fill(gate)
    parting = Parting(made)
    del parting
    watched = threading.Event()
    weakref.finalize(watched, lambda: made.append(same.remote("finalised")))
    del watched
    session.loop.turn()
    assert session.backlog.open_calls == BOUND + 2
    gate.open()
    assert zfut.get(refs + made, timeout=WAIT_S) == [*range(BOUND), "gone", "finalised"]


def test_what_is_unpickled_never_waits(start: Start, gate: Gate) -> None:
    session = start(num_cpus=1, pending_calls_max=BOUND)
    stored = zfut.put(Opened())
    refs = fill(gate)
    opened = zfut.get(stored)
    session.loop.turn()
    assert session.backlog.open_calls == BOUND + 1
    gate.open()
    assert zfut.get([*refs, opened.made], timeout=WAIT_S) == [*range(BOUND), "unpickled"]
