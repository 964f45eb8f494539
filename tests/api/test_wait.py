"""wait, as_completed and the timeouts of get: what is ready, in which order, and when."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zfut
from tests.cluster.leftovers import until
from zfut import errors

pytestmark = pytest.mark.cluster
WAIT_S = 30


@zfut.remote
def echo(value: Any) -> Any:
    return value


@zfut.remote
def fail() -> None:
    raise ValueError("failed")


@pytest.fixture
def gated(tmp_path: Path) -> Callable[[int], Any]:
    """Return a function that starts a task which ends when its gate is opened."""
    gates = [tmp_path / f"gate{n}" for n in range(2)]
    for gate in gates:
        os.mkfifo(gate)

    @zfut.remote
    def through(path: Path, n: int) -> int:
        path.read_bytes()
        return n

    def submit(n: int) -> Any:
        return through.remote(gates[n], n)

    submit.open = lambda n: gates[n].write_bytes(b"")  # type: ignore[attr-defined]
    return submit


def test_wait_keeps_the_given_order_in_both_lists(gated: Any) -> None:
    slow = gated(0)
    quick = [echo.remote(i) for i in range(4)]
    refs = [quick[0], slow, *quick[1:]]
    ready, rest = zfut.wait(refs, num_returns=4, timeout=WAIT_S)
    assert ready == quick
    assert rest == [slow]
    gated.open(0)
    assert zfut.wait(refs, num_returns=5, timeout=WAIT_S) == (refs, [])


def test_wait_returns_no_more_than_num_returns_even_if_more_are_ready() -> None:
    refs = [zfut.put(i) for i in range(10)]
    for count in (1, 3, 10):
        ready, rest = zfut.wait(refs, num_returns=count)
        assert ready == refs[:count]
        assert rest == refs[count:]


def test_wait_of_nothing_gives_two_empty_lists() -> None:
    assert zfut.wait([]) == ([], [])
    assert zfut.wait([], timeout=0) == ([], [])


def test_wait_waits_no_shorter_than_its_timeout(gated: Any) -> None:
    slow = gated(0)
    began = time.monotonic()
    assert zfut.wait([slow], timeout=0.2) == ([], [slow])
    assert time.monotonic() - began >= 0.2
    gated.open(0)
    zfut.get(slow, timeout=WAIT_S)


def test_wait_gives_what_there_is_when_time_runs_out(gated: Any) -> None:
    slow, quick = gated(0), echo.remote(1)
    ready, rest = zfut.wait([slow, quick], num_returns=2, timeout=0.2)
    assert (ready, rest) == ([quick], [slow])
    gated.open(0)
    zfut.get(slow, timeout=WAIT_S)


def test_wait_with_timeout_zero_only_looks(gated: Any) -> None:
    slow, done = gated(0), zfut.put(1)
    assert zfut.wait([slow, done], num_returns=2, timeout=0) == ([done], [slow])
    gated.open(0)
    until(lambda: zfut.wait([slow], timeout=0)[0], "looking again and again is enough")


def test_a_failed_task_is_ready() -> None:
    bad, good = fail.remote(), echo.remote(1)
    ready, _ = zfut.wait([bad, good], num_returns=2, timeout=WAIT_S)
    assert ready == [bad, good]
    with pytest.raises(ValueError, match="failed"):
        zfut.get(bad)


def test_wait_takes_tuples_and_fetch_local() -> None:
    refs = (zfut.put(1), zfut.put(2))
    assert zfut.wait(refs, num_returns=2, fetch_local=False) == (list(refs), [])


def test_wait_for_many(gated: Any) -> None:
    slow = gated(0)
    refs = [slow, *(echo.remote(i) for i in range(2000))]
    seen = 0
    while len(refs) > 1:
        ready, refs = zfut.wait(refs, num_returns=min(250, len(refs) - 1), timeout=WAIT_S)
        seen += len(ready)
    assert (seen, refs) == (2000, [slow])
    gated.open(0)
    zfut.get(slow, timeout=WAIT_S)


def test_duplicates_are_refused_whether_ready_or_not() -> None:
    ref, pending = zfut.put(1), echo.remote(1)
    for refs in ([ref, ref], [pending, ref, pending]):
        with pytest.raises(ValueError, match="Pass each reference once") as caught:
            zfut.wait(refs)
        assert isinstance(caught.value, errors.DuplicateRefError)


@pytest.mark.parametrize("wrong", [1, None, "text", b"bytes", {}, object()])
def test_wait_takes_a_sequence_of_references_only(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"wait\(\) takes a sequence of references"):
        zfut.wait(wrong)


def test_wait_refuses_one_reference_and_lists_of_other_things() -> None:
    ref = zfut.put(1)
    with pytest.raises(TypeError, match=r"wait\(\) takes a sequence of references"):
        zfut.wait(ref)  # type: ignore[call-overload, arg-type, unused-ignore]
    with pytest.raises(TypeError, match=r"wait\(\) takes references, not int 1"):
        zfut.wait([ref, 1])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"wait\(\) takes references, not list"):
        zfut.wait([[ref]])  # type: ignore[list-item]


@pytest.mark.parametrize("count", [0, -1, 3, 1.0, True, None, "1"])
def test_wait_refuses_counts_that_cannot_come_true(count: Any) -> None:
    refs = [zfut.put(1), zfut.put(2)]
    with pytest.raises(ValueError, match="whole number from 1 to 2"):
        zfut.wait(refs, num_returns=count)


@pytest.mark.parametrize("timeout", [-1, "1", True, float("nan")])
def test_a_timeout_is_a_number_of_seconds_from_zero(timeout: Any) -> None:
    ref = zfut.put(1)
    for function in (zfut.get, zfut.wait):
        with pytest.raises(errors.UsageError, match="no number of seconds"):
            function([ref], timeout=timeout)


def test_an_endless_timeout_is_no_timeout() -> None:
    assert zfut.get(echo.remote(1), timeout=float("inf")) == 1
    assert zfut.get(echo.remote(2), timeout=10**12) == 2
    ref = echo.remote(3)
    assert zfut.wait([ref], timeout=float("inf")) == ([ref], [])


# ------------------------------------------------------------------ timeouts of get


def test_a_get_that_takes_too_long_is_a_timeout_error_that_says_what_it_waits_for(
    gated: Any,
) -> None:
    slow = gated(0)
    done = echo.remote(1)
    with pytest.raises(TimeoutError, match=r"1 of 2 refs.*through\(\)") as caught:
        zfut.get([done, slow], timeout=0.2)
    assert isinstance(caught.value, errors.GetTimeoutError)
    gated.open(0)
    assert zfut.get([done, slow], timeout=WAIT_S) == [1, 0]


def test_get_with_timeout_zero_means_now_or_never(gated: Any) -> None:
    slow, done = gated(0), zfut.put(7)
    assert zfut.get(done, timeout=0) == 7
    with pytest.raises(TimeoutError):
        zfut.get(slow, timeout=0)
    with pytest.raises(TimeoutError):
        zfut.get([done, slow], timeout=0)
    gated.open(0)
    zfut.wait([slow], timeout=WAIT_S)
    assert zfut.get(slow, timeout=0) == 0


def test_a_failure_is_raised_even_with_timeout_zero() -> None:
    bad = fail.remote()
    zfut.wait([bad], timeout=WAIT_S)
    with pytest.raises(ValueError, match="failed"):
        zfut.get(bad, timeout=0)


@pytest.mark.parametrize("wrong", [1, None, "text", b"bytes", {}, object(), len])
def test_get_of_something_that_is_no_reference(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"get\(\) takes a reference"):
        zfut.get(wrong)


def test_get_of_a_list_with_something_else_inside() -> None:
    ref = zfut.put(1)
    for wrong in ([ref, 1], [[ref]], [None, ref], (x for x in [ref])):
        with pytest.raises(TypeError, match=r"get\(\) takes"):
            zfut.get(wrong)  # type: ignore[call-overload, arg-type, unused-ignore]


def test_get_of_an_actor_handle_is_refused() -> None:
    @zfut.remote
    class Box:
        """Holds nothing."""

    box = Box.remote()
    with pytest.raises(TypeError, match=r"get\(\) takes"):
        zfut.get(box)  # type: ignore[call-overload, arg-type, unused-ignore]
    with pytest.raises(TypeError, match=r"get\(\) takes"):
        zfut.get([box])  # type: ignore[call-overload, list-item, unused-ignore]


# ------------------------------------------------------------------ as_completed


def test_as_completed_yields_each_once_as_it_becomes_ready(gated: Any) -> None:
    slow, quick = gated(0), [echo.remote(i) for i in range(5)]
    stream = zfut.as_completed([slow, *quick])
    assert {next(stream) for _ in range(5)} == set(quick)
    gated.open(0)
    assert list(stream) == [slow]


def test_as_completed_takes_any_iterable_and_yields_failures() -> None:
    bad = fail.remote()
    assert list(zfut.as_completed(iter([bad]))) == [bad]
    assert list(zfut.as_completed([])) == []
    with pytest.raises(ValueError, match="failed"):
        zfut.get(bad)


def test_as_completed_raises_when_time_runs_out(gated: Any) -> None:
    slow, quick = gated(0), echo.remote(1)
    stream = zfut.as_completed([slow, quick], timeout=0.3)
    assert next(stream) == quick
    with pytest.raises(errors.GetTimeoutError, match="1 of 2 refs"):
        next(stream)
    gated.open(0)
    zfut.get(slow, timeout=WAIT_S)


def test_as_completed_refuses_what_wait_refuses_at_once() -> None:
    ref = zfut.put(1)
    with pytest.raises(TypeError, match="references"):
        zfut.as_completed([1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="once"):
        zfut.as_completed([ref, ref])
    with pytest.raises(TypeError, match="references"):
        zfut.as_completed(ref)  # type: ignore[arg-type]
