"""Mutants: one rule of the protocol is broken at a time, and the simulator must see it.

Each mutant names the seeds that are searched, or the scenario that reads differently. If a
change of the workload moves the seed that catches one, look for another: ``first_catch`` says
which.
"""

# ruff: noqa: SLF001  a mutant reaches into the machines
from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from msgspec.structs import replace

from tests.sim.telling import reads_differently
from zfut.core import events as e
from zfut.core.executor.machine import ExecutorMachine
from zfut.core.node.fencing import Fencing
from zfut.core.node.granting import Granting
from zfut.core.node.lending import Lending
from zfut.core.node.machine import NodeMachine
from zfut.core.node.resources import cpu_part
from zfut.core.owner.actors import Actors
from zfut.core.owner.borrowing import Borrowing
from zfut.core.owner.calls import Calls
from zfut.core.owner.freeing import Freeing
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.lineage import Lineage, arguments
from zfut.core.owner.lives import Lives
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.mourning import Mourning
from zfut.core.owner.objects import Objects
from zfut.core.owner.prospects import Prospects
from zfut.core.owner.recovery import Recovery
from zfut.core.owner.returns import Returns
from zfut.core.owner.stack import Stack
from zfut.core.owner.submission import Submission
from zfut.core.owner.tasks import Tasks
from zfut.exits import MAX_CALLS
from zfut.sim.run import run_seed
from zfut.wire import messages as m

Patch: TypeAlias = Callable[[pytest.MonkeyPatch], None]

TURNS = 5_000


def first_catch(seeds: range, frees: float = 0.0) -> tuple[int, str]:
    """Return the first seed that breaks a rule, and how."""
    for seed in seeds:
        violation = run_seed(seed, TURNS, frees).violation
        if violation:
            return seed, violation
    return -1, ""


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing instead."""


# -------------------------------------------------------------------- one rule off each


def executor_ignores_the_bind_number(patch: pytest.MonkeyPatch) -> None:
    right = ExecutorMachine._on_push_tasks

    def mutant(self: ExecutorMachine, event: e.Received) -> None:
        message = replace(event.message, bind=self.bind)  # type: ignore[type-var]
        right(self, e.Received(event.sender, message, event.payload))

    patch.setattr(ExecutorMachine, "_on_push_tasks", mutant)


def owner_uses_a_lease_on_a_dead_worker(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Tasks, message: m.LeaseGranted, now: int) -> Any:
        lease = self.submission.leases.get(message.lease_id)
        if lease is None or lease.worker:
            if lease is None:
                self._return(message.lease_id, "done")
            return None
        self.submission.grant(lease, message.worker, message.bind, now)
        return lease

    patch.setattr(Tasks, "on_granted", mutant)


def retry_keeps_the_attempt_number(patch: pytest.MonkeyPatch) -> None:
    right = Submission.requeue

    def mutant(self: Submission, tasks: list[Any]) -> None:
        for task in tasks:
            task.attempt = 0
        right(self, tasks)

    patch.setattr(Submission, "requeue", mutant)


def arguments_go_before_the_result_is_recorded(patch: pytest.MonkeyPatch) -> None:
    right = Returns.finish

    def mutant(self: Returns, task: Any, values: Any, payload: bytes) -> None:
        self._ledger.release_arguments(task)
        task.deps = task.nested = ()
        right(self, task, values, payload)

    patch.setattr(Returns, "finish", mutant)


def the_dead_are_forgotten_though_a_table_names_them(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OwnerMachine, "_named", lambda _: ())


def the_dead_are_forgotten_while_their_calls_run(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ExecutorMachine, "callers", lambda _: ())


def answer_does_not_wait_for_the_registration(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Borrowing, "waits_for", lambda *_: 0)


def kept_references_get_no_token(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Borrowing, "claim", lambda *_: ())


def value_goes_before_what_is_in_it_is_covered(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Borrowing, object_id: bytes, row: Any) -> None:
        self._ledger.covered.pop(object_id, None)
        if row.owner is not None:
            self._ledger.release_borrowed(object_id, row)

    patch.setattr(Borrowing, "_cover_ended", mutant)


def token_is_never_given_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "release_token", nothing)


def borrowers_death_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Borrowing, "drop_borrower", nothing)


def drop_counts_twice(patch: pytest.MonkeyPatch) -> None:
    right = Ledger.drop

    def mutant(self: Ledger, object_id: bytes) -> None:
        right(self, object_id)
        right(self, object_id)

    patch.setattr(Ledger, "drop", mutant)


def nothing_is_pushed_back_on_block(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ExecutorMachine, "push_back", nothing)


def block_credits_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Granting, "block", nothing)


def cpu_is_not_taken_back(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Granting, uid: bytes) -> None:
        lease = self._lease_of(uid)
        if lease is not None:
            lease.blocked = False

    patch.setattr(Granting, "unblock", mutant)


def blocked_lease_is_credited_twice(patch: pytest.MonkeyPatch) -> None:
    right = Granting._credit

    def mutant(self: Granting, lease: Any) -> None:
        blocked = lease.blocked
        right(self, lease)
        if blocked:
            self.resources.give(cpu_part(lease.demand))

    patch.setattr(Granting, "_credit", mutant)


def lease_outlives_its_owner(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(NodeMachine, "_end_what_it_owned", nothing)


def dead_writers_memory_is_free_at_once(patch: pytest.MonkeyPatch) -> None:
    right = Lending.died

    def mutant(self: Lending, uid: bytes, witnesses: dict[bytes, None]) -> None:
        del witnesses
        right(self, uid, {})

    patch.setattr(Lending, "died", mutant)


def nobody_claims_what_a_dead_process_wrote(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mourning, "claims_on", lambda _, creator, *__: m.ClaimMemory(creator, ()))


def freed_memory_is_told_to_nobody(patch: pytest.MonkeyPatch) -> None:
    right = Ledger.flush

    def mutant(self: Ledger) -> None:
        self._to_free.clear()
        right(self)

    patch.setattr(Ledger, "flush", mutant)


def memory_is_freed_while_it_is_used(patch: pytest.MonkeyPatch) -> None:
    right = Ledger.set_value

    def mutant(self: Ledger, row: Any, encoding: int, value: Any) -> None:
        right(self, row, encoding, value)
        if not isinstance(value, bytes) and row.owner is None:
            self.free_memory(value)

    patch.setattr(Ledger, "set_value", mutant)


def cancellation_does_not_stick(patch: pytest.MonkeyPatch) -> None:
    right = Tasks.cancel

    def mutant(self: Tasks, task: Any) -> None:
        right(self, task)
        task.cancelled = False

    patch.setattr(Tasks, "cancel", mutant)


def stopped_waits_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Objects, "stop_waiting", nothing)


def call_overtakes_one_that_waits(patch: pytest.MonkeyPatch) -> None:
    right = Actors.sendable

    def mutant(self: Actors, actor: Any, limit: int) -> Any:
        ready = [task for task in actor.queue if not task.waiting_on]
        rest = [task for task in actor.queue if task.waiting_on]
        actor.queue.clear()
        actor.queue.extend([*ready, *rest])
        return right(self, actor, limit)

    patch.setattr(Actors, "sendable", mutant)


def call_does_not_hold_its_actor(patch: pytest.MonkeyPatch) -> None:
    right = Calls.submit

    def mutant(self: Calls, task: Any, **given: bool) -> None:
        task.weak = True
        right(self, task, **given)

    patch.setattr(Calls, "submit", mutant)


def killed_actors_arguments_go_at_once(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Calls, runs_at: bytes, task: Any) -> None:
        del runs_at
        self._ledger.release_arguments(task)
        self._let_handle_go(task)

    patch.setattr(Calls, "let_arguments_go", mutant)


def owners_death_fails_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mourning, "fail_objects_of", nothing)


def failed_argument_stops_nothing(patch: pytest.MonkeyPatch) -> None:
    right = OwnerMachine._route_unblocked

    def mutant(self: OwnerMachine) -> None:
        waiting = self.ledger.unblocked
        kept = [(task, failure) for task, failure in waiting if failure is None]
        waiting.clear()
        waiting.extend(kept)
        right(self)

    patch.setattr(OwnerMachine, "_route_unblocked", mutant)


def idle_leases_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Submission, "lingering", lambda *_: [])


def nothing_is_recalled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Submission, "stuck", lambda *_: [])


def nobody_audits_a_dead_issuer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Borrowing, "audit", nothing)


def the_audited_hold_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Borrowing, "on_audit", nothing)


def an_interrupted_call_is_never_sent_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Calls, "interrupted", lambda self, actor, _: self.actors.leave(actor))


def restarted_before_its_process_is_dead(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Lives, actor: Any) -> None:
        if actor.worker and actor.creation is not None and actor.restarts_left:
            self._tasks.submission.end(actor.lease)
            self._restart(actor, actor.creation, "too early")

    patch.setattr(Lives, "_end_life", mutant)


def restart_forgets_the_attempt(patch: pytest.MonkeyPatch) -> None:
    right = Lives._restart

    def mutant(self: Lives, actor: Any, creation: Any, why: str) -> None:
        creation.attempt -= 1
        right(self, actor, creation, why)

    patch.setattr(Lives, "_restart", mutant)


def constructor_arguments_go_after_the_first_life(patch: pytest.MonkeyPatch) -> None:
    right = Lives.on_created

    def mutant(self: Lives, sender: bytes, result: Any, payload: bytes) -> bool:
        actor = self._actors.by_worker.get(sender)
        if actor is not None and actor.restarts_left and not actor.created:
            self._release_creation(actor)
        return right(self, sender, result, payload)

    patch.setattr(Lives, "on_created", mutant)


def interrupts_are_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ExecutorMachine, "_interrupt", nothing)


def lineage_is_not_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lineage, "keep", nothing)


def lineage_lets_arguments_go(patch: pytest.MonkeyPatch) -> None:
    right = Lineage.keep

    def mutant(self: Lineage, task: Any, made: Any) -> None:
        right(self, task, made)
        for name in arguments(task):
            self._rows[name].lineage -= 1

    patch.setattr(Lineage, "keep", mutant)


def a_run_again_keeps_its_attempt(patch: pytest.MonkeyPatch) -> None:
    right = Recovery._run_again

    def mutant(self: Recovery, task: Any) -> list[bytes]:
        task.attempt -= 1
        return right(self, task)

    patch.setattr(Recovery, "_run_again", mutant)


def lost_values_are_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Recovery, "need", nothing)


def what_runs_again_already_runs_twice(patch: pytest.MonkeyPatch) -> None:
    right = Recovery._expect_results

    def mutant(self: Recovery, task: Any) -> bool:
        right(self, task)
        return False

    patch.setattr(Recovery, "_expect_results", mutant)


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


def the_dead_protect_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mourning, "lent_to", nothing)


def calls_of_the_dead_are_left_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mourning, "adopt", nothing)


def deaths_are_answered_at_once(patch: pytest.MonkeyPatch) -> None:
    right = Mourning.owe

    def mutant(self: Mourning, dead: bytes, fence: int) -> None:
        right(self, dead, fence)
        self.answers[-1][2].clear()

    patch.setattr(Mourning, "owe", mutant)


def a_fence_asks_only_who_wants_it(patch: pytest.MonkeyPatch) -> None:
    right = Fencing.ask

    def mutant(self: Fencing, asker: bytes, dead: bytes) -> Any:
        number, news = right(self, asker, dead)
        self.fences[number].unanswered = {asker: None}
        return number, news

    patch.setattr(Fencing, "ask", mutant)


def anything_queued_runs_on_top(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Stack) -> Any:
        keys = self._submission.keys.values()
        queued = [task for key in keys for task in key.queue]
        return queued[0] if self.open and queued else None

    patch.setattr(Stack, "next_task", mutant)


def who_is_lent_to_itself_stays_stuck(patch: pytest.MonkeyPatch) -> None:
    """Nobody says when what runs on top comes to wait."""
    right = ExecutorMachine.tell_node

    def mutant(self: ExecutorMachine) -> None:
        if self.told is None:
            right(self)

    patch.setattr(ExecutorMachine, "tell_node", mutant)


def issuers_are_not_watched(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Borrowing, row: Any, token: bytes, uid: bytes) -> None:
        row.borrowers = {**(row.borrowers or {}), token: uid}
        self._ledger.watch(uid)

    patch.setattr(Borrowing, "_add_borrower", mutant)


def a_ready_worker_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Granting, uid: bytes, now: int) -> None:
        self.pool.ready(uid, now)

    patch.setattr(Granting, "worker_ready", mutant)


def pushed_back_tasks_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Submission, "requeue", nothing)


def dead_borrowers_may_register(patch: pytest.MonkeyPatch) -> None:
    right = Borrowing.on_register

    def mutant(self: Borrowing, sender: bytes, message: m.RegisterBorrows) -> None:
        dead, self._ledger.dead = self._ledger.dead, {}
        right(self, sender, message)
        self._ledger.dead = dead

    patch.setattr(Borrowing, "on_register", mutant)


def who_waits_for_one_argument_forgets_the_others(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("zfut.core.owner.machine.value_lost", nothing)


def a_worker_that_takes_no_more_ends_at_once(patch: pytest.MonkeyPatch) -> None:
    right = ExecutorMachine.retire

    def mutant(self: ExecutorMachine) -> None:
        right(self)
        self.exiting = MAX_CALLS

    patch.setattr(ExecutorMachine, "retire", mutant)


def one_lease_of_those_lent_twice_is_enough(patch: pytest.MonkeyPatch) -> None:
    right = Granting._revoke_what_was_lent_twice

    def mutant(self: Granting) -> None:
        granted = self.leases.granted
        self.leases.granted = dict(list(granted.items())[-1:])
        right(self)
        self.leases.granted = granted

    patch.setattr(Granting, "_revoke_what_was_lent_twice", mutant)


def what_is_lent_twice_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Granting, "_revoke_what_was_lent_twice", nothing)


def a_held_answer_brings_back_what_is_let_go(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ExecutorMachine, "_keep_for_caller", lambda *_: [])


def orphans_own_for_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ExecutorMachine, "_owns_for_others", lambda _: False)


def lingering_actors_keep_their_leases(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Granting, "worker_lingers", nothing)


def orphans_are_never_killed(patch: pytest.MonkeyPatch) -> None:
    right = NodeMachine._end_orphan

    def mutant(self: NodeMachine, uid: bytes, now: int, *, at_once: bool) -> None:
        right(self, uid, now, at_once=at_once)
        self._orphans.clear()

    patch.setattr(NodeMachine, "_end_orphan", mutant)


def values_that_nobody_uses_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "value_came", nothing)


def some_runs_are_in_vain(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Prospects, "_first_failure", nothing)


def a_late_kill_ends_the_next_life(patch: pytest.MonkeyPatch) -> None:
    right = Lives.on_kill

    def mutant(self: Lives, message: m.KillActor) -> None:
        right(self, replace(message, incarnation=-1))

    patch.setattr(Lives, "on_kill", mutant)


def free_does_not_wait_for_readers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Freeing, "may_be_read", staticmethod(lambda _: False))


def freed_values_are_made_again_for_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Freeing, "lend", nothing)


def closed_views_of_freed_values_go_unnoticed(patch: pytest.MonkeyPatch) -> None:
    right = Ledger.close_view

    def mutant(self: Ledger, object_id: bytes) -> None:
        before = dict(self.withheld.due)
        right(self, object_id)
        self.withheld.due.clear()
        self.withheld.due.update(before)

    patch.setattr(Ledger, "close_view", mutant)


def ends_of_holds_on_freed_values_go_unnoticed(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Ledger, object_id: bytes, row: Any) -> None:
        if not row.in_use():
            self.release(object_id, row)

    patch.setattr(Ledger, "unheld", mutant)


def constructors_that_run_again_take_nothing_freed(patch: pytest.MonkeyPatch) -> None:
    right = Freeing._reach

    def mutant(self: Freeing, task: Any) -> dict[bytes, None]:
        return right(self, task) if task.creation is None else {}

    patch.setattr(Freeing, "_reach", mutant)


def queued_calls_keep_what_was_freed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OwnerMachine, "_values_gone", nothing)


FREES = 0.15
"""How often user code frees something, in the seeds that look at that."""

BY_FREEING_SEED: dict[Patch, range] = {
    free_does_not_wait_for_readers: range(60),
    queued_calls_keep_what_was_freed: range(60),
    ends_of_holds_on_freed_values_go_unnoticed: range(60),
}

BY_SEED: dict[Patch, range] = {
    a_held_answer_brings_back_what_is_let_go: range(2_042_868, 2_042_872),
    issuers_are_not_watched: range(60),
    a_ready_worker_is_not_noticed: range(60),
    pushed_back_tasks_are_forgotten: range(60),
    dead_borrowers_may_register: range(4385, 4395),
    executor_ignores_the_bind_number: range(60),
    owner_uses_a_lease_on_a_dead_worker: range(60),
    retry_keeps_the_attempt_number: range(60),
    arguments_go_before_the_result_is_recorded: range(90, 100),
    answer_does_not_wait_for_the_registration: range(60),
    kept_references_get_no_token: range(60),
    token_is_never_given_back: range(60),
    borrowers_death_is_ignored: range(60),
    drop_counts_twice: range(60),
    block_credits_nothing: range(80),
    cpu_is_not_taken_back: range(60),
    blocked_lease_is_credited_twice: range(60),
    lease_outlives_its_owner: range(60),
    dead_writers_memory_is_free_at_once: range(80),
    nobody_claims_what_a_dead_process_wrote: range(80),
    freed_memory_is_told_to_nobody: range(60),
    memory_is_freed_while_it_is_used: range(60),
    cancellation_does_not_stick: range(60),
    stopped_waits_stay: range(60),
    call_overtakes_one_that_waits: range(60),
    call_does_not_hold_its_actor: range(60),
    owners_death_fails_nothing: range(228, 236),
    failed_argument_stops_nothing: range(60),
    nobody_audits_a_dead_issuer: range(840, 855),
    an_interrupted_call_is_never_sent_again: range(60),
    restarted_before_its_process_is_dead: range(90),
    restart_forgets_the_attempt: range(60),
    constructor_arguments_go_after_the_first_life: range(70),
    lineage_lets_arguments_go: range(60),
    a_run_again_keeps_its_attempt: range(60),
    lost_values_are_waited_for: range(60),
    what_runs_again_already_runs_twice: range(580, 590),
    who_is_lent_to_itself_stays_stuck: range(1480, 1490),
    the_dead_are_forgotten_though_a_table_names_them: range(60),
    the_dead_are_forgotten_while_their_calls_run: range(80, 90),
}

BY_SCENARIO: dict[Patch, str] = {
    what_is_lent_twice_stays: "lent_while_it_waited",
    one_lease_of_those_lent_twice_is_enough: "all_that_was_lent_twice",
    a_worker_that_takes_no_more_ends_at_once: "worker_retires_between_two_tasks",
    free_does_not_wait_for_readers: "free_while_a_call_reads_it",
    closed_views_of_freed_values_go_unnoticed: "free_with_a_view_open",
    ends_of_holds_on_freed_values_go_unnoticed: "free_while_a_call_reads_it",
    constructors_that_run_again_take_nothing_freed: "free_between_two_lives",
    freed_values_are_made_again_for_nobody: "free_then_rebuilt",
    who_waits_for_one_argument_forgets_the_others: "argument_lost_while_another_is_made",
    orphans_own_for_nobody: "owner_dies_while_its_worker_owns_for_others",
    the_audited_hold_everything: "issuer_dies_before_its_answer",
    lingering_actors_keep_their_leases: "actor_lingers_without_its_cpu",
    orphans_are_never_killed: "orphan_that_does_not_stop",
    values_that_nobody_uses_stay: "value_that_only_lineage_wants",
    some_runs_are_in_vain: "argument_failed_the_last_time",
    a_late_kill_ends_the_next_life: "kill_that_comes_after_a_restart",
    the_dead_protect_nothing: "caller_dies_while_its_call_runs",
    calls_of_the_dead_are_left_alone: "caller_dies_while_its_call_runs",
    deaths_are_answered_at_once: "caller_dies_while_its_call_runs",
    a_fence_asks_only_who_wants_it: "caller_dies_while_its_call_runs",
    anything_queued_runs_on_top: "leftover_at_the_cap",
    interrupts_are_lost: "cancel_dispatched",
    lineage_is_not_kept: "lost_chain_runs_again",
    lineage_tokens_are_given_back: "lineage_of_another_owner",
    answer_does_not_wait_for_the_registration: "returned_ref_of_a_third_party",
    value_goes_before_what_is_in_it_is_covered: "value_dropped_before_what_is_in_it",
    nothing_is_pushed_back_on_block: "push_back_on_block",
    killed_actors_arguments_go_at_once: "actor_killed",
    kept_references_get_no_token: "borrowed_ref_kept_by_an_actor",
    lease_outlives_its_owner: "owner_death_purges_leases",
    idle_leases_stay: "lease_reuse",
    nothing_is_recalled: "recall_of_stuck_work",
}


@pytest.mark.parametrize("mutant", BY_SEED, ids=lambda mutant: mutant.__name__)
def test_seeds_catch(mutant: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    seed, _ = first_catch(BY_SEED[mutant])
    assert seed >= 0, f"no seed of {BY_SEED[mutant]} sees that {mutant.__name__}"


@pytest.mark.parametrize("mutant", BY_FREEING_SEED, ids=lambda mutant: mutant.__name__)
def test_seeds_that_free_catch(mutant: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    seed, _ = first_catch(BY_FREEING_SEED[mutant], FREES)
    assert seed >= 0, f"no seed of {BY_FREEING_SEED[mutant]} sees that {mutant.__name__}"


@pytest.mark.parametrize("mutant", BY_SCENARIO, ids=lambda mutant: mutant.__name__)
def test_a_scenario_catches(mutant: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    assert reads_differently(BY_SCENARIO[mutant])


@pytest.mark.parametrize("seeds", [range(60)])
def test_without_a_mutant_these_seeds_see_nothing(seeds: range) -> None:
    assert first_catch(seeds) == (-1, "")
    assert first_catch(seeds, FREES) == (-1, "")
