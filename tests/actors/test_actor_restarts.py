"""Actors that live again: calls kept in order, at most once unless asked, never two lives at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zfut
from zfut.errors import ActorDiedError, ActorUnavailableError, OptionError, OwnerDiedError

pytestmark = pytest.mark.cluster

WAIT_S = 20


@zfut.remote(max_restarts=-1)
class Counter:
    """Says which process it is in, and counts what this life was asked."""

    def __init__(self, start: Any = 0) -> None:
        self.count = start

    def pid(self) -> int:
        return os.getpid()

    def add(self) -> int:
        self.count += 1
        return self.count  # type: ignore[no-any-return]

    def log(self, path: Path, entry: int) -> int:
        with path.open("a") as file:
            file.write(f"{os.getpid()} {entry}\n")
        return entry

    def log_and_die_once(self, path: Path, entry: int) -> int:
        first = not path.exists() or f" {entry}\n" not in path.read_text()
        self.log(path, entry)
        if first:
            os.kill(os.getpid(), signal.SIGKILL)
        return entry

    def block(self, begun: Path, until: Path) -> str:
        begun.write_bytes(b"")
        until.read_bytes()
        return "done"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_an_actor_lives_again_with_its_first_arguments_and_without_its_state() -> None:
    start = zfut.put(100)
    counter = Counter.remote(start)
    del start
    assert zfut.get([counter.add.remote() for _ in range(3)]) == [101, 102, 103]
    first = zfut.get(counter.pid.remote())
    kill(first)
    patient = counter.add.options(max_task_retries=-1)
    assert zfut.get(patient.remote(), timeout=WAIT_S) == 101
    assert zfut.get(counter.pid.remote(), timeout=WAIT_S) != first


def test_a_large_constructor_argument_is_kept_for_the_next_life() -> None:
    @zfut.remote(max_restarts=2, max_task_retries=-1)
    class Holder:
        def __init__(self, array: Any) -> None:
            self.array = array

        def total(self) -> int:
            return int(self.array.sum())

        def pid(self) -> int:
            return os.getpid()

    holder = Holder.remote(np.ones(1 << 20))
    for _ in range(2):
        kill(zfut.get(holder.pid.remote(), timeout=WAIT_S))
        assert zfut.get(holder.total.remote(), timeout=WAIT_S) == 1 << 20
    kill(zfut.get(holder.pid.remote(), timeout=WAIT_S))
    with pytest.raises(ActorDiedError, match="its process died"):
        zfut.get(holder.total.remote(), timeout=WAIT_S)


def test_calls_that_may_be_sent_again_are_in_their_order_ahead_of_newer_ones(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    counter = Counter.remote()
    again = counter.log.options(max_task_retries=3)
    refs = [again.remote(log, n) for n in range(5)]
    refs.append(counter.log_and_die_once.options(max_task_retries=3).remote(log, 5))
    refs += [again.remote(log, n) for n in range(6, 30)]
    assert zfut.get(refs, timeout=WAIT_S) == list(range(30))
    entries = [int(line.split()[1]) for line in log.read_text().splitlines()]
    second = entries[entries.index(5) + 1 :]
    assert second == sorted(second), "a life has its calls in order"
    assert second[-25:] == list(range(5, 30))


def test_a_call_without_retries_runs_at_most_once_and_says_that_it_may_have_run(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    counter = Counter.remote()
    ref = counter.log_and_die_once.remote(log, 1)
    with pytest.raises(ActorUnavailableError, match="may or may not have run"):
        zfut.get(ref, timeout=WAIT_S)
    assert len(log.read_text().splitlines()) == 1
    assert zfut.get(counter.add.options(max_task_retries=-1).remote(), timeout=WAIT_S) == 1


def test_other_processes_that_call_it_find_its_next_life(tmp_path: Path) -> None:
    @zfut.remote(num_cpus=0)
    def use(counter: Any, begun: Path, until: Path) -> tuple[int, int]:
        before = zfut.get(counter.pid.remote())
        begun.write_bytes(b"")
        until.read_bytes()
        return before, zfut.get(counter.pid.options(max_task_retries=-1).remote())

    begun, until = tmp_path / "begun", tmp_path / "until"
    os.mkfifo(begun)
    os.mkfifo(until)
    counter = Counter.remote()
    ref = use.remote(counter, begun, until)
    begun.read_bytes()
    kill(zfut.get(counter.pid.remote()))
    until.write_bytes(b"")
    before, after = zfut.get(ref, timeout=WAIT_S)
    assert before != after == zfut.get(counter.pid.remote(), timeout=WAIT_S)


def test_kill_ends_it_for_good_unless_a_restart_is_asked_for() -> None:
    counter = Counter.remote()
    first = zfut.get(counter.pid.remote())
    zfut.kill(counter, no_restart=False)
    pid = counter.pid.options(max_task_retries=-1)
    second = zfut.get(pid.remote(), timeout=WAIT_S)
    assert second != first
    zfut.kill(counter)
    with pytest.raises(ActorDiedError, match=r"zfut\.kill"):
        zfut.get(pid.remote(), timeout=WAIT_S)


def test_it_does_not_come_back_from_exit_actor_or_a_failing_constructor(tmp_path: Path) -> None:
    @zfut.remote(max_restarts=-1, max_task_retries=-1)
    class Once:
        def __init__(self, mark: Path) -> None:
            if mark.exists():
                raise RuntimeError(mark.name)
            mark.touch()

        def pid(self) -> int:
            return os.getpid()

        def leave(self) -> None:
            zfut.exit_actor()

    left = Once.remote(tmp_path / "first")
    with pytest.raises(ActorDiedError, match="exit_actor"):
        zfut.get(left.leave.remote(), timeout=WAIT_S)
    failing = Once.remote(tmp_path / "second")
    kill(zfut.get(failing.pid.remote()))
    with pytest.raises(ActorDiedError, match="its constructor failed") as caught:
        zfut.get(failing.pid.remote(), timeout=WAIT_S)
    assert caught.value.reason == "restart failed"
    assert isinstance(caught.value.__cause__ or caught.value.cause, RuntimeError)


def test_it_is_not_said_of_an_actor_that_has_lived_that_it_never_did() -> None:
    @zfut.remote
    def owner() -> list[Any]:
        return [zfut.put(5), os.getpid()]

    @zfut.remote(max_restarts=2, max_task_retries=2)
    class Reader:
        def __init__(self, inside: list[Any]) -> None:
            self.value = zfut.get(inside[0])

        def pid(self) -> int:
            return os.getpid()

    ref, owners = zfut.get(owner.remote())
    reader = Reader.remote([ref])
    pid = zfut.get(reader.pid.remote())
    kill(owners)
    kill(pid)
    for _ in range(2):
        with pytest.raises(ActorDiedError, match="could not be restarted") as caught:
            zfut.get(reader.pid.remote(), timeout=WAIT_S)
        assert caught.value.reason == "restart failed"
        assert isinstance(caught.value.cause, OwnerDiedError)


def test_a_named_actor_is_found_in_its_next_life() -> None:
    counter = Counter.options(name="phoenix").remote()
    kill(zfut.get(counter.pid.remote()))
    found = zfut.get_actor("phoenix")
    assert zfut.get(found.add.options(max_task_retries=-1).remote(), timeout=WAIT_S) == 1


def test_handles_dropped_while_it_restarts_end_it() -> None:
    for _ in range(5):
        counter = Counter.remote()
        kill(zfut.get(counter.pid.remote()))
        del counter


def test_a_coroutine_actor_lives_again() -> None:
    @zfut.remote(max_restarts=1, max_task_retries=1)
    class Soft:
        async def pid(self) -> int:
            return os.getpid()

    soft = Soft.remote()
    first = zfut.get(soft.pid.remote())
    kill(first)
    assert zfut.get(soft.pid.remote(), timeout=WAIT_S) != first


@pytest.mark.parametrize("option", ["max_restarts", "max_task_retries"])
def test_absurd_numbers_are_refused(option: str) -> None:
    with pytest.raises(OptionError, match=f"{option}=-2"):
        Counter.options(**{option: -2})
