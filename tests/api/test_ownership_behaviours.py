"""What users take for granted of references, actors, cancelling and lost values, case by case.

Each test names the behaviour by its number in the list of behaviours; the others of that list are
in the files beside this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

import zfut
from tests.api.conftest import Start, owned
from tests.cluster.leftovers import alive, ended, until
from zfut.errors import (
    ActorDiedError,
    ActorUnavailableError,
    ObjectFreedError,
    ObjectLostError,
    OwnerDiedError,
    ReconstructionFailedError,
    TaskCancelledError,
    UsageError,
    WorkerCrashedError,
)
from zfut.session import current
from zfut.testing import lose

pytestmark = pytest.mark.cluster

WAIT_S = 30
BIG = 50_000
"""So many floats lie in shared memory."""


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def write_line(path: Path, text: str) -> int:
    """Append a line and return how many there are."""
    with path.open("a") as file:
        file.write(f"{text}\n")
    return len(path.read_text().splitlines())


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@zfut.remote
class Keeper:
    """Holds what it is given."""

    def __init__(self) -> None:
        self.held: Any = None

    def hold(self, boxed: Any) -> None:
        self.held = boxed

    def look(self) -> Any:
        return zfut.get(self.held[0])


@zfut.remote
def pass_on(keeper: Any, boxed: list[Any], levels: int) -> None:
    if levels:
        zfut.get(pass_on.remote(keeper, boxed, levels - 1))
    else:
        zfut.get(keeper.hold.remote(boxed))


@zfut.remote
def read(boxed: list[Any]) -> Any:
    return zfut.get(boxed[0])


@zfut.remote(num_cpus=0)
def ready_there(boxed: list[Any], *, fetch: bool) -> bool:
    return bool(zfut.wait(boxed, timeout=0 if fetch else 20, fetch_local=fetch)[0])


# ------------------------------------------------------------------ borrowing


@pytest.mark.parametrize("levels", [0, 1, 5])
def test_26_a_reference_passed_on_outlives_whoever_passed_it(levels: int) -> None:
    keeper = Keeper.remote()
    ref = zfut.put(np.full(BIG, 3.0))
    name = ref.binary()
    zfut.get(pass_on.remote(keeper, [ref], levels), timeout=WAIT_S)
    del ref
    assert zfut.get(keeper.look.remote(), timeout=WAIT_S)[0] == 3
    assert list((owned()[name].borrowers or {}).values()), "only the keeper is left"
    until(lambda: len(owned()[name].borrowers) == 1, "those who passed it on have let go")
    zfut.kill(keeper)
    until(lambda: name not in owned(), "it goes with its only user")


@pytest.mark.parametrize(
    "write",
    [
        pickle.dumps,
        cloudpickle.dumps,
        lambda ref: pickle.dumps({"inside": [ref]}),
        lambda ref: cloudpickle.dumps(lambda: ref),
        lambda ref: pickle.dumps(ref, protocol=0),
    ],
    ids=["pickle", "cloudpickle", "inside", "closure", "old"],
)
def test_28_a_reference_is_pickled_only_where_something_keeps_it(
    write: Callable[[Any], Any],
) -> None:
    ref = zfut.put(1)
    with pytest.raises(UsageError, match=r"pickled outside zfut.*Pass it as an argument"):
        write(ref)
    assert zfut.get(ref) == 1
    name = ref.binary()
    del ref
    until(lambda: name not in owned(), "what was refused holds nothing")


def test_28_nobody_makes_a_reference_from_its_id() -> None:
    ref = zfut.put(1)
    with pytest.raises(TypeError):
        zfut.ObjectRef(ref.binary())  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="reference"):
        zfut.get(ref.binary())  # type: ignore[arg-type]


def test_36_ready_without_fetching_means_that_the_value_exists(tmp_path: Path) -> None:
    @zfut.remote
    def slow(gate: Path) -> Any:
        gate.read_bytes()
        return np.ones(BIG)

    gate = fifo(tmp_path / "gate")
    ref = slow.remote(gate)
    for fetch in (False, True):
        assert zfut.wait([ref], timeout=0, fetch_local=fetch) == ([], [ref])
    assert not zfut.get(ready_there.remote([ref], fetch=True), timeout=WAIT_S)
    there = ready_there.remote([ref], fetch=False)
    gate.write_bytes(b"")
    assert zfut.get(there, timeout=WAIT_S)
    for fetch in (False, True):
        assert zfut.wait([ref], timeout=WAIT_S, fetch_local=fetch) == ([ref], [])


# ------------------------------------------------------------------ workers


@zfut.remote
def get_pid() -> int:
    return os.getpid()


def test_43_a_worker_ends_after_so_many_calls(start: Start) -> None:
    start(num_cpus=1)
    limited = get_pid.options(max_calls=2)
    pids = zfut.get([limited.remote() for _ in range(7)], timeout=WAIT_S)
    assert max(Counter(pids).values()) <= 2
    assert all(ended(pid) for pid, calls in Counter(pids).items() if calls == 2)


def test_43_failures_count_and_other_functions_do_not(start: Start) -> None:
    start(num_cpus=1)

    @zfut.remote(max_calls=1)
    def fail() -> None:
        raise ValueError(os.getpid())

    first = zfut.get(get_pid.remote(), timeout=WAIT_S)
    assert zfut.get(get_pid.remote(), timeout=WAIT_S) == first
    with pytest.raises(ValueError, match=str(first)):
        zfut.get(fail.remote(), timeout=WAIT_S)
    assert ended(first)
    assert zfut.get(get_pid.remote(), timeout=WAIT_S) != first


def test_43_what_the_call_left_behind_is_used_before_the_worker_ends(
    start: Start, tmp_path: Path
) -> None:
    start(num_cpus=2)

    @zfut.remote
    def child(gate: Path) -> Any:
        gate.read_bytes()
        return np.full(BIG, 5.0)

    @zfut.remote(max_calls=1)
    def parent(gate: Path) -> tuple[int, list[Any]]:
        return os.getpid(), [child.remote(gate)]

    gate = fifo(tmp_path / "gate")
    pid, left = zfut.get(parent.remote(gate), timeout=WAIT_S)
    until(lambda: pid in leaving(), "it takes no more work")
    gate.write_bytes(b"")
    assert zfut.get(left[0], timeout=WAIT_S)[0] == 5
    assert alive(pid)
    left.clear()
    assert ended(pid)


def test_43_a_task_with_a_gpu_has_a_process_of_its_own(start: Start) -> None:
    start(num_cpus=1, num_gpus=1)
    once = get_pid.options(num_gpus=1)
    pids = zfut.get([once.remote() for _ in range(3)], timeout=WAIT_S)
    assert len({*pids}) == 3
    kept = once.options(max_calls=0)
    assert len({*zfut.get([kept.remote() for _ in range(3)], timeout=WAIT_S)}) == 1


def test_43_the_next_task_is_never_lost_with_the_worker_that_ends(start: Start) -> None:
    start(num_cpus=1, num_gpus=1)
    once = get_pid.options(num_gpus=1, max_retries=0)
    assert len({zfut.get(once.remote(), timeout=WAIT_S) for _ in range(20)}) == 20


def test_43_a_gpu_is_lent_again_when_its_process_has_ended(start: Start) -> None:
    start(num_cpus=2, num_gpus=1)

    @zfut.remote(num_gpus=1)
    def are_alive(pids: list[int]) -> tuple[int, list[bool]]:
        import builtins

        builtins.kept = np.ones(50_000_000)  # type: ignore[attr-defined]  # goes slowly
        return os.getpid(), [alive(pid) for pid in pids]

    pids: list[int] = []
    for _ in range(5):
        pid, others = zfut.get(are_alive.remote(pids[-1:]), timeout=WAIT_S)
        assert others in ([], [False])
        pids.append(pid)


def test_43_a_gpu_is_lent_again_when_its_process_only_stays_for_others(start: Start) -> None:
    start(num_cpus=1, num_gpus=1)

    @zfut.remote(num_gpus=1)
    def put() -> list[Any]:
        return [zfut.put(np.full(BIG, 5.0))]

    stays = [zfut.get(put.remote(), timeout=WAIT_S) for _ in range(3)]
    assert [zfut.get(left[0], timeout=WAIT_S)[0] for left in stays] == [5, 5, 5]


def test_43_an_idle_worker_stays_while_others_use_what_it_owns(
    start: Start, tmp_path: Path
) -> None:
    """Whatever ends a worker in peace, its values and its children's are used first."""
    start(num_cpus=1, worker_idle_ns=1_000_000, lease_linger_ns=0)

    @zfut.remote(num_cpus=0)
    def child() -> Any:
        return np.full(BIG, 5.0)

    @zfut.remote(num_cpus=0)
    def parent(gate: Path) -> tuple[int, list[Any]]:
        gate.read_bytes()
        return os.getpid(), [child.remote(), zfut.put("mine")]

    gates = [fifo(tmp_path / str(n)) for n in range(4)]
    parents = [parent.remote(gate) for gate in gates]
    for gate in gates:
        gate.write_bytes(b"")  # all four run at once, each in a worker of its own
    owners = zfut.get(parents, timeout=WAIT_S)
    pids = [pid for pid, _ in owners]
    until(lambda: len(leaving() & {*pids}) >= 3, "all but one for the CPU are asked to end")
    for _, (result, put) in owners:
        assert zfut.get(put, timeout=WAIT_S) == "mine"
        assert zfut.get(result, timeout=WAIT_S)[0] == 5
    assert all(alive(pid) for pid in pids)
    told = leaving() & {*pids}
    del parents, owners, result, put
    assert all(ended(pid) for pid in told), "nobody uses anything of them"


def leaving() -> set[int]:
    return {one["pid"] for one in zfut.nodes()[0]["workers"] if one["state"] == "leaving"}


# ------------------------------------------------------------------ actors


@zfut.remote
class Phoenix:
    """Says which life it is, and dies when it is asked to."""

    def __init__(self, log: Path, gate: Path | None = None) -> None:
        self.life = write_line(log, str(os.getpid()))
        self.calls = 0
        if gate is not None and self.life > 1:
            gate.read_bytes()

    def call(self) -> tuple[int, int]:
        self.calls += 1
        return self.life, self.calls

    def pid(self) -> int:
        return os.getpid()

    def attempt(self, tries: Path, plan: str) -> int:
        """Crash or raise as the plan's letter for this attempt says, or return its number."""
        number = write_line(tries, "")
        what = plan[number - 1]
        if what == "x":
            os._exit(1)
        if what == "r":
            raise ValueError(number)
        return number


def test_54_kill_with_restart_uses_one_up(tmp_path: Path) -> None:
    phoenix = Phoenix.options(max_restarts=2, max_task_retries=-1).remote(tmp_path / "log")
    for life in (1, 2):
        assert zfut.get(phoenix.call.remote(), timeout=WAIT_S) == (life, 1)
        zfut.kill(phoenix, no_restart=False)
    assert zfut.get(phoenix.call.remote(), timeout=WAIT_S) == (3, 1)
    zfut.kill(phoenix, no_restart=False)
    with pytest.raises(ActorDiedError, match=r"zfut\.kill"):
        zfut.get(phoenix.call.remote(), timeout=WAIT_S)
    assert len(lines(tmp_path / "log")) == 3


def test_54_killed_in_a_later_constructor_it_gives_its_resources_back(tmp_path: Path) -> None:
    gate, log = fifo(tmp_path / "gate"), tmp_path / "log"
    phoenix = Phoenix.options(max_restarts=-1, num_cpus=2).remote(log, gate)
    os.kill(zfut.get(phoenix.pid.remote(), timeout=WAIT_S), signal.SIGKILL)
    until(lambda: len(lines(log)) == 2, "the constructor of its second life runs")
    zfut.kill(phoenix)
    with pytest.raises(ActorDiedError, match=r"zfut\.kill"):
        zfut.get(phoenix.call.remote(), timeout=WAIT_S)
    assert ended(int(lines(log)[1]))
    until(lambda: zfut.available_resources().get("CPU") == 2, "its CPUs are free")


def test_55_calls_in_flight_fail_and_later_ones_meet_a_new_state(tmp_path: Path) -> None:
    phoenix = Phoenix.options(max_restarts=1).remote(tmp_path / "log")
    assert zfut.get([phoenix.call.remote() for _ in range(3)])[-1] == (1, 3)
    crash = phoenix.attempt.remote(tmp_path / "tries", "x")
    behind = [phoenix.call.remote() for _ in range(5)]
    for ref in (crash, *behind):
        with pytest.raises(ActorUnavailableError, match="may or may not have run"):
            zfut.get(ref, timeout=WAIT_S)
    until(lambda: len(lines(tmp_path / "log")) == 2, "it lives again")
    patient = phoenix.call.options(max_task_retries=-1)
    assert zfut.get(patient.remote(), timeout=WAIT_S) == (2, 1)
    assert len(lines(tmp_path / "tries")) == 1


@pytest.mark.parametrize(
    ("plan", "retries", "attempts"),
    [("v", 0, 1), ("xxv", 2, 3), ("xxv", -1, 3), ("xr", 3, 2), ("xxrv", 5, 3), ("xxx", 2, 3)],
)
def test_55_the_number_of_attempts_is_exact(
    plan: str, retries: int, attempts: int, tmp_path: Path
) -> None:
    """A crash costs a try if there is one; what a method raises is its answer."""
    tries = tmp_path / "tries"
    phoenix = Phoenix.options(max_restarts=-1).remote(tmp_path / "log")
    ref = phoenix.attempt.options(max_task_retries=retries).remote(tries, plan)
    last = plan[attempts - 1]
    if last == "v":
        assert zfut.get(ref, timeout=WAIT_S) == attempts
    elif last == "r":
        with pytest.raises(ValueError, match=str(attempts)):
            zfut.get(ref, timeout=WAIT_S)
    else:
        with pytest.raises(ActorUnavailableError):
            zfut.get(ref, timeout=WAIT_S)
    assert len(lines(tries)) == attempts


def test_56_while_it_restarts_a_call_without_retries_fails_at_once(tmp_path: Path) -> None:
    gate, log = fifo(tmp_path / "gate"), tmp_path / "log"
    phoenix = Phoenix.options(max_restarts=1).remote(log, gate)
    first = zfut.get(phoenix.pid.remote(), timeout=WAIT_S)
    os.kill(first, signal.SIGKILL)
    until(lambda: len(lines(log)) == 2, "the constructor of its second life runs")
    patient = phoenix.call.options(max_task_retries=1).remote()
    with pytest.raises(ActorUnavailableError) as caught:
        zfut.get(phoenix.call.remote(), timeout=WAIT_S)
    assert not isinstance(caught.value, ActorDiedError)
    gate.write_bytes(b"")
    assert zfut.get(patient, timeout=WAIT_S) == (2, 1)
    assert zfut.get(phoenix.call.remote(), timeout=WAIT_S) == (2, 2)


@zfut.remote(num_cpus=0)
def child_task(pids: Path, begun: Path, until_there: Path) -> None:
    pids.write_text(str(os.getpid()))
    begun.write_bytes(b"")
    while not until_there.exists():
        time.sleep(0.001)


@zfut.remote
class Parent:
    """Owns a task that runs, and an actor."""

    def begin(self, pids: Path, begun: Path, until_there: Path) -> int:
        self.child = child_task.remote(pids, begun, until_there)
        self.actor = Keeper.remote()
        zfut.get(self.actor.hold.remote(None))
        return os.getpid()

    def share(self) -> list[Any]:
        return [self.child, self.actor]


@zfut.remote(max_retries=0)
def parent_task(pids: Path, begun: Path, until_there: Path, told: Path) -> None:
    child = child_task.remote(pids, begun, until_there)
    told.write_bytes(str(os.getpid()).encode())
    zfut.get(child)


def test_57_a_running_child_ends_with_the_task_that_owns_it(tmp_path: Path) -> None:
    begun, told = fifo(tmp_path / "begun"), fifo(tmp_path / "told")
    ref = parent_task.remote(tmp_path / "pid", begun, tmp_path / "never", told)
    parent = int(told.read_bytes())
    begun.read_bytes()
    os.kill(parent, signal.SIGKILL)
    with pytest.raises(WorkerCrashedError, match="SIGKILL"):
        zfut.get(ref, timeout=WAIT_S)
    assert ended(int((tmp_path / "pid").read_text()))


def test_57_a_child_and_an_actor_end_with_the_actor_that_owns_them(tmp_path: Path) -> None:
    begun = fifo(tmp_path / "begun")
    parent = Parent.remote()
    begin = parent.begin.remote(tmp_path / "pid", begun, tmp_path / "never")
    begun.read_bytes()
    pid = zfut.get(begin, timeout=WAIT_S)
    child, actor = zfut.get(parent.share.remote(), timeout=WAIT_S)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(OwnerDiedError):
        zfut.get(child, timeout=WAIT_S)
    with pytest.raises(ActorDiedError, match="the process that created it"):
        zfut.get(actor.look.remote(), timeout=WAIT_S)
    assert ended(int((tmp_path / "pid").read_text()))


# ------------------------------------------------------------------ cancelling


class OpensSlowly:
    """Says that it is being unpickled, and goes on when it is told to."""

    def __init__(self, begun: Path, until_there: Path) -> None:
        self.paths = begun, until_there

    def __reduce__(self) -> Any:
        return open_slowly, self.paths


def open_slowly(begun: Path, until_there: Path) -> str:
    begun.write_bytes(b"")
    while not until_there.exists():
        time.sleep(0.001)
    return "opened"


@zfut.remote
def ran(log: Path, *values: Any) -> int:
    write_line(log, str(len(values)))
    return 1


@zfut.remote
def until_file(begun: Path, path: Path) -> int:
    begun.write_bytes(b"")
    while not path.exists():
        time.sleep(0.001)
    return 7


def assert_cancelled(*refs: Any) -> None:
    for ref in refs:
        with pytest.raises(TaskCancelledError):
            zfut.get(ref, timeout=WAIT_S)


def test_61_a_queued_task_and_what_depends_on_it(tmp_path: Path) -> None:
    go, log = tmp_path / "go", tmp_path / "log"
    pipes = [fifo(tmp_path / name) for name in ("one", "two")]
    busy = [until_file.remote(pipe, go) for pipe in pipes]
    for pipe in pipes:
        pipe.read_bytes()
    queued = ran.options(num_cpus=2).remote(log)
    after = ran.remote(log, ran.remote(log, queued))
    zfut.cancel(queued)
    assert_cancelled(queued, after)
    go.touch()
    assert zfut.get(busy, timeout=WAIT_S) == [7, 7]
    assert not lines(log), "none of them ever ran"


def test_61_a_running_task_and_what_depends_on_it(tmp_path: Path) -> None:
    begun, log = fifo(tmp_path / "begun"), tmp_path / "log"
    runs = until_file.remote(begun, tmp_path / "never")
    after = ran.remote(log, runs)
    begun.read_bytes()
    zfut.cancel(runs)
    assert_cancelled(runs, after)
    assert not lines(log)


@pytest.mark.parametrize("size", [0, 300_000], ids=["in the message", "in the store"])
def test_61_a_task_whose_arguments_are_being_unpickled(tmp_path: Path, size: int) -> None:
    begun, log = fifo(tmp_path / "begun"), tmp_path / "log"
    argument = [OpensSlowly(begun, tmp_path / "never"), b"x" * size]
    for given in (argument, zfut.put(argument)):
        opens = ran.remote(log, given)
        begun.read_bytes()
        zfut.cancel(opens)
        assert_cancelled(opens)
    assert not lines(log)
    assert zfut.get(ran.remote(log), timeout=WAIT_S) == 1


def test_61_a_task_that_waits_for_an_argument_leaves_it_alone(tmp_path: Path) -> None:
    begun, go, log = fifo(tmp_path / "begun"), tmp_path / "go", tmp_path / "log"
    upstream = until_file.remote(begun, go)
    waits = ran.remote(log, upstream)
    after = ran.remote(log, waits)
    beside = ran.remote(log, upstream)
    begun.read_bytes()
    zfut.cancel(waits)
    assert_cancelled(waits, after)
    go.touch()
    assert zfut.get([upstream, beside], timeout=WAIT_S) == [7, 1]
    assert lines(log) == ["1"]


@pytest.mark.parametrize("force", [False, True])
def test_61_a_task_that_has_ended_keeps_its_value(tmp_path: Path, force: bool) -> None:  # noqa: FBT001
    ref = ran.remote(tmp_path / "log")
    after = ran.remote(tmp_path / "log", ref)
    assert zfut.get([ref, after], timeout=WAIT_S) == [1, 1]
    zfut.cancel(ref, force=force)
    zfut.cancel(zfut.put(1), force=force)
    assert zfut.get([ref, after, ran.remote(tmp_path / "log", ref)], timeout=WAIT_S) == [1] * 3


def test_62_children_of_children_end_and_free_their_cpus(tmp_path: Path) -> None:
    pipes = [fifo(tmp_path / name) for name in ("one", "two")]

    @zfut.remote
    def nest(depth: int) -> Any:
        if depth:
            return zfut.get(nested[0].remote(depth - 1))
        return zfut.get([until_file.remote(pipe, tmp_path / "never") for pipe in pipes])

    nested = [nest]
    ref = nest.remote(3)
    for pipe in pipes:
        pipe.read_bytes()
    zfut.cancel(ref)
    assert_cancelled(ref)
    wide = ran.options(num_cpus=2).remote(tmp_path / "log")
    assert zfut.get(wide, timeout=WAIT_S) == 1, "both CPUs are free"


def test_62_a_cancelled_task_whose_worker_dies_does_not_run_again(tmp_path: Path) -> None:
    @zfut.remote(max_retries=-1)
    def stubborn(begun: Path, log: Path) -> None:
        write_line(log, str(os.getpid()))
        begun.write_bytes(b"")
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(1000)
                continue
            begun.write_bytes(b"")

    begun, log = fifo(tmp_path / "begun"), tmp_path / "log"
    ref = stubborn.remote(begun, log)
    begun.read_bytes()
    zfut.cancel(ref)
    begun.read_bytes()  # it was interrupted, and stays
    os.kill(int(lines(log)[0]), signal.SIGKILL)
    assert_cancelled(ref)
    assert len(lines(log)) == 1


# ------------------------------------------------------------------ lost values


@zfut.remote
def grow(log: Path, name: str, *inputs: Any) -> Any:
    write_line(log, name)
    return sum(inputs) + np.ones(BIG)


def test_68_a_chain_of_twenty(tmp_path: Path) -> None:
    log = tmp_path / "log"
    ref = grow.remote(log, "0")
    for n in range(1, 20):
        ref = grow.remote(log, str(n), ref)
    assert zfut.get(ref, timeout=WAIT_S)[0] == 20
    lose(ref)
    assert zfut.get(ref, timeout=WAIT_S)[0] == 20
    assert lines(log) == [str(n) for n in range(20)] * 2


def test_68_several_returns_of_which_one_is_lost(tmp_path: Path) -> None:
    @zfut.remote(num_returns=3)
    def three(log: Path) -> Any:
        run = write_line(log, "run")
        return np.full(BIG, run), np.full(BIG, 10.0 * run), "small"

    log = tmp_path / "log"
    first, second, small = three.remote(log)
    zfut.wait([first, second], num_returns=2, timeout=WAIT_S)
    lose(second)
    assert zfut.get(second, timeout=WAIT_S)[0] == 20
    assert zfut.get(first, timeout=WAIT_S)[0] == 1, "what was there stays as it was"
    assert zfut.get(small) == "small"
    assert len(lines(log)) == 2


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("sizes", [(BIG, 3), (3, BIG)], ids=["shrinks", "grows"])
def test_68_values_whose_size_changes_from_run_to_run(
    tmp_path: Path, sizes: tuple[int, int], lost: int
) -> None:
    """What lies in a store is lost and made again, smaller or larger, as its other result is."""

    @zfut.remote(num_returns=2)
    def base(log: Path) -> Any:
        run = write_line(log, "base") - 1
        return np.full(sizes[run], 4.0), np.full(sizes[1 - run], 4.0)

    @zfut.remote
    def use(array: Any) -> Any:
        return len(array), np.full(BIG, array[0])

    log = tmp_path / "log"
    sources = base.remote(log)
    uses = [use.remote(source) for source in sources]
    assert [length for length, _ in zfut.get(uses, timeout=WAIT_S)] == list(sizes)
    stored = sizes.index(BIG)
    lose(sources[stored])
    lose(uses[lost])
    assert zfut.get(uses[lost], timeout=WAIT_S)[0] == 3
    assert [len(value) for value in zfut.get(sources, timeout=WAIT_S)] == [3, 3]
    assert len(lines(log)) == 2


def test_68_an_actors_constructor_gets_a_lost_argument_again(tmp_path: Path) -> None:
    @zfut.remote(max_restarts=-1, max_task_retries=-1)
    class Holder:
        def __init__(self, array: Any) -> None:
            self.total = float(array.sum())

        def look(self) -> tuple[int, float]:
            return os.getpid(), self.total

    argument = grow.remote(tmp_path / "log", "argument")
    holder = Holder.remote(argument)
    first, total = zfut.get(holder.look.remote(), timeout=WAIT_S)
    lose(argument)
    del argument
    os.kill(first, signal.SIGKILL)
    second, again = zfut.get(holder.look.remote(), timeout=WAIT_S)
    assert (first != second, again) == (True, total)
    assert lines(tmp_path / "log") == ["argument"] * 2


@pytest.mark.parametrize("retries", [1, 2])
def test_68_after_so_many_attempts_the_error_says_so(tmp_path: Path, retries: int) -> None:
    log = tmp_path / "log"
    ref = grow.options(max_retries=retries).remote(log, "run")
    for _ in range(retries):
        zfut.wait([ref], timeout=WAIT_S)
        lose(ref)
        assert zfut.get(ref, timeout=WAIT_S)[0] == 1
    lose(ref)
    after = grow.remote(log, "after", ref)
    for one in (ref, after):
        with pytest.raises(ReconstructionFailedError, match="attempts exceeded"):
            zfut.get(one, timeout=WAIT_S)
    assert lines(log) == ["run"] * (1 + retries)


def test_68_without_retries_or_without_lineage_a_lost_value_stays_lost(
    start: Start, tmp_path: Path
) -> None:
    start(num_cpus=2, lineage_max_bytes=0)
    log = tmp_path / "log"
    once, dropped = grow.options(max_retries=0).remote(log, "a"), grow.remote(log, "b")
    for ref, why in ((once, "retries off"), (dropped, "lineage dropped")):
        zfut.wait([ref], timeout=WAIT_S)
        lose(ref)
        with pytest.raises(ObjectLostError, match=why):
            zfut.get(ref, timeout=WAIT_S)
    assert sorted(lines(log)) == ["a", "b"]


def test_68_an_awaited_value_that_is_lost_comes_again(tmp_path: Path) -> None:
    async def read_it(ref: Any) -> float:
        return float((await ref)[0])

    ref = grow.remote(tmp_path / "log", "run")
    zfut.wait([ref], timeout=WAIT_S)
    lose(ref)
    assert asyncio.run(read_it(ref)) == 1
    assert len(lines(tmp_path / "log")) == 2


# ------------------------------------------------------------------ freed by hand


@zfut.remote
def floats(start: int, size: int = BIG) -> Any:
    return np.arange(start, start + size, dtype=float)


@zfut.remote
def tiled(array: Any) -> Any:
    return np.resize(array, BIG)


@zfut.remote
def tiled_inside(boxed: list[Any]) -> Any:
    return np.resize(zfut.get(boxed[0]), BIG)


@zfut.remote
def sum_when_told(array: Any, begun: Path, gate: Path) -> float:
    begun.write_text("begun")
    gate.read_text()
    return float(array.sum())


def written() -> int:
    """Return how many values lie in memory that this process wrote."""
    return len(current().owner.ledger.memory.written_for)


def reported(ref: Any) -> dict[str, Any]:
    """Return what ``zfut memory`` is told of an object of this process."""
    current().loop.turn()
    rows = current().owner.why.inventory()
    return next(row for row in rows if row["id"] == ref.hex())


@pytest.mark.parametrize("size", [1, BIG])
def test_33_after_free_get_raises_and_a_dependent_task_fails(size: int) -> None:
    made, put = floats.remote(0, size), zfut.put(np.zeros(size))
    zfut.get([tiled.remote(made), tiled.remote(put)])
    zfut.free([made, put, made])
    for ref in (made, put):
        for _ in range(2):
            with pytest.raises(ObjectFreedError, match=r"was freed.*Call free\(\) only after"):
                zfut.get(ref, timeout=WAIT_S)
        with pytest.raises(ObjectFreedError, match=r"tiled\(\)"):
            zfut.get(tiled.remote(ref), timeout=WAIT_S)
        with pytest.raises(ObjectFreedError):
            zfut.get(tiled_inside.remote([ref]), timeout=WAIT_S)
        with pytest.raises(ObjectFreedError):
            ref.future().result(WAIT_S)
        assert "freed by zfut.free()" in ref.explain()
        assert "freed by free()" in repr(ref)
        assert zfut.wait([ref], timeout=WAIT_S) == ([ref], [])
        zfut.free(ref)


def test_33_a_task_that_has_not_begun_fails_too(tmp_path: Path) -> None:
    begun, gate = tmp_path / "begun", fifo(tmp_path / "gate")
    put = zfut.put(np.ones(BIG))
    reads = sum_when_told.options(num_cpus=2).remote(put, begun, gate)
    queued = sum_when_told.options(num_cpus=2).remote(put, begun, gate)
    unmade = tiled.remote(floats.options(num_cpus=2).remote(0))
    until(begun.exists, "the first runs")
    zfut.free(put)
    with pytest.raises(ObjectFreedError):
        zfut.get(queued, timeout=WAIT_S)
    held = reported(put)
    assert held["bytes"] > 8 * BIG
    assert held["calls"] == 1
    assert "calls that carry it: 1" in put.explain()
    others = [zfut.put(np.full(BIG, float(n))) for n in range(5)]
    gate.write_text("go on")
    assert zfut.get(reads, timeout=WAIT_S) == BIG, "what it read in place was left alone"
    zfut.get([unmade, *others], timeout=WAIT_S)


@pytest.mark.parametrize("size", [1, BIG])
def test_33_a_lost_result_is_made_again_from_what_was_freed(size: int) -> None:
    made = floats.remote(1, size)
    results = [tiled.remote(made), tiled_inside.remote([made])]
    right = [array.copy() for array in zfut.get(results)]
    zfut.free(made)
    for ref, array in zip(results, right, strict=True):
        lose(ref)
        assert np.array_equal(zfut.get(ref, timeout=WAIT_S), array)
        with pytest.raises(ObjectFreedError):
            zfut.get(made, timeout=WAIT_S)


def test_33_a_lost_result_of_a_freed_put_says_what_was_freed() -> None:
    put = zfut.put(np.ones(BIG))
    result = tiled.remote(put)
    zfut.get(result)
    zfut.free(put)
    until(lambda: not reported(put)["bytes"], "its reader is done")
    lose(result)
    with pytest.raises(ObjectFreedError, match=r"tiled\(\)") as caught:
        zfut.get(result, timeout=WAIT_S)
    assert caught.value.object_id == put.binary()


def test_33_freed_memory_is_used_again_while_the_reference_lives() -> None:
    before = written()
    ref = zfut.put(np.ones(2**17))
    assert reported(ref)["bytes"] >= 2**20
    assert written() == before + 1
    zfut.free(ref)
    assert written() == before
    held = reported(ref)
    assert (held["bytes"], held["state"], held["handles"]) == (0, "freed by free()", 1)


def test_33_an_array_taken_before_keeps_its_bytes() -> None:
    before = written()
    ref = zfut.put(np.full(BIG, 7.0))
    array = zfut.get(ref)
    part = array[10:20]
    copied = zfut.get(ref, copy=True)
    zfut.free(ref)
    del array
    assert (reported(ref)["views"], written()) == (1, before + 1)
    others = [zfut.put(np.full(BIG, float(n))) for n in range(20)]
    assert (part == 7.0).all()
    assert (copied == 7.0).all()
    del part
    until(lambda: written() == before + len(others), "its memory is free")


def test_33_freed_before_it_is_made(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    made = until_file.remote(tmp_path / "begun", gate)
    waits = ran.remote(tmp_path / "log", made)
    zfut.free(made)
    with pytest.raises(ObjectFreedError):
        zfut.get(waits, timeout=WAIT_S)
    gate.write_text("1")
    with pytest.raises(ObjectFreedError):
        zfut.get(made, timeout=WAIT_S)
    assert not lines(tmp_path / "log")


def test_33_a_borrower_that_has_seen_the_value_keeps_it_and_no_other() -> None:
    before = written()
    seen, unseen = Keeper.remote(), Keeper.remote()
    ref = zfut.put(np.full(BIG, 3.0))
    zfut.get([seen.hold.remote([ref]), unseen.hold.remote([ref])])
    zfut.get(seen.look.remote())
    zfut.free(ref)
    others = [zfut.put(np.full(BIG, float(n))) for n in range(5)]
    assert (zfut.get(seen.look.remote(), timeout=WAIT_S) == 3.0).all()
    with pytest.raises(ObjectFreedError):
        zfut.get(unseen.look.remote(), timeout=WAIT_S)
    assert "processes that use it: 2" in ref.explain()
    assert len(reported(ref)["borrowers"]) == 2
    zfut.get([seen.hold.remote(None), unseen.hold.remote(None)])
    until(lambda: written() == before + len(others), "its memory is free")


@zfut.remote(max_restarts=1, max_task_retries=1)
class Summer:
    """Reads its argument in each of its lives."""

    def __init__(self, array: Any) -> None:
        self.total = float(array.sum())

    def look(self) -> tuple[int, float]:
        return os.getpid(), self.total


@pytest.mark.parametrize("size", [1, BIG])
def test_33_an_actor_that_lives_again_finds_what_its_constructor_takes(size: int) -> None:
    ref = zfut.put(np.ones(size))
    actor = Summer.remote(ref)
    before, total = zfut.get(actor.look.remote())
    zfut.free(ref)
    zfut.kill(actor, no_restart=False)
    after, again = zfut.get(actor.look.remote(), timeout=WAIT_S)
    assert (after != before, total, again) == (True, size, size)
    with pytest.raises(ObjectFreedError):
        zfut.get(ref)
    until(lambda: reported(ref)["bytes"] == 0, "it has no restart left")
