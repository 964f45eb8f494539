"""How actors begin and end: constructors, last handles, kill, exit, and what follows."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zfut
from tests.cluster.leftovers import alive, ended, until
from zfut.errors import ActorDiedError, ActorError, OwnerDiedError, TaskError, UsageError

pytestmark = pytest.mark.cluster


@zfut.remote
class Box:
    """Keeps what it is given, and says what becomes of it in a file."""

    def __init__(self, log: Path | None = None) -> None:
        import atexit

        self.log = log
        self.kept: Any = None
        atexit.register(self._write, "atexit")

    def _write(self, text: str) -> None:
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(text + "\n")

    def on_exit(self) -> None:
        self._write("on_exit")

    def pid(self) -> int:
        return os.getpid()

    def keep(self, thing: Any) -> int:
        self.kept = thing
        return os.getpid()

    def note(self, text: str) -> None:
        self._write(text)

    def put(self, value: object) -> list[zfut.ObjectRef[object]]:
        return [zfut.put(value)]

    def stay(self) -> None:
        import threading

        self._write("stay")
        threading.Event().wait()

    def leave(self) -> None:
        zfut.exit_actor()
        self._write("went on")

    def leave_swallowing(self) -> None:
        try:
            zfut.exit_actor()
        except (SystemExit, Exception):  # noqa: BLE001
            self._write("swallowed")
        self._write("went on")

    def leave_swallowing_all(self) -> int:
        try:
            zfut.exit_actor()
        except BaseException:  # noqa: BLE001
            return 1
        return 2

    def leave_nested(self) -> None:
        def inner() -> None:
            try:
                zfut.exit_actor()
            finally:
                self._write("finally")

        list(map(lambda _: inner(), [1]))  # noqa: C417
        self._write("went on")

    def raise_exit(self, code: object) -> None:
        raise SystemExit(code)

    def crash(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def death_of(ref: zfut.ObjectRef[Any]) -> ActorDiedError:
    with pytest.raises(ActorDiedError) as caught:
        zfut.get(ref, timeout=20)
    return caught.value


def workers_ready() -> None:
    until(lambda: zfut.available_resources() == zfut.cluster_resources(), "all is free")


# ------------------------------------------------------------------ the last handle


def test_an_actor_ends_with_its_last_handle_after_its_queued_calls(tmp_path: Path) -> None:
    log = tmp_path / "log"
    box = Box.remote(log)
    pid = zfut.get(box.pid.remote())
    for n in range(100):
        box.note.remote(str(n))
    del box
    assert ended(pid)
    assert lines(log) == [*map(str, range(100)), "on_exit", "atexit"]


def test_a_call_in_the_line_that_creates_the_actor(tmp_path: Path) -> None:
    assert zfut.get([Box.remote().keep.remote(n) for n in range(3)])
    Box.remote(tmp_path / "log").note.remote("ran")
    until(lambda: lines(tmp_path / "log") == ["ran", "on_exit", "atexit"], "it ran and ended")


def test_an_actor_that_nobody_kept_or_called_leaves_nothing() -> None:
    for _ in range(5):
        Box.remote()
    workers_ready()


def test_handles_in_tasks_and_actors_keep_an_actor(tmp_path: Path) -> None:
    @zfut.remote
    def hold(handle: Any, until_there: Path) -> int:
        until(until_there.exists, "the file is there")
        return zfut.get(handle.pid.remote())

    box, keeper = Box.remote(), Box.remote()
    pid = zfut.get(box.pid.remote())
    held = hold.remote(box, tmp_path / "go")
    keeper_pid = zfut.get(keeper.keep.remote([box]))
    del box
    (tmp_path / "go").touch()
    assert zfut.get(held) == pid
    del held
    zfut.get(keeper.pid.remote())
    assert alive(pid)
    del keeper
    assert ended(keeper_pid)
    assert ended(pid)


def test_a_handle_inside_a_value_keeps_the_actor_until_the_value_goes() -> None:
    box = Box.remote()
    pid = zfut.get(box.pid.remote())
    boxed = zfut.put({"handle": [box]})
    del box
    box = zfut.get(boxed)["handle"][0]
    assert zfut.get(box.pid.remote()) == pid
    del box
    assert alive(pid)
    del boxed
    assert ended(pid)


def test_a_handle_in_a_closure_keeps_the_actor() -> None:
    def make() -> tuple[Any, int]:
        box = Box.remote()

        @zfut.remote
        def ask() -> int:
            return zfut.get(box.pid.remote())

        return ask, zfut.get(ask.remote())

    ask, pid = make()
    assert zfut.get(ask.remote()) == pid
    os.kill(pid, signal.SIGKILL)


def test_an_actors_own_handle_does_not_keep_it() -> None:
    box = Box.remote()
    pid = zfut.get(box.keep.remote({"me": box}))
    del box
    assert ended(pid)


def test_two_actors_in_a_chain_end_in_their_order() -> None:
    @zfut.remote
    class Parent:
        def child(self) -> tuple[int, int]:
            self.box = Box.remote()
            return os.getpid(), zfut.get(self.box.pid.remote())

    parent = Parent.remote()
    mine, child = zfut.get(parent.child.remote())
    del parent
    assert ended(mine)
    assert ended(child)


# ------------------------------------------------------------------ the constructor


def test_a_constructor_that_raises_fails_every_call_with_its_error() -> None:
    @zfut.remote
    class Broken:
        def __init__(self, text: str) -> None:
            raise ValueError(text)

        def call(self) -> None: ...

    broken = Broken.remote("kaputt: ü — 火")
    for ref in (broken.call.remote(), broken.call.remote()):
        error = death_of(ref)
        assert error.reason == "constructor failed"
        assert error.actor_id == broken.actor_id
        assert isinstance(error.cause, ValueError)
        text = str(error)
        assert "ValueError: kaputt: ü — 火" in text
        assert "raise ValueError(text)" in text
        assert "Broken.__init__" in text
    assert death_of(broken.call.remote()).reason == "constructor failed"


def test_a_constructor_gets_the_values_of_references() -> None:
    @zfut.remote
    def slow(gate: Path) -> str:
        until(gate.exists, "the gate is open")
        return "value"

    @zfut.remote
    class Made:
        def __init__(self, a: Any, *, b: Any, inside: list[Any]) -> None:
            self.given = a, b.sum(), zfut.get(inside[0])

        def all(self) -> Any:
            return self.given

    gate = Path(os.environ["ZFUT_SESSION_DIR"]) / "gate"
    made = Made.remote(slow.remote(gate), b=zfut.put(np.ones(200_000)), inside=[zfut.put(3)])
    ref = made.all.remote()
    assert zfut.wait([ref], timeout=0)[0] == []
    gate.touch()
    assert zfut.get(ref) == ("value", 200_000.0, 3)
    gate.unlink()


def test_a_constructor_whose_argument_failed_never_runs() -> None:
    @zfut.remote
    def fail() -> Path:
        message = "no log"
        raise RuntimeError(message)

    box = Box.remote(fail.remote())
    error = death_of(box.pid.remote())
    assert error.reason == "constructor failed"
    assert isinstance(error.cause, RuntimeError)
    assert "no log" in str(error)


def test_arguments_of_a_constructor_stay_until_it_has_read_them(tmp_path: Path) -> None:
    @zfut.remote
    class Sum:
        def __init__(self, numbers: np.ndarray, files: Path) -> None:
            (files / "began").touch()
            until((files / "gate").exists, "the gate is open")
            (files / "sum").write_text(str(int(numbers.sum())))

    for numbers in (np.ones(500_000), zfut.put(np.ones(500_000))):
        handle = Sum.remote(numbers, tmp_path)
        until((tmp_path / "began").exists, "the constructor runs")
        del handle, numbers
        others = [zfut.put(np.zeros(500_000)) for _ in range(8)]
        (tmp_path / "gate").touch()
        until((tmp_path / "sum").exists, "the constructor has read its argument")
        assert until((tmp_path / "sum").read_text, "the sum is written") == "500000"
        for file in tmp_path.iterdir():
            file.unlink()
        del others


def test_exit_in_the_constructor(tmp_path: Path) -> None:
    @zfut.remote
    class Shy:
        def __init__(self, log: Path) -> None:
            import atexit

            atexit.register(lambda: log.write_text("atexit"))
            zfut.exit_actor()
            log.write_text("went on")

        def call(self) -> None: ...

    log = tmp_path / "log"
    shy = Shy.remote(log)
    assert death_of(shy.call.remote()).reason == "exit_actor"
    until(lambda: lines(log) == ["atexit"], "exit hooks ran")


def test_a_constructor_that_ends_its_process() -> None:
    @zfut.remote
    class Dying:
        def __init__(self) -> None:
            os._exit(7)

        def call(self) -> None: ...

    error = death_of(Dying.remote().call.remote())
    assert error.reason == "worker died"
    assert "code 7" in str(error)


# ------------------------------------------------------------------ kill


def test_kill_is_like_sigkill(tmp_path: Path) -> None:
    log = tmp_path / "log"
    box = Box.remote(log)
    pid = zfut.get(box.pid.remote())
    running, queued = box.stay.remote(), box.pid.remote()
    until(lambda: lines(log) == ["stay"], "the call runs")
    zfut.kill(box)
    for ref in (running, queued, box.pid.remote()):
        error = death_of(ref)
        assert error.reason == "killed"
        assert "zfut.kill()" in str(error)
        assert error.actor_id == box.actor_id
    assert ended(pid)
    assert lines(log) == ["stay"]
    zfut.kill(box)
    assert death_of(box.pid.remote()).reason == "killed"


def test_kill_takes_only_handles() -> None:
    with pytest.raises(TypeError, match="actor handle"):
        zfut.kill("box")  # type: ignore[arg-type]


def test_a_borrower_of_the_handle_may_kill() -> None:
    @zfut.remote
    def end(handle: Any) -> None:
        zfut.kill(handle)

    box = Box.remote()
    pid = zfut.get(box.pid.remote())
    zfut.get(end.remote(box))
    assert ended(pid)
    assert death_of(box.pid.remote()).reason == "killed"


def test_kill_while_the_constructor_runs_gives_its_resources_back(tmp_path: Path) -> None:
    @zfut.remote(num_cpus=3)
    class Slow:
        def __init__(self, log: Path) -> None:
            import threading

            log.write_text(str(os.getpid()))
            threading.Event().wait()

        def call(self) -> None: ...

    log = tmp_path / "pid"
    slow = Slow.remote(log)
    ref = slow.call.remote()
    pid = int(until(lambda: log.exists() and log.read_text(), "the constructor runs"))
    assert zfut.available_resources()["CPU"] == 1
    zfut.kill(slow)
    assert death_of(ref).reason == "killed"
    assert ended(pid)
    workers_ready()


def test_kill_before_there_is_a_worker_withdraws_what_it_waits_for() -> None:
    @zfut.remote(num_cpus=4)
    class Large:
        def pid(self) -> int:
            return os.getpid()

    first = Large.remote()
    zfut.get(first.pid.remote())
    second, third = Large.remote(), Large.remote()
    waits, runs = second.pid.remote(), third.pid.remote()
    until(lambda: len(zfut.nodes()[0]["waiting"]) == 2, "both wait for 4 CPUs")
    zfut.kill(second)
    assert death_of(waits).reason == "killed"
    zfut.kill(first)
    assert zfut.get(runs, timeout=20) > 0


# ------------------------------------------------------------------ exit


@pytest.mark.parametrize("how", ["leave", "leave_swallowing", "leave_nested"])
def test_exit_actor_runs_the_hooks_and_no_further_line(tmp_path: Path, how: str) -> None:
    log = tmp_path / "log"
    box = Box.remote(log)
    pid = zfut.get(box.pid.remote())
    ref = getattr(box, how).remote()
    after = box.pid.remote()
    assert death_of(ref).reason == "exit_actor"
    assert death_of(after).reason == "exit_actor"
    assert ended(pid)
    expected = (
        ["finally", "on_exit", "atexit"] if how == "leave_nested" else ["on_exit", "atexit"]
    )
    assert lines(log) == expected


def test_exit_actor_ends_the_actor_even_if_everything_is_swallowed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    box = Box.remote(log)
    pid = zfut.get(box.pid.remote())
    ref, after = box.leave_swallowing_all.remote(), box.pid.remote()
    assert death_of(ref).reason == "exit_actor"
    assert death_of(after).reason == "exit_actor"
    assert ended(pid)
    assert lines(log) == ["on_exit", "atexit"]


def test_terminate_ends_the_actor_after_what_was_queued_before(tmp_path: Path) -> None:
    log = tmp_path / "log"
    box = Box.remote(log)
    before = [box.note.remote(str(n)) for n in range(10)]
    ref = box.__zfut_terminate__.remote()
    after = box.note.remote("never")
    assert zfut.get(before) == [None] * 10
    assert death_of(ref).reason == "exit_actor"
    assert death_of(after).reason == "exit_actor"
    until(lambda: len(lines(log)) == 12, "the hooks ran")
    assert lines(log) == [*map(str, range(10)), "on_exit", "atexit"]


def test_ten_thousand_calls_behind_an_exit_all_fail() -> None:
    box = Box.remote()
    zfut.get(box.pid.remote())
    box.leave.remote()
    refs = [box.pid.remote() for _ in range(10_000)]
    ready, rest = zfut.wait(refs, num_returns=len(refs), timeout=30)
    assert not rest
    for ref in (ready[0], ready[5000], ready[-1]):
        error = death_of(ref)
        assert error.reason == "exit_actor"
        assert error.actor_id == box.actor_id


def test_exit_actor_outside_an_actor_is_a_mistake() -> None:
    @zfut.remote
    def task() -> None:
        zfut.exit_actor()

    with pytest.raises(UsageError, match="only in an actor"):
        zfut.exit_actor()
    with pytest.raises(UsageError, match="only in an actor"):
        zfut.get(task.remote())


# ------------------------------------------------------------------ other ends


def test_sys_exit_and_a_crash_are_the_end_of_the_worker() -> None:
    box = Box.remote()
    zfut.get(box.pid.remote())
    error = death_of(box.raise_exit.remote(3))
    assert error.reason == "worker died"
    assert "code 3" in str(error)
    assert "code 3" in str(death_of(box.pid.remote()))
    other = Box.remote()
    zfut.get(other.pid.remote())
    crash, after = other.crash.remote(), other.pid.remote()
    for ref in (crash, after):
        error = death_of(ref)
        assert error.reason == "worker died"
        assert "SIGKILL" in str(error)


def test_each_way_to_die_has_its_own_words() -> None:
    advice = {
        ActorDiedError(b"id", "A", reason).next_step() for reason in ActorDiedError.ENDINGS
    }
    facts = {ActorDiedError(b"id", "A", reason).fact() for reason in ActorDiedError.ENDINGS}
    assert len(facts) == len(ActorDiedError.ENDINGS)
    assert len(advice) == len(ActorDiedError.ENDINGS)
    assert all(advice)


def test_a_dead_actors_error_that_a_task_passes_on_is_both() -> None:
    @zfut.remote
    def ask(handle: Any) -> object:
        return zfut.get(handle.pid.remote())

    box = Box.remote()
    zfut.get(box.pid.remote())
    zfut.kill(box)
    with pytest.raises(ActorDiedError) as caught:
        zfut.get(ask.remote(box), timeout=20)
    error = caught.value
    assert isinstance(error, TaskError)
    assert isinstance(error, ActorError)
    assert isinstance(error.cause, ActorDiedError)
    assert isinstance(error.as_instanceof_cause(), ActorDiedError)
    assert error.actor_id == box.actor_id


def test_an_actor_dies_with_the_task_that_owns_it(tmp_path: Path) -> None:
    @zfut.remote(max_retries=0)
    def own(out: Path) -> None:
        import threading

        box = Box.remote()
        inner = zfut.get(box.pid.remote())
        out.with_suffix(".tmp").write_text(f"{os.getpid()} {inner}")
        out.with_suffix(".tmp").rename(out)
        threading.Event().wait()

    out = tmp_path / "pids"
    ref = own.remote(out)
    until(out.exists, "the task has made its actor")
    owner, actor = map(int, out.read_text().split())
    os.kill(owner, signal.SIGKILL)
    assert ended(actor)
    with pytest.raises(zfut.errors.WorkerCrashedError, match="SIGKILL"):
        zfut.get(ref, timeout=20)


def test_callers_of_an_actor_whose_owner_died_are_told() -> None:
    @zfut.remote
    class Owner:
        def make(self) -> Any:
            return Box.remote()

        def crash(self) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    owner = Owner.remote()
    box = zfut.get(owner.make.remote())
    pid = zfut.get(box.pid.remote())
    owner.crash.remote()
    assert ended(pid)
    error = death_of(box.pid.remote())
    assert error.reason == "owner died"
    assert error.actor_id == box.actor_id


def test_a_value_put_by_an_actor_outlives_its_last_handle_and_not_its_crash() -> None:
    box = Box.remote()
    pid = zfut.get(box.pid.remote())
    small, large = zfut.get(box.put.remote(5)), zfut.get(box.put.remote(np.ones(200_000)))
    del box
    assert zfut.get(small[0], timeout=20) == 5
    assert zfut.get(large[0], timeout=20).sum() == 200_000
    del small, large
    assert ended(pid)
    box = Box.remote()
    pid, lost = zfut.get(box.pid.remote()), zfut.get(box.put.remote(5))[0]
    zfut.kill(box)
    assert ended(pid)
    with pytest.raises(OwnerDiedError):
        zfut.get(lost, timeout=20)


# ------------------------------------------------------------------ many, and resources


def test_a_hundred_actors_on_one_node() -> None:
    boxes = [Box.remote() for _ in range(100)]
    pids = zfut.get([box.pid.remote() for box in boxes], timeout=60)
    assert len(set(pids)) == 100
    assert zfut.get([box.keep.remote(1) for box in boxes]) == pids
    del boxes
    for pid in pids:
        assert ended(pid)


def test_an_actor_holds_its_resources_until_it_ends() -> None:
    sized = Box.options(num_cpus=1.5, memory=2**20)
    total = zfut.cluster_resources()
    boxes = [sized.remote() for _ in range(2)]
    pids = zfut.get([box.pid.remote() for box in boxes])
    free = zfut.available_resources()
    assert free["CPU"] == total["CPU"] - 3
    assert free["memory"] == total["memory"] - 2 * 2**20
    zfut.kill(boxes[0])
    assert ended(pids[0])
    until(lambda: zfut.available_resources()["CPU"] == total["CPU"] - 1.5, "half is free")
    boxes.clear()
    until(lambda: zfut.available_resources() == total, "all is free")


def test_a_queue_of_actors_for_one_resource_moves_as_each_ends() -> None:
    whole = Box.options(num_cpus=4)
    pids: list[int] = []
    boxes = [whole.remote() for _ in range(4)]
    refs = [box.pid.remote() for box in boxes]
    for n, ref in enumerate(refs):
        pids.append(zfut.get(ref, timeout=20))
        zfut.kill(boxes[n])
    assert len(set(pids)) == 4
