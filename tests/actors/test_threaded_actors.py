"""Actors whose calls run on several threads."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

import zfut
from tests.cluster.leftovers import ended, until
from zfut.errors import ActorDiedError, OptionError, TaskCancelledError

pytestmark = pytest.mark.cluster


@zfut.remote(max_concurrency=4)
class Pool:
    """Blocks where it is told to."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.lock = threading.Lock()
        self.inside = 0
        self.most = 0
        self.began: list[object] = []
        self.local = threading.local()

    def enter(self, value: object = None) -> object:
        with self.lock:
            self.began.append(value)
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.open.wait()
        with self.lock:
            self.inside -= 1
        return value

    def lift(self) -> None:
        self.open.set()

    def state(self) -> tuple[list[object], int, int]:
        with self.lock:
            return list(self.began), self.inside, self.most

    def get(self, ref: list[Any]) -> object:
        return zfut.get(ref[0], timeout=20)

    def thread(self) -> int:
        return threading.get_ident()

    def pid(self) -> int:
        return os.getpid()

    def leave(self) -> None:
        zfut.exit_actor()

    def exit_process(self) -> None:
        raise SystemExit(5)

    def name(self) -> str:
        return zfut.get_runtime_context().task_name

    def crunch(self, ref: list[Any], rounds: int) -> int:
        @zfut.remote
        def double(n: int) -> int:
            return 2 * n

        total = 0
        for n in range(rounds):
            total += zfut.get(double.remote(n), timeout=20)
        return total + zfut.get(ref[0], timeout=20)


def test_as_many_calls_at_once_as_there_are_threads() -> None:
    pool = Pool.remote()
    blocked = [pool.enter.remote(n) for n in range(3)]
    until(lambda: zfut.get(pool.state.remote())[1] == 3, "three calls are inside")
    zfut.get(pool.lift.remote())
    assert zfut.get(blocked, timeout=20) == [0, 1, 2]


def test_no_more_calls_at_once_than_threads_and_they_begin_in_order() -> None:
    pool = Pool.remote()
    blocked = [pool.enter.remote(n) for n in range(4)]
    lift = pool.lift.remote()
    assert zfut.wait([lift, *blocked], timeout=0.1)[0] == []
    zfut.kill(pool)
    with pytest.raises(ActorDiedError):
        zfut.get(lift, timeout=20)
    pool = Pool.options(max_concurrency=2).remote()
    zfut.get(pool.lift.remote())
    zfut.get([pool.enter.remote(n) for n in range(100)], timeout=20)
    began, inside, most = zfut.get(pool.state.remote())
    assert sorted(began) == list(range(100))
    assert inside == 0
    assert most <= 2


def test_the_threads_wait_for_values_at_the_same_time() -> None:
    gate, pool = Pool.remote(), Pool.remote()
    pending = gate.enter.remote("value")
    waiting = [pool.get.remote([pending]) for _ in range(3)]
    assert zfut.get(pool.thread.remote(), timeout=20)
    zfut.get(gate.lift.remote())
    assert zfut.get(waiting, timeout=20) == ["value"] * 3


def test_every_thread_submits_and_gets() -> None:
    pool = Pool.remote()
    seven = zfut.put(7)
    totals = [pool.crunch.remote([seven], 20) for _ in range(12)]
    assert zfut.get(totals, timeout=40) == [sum(2 * n for n in range(20)) + 7] * 12


def test_the_context_belongs_to_the_call() -> None:
    pool = Pool.remote()
    assert set(zfut.get([pool.name.remote() for _ in range(20)])) == {"Pool.name"}


def test_two_threaded_actors_wait_for_each_other() -> None:
    @zfut.remote(max_concurrency=60)
    class Peer:
        def meet(self, other: Any) -> None:
            self.other = other

        def down(self, n: int) -> int:
            return 0 if n == 0 else 1 + zfut.get(self.other.down.remote(n - 1), timeout=20)

    one, two = Peer.remote(), Peer.remote()
    zfut.get([one.meet.remote(two), two.meet.remote(one)])
    assert zfut.get(one.down.remote(40), timeout=30) == 40
    zfut.get([one.meet.remote(None), two.meet.remote(None)])


def test_threads_that_user_code_starts_may_wait_too() -> None:
    @zfut.remote
    class Starter:
        def start(self, refs: list[Any]) -> None:
            self.got: list[object] = []
            self.threads = [
                threading.Thread(target=lambda ref=ref: self.got.append(zfut.get(ref)))
                for ref in refs
            ]
            for thread in self.threads:
                thread.start()

        def add(self, n: int) -> int:
            return n + 1

        def join(self) -> list[object]:
            for thread in self.threads:
                thread.join(20)
            return self.got

    gate, starter = Pool.remote(), Starter.remote()
    pending = [gate.enter.remote(n) for n in range(3)]
    zfut.get(starter.start.remote(pending), timeout=20)
    assert zfut.get([starter.add.remote(n) for n in range(300)]) == list(range(1, 301))
    for n in range(100):
        assert zfut.get(starter.add.remote(n), timeout=20) == n + 1
    zfut.get(gate.lift.remote())
    assert sorted(zfut.get(starter.join.remote(), timeout=20)) == [0, 1, 2]


def test_an_error_in_one_thread_is_its_callers() -> None:
    @zfut.remote(max_concurrency=3)
    class Fragile:
        def divide(self, n: int) -> float:
            return 1 / n

    fragile = Fragile.remote()
    refs = [fragile.divide.remote(n % 2) for n in range(20)]
    for n, ref in enumerate(refs):
        if n % 2:
            assert zfut.get(ref) == 1.0
        else:
            with pytest.raises(ZeroDivisionError):
                zfut.get(ref)


def test_a_call_that_has_not_begun_can_be_cancelled() -> None:
    pool = Pool.options(max_concurrency=2).remote()
    blocked = [pool.enter.remote(n) for n in range(2)]
    queued = pool.enter.remote("queued")
    zfut.cancel(queued)
    with pytest.raises(TaskCancelledError):
        zfut.get(queued, timeout=20)
    assert zfut.wait(blocked, timeout=0)[0] == []
    zfut.kill(pool)
    with pytest.raises(ActorDiedError):
        zfut.get(blocked, timeout=20)


def test_exit_actor_in_one_thread_ends_the_calls_of_the_others() -> None:
    pool = Pool.remote()
    pid = zfut.get(pool.pid.remote())
    blocked = [pool.enter.remote(n) for n in range(3)]
    until(lambda: zfut.get(pool.state.remote())[1] == 3, "three calls are inside")
    last = pool.leave.remote()
    for ref in (last, *blocked):
        with pytest.raises(ActorDiedError) as caught:
            zfut.get(ref, timeout=20)
        assert caught.value.reason == "exit_actor"
    assert ended(pid)


def test_system_exit_in_one_thread_is_the_end_of_the_worker() -> None:
    pool = Pool.remote()
    blocked, gone = pool.enter.remote(), pool.exit_process.remote()
    for ref in (gone, blocked):
        with pytest.raises(ActorDiedError, match="code 5"):
            zfut.get(ref, timeout=20)


def test_a_threaded_actor_ends_with_its_last_handle_after_its_calls(tmp_path: Path) -> None:
    @zfut.remote(max_concurrency=3)
    class Writer:
        def pid(self) -> int:
            return os.getpid()

        def write(self, gate: Path, out: Path) -> None:
            until(gate.exists, "the gate is open")
            out.touch()

        def on_exit(self) -> None:
            (self_path / "exit").touch()

    self_path = tmp_path
    writer = Writer.remote()
    pid = zfut.get(writer.pid.remote())
    refs = [writer.write.remote(tmp_path / "gate", tmp_path / str(n)) for n in range(3)]
    del refs, writer
    (tmp_path / "gate").touch()
    assert ended(pid)
    assert {file.name for file in tmp_path.iterdir()} == {"gate", "exit", "0", "1", "2"}


def test_max_concurrency_is_a_whole_number_from_one() -> None:
    for wrong in (0, -1, 1.5, "2", True):
        with pytest.raises(OptionError, match="max_concurrency"):
            Pool.options(max_concurrency=wrong)
