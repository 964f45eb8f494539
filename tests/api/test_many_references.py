"""Hundreds of thousands of references come and go: everything else is answered in between.

No test here measures time: each looks at what is left to do when something else is done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

import zfut
from tests.api.conftest import Start
from tests.cluster.leftovers import until
from zfut.actors.loop import DROPS_AT_ONCE
from zfut.arriving import MANY as COUNTED
from zfut.core.effects import ITEMS_AT_ONCE
from zfut.core.events import RefsArrived
from zfut.core.owner.records import Task
from zfut.session import current
from zfut.wire import messages as m

pytestmark = pytest.mark.cluster

MILLION = 1_000_000
MANY = 100_000
LONG_S = 120.0


@zfut.remote
def one() -> int:
    return 1


@zfut.remote
def measure(refs: list[Any]) -> int:
    """Say how many came, and drop them before the answer."""
    count = len(refs)
    refs.clear()
    return count


@zfut.remote
class Keeper:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def keep(self, refs: list[Any]) -> int:
        self.kept = refs
        return len(refs)

    def drop(self) -> None:
        self.kept = []


def put(count: int) -> list[Any]:
    return [zfut.put(number) for number in range(count)]


def left() -> int:
    """How much of what was dropped has not been handled in this process."""
    return len(current().loop.drops) + len(current().owner.ledger.falling)


def gone(but: int = 0) -> bool:
    """Whether every row but so many is gone, without anything being asked for."""
    return not left() and len(current().owner.rows) <= but


@pytest.fixture
def handled() -> Iterator[list[Any]]:
    """What the machine of this process is given, in order."""
    machine: Any = current().owner
    seen: list[Any] = []
    handle: Callable[[Any, int], None] = machine.handle

    def note(event: Any, now: int) -> None:
        seen.append(getattr(event, "message", event))
        handle(event, now)

    machine.handle = note
    yield seen
    del machine.handle


def releases(handled: list[Any]) -> list[int]:
    return [len(seen.items) for seen in handled[:] if isinstance(seen, m.ReleaseBorrows)]


# ------------------------------------------------------------------ the owner drops


def test_a_task_goes_before_what_is_left_of_a_million_drops() -> None:
    zfut.get([one.remote() for _ in range(20)])  # workers are there
    refs = put(MILLION)
    del refs
    assert left()
    assert zfut.get(one.remote()) == 1
    assert left()
    until(gone, "every row is gone, though nobody calls", LONG_S)


def test_another_thread_is_answered_while_many_go() -> None:
    refs = put(MILLION // 3)
    answered: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            zfut.get(one.remote())
            answered.append(left())

    asks = threading.Thread(target=ask)
    asks.start()
    until(lambda: answered, "the other thread is at work")
    refs.clear()
    until(lambda: answered[-1], "it was answered while much was left", LONG_S)
    until(lambda: left() == 0, "nothing is left", LONG_S)
    over.set()
    asks.join()
    until(gone, "every row is gone", LONG_S)


def test_a_few_drops_are_handled_in_their_order(handled: list[Any]) -> None:
    refs = put(DROPS_AT_ONCE // 4)
    names = [ref.binary() for ref in refs]
    while refs:
        refs.pop()
    done = one.remote()
    assert not left()
    assert zfut.get(done) == 1
    seen = [each for each in handled if isinstance(each, bytes | Task)]
    assert seen[: len(names)] == names[::-1]
    assert isinstance(seen[len(names)], Task)
    del done
    until(gone, "every row is gone")


def flat() -> Any:
    return zfut.put(put(MANY))


def in_values_within() -> Any:
    return zfut.put([zfut.put(put(ITEMS_AT_ONCE // 2)) for _ in range(60)])


@pytest.mark.parametrize("make", [flat, in_values_within])
def test_what_a_large_value_holds_falls_in_parts(make: Callable[[], Any]) -> None:
    value = make()
    until(lambda: not left(), "only the value holds them", LONG_S)
    owner: Any = current().owner
    counts = [len(owner.rows)]
    settle = owner.settle

    def note(now: int) -> Any:
        effects = settle(now)
        counts.append(len(owner.rows))
        return effects

    owner.settle = note
    del value
    until(gone, "every row is gone, though nobody calls", LONG_S)
    del owner.settle
    steps = [before - after for before, after in pairwise(counts)]
    assert max(steps) <= 3 * ITEMS_AT_ONCE
    assert sum(steps) == counts[0]


def test_memory_that_dropped_values_hold_is_found(start: Start) -> None:
    start(num_cpus=1, object_store_memory=64 * 2**20)
    size, count = 2**14, 2 * DROPS_AT_ONCE
    refs = [zfut.put(bytes(size)) for _ in range(count)]
    refs.clear()
    large = zfut.put(bytes(48 * 2**20))
    del large


# ------------------------------------------------------------------ a borrower drops


def test_a_borrower_that_drops_many_lets_its_owner_answer_others(handled: list[Any]) -> None:
    keeper = Keeper.remote()
    refs = put(MANY)
    assert zfut.get(keeper.keep.remote(refs)) == MANY
    refs.clear()
    until(lambda: not left(), "only the borrower holds them", LONG_S)
    handled.clear()
    done = keeper.drop.remote()
    until(lambda: releases(handled), "the first of them are released", LONG_S)
    assert zfut.get(one.remote()) == 1
    assert sum(releases(handled)) < MANY
    until(lambda: sum(releases(handled)) == MANY, "all are released", LONG_S)
    assert max(releases(handled)) <= ITEMS_AT_ONCE
    zfut.get(done)
    del keeper, done
    until(gone, "every row is gone", LONG_S)


def test_nothing_is_said_of_many_that_stay_inside_their_call(handled: list[Any]) -> None:
    refs = put(MANY)
    assert zfut.get(measure.remote(refs)) == MANY
    said = [seen for seen in handled if isinstance(seen, m.RegisterBorrows | m.ReleaseBorrows)]
    kept = [
        result.retained
        for seen in handled
        if isinstance(seen, m.TasksFinished)
        for result in seen.results
        if result.retained
    ]
    assert not said
    assert not kept


# ------------------------------------------------------------------ many arrive


def test_many_that_arrive_are_counted_in_parts(handled: list[Any]) -> None:
    value = zfut.put(put(MANY))
    refs = zfut.get(value)
    assert len([seen for seen in handled if isinstance(seen, RefsArrived)]) == MANY // COUNTED
    del value
    assert zfut.get(refs[:3]) == [0, 1, 2]
    refs.clear()
    until(gone, "every row is gone", LONG_S)
