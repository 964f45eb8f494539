"""Mutants: attempts, retries, cancelling, what waits and what runs on top."""

# ruff: noqa: SLF001  a mutant reaches into the machines
from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.sim.mutants.catalog import EARLY, caught_by, expects, nothing
from zfut.core import events as e
from zfut.core.executor.machine import ExecutorMachine
from zfut.core.owner import machine
from zfut.core.owner.backlog import Backlog
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.objects import Objects
from zfut.core.owner.records import Task
from zfut.core.owner.stack import Stack
from zfut.core.owner.submission import Submission
from zfut.core.owner.tasks import Tasks
from zfut.wire import messages as m


@caught_by(seeds=EARLY)
def executor_ignores_the_bind_number(patch: pytest.MonkeyPatch) -> None:
    right = ExecutorMachine._on_push_tasks

    def mutant(self: ExecutorMachine, event: e.Received) -> None:
        message = replace(event.message, bind=self.bind)  # type: ignore[type-var]
        right(self, e.Received(event.sender, message, event.payload))

    patch.setattr(ExecutorMachine, "_on_push_tasks", mutant)


@caught_by(seeds=EARLY)
def owners_forget_who_is_dead(patch: pytest.MonkeyPatch) -> None:
    right = OwnerMachine._on_process_died

    def mutant(self: OwnerMachine, death: m.ProcessDied) -> None:
        right(self, death)
        self.ledger.dead.pop(death.uid, None)

    patch.setattr(OwnerMachine, "_on_process_died", mutant)


@caught_by(scenario="granted_after_its_worker_died")
def owner_uses_a_lease_on_a_dead_worker(patch: pytest.MonkeyPatch) -> None:
    right = Tasks.on_granted

    def mutant(self: Tasks, message: m.LeaseGranted, now: int) -> Any:
        dead, self._ledger.dead = self._ledger.dead, {}
        lease = right(self, message, now)
        self._ledger.dead = dead
        return lease

    patch.setattr(Tasks, "on_granted", mutant)


@caught_by(seeds=EARLY)
def retry_keeps_the_attempt_number(patch: pytest.MonkeyPatch) -> None:
    right = Submission.requeue

    def mutant(self: Submission, tasks: list[Any]) -> None:
        for task in tasks:
            task.attempt = 0
        right(self, tasks)

    patch.setattr(Submission, "requeue", mutant)


@caught_by(seeds=EARLY)
def cancellation_does_not_stick(patch: pytest.MonkeyPatch) -> None:
    right = Tasks.cancel

    def mutant(self: Tasks, task: Any, *, force: bool = False, recursive: bool = True) -> None:
        right(self, task, force=force, recursive=recursive)
        task.cancelled = False

    patch.setattr(Tasks, "cancel", mutant)


@caught_by(seeds=EARLY)
def stopped_waits_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Objects, "stop_waiting", nothing)


@caught_by(seeds=EARLY)
def failed_argument_stops_nothing(patch: pytest.MonkeyPatch) -> None:
    right = OwnerMachine._route_unblocked

    def mutant(self: OwnerMachine) -> None:
        waiting = self.ledger.unblocked
        kept = [(task, failure) for task, failure in waiting if failure is None]
        waiting.clear()
        waiting.extend(kept)
        right(self)

    patch.setattr(OwnerMachine, "_route_unblocked", mutant)


@caught_by(
    scenario="cancel_dispatched",
    expects=expects("the call that runs is interrupted", "w1 asks: InterruptCall task_id=t1"),
)
def interrupts_are_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ExecutorMachine, "_interrupt", nothing)


@caught_by(seeds=EARLY)
def pushed_back_tasks_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Submission, "requeue", nothing)


@caught_by(
    scenario="argument_lost_while_another_is_made",
    expects=expects(
        "d fails while slow runs",
        "driver gets Dependency",
        "w1: Returned result=slow",
    ),
)
def who_waits_for_one_argument_forgets_the_others(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(machine, "value_lost", nothing)


@caught_by(
    scenario="waits_for_what_is_behind_it",
    expects=expects("t2 runs, and t1 gets it", "w2 runs t2", "w1 gets t2"),
)
def nothing_is_pushed_back_on_block(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ExecutorMachine, "push_back", nothing)


@caught_by(
    scenario="recall_of_stuck_work",
    expects=expects(
        "t2 runs while t1 does", "w1 runs t1", "w2 runs t2", "w1: Returned result=t1"
    ),
)
def nothing_is_recalled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Submission, "stuck", lambda *_: [])


@caught_by(scenario="lease_reuse")
def idle_leases_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Submission, "lingering", lambda *_: [])


@caught_by(
    scenario="leftover_at_the_cap",
    expects=expects(
        "the leftover runs when the call on top has ended",
        "w1 runs inner",
        "w1 gets inner",
        "w1 runs left",
    ),
)
def anything_queued_runs_on_top(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Stack) -> Any:
        keys = self._submission.keys.values()
        queued = [task for key in keys for task in key.queue]
        return queued[0] if self.open and queued else None

    patch.setattr(Stack, "next_task", mutant)


@caught_by(
    scenario="nested_wait_on_top",
    expects=expects(
        "c runs on top of a, which waits for it", "w1 runs a", "w1 runs c", "w1 gets c"
    ),
)
def who_is_lent_to_itself_stays_stuck(patch: pytest.MonkeyPatch) -> None:
    """Nobody says when what runs on top comes to wait."""
    right = ExecutorMachine.tell_node

    def mutant(self: ExecutorMachine) -> None:
        if self.told is None:
            right(self)

    patch.setattr(ExecutorMachine, "tell_node", mutant)


@caught_by(scenario="recall_comes_too_late")
def tried_again_before_it_is_certain_that_it_does_not_run(patch: pytest.MonkeyPatch) -> None:
    right = Tasks._recall

    def mutant(self: Tasks, lease: Any) -> None:
        queued = list(lease.in_flight.values())[1:]
        right(self, lease)
        for task in queued:
            self.submission.push_back(task)
            task.attempt += 1
        self._requeue(queued)

    patch.setattr(Tasks, "_recall", mutant)


@caught_by(
    scenario="cancelled_with_the_calls_whose_results_are_dropped",
    expects=expects(
        "children without a row are cancelled",
        "w2 -> w1  RecallTasks tasks=e cancel=True",
    ),
)
def only_children_with_a_row_are_cancelled(patch: pytest.MonkeyPatch) -> None:
    right = Backlog.children

    def mutant(self: Backlog, *args: Any) -> list[Task]:
        rows = self._objects.rows
        return [
            task
            for task in right(self, *args)
            if any(name in rows for name in task.result_ids())
        ]

    patch.setattr(Backlog, "children", mutant)
