"""Options: what is refused where it is written, and what the accepted ones do."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

import zfut
from tests.api.conftest import Start
from tests.cluster.leftovers import until
from zfut import errors

pytestmark = pytest.mark.cluster
WAIT_S = 30


def function() -> int:
    return 1


class Plain:
    def call(self) -> int:
        return 1


WRONG = [
    ({"num_cpus": -1}, "num_cpus=-1 makes no sense. It must be a number from 0"),
    ({"num_cpus": "2"}, "num_cpus='2' makes no sense. It must be a number"),
    ({"num_cpus": True}, "num_cpus=True makes no sense. It must be a number"),
    ({"num_cpus": math.nan}, "num_cpus=nan"),
    ({"num_cpus": math.inf}, "num_cpus=inf"),
    ({"num_cpus": 1e16}, "from 0 to 1e15"),
    ({"num_cpus": 0.00001}, "a multiple of 0.0001"),
    ({"num_gpus": 1.5}, "num_gpus=1.5 makes no sense. It must be whole above one"),
    ({"num_gpus": -0.5}, "num_gpus=-0.5"),
    ({"memory": -1}, "memory=-1"),
    ({"resources": [("x", 1)]}, "a dict of names and amounts"),
    ({"resources": {"CPU": 1}}, "CPU, GPU and memory apart"),
    ({"resources": {"": 1}}, "named by non-empty text"),
    ({"resources": {3: 1}}, "named by non-empty text"),
    ({"resources": {"x": -1}}, r"resources\['x'\]=-1"),
    ({"resources": {"x": "1"}}, r"resources\['x'\]='1'"),
    ({"resources": {"TPU": 0.5}}, r"resources\['TPU'\]=0.5 makes no sense. It must be whole"),
    ({"resources": {"TPU": 1.5}}, r"resources\['TPU'\]=1.5"),
    ({"name": ""}, "name='' makes no sense. It must be at least one letter long"),
    ({"name": 3}, "name=3 makes no sense. It must be text"),
]
"""What is wrong for tasks and actors alike."""

WRONG_FOR_TASKS = [
    ({"max_retries": -2}, "a whole number from -1"),
    ({"max_retries": 1.5}, "a whole number from -1"),
    ({"num_returns": -1}, "a whole number from 0"),
    ({"num_returns": "two"}, "num_returns='two'"),
    ({"num_returns": 10**6}, "at most 10000"),
    ({"retry_exceptions": ValueError}, "a list of exception classes"),
    ({"retry_exceptions": [int]}, "a list of exception classes"),
    ({"schedule_timeout": 0}, "a number of seconds above 0"),
]

WRONG_FOR_ACTORS = [
    ({"max_concurrency": 0}, "a whole number from 1"),
    ({"max_concurrency": 2.0}, "a whole number from 1"),
    ({"get_if_exists": "yes"}, "True or False"),
    ({"max_restarts": -2}, "max_restarts=-2"),
    ({"lifetime": "detached"}, "lifetime='?detached"),
    ({"namespace": 3}, "namespace=3"),
]


@pytest.mark.parametrize(("given", "why"), WRONG + WRONG_FOR_TASKS, ids=str)
def test_options_of_a_function_are_checked_when_it_is_decorated(
    given: dict[str, Any], why: str
) -> None:
    """Behaviours 41 and 45, and negative or absurd resources."""
    remote = zfut.remote(function)
    for decorate in (lambda: zfut.remote(**given)(function), lambda: remote.options(**given)):
        with pytest.raises(ValueError, match=why) as caught:
            decorate()
        assert isinstance(caught.value, errors.UsageError)
        assert "function function" in str(caught.value)


@pytest.mark.parametrize(("given", "why"), WRONG + WRONG_FOR_ACTORS, ids=str)
def test_options_of_a_class_are_checked_when_it_is_decorated(
    given: dict[str, Any], why: str
) -> None:
    """Behaviours 41 and 45, and negative or absurd resources."""
    remote = zfut.remote(Plain)
    for decorate in (lambda: zfut.remote(**given)(Plain), lambda: remote.options(**given)):
        with pytest.raises(ValueError, match=why) as caught:
            decorate()
        assert isinstance(caught.value, errors.UsageError)
        assert "class Plain" in str(caught.value)


@pytest.mark.parametrize(
    ("target", "unknown", "meant"),
    [
        (function, "num_cpu", "num_cpus"),
        (function, "max_retry", "max_retries"),
        (function, "retry_exception", "retry_exceptions"),
        (Plain, "max_concurency", "max_concurrency"),
        (Plain, "names", "name"),
    ],
)
def test_an_unknown_option_says_which_was_meant(target: Any, unknown: str, meant: str) -> None:
    """Behaviour 41, and unknown option (did you mean)."""
    remote = zfut.remote(target)
    text = rf"has no option '{unknown}'\. Did you mean '{meant}'\? Options are: "
    for decorate in (
        lambda: zfut.remote(**{unknown: 1})(target),
        lambda: remote.options(**{unknown: 1}),
    ):
        with pytest.raises(errors.UsageError, match=text):
            decorate()


def test_an_option_of_the_other_kind_is_unknown() -> None:
    """Behaviour 41."""
    with pytest.raises(errors.UsageError, match="function function has no option 'lifetime'"):
        zfut.remote(lifetime="detached")(function)
    with pytest.raises(errors.UsageError, match="class Plain has no option 'num_returns'"):
        zfut.remote(num_returns=2)(Plain)
    with pytest.raises(errors.UsageError, match=r"'num_return'\. Did you mean 'num_returns'"):
        zfut.remote(function).options(num_return=2)


def test_a_decorator_called_with_nothing_is_refused() -> None:
    """Behaviour 41: whoever writes ``@zfut.remote()`` meant ``@zfut.remote``."""
    with pytest.raises(errors.UsageError, match=r"Write @zfut\.remote, or @zfut\.remote\(num"):
        zfut.remote()
    with pytest.raises(errors.UsageError, match="options by keyword"):
        zfut.remote(function, num_cpus=2)  # type: ignore[call-overload]


@pytest.mark.parametrize("wrong", [-1, "2", 10**5, None])
def test_the_returns_of_a_method_are_checked_where_they_are_written(wrong: Any) -> None:
    """Behaviour 41."""
    with pytest.raises(ValueError, match="num_returns="):
        zfut.method(num_returns=wrong)
    actor = zfut.remote(Plain).remote()
    with pytest.raises(ValueError, match="num_returns="):
        actor.call.options(num_returns=wrong)


def test_without_a_limit_a_crash_is_tried_again_for_ever(tmp_path: Path) -> None:
    """Behaviour 41: -1 is no limit; the default would give up after four attempts."""
    path = tmp_path / "tries"

    @zfut.remote(max_retries=-1)
    def crash() -> int:
        with path.open("a") as file:
            file.write("x")
        if len(path.read_text()) < 8:
            os._exit(1)
        return zfut.get_runtime_context().attempt

    assert zfut.get(crash.remote(), timeout=WAIT_S) == 7


def test_amounts_count_to_a_ten_thousandth() -> None:
    """Behaviour 41: two tasks of 0.5001 do not fit into one; 0.5 and the rest of it do."""
    remote = zfut.remote(function)
    parts = [remote.options(num_cpus=cpus) for cpus in (0.0001, 0.5001, 1.9999, 2, 2.0)]
    assert zfut.get([part.remote() for part in parts], timeout=WAIT_S) == [1] * 5
    never = remote.options(num_cpus=2.0001).remote()
    with pytest.raises(errors.GetTimeoutError, match=r"needs CPU:2\.0001"):
        zfut.get(never, timeout=0.05)
    zfut.cancel(never)


def test_fractions_of_one_gpu_and_whole_ones_are_placed(start: Start) -> None:
    """Behaviour 45: what is not refused runs."""
    start(num_cpus=1, num_gpus=2, resources={"TPU": 4, "half": 0.5})
    remote = zfut.remote(num_cpus=0)(function)
    wanted: list[dict[str, Any]] = [
        {"num_gpus": 0.25},
        {"num_gpus": 2},
        {"num_gpus": 1.0},
        {"resources": {"TPU": 2.0}},
        {"resources": {"half": 0.5}},
    ]
    refs = [remote.options(**one).remote() for one in wanted]
    assert zfut.get(refs, timeout=WAIT_S) == [1] * 5


def test_calls_of_one_function_each_have_their_own_name_in_one_worker(start: Start) -> None:
    """The worker has the code already; the name comes with the call."""
    start(num_cpus=1)

    @zfut.remote
    def named(*, fails: bool = False) -> str:
        if fails:
            raise KeyError
        return zfut.get_runtime_context().task_name or ""

    plain, other, third = named, named.options(name="other"), named.options(name="third")
    told = [zfut.get(one.remote(), timeout=WAIT_S) for one in (other, plain, third, other)]
    assert told == ["other", "named", "third", "other"]
    for one, name in ((plain, "named"), (third, "third"), (plain, "named")):
        with pytest.raises(errors.TaskError) as caught:
            zfut.get(one.remote(fails=True), timeout=WAIT_S)
        assert caught.value.task_name == name


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"num_cpus": -1}, "num_cpus=-1"),
        ({"num_cpus": math.inf}, "num_cpus=inf"),
        ({"num_gpus": 1.5}, "num_gpus=1.5"),
        ({"resources": {"x": -2}}, r"resources\['x'\]=-2"),
        ({"num_cpu": 2}, "no configuration named 'num_cpu'"),
        ({"mode": "threads"}, "mode=threads"),
    ],
)
def test_resources_of_a_session_are_checked_before_it_starts(
    start: Start, given: dict[str, Any], why: str
) -> None:
    """Negative or absurd resources, and an unknown option."""
    with pytest.raises(errors.UsageError, match=why):
        start(**given)
    assert not zfut.is_initialized()


def test_an_actor_that_never_fits_says_so_at_once_and_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Behaviour 45, and a task that never fits: an actor names itself and its way out."""
    actor = zfut.remote(Plain).options(num_cpus=64).remote()
    until(lambda: "actor Plain cannot run: needs CPU:64" in caplog.text, "it is said")
    assert "zfut.kill() it to give up" in caplog.text
    ref = actor.call.remote()
    assert zfut.wait([ref], timeout=0)[0] == []
    assert zfut.nodes()[0]["waiting"][0]["infeasible"]
    zfut.kill(actor)
    with pytest.raises(errors.ActorDiedError):
        zfut.get(ref, timeout=WAIT_S)
