"""Mutants: the order of calls, restarts, kills."""

# ruff: noqa: SLF001  a mutant reaches into the machines
from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.sim.mutants.catalog import EARLY, caught_by, expects, nothing
from zfut.core.owner.actors import Actors
from zfut.core.owner.calls import Calls
from zfut.core.owner.lives import Lives
from zfut.wire import messages as m


@caught_by(seeds=EARLY)
def call_overtakes_one_that_waits(patch: pytest.MonkeyPatch) -> None:
    right = Actors.sendable

    def mutant(self: Actors, actor: Any, limit: int) -> Any:
        ready = [task for task in actor.queue if not task.waiting_on]
        rest = [task for task in actor.queue if task.waiting_on]
        actor.queue.clear()
        actor.queue.extend([*ready, *rest])
        return right(self, actor, limit)

    patch.setattr(Actors, "sendable", mutant)


@caught_by(seeds=EARLY)
def an_interrupted_call_is_never_sent_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Calls, "interrupted", lambda self, actor, _: self.actors.leave(actor))


@caught_by(scenario="restart_asked_while_constructing")
def restarted_before_its_process_is_dead(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Lives, actor: Any) -> None:
        if actor.worker and actor.creation is not None and actor.restarts_left:
            worker = actor.worker
            self._tasks.submission.end(actor.lease)
            self._restart(actor, actor.creation, "too early")
            self._ledger.out.send(self._ledger.node, m.KillWorker(worker, "too late"))

    patch.setattr(Lives, "_end_life", mutant)


@caught_by(seeds=EARLY)
def restart_forgets_the_attempt(patch: pytest.MonkeyPatch) -> None:
    right = Lives._restart

    def mutant(self: Lives, actor: Any, creation: Any, why: str) -> None:
        creation.attempt -= 1
        right(self, actor, creation, why)

    patch.setattr(Lives, "_restart", mutant)


@caught_by(seeds=EARLY)
def constructor_arguments_go_after_the_first_life(patch: pytest.MonkeyPatch) -> None:
    right = Lives.on_created

    def mutant(self: Lives, sender: bytes, result: Any, payload: bytes) -> bool:
        actor = self._actors.by_worker.get(sender)
        if actor is not None and actor.restarts_left and not actor.created:
            self._release_creation(actor)
        return right(self, sender, result, payload)

    patch.setattr(Lives, "on_created", mutant)


@caught_by(
    scenario="kill_that_comes_after_a_restart",
    expects=expects("the next life answers", "w3 runs m2", "driver gets m2"),
)
def a_late_kill_ends_the_next_life(patch: pytest.MonkeyPatch) -> None:
    right = Lives.on_kill

    def mutant(self: Lives, message: m.KillActor) -> None:
        right(self, replace(message, incarnation=-1))

    patch.setattr(Lives, "on_kill", mutant)


@caught_by(
    scenario="run_again_in_the_order_of_submission",
    expects=expects("ra runs when r has", "w2 runs r#1", "w2 runs ra#1"),
)
def calls_run_again_as_they_are_asked_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Actors, "_sort_again", nothing)
