"""An exception between the task that raised it and the caller of get."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import msgspec
import numpy as np
import pytest

from tests import odd_exceptions as odd
from zfut import errors, raised
from zfut.actors.user_code import CancelInterrupt, Runner
from zfut.core.executor.inbox import TASK
from zfut.errors import TaskError, UnpicklableExceptionError
from zfut.task_errors import (
    BRIEF_CHARS,
    Failure,
    brief_failure,
    capture,
    decode_failure,
    dependency_failed,
    describe_failure,
    encode_error,
    encode_failure,
)
from zfut.wire import serialize


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


class CannotLoadError(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse_to_load, ()


def _refuse_to_load() -> NoReturn:
    text = "not here"
    raise RuntimeError(text)


# ------------------------------------------------------------------ what cannot travel


def locked() -> NoReturn:
    error = AppError(7)
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


def unprintable() -> NoReturn:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            text = "no text"
            raise RuntimeError(text)

    raise UnprintableError


def exits_when_pickled() -> NoReturn:
    class ExitsError(Exception):
        def __reduce__(self) -> NoReturn:
            sys.exit(3)

    raise ExitsError


def too_large() -> NoReturn:
    raise ValueError(np.zeros(raised.PICKLED_MAX_BYTES, np.uint8))


def no_exception() -> NoReturn:
    class ShamError(Exception):
        def __reduce__(self) -> tuple[Any, ...]:
            return str, ("text",)

    raise ShamError


@pytest.mark.parametrize(
    ("function", "type_name", "why"),
    [
        (locked, "AppError", "cannot pickle '_thread.lock' object"),
        (thrower(CannotLoadError("boom")), "CannotLoadError", "RuntimeError: not here"),
        (exits_when_pickled, "ExitsError", "SystemExit: 3"),
        (too_large, "ValueError", "larger than 8.0 MiB"),
        (no_exception, "ShamError", "makes an instance of str"),
    ],
    ids=["pickle", "unpickle", "exit", "size", "sham"],
)
def test_what_cannot_travel_is_told_in_words(
    function: Callable[[], object], type_name: str, why: str
) -> None:
    """Behaviours 4 and 5."""
    got: Any = decode_failure(fail(function))
    for error in (got, pickle.loads(pickle.dumps(got))):  # noqa: S301
        assert type(error).__name__ == "TaskError"
        assert type_name in error.type_name
        assert str(error).splitlines()[-1].startswith(error.type_name)
        assert "in throw" in str(error) or f"in {function.__name__}" in str(error)
        assert why in str(error)
        cause = error.cause
        assert isinstance(cause, UnpicklableExceptionError)
        assert isinstance(cause, TypeError)
        assert cause.type_name == error.type_name
        assert cause.message == error.message
        assert cause.remote_traceback == error.remote_traceback
        assert why in str(cause)


def test_what_cannot_be_loaded_here_is_told_in_words() -> None:
    """Behaviour 5, where the module is missing only at the driver."""
    failure = capture(AppError(7), task_name="f", pid=1, node="b1")
    broken = msgspec.structs.replace(failure, pickled=b"cno_such_module\nX\n.")
    got: Any = decode_failure(encode_failure(broken))
    assert type(got).__name__ == "TaskError"
    assert "No module named 'no_such_module'" in str(got.cause)
    assert str(got).endswith("AppError: app: code 7 here")


def test_an_exception_whose_text_fails() -> None:
    got: Any = decode_failure(fail(unprintable))
    assert got.message == "<its __str__ raised RuntimeError>"
    assert str(got)


@pytest.mark.parametrize("kind", odd.TOLD)
def test_an_exception_that_refuses_to_be_looked_at(kind: str) -> None:
    name, told = odd.TOLD[kind]
    first = fail(lambda: odd.throw(kind), "f")
    second = fail(thrower(decode_failure(first)), "g")
    for got in (decode_failure(first), decode_failure(second)):
        assert issubclass(type(got), TaskError)
        assert type(got).__name__ == (f"TaskError({name})" if name else "TaskError")
        assert told in str(got)
        assert "in throw" in str(got)
        assert got  # futures ask: if exception
    assert "g() failed in pid" in str(decode_failure(second))


def test_its_causes_are_told_without_its_help() -> None:
    def chained() -> None:
        try:
            try:
                raise KeyError("k")  # noqa: TRY301
            except KeyError as first:
                raise AppError(7) from first
        except AppError:
            raise odd.make("getattr")  # noqa: B904  a context, not a cause

    text = str(decode_failure(fail(chained)))
    told = ["KeyError: '__notes__'", "KeyError: 'k'", "direct cause", "AppError: app: code 7"]
    places = [text.index(part) for part in [*told, "During handling", "ApiError: api"]]
    assert places[:-1] == sorted(places[:-1])
    assert text.endswith("ApiError: api")
    assert text.count("in chained") == 3


def test_what_a_signals_handler_raises_meanwhile_is_not_the_exceptions() -> None:
    interrupting = type("OddError", (Exception,), {"__str__": odd.interrupt})
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fail(thrower(interrupting()))
    assert signal.getsignal(signal.SIGINT) == before


def test_the_cancelling_of_a_call_below_reaches_it_after_the_answer_of_the_one_on_top() -> None:
    """It came while the exception of the call on top was looked at."""
    fake: Any = SimpleNamespace(closed="", task_id=b"top", attempt=0, function=b"f", kind=TASK)
    fake.spec = fake
    runner = Runner(fake, fake, "b1")
    runner.on_top = b"below"
    runner.interrupts[b"below"] = None
    error = type("OddError", (Exception,), {"__str__": odd.interrupt})()
    before = signal.signal(signal.SIGINT, lambda *_: runner.check_interrupt())
    try:
        answer: Any = runner.failed(fake, "f", error, 0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "could not be captured" in describe_failure(answer.payload[0])
    with pytest.raises(CancelInterrupt):
        runner.check_interrupt()


def test_a_handler_that_its_code_installs_stays() -> None:
    def installs(_: object) -> str:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        return "text"

    def mine(*_: object) -> None: ...

    before = signal.signal(signal.SIGUSR1, mine)
    try:
        got = decode_failure(
            fail(thrower(type("OddError", (Exception,), {"__str__": installs})()))
        )
        assert str(got).endswith("text")
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_odd_text_survives() -> None:
    """Behaviour 11: UTF-8 included; what UTF-8 cannot say is escaped."""
    got = arrive(ValueError("Grüße 你好 \udcff"))
    assert str(got).endswith("ValueError: Grüße 你好 \\udcff")
    assert got.args == ("Grüße 你好 \udcff",)
    long = arrive(ValueError("x" * 1_000_000))
    assert len(str(long)) < 500_000
    assert len(long.args[0]) == 1_000_000


def test_garbage_is_an_error_too() -> None:
    for data in (b"", b"\xc1", b"garbage", msgspec.msgpack.encode({"hops": 3})):
        assert isinstance(decode_failure(data), errors.RemoteProtocolError)
        assert isinstance(decode_failure(dependency_failed(data, "g")), errors.ProtocolError)
        assert "cannot be read" in describe_failure(data)
    unknown = msgspec.msgpack.encode({"system": "NewError", "message": "from the future"})
    got = decode_failure(unknown)
    assert isinstance(got, errors.InternalError)
    assert "from the future" in str(got)
    assert describe_failure(unknown) == str(got)


# ------------------------------------------------------------------ the text


def test_the_text_names_function_process_and_actor_and_ends_with_the_cause() -> None:
    """Behaviour 6."""
    got = decode_failure(fail(thrower(KeyError("k")), "Counter.incr", 812, "<Counter 5>"))
    lines = str(got).splitlines()
    assert lines[0].startswith(
        "Counter.incr() failed in pid 812 on node b1, actor <Counter 5>."
    )
    assert lines[-1] == "KeyError: 'k'"
    assert "in throw" in str(got)


class _RaisesInside:
    def __reduce__(self) -> NoReturn:
        text = "inside"
        raise LookupError(text)


def packs() -> None:
    serialize.pack({"a": _RaisesInside()}, "put() value")


def test_frames_of_the_framework_are_hidden() -> None:
    got: Any = decode_failure(fail(packs))
    text = str(got)
    assert isinstance(got, errors.SerializationError)
    assert "in packs" in text
    assert "in __reduce__" in text
    package = os.path.dirname(errors.__file__)  # noqa: PTH120
    assert package not in text
    assert "cloudpickle.py" not in text
    assert package in "".join(_frames_of(packs))


def _frames_of(function: Callable[[], object]) -> list[str]:
    try:
        function()
    except Exception as error:  # noqa: BLE001  the traceback as it was
        trace, names = error.__traceback__, []
        while trace:
            names.append(trace.tb_frame.f_code.co_filename)
            trace = trace.tb_next
        return names
    return []


def test_causes_inside_a_task_are_told() -> None:
    def chained() -> None:
        try:
            raise KeyError("k")  # noqa: TRY301
        except KeyError as error:
            raise AppError(7) from error

    text = str(decode_failure(fail(chained)))
    assert (
        text.index("KeyError: 'k'") < text.index("direct cause") < text.index("AppError: app")
    )


def test_a_write_to_shared_memory_is_explained() -> None:
    def writes() -> None:
        array = np.zeros(3)
        array.flags.writeable = False
        array[0] = 1

    got: Any = decode_failure(fail(writes))
    assert isinstance(got, ValueError)
    assert "get(ref, copy=True)" in str(got)
    assert str(got).endswith("ValueError: assignment destination is read-only")


# ------------------------------------------------------------------ through several tasks


def test_a_chain_keeps_the_class_and_shows_each_hop() -> None:
    """Behaviours 1 and 6."""
    first = fail(thrower(AppError(7)), "f", 813)
    second = fail(thrower(decode_failure(first)), "g", 812)
    third = fail(thrower(decode_failure(second)), "h", 811)
    got: Any = decode_failure(third)
    assert issubclass(type(got), AppError)
    assert type(got.cause) is AppError
    assert got.code == 7
    assert [hop.name for hop in got.hops] == ["h", "g", "f"]
    assert (got.task_name, got.pid) == ("f", 813)
    text = str(got)
    places = [text.index(f"{name}() failed in pid") for name in "hgf"]
    assert places == sorted(places)
    assert text.count("AppError: app: code 7 here") == 1
    assert text.endswith("AppError: app: code 7 here")


def test_an_error_raised_from_a_task_error_is_the_new_one() -> None:
    first = fail(thrower(AppError(7)), "f", 813)

    def wraps() -> None:
        try:
            raise decode_failure(first)
        except AppError as error:
            text = "wrapped"
            raise LookupError(text) from error

    got = decode_failure(fail(wraps, "g", 812))
    assert isinstance(got, LookupError)
    assert not isinstance(got, AppError)
    assert str(got).index("AppError: app: code 7") < str(got).index("LookupError: wrapped")
    assert str(got).endswith("LookupError: wrapped")


def test_task_errors_inside_a_group_and_inside_a_value() -> None:
    inner = arrive(AppError(7))
    got: Any = decode_failure(fail(thrower(ExceptionGroup("both", [inner])), "g"))
    assert isinstance(got.exceptions[0], AppError)
    assert got.exceptions[0].code == 7
    packed = serialize.pack({"error": inner})
    back = serialize.unpack(packed.encoding, packed.to_bytes())["error"]
    assert isinstance(back, AppError)
    assert isinstance(back, TaskError)


def test_a_task_whose_input_failed() -> None:
    """Behaviour 7."""
    first = fail(thrower(AppError(7)), "f", 813)
    failed = dependency_failed(dependency_failed(first, "g"), "Counter.add")
    got: Any = decode_failure(failed)
    assert issubclass(type(got), AppError)
    assert (got.task_name, got.pid) == ("f", 813)
    lines = str(got).splitlines()
    assert lines[0].startswith(
        "Counter.add() never ran: an input argument of Counter.add() could not be computed."
    )
    assert "because g() never ran: an input argument of g() could not be computed:" in lines
    assert lines[-1].endswith("AppError: app: code 7 here")
    assert describe_failure(failed) == str(got)


def test_passing_a_failure_on_runs_no_user_code() -> None:
    failure = msgspec.msgpack.encode({"type_name": "X", "pickled": b"not a pickle at all"})
    passed = dependency_failed(failure, "g")
    assert msgspec.msgpack.decode(passed)["pickled"] == b"not a pickle at all"
    assert "X" in describe_failure(passed)


# ------------------------------------------------------------------ zfut's own errors


def test_a_system_error_is_raised_as_itself() -> None:
    sent = encode_error(errors.WorkerCrashedError("f", b"\x09", "signal 11"))
    got = decode_failure(sent)
    assert type(got) is errors.WorkerCrashedError
    assert got.worker == b"\x09"
    assert not isinstance(got, TaskError)


def test_a_dependent_of_a_system_error_gets_the_same_error() -> None:
    """Behaviours 7 and 61."""
    sent = dependency_failed(encode_error(errors.TaskCancelledError("f")), "g")
    got = decode_failure(sent)
    for error in (got, pickle.loads(pickle.dumps(got))):  # noqa: S301
        assert type(error) is errors.TaskCancelledError
        assert "f() was cancelled." in str(error)
        assert "an input argument of g() could not be computed" in str(error)
    again = decode_failure(dependency_failed(sent, "h"))
    assert "h() never ran" in str(again)
    assert "g() never ran" in str(again)


def test_a_system_error_met_in_a_task_is_both() -> None:
    """Behaviour 13."""
    got = arrive(errors.ActorDiedError(b"\x01", "Counter", "killed"))
    assert isinstance(got, TaskError)
    assert isinstance(got, errors.ActorDiedError)
    assert isinstance(got, errors.ActorError)
    assert type(got.cause) is errors.ActorDiedError
    assert (got.actor_id, got.reason) == (b"\x01", "killed")
    assert isinstance(got.as_instanceof_cause(), errors.ActorDiedError)
    assert got.__class__.__name__ not in errors.ZfutError.by_name


def test_a_task_error_that_is_sent_as_an_error_stays_what_it_is() -> None:
    got = arrive(AppError(7))
    again = decode_failure(encode_error(got))
    assert isinstance(again, AppError)
    assert str(again) == str(got)


def test_an_actor_whose_constructor_failed() -> None:
    """Behaviour 11."""
    inner = fail(thrower(AppError(7, where="Grüße")), "Counter.__init__", 812)
    sent = encode_error(
        errors.ActorDiedError(b"\x01", "Counter", "constructor failed", "", inner)
    )
    got = decode_failure(sent)
    for error in (got, pickle.loads(pickle.dumps(got))):  # noqa: S301
        assert type(error) is errors.ActorDiedError
        assert error.actor_id == b"\x01"
        assert isinstance(error.cause, AppError)
        assert "its constructor failed" in str(error)
        assert "Counter.__init__() failed in pid 812" in str(error)
        assert "in throw" in str(error)
        assert str(error).endswith("AppError: app: code 7 Grüße")
    assert describe_failure(sent) == str(got)


def test_a_class_of_the_main_program_arrives_as_itself() -> None:
    """The worker has no such class: it is rebuilt there, and found again at home."""
    code = (
        "import os, sys\n"
        "from zfut.wire.serialize import dump_function\n"
        "from zfut.task_errors import decode_failure\n"
        "class MainError(Exception):\n"
        "    def __init__(self, a, b):\n"
        "        super().__init__('main'); self.a, self.b = a, b\n"
        "def f():\n"
        "    raise MainError(1, 2)\n"
        "os.write(1, dump_function(f, 'f')[0])\n"
        "os.close(1)\n"
        "got = decode_failure(sys.stdin.buffer.read())\n"
        "sys.exit(f'{isinstance(got, MainError)} {got.a} {got.b}')\n"
    )
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as driver:
        assert driver.stdout
        assert driver.stdin
        assert driver.stderr
        function = serialize.load_function(driver.stdout.read())
        driver.stdin.write(fail(function))
        driver.stdin.close()
        assert driver.stderr.read().decode().strip() == "True 1 2"


def test_importing_this_is_cheap() -> None:
    heavy = "{'numpy', 'pyarrow', 'cloudpickle', 'asyncio'}"
    code = f"import sys, zfut.task_errors; sys.exit(str(sorted({heavy} & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)  # noqa: S603
    assert done.stderr.decode().strip() == "[]"


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (Failure("ValueError", "no\nmore"), "ValueError: no"),
        (Failure("ValueError"), "ValueError"),
        (Failure("ValueError", "x" * 500), "ValueError: " + "x" * (BRIEF_CHARS - 15) + "..."),
        (Failure(system="TaskCancelledError", fields=("f",)), "f() was cancelled."),
        (Failure(system="TaskCancelledError", fields=(1, 2)), "TaskCancelledError"),
        (Failure(system="NoSuchError"), "unknown error 'NoSuchError'"),
    ],
    ids=["first line", "no message", "too long", "zfut's own", "other fields", "unknown"],
)
def test_a_failure_in_one_line(failure: Failure, line: str) -> None:
    said = brief_failure(encode_failure(failure))
    assert said == line or (failure.system == "NoSuchError" and line in said)
    assert "\n" not in said
