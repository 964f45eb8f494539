"""An exception that refuses to be looked at, where the program runs its calls itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import zfut
from tests import odd_exceptions as odd
from zfut.errors import TaskError


@pytest.fixture(autouse=True)
def session() -> Iterator[zfut.Session]:
    """Start a session in this process."""
    with zfut.init(mode="inline", num_cpus=2) as made:
        yield made


MODES: dict[str, Callable[[], Any]] = {
    "task": lambda: zfut.remote(max_retries=0)(odd.throw),
    "plain": lambda: zfut.remote(odd.Plain).remote().throw,
    "threaded": lambda: zfut.remote(max_concurrency=2)(odd.Plain).remote().throw,
    "async": lambda: zfut.remote(odd.Coroutines).remote().throw,
}


def raised(ref: Any) -> BaseException:
    """Return the error that ``get`` raises."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011  the tests look at it
        zfut.get(ref, timeout=20)
    return caught.value


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", odd.TOLD)
def test_a_call_is_answered(kind: str, mode: str) -> None:
    odd.check(kind, raised(MODES[mode]().remote(kind)))


@pytest.mark.parametrize("kind", odd.TOLD)
def test_a_constructor_fails(kind: str) -> None:
    actor = zfut.remote(odd.Constructor).remote(kind)
    odd.check_constructor(kind, raised(actor.pid.remote()))


@pytest.mark.parametrize("mode", MODES)
def test_a_program_that_is_interrupted_meanwhile_is_interrupted(mode: str) -> None:
    """The interrupt is the program's; the call has its answer."""
    interrupting = type("OddError", (Exception,), {"__str__": odd.interrupt})

    def throw() -> None:
        raise interrupting

    class Plain:
        def throw(self) -> None:
            throw()

    class Coroutines:
        async def throw(self) -> None:
            throw()

    call = {
        "task": lambda: zfut.remote(throw),
        "plain": lambda: zfut.remote(Plain).remote().throw,
        "threaded": lambda: zfut.remote(max_concurrency=2)(Plain).remote().throw,
        "async": lambda: zfut.remote(Coroutines).remote().throw,
    }[mode]()
    ref = call.remote()
    with pytest.raises(KeyboardInterrupt):
        zfut.get(ref, timeout=20)
    error = raised(ref)
    assert isinstance(error, TaskError)
    assert "could not be captured" in str(error)
