"""Mutants: a bound on unfinished calls, and who waits at it."""

from __future__ import annotations

import pytest

from tests.sim.mutants.catalog import EARLY, caught_by, expects, nothing
from zfut.config import Config
from zfut.core.effects import Outbox
from zfut.core.owner.backlog import Backlog
from zfut.core.owner.objects import Objects
from zfut.core.owner.records import Task
from zfut.core.worker import WorkerMachine


@caught_by(seeds=EARLY)
def failed_calls_stay_counted(patch: pytest.MonkeyPatch) -> None:
    right = Backlog.end

    def mutant(self: Backlog, task: Task) -> None:
        if not task.cancelled:
            right(self, task)

    patch.setattr(Backlog, "end", mutant)


@caught_by(scenario="cancelled_while_it_waits_for_a_word")
def calls_that_wait_for_a_word_are_overlooked(patch: pytest.MonkeyPatch) -> None:
    right = Backlog.__init__

    def mutant(
        self: Backlog, config: Config, objects: Objects, _: dict[bytes, list[Task]], out: Outbox
    ) -> None:
        right(self, config, objects, {}, out)

    patch.setattr(Backlog, "__init__", mutant)


@caught_by(seeds=EARLY)
def who_waits_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backlog, "settle", nothing)


@caught_by(seeds=EARLY)
def who_waits_keeps_its_cpu(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WorkerMachine, "_on_await_room", nothing)


@caught_by(
    scenario="submitter_is_one_of_the_unfinished",
    expects=expects(
        "second runs when first has submitted its child",
        "w1: submitted child",
        "w1 runs second",
        "w1 runs child",
    ),
)
def who_waits_does_so_for_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backlog, "_own", lambda self, _: self.open_calls)
