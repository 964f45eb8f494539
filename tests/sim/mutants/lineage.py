"""Mutants: lineage, and what is made again."""

# ruff: noqa: SLF001  a mutant reaches into the machines
from __future__ import annotations

from typing import Any

import pytest

from tests.core.test_lineage import (
    test_a_chain_of_twenty_thousand_runs_again_without_recursion as chain_of_twenty_thousand,
)
from tests.sim.mutants.catalog import EARLY, caught_by, expects, nothing
from zfut.core.owner.actors import Actors
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.lineage import Lineage, arguments
from zfut.core.owner.prospects import Prospects
from zfut.core.owner.records import ACTOR, FREED, Actor, Task
from zfut.core.owner.recovery import Recovery
from zfut.core.owner.returns import Returns
from zfut.wire import messages as m


@caught_by(
    scenario="lost_chain_runs_again", expects=expects("the chain runs again", "driver gets d")
)
def lineage_is_not_kept(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Lineage, task: Any, made: Any) -> None:
        del self, task
        for row in made:
            row.made_by = None
            row.why_once = "retries off"

    patch.setattr(Lineage, "keep", mutant)


@caught_by(seeds=EARLY)
def lineage_lets_arguments_go(patch: pytest.MonkeyPatch) -> None:
    right = Lineage.keep

    def mutant(self: Lineage, task: Any, made: Any) -> None:
        right(self, task, made)
        for name in arguments(task):
            self._rows[name].lineage -= 1

    patch.setattr(Lineage, "keep", mutant)


@caught_by(seeds=EARLY)
def a_run_again_keeps_its_attempt(patch: pytest.MonkeyPatch) -> None:
    right = Recovery._run_again

    def mutant(self: Recovery, task: Any) -> list[bytes]:
        task.attempt -= 1
        return right(self, task)

    patch.setattr(Recovery, "_run_again", mutant)


@caught_by(seeds=EARLY)
def lost_values_are_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Recovery, "need", nothing)


@caught_by(seeds=range(850, 860))
def what_runs_again_already_runs_twice(patch: pytest.MonkeyPatch) -> None:
    right = Recovery._expect_results

    def mutant(self: Recovery, task: Any) -> bool:
        right(self, task)
        return False

    patch.setattr(Recovery, "_expect_results", mutant)


@caught_by(
    scenario="lineage_of_another_owner",
    expects=expects("y is made again, and x for it", "w2 runs x#1", "w2 runs y#1"),
)
def lineage_tokens_are_given_back(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Recovery, message: m.DowngradeBorrows) -> None:
        for object_id, token in message.items:
            row = self._rows.get(object_id)
            if row is not None and row.borrowers:
                row.borrowers.pop(token, None)
                row.borrowers = row.borrowers or None
                if not row.in_use():
                    self._ledger.release(object_id, row)

    patch.setattr(Recovery, "on_downgrade", mutant)


@caught_by(
    scenario="value_that_only_lineage_wants",
    expects=expects(
        "the memory of a is free as soon as it comes",
        "driver: TasksFinished results=a=",
        "driver -> w1  FreeMemory",
        "driver: ValueLost object_id=b",
    ),
)
def values_that_nobody_uses_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "value_came", nothing)


@caught_by(scenario="argument_failed_the_last_time")
def some_runs_are_in_vain(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Prospects, "_first_failure", nothing)


@caught_by(test=chain_of_twenty_thousand, raises=RecursionError)
def objects_are_let_go_by_recursion(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Ledger, object_id: bytes, row: Any) -> None:
        held: list[tuple[bytes, Any]] = []
        if row.lineage or row.lineage_tokens:
            if row.owner is not None or row.made_by is not None:
                held = self.forget(object_id, row)
        elif self.objects.rows.pop(object_id, None) is not None:
            self.inner.pop(object_id, None)
            if row.state == ACTOR:
                self.handles_gone.append(object_id)
            held = self.forget(object_id, row)
            held += self.lineage.forgotten(row) if row.made_by is not None else []
        for name, one in held:
            self.release(name, one)

    patch.setattr(Ledger, "release", mutant)


@caught_by(test=chain_of_twenty_thousand, raises=RecursionError)
def arguments_are_made_again_by_recursion(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Recovery, object_id: bytes) -> None:
        row = self._rows.get(object_id)
        if row is not None and row.state == FREED and row.made_by is not None:
            for missing in self._run_again(row.made_by):
                self.need(missing)

    patch.setattr(Recovery, "need", mutant)


@caught_by(
    scenario="calls_sent_again_wait_for_one_that_runs_again",
    expects=expects("both calls run again", "w2 runs c#2", "w2 runs d#1"),
)
@caught_by(
    scenario="caller_hears_of_the_death_and_then_of_the_loss",
    expects=expects("both calls run again", "w3 runs c#1", "w3 runs d#1"),
)
def calls_sent_again_go_before_those_that_run_again(patch: pytest.MonkeyPatch) -> None:
    def mutant(actor: Actor, unanswered: list[Task]) -> None:
        actor.queue.extendleft(reversed(unanswered))

    patch.setattr(Actors, "go_first", staticmethod(mutant))


@caught_by(scenario="value_that_is_small_the_second_time")
def small_values_are_lineage_of_a_call_without_tries(patch: pytest.MonkeyPatch) -> None:
    right = Returns.finish

    def mutant(self: Returns, task: Task, *rest: Any) -> None:
        made = self._ledger.lineage.results(task)
        right(self, task, *rest)
        for _, row in made:
            row.made_by = task

    patch.setattr(Returns, "finish", mutant)
