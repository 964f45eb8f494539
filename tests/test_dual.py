"""The error a caller sees is a TaskError and an instance of the class the task raised."""

from __future__ import annotations

import copy
import dataclasses
import gc
import logging
import pickle
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Self

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zfut import errors
from zfut.errors import TaskError
from zfut.task_errors import capture, decode_failure, encode_failure

PICKLERS = [pickle.dumps, cloudpickle.dumps]


def fail(
    function: Callable[[], object], name: str = "f", pid: int = 813, actor: str | None = None
) -> bytes:
    """Run a task as an executor does and return its failure."""
    try:
        function()
    except BaseException as error:  # noqa: BLE001  as an executor
        failure = capture(error, task_name=name, pid=pid, node="b1", actor_repr=actor)
        return encode_failure(failure)
    raise AssertionError(function)


def thrower(error: BaseException) -> Callable[[], NoReturn]:
    def throw() -> NoReturn:
        raise error

    return throw


def arrive(error: BaseException) -> Any:
    """Raise in a task, and return what the driver gets."""
    return decode_failure(fail(thrower(error)))


class AppError(Exception):
    """Has a constructor of its own, several arguments, and says its message differently."""

    def __init__(self, code: int, *, where: str = "here") -> None:
        super().__init__(f"code {code} {where}")
        self.code = code
        self.where = where

    @property
    def shown(self) -> str:
        return f"<{self.code}>"

    def __str__(self) -> str:
        return f"app: {self.args[0]}"


class ReducedError(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__("reduced")
        self.a, self.b = a, b

    def __reduce__(self) -> tuple[Any, ...]:
        return ReducedError, (self.a, self.b), {"note": "by reduce"}


class SlottedError(ValueError):
    __slots__ = ("left", "never_set", "right")

    def __init__(self, left: int, right: int) -> None:
        super().__init__(left, right)
        self.left, self.right = left, right


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    x: int
    y: str


class NewError(OSError):
    def __new__(cls, path: str, extra: int) -> Self:
        made = super().__new__(cls, 2, "gone", path)
        made.extra = extra
        return made

    def __init__(self, path: str, extra: int) -> None:  # noqa: ARG002
        super().__init__(2, "gone", path)

    extra: int


class NameClashError(Exception):
    """Its attributes have the names of TaskError's."""

    def __init__(self) -> None:
        super().__init__("clash")
        self.pid = "my pid"
        self.node = "my node"
        self.cause = "my cause"

    @property
    def task_name(self) -> str:
        return "my name"


class ClosedError(Exception):
    def __init_subclass__(cls) -> None:
        text = "closed"
        raise TypeError(text)


class AbortError(BaseException):
    pass


class MyGroup(ExceptionGroup[Exception]):
    def __new__(cls, excs: list[Exception], tag: str) -> Self:
        made = super().__new__(cls, f"group {tag}", excs)
        made.tag = tag
        return made

    def derive(self, excs: Sequence[Any]) -> MyGroup:  # type: ignore[override]
        return MyGroup(list(excs), self.tag)

    tag: str


# ------------------------------------------------------------------ both classes


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("division by zero"),
        KeyError("missing"),
        AppError(7, where="there"),
        ReducedError(1, 2),
        SlottedError(1, 2),
        FrozenError(1, "y"),
        NewError("/nowhere", 5),
        FileNotFoundError(2, "No such file", "/nowhere"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        StopIteration(5),
        SystemExit(3),
        ImportError("no", name="helpers", path="/p"),
        SyntaxError("bad", ("file.py", 1, 2, "x =", 1, 3)),
        AbortError("stop"),
        ExceptionGroup("many", [ValueError(1), ExceptionGroup("in", [KeyError("k")])]),
        MyGroup([ValueError(1)], "t"),
        errors.ActorDiedError(b"\x01", "Counter", "killed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_it_is_both_a_task_error_and_the_users_class(error: BaseException) -> None:
    """Behaviours 1, 2, 9, 13."""
    vars(error)["noted"] = ["kept"]
    got = arrive(error)
    loaded = [pickle.loads(dumps(got)) for dumps in PICKLERS]  # noqa: S301
    for one in [got, *loaded, copy.copy(got), copy.deepcopy(got)]:
        assert isinstance(one, TaskError)
        assert isinstance(one, type(error))
        assert type(one.cause) is type(error)
        for made in (one, one.cause):
            assert repr(made.args) == repr(error.args)
            if not isinstance(error, ReducedError):  # it says itself what is sent
                assert vars(made)["noted"] == ["kept"]
            for name in ("code", "where", "a", "b", "left", "right", "x", "y", "extra", "tag"):
                assert getattr(made, name, None) == getattr(error, name, None)
            for name in ("errno", "strerror", "filename", "object", "start", "value", "name"):
                assert getattr(made, name, None) == getattr(error, name, None)
            for name in ("lineno", "text", "path", "message"):
                if not hasattr(TaskError("", "", ()), name) or made is one.cause:
                    assert getattr(made, name, None) == getattr(error, name, None)
        assert str(one.cause) == str(error)
        assert str(one) == str(got)
        assert one.as_instanceof_cause() is one


def test_methods_and_properties_of_the_user_work() -> None:
    got = arrive(AppError(7))
    assert got.shown == "<7>"
    assert type(got).__name__ == "TaskError(AppError)"
    assert not hasattr(arrive(SlottedError(1, 2)), "never_set")


def test_the_class_is_made_once_and_does_not_outlive_its_use() -> None:
    class LocalError(Exception):
        pass

    first, second = arrive(LocalError(1)), arrive(LocalError(2))
    assert type(first) is type(second)
    assert type(first).__mro__[1] is LocalError
    del first, second
    gc.collect()
    assert LocalError.__subclasses__() == []


def test_a_plain_exception_is_a_task_error_with_its_arguments() -> None:
    for cls in (Exception, BaseException):
        got = arrive(cls("boom", 3))
        assert type(got).__name__ == "TaskError"
        assert got.args == ("boom", 3)
        assert type(got.cause) is cls


def test_where_it_was_raised() -> None:
    got = arrive(ValueError("boom"))
    assert (got.task_name, got.pid, got.node) == ("f", 813, "b1")
    assert got.type_name == "ValueError"
    assert got.message == "boom"
    assert got.remote_traceback.endswith("ValueError: boom\n")
    assert decode_failure(fail(thrower(ValueError())), b"\x05").task_id == b"\x05"  # type: ignore[attr-defined]


def test_attributes_of_the_user_win_but_for_the_cause() -> None:
    got = arrive(NameClashError())
    assert (got.pid, got.node, got.task_name) == ("my pid", "my node", "my name")
    assert isinstance(got.cause, NameClashError)
    assert got.cause.cause == "my cause"
    assert "f() failed in pid 813 on node b1" in str(got)


def test_what_is_changed_on_arrival_is_pickled_too() -> None:
    got = arrive(AppError(7))
    got.add_note("while loading")
    got.code = 8
    got.seen = True
    again = arrive(AppError(9))
    again.add_note("one")
    twice = pickle.loads(pickle.dumps(again))  # noqa: S301
    twice.add_note("two")
    for dumps in PICKLERS:
        loaded = pickle.loads(dumps(got))  # noqa: S301
        assert loaded.__notes__ == ["while loading"]
        assert (loaded.code, loaded.seen) == (8, True)
        assert loaded.cause.code == 7
        assert pickle.loads(dumps(twice)).__notes__ == ["one", "two"]  # noqa: S301


def test_a_class_that_forbids_subclassing_gives_a_plain_task_error_and_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Behaviour 3."""
    with caplog.at_level(logging.WARNING, "zfut"):
        got = [arrive(ClosedError("boom")) for _ in range(2)]
    for one in (*got, pickle.loads(pickle.dumps(got[0]))):  # noqa: S301
        assert isinstance(one, TaskError)
        assert not isinstance(one, ClosedError)
        assert isinstance(one.cause, ClosedError)
        assert one.args == ("boom",)
        assert one.as_instanceof_cause() is one
        assert "Catch TaskError (not " in str(one)
    assert len(caplog.records) == 1
    assert "ClosedError cannot be subclassed (TypeError: closed)" in caplog.text
    assert "Catch zfut.errors.TaskError" in caplog.text


def test_groups_work_with_except_star() -> None:
    """Behaviour 9."""
    seen: list[object] = []
    for group in (
        ExceptionGroup(
            "many", [ValueError(1), TypeError(2), ExceptionGroup("x", [KeyError(3)])]
        ),
        MyGroup([ValueError(1), TypeError(2), KeyError(3)], "t"),
    ):
        seen.clear()
        try:
            raise arrive(group)
        except* ValueError as caught:
            seen += caught.exceptions
            seen.append(getattr(caught, "tag", "t"))
        except* (TypeError, KeyError) as caught:
            seen.append(len(caught.exceptions))
        assert repr(seen) == "[ValueError(1), 't', 2]"


def test_a_group_that_makes_more_of_its_own_class() -> None:
    class SameGroup(ExceptionGroup[Exception]):
        def derive(self, excs: Sequence[Any]) -> SameGroup:  # type: ignore[override]
            return type(self)(self.message, excs)

    got = arrive(SameGroup("m", [ValueError(1), TypeError(2)]))
    part, _ = got.split(ValueError)
    assert isinstance(part, SameGroup)
    assert str(part) == "m (1 sub-exception)"
    loaded = pickle.loads(cloudpickle.dumps(part))  # noqa: S301
    assert type(loaded) is SameGroup
    assert repr(loaded.exceptions) == "(ValueError(1),)"


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from([ValueError, KeyError, RuntimeError, OSError, StopIteration, AbortError]),
    st.lists(plain, max_size=4),
    st.dictionaries(st.text(min_size=1), plain, max_size=3),
)
def test_arguments_and_attributes_of_any_kind_arrive(
    cls: type[BaseException], args: list[object], attributes: dict[str, object]
) -> None:
    error = cls(*args)
    vars(error).update(attributes)
    got = arrive(error)
    assert isinstance(got, cls)
    assert isinstance(got, TaskError)
    assert got.args == error.args
    assert {name: vars(got.cause)[name] for name in attributes} == attributes
    assert str(pickle.loads(pickle.dumps(got))) == str(got)  # noqa: S301
