# ruff: noqa: SLF001  a mutant reaches into the machines
"""Lineage against its dumb second version: what is kept, what is dropped, what runs again.

Calls build graphs of stored values on one another; handles go, values are lost, old calls are
dropped.  What a loss makes run again is compared with the smallest set of calls that can bring the
value back, found by trying every set.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import combinations
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.core.dumb_owner import FAILED, FREED, INLINE, STORED, Call, DumbOwner, Returned
from tests.core.owner_pair import SIZE, Pair
from tests.core.state_machines import assert_it_sees, limits, pick
from zfut.config import Config
from zfut.core.owner import records
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.lineage import Lineage
from zfut.core.owner.prospects import Prospects
from zfut.core.owner.recovery import Recovery
from zfut.wire.specs import CANCELLED, RAISED

LIMITS = limits(examples=100, steps=35)
KEPT_MAX_BYTES = 5_000
"""Lineage has room for seven calls, so that every set of them can be tried."""

which = st.integers(0, 30)
several = st.lists(which, max_size=3)
tries = st.sampled_from((-1, 50, 50, 2, 1, 0))
forms = st.sampled_from((STORED, STORED, STORED, INLINE, FAILED))
graphs = st.lists(st.tuples(several, st.integers(1, 2), st.booleans()), min_size=2, max_size=5)
"""For each call: which of the others' results it takes, how many it has, and whether those
that it takes are kept besides."""


def smallest(dumb: DumbOwner, wanted: bytes) -> set[bytes] | None:
    """Return the fewest calls that make ``wanted`` again from what is there; None: none can."""
    there = {name for name, thing in dumb.things.items() if thing.there}
    able = [call for call in dumb.kept if call.tries and not call.cancelled]
    for size in range(len(able) + 1):
        for chosen in combinations(able, size):
            if wanted in after(dumb, chosen, there):
                return {call.name for call in chosen}
    return None


def after(dumb: DumbOwner, chosen: tuple[Call, ...], there: set[bytes]) -> set[bytes]:
    """Return what is there when all that can run of ``chosen`` has run; errors stay."""
    made = set(there)
    for _ in chosen:
        for call in chosen:
            if made.issuperset(call.deps):
                again = dumb.remade_by(call)
                made.update(thing.name for thing in again if thing.state != FAILED)
    return made


class LineageTable(RuleBasedStateMachine):
    """Histories of one owner whose values get lost."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(Config(lineage_max_bytes=KEPT_MAX_BYTES))
        self.world, self.dumb = self.pair.world, self.pair.dumb

    def some(self, at: list[int]) -> list[bytes]:
        """Return some of what user code has and has not failed."""
        things = self.dumb.things
        held = [name for name in self.pair.held() if things[name].state != FAILED]
        return [pick(held, each) for each in at] if held else []

    def running(self) -> list[Call]:
        """Return the calls that are at a worker."""
        self.world.settle()
        return [self.dumb.calls[name] for name in self.world.in_flight]

    def return_all(self, call: Call, form: str) -> None:
        """Let a call return; the first of several results may be of another form."""
        worker = self.world.in_flight[call.name][0]
        returned = []
        for index, _ in enumerate(call.results):
            state = STORED if index else form
            offset = self.world.place(SIZE) if state == STORED else 0
            returned.append(Returned(state, (), worker, offset))
        self.pair.finish(call, returned)

    def run_all(self) -> None:
        """Let everything run that waits, and let the dead be fenced."""
        while self.world.fences:
            self.pair.complete_fence()
        while calls := self.running():
            self.return_all(calls[0], STORED)
            self.pair.compare()

    def stored(self) -> list[bytes]:
        """Return what can be lost."""
        return [name for name, thing in self.dumb.things.items() if thing.state == STORED]

    def freed(self) -> list[bytes]:
        """Return what only lineage names and is not there."""
        return [name for name, thing in self.dumb.things.items() if thing.state == FREED]

    # ---------------------------------------------------------------- user code

    @rule(inside=several, stored=st.booleans())
    def put(self, inside: list[int], *, stored: bool) -> None:
        self.pair.put(self.some(inside), stored=stored)
        self.pair.compare()

    @rule(
        deps=several,
        nested=several,
        left=tries,
        form=forms,
        at_once=st.booleans(),
        forget=st.booleans(),
    )
    def submit(  # noqa: PLR0913  one for each
        self,
        deps: list[int],
        nested: list[int],
        left: int,
        form: str,
        *,
        at_once: bool,
        forget: bool,
    ) -> None:
        """Call; what is given to the call may be needed by nobody else."""
        given, hidden = self.some(deps), self.some(nested[:1])
        name = self.pair.submit(given, hidden, 1 + len(nested) % 2, left)[0]
        for each in dict.fromkeys([*given, *hidden]) if forget else ():
            self.pair.drop(each)
        call = self.dumb.calls[name[:24]]
        if at_once and call in self.running():
            self.return_all(call, form)
        self.pair.compare()

    @rule(graph=graphs)
    def grow(self, graph: list[tuple[list[int], int, bool]]) -> None:
        """Call after call on what the others return, all stored; some results are let go."""
        made: list[bytes] = []
        for at, results, keep in graph:
            deps = [pick(made, each) for each in at] if made else []
            made += self.pair.submit(deps, [], results, -1)
            self.run_all()
            for name in dict.fromkeys(deps) if not keep else ():
                while self.dumb.handles[name] > 0:
                    self.pair.drop(name)
            made = [name for name in made if self.dumb.handles[name] > 0]
        self.pair.compare()

    @precondition(lambda self: self.pair.held())
    @rule(at=which)
    def drop(self, at: int) -> None:
        self.pair.drop(pick(self.pair.held(), at))
        self.pair.compare()

    @precondition(lambda self: self.pair.held())
    @rule(at=which)
    def wait(self, at: int) -> None:
        self.pair.wait([pick(self.pair.held(), at)], 1, fail_fast=True)
        self.pair.compare()

    @precondition(lambda self: self.pair.held())
    @rule(at=which, force=st.booleans())
    def cancel(self, at: int, *, force: bool) -> None:
        self.pair.cancel(pick(self.pair.held(), at), force=force)
        self.pair.compare()

    # ---------------------------------------------------------------- workers

    @precondition(lambda self: self.world.in_flight)
    @rule(at=which, form=forms)
    def finish(self, at: int, form: str) -> None:
        self.return_all(pick(self.running(), at), form)
        self.pair.compare()

    @precondition(lambda self: self.world.in_flight)
    @rule(at=which, how=st.sampled_from(("again", "dies", "raised")))
    def do_not_finish(self, at: int, how: str) -> None:
        call = pick(self.running(), at)
        if how == "dies":
            self.pair.end_process(self.world.in_flight[call.name][0])
        elif how == "again":
            self.pair.try_again(call)
        else:
            self.pair.fail(call, CANCELLED if call.cancelled else RAISED)
        self.pair.compare()

    # ---------------------------------------------------------------- losses

    @precondition(lambda self: self.stored())
    @rule(at=which)
    def lose(self, at: int) -> None:
        self.pair.lose(pick(self.stored(), at))
        self.pair.compare()

    @precondition(lambda self: self.stored())
    @rule(at=which)
    def lose_and_wait(self, at: int) -> None:
        """The smallest set of calls runs again, if somebody uses what is lost."""
        self.run_all()
        if not self.stored():
            return
        name = pick(self.stored(), at)
        world = deepcopy(self.dumb)
        world.forget(name)
        used, _ = self.dumb.marks()
        expected = smallest(world, name) if name in used else set()
        self.pair.lose(name)
        self.watch(name, expected)

    @precondition(lambda self: self.freed())
    @rule(at=which)
    def want_again(self, at: int) -> None:
        """A reference comes back to what only lineage names, and somebody waits for it."""
        self.run_all()
        if not self.freed():
            return
        name = pick(self.freed(), at)
        expected = smallest(self.dumb, name)
        self.pair.arrive(name)
        self.pair.wait([name], 1, fail_fast=True)
        self.watch(name, expected)

    def watch(self, name: bytes, expected: set[bytes] | None) -> None:
        """Let everything run, and compare what ran."""
        self.world.pushed.clear()
        self.pair.compare()
        self.run_all()
        if expected is None:
            assert self.dumb.things[name].state == FAILED
            assert not self.world.pushed, "nothing runs in vain"
            return
        assert len(self.world.pushed) == len(set(self.world.pushed)), "each once"
        assert set(self.world.pushed) == expected, "as few as can be"
        assert not expected or self.dumb.things[name].there

    # ---------------------------------------------------------------- the end

    def teardown(self) -> None:
        """Let everything go: nothing is left."""
        if not self.pair.agree:
            return
        self.run_all()
        while held := self.pair.held():
            self.pair.drop(held[-1])
        self.pair.compare()
        assert not self.pair.machine.rows
        assert not self.pair.machine.ledger.lineage.retained


@pytest.mark.timeout(600)  # what fails is made smaller first
def test_what_is_kept_and_what_runs_again() -> None:
    run_state_machine_as_test(LineageTable, settings=LIMITS)


# -------------------------------------------------------------------- one rule off each


def arguments_are_not_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("zfut.core.owner.lineage.arguments", lambda _: [])


def the_newest_are_dropped(patch: pytest.MonkeyPatch) -> None:
    right = Lineage.excess

    def mutant(self: Lineage) -> list[Any]:
        self.retained = dict(reversed(self.retained.items()))
        dropped = right(self)
        self.retained = dict(reversed(self.retained.items()))
        return dropped

    patch.setattr(Lineage, "excess", mutant)


def lineage_has_no_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lineage, "excess", lambda _: [])


def every_argument_is_made_again(patch: pytest.MonkeyPatch) -> None:
    right = Ledger.hold_deps

    def mutant(self: Ledger, task: Any) -> Any:
        for _, name, _ in task.deps if task.attempt else ():
            row = self.objects.rows[name]
            if row.made_by is not None and row.state == records.STORED:
                self.forget_value(row)
        return right(self, task)

    patch.setattr(Ledger, "hold_deps", mutant)


def what_was_lost_is_not_made_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Recovery, "need", lambda *_: None)


def arguments_are_not_made_again(patch: pytest.MonkeyPatch) -> None:
    right = Recovery._run_again

    def mutant(self: Recovery, task: Any) -> list[bytes]:
        right(self, task)
        return []

    patch.setattr(Recovery, "_run_again", mutant)


def a_run_again_is_the_same_attempt(patch: pytest.MonkeyPatch) -> None:
    right = Recovery._run_again

    def mutant(self: Recovery, task: Any) -> list[bytes]:
        task.attempt -= 1
        return right(self, task)

    patch.setattr(Recovery, "_run_again", mutant)


def what_runs_again_already_runs_twice(patch: pytest.MonkeyPatch) -> None:
    right = Recovery._expect_results

    def mutant(self: Recovery, task: Any) -> bool:
        right(self, task)
        return False

    patch.setattr(Recovery, "_expect_results", mutant)


def some_runs_are_in_vain(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Prospects, "_first_failure", lambda *_: None)


@pytest.mark.parametrize(
    "broken",
    [
        some_runs_are_in_vain,
        arguments_are_not_kept,
        the_newest_are_dropped,
        lineage_has_no_bound,
        every_argument_is_made_again,
        what_was_lost_is_not_made_again,
        arguments_are_not_made_again,
        a_run_again_is_the_same_attempt,
        what_runs_again_already_runs_twice,
    ],
)
def test_a_broken_rule_is_seen(
    broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    assert_it_sees(LineageTable, LIMITS)
