"""Mutants: what the death of a process means for others."""

# ruff: noqa: SLF001  a mutant reaches into the machines
from __future__ import annotations

from typing import Any

import pytest

from tests.sim.mutants.catalog import EARLY, caught_by, expects, nothing
from zfut.core.executor import machine as executor
from zfut.core.executor.machine import ExecutorMachine
from zfut.core.node.fencing import Fencing
from zfut.core.node.granting import Granting
from zfut.core.node.lending import Lending
from zfut.core.node.machine import NodeMachine
from zfut.core.owner import tasks
from zfut.core.owner.borrowing import Borrowing
from zfut.core.owner.calls import Calls
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.lives import Lives
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.memory import Memory
from zfut.core.owner.mourning import Mourning
from zfut.core.owner.records import FREED, ObjectRow, Task
from zfut.wire import messages as m
from zfut.wire.specs import Stored


@caught_by(scenario="caller_dies_with_the_last_hold")
@caught_by(scenario="memory_is_used_again_after_the_caller_died")
def the_dead_protect_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mourning, "lent_to", nothing)


@caught_by(scenario="caller_dies_with_the_last_hold")
@caught_by(scenario="memory_is_used_again_after_the_caller_died")
def calls_of_the_dead_are_left_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mourning, "adopt", nothing)


@caught_by(scenario="caller_dies_with_the_last_hold")
@caught_by(scenario="memory_is_used_again_after_the_caller_died")
def deaths_are_answered_at_once(patch: pytest.MonkeyPatch) -> None:
    right = Mourning.owe

    def mutant(self: Mourning, dead: bytes, fence: int) -> None:
        right(self, dead, fence)
        self.answers[-1][2].clear()

    patch.setattr(Mourning, "owe", mutant)


@caught_by(
    scenario="arguments_of_a_dead_caller_opened_late",
    expects=expects("the reference in them can be asked for", "w3 gets y"),
)
def deaths_are_answered_before_arguments_are_open(patch: pytest.MonkeyPatch) -> None:
    right = Mourning.adopt

    def mutant(self: Mourning, task_id: bytes, arguments: Any, dead: bytes) -> None:
        right(self, task_id, arguments, dead)
        self.opening.clear()

    patch.setattr(Mourning, "adopt", mutant)


@caught_by(
    scenario="arguments_of_a_dead_caller_opened_late",
    expects=expects("the reference in them can be asked for", "w3 gets y"),
)
def what_late_arguments_hold_is_not_awaited(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mourning, "opened", lambda self, task_id: self.opening.pop(task_id, None))


@caught_by(scenario="caller_dies_with_the_last_hold")
@caught_by(scenario="memory_is_used_again_after_the_caller_died")
def a_fence_asks_only_who_wants_it(patch: pytest.MonkeyPatch) -> None:
    right = Fencing.ask

    def mutant(self: Fencing, asker: bytes, dead: bytes) -> Any:
        number, news = right(self, asker, dead)
        if asker:  # else the node itself wants it
            self.fences[number].unanswered = {asker: None}
        return number, news

    patch.setattr(Fencing, "ask", mutant)


@caught_by(
    scenario="owner_dies_while_it_makes_a_value_again",
    expects=expects("who waits for a value of the dead is told", "driver gets OwnerDiedError"),
)
def owners_death_fails_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mourning, "fail_objects_of", nothing)


@caught_by(scenario="owner_dies_while_its_worker_owns_for_others")
def orphans_own_for_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ExecutorMachine, "_is_needed", lambda _: False)


@caught_by(scenario="orphan_that_does_not_stop")
def orphans_are_never_killed(patch: pytest.MonkeyPatch) -> None:
    right = NodeMachine._end_orphan

    def mutant(self: NodeMachine, uid: bytes, now: int, *, at_once: bool) -> None:
        right(self, uid, now, at_once=at_once)
        self._orphans.clear()

    patch.setattr(NodeMachine, "_end_orphan", mutant)


@caught_by(seeds=EARLY)
@caught_by(scenario="owner_death_purges_leases")
def lease_outlives_its_owner(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(NodeMachine, "_end_what_it_owned", nothing)


@caught_by(seeds=EARLY)
def dead_writers_memory_is_free_at_once(patch: pytest.MonkeyPatch) -> None:
    right = Lending.died

    def mutant(self: Lending, uid: bytes, witnesses: dict[bytes, None]) -> None:
        del witnesses
        right(self, uid, {})

    patch.setattr(Lending, "died", mutant)


@caught_by(seeds=EARLY)
def nobody_claims_what_a_dead_process_wrote(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mourning, "claims_on", lambda _, dead, fence: m.ClaimMemory(dead, (), fence))


@caught_by(
    scenario="actor_lingers_without_its_cpu",
    expects=expects("t gets the CPU while the actor lingers", "w2 runs t", "driver gets t"),
)
def lingering_actors_keep_their_leases(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Granting, "worker_lingers", nothing)


@caught_by(scenario="ended_actors_keep_each_others_puts")
@caught_by(seeds=EARLY)
def ended_actors_keep_their_instances(patch: pytest.MonkeyPatch) -> None:
    right = ExecutorMachine._linger

    def mutant(self: ExecutorMachine) -> None:
        actor_id, self.actor_id = self.actor_id, b""
        right(self)
        self.actor_id = actor_id

    patch.setattr(ExecutorMachine, "_linger", mutant)


@caught_by(seeds=EARLY)
def what_only_the_dead_wrote_is_never_free_again(patch: pytest.MonkeyPatch) -> None:
    right = Lending._divide

    def mutant(self: Lending, dead: bytes, estate: Any) -> None:
        free_part = self.free.free_part
        self.free.free_part = lambda *piece: piece in estate.pieces or free_part(*piece)  # type: ignore[assignment, method-assign]
        right(self, dead, estate)
        del self.free.free_part  # type: ignore[method-assign]

    patch.setattr(Lending, "_divide", mutant)


@caught_by(seeds=EARLY)
def claims_on_what_the_dead_wrote_are_never_given_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lending, "free_claimed", nothing)


@caught_by(scenario="lineage_of_another_owner")
def nothing_that_was_written_for_the_dead_is_ceded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Memory, "cede", lambda *_: ())


@caught_by(scenario="claimed_before_the_answer")
def a_dead_owners_values_are_handed_on_without_a_claim(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Borrowing, owner: bytes, items: list[tuple[bytes, bytes]]) -> None:
        del owner
        for _, token in items:
            self._acknowledged(token)

    patch.setattr(Borrowing, "_claim_at_node", mutant)


@caught_by(scenario="witness_dies_before_it_answers")
def who_dies_unanswered_needed_nothing(patch: pytest.MonkeyPatch) -> None:
    right = Lending.died

    def mutant(self: Lending, uid: bytes, witnesses: dict[bytes, None]) -> None:
        for dead, estate in list(self.estates.items()):
            estate.unanswered.pop(uid, None)
            self._settle(dead)
        right(self, uid, witnesses)

    patch.setattr(Lending, "died", mutant)


@caught_by(scenario="reference_found_in_a_dead_owners_value")
def values_of_the_dead_cover_still(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Borrowing, "holder_died", nothing)


@caught_by(scenario="restart_asked_while_constructing")
@caught_by(scenario="actor_killed_twice_while_constructing")
def killed_constructors_read_nothing(patch: pytest.MonkeyPatch) -> None:
    right = Calls.hold_while_it_runs

    def mutant(self: Calls, task: Task, worker: bytes) -> None:
        if task.creation is None:
            right(self, task, worker)

    patch.setattr(Calls, "hold_while_it_runs", mutant)


@caught_by(scenario="early_calls_of_the_dead")
def early_calls_outlive_their_callers(patch: pytest.MonkeyPatch) -> None:
    def mutant(early: Any, given: bytes) -> bytes:  # noqa: ARG001
        return b""

    patch.setattr(executor, "sender_of", mutant)


@caught_by(
    scenario="actor_lent_to_a_dead_worker",
    expects=expects("another worker is asked for", "runs b"),
)
def a_dead_worker_is_as_good_as_any(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lives, "granted_the_dead", nothing)


@caught_by(scenario="lingerer_waits_for_the_fence")
def who_lingers_waits_for_no_fence(patch: pytest.MonkeyPatch) -> None:
    right = ExecutorMachine._is_needed

    def mutant(self: ExecutorMachine) -> bool:
        held, self._owner.mourning.held = self._owner.mourning.held, {}
        needed = right(self)
        self._owner.mourning.held = held
        return needed

    patch.setattr(ExecutorMachine, "_is_needed", mutant)


@caught_by(seeds=range(60))
def the_dead_are_forgotten_though_a_table_names_them(patch: pytest.MonkeyPatch) -> None:
    def mutant(_: OwnerMachine) -> tuple[bytes, ...]:
        return ()

    patch.setattr(OwnerMachine, "_named", mutant)


@caught_by(seeds=range(250, 260))
def the_dead_are_forgotten_while_their_calls_run(patch: pytest.MonkeyPatch) -> None:
    def mutant(_: ExecutorMachine) -> tuple[bytes, ...]:
        return ()

    patch.setattr(ExecutorMachine, "callers", mutant)


@caught_by(
    scenario="death_of_a_child_that_is_let_pass",
    expects=expects("the task is run again", "driver gets t"),
)
def a_death_that_is_let_pass_is_final(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tasks, "dead_argument", lambda _, task, **__: (task.task_id, b""))


@caught_by(
    scenario="death_that_an_argument_will_meet_again",
    expects=expects("it fails at once", "driver gets Raised"),
)
def a_death_that_an_argument_meets_is_met_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tasks, "dead_argument", nothing)


@caught_by(
    scenario="death_that_a_value_in_an_argument_holds",
    expects=expects("it fails", "driver gets Raised"),
)
def only_what_an_argument_holds_itself_is_looked_at(patch: pytest.MonkeyPatch) -> None:
    right = tasks.dead_argument
    patch.setattr(tasks, "dead_argument", lambda ledger, task, **_: right(ledger, task))


@caught_by(scenario="unopened_value_of_a_dead_owner")
def what_is_in_a_dead_owners_value_is_nobodys(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Borrowing, "_take_over", nothing)


@caught_by(scenario="who_had_lent_dies_before_it_answers")
def who_dies_unanswered_is_not_fenced(patch: pytest.MonkeyPatch) -> None:
    right = Fencing.ask

    def mutant(self: Fencing, asker: bytes, dead: bytes) -> Any:
        number, news = right(self, asker, dead)
        if not asker:
            self.fences[number].unanswered.clear()
        return number, news

    patch.setattr(Fencing, "ask", mutant)


@caught_by(scenario="lineage_of_a_dead_owner_read_in_place")
def what_a_dead_owner_left_is_found_by_reference(patch: pytest.MonkeyPatch) -> None:
    right = Ledger.note_place

    def mutant(self: Ledger, row: ObjectRow, stored: Stored) -> None:
        if row.state == FREED:
            self.set_value(row, stored.encoding, stored)
        right(self, row, stored)

    patch.setattr(Ledger, "note_place", mutant)
