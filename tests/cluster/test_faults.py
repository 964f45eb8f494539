"""Processes killed, forked, or without their files: who notices, what is said and left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zfut
from tests.cluster.leftovers import alive, ended, until
from tests.cluster.programs import Processes, Program
from zfut.errors import (
    ActorDiedError,
    OwnerDiedError,
    SessionError,
    UsageError,
    WorkerCrashedError,
)

pytestmark = pytest.mark.cluster

Run = Callable[[str], Program]

GONE_S = 2.0
"""Whatever ends a session, nothing of it lives longer than this."""


def read_pid(file: Path) -> int:
    """Wait for a process to write its pid."""
    return int(until(lambda: file.exists() and file.read_text(), f"{file.name} is written"))


def write_pid(file: Path) -> None:
    """Write this process's pid, whole or not at all."""
    temporary = file.with_suffix(".tmp")
    temporary.write_text(str(os.getpid()))
    temporary.rename(file)


def for_ever() -> None:
    threading.Event().wait()


# ------------------------------------------------------------------ a worker dies


@pytest.mark.usefixtures("session")
def test_a_killed_worker_is_noticed_and_its_task_runs_again(tmp_path: Path) -> None:
    @zfut.remote
    def stubborn() -> int:
        attempt = zfut.get_runtime_context().attempt
        write_pid(tmp_path / str(attempt))
        if attempt < 3:
            for_ever()
        return attempt

    ref = stubborn.remote()
    for attempt in range(3):
        os.kill(read_pid(tmp_path / str(attempt)), signal.SIGKILL)
    assert zfut.get(ref, timeout=20) == 3


@pytest.mark.usefixtures("session")
def test_a_task_that_may_not_run_again_fails_with_the_reason(tmp_path: Path) -> None:
    @zfut.remote(max_retries=0)
    def once() -> None:
        write_pid(tmp_path / "pid")
        for_ever()

    ref = once.remote()
    os.kill(read_pid(tmp_path / "pid"), signal.SIGKILL)
    with pytest.raises(WorkerCrashedError, match=r"once\(\).*SIGKILL"):
        zfut.get(ref, timeout=20)


@pytest.mark.usefixtures("session")
def test_idle_workers_that_are_killed_are_replaced() -> None:
    @zfut.remote
    def pid() -> int:
        return os.getpid()

    old = set(zfut.get([pid.remote() for _ in range(4)]))
    for one in [worker["pid"] for worker in zfut.nodes()[0]["workers"]]:
        os.kill(one, signal.SIGKILL)
        assert ended(one)
    new = set(zfut.get([pid.remote() for _ in range(4)], timeout=20))
    assert not old & new


@pytest.mark.usefixtures("session")
def test_whoever_waits_for_an_object_of_a_dead_process_is_told(tmp_path: Path) -> None:
    @zfut.remote
    class Owner:
        def pending(self) -> list[Any]:
            @zfut.remote
            def never() -> None:
                for_ever()

            self.ref = never.options(num_cpus=0).remote()
            return [self.ref, os.getpid()]

    @zfut.remote
    def wait_inside(refs: list[Any]) -> object:
        write_pid(tmp_path / "waits")
        return zfut.get(refs[0])

    @zfut.remote
    def wait_for_argument(value: object) -> object:
        return value

    owner = Owner.remote()
    ref, pid = zfut.get(owner.pending.remote())
    waiting = [wait_inside.remote([ref]), wait_for_argument.remote(ref)]
    read_pid(tmp_path / "waits")
    with ThreadPoolExecutor(1) as pool:
        mine = pool.submit(zfut.get, ref)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(OwnerDiedError):
            mine.result(20)
    for late in waiting:
        with pytest.raises(OwnerDiedError):
            zfut.get(late, timeout=20)


@pytest.mark.usefixtures("session")
def test_a_large_result_outlives_the_process_that_wrote_it() -> None:
    @zfut.remote
    def make() -> tuple[np.ndarray, int]:
        return np.arange(500_000), os.getpid()

    results = make.options(num_returns=2).remote()
    pid = zfut.get(results[1])
    os.kill(pid, signal.SIGKILL)
    assert ended(pid)
    until(lambda: zfut.nodes()[0]["memory"]["claimed"] > 0, "the node has heard our claim")
    others = [zfut.put(np.zeros(500_000)) for _ in range(4)]
    assert zfut.get(results[0])[-1] == 499_999
    del others, results
    until(lambda: zfut.nodes()[0]["memory"]["claimed"] == 0, "the memory is free again")


@pytest.mark.usefixtures("session")
def test_a_worker_that_dies_with_many_calls_queued_loses_none() -> None:
    @zfut.remote
    def work(n: int) -> int:
        if n % 100 == 50 and zfut.get_runtime_context().attempt == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    zfut.get([work.remote(0) for _ in range(20)])
    refs = [work.remote(n) for n in range(500)]
    assert zfut.get(refs, timeout=60) == list(range(500))


# ------------------------------------------------------------------ the session's processes die


WITH_WORK = """
    zfut.init(num_cpus=2)

    @zfut.remote
    def busy():
        threading.Event().wait()

    @zfut.remote
    class Actor:
        def pid(self):
            return os.getpid()
        def stay(self):
            threading.Event().wait()

    actor = Actor.remote()
    zfut.get(actor.pid.remote())
    refs = [busy.remote() for _ in range(2)] + [actor.stay.remote()]
    large = zfut.put(bytes(10_000_000))
    until = time.monotonic() + 20
    while sum(bool(worker["runs"]) for worker in zfut.nodes()[0]["workers"]) < 3:
        assert time.monotonic() < until
    say("busy")
"""

WAIT_AND_SAY = """
    try:
        zfut.get(refs)
    except BaseException as error:
        say(type(error).__name__, str(error).replace(chr(10), " "))
    try:
        zfut.get(busy.remote())
    except BaseException as error:
        say(type(error).__name__, str(error).replace(chr(10), " "))
    hear()
"""


@pytest.mark.parametrize("victim", ["manager", "root"])
def test_a_session_that_loses_a_process_ends_with_a_clear_error(
    run: Run, base: Path, victim: str
) -> None:
    program = run(WITH_WORK + WAIT_AND_SAY)
    assert program.line() == "busy"
    processes = Processes(base)
    assert len(processes.workers) >= 3
    os.kill(getattr(processes, victim), signal.SIGKILL)
    for line in program.lines(2):
        assert line.startswith("SessionError")
        assert "node manager ended" in line
        assert "zfut.init()" in line
    assert processes.all_ended(GONE_S)
    program.tell()
    assert program.wait() == 0


def test_futures_and_coroutines_hear_that_the_session_was_lost(run: Run, base: Path) -> None:
    program = run(
        """
        import asyncio
        zfut.init(num_cpus=1)

        @zfut.remote
        def for_ever():
            threading.Event().wait()

        ref = for_ever.remote()
        future, called = ref.future(), threading.Event()
        future.add_done_callback(lambda _: called.set())

        async def main():
            say("waits")
            await ref

        try:
            asyncio.run(main())
        except zfut.errors.SessionError as error:
            say(type(error).__name__)
        called.wait()
        say(type(future.exception(0)).__name__)
        """
    )
    assert program.line() == "waits"
    os.kill(Processes(base).manager, signal.SIGKILL)
    assert program.lines(2) == ["SessionError", "SessionError"]
    assert program.wait() == 0


def test_a_finaliser_that_comes_while_its_thread_has_the_machine_may_post(run: Run) -> None:
    program = run(
        """
        zfut.init(num_cpus=1)

        @zfut.remote
        class Actor:
            def one(self):
                return 1

        def finalise():
            zfut.kill(victim)
            zfut.free(zfut.put(0))
            refs.extend(actor.one.remote() for _ in range(200))
            zfut.cancel(refs[0])
            try:
                zfut.get(refs[0])
            except zfut.errors.UsageError as error:
                say("finaliser" in str(error))

        actor, victim, refs = Actor.remote(), Actor.remote(), []
        zfut.get([actor.one.remote(), victim.one.remote()])
        with zfut.session.current().loop.lock:
            finalise()
        say(zfut.get(refs[1:]) == [1] * 199)
        """
    )
    assert program.lines(2) == ["True", "True"]
    assert program.wait() == 0


def test_a_new_session_after_the_old_one_was_lost(run: Run, base: Path) -> None:
    program = run("""
        zfut.init(num_cpus=1)
        old = zfut.put(1)
        say(zfut.is_initialized())
        hear()
        try:
            while True:
                zfut.nodes()
        except zfut.errors.SessionError:
            pass
        say(zfut.is_initialized())
        zfut.init(num_cpus=1)
        say(zfut.get(zfut.put(2)))
        try:
            zfut.get(old)
        except zfut.errors.SessionError as error:
            say("SessionError")
    """)
    assert program.line() == "True"
    os.kill(Processes(base).manager, signal.SIGKILL)
    program.tell()
    assert program.lines(3) == ["False", "2", "SessionError"]
    assert program.wait() == 0


def test_a_killed_driver_takes_everything_with_it(run: Run, base: Path) -> None:
    program = run(WITH_WORK + WAIT_AND_SAY)
    assert program.line() == "busy"
    processes = Processes(base)
    program.kill()
    program.wait()
    assert processes.all_ended(GONE_S), processes.living()
    until(lambda: not processes.directory.exists(), "its directory is gone", GONE_S)


def test_a_root_and_a_driver_killed_together_leave_nothing(run: Run, base: Path) -> None:
    program = run(WITH_WORK + WAIT_AND_SAY)
    assert program.line() == "busy"
    processes = Processes(base)
    os.kill(processes.root, signal.SIGKILL)
    program.kill()
    program.wait()
    assert processes.all_ended(GONE_S), processes.living()
    until(lambda: not processes.directory.exists(), "its directory is gone", GONE_S)


def test_a_killed_driver_whose_own_child_lives_on_takes_everything_with_it(
    run: Run, base: Path
) -> None:
    program = run("""
        zfut.init(num_cpus=1)
        if os.fork() == 0:
            say("child", os.getpid())
            time.sleep(60)
            os._exit(0)
        hear()
    """)
    child = int(program.line().split()[1])
    processes = Processes(base)
    program.kill()
    program.wait()
    assert processes.all_ended(GONE_S), processes.living()
    assert alive(child)
    os.kill(child, signal.SIGKILL)
    until(lambda: not alive(child), "the child is gone")


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise RuntimeError", 1),
        ("os._exit(4)", 4),
        ("threading.Thread(target=zfut.get, args=(refs,), daemon=True).start()", 0),
        ("zfut.shutdown(); zfut.shutdown()", 0),
    ],
)
def test_however_a_program_ends_nothing_of_its_session_is_left(
    run: Run, base: Path, ending: str, code: int
) -> None:
    program = run(f"{WITH_WORK}\n    hear()\n    {ending}\n")
    assert program.line() == "busy"
    processes = Processes(base)
    program.tell()
    assert program.wait(10) == code
    assert processes.all_ended(GONE_S), processes.living()
    until(lambda: not processes.directory.exists(), "its directory is gone", GONE_S)


# ------------------------------------------------------------------ shutdown and misuse


@pytest.mark.usefixtures("base")
def test_shutdown_ends_running_tasks_and_every_thread_that_waits(tmp_path: Path) -> None:
    session = zfut.init(num_cpus=2)
    function = zfut.remote(for_ever_from(tmp_path))
    refs = [function.remote(n) for n in range(2)]
    pids = [read_pid(tmp_path / str(n)) for n in range(2)]
    waits_for = [
        lambda: zfut.get(refs),
        lambda: zfut.wait(refs),
        lambda: refs[0].future().result(),
    ]
    with ThreadPoolExecutor(6) as pool:
        waits = [pool.submit(wait) for wait in (*waits_for, *waits_for)]
        until(lambda: len(session.loop.calls) == 8, "all wait, and so do the two futures")
        zfut.shutdown()
        for wait in waits:
            with pytest.raises(SessionError, match="shut down"):
                wait.result(20)
    for pid in pids:
        assert ended(pid)


def for_ever_from(directory: Path) -> Callable[[int], None]:
    def stay(n: int) -> None:
        write = directory / f"{n}.tmp"
        write.write_text(str(os.getpid()))
        write.rename(directory / str(n))
        threading.Event().wait()

    return stay


@pytest.mark.usefixtures("base")
def test_init_twice_is_a_mistake_unless_it_is_said_to_be_none() -> None:
    session = zfut.init(num_cpus=1)
    with pytest.raises(UsageError, match=r"called twice.*ignore_reinit_error"):
        zfut.init()
    assert zfut.init(ignore_reinit_error=True) is session
    zfut.shutdown()
    assert not zfut.is_initialized()
    with zfut.init(num_cpus=1) as second:
        assert second is not session
        assert zfut.is_initialized()
    assert not zfut.is_initialized()


@pytest.mark.usefixtures("base")
def test_what_belongs_to_an_ended_session_says_so() -> None:
    @zfut.remote
    class Actor:
        def call(self) -> int:
            return 1

    @zfut.remote
    def function(*values: object) -> int:
        return len(values)

    zfut.init(num_cpus=1)
    ref, actor = function.remote(), Actor.remote()
    assert zfut.get(actor.call.remote()) == 1
    uses: list[Callable[[], object]] = [
        lambda: zfut.get(ref),
        lambda: zfut.get([ref]),
        lambda: zfut.wait([ref]),
        lambda: zfut.cancel(ref),
        lambda: function.remote(ref),
        lambda: function.remote([ref]),
        lambda: zfut.put([ref]),
        ref.future,
        actor.call.remote,
        lambda: zfut.kill(actor),
        lambda: function.remote(actor),
    ]
    zfut.shutdown()
    for use in uses:
        with pytest.raises(UsageError):
            use()
    for call in (zfut.nodes, function.remote, Actor.remote, lambda: zfut.put(1)):
        with pytest.raises(UsageError, match=r"zfut.init\(\)"):
            call()
    zfut.init(num_cpus=1)
    for use in uses:
        with pytest.raises(SessionError):
            use()
    assert zfut.get(function.remote(1, 2)) == 2
    actor = Actor.remote()
    assert zfut.get(actor.call.remote()) == 1
    zfut.shutdown()


# ------------------------------------------------------------------ forks


def test_a_fork_is_told_that_the_session_is_its_parents(run: Run) -> None:
    program = run("""
        zfut.init(num_cpus=1)

        @zfut.remote
        def double(n):
            return 2 * n

        @zfut.remote
        class Actor:
            def call(self):
                return "called"

        actor = Actor.remote()
        ready, ref = zfut.get(double.remote(1)), zfut.put(5)
        large = bytes(1_000_000)
        uses = [
            lambda: zfut.get(ref), lambda: zfut.get([ref]), lambda: zfut.wait([ref]),
            lambda: double.remote(2), lambda: double.remote(large), lambda: zfut.put(1),
            lambda: zfut.put(large), lambda: actor.call.remote(), lambda: zfut.nodes(),
            lambda: Actor.remote(), lambda: zfut.get_actor("x"), lambda: zfut.kill(actor),
            lambda: zfut.cancel(ref), lambda: ref.future(),
        ]
        pid = os.fork()
        if pid == 0:
            wrong = []
            for n, use in enumerate(uses):
                for _ in range(200):
                    try:
                        use()
                        wrong.append(n)
                    except zfut.errors.SessionError as error:
                        assert "fork" in str(error), error
                        assert "zfut.init()" in str(error), error
            say("child", wrong, zfut.is_initialized())
            del ref, actor, uses
            sys.exit(0)
        os.waitpid(pid, 0)
        say("parent", zfut.get([double.remote(n) for n in range(100)])[-1], zfut.get(ref))
        say(zfut.get(actor.call.remote()))
    """)
    assert program.line() == "child [] False"
    assert program.line() == "parent 198 5"
    assert program.line() == "called"
    assert program.wait() == 0


def test_a_fork_may_have_a_session_of_its_own(run: Run) -> None:
    program = run("""
        zfut.init(num_cpus=1)

        @zfut.remote
        def pid():
            return os.getpid()

        mine = zfut.get(pid.remote())
        child = os.fork()
        if child == 0:
            zfut.init(num_cpus=1)
            say(zfut.get(pid.remote()) != mine)
            zfut.shutdown()
            say(zfut.is_initialized())
            os._exit(0)
        say("status", os.waitpid(child, 0)[1])
        say(zfut.get(pid.remote()) == mine)
    """)
    assert program.lines(4) == ["True", "False", "status 0", "True"]
    assert program.wait() == 0


def test_multiprocessing_by_fork_works_beside_a_session(run: Run) -> None:
    program = run("""
        import multiprocessing

        def square(n):
            return n * n

        def child(queue):
            queue.put(square(7))

        if __name__ == "__main__":
            zfut.init(num_cpus=1)
            remote = zfut.remote(square)
            refs = [remote.remote(n) for n in range(50)]
            context = multiprocessing.get_context("fork")
            queue = context.Queue()
            for _ in range(3):
                process = context.Process(target=child, args=(queue,))
                process.start()
                say(queue.get(timeout=20))
                process.join(20)
                say(process.exitcode)
            with context.Pool(2) as pool:
                say(pool.map(square, range(5)))
            say(sum(zfut.get(refs)))
            process = multiprocessing.get_context("spawn").Process(target=square, args=(1,))
            process.start()
            process.join(20)
            say(process.exitcode)
    """)
    assert program.lines(6) == ["49", "0"] * 3
    assert program.line() == "[0, 1, 4, 9, 16]"
    assert program.line() == str(sum(n * n for n in range(50)))
    assert program.line() == "0"
    assert program.wait() == 0


def test_a_fork_in_a_task_is_told_too_and_harms_nothing(run: Run) -> None:
    program = run("""
        zfut.init(num_cpus=2)

        @zfut.remote
        def forks():
            ref = zfut.put(3)
            child = os.fork()
            if child == 0:
                try:
                    zfut.get(ref)
                except zfut.errors.SessionError:
                    os._exit(7)
                os._exit(8)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), zfut.get(ref)

        say(zfut.get([forks.remote() for _ in range(3)]))
    """)
    assert program.line() == "[(7, 3), (7, 3), (7, 3)]"
    assert program.wait() == 0


def test_the_child_of_a_fork_in_a_task_does_not_answer_for_it(run: Run) -> None:
    program = run("""
        zfut.init(num_cpus=1)

        @zfut.remote
        def forks(way):
            child = os.fork()
            if child == 0:
                if way == "return":
                    return "the child's"
                if way == "raise":
                    raise ValueError("the child's")
                sys.exit(way)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        say(zfut.get([forks.remote(way) for way in ("return", "raise", 9, None, "text")]))
    """)
    assert program.line() == "[0, 1, 9, 0, 1]"
    assert program.wait() == 0


# ------------------------------------------------------------------ the socket directory


def test_what_runs_goes_on_without_the_socket_directory(run: Run, base: Path) -> None:
    program = run("""
        zfut.init(num_cpus=2)

        @zfut.remote
        class Actor:
            def call(self, n):
                return n

        @zfut.remote
        def task(n):
            return n

        @zfut.remote
        def meet(seconds):
            time.sleep(seconds)
            return os.getpid()

        actor = Actor.remote()
        zfut.get(actor.call.remote(0))
        zfut.get([meet.remote(0.05) for _ in range(4)])
        say("ready")
        hear()
        say(sum(zfut.get([actor.call.remote(n) for n in range(100)])))
        say(sum(zfut.get([task.remote(n) for n in range(100)], timeout=20)))
        began = time.monotonic()
        others = [Actor.remote() for _ in range(4)]
        for other in others:
            try:
                say(zfut.get(other.call.remote(1), timeout=25))
            except Exception as error:
                say(type(error).__name__, str(error).replace(chr(10), " "))
        say(sum(zfut.get([actor.call.remote(n) for n in range(100)])))
        zfut.shutdown()
        say("ended")
    """)
    assert program.line() == "ready"
    processes = Processes(base)
    shutil.rmtree(processes.directory)
    program.tell()
    assert program.lines(2) == ["4950", "4950"]
    said = program.lines(4)
    assert {"1", "ActorDiedError"} >= {line.partition(" ")[0] for line in said}
    assert any("socket directory was deleted" in line for line in said), said
    assert program.lines(2) == ["4950", "ended"]
    assert program.wait() == 0
    assert processes.all_ended(GONE_S)


def test_new_workers_fail_with_a_reason_and_without_a_storm(run: Run, base: Path) -> None:
    program = run("""
        zfut.init(num_cpus=2)

        @zfut.remote
        def pid():
            return os.getpid()

        zfut.get([pid.remote() for _ in range(4)])
        say("ready")
        hear()
        for _ in range(3):
            try:
                say(zfut.get(pid.remote(), timeout=25))
            except Exception as error:
                say(type(error).__name__, str(error).replace(chr(10), " "))
    """)
    assert program.line() == "ready"
    processes = Processes(base)
    shutil.rmtree(processes.directory)
    for pid in processes.workers:
        with contextlib.suppress(ProcessLookupError):  # it may have noticed, and gone
            os.kill(pid, signal.SIGKILL)
        assert ended(pid)
    program.tell()
    for line in program.lines(3):
        assert line.startswith("TaskUnschedulableError"), line
        assert "socket directory was deleted" in line, line
    assert program.wait() == 0
    assert processes.all_ended(GONE_S)
    assert program.errors().count("a worker cannot start") <= 20
    assert "Traceback" not in program.errors()


def test_processes_that_never_met_cannot_meet_any_more_and_say_so(run: Run, base: Path) -> None:
    program = run("""
        zfut.init(num_cpus=2)

        @zfut.remote
        def pid():
            return os.getpid()

        until = time.monotonic() + 20
        while sum(w["state"] == "idle" for w in zfut.nodes()[0]["workers"]) < 2:
            assert time.monotonic() < until
        say("ready")
        hear()
        try:
            say(zfut.get(pid.remote(), timeout=25))
        except Exception as error:
            say(type(error).__name__, str(error).replace(chr(10), " "))
        say(zfut.available_resources() == zfut.cluster_resources())
    """)
    assert program.line() == "ready"
    processes = Processes(base)
    shutil.rmtree(processes.directory)
    program.tell()
    line = program.line()
    assert line.startswith(("TaskUnschedulableError", "WorkerCrashedError")), line
    assert "socket directory was deleted" in line
    assert program.line() == "True"
    assert program.wait() == 0
    assert processes.all_ended(GONE_S)


def test_nobody_can_join_a_session_whose_directory_is_gone(run: Run, base: Path) -> None:
    program = run("""
        zfut.init(num_cpus=1)
        say("ready")
        hear()
    """)
    assert program.line() == "ready"
    directory = Processes(base).directory
    shutil.rmtree(directory)
    began = time.monotonic()
    with pytest.raises(SessionError, match="no node of yours"):
        zfut.init(address=directory.name)
    assert time.monotonic() - began < GONE_S
    program.tell()
    assert program.wait() == 0


# ------------------------------------------------------------------ two programs, one node


def test_an_actor_and_its_callers_in_two_programs(run: Run, base: Path) -> None:
    owner = run("""
        zfut.init(num_cpus=2)

        @zfut.remote
        class Counter:
            def __init__(self):
                self.count = 0
            def next(self):
                self.count += 1
                return self.count

        counter = Counter.options(name="counter").remote()
        say(zfut.get(counter.next.remote()))
        hear()
    """)
    assert owner.line() == "1"
    name = Processes(base).directory.name
    guest = run(f"""
        zfut.init(address="{name}")
        counter = zfut.get_actor("counter")
        say(zfut.get(counter.next.remote()))

        @zfut.remote
        def square(n):
            return n * n

        say(zfut.get([square.remote(n) for n in range(4)]))
        hear()
        try:
            zfut.get([counter.next.remote() for _ in range(10)])
            while True:
                zfut.get(counter.next.remote())
        except Exception as error:
            say(type(error).__name__)
    """)
    assert guest.lines(2) == ["2", "[0, 1, 4, 9]"]
    processes = Processes(base)
    owner.kill()
    owner.wait()
    guest.tell()
    assert guest.line() in ("ActorDiedError", "SessionError")
    assert guest.wait() == 0
    assert processes.all_ended(GONE_S)


def test_a_guest_that_is_killed_leaves_the_session_as_it_was(run: Run, base: Path) -> None:
    owner = run("""
        zfut.init(num_cpus=2)
        total = zfut.available_resources()
        say("ready")
        hear()
        until = time.monotonic() + 20
        while zfut.available_resources() != total:
            assert time.monotonic() < until
        node = zfut.nodes()[0]
        say(len(node["drivers"]), len(node["names"]), node["memory"]["claimed"])

        @zfut.remote
        def square(n):
            return n * n

        say(zfut.get([square.remote(n) for n in range(4)], timeout=20))
    """)
    assert owner.line() == "ready"
    name = Processes(base).directory.name
    guest = run(f"""
        zfut.init(address="{name}")

        @zfut.remote(num_cpus=1)
        class Actor:
            def pid(self):
                return os.getpid()

        @zfut.remote
        def busy():
            threading.Event().wait()

        actor = Actor.options(name="guest").remote()
        say(zfut.get(actor.pid.remote()))
        large = zfut.put(bytes(10_000_000))
        ref = busy.remote()
        while sum(bool(worker["runs"]) for worker in zfut.nodes()[0]["workers"]) < 2:
            pass
        say("busy")
        hear()
    """)
    actor = int(guest.line())
    assert guest.line() == "busy"
    guest.kill()
    guest.wait()
    assert ended(actor, GONE_S)
    owner.tell()
    assert owner.line() == "1 0 0"
    assert owner.line() == "[0, 1, 4, 9]"
    assert owner.wait() == 0


# ------------------------------------------------------------------ actors


@pytest.mark.usefixtures("session")
def test_an_actor_dies_while_many_wait_for_it(tmp_path: Path) -> None:
    @zfut.remote
    class Actor:
        def stay(self) -> None:
            write_pid(tmp_path / "pid")
            for_ever()

    @zfut.remote(num_cpus=0)
    def wait_inside(actor: Any) -> None:
        zfut.get(actor.stay.remote())

    actor = Actor.remote()
    refs = [wait_inside.remote(actor) for _ in range(3)] + [
        actor.stay.remote() for _ in range(50)
    ]
    os.kill(read_pid(tmp_path / "pid"), signal.SIGKILL)
    for ref in refs:
        with pytest.raises(ActorDiedError) as caught:
            zfut.get(ref, timeout=20)
        assert caught.value.actor_id == actor.actor_id


# ------------------------------------------------------------------ what a dead caller had lent


@pytest.mark.usefixtures("session")
def test_a_dead_callers_argument_is_not_written_over_while_it_is_read(tmp_path: Path) -> None:
    @zfut.remote
    class Reader:
        def read(self, array: Any) -> None:
            write_pid(tmp_path / "reads")
            until((tmp_path / "go on").exists, "the caller is dead")
            self.whole = bool((array == 7).all())

        def saw(self) -> bool:
            return self.whole

    @zfut.remote(max_retries=0)
    def call(refs: list[Any], reader: Any) -> None:
        reader.read.remote(refs[0])
        read_pid(tmp_path / "reads")
        write_pid(tmp_path / "calls")
        for_ever()

    reader = Reader.remote()
    lent = zfut.put(np.full(1_000_000, 7))
    caller = call.remote([lent], reader)
    del lent
    os.kill(read_pid(tmp_path / "calls"), signal.SIGKILL)
    with pytest.raises(WorkerCrashedError):
        zfut.get(caller, timeout=20)
    for _ in range(10):
        zfut.put(np.zeros(1_000_000))
    (tmp_path / "go on").touch()
    assert zfut.get(reader.saw.remote(), timeout=20)
