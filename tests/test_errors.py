"""Every error: documented, plain, picklable, and a text that says what to do next."""

from __future__ import annotations

import concurrent.futures
import pickle
import subprocess
import sys

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zfut import errors, task_errors
from zfut.errors import Hop, ZfutError, did_you_mean

HOPS = (
    Hop("h"),
    Hop("g", 812, "b1", "", "Traceback (most recent call last):\n  in g\n"),
    Hop("f", 813, "b1", "", "Traceback (most recent call last):\n  in f\nValueError: boom\n"),
)

SAMPLES: dict[str, ZfutError] = {
    type(error).__name__: error
    for error in (
        errors.ActorAlreadyExistsError("counter", "app"),
        errors.ActorDiedError(b"\x01\x02", "Counter", "killed", "by hand"),
        errors.ActorError(b"\x01\x02", "Counter", "no reason"),
        errors.ActorUnavailableError(b"\x01\x02", "Counter", "its node restarts"),
        errors.AuthenticationError("b1", "wrong token"),
        errors.CountError("wait()", 5, 3),
        errors.DirectCallError("f"),
        errors.DuplicateRefError("wait()", 3, 2),
        errors.FunctionTooLargeError("function f", 100_000_000, "closure 'data'"),
        errors.GetTimeoutError(3, 10, 5.0, "train() waits for CPU:4"),
        errors.InternalError("an object is lost twice", "record"),
        errors.LocalProtocolError("a frame of 1 GiB", "b1"),
        errors.NodeDiedError("b1", "signal 9"),
        errors.NoSuchActorError("counter", "app"),
        errors.ObjectFreedError(b"\x07"),
        errors.ObjectLostError(b"\x07", "its node died"),
        errors.ObjectStoreFullError(3 << 30, "2.0 GiB of 4.0 GiB are pinned"),
        errors.OptionError("function f", "num_cpus", -1, "a number from 0"),
        errors.OptionTypeError("function f", "name", 3, "text"),
        errors.OutOfMemoryError("f", 4 << 30, 4 << 30),
        errors.OwnerDiedError(b"\x07", b"\x08", "signal 9"),
        errors.PendingCallsLimitExceeded("Counter", 100),
        errors.ProtocolError("no header", "b1"),
        errors.ReconstructionFailedError(b"\x07", "attempts exceeded", "3 of 3"),
        errors.ReferenceVoidError(b"\x07"),
        errors.RemoteProtocolError("no header", "b1"),
        errors.RuntimeEnvSetupError("f()", "no such package"),
        errors.SerializationError("argument 'x' of f()", "x -> _thread.lock"),
        errors.SessionError("ref 07", "its session has ended"),
        errors.TaskCancelledError("train", "by its caller"),
        errors.TaskError("ValueError", "boom", HOPS),
        errors.TaskUnschedulableError("resize", "it needs GPU:1, there is CPU:8"),
        errors.UnpicklableExceptionError(
            "Odd", "boom", "it has a lock", "Traceback ...\nOdd: boom"
        ),
        errors.UsageError("zfut is not initialised here", "Call zfut.init() first"),
        errors.VersionMismatchError("b2", 3, 2),
        errors.WorkerCrashedError("f", b"\x09", "signal 11"),
        errors.WrongTypeError("get()", "references", 3),
    )
}

ALL = sorted(ZfutError.by_name)


def test_each_error_has_a_sample_here() -> None:
    assert sorted(SAMPLES) == ALL


@pytest.mark.parametrize("name", ALL)
def test_an_error_is_documented_and_public_in_one_place(name: str) -> None:
    error = ZfutError.by_name[name]
    assert error.__doc__
    assert error.__doc__ != ZfutError.__doc__
    assert getattr(errors, name) is error
    assert name in errors.__all__
    assert error.__module__ == "zfut.errors"


@pytest.mark.parametrize("name", ALL)
def test_the_text_says_what_happened_and_what_to_do(name: str) -> None:
    error = SAMPLES[name]
    if isinstance(error, errors.TaskError):
        assert "Catch ValueError or TaskError" in str(error)
        return
    fact, next_step = error.fact(), error.next_step()
    assert len(fact) > 10
    assert fact.endswith(".")
    assert len(next_step.split()) > 2
    assert str(error).startswith(f"{fact} {next_step}")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_an_error_pickles(name: str, dumps: object) -> None:
    error = SAMPLES[name]
    error.note = "added later"  # type: ignore[attr-defined]
    loaded = pickle.loads(dumps(error))  # type: ignore[operator]  # noqa: S301
    assert type(loaded) is type(error)
    assert loaded.args == error.args
    assert str(loaded) == str(error)
    assert vars(loaded) == vars(error)


@pytest.mark.parametrize("name", ALL)
def test_an_error_travels_by_name_and_fields(name: str) -> None:
    error = SAMPLES[name]
    loaded = task_errors.decode_failure(task_errors.encode_error(error))
    assert type(loaded) is type(error)
    assert loaded.args == error.args
    assert str(loaded) == str(error)


@pytest.mark.parametrize("name", ALL)
def test_fields_are_plain(name: str) -> None:
    def plain(field: object) -> bool:
        if isinstance(field, tuple):
            return all(plain(item) for item in field)
        return field is None or type(field) in (str, int, float, bytes)

    assert plain(SAMPLES[name].args)


def test_the_tree() -> None:
    e = errors
    tree = {
        e.TaskCancelledError: (concurrent.futures.CancelledError,),
        e.ActorDiedError: (e.ActorError,),
        e.ActorUnavailableError: (e.ActorError,),
        e.ActorAlreadyExistsError: (ValueError,),
        e.GetTimeoutError: (TimeoutError,),
        e.OwnerDiedError: (e.ObjectLostError,),
        e.ReconstructionFailedError: (e.ObjectLostError,),
        e.ObjectFreedError: (e.ObjectLostError,),
        e.ObjectStoreFullError: (MemoryError,),
        e.OutOfMemoryError: (MemoryError,),
        e.AuthenticationError: (PermissionError,),
        e.SerializationError: (TypeError,),
        e.SessionError: (e.UsageError, ValueError),
        e.FunctionTooLargeError: (e.UsageError, ValueError),
        e.LocalProtocolError: (e.ProtocolError,),
        e.RemoteProtocolError: (e.ProtocolError,),
    }
    for error, bases in tree.items():
        assert issubclass(error, (ZfutError, *bases))
        for base in bases:
            assert issubclass(error, base)
    assert not issubclass(e.ActorUnavailableError, e.ActorDiedError)


def test_two_fields_of_an_os_error_are_no_errno() -> None:
    error = errors.AuthenticationError("b1", "wrong token")
    assert error.errno is None
    assert error.args == ("b1", "wrong token")


def test_each_way_an_actor_ends_has_its_own_words() -> None:
    endings = errors.ActorDiedError.ENDINGS
    assert set(endings) == {
        "killed",
        "worker died",
        "owner died",
        "node died",
        "node refused",
        "exit_actor",
        "constructor failed",
        "restart failed",
        "out of scope",
    }
    texts = {str(errors.ActorDiedError(b"\x01", "Counter", reason)) for reason in endings}
    assert len(texts) == len(endings)
    error = errors.ActorDiedError(b"\x01", "Counter", "an unknown reason", "why")
    assert error.actor_id == b"\x01"
    assert "an unknown reason: why." in str(error)
    assert error.next_step() in str(error)


def test_each_reason_of_a_failed_reconstruction_has_its_own_advice() -> None:
    reasons = errors.ReconstructionFailedError.REASONS
    texts = {errors.ReconstructionFailedError(b"\x01", r).next_step() for r in reasons}
    assert len(texts) == len(reasons)


def test_a_task_error_tells_each_hop_and_the_root_cause_last() -> None:
    lines = str(errors.TaskError("ValueError", "boom", HOPS)).splitlines()
    assert lines[0].startswith("h() never ran: an input argument of h() could not be computed.")
    assert "because g() failed in pid 812 on node b1:" in lines
    assert "because f() failed in pid 813 on node b1:" in lines
    assert lines[-1] == "ValueError: boom"


def test_the_text_of_a_usage_error_is_made_of_sentences() -> None:
    assert str(errors.UsageError("Not here", "Go there")) == "Not here. Go there."
    assert str(errors.UsageError("Not here. Did you mean 'there'?")) == (
        "Not here. Did you mean 'there'?"
    )
    assert (
        str(errors.SessionError("the directory is not yours")) == "the directory is not yours."
    )


def test_a_subclass_made_by_a_user_does_not_travel_by_its_name() -> None:
    class TaskError(errors.UsageError):
        """It must not replace zfut's own."""

    assert ZfutError.by_name["TaskError"] is errors.TaskError
    sent = task_errors.encode_error(TaskError("mine"))
    loaded = task_errors.decode_failure(sent)
    assert type(loaded) is errors.UsageError
    assert str(loaded) == "mine."

    class OwnError(ZfutError):
        """Not below any error that has a name."""

    loaded = task_errors.decode_failure(task_errors.encode_error(OwnError("mine")))
    assert type(loaded) is ZfutError
    assert str(loaded).startswith("mine")


@given(st.lists(st.one_of(st.text(), st.binary(), st.integers(), st.none()), max_size=4))
def test_a_field_of_any_content_can_be_told(fields: list[object]) -> None:
    error = ZfutError.by_name["UsageError"]("text")
    error.args = ("text", *fields)
    loaded = task_errors.decode_failure(task_errors.encode_error(error))
    assert isinstance(loaded, ZfutError)


def test_did_you_mean() -> None:
    assert did_you_mean("num_cpu", ["num_cpus", "num_gpus"]) == " Did you mean 'num_cpus'?"
    assert did_you_mean("xyz", ["num_cpus"]) == ""


def test_importing_the_errors_is_cheap() -> None:
    heavy = "{'numpy', 'pyarrow', 'cloudpickle', 'asyncio', 'dataclasses'}"
    code = f"import sys, zfut.errors; sys.exit(str(sorted({heavy} & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)  # noqa: S603
    assert done.stderr.decode().strip() == "[]"
