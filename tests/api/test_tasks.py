"""Tasks: called, checked, given back, redefined, tried again, and placed or not in time."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import zfut
from tests.cluster.leftovers import until
from zfut import errors

pytestmark = pytest.mark.cluster
WAIT_S = 30


@zfut.remote
def add(a: int, b: int = 10, *, c: int = 100) -> int:
    return a + b + c


@zfut.remote
def total(*numbers: int, **named: int) -> int:
    return sum(numbers) + sum(named.values())


def tries(path: Path) -> int:
    return len(path.read_text())


def note_try(path: Path) -> int:
    """Append a mark to a file; returns how many there are."""
    with path.open("a") as file:
        file.write("x")
    return tries(path)


# ------------------------------------------------------------------ calling


def test_arguments_by_position_by_keyword_and_by_default() -> None:
    refs = [add.remote(1), add.remote(1, 2), add.remote(a=1, c=3), add.remote(1, b=2, c=3)]
    assert zfut.get(refs, timeout=WAIT_S) == [111, 103, 14, 6]


def test_local_runs_the_plain_function_here() -> None:
    @zfut.remote(num_cpus=1000)
    def pid(sign: int) -> int:
        return sign * os.getpid()

    assert pid.local(-1) == -os.getpid()
    assert pid.local(sign=1) == os.getpid()


def test_a_remote_function_called_directly_says_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"add\.remote\(\.\.\.\), or add\.local") as caught:
        add(1)
    assert isinstance(caught.value, errors.UsageError)


def test_everything_callable_can_be_remote() -> None:
    class Scale:
        def __init__(self, by: int) -> None:
            self.by = by

        def __call__(self, value: int) -> int:
            return value * self.by

    functions = [zfut.remote(lambda x: x + 1), zfut.remote(Scale(3)), zfut.remote(abs)]
    assert zfut.get([f.remote(-2) for f in functions], timeout=WAIT_S) == [-1, -6, 2]


@pytest.mark.parametrize("wrong", [3, "text", None, [add]])
def test_only_functions_and_classes_can_be_remote(wrong: Any) -> None:
    with pytest.raises(TypeError, match="takes a function or a class"):
        zfut.remote(wrong)


def test_generators_and_what_is_remote_already_are_refused() -> None:
    def stream() -> Any:
        yield 1

    with pytest.raises(errors.UsageError, match="is a generator"):
        zfut.remote(stream)
    with pytest.raises(errors.UsageError, match="is remote already"):
        zfut.remote(add)


def test_the_context_inside_a_task_names_it() -> None:
    @zfut.remote
    def look() -> Any:
        return zfut.get_runtime_context()

    first, second = zfut.get([look.remote(), look.remote()], timeout=WAIT_S)
    assert (first.task_name, first.attempt, first.actor_id) == ("look", 0, "")
    assert first.task_id != second.task_id
    assert first.node_id == zfut.get_runtime_context().node_id
    assert first.worker_id != zfut.get_runtime_context().worker_id


@pytest.mark.parametrize(
    ("args", "kwargs", "why"),
    [
        ((), {}, "missing a required argument: 'a'"),
        ((1, 2, 3), {}, "takes 2 positional arguments but 3 were given"),
        ((1,), {"a": 1}, "multiple values for argument 'a'"),
        ((1,), {"d": 1}, "unexpected keyword argument 'd'"),
    ],
)
def test_wrong_arguments_raise_at_the_call_and_not_in_a_worker(
    args: Any, kwargs: Any, why: str
) -> None:
    with pytest.raises(TypeError, match=why) as caught:
        add.remote(*args, **kwargs)
    assert not isinstance(caught.value, errors.TaskError)
    assert "add()" in str(caught.value)


def test_wrong_arguments_of_constructors_and_methods_raise_at_the_call() -> None:
    @zfut.remote
    class Box:
        def __init__(self, size: int) -> None:
            self.size = size

        def grow(self, *, by: int) -> int:
            self.size += by
            return self.size

    with pytest.raises(TypeError, match=r"Box\(\) missing a required argument: 'size'"):
        Box.remote()
    with pytest.raises(TypeError, match=r"Box\(\) takes 1 positional"):
        Box.remote(1, 2)
    box = Box.remote(1)
    with pytest.raises(TypeError, match=r"Box.grow\(\) missing a required keyword-only"):
        box.grow.remote()
    with pytest.raises(TypeError, match=r"Box.grow\(\) takes 0 positional"):
        box.grow.remote(1)
    assert zfut.get(box.grow.remote(by=2), timeout=WAIT_S) == 3


def test_ten_thousand_arguments() -> None:
    assert zfut.get(total.remote(*range(10_000)), timeout=WAIT_S) == sum(range(10_000))
    named = {f"n{i}": i for i in range(10_000)}
    assert zfut.get(total.remote(**named), timeout=WAIT_S) == sum(range(10_000))


def test_ten_thousand_references_as_arguments() -> None:
    refs = [zfut.put(i) for i in range(5_000)]
    refs += [add.remote(i, 0, c=0) for i in range(5_000)]
    assert zfut.get(total.remote(*refs), timeout=WAIT_S) == 2 * sum(range(5_000))


def test_one_session_serves_several_threads_at_once() -> None:
    def work(seed: int) -> int:
        calls = [add.remote(seed, i, c=0) for i in range(100)]
        ready, rest = zfut.wait(calls, num_returns=50, timeout=WAIT_S)
        kept = zfut.get(zfut.put([seed] * 10))
        return sum(zfut.get([*ready, *rest], timeout=WAIT_S)) + len(kept)

    with ThreadPoolExecutor(8) as pool:
        sums = list(pool.map(work, range(8)))
    assert sums == [100 * seed + sum(range(100)) + 10 for seed in range(8)]


# ------------------------------------------------------------------ results


@pytest.mark.parametrize("value", [None, 5, (1, 2)])
def test_without_returns_a_call_gives_none(value: Any, tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    @zfut.remote(num_returns=0)
    def write() -> Any:
        ran.touch()
        return value

    assert write.remote() is None
    until(ran.exists, "it runs all the same")


@pytest.mark.parametrize("make", [tuple, list, lambda r: (i for i in r)])
def test_as_many_references_as_returns(make: Callable[[range], Any]) -> None:
    @zfut.remote(num_returns=3)
    def three() -> Any:
        return make(range(3))

    refs = three.remote()
    assert len(refs) == 3
    assert zfut.get(refs, timeout=WAIT_S) == [0, 1, 2]


@pytest.mark.parametrize(("value", "got"), [((1, 2), "2 values"), ((1,) * 4, "4 values")])
def test_another_number_of_values_than_returns_is_an_error_of_each(
    value: tuple[int, ...], got: str
) -> None:
    @zfut.remote(num_returns=3)
    def wrong() -> tuple[int, ...]:
        return value

    for ref in wrong.remote():
        with pytest.raises(
            ValueError, match=rf"wrong\(\) has num_returns=3 but returned {got}"
        ):
            zfut.get(ref, timeout=WAIT_S)


def test_one_value_for_several_returns_is_an_error_that_names_its_type() -> None:
    for ref in total.options(num_returns=2).remote(1):
        with pytest.raises(ValueError, match="num_returns=2 but returned one int"):
            zfut.get(ref, timeout=WAIT_S)


def test_each_of_several_returns_can_be_used_by_itself() -> None:
    @zfut.remote(num_returns=2)
    def parts() -> tuple[list[int], bytes]:
        return [1], b"x" * 200_000

    small, large = parts.remote()
    del small
    assert len(zfut.get(large, timeout=WAIT_S)) == 200_000


# ------------------------------------------------------------------ redefinition


def test_a_redefined_function_never_runs_an_older_body() -> None:
    """Calls of five versions are pending at once, 200 of each."""
    refs: dict[int, list[Any]] = {}
    for version in range(5):
        scope: dict[str, Any] = {"__name__": "__main__"}
        exec(f"def f(x): return {version} * 1000 + x", scope)  # noqa: S102  as a notebook does
        f = zfut.remote(scope["f"])
        refs[version] = [f.remote(i) for i in range(200)]
    for version, pending in refs.items():
        wanted = [version * 1000 + i for i in range(200)]
        assert zfut.get(pending, timeout=WAIT_S) == wanted


def test_a_name_that_is_defined_later_is_seen_by_a_redefinition() -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    cell = "def f(): return later()"
    exec(cell, scope)  # noqa: S102  as a notebook does
    with pytest.raises(NameError, match="later"):
        zfut.get(zfut.remote(scope["f"]).remote(), timeout=WAIT_S)
    exec("def later(): return 7\n" + cell, scope)  # noqa: S102
    assert zfut.get(zfut.remote(scope["f"]).remote(), timeout=WAIT_S) == 7


# ------------------------------------------------------------------ retries


def test_a_crash_is_tried_again_and_an_error_is_not(tmp_path: Path) -> None:
    crashes, raises = tmp_path / "crashes", tmp_path / "raises"

    @zfut.remote(max_retries=2)
    def crash() -> int:
        if note_try(crashes) < 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return tries(crashes)

    @zfut.remote(max_retries=2)
    def fail() -> None:
        note_try(raises)
        raise ValueError("no")

    assert zfut.get(crash.remote(), timeout=WAIT_S) == 3
    with pytest.raises(ValueError, match="no"):
        zfut.get(fail.remote(), timeout=WAIT_S)
    assert tries(raises) == 1


@pytest.mark.parametrize("retries", [0, 1])
def test_no_more_tries_than_options_allow(retries: int, tmp_path: Path) -> None:
    path = tmp_path / "tries"

    @zfut.remote(max_retries=5)
    def crash() -> None:
        note_try(path)
        os._exit(7)

    with pytest.raises(errors.WorkerCrashedError, match=r"crash\(\) died.*code 7"):
        zfut.get(crash.options(max_retries=retries).remote(), timeout=WAIT_S)
    assert tries(path) == retries + 1


def test_innocent_tasks_survive_the_crash_of_their_worker() -> None:
    @zfut.remote(max_retries=0)
    def crash() -> None:
        os._exit(1)

    refs = [add.remote(i) for i in range(300)]
    crashes = [crash.remote() for _ in range(5)]
    refs += [add.remote(i) for i in range(300)]
    for ref in crashes:
        with pytest.raises(errors.WorkerCrashedError):
            zfut.get(ref, timeout=WAIT_S)
    assert zfut.get(refs, timeout=WAIT_S) == [i + 110 for i in range(300)] * 2


class FlakyError(Exception):
    """Raised by tasks that are to be tried again."""


class WorseError(FlakyError):
    """A kind of it."""


def fails_until(path: Path, needed: int, kind: type[Exception]) -> Callable[[], int]:
    def attempt() -> int:
        if note_try(path) < needed:
            raise kind("not yet")
        return zfut.get_runtime_context().attempt

    return attempt


@pytest.mark.parametrize("which", [True, [FlakyError], (ValueError, FlakyError)])
def test_errors_are_tried_again_if_asked(which: Any, tmp_path: Path) -> None:
    attempt = fails_until(tmp_path / "tries", 3, WorseError)
    function = zfut.remote(max_retries=2, retry_exceptions=which)(attempt)
    assert zfut.get(function.remote(), timeout=WAIT_S) == 2
    assert tries(tmp_path / "tries") == 3


@pytest.mark.parametrize(
    ("which", "retries", "wanted"),
    [([ValueError], 5, 1), (True, 0, 1), (True, 2, 3), (False, 5, 1), ([WorseError], 5, 1)],
)
def test_an_error_comes_back_when_it_is_another_or_no_try_is_left(
    which: Any, retries: int, wanted: int, tmp_path: Path
) -> None:
    attempt = fails_until(tmp_path / "tries", 100, FlakyError)
    function = zfut.remote(max_retries=retries, retry_exceptions=which)(attempt)
    with pytest.raises(FlakyError, match="not yet"):
        zfut.get(function.remote(), timeout=WAIT_S)
    assert tries(tmp_path / "tries") == wanted


def test_options_override_what_is_tried_again(tmp_path: Path) -> None:
    never = zfut.remote(fails_until(tmp_path / "tries", 2, FlakyError))
    with pytest.raises(FlakyError):
        zfut.get(never.remote(), timeout=WAIT_S)
    again = never.options(retry_exceptions=True)
    (tmp_path / "tries").unlink()
    assert zfut.get(again.remote(), timeout=WAIT_S) == 1
    (tmp_path / "tries").unlink()
    with pytest.raises(FlakyError):
        zfut.get(again.options(retry_exceptions=False).remote(), timeout=WAIT_S)


def test_crashes_and_errors_share_their_number_of_tries(tmp_path: Path) -> None:
    path = tmp_path / "tries"

    @zfut.remote(max_retries=3, retry_exceptions=True)
    def either() -> None:
        if note_try(path) % 2:
            os._exit(1)
        raise FlakyError("again")

    with pytest.raises(FlakyError):
        zfut.get(either.remote(), timeout=WAIT_S)
    assert tries(path) == 4


def test_arguments_and_borrowed_references_survive_a_retry(tmp_path: Path) -> None:
    path = tmp_path / "tries"

    @zfut.remote(max_retries=3, retry_exceptions=True)
    def use(large: bytes, boxed: list[Any]) -> int:
        if note_try(path) < 3:
            raise FlakyError("not yet")
        return len(large) + zfut.get(boxed[0])

    ref = use.remote(zfut.put(b"x" * 300_000), [zfut.put(5)])
    assert zfut.get(ref, timeout=WAIT_S) == 300_005


# ------------------------------------------------------------------ what does not fit


def test_a_task_that_never_fits_says_so_at_once_and_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ref = add.options(num_cpus=64).remote(1)
    until(lambda: "needs CPU:64, this node has CPU:2" in caplog.text, "it is said")
    with pytest.raises(errors.GetTimeoutError, match=r"needs CPU:64"):
        zfut.get(ref, timeout=0.01)
    assert zfut.nodes()[0]["waiting"][0]["infeasible"]
    assert zfut.get(add.remote(1), timeout=WAIT_S) == 111
    zfut.cancel(ref)
    with pytest.raises(errors.TaskCancelledError):
        zfut.get(ref, timeout=WAIT_S)


def test_a_task_that_never_fits_fails_after_its_schedule_timeout() -> None:
    ref = add.options(resources={"moon": 1}, schedule_timeout=0.05).remote(1)
    with pytest.raises(errors.TaskUnschedulableError, match=r"moon:1.*0\.05 s") as caught:
        zfut.get(ref, timeout=WAIT_S)
    assert caught.value.task_name == "add"


def test_a_task_that_finds_no_room_in_time_fails_and_others_wait_on(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    @zfut.remote(num_cpus=2)
    def hold() -> None:
        gate.read_bytes()

    busy = hold.remote()
    hurried = add.options(schedule_timeout=0.05).remote(1)
    patient = [add.remote(1), add.options(schedule_timeout=WAIT_S).remote(2)]
    with pytest.raises(errors.TaskUnschedulableError, match=r"add\(\).*0\.05 s"):
        zfut.get(hurried, timeout=WAIT_S)
    assert zfut.wait([busy, *patient], timeout=0)[0] == []
    gate.write_bytes(b"")
    assert zfut.get(patient, timeout=WAIT_S) == [111, 112]
    zfut.get(busy, timeout=WAIT_S)


def test_the_schedule_timeout_counts_from_when_the_arguments_are_there(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    @zfut.remote
    def slow() -> int:
        gate.read_bytes()
        return 1

    argument = slow.remote()
    late = add.options(schedule_timeout=5).remote(argument)
    expired = add.options(num_cpus=64, schedule_timeout=0.02).remote(1)
    assert zfut.wait([expired], timeout=WAIT_S)[0]
    gate.write_bytes(b"")
    assert zfut.get(late, timeout=WAIT_S) == 111


def test_tasks_that_are_placed_in_time_do_not_notice() -> None:
    function = add.options(schedule_timeout=WAIT_S)
    refs = [function.remote(i) for i in range(500)]
    assert zfut.get(refs, timeout=WAIT_S) == [i + 110 for i in range(500)]


# ------------------------------------------------------------------ resources


def test_resources_in_use_are_left_out_and_come_back_exactly(tmp_path: Path) -> None:
    total_before = zfut.available_resources()
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    @zfut.remote(num_cpus=2)
    def hold() -> None:
        gate.read_bytes()

    ref = hold.remote()
    until(lambda: "CPU" not in zfut.available_resources(), "what is used up is left out")
    gate.write_bytes(b"")
    zfut.get(ref, timeout=WAIT_S)
    parts = [add.options(num_cpus=cpus) for cpus in (0.1, 0.3, 0.0001, 1.7, 0)]
    zfut.get([parts[i % 5].remote(i) for i in range(300)], timeout=WAIT_S)
    until(lambda: zfut.available_resources() == total_before, "exactly what there was")


def test_no_more_run_at_once_than_fit(tmp_path: Path) -> None:
    running, most = tmp_path / "running", tmp_path / "most"
    running.mkdir()
    most.mkdir()

    @zfut.remote(num_cpus=0.7)
    def count(i: int) -> None:
        (running / str(i)).touch()
        (most / str(len(list(running.iterdir())))).touch()
        (running / str(i)).unlink()

    zfut.get([count.remote(i) for i in range(60)], timeout=WAIT_S)
    assert {path.name for path in most.iterdir()} <= {"1", "2"}


def test_submitting_from_a_thread_that_never_waits() -> None:
    refs: list[Any] = []
    thread = threading.Thread(target=lambda: refs.extend(add.remote(i) for i in range(1000)))
    thread.start()
    thread.join()
    until(lambda: len(zfut.wait(refs, num_returns=1000, timeout=0)[0]) == 1000, "all run")
