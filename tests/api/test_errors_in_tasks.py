"""Errors of tasks: what arrives at get(), what it says, and what becomes of crashed workers."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import pickle
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

import zfut
from tests.cluster.leftovers import ended
from zfut import errors

pytestmark = pytest.mark.cluster
WAIT_S = 30


class PlainError(Exception):
    """A user's error with fields of its own."""

    def __init__(self, code: int, where: str) -> None:
        super().__init__(f"code {code} in {where}")
        self.code, self.where = code, where

    def __reduce__(self) -> tuple[Any, ...]:
        return PlainError, (self.code, self.where)


class FinalError(Exception):
    """Forbids subclasses."""

    def __init_subclass__(cls) -> None:
        text = "final"
        raise TypeError(text)


class LockedError(Exception):
    """Cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


def explode() -> NoReturn:
    raise RuntimeError("boom while unpickling")


class PoisonError(Exception):
    """Pickles, and cannot be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return explode, ()


@zfut.remote
def fail(error: BaseException) -> None:
    raise error


@zfut.remote
def identity(*values: Any) -> Any:
    return values


@zfut.remote(max_retries=0)
def run(crash: Any) -> None:
    crash()


def raised(ref: Any) -> Any:
    """Return the error that ``get`` raises."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011  the tests look at it
        zfut.get(ref, timeout=WAIT_S)
    return caught.value


# ------------------------------------------------------------------ the two classes of an error


def test_an_error_is_of_its_own_class_and_a_task_error() -> None:
    @zfut.remote
    def divide(a: int, b: int) -> float:
        return a / b

    error = raised(divide.remote(1, 0))
    assert isinstance(error, ZeroDivisionError)
    assert isinstance(error, errors.TaskError)
    assert isinstance(error.cause, ZeroDivisionError)
    assert error.task_name == "divide"


def test_both_classes_survive_a_chain_of_tasks() -> None:
    @zfut.remote
    def nested(depth: int) -> Any:
        if depth:
            return zfut.get(nested_in[0].remote(depth - 1))
        raise KeyError("deep")

    nested_in = [nested]
    error = raised(nested.remote(3))
    assert isinstance(error, KeyError)
    assert isinstance(error, errors.TaskError)
    assert len(error.hops) == 4
    assert str(error).count("nested() failed in pid") == 4


def test_the_error_keeps_its_fields_and_pickles() -> None:
    error = raised(fail.remote(PlainError(7, "here")))
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    for each in (error, again):
        assert isinstance(each, PlainError)
        assert isinstance(each, errors.TaskError)
        assert (each.code, each.where) == (7, "here")
        assert each.task_name == "fail"
    assert str(again) == str(error)


def test_an_error_that_was_caught_travels_as_a_value() -> None:
    error = raised(fail.remote(PlainError(8, "there")))
    back = zfut.get(identity.remote(error), timeout=WAIT_S)[0]
    assert isinstance(back, PlainError)
    assert back.code == 8
    assert isinstance(raised(fail.remote(back)), PlainError)


def test_a_class_without_subclasses_gives_a_plain_task_error_and_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = raised(fail.remote(FinalError("no more")))
    assert not isinstance(error, FinalError)
    assert type(error).__name__ == "TaskError"
    assert isinstance(error.cause, FinalError)
    assert "cannot be subclassed" in caplog.text
    assert "FinalError: no more" in str(error)


def test_an_error_that_cannot_be_pickled_says_so_and_its_worker_lives() -> None:
    @zfut.remote
    def locked() -> None:
        raise LockedError("with a lock")

    @zfut.remote
    def pid() -> int:
        return os.getpid()

    before = set(zfut.get([pid.remote() for _ in range(20)], timeout=WAIT_S))
    error = raised(locked.remote())
    assert type(error).__name__ == "TaskError"
    assert isinstance(error.cause, errors.UnpicklableExceptionError)
    assert "LockedError: with a lock" in str(error)
    assert "lock" in str(error.cause)
    for worker in before:
        assert not ended(worker, 0)


def test_an_error_that_cannot_be_unpickled_still_shows_its_traceback() -> None:
    @zfut.remote
    def poison() -> None:
        raise PoisonError("cannot come back")

    error = raised(poison.remote())
    assert isinstance(error, errors.TaskError)
    assert isinstance(error.cause, errors.UnpicklableExceptionError)
    assert "boom while unpickling" in str(error.cause)
    assert "in poison" in str(error)
    assert str(error).endswith("PoisonError: cannot come back")


def test_other_base_exceptions_and_groups_cross_like_errors() -> None:
    class OwnError(BaseException):
        """Is no Exception."""

    error = raised(fail.remote(OwnError("base")))
    assert isinstance(error, OwnError)
    assert isinstance(error, errors.TaskError)
    group = ExceptionGroup("several", [ValueError("one"), KeyError("two")])
    seen = []
    try:
        zfut.get(fail.remote(group), timeout=WAIT_S)
    except* KeyError as part:
        seen += part.exceptions
    except* ValueError as part:
        seen += part.exceptions
    assert sorted(type(each).__name__ for each in seen) == ["KeyError", "ValueError"]


# ------------------------------------------------------------------ what it says


def test_the_text_names_the_function_and_shows_user_frames_only() -> None:
    def inner() -> None:
        raise LookupError("where?")

    @zfut.remote
    def outer() -> None:
        inner()

    text = str(raised(outer.remote()))
    assert text.startswith("outer() failed in pid ")
    assert " on node " in text
    assert "in outer" in text
    assert "in inner" in text
    assert text.endswith("LookupError: where?")
    assert f"{os.sep}zfut{os.sep}" not in text


def test_a_chain_shows_each_hop_and_the_root_cause_last() -> None:
    @zfut.remote
    def root() -> None:
        raise ValueError("the root")

    @zfut.remote
    def middle() -> None:
        zfut.get(root.remote())

    @zfut.remote
    def top() -> None:
        zfut.get(middle.remote())

    text = str(raised(top.remote()))
    places = [text.index(f"{name}() failed in pid") for name in ("top", "middle", "root")]
    assert places == sorted(places)
    assert text.endswith("ValueError: the root")


def test_the_printed_traceback_shows_the_remote_one() -> None:
    error = raised(fail.remote(ValueError("printed")))
    shown = "".join(traceback.format_exception(error))
    assert "in fail" in shown
    assert "fail() failed in pid" in shown


def test_an_error_in_an_actor_names_class_method_id_and_repr() -> None:
    @zfut.remote
    class Shop:
        def __repr__(self) -> str:
            return "<the shop>"

        def sell(self) -> None:
            raise ValueError("sold out")

    shop = Shop.remote()
    error = raised(shop.sell.remote())
    assert isinstance(error, ValueError)
    assert "Shop.sell() failed in pid" in str(error)
    assert f"actor <the shop> ({shop.actor_id.hex()})" in str(error)


def test_writing_to_a_shared_array_is_explained_once() -> None:
    @zfut.remote
    def write(array: Any) -> None:
        array[0] = 1

    error = raised(write.remote(zfut.put(np.zeros(100_000))))
    assert isinstance(error, ValueError)
    assert "read-only" in str(error)
    shown = "".join(traceback.format_exception(error))
    assert "copy=True" in shown
    assert len(error.__notes__) == 1


# ------------------------------------------------------------------ errors and other tasks


def test_a_task_whose_argument_failed_never_runs_and_says_so(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    @zfut.remote
    def use(value: Any, other: int = 0) -> None:  # noqa: ARG001
        ran.touch()

    bad = fail.remote(PlainError(1, "the argument"))
    for ref in (use.remote(bad), use.remote(1, other=bad), use.remote(use.remote(bad))):
        error = raised(ref)
        assert isinstance(error, PlainError)
        assert "an input argument of use() could not be computed" in str(error)
        assert str(error).endswith("PlainError: code 1 in the argument")
    assert not ran.exists()


def test_get_of_many_raises_at_the_first_failure_and_waits_for_no_other(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    @zfut.remote
    def slow() -> None:
        gate.read_bytes()

    waits = slow.remote()
    for refs in ([waits, fail.remote(ValueError("a"))], [fail.remote(ValueError("b")), waits]):
        with pytest.raises(ValueError, match=r"[ab]"):
            zfut.get(refs, timeout=WAIT_S)
    assert zfut.wait([waits], timeout=0)[0] == []
    gate.write_bytes(b"")
    zfut.get(waits, timeout=WAIT_S)


def test_the_same_error_can_be_raised_again_and_again() -> None:
    ref = fail.remote(ValueError("again"))
    texts = {str(raised(ref)) for _ in range(3)}
    assert len(texts) == 1


def test_every_return_of_a_failed_task_raises() -> None:
    for ref in fail.options(num_returns=2).remote(ValueError("both")):
        assert isinstance(raised(ref), ValueError)


def test_a_dead_actor_met_inside_a_task_is_both_errors_at_the_driver() -> None:
    @zfut.remote
    class Mortal:
        def go(self) -> None:
            os._exit(3)

    @zfut.remote
    def call(boxed: list[Any]) -> None:
        zfut.get(boxed[0].go.remote())

    mortal = Mortal.remote()
    error = raised(call.remote([mortal]))
    assert isinstance(error, errors.ActorDiedError)
    assert isinstance(error, errors.TaskError)
    assert isinstance(error.cause, errors.ActorDiedError)
    assert isinstance(error.as_instanceof_cause(), errors.ActorDiedError)
    assert error.actor_id == mortal.actor_id


# ------------------------------------------------------------------ ends of workers


@pytest.mark.parametrize("code", [0, 3, None, "bye"])
def test_sys_exit_in_a_task_is_a_crash_of_its_worker(code: Any) -> None:
    error = raised(run.remote(lambda: sys.exit(code)))
    assert type(error) is errors.WorkerCrashedError
    number = code if isinstance(code, int) else int(code is not None)
    assert f"run() died: it exited with code {number}" in str(error)


def test_a_task_that_exits_is_tried_again_like_any_crash(tmp_path: Path) -> None:
    path = tmp_path / "tries"

    @zfut.remote(max_retries=1)
    def leave() -> None:
        with path.open("a") as file:
            file.write("x")
        sys.exit(4)

    assert isinstance(raised(leave.remote()), errors.WorkerCrashedError)
    assert path.read_text() == "xx"


def test_tasks_around_one_that_exits_are_not_harmed() -> None:
    refs = []
    exits = []
    for i in range(20):
        refs.append(identity.options(max_retries=0).remote(i))
        exits.append(run.remote(sys.exit))
        refs.append(identity.remote(i))
    wanted = [(i // 2,) for i in range(40)]
    assert zfut.get(refs, timeout=WAIT_S) == wanted
    for ref in exits:
        assert isinstance(raised(ref), errors.WorkerCrashedError)


def test_keyboard_interrupt_in_a_task_is_a_cancellation() -> None:
    def interrupted() -> NoReturn:
        raise KeyboardInterrupt

    error = raised(run.remote(interrupted))
    assert isinstance(error, errors.TaskCancelledError)
    assert "run() was cancelled" in str(error)


def end_at_once() -> None:
    os._exit(9)


def follow_a_null_pointer() -> None:
    ctypes.string_at(0)


def overflow_the_stack() -> None:
    """Let C code call itself without end: the interpreter's own limit is out of the way."""
    sys.setrecursionlimit(10**9)
    nested: list[Any] = []
    for _ in range(300_000):
        nested = [nested]
    repr(nested)


def abort() -> None:
    os.abort()


@pytest.mark.parametrize(
    ("crash", "why"),
    [
        (end_at_once, "code 9"),
        (follow_a_null_pointer, "SIGSEGV"),
        (overflow_the_stack, "SIGSEGV"),
        (abort, "SIGABRT"),
    ],
)
def test_a_crash_says_how_the_worker_died_and_the_session_goes_on(crash: Any, why: str) -> None:
    error = raised(run.remote(crash))
    assert type(error) is errors.WorkerCrashedError
    assert why in str(error)
    assert error.task_name == "run"
    assert zfut.get(identity.remote(1), timeout=WAIT_S) == (1,)


def test_endless_python_recursion_is_an_ordinary_error() -> None:
    def endless() -> None:
        endless()

    error = raised(run.remote(endless))
    assert isinstance(error, RecursionError)
    assert len(str(error)) < 10_000


# ------------------------------------------------------------------ actors that do not live


def test_every_call_of_an_actor_whose_constructor_raised_tells_its_error() -> None:
    @zfut.remote
    class Broken:
        def __init__(self) -> None:
            raise ValueError("köpf über fuß ✓")

        def use(self) -> None:
            """Is never reached."""

    broken = Broken.remote()
    for ref in [broken.use.remote() for _ in range(3)]:
        error = raised(ref)
        assert isinstance(error, errors.ActorDiedError)
        assert error.reason == "constructor failed"
        assert "köpf über fuß ✓" in str(error)
        assert "in __init__" in str(error)
        assert isinstance(error.cause, ValueError)


def test_the_ways_of_an_actors_end_have_words_of_their_own() -> None:
    @zfut.remote
    class Mortal:
        def pid(self) -> int:
            return os.getpid()

        def crash(self) -> None:
            os._exit(5)

        def leave(self) -> None:
            zfut.exit_actor()

    texts = {}
    for way in ("kill", "crash", "leave"):
        actor = Mortal.remote()
        zfut.get(actor.pid.remote(), timeout=WAIT_S)
        if way == "kill":
            zfut.kill(actor)
        else:
            raised(getattr(actor, way).remote())
        error = raised(actor.pid.remote())
        assert isinstance(error, errors.ActorDiedError)
        assert error.actor_id == actor.actor_id
        texts[way] = str(error)
    assert "was ended by zfut.kill()" in texts["kill"]
    assert "its process died" in texts["crash"]
    assert "code 5" in texts["crash"]
    assert "left by exit_actor()" in texts["leave"]


def test_an_actor_whose_owner_died_says_so() -> None:
    @zfut.remote
    class Orphan:
        def pid(self) -> int:
            return os.getpid()

    @zfut.remote
    class Parent:
        def bear(self) -> Any:
            self.child = Orphan.remote()
            return self.child

        def crash(self) -> None:
            os._exit(1)

    parent = Parent.remote()
    child = zfut.get(parent.bear.remote(), timeout=WAIT_S)
    zfut.get(child.pid.remote(), timeout=WAIT_S)
    raised(parent.crash.remote())
    error = raised(child.pid.remote())
    assert isinstance(error, errors.ActorDiedError)
    assert "ended with the process that created it" in str(error)


# ------------------------------------------------------------------ what cannot be sent


def test_an_argument_that_cannot_be_pickled_is_refused_at_the_call_with_its_path() -> None:
    lock = threading.Lock()
    with pytest.raises(TypeError, match=r"argument 1 of identity\(\).*\['a'\]\[1\].*lock"):
        identity.remote({"a": [1, lock]})
    with pytest.raises(errors.SerializationError, match=r"argument 'error' of fail\(\).*lock"):
        fail.remote(error=lock)


def test_a_closure_that_cannot_be_pickled_is_refused_with_its_path() -> None:
    held = {"deep": [threading.Lock()]}
    called = zfut.remote(lambda: held)
    with pytest.raises(TypeError, match=r"closure 'held'.*\['deep'\]\[0\].*lock"):
        called.remote()

    @zfut.remote
    class Holder:
        kept = held

    with pytest.raises(TypeError, match=r"actor class Holder.*kept.*lock"):
        Holder.remote()


def test_a_put_value_that_cannot_be_pickled_is_refused_with_its_path() -> None:
    with pytest.raises(TypeError, match=r"put\(\) value.*\['x'\].*lock"):
        zfut.put({"x": threading.Lock()})


def test_a_result_that_cannot_be_pickled_is_an_error_that_names_the_path() -> None:
    @zfut.remote
    def make() -> Any:
        return {"deep": [1, threading.Lock()]}

    error = raised(make.remote())
    assert isinstance(error, errors.SerializationError)
    assert isinstance(error, TypeError)
    assert "the result of make()" in str(error)
    assert "['deep'][1]" in str(error)


def test_one_of_several_results_that_cannot_be_pickled_fails_them_all() -> None:
    @zfut.remote(num_returns=2)
    def make() -> Any:
        return b"x" * 500_000, threading.Lock()

    for ref in make.remote():
        assert isinstance(raised(ref), errors.SerializationError)


def test_an_argument_that_cannot_be_unpickled_fails_its_task_only() -> None:
    class Poison:
        def __reduce__(self) -> Any:
            return explode, ()

    error = raised(identity.remote(Poison()))
    assert isinstance(error, RuntimeError)
    assert "boom while unpickling" in str(error)
    assert zfut.get(identity.remote(2), timeout=WAIT_S) == (2,)


def test_a_value_that_cannot_be_unpickled_raises_at_get() -> None:
    class Poison:
        def __reduce__(self) -> Any:
            return explode, ()

    with pytest.raises(RuntimeError, match="boom while unpickling"):
        zfut.get(zfut.put(Poison()))


def test_a_function_that_refers_to_a_missing_module_fails_with_its_name() -> None:
    @zfut.remote
    def importing() -> None:
        import no_such_module_anywhere  # noqa: F401

    error = raised(importing.remote())
    assert isinstance(error, ModuleNotFoundError)
    assert "no_such_module_anywhere" in str(error)


def test_an_exception_that_refuses_attributes_arrives_and_its_worker_lives_on() -> None:
    @dataclasses.dataclass(frozen=True)
    class NotFoundError(Exception):
        key: str

    @zfut.remote
    class Store:
        def find(self, key: str) -> None:
            raise NotFoundError(key)

        def fine(self) -> int:
            return 1

    store = Store.remote()
    with pytest.raises(errors.TaskError) as caught:
        zfut.get(store.find.remote("a"), timeout=20)
    assert caught.value.cause.key == "a"  # type: ignore[union-attr]
    assert zfut.get(store.fine.remote(), timeout=20) == 1


def test_what_no_worker_could_run_is_refused_where_it_is_made() -> None:
    async def waits() -> None:
        return

    class Slow:
        async def __init__(self) -> None:  # type: ignore[misc]
            return

    @zfut.remote
    class Base:
        pass

    with pytest.raises(errors.UsageError, match="coroutine function"):
        zfut.remote(waits)
    with pytest.raises(errors.UsageError, match="async __init__"):
        zfut.remote(Slow)
    with pytest.raises(errors.UsageError, match="cannot inherit"):

        class Derived(Base):  # type: ignore[misc, valid-type]
            pass


@pytest.mark.parametrize("value", ["ab", b"ab", {"a": 1, "b": 2}, {1, 2}])
def test_several_returns_are_a_sequence_and_nothing_else(value: object) -> None:
    @zfut.remote(num_returns=2)
    def two() -> object:
        return value

    with pytest.raises(ValueError, match=f"returned one {type(value).__name__}"):
        zfut.get(two.remote(), timeout=20)
