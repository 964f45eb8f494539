"""Mutants: whose reference is protected by what, and for how long."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from msgspec.structs import replace

from tests.sim.mutants.catalog import EARLY, caught_by, expects, nothing
from zfut.core.executor.machine import ExecutorMachine
from zfut.core.owner import machine, tasks
from zfut.core.owner.borrowing import Borrowing
from zfut.core.owner.calls import Calls
from zfut.core.owner.covers import Covers, is_object
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.records import ObjectRow
from zfut.core.owner.tasks import Tasks
from zfut.core.owner.tokens import Tokens
from zfut.ids import PROC_BYTES, TASK_BYTES
from zfut.wire import messages as m
from zfut.wire.specs import OK, Stored


@caught_by(seeds=EARLY)
def answer_does_not_wait_for_the_registration(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Borrowing, "waits_for", lambda *_: 0)


@caught_by(seeds=EARLY)
@caught_by(scenario="borrowed_ref_kept_by_an_actor")
def kept_references_get_no_token(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Borrowing, "claim", lambda *_: ())


@caught_by(scenario="value_dropped_before_what_is_in_it")
def value_goes_before_what_is_in_it_is_covered(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Borrowing, object_id: bytes, row: Any) -> None:
        self._ledger.covers.take(object_id)
        if row.owner is not None:
            self._tokens.let_go(object_id, row)

    patch.setattr(Borrowing, "_cover_ended", mutant)


@caught_by(seeds=EARLY)
def token_is_never_given_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tokens, "release", nothing)


@caught_by(seeds=EARLY)
def borrowers_death_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Borrowing, "drop_borrower", nothing)


@caught_by(seeds=EARLY)
def drop_counts_twice(patch: pytest.MonkeyPatch) -> None:
    right = Ledger.drop

    def mutant(self: Ledger, object_id: bytes) -> None:
        right(self, object_id)
        right(self, object_id)

    patch.setattr(Ledger, "drop", mutant)


@caught_by(scenario="issuer_dies_before_its_answer")
def nobody_audits_a_dead_issuer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Borrowing, "audit", nothing)


@caught_by(scenario="issuer_dies_before_its_answer")
def the_audited_hold_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Borrowing, "on_audit", nothing)


@caught_by(seeds=EARLY)
def issuers_are_not_watched(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Borrowing, row: Any, token: bytes, uid: bytes) -> None:
        row.borrowers = {**(row.borrowers or {}), token: uid}
        self._ledger.watch(uid)

    patch.setattr(Borrowing, "_add_borrower", mutant)


@caught_by(scenario="registered_for_the_dead")
def dead_borrowers_may_register(patch: pytest.MonkeyPatch) -> None:
    right = Borrowing.on_register

    def mutant(self: Borrowing, sender: bytes, message: m.RegisterBorrows) -> None:
        dead, self._ledger.dead = self._ledger.dead, {}
        right(self, sender, message)
        self._ledger.dead = dead

    patch.setattr(Borrowing, "on_register", mutant)


@caught_by(scenario="returned_while_it_is_let_go")
def a_held_answer_brings_back_what_is_let_go(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ExecutorMachine, "_keep_until_answered", lambda *_: [])


@caught_by(scenario="call_that_leads_back_keeps_an_argument")
@caught_by(scenario="actor_that_calls_itself_keeps_an_argument")
def a_registration_under_way_is_trusted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tokens, "is_unsure", lambda *_: False)


@caught_by(scenario="large_put_of_a_dead_owner_read_again")
def who_reads_in_place_is_not_told_what_is_in_it(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tasks, "stored_value", lambda _, row: row.value)


@caught_by(scenario="callers_own_put_found_in_anothers_value")
def whatever_is_the_callers_own_is_held_by_it(patch: pytest.MonkeyPatch) -> None:
    """Also what did not come in the call that returns it."""
    right = Borrowing.secure

    def mutant(self: Borrowing, object_ids: Iterable[bytes], waits: bytes) -> None:
        named = [name for name in object_ids if not name.startswith(waits[:PROC_BYTES])]
        right(self, named, waits)

    patch.setattr(Borrowing, "secure", mutant)


@caught_by(seeds=range(90, 100))
def arguments_go_before_the_result_is_recorded(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Tasks, task: Any, result: Any, payload: bytes) -> None:
        self._ledger.release_arguments(task)
        if result.status == OK:
            self.returns.finish(task, result.values, payload)
        else:
            self.returns.fail(task, payload[: result.values[0].size_bytes])

    patch.setattr(Tasks, "settle_returns", mutant)


@caught_by(scenario="actor_out_of_scope")
def call_does_not_hold_its_actor(patch: pytest.MonkeyPatch) -> None:
    right = Calls.submit

    def mutant(self: Calls, task: Any, **given: bool) -> None:
        task.weak = True
        right(self, task, **given)

    patch.setattr(Calls, "submit", mutant)


@caught_by(scenario="actor_killed")
def killed_actors_arguments_go_at_once(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Calls, runs_at: bytes, task: Any) -> None:
        del runs_at
        self._ledger.release_arguments(task)
        self._let_handle_go(task)

    patch.setattr(Calls, "let_arguments_go", mutant)


@caught_by(seeds=EARLY)
def another_cover_is_trusted(patch: pytest.MonkeyPatch) -> None:
    """What a call kept is not registered at its end if it came by another way, too."""
    right = Borrowing.end_call

    def mutant(self: Borrowing, task_id: bytes, caller: bytes) -> list[bytes]:
        covers = self._ledger.covers
        for name, way in covers.take(task_id).items():
            if not covers.over(name):
                covers.add(task_id, (name,), way)
        return right(self, task_id, caller)

    patch.setattr(Borrowing, "end_call", mutant)


@caught_by(scenario="found_through_a_dead_owners_value")
def only_what_lies_in_a_dead_owners_value_needs_a_cover(patch: pytest.MonkeyPatch) -> None:
    """Not what was found through it, when it is gone already."""

    def mutant(self: Covers, dead: bytes) -> list[bytes]:
        covers = [cover for cover, _ in self.items() if is_object(cover, dead)]
        return [name for cover in covers for name in self.take(cover)]

    patch.setattr(Covers, "take_of", mutant)


@caught_by(scenario="kept_through_a_dead_owners_value")
def what_was_found_through_another_is_claimed_in_the_answer(patch: pytest.MonkeyPatch) -> None:
    right = Borrowing.end_call

    def mutant(self: Borrowing, task_id: bytes, caller: bytes) -> list[bytes]:
        covers = self._ledger.covers
        covers.add(task_id, covers.take(task_id))
        return right(self, task_id, caller)

    patch.setattr(Borrowing, "end_call", mutant)


@caught_by(scenario="value_goes_while_the_answer_waits")
def what_a_held_answer_keeps_is_not_registered(patch: pytest.MonkeyPatch) -> None:
    right = Borrowing.secure

    def mutant(self: Borrowing, object_ids: Iterable[bytes], waits: bytes) -> None:
        if len(waits) != TASK_BYTES:
            right(self, object_ids, waits)

    patch.setattr(Borrowing, "secure", mutant)


@caught_by(
    scenario="three_deep_innermost_kept",
    expects=expects("the answer says that y is kept", "results=m=inline retained=y"),
)
def a_value_goes_before_those_that_were_found_in_it(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Covers, "names", lambda *_: ())


@caught_by(scenario="result_dropped_unread")
def what_is_in_a_discarded_result_stays_registered(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Ledger, value: Any) -> None:
        if isinstance(value, Stored):
            self.free_memory(value)

    patch.setattr(Ledger, "discard", mutant)


@caught_by(seeds=EARLY)
def the_memory_of_a_discarded_result_stays_taken(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Ledger, value: Any) -> None:
        for ref in value.refs:
            if ref.token:
                self.tokens.release(ref.owner.uid, ref.object_id, ref.token)

    patch.setattr(Ledger, "discard", mutant)


@caught_by(seeds=EARLY)
def watched_one_turn_after_its_first_use(patch: pytest.MonkeyPatch) -> None:
    right_flush, right_watch = Ledger.flush, Ledger.watch

    def watch(self: Any, uid: bytes) -> None:
        self.noted = [*getattr(self, "noted", ()), uid]

    def flush(self: Any) -> None:
        for uid in getattr(self, "due", ()):
            right_watch(self, uid)
        self.due, self.noted = getattr(self, "noted", []), []
        right_flush(self)

    patch.setattr(Ledger, "watch", watch)
    patch.setattr(Ledger, "flush", flush)


@caught_by(scenario="used_again_beside_its_lineage")
def a_token_for_lineage_is_a_registration(patch: pytest.MonkeyPatch) -> None:
    def mutant(_: Tokens, _id: bytes, row: ObjectRow, token: bytes) -> None:
        row.tokens = [*(row.tokens or ()), token]
        row.downgraded = False

    patch.setattr(Tokens, "add", mutant)


@caught_by(scenario="kept_value_leaves_lineage")
def what_is_kept_goes_with_its_lineage(patch: pytest.MonkeyPatch) -> None:
    right = Ledger.forget

    def mutant(self: Ledger, object_id: bytes, row: ObjectRow) -> Any:
        kept, self.kept = self.kept, {}
        found = right(self, object_id, row)
        self.kept = kept
        return found

    patch.setattr(Ledger, "forget", mutant)


@caught_by(scenario="kept_unread_until_its_owner_died")
def what_the_dead_acknowledged_is_a_claim(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Borrowing, stored: Stored, cover: bytes) -> None:
        self.arrive(((stored.object_id, stored.owner),), cover)
        row = self._ledger.objects.rows[stored.object_id]
        row.views += 1
        self._ledger.note_place(row, stored)

    patch.setattr(Borrowing, "view", mutant)


@caught_by(scenario="answered_before_it_was_downgraded")
def an_answer_from_before_counts(patch: pytest.MonkeyPatch) -> None:
    right = machine.on_ready

    def mutant(ledger: Ledger, message: m.ObjectReady, payload: bytes) -> None:
        row = ledger.objects.rows.get(message.object_id)
        if row is not None:
            message = replace(message, question=row.question)
        right(ledger, message, payload)

    patch.setattr(machine, "on_ready", mutant)


@caught_by(scenario="acknowledged_before_it_was_downgraded")
def any_word_of_the_owner_will_do(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tokens, "is_last_word", lambda *_: True)


@caught_by(scenario="revived_by_one_who_dies")
@caught_by(scenario="lent_again_before_its_owner_has_heard")
def what_was_lineage_is_lent_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tokens, "hold_up", nothing)
