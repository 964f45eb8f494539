"""References and handles used as nobody should: each ends with a value or a clear error."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

import zfut
from tests.api.conftest import Start, owned
from tests.cluster.leftovers import ended, until
from zfut import errors
from zfut.errors import (
    ActorDiedError,
    ObjectFreedError,
    SerializationError,
    TaskCancelledError,
    TaskError,
    UsageError,
    WorkerCrashedError,
)
from zfut.session import current
from zfut.testing import lose

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
def first(boxed: list[Any]) -> Any:
    return boxed[0]


@zfut.remote
class Box:
    """Keeps what it is given, and gives it back."""

    def __init__(self) -> None:
        self.kept: Any = None

    def keep(self, thing: Any) -> None:
        self.kept = thing

    def look(self) -> Any:
        return self.kept

    def pid(self) -> int:
        return os.getpid()


def memory_cycles() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "memory", "--cycles"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


# ------------------------------------------------------------------ cycles


@zfut.remote
def when_told(gate: Path, box: Any) -> Any:
    """Return what the box holds by then."""
    gate.read_bytes()
    return zfut.get(box.look.remote())


def test_a_task_that_returns_a_reference_to_itself(start: Start, tmp_path: Path) -> None:
    """Its value can be read as often as one likes; what it holds is itself, and is reported."""
    start(num_cpus=1)
    gate, box = fifo(tmp_path / "gate"), Box.remote()
    ref = when_told.remote(gate, box)
    zfut.get(box.keep.remote([ref]), timeout=WAIT_S)
    gate.write_bytes(b"")
    inner = zfut.get(ref, timeout=WAIT_S)
    assert inner == [ref]
    assert zfut.get(inner[0], timeout=WAIT_S) == [ref]
    name = ref.binary()
    zfut.get(box.keep.remote(None), timeout=WAIT_S)
    assert "keep each other alive" not in memory_cycles()
    del ref, inner
    until(lambda: not owned()[name].local, "nobody has a reference")
    assert f"keep each other alive: result {name[12:14].hex()}" in memory_cycles()
    zfut.shutdown()


def test_two_values_that_hold_each_other(start: Start, tmp_path: Path) -> None:
    start(num_cpus=2)
    boxes = Box.remote(), Box.remote()
    gates = fifo(tmp_path / "one"), fifo(tmp_path / "two")
    one, two = (
        when_told.options(num_cpus=0).remote(gate, box)
        for gate, box in zip(gates, boxes, strict=True)
    )
    zfut.get([boxes[0].keep.remote([two]), boxes[1].keep.remote([one])], timeout=WAIT_S)
    for gate in gates:
        gate.write_bytes(b"")
    assert zfut.get([one, two], timeout=WAIT_S) == [[two], [one]]
    zfut.get([box.keep.remote(None) for box in boxes], timeout=WAIT_S)
    names = [one.binary(), two.binary()]
    del one, two
    until(lambda: not any(owned()[name].local for name in names), "nobody has them")
    shown = until(
        lambda: (text := memory_cycles()).startswith("keep each other") and text, "it is seen"
    )
    assert shown.splitlines()[0].count("result ") == 2
    zfut.shutdown()


# ------------------------------------------------------------------ what tasks return


@pytest.mark.parametrize("size", [3, LARGE], ids=["small", "large"])
def test_a_task_that_returns_its_own_argument(size: int) -> None:
    ref = zfut.put(np.full(size, 6.0))
    name = ref.binary()
    by_value, as_it_came = same.remote(ref), same.remote([ref])
    assert zfut.get(by_value, timeout=WAIT_S)[0] == 6
    assert zfut.get(as_it_came, timeout=WAIT_S) == [ref]
    itself = first.remote([ref])
    assert zfut.get(itself, timeout=WAIT_S) == ref
    del ref
    assert zfut.get(zfut.get(itself))[0] == 6
    assert zfut.get(zfut.get(as_it_came)[0])[0] == 6
    del itself, as_it_came
    until(
        lambda: (row := owned().get(name)) is None or not row.in_use(),
        "nobody uses it any more",
    )
    assert zfut.get(by_value, timeout=WAIT_S)[0] == 6, "a result is a value of its own"
    del by_value
    until(lambda: name not in owned(), "nothing could be made again with it")


def test_a_task_that_returns_a_generator() -> None:
    @zfut.remote
    def squares(n: int) -> Any:
        return (i * i for i in range(n))

    with pytest.raises(SerializationError, match=r"the result of .*squares\(\): .*generator"):
        zfut.get(squares.remote(3), timeout=WAIT_S)
    assert zfut.get(squares.options(num_returns=3).remote(3), timeout=WAIT_S) == [0, 1, 4]
    with pytest.raises(ValueError, match="num_returns=2 but returned 3 values"):
        zfut.get(squares.options(num_returns=2).remote(3), timeout=WAIT_S)


def test_generator_functions_are_refused_where_they_are_decorated() -> None:
    def numbers() -> Any:
        yield 1

    async def later() -> Any:
        yield 1

    for function in (numbers, later):
        with pytest.raises(UsageError, match=r"is a generator.*Return a list"):
            zfut.remote(function)


# ------------------------------------------------------------------ side effects


def test_a_task_runs_at_least_once_and_with_max_retries_0_at_most_once(tmp_path: Path) -> None:
    @zfut.remote
    def charge(account: Path) -> int:
        with account.open("a") as file:
            file.write("10\n")
        if len(account.read_text().splitlines()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)  # after the effect, before the answer
        return 10

    assert zfut.get(charge.remote(tmp_path / "twice"), timeout=WAIT_S) == 10
    assert (tmp_path / "twice").read_text() == "10\n10\n"
    with pytest.raises(WorkerCrashedError, match="SIGKILL"):
        zfut.get(charge.options(max_retries=0).remote(tmp_path / "once"), timeout=WAIT_S)
    assert (tmp_path / "once").read_text() == "10\n"


# ------------------------------------------------------------------ depth


def test_two_hundred_nested_tasks_on_two_cpus_stay_within_the_cap_of_processes() -> None:
    @zfut.remote
    def deep(levels: int) -> int:
        return 1 + zfut.get(deep_in[0].remote(levels - 1)) if levels else 0

    deep_in = [deep]
    ref = deep.remote(200)
    most = 0
    while zfut.wait([ref], timeout=0.02)[1]:
        plain = [one for one in zfut.nodes()[0]["workers"] if not one["actor"]]
        most = max(most, len(plain))
    assert zfut.get(ref, timeout=WAIT_S) == 200
    assert 2 < most <= 4 * 2 + 16 + 1
    assert zfut.get([deep.remote(20) for _ in range(10)], timeout=WAIT_S) == [20] * 10


# ------------------------------------------------------------------ pickled elsewhere


@pytest.mark.parametrize("dump", [pickle.dump, cloudpickle.dump], ids=["pickle", "cloudpickle"])
def test_a_borrower_cannot_write_a_reference_to_a_file(
    dump: Callable[[Any, Any], None], tmp_path: Path
) -> None:
    @zfut.remote
    def save(boxed: list[Any], path: Path) -> None:
        with path.open("wb") as file:
            dump({"saved": boxed}, file)

    ref, box = zfut.put(1), Box.remote()
    name = ref.binary()
    for thing in (ref, box):
        with pytest.raises(UsageError, match="pickled outside zfut") as caught:
            zfut.get(save.remote([thing], tmp_path / "file"), timeout=WAIT_S)
        assert isinstance(caught.value, TaskError)
        assert "nothing keeps it alive" in str(caught.value)
    assert zfut.get(ref) == 1
    with pytest.raises((EOFError, pickle.UnpicklingError)):
        pickle.loads((tmp_path / "file").read_bytes())  # noqa: S301  written by this test
    del ref, thing, caught
    until(lambda: name not in owned(), "the borrower keeps nothing")


@pytest.mark.parametrize("where", ["argument", "attribute", "cause", "handle"])
def test_an_exception_that_holds_a_reference_says_so(where: str) -> None:
    """It arrives as a TaskError that names the class, the message and the reason."""

    @zfut.remote
    def fail(boxed: list[Any], where: str) -> None:
        error = ValueError("with", boxed[0]) if where == "argument" else ValueError("plain")
        if where == "cause":
            raise error from KeyError(boxed[0])
        error.inner = boxed[0]  # type: ignore[attr-defined]
        raise error

    held = Box.remote() if where == "handle" else zfut.put(1)
    failed = fail.remote([held], where)
    for ref in (failed, same.remote(failed)):
        with pytest.raises(TaskError) as caught:
            zfut.get(ref, timeout=WAIT_S)
        text = str(caught.value)
        assert "ValueError" in text
        if where == "cause":
            assert "KeyError" in text
            continue
        assert not isinstance(caught.value, ValueError)
        assert "pickled outside zfut, where nothing keeps it alive" in text
    assert zfut.get(same.remote(1), timeout=WAIT_S) == 1, "the worker lives on"


# ------------------------------------------------------------------ after the end


def test_a_handle_after_its_actors_death() -> None:
    @zfut.remote
    def use(handle: Any) -> Any:
        return zfut.get(handle.look.remote())

    box = Box.remote()
    pid = zfut.get(box.pid.remote(), timeout=WAIT_S)
    boxed, made = zfut.put([box]), box.look.remote()
    assert zfut.get(made, timeout=WAIT_S) is None
    zfut.kill(box)
    assert ended(pid)
    again = zfut.get(boxed)[0]
    assert again == box
    assert hash(again) == hash(box)
    calls = [
        box.look.remote(),
        again.keep.remote(zfut.put(1)),
        use.remote(box),
        use.remote(box),
    ]
    calls.append(same.remote(again.look.remote()))
    for call in calls:
        with pytest.raises(ActorDiedError, match=r"zfut\.kill\(\)") as caught:
            zfut.get(call, timeout=WAIT_S)
        assert caught.value.actor_id == box.actor_id
    zfut.kill(box)
    zfut.kill(box, no_restart=False)
    assert zfut.get(made) is None, "what it returned while it lived stays"
    assert zfut.get(same.remote([box]), timeout=WAIT_S) == [box]
    with pytest.raises(AttributeError):
        box.no_such_method.remote()
    zfut.cancel(box.look.remote())


def test_what_a_session_made_is_refused_in_the_next(start: Start) -> None:
    """Inside values, functions and calls as well as by itself; it never hangs."""
    start(num_cpus=1)
    ref, box = zfut.put(1), Box.remote()
    outer = zfut.put([ref])
    inner = zfut.get(outer)
    zfut.shutdown()
    start(num_cpus=1)
    fresh = Box.remote()

    @zfut.remote
    def captures() -> Any:
        return zfut.get(ref)

    for use in (
        lambda: zfut.get(ref),
        lambda: zfut.get(inner[0]),
        lambda: zfut.put({"inside": ref}),
        lambda: fresh.keep.remote([ref]),
        lambda: fresh.keep.remote(ref),
        lambda: fresh.keep.remote(box),
        captures.remote,
        lambda: zfut.kill(box),
        ref.explain,
        ref.future,
    ):
        with pytest.raises(ValueError, match=r"its session has ended|was shut down") as caught:
            use()
        assert isinstance(caught.value, errors.SessionError)
    assert zfut.get(fresh.look.remote(), timeout=WAIT_S) is None


# ------------------------------------------------------------------ what was cancelled


@zfut.remote(num_returns=2)
def pair(begun: Path, gate: Path) -> Any:
    begun.write_bytes(b"")
    gate.read_bytes()
    return 1, 2


def test_the_results_of_a_cancelled_task_say_so_wherever_they_are_used(tmp_path: Path) -> None:
    async def wait_for(ref: Any) -> Any:
        return await ref

    begun, gate = fifo(tmp_path / "begun"), fifo(tmp_path / "gate")
    one, two = pair.remote(begun, gate)
    begun.read_bytes()
    zfut.cancel(one)
    uses: list[Callable[[], Any]] = [
        lambda: zfut.get(one, timeout=WAIT_S),
        lambda: zfut.get(two, timeout=WAIT_S),
        lambda: zfut.get([zfut.put(1), two], timeout=WAIT_S),
        lambda: zfut.get(same.remote(two), timeout=WAIT_S),
        lambda: zfut.get(zfut.get(same.remote([two]), timeout=WAIT_S)[0], timeout=WAIT_S),
        lambda: one.future().result(timeout=WAIT_S),
        lambda: asyncio.run(wait_for(one)),
    ]
    for use in uses:
        with pytest.raises(TaskCancelledError, match=r"pair\(\) was cancelled"):
            use()
    assert zfut.wait([one, two], num_returns=2, timeout=WAIT_S) == ([one, two], [])
    assert set(zfut.as_completed([one, two])) == {one, two}
    assert "cancelled" in repr(one) or "failed" in repr(one)
    zfut.cancel(one)
    zfut.cancel(two, force=True)
    box = Box.remote()
    zfut.get(box.keep.remote([one]), timeout=WAIT_S)
    held = zfut.get(box.look.remote(), timeout=WAIT_S)[0]
    with pytest.raises(TaskCancelledError):
        zfut.get(held, timeout=WAIT_S)


# ------------------------------------------------------------------ free


@zfut.remote
def free_it(boxed: list[Any]) -> None:
    zfut.free(boxed)


@zfut.remote
def free_own() -> bool:
    ref = zfut.put(1)
    zfut.free(ref)
    try:
        zfut.get(ref)
    except ObjectFreedError:
        return True
    return False


def test_only_the_owner_frees() -> None:
    mine, others = zfut.put(1), zfut.put(2)
    with pytest.raises(
        UsageError, match=r"belongs to process .* owner .*Drop the reference here"
    ):
        zfut.get(free_it.remote([mine]))
    assert zfut.get([mine, others]) == [1, 2]
    assert zfut.get(free_own.remote())


@pytest.mark.parametrize("wrong", [1, "ref", b"ref", None, {}, {1}, [1], [None]])
def test_free_takes_references_only(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"free\(\) takes .*references"):
        zfut.free(wrong)


def test_one_wrong_reference_and_none_is_freed() -> None:
    ref, box = zfut.put(1), Box.remote()
    for wrong in (box, "ref"):
        with pytest.raises(TypeError, match=r"free\(\) takes references"):
            zfut.free([ref, wrong])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"free\(\) takes a reference"):
        zfut.free(box)  # type: ignore[arg-type]
    assert zfut.get(ref) == 1
    zfut.free([])
    zfut.free(())


def test_free_leaves_an_error_as_it_is() -> None:
    failed = first.remote([])
    with pytest.raises(IndexError):
        zfut.get(failed)
    zfut.free(failed)
    with pytest.raises(IndexError):
        zfut.get(failed)


@pytest.mark.parametrize("copy", [False, True])
def test_one_thread_frees_what_others_read(copy: bool) -> None:  # noqa: FBT001
    """Each reader gets the value or the error; never bytes of the value that comes after it."""
    wrong: list[object] = []
    newest: list[Any] = [(zfut.put(np.full(LARGE, 0.0)), 0.0)]
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            ref, right = newest[0]
            try:
                array = zfut.get(ref, copy=copy)
            except ObjectFreedError:
                continue
            if not (array == right).all():
                wrong.append((right, array[0], array[-1]))

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 200):
        ref, _ = newest[0]
        newest[0] = zfut.put(np.full(LARGE, float(number))), float(number)
        zfut.free(ref)
    over.set()
    for reader in readers:
        reader.join()
    assert not wrong


@pytest.mark.parametrize("copy", [False, True])
def test_a_thread_that_looked_before_it_was_freed_reads_nothing(copy: bool) -> None:  # noqa: FBT001
    """What a thread knows of the value's place is of no use once the value is freed, or another."""
    session = current()
    put, made = zfut.put(np.ones(LARGE)), same.options(max_retries=1).remote(np.ones(LARGE))
    zfut.wait([made])
    seen = {ref: session.owner.rows[ref.binary()].value for ref in (put, made)}
    zfut.free(put)
    others = [zfut.put(np.zeros(LARGE)) for _ in range(4)]
    with pytest.raises(ObjectFreedError):
        session.read(seen[put], put.binary(), copy=copy)
    lose(made)
    zfut.wait([made])
    assert (session.read(seen[made], made.binary(), copy=copy) == 1).all()
    assert len(others) == 4
