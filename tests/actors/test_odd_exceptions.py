"""An exception that refuses to be looked at answers its call all the same, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import pytest

import zfut
from tests import odd_exceptions as odd
from zfut.errors import TaskError

pytestmark = pytest.mark.cluster
WAIT_S = 30

MODES: dict[str, Callable[[], Any]] = {
    "plain": lambda: zfut.remote(odd.Plain).remote(),
    "threaded": lambda: zfut.remote(max_concurrency=2)(odd.Plain).remote(),
    "async": lambda: zfut.remote(odd.Coroutines).remote(),
}


@pytest.fixture(scope="module", autouse=True)
def sent_by_value() -> Iterator[None]:
    """Workers need not find these tests."""
    cloudpickle.register_pickle_by_value(odd)
    yield
    cloudpickle.unregister_pickle_by_value(odd)


def raised(ref: Any) -> BaseException:
    """Return the error that ``get`` raises, which the future of the reference has too."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011  the tests look at it
        ref.future().result(WAIT_S)
    again = None
    try:
        zfut.get(ref, timeout=WAIT_S)
    except BaseException as error:  # noqa: BLE001  the tests look at it
        again = error
    assert type(again) is type(caught.value)
    return caught.value


@pytest.mark.parametrize("mode", MODES)
def test_an_actor_answers_and_goes_on(mode: str) -> None:
    actor = MODES[mode]()
    pid = zfut.get(actor.pid.remote(), timeout=WAIT_S)
    refs = {kind: actor.throw.remote(kind) for kind in odd.TOLD}
    for kind, ref in refs.items():
        odd.check(kind, raised(ref))
    assert zfut.get(actor.pid.remote(), timeout=WAIT_S) == pid


@pytest.mark.parametrize("retry", [False, True, [ValueError]], ids=str)
def test_a_task_raises_it_and_does_not_crash(retry: Any) -> None:
    options = {"max_retries": 1, "retry_exceptions": retry}
    task = zfut.remote(**options)(odd.throw)
    for kind in odd.TOLD:
        odd.check(kind, raised(task.remote(kind)))


@pytest.mark.parametrize("kind", odd.TOLD)
def test_a_constructor_fails(kind: str) -> None:
    actor = zfut.remote(odd.Constructor).remote(kind)
    odd.check_constructor(kind, raised(actor.pid.remote()))


@pytest.mark.parametrize("mode", [*MODES, "task"])
def test_a_call_is_answered_though_nothing_can_be_told(mode: str) -> None:
    if mode == "task":
        ref = zfut.remote(odd.lose_words).remote()
    else:
        actor = MODES[mode]()
        ref = actor.lose_words.remote()
    error = raised(ref)
    assert isinstance(error, TaskError)
    assert "could not be captured" in str(error)
    if mode != "task":
        assert zfut.get(actor.pid.remote(), timeout=WAIT_S)
