"""A program leaves, or is killed, while an actor of another program holds its references."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import zfut
from tests.cluster.leftovers import until
from tests.cluster.programs import Program
from zfut.errors import OwnerDiedError

pytestmark = pytest.mark.cluster


def is_lost(ref: Any) -> bool:
    try:
        zfut.get(ref, timeout=20)
    except OwnerDiedError:
        return True
    return False


@pytest.mark.parametrize("end", ["in peace", "killed"])
@pytest.mark.usefixtures("session")
def test_an_actor_outlives_a_program_whose_references_it_holds(
    base: Path, run: Callable[[str], Program], end: str
) -> None:
    @zfut.remote
    class Keeper:
        def keep(self, refs: list[Any]) -> None:
            self.refs = refs

        def look(self, index: int) -> Any:
            return zfut.get(self.refs[index])

    keeper = Keeper.options(name="keeper").remote()
    session = next(base.iterdir()).name
    program = run(f"""
    zfut.init(address="{session}")
    keeper = zfut.get_actor("keeper")
    zfut.get(keeper.keep.remote([zfut.put("small"), zfut.put("unread")]))
    say("kept")
    hear()
    """)
    assert program.line() == "kept"
    assert zfut.get(keeper.look.remote(0), timeout=20) == "small"
    if end == "killed":
        program.kill(signal.SIGKILL)
    else:
        program.tell()
    assert program.wait() == (0 if end == "in peace" else -signal.SIGKILL)
    until(lambda: is_lost(keeper.look.remote(1)), "the actor is told of what it had not read")
    assert zfut.get(keeper.look.remote(0), timeout=20) == "small", "what it has read it keeps"
    zfut.get(keeper.keep.remote([zfut.put("ours")]), timeout=20)
    assert zfut.get(keeper.look.remote(0), timeout=20) == "ours"


@pytest.mark.usefixtures("session")
def test_a_dead_programs_worker_stays_while_others_use_what_it_owns(
    base: Path, run: Callable[[str], Program]
) -> None:
    @zfut.remote
    class Keeper:
        def __init__(self) -> None:
            self.refs: list[Any] = []

        def keep(self, refs: list[Any], pid: int) -> None:
            self.refs, self.pid = refs, pid

        def worker(self) -> int:
            return self.pid if self.refs else 0

        def look(self) -> Any:
            return zfut.get(self.refs[0], timeout=20)

        def drop(self) -> None:
            self.refs.clear()

    keeper = Keeper.options(name="keeper").remote()
    session = next(base.iterdir()).name
    program = run(f"""
    import os, time
    zfut.init(address="{session}")

    @zfut.remote
    def owns(keeper):
        zfut.get(keeper.keep.remote([zfut.put("unread")], os.getpid()))
        time.sleep(600)

    ref = owns.remote(zfut.get_actor("keeper"))
    hear()
    """)
    until(lambda: zfut.get(keeper.worker.remote(), timeout=20), "the task has begun")
    pid = zfut.get(keeper.worker.remote(), timeout=20)
    program.kill(signal.SIGKILL)
    program.wait()
    until(lambda: zfut.available_resources() == zfut.cluster_resources(), "its lease has ended")
    assert zfut.get(keeper.look.remote(), timeout=20) == "unread"
    zfut.get(keeper.drop.remote(), timeout=20)
    until(lambda: not psutil.pid_exists(pid), "nobody needs the worker any more")


@pytest.mark.usefixtures("session")
def test_a_dead_programs_task_that_takes_no_notice_is_killed(
    base: Path, run: Callable[[str], Program], tmp_path: Path
) -> None:
    session = next(base.iterdir()).name
    place = tmp_path / "pid"
    program = run(f"""
    import os, signal, time
    from pathlib import Path
    zfut.init(address="{session}")

    @zfut.remote
    def deaf():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        Path("{place}.part").write_text(str(os.getpid()))
        os.rename("{place}.part", "{place}")
        while True:
            time.sleep(600)

    ref = deaf.remote()
    hear()
    """)
    until(place.exists, "the task has begun")
    program.kill(signal.SIGKILL)
    program.wait()
    until(lambda: not psutil.pid_exists(int(place.read_text())), "the worker is killed")


@pytest.mark.usefixtures("session")
def test_a_thread_that_a_dead_programs_task_left_behind_submits_nothing_more(
    base: Path, run: Callable[[str], Program], tmp_path: Path
) -> None:
    @zfut.remote
    class Keeper:
        def keep(self, refs: list[Any]) -> None:
            self.refs = refs

        def is_used(self) -> bool:
            return hasattr(self, "refs")

    keeper = Keeper.options(name="keeper").remote()
    session = next(base.iterdir()).name
    place = tmp_path / "why"
    program = run(f"""
    import os, threading
    zfut.init(address="{session}")

    @zfut.remote
    def child():
        pass

    @zfut.remote
    def busy(keeper):
        def work():
            try:
                while True:
                    zfut.get(child.remote())
            except BaseException as error:
                with open("{place}.part", "w") as file:
                    file.write(repr(error))
                os.rename("{place}.part", "{place}")

        threading.Thread(target=work, daemon=True).start()
        zfut.get(keeper.keep.remote([zfut.put("owned here")]))
        threading.Event().wait()

    ref = busy.remote(zfut.get_actor("keeper"))
    hear()
    """)
    until(lambda: zfut.get(keeper.is_used.remote(), timeout=20), "the task has begun")
    program.kill(signal.SIGKILL)
    program.wait()
    until(place.exists, "its thread is told")
    assert "worked for has ended" in place.read_text()
    until(lambda: zfut.available_resources() == zfut.cluster_resources(), "nothing runs")
