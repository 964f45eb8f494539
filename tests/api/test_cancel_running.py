"""Cancelling what runs: an interrupt, a kill if forced, and what the task submitted itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import zfut
from tests.cluster.leftovers import until as eventually
from zfut.errors import OptionError, TaskCancelledError

pytestmark = pytest.mark.cluster

WAIT_S = 20


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def wait_for(path: Path) -> None:
    """Wait until somebody opens the other end of a pipe."""
    path.read_bytes()


@zfut.remote
def compute(begun: Path) -> int:
    begun.write_bytes(b"")
    while True:
        sum(range(100))


@zfut.remote
def one() -> int:
    return 1


def test_a_task_that_computes_is_interrupted(tmp_path: Path) -> None:
    begun = fifo(tmp_path / "begun")
    ref = compute.remote(begun)
    wait_for(begun)
    zfut.cancel(ref)
    with pytest.raises(TaskCancelledError, match=r"compute\(\) was cancelled"):
        zfut.get(ref, timeout=WAIT_S)
    assert zfut.get(one.remote(), timeout=WAIT_S) == 1


def test_a_task_that_sleeps_or_waits_in_get_is_interrupted(tmp_path: Path) -> None:
    @zfut.remote
    def sleep(begun: Path) -> None:
        begun.write_bytes(b"")
        time.sleep(1000)

    @zfut.remote
    def get(begun: Path, inner: list[Any]) -> None:
        begun.write_bytes(b"")
        zfut.get(inner[0])

    begun = fifo(tmp_path / "begun")
    slow = sleep.remote(begun)
    wait_for(begun)
    waits = get.remote(begun, [slow])
    wait_for(begun)
    zfut.cancel(waits)
    with pytest.raises(TaskCancelledError):
        zfut.get(waits, timeout=WAIT_S)
    zfut.cancel(slow)
    with pytest.raises(TaskCancelledError):
        zfut.get(slow, timeout=WAIT_S)


def test_a_task_may_clean_up_and_its_worker_lives_on(tmp_path: Path) -> None:
    @zfut.remote
    def careful(begun: Path, cleaned: Path) -> None:
        try:
            begun.write_bytes(b"")
            time.sleep(1000)
        finally:
            cleaned.write_text(str(os.getpid()))

    begun, cleaned = fifo(tmp_path / "begun"), tmp_path / "cleaned"
    ref = careful.remote(begun, cleaned)
    wait_for(begun)
    zfut.cancel(ref)
    with pytest.raises(TaskCancelledError):
        zfut.get(ref, timeout=WAIT_S)
    os.kill(int(cleaned.read_text()), 0)


def test_a_task_that_will_not_end_is_killed_by_force_and_never_tried_again(
    tmp_path: Path,
) -> None:
    @zfut.remote(max_retries=5)
    def stubborn(begun: Path, runs: Path) -> None:
        with runs.open("a") as file:
            file.write("run\n")
        begun.write_bytes(b"")
        while True:
            try:
                time.sleep(1000)
            except KeyboardInterrupt:
                begun.write_bytes(b"")

    begun, runs = fifo(tmp_path / "begun"), tmp_path / "runs"
    ref = stubborn.remote(begun, runs)
    wait_for(begun)
    zfut.cancel(ref)
    wait_for(begun)  # it was interrupted, and goes on
    assert zfut.wait([ref], timeout=0) == ([], [ref])
    zfut.cancel(ref, force=True)
    with pytest.raises(TaskCancelledError):
        zfut.get(ref, timeout=WAIT_S)
    assert runs.read_text() == "run\n"


def test_each_cancel_interrupts_again(tmp_path: Path) -> None:
    @zfut.remote
    def stubborn(begun: Path) -> int:
        for caught in range(3):
            try:
                begun.write_bytes(b"")
                time.sleep(1000)
            except KeyboardInterrupt:
                continue
            return caught
        return 3

    begun = fifo(tmp_path / "begun")
    ref = stubborn.remote(begun)
    for _ in range(3):
        wait_for(begun)
        zfut.cancel(ref)
    assert zfut.get(ref, timeout=WAIT_S) == 3


def test_an_interrupt_that_comes_in_a_finaliser_waits_for_its_end(tmp_path: Path) -> None:
    @zfut.remote
    def finalises(begun: Path, cleaned: Path) -> None:
        class Waits:
            def __del__(self) -> None:
                heard, tell = os.pipe()
                os.set_blocking(tell, False)
                signal.set_wakeup_fd(tell)
                begun.write_bytes(b"")
                os.read(heard, 1)  # until the signal is here
                signal.set_wakeup_fd(-1)
                cleaned.write_text("to the end")

        Waits()
        time.sleep(1000)

    begun, cleaned = fifo(tmp_path / "begun"), tmp_path / "cleaned"
    ref = finalises.remote(begun, cleaned)
    wait_for(begun)
    zfut.cancel(ref)
    with pytest.raises(TaskCancelledError):
        zfut.get(ref, timeout=WAIT_S)
    assert cleaned.read_text() == "to the end"


def test_tasks_that_do_nothing_but_drop_references_are_interrupted_and_leave_none(
    tmp_path: Path,
) -> None:
    @zfut.remote
    def drops(begun: Path, given: list[Any]) -> None:
        begun.write_bytes(b"")
        while True:
            refs = [zfut.put(0) for _ in range(100)]
            refs.append(zfut.get(given[0])[0])
            del refs

    begun = fifo(tmp_path / "begun")
    for _ in range(100):  # afterwards nothing is left that a worker borrows
        ref = drops.remote(begun, [zfut.put([zfut.put(b"." * 200_000)])])
        wait_for(begun)
        zfut.cancel(ref)
        with pytest.raises(TaskCancelledError):
            zfut.get(ref, timeout=WAIT_S)


def test_what_was_queued_behind_a_killed_task_runs_without_losing_a_retry(
    tmp_path: Path,
) -> None:
    @zfut.remote
    def spin(begun: Path | None) -> int:
        if begun is not None:
            begun.write_bytes(b"")
            time.sleep(1000)
        return 7

    begun = fifo(tmp_path / "begun")
    zfut.get([spin.remote(None) for _ in range(200)])  # it is known to be short
    slow = [spin.remote(begun) for _ in range(2)]  # on both CPUs
    behind = [spin.remote(None) for _ in range(50)]
    wait_for(begun)
    for ref in slow:
        zfut.cancel(ref, force=True)
    assert zfut.get(behind, timeout=WAIT_S) == [7] * 50
    for ref in slow:
        with pytest.raises(TaskCancelledError):
            zfut.get(ref, timeout=WAIT_S)


@pytest.mark.parametrize("recursive", [True, False])
def test_children_end_with_their_parent_unless_asked_otherwise(
    tmp_path: Path, *, recursive: bool
) -> None:
    @zfut.remote(num_cpus=0)
    def child(begun: Path, until: Path, ended: Path) -> None:
        try:
            begun.write_bytes(b"")
            until.read_bytes()
            ended.write_text("value")
        except KeyboardInterrupt:
            ended.write_text("interrupted")
            raise

    @zfut.remote
    def parent(begun: Path, until: Path, ended: Path) -> None:
        zfut.get(child.remote(begun, until, ended))

    begun, until, ended = fifo(tmp_path / "begun"), fifo(tmp_path / "until"), tmp_path / "ended"
    ref = parent.remote(begun, until, ended)
    wait_for(begun)
    zfut.cancel(ref, recursive=recursive)
    with pytest.raises(TaskCancelledError):
        zfut.get(ref, timeout=WAIT_S)
    if not recursive:
        until.write_bytes(b"")
    eventually(ended.exists, "the child ended")
    eventually(lambda: ended.read_text() == ("interrupted" if recursive else "value"), "so")


def test_a_borrower_may_cancel(tmp_path: Path) -> None:
    @zfut.remote(num_cpus=0)
    def end(refs: list[Any]) -> None:
        zfut.cancel(refs[0])

    begun = fifo(tmp_path / "begun")
    ref = compute.remote(begun)
    wait_for(begun)
    zfut.get(end.remote([ref]), timeout=WAIT_S)
    with pytest.raises(TaskCancelledError):
        zfut.get(ref, timeout=WAIT_S)


def test_a_coroutine_of_an_actor_is_cancelled_and_the_others_go_on() -> None:
    @zfut.remote
    class Waits:
        def __init__(self) -> None:
            self.open = asyncio.Event()
            self.cleaned = 0

        async def forever(self) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                self.cleaned += 1

        async def until_open(self) -> int:
            await self.open.wait()
            return self.cleaned

        async def let(self) -> None:
            self.open.set()

        async def ready(self) -> None:
            return

    actor = Waits.remote()
    slow, other = actor.forever.remote(), actor.until_open.remote()
    zfut.get(actor.ready.remote())
    zfut.cancel(slow)
    with pytest.raises(TaskCancelledError):
        zfut.get(slow, timeout=WAIT_S)
    actor.let.remote()
    assert zfut.get(other, timeout=WAIT_S) == 1


class OpensUntilCancelled:
    def __init__(self, begun: Path) -> None:
        self.begun = begun

    def __reduce__(self) -> Any:
        return open_until_cancelled, (self.begun,)


def open_until_cancelled(begun: Path) -> None:
    begun.write_bytes(b"")
    while not zfut.get_runtime_context().cancelled:
        time.sleep(0.001)


def test_a_coroutine_that_is_cancelled_before_its_first_step_is_answered(
    tmp_path: Path,
) -> None:
    @zfut.remote
    class Waits:
        async def forever(self, given: object) -> object:
            await asyncio.sleep(1000)
            return given

        async def one(self) -> int:
            return 1

    actor, begun = Waits.remote(), fifo(tmp_path / "begun")
    ref = actor.forever.remote(OpensUntilCancelled(begun))
    wait_for(begun)
    zfut.cancel(ref)
    with pytest.raises(TaskCancelledError):
        zfut.get(ref, timeout=WAIT_S)
    assert zfut.get(actor.one.remote(), timeout=WAIT_S) == 1


def test_a_method_is_only_told_and_forcing_it_is_an_error(tmp_path: Path) -> None:
    @zfut.remote
    class Polite:
        def work(self, begun: Path) -> str:
            begun.write_bytes(b"")
            while not zfut.get_runtime_context().cancelled:
                sum(range(100))
            return "stopped when asked"

        def again(self) -> bool:
            return zfut.get_runtime_context().cancelled

    begun = fifo(tmp_path / "begun")
    actor = Polite.remote()
    ref = actor.work.remote(begun)
    wait_for(begun)
    with pytest.raises(OptionError, match=r"zfut\.kill"):
        zfut.cancel(ref, force=True)
    zfut.cancel(ref)
    assert zfut.get(ref, timeout=WAIT_S) == "stopped when asked"
    assert zfut.get(actor.again.remote()) is False


def test_an_interrupt_from_elsewhere_means_nothing_to_a_worker(tmp_path: Path) -> None:
    @zfut.remote
    def pid(begun: Path, until: Path) -> int:
        begun.write_bytes(str(os.getpid()).encode())
        until.read_bytes()
        return 3

    begun, until = fifo(tmp_path / "begun"), fifo(tmp_path / "until")
    ref = pid.remote(begun, until)
    os.kill(int(begun.read_bytes()), signal.SIGINT)
    until.write_bytes(b"")
    assert zfut.get(ref, timeout=WAIT_S) == 3


def test_a_thousand_cancels_at_any_moment_leave_every_worker_whole() -> None:
    @zfut.remote
    def tiny(n: int) -> int:
        return sum(range(n % 500))

    for n in range(1000):
        ref = tiny.remote(n)
        if n % 3:
            zfut.wait([ref], timeout=n % 7 / 20_000)
        zfut.cancel(ref)
        with contextlib.suppress(TaskCancelledError):
            assert zfut.get(ref, timeout=WAIT_S) == sum(range(n % 500))
    assert zfut.get([tiny.remote(n) for n in range(100)]) == [sum(range(n)) for n in range(100)]
