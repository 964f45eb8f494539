"""The reference table against its dumb second version, in any history of holds.

A program puts, calls, copies and drops; workers return values with references inside and keep
their arguments; borrowers register, release, downgrade and die; an owner that we borrow from
answers, or dies.  After each step both say which rows there are, who holds them, and which values
are freed; at the end nobody holds anything and nothing is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.core.dumb_owner import FAILED, INLINE, STORED, Call, Ref, Returned
from tests.core.owner_pair import SIZE, Pair
from tests.core.owner_world import ME
from tests.core.state_machines import assert_it_sees, limits, pick
from zfut.config import Config
from zfut.core.owner.borrowing import Borrowing
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.mourning import Mourning
from zfut.core.owner.tokens import Tokens
from zfut.wire import messages as m
from zfut.wire.specs import CANCELLED, RAISED

LIMITS = limits(examples=200, steps=50)

which = st.integers(0, 30)
several = st.lists(which, max_size=3)
tries = st.sampled_from((50, 0, -1, 2, 1, 50))
forms = st.sampled_from((STORED, INLINE, STORED, INLINE, STORED, FAILED))
ends = st.sampled_from((STORED, "", STORED, INLINE))


class ReferenceTable(RuleBasedStateMachine):
    """Histories of one owner."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(Config())
        self.world, self.dumb = self.pair.world, self.pair.dumb
        self.borrowers = [self.world.process() for _ in range(3)]
        self.owners = [self.world.process() for _ in range(2)]
        self.released: list[tuple[bytes, bytes, bytes]] = []
        self.gone: list[bytes] = []

    def some(self, at: list[int]) -> list[bytes]:
        """Return some of what user code has."""
        held = self.pair.held()
        return [pick(held, each) for each in at] if held else []

    def running(self) -> list[Call]:
        """Return the calls that are at a worker."""
        self.world.settle()
        return [self.dumb.calls[name] for name in self.world.in_flight]

    def let_go(self, name: bytes) -> None:
        """Drop one handle."""
        self.pair.drop(name)
        if name not in self.dumb.things:
            self.gone.append(name)

    def done(self, *, settle: bool) -> None:
        """Compare, unless the machine is to settle with what comes next."""
        if settle:
            self.pair.compare()

    # ---------------------------------------------------------------- user code

    @initialize()
    def begin(self) -> None:
        self.pair.compare()

    @rule(inside=several, stored=st.booleans(), settle=st.booleans())
    def put(self, inside: list[int], *, stored: bool, settle: bool) -> None:
        self.pair.put(self.some(inside), stored=stored)
        self.done(settle=settle)

    @rule(
        deps=several,
        nested=several,
        left=tries,
        ends=ends,
        inside=several,
        forget=st.booleans(),
    )
    def submit(  # noqa: PLR0913  one for each
        self,
        deps: list[int],
        nested: list[int],
        left: int,
        ends: str,
        inside: list[int],
        *,
        forget: bool,
    ) -> None:
        """Call, with or without keeping what was given to the call."""
        given, hidden = self.some(deps), self.some(nested)
        names = self.pair.submit(given, hidden, 1 + len(inside) % 2, left)
        for name in dict.fromkeys([*given, *hidden]) if forget else ():
            self.let_go(name)
        call = self.dumb.things[names[0]].maker
        self.world.settle()
        if ends and call is not None and call.name in self.world.in_flight:
            self.pair.finish(call, self.values(call, ends, inside))
        self.pair.compare()

    @precondition(lambda self: self.pair.held())
    @rule(at=which)
    def copy(self, at: int) -> None:
        self.pair.arrive(pick(self.pair.held(), at))
        self.pair.compare()

    @precondition(lambda self: self.pair.held())
    @rule(at=which, settle=st.booleans())
    def drop(self, at: int, *, settle: bool) -> None:
        self.let_go(pick(self.pair.held(), at))
        self.done(settle=settle)

    @precondition(lambda self: self.pair.held())
    @rule(at=which, force=st.booleans())
    def cancel(self, at: int, *, force: bool) -> None:
        self.pair.cancel(pick(self.pair.held(), at), force=force)
        self.pair.compare()

    @precondition(lambda self: self.pair.held())
    @rule(at=st.lists(which, min_size=1, max_size=3), need=which, fail_fast=st.booleans())
    def wait(self, at: list[int], need: int, *, fail_fast: bool) -> None:
        names = sorted(set(self.some(at)))
        self.pair.wait(names, 1 + need % len(names), fail_fast=fail_fast)
        self.pair.compare()

    @precondition(lambda self: self.pair.waits)
    @rule()
    def stop_waiting(self) -> None:
        self.pair.stop_waiting()
        self.pair.compare()

    @precondition(lambda self: self.gone)
    @rule(at=which)
    def a_reference_comes_back(self, at: int) -> None:
        """It names something of ours that nobody held a moment ago."""
        name = pick(self.gone, at)
        if self.pair.owner_of(name) not in self.dumb.dead:
            self.pair.arrive(name)
        self.pair.compare()

    # ---------------------------------------------------------------- workers

    def value(self, call: Call, worker: bytes, form: str, inside: list[int]) -> Returned:
        """Return a value of ``worker`` that holds arguments of its call, and something new."""
        offset = self.world.place(SIZE) if form == STORED else 0
        if form == FAILED:
            return Returned(FAILED)
        refs: list[Ref] = []
        for at in inside:
            names = [*call.arguments, self.world.object_of(worker)]
            name = pick(names, at)
            owner = self.pair.owner_of(name)
            token = b"" if owner == ME else self.world.token(worker)
            refs.append(Ref(name, owner, token))
        return Returned(form, tuple(refs), worker, offset)

    def values(self, call: Call, form: str, inside: list[int]) -> list[Returned]:
        worker = self.world.in_flight[call.name][0]
        return [self.value(call, worker, form, inside) for _ in call.results]

    @precondition(lambda self: self.world.in_flight)
    @rule(at=which, form=forms, inside=several, keeps=st.booleans(), settle=st.booleans())
    def finish(
        self, at: int, form: str, inside: list[int], *, keeps: bool, settle: bool
    ) -> None:
        call = pick(self.running(), at)
        returned = self.values(call, form, inside)
        if keeps:
            self.pair.finish_keeping(call, returned)
        else:
            self.pair.finish(call, returned)
        self.done(settle=settle)

    @precondition(lambda self: self.world.in_flight)
    @rule(at=which, how=st.sampled_from(("again", "dies", "back", "raised")))
    def do_not_finish(self, at: int, how: str) -> None:
        call = pick(self.running(), at)
        if how == "dies":
            self.pair.end_process(self.world.in_flight[call.name][0])
        elif how == "again":
            self.pair.try_again(call)
        elif how == "back":
            self.pair.push_back(call)
        else:
            self.pair.fail(call, CANCELLED if call.cancelled else RAISED)
        self.pair.compare()

    @precondition(lambda self: self.world.workers and self.dumb.calls)
    @rule(at=which, form=forms, inside=several)
    def answer_late(self, at: int, form: str, inside: list[int]) -> None:
        self.world.settle()
        if self.world.workers:
            worker = pick(sorted(self.world.workers), at)
            call = pick(list(self.dumb.calls.values()), at)
            values = [self.value(call, worker, form, inside) for _ in call.results]
            self.pair.answer_late(call, worker, values)
        self.pair.compare()

    # ---------------------------------------------------------------- those who borrow from us

    @precondition(lambda self: self.borrowers)
    @rule(who=which, issuer=which, at=which, twice=st.booleans())
    def register(self, who: int, issuer: int, at: int, *, twice: bool) -> None:
        borrower, sender = pick(self.borrowers, who), pick(self.borrowers, issuer)
        ours = [name for name, thing in self.dumb.things.items() if thing.owner == ME]
        name = pick([*ours, *self.gone, self.world.object_of(ME)], at)
        token = self.world.token(sender)
        self.pair.compare()
        held = self.pair.register(sender, borrower, name, token)
        if twice:
            assert self.pair.register(sender, borrower, name, token) == held
        self.pair.compare()

    @precondition(lambda self: self.dumb.users or self.dumb.remakers)
    @rule(at=which, settle=st.booleans())
    def release(self, at: int, *, settle: bool) -> None:
        held = {**self.dumb.users, **self.dumb.remakers}
        token = pick(sorted(held), at)
        name, holder = held[token]
        self.pair.release(token, name, holder)
        self.released.append((token, name, holder))
        self.done(settle=settle)

    @precondition(lambda self: self.released)
    @rule(at=which)
    def release_again(self, at: int) -> None:
        token, name, holder = pick(self.released, at)
        if holder not in self.dumb.dead:
            self.pair.release(token, name, holder)
        self.pair.compare()

    @precondition(lambda self: self.dumb.users)
    @rule(at=which)
    def downgrade(self, at: int) -> None:
        self.pair.downgrade(pick(sorted(self.dumb.users), at))
        self.pair.compare()

    @precondition(lambda self: self.dumb.remakers)
    @rule(at=which)
    def revive(self, at: int) -> None:
        self.pair.revive(pick(sorted(self.dumb.remakers), at))
        self.pair.compare()

    # ---------------------------------------------------------------- those we borrow from

    @precondition(lambda self: self.owners)
    @rule(who=which, at=which)
    def borrow(self, who: int, at: int) -> None:
        owner = pick(self.owners, who)
        self.pair.arrive(pick(self.objects_of(owner), at))
        self.pair.compare()

    def objects_of(self, owner: bytes) -> list[bytes]:
        """Return what we know of ``owner``, and something new."""
        known = [name for name, thing in self.dumb.things.items() if thing.owner == owner]
        return [*known, self.world.object_of(owner)]

    def borrowed(self) -> list[bytes]:
        """Return what user code has from the other owners."""
        return [name for name in self.pair.held() if self.pair.owner_of(name) in self.owners]

    @precondition(lambda self: self.borrowed())
    @rule(at=which, form=forms, inner=several, settle=st.booleans())
    def read(self, at: int, form: str, inner: list[int], *, settle: bool) -> None:
        """Get a borrowed value; the references in it are protected by it for now."""
        name = pick(self.borrowed(), at)
        owner = self.pair.owner_of(name)
        self.pair.wait([name], 1, fail_fast=True)
        self.pair.compare()
        if (owner, name) in self.world.located:
            self.answer(owner, name, form)
        if self.dumb.things[name].there:
            for each in inner:
                found = pick(self.objects_of(pick(self.owners, each)), each)
                if found[-12:] > name[-12:]:  # what is inside is never what it is inside of
                    self.pair.arrive(found, name)
        self.done(settle=settle)

    def answer(self, owner: bytes, name: bytes, form: str) -> None:
        """Let the owner of ``name`` say what it is; nothing if it is gone."""
        self.world.located.remove((owner, name))
        offset = self.world.place(SIZE) if form == STORED else 0
        self.pair.become_ready(owner, name, Returned(form, (), owner, offset) if form else None)

    @precondition(lambda self: self.world.located)
    @rule(at=which, form=ends)
    def an_owner_answers(self, at: int, form: str) -> None:
        self.answer(*pick(self.world.located, at), form)
        self.pair.compare()

    @precondition(lambda self: self.world.unanswered)
    @rule()
    def registrations_are_answered(self) -> None:
        self.world.answer_registrations()
        self.pair.compare()

    @precondition(lambda self: self.borrowers or self.owners)
    @rule(at=which)
    def somebody_dies(self, at: int) -> None:
        uid = pick([*self.borrowers, *self.owners], at)
        for living in (self.borrowers, self.owners):
            if uid in living:
                living.remove(uid)
        self.pair.end_process(uid)
        self.pair.compare()

    @precondition(lambda self: self.world.fences)
    @rule()
    def a_fence_is_complete(self) -> None:
        self.pair.complete_fence()
        self.pair.compare()

    # ---------------------------------------------------------------- the end

    def teardown(self) -> None:
        """Let everything go: nothing is left."""
        pair = self.pair
        if not pair.agree:
            return
        pair.compare()
        pair.stop_waiting()
        while pair.held():
            pair.drop(pair.held()[0])
        for token, (name, holder) in [*self.dumb.users.items(), *self.dumb.remakers.items()]:
            pair.release(token, name, holder)
        self.world.settle()
        for _ in range(200):
            pair.compare()
            self.world.answer_registrations()
            while self.world.fences:
                pair.complete_fence()
            for owner, name in list(self.world.located):
                self.answer(owner, name, "")
            for call in self.running():
                pair.fail(call, RAISED)
            pair.compare()
            if not self.dumb.things and not self.world.unanswered:
                break
        assert not pair.machine.rows
        assert not self.world.tokens
        assert not pair.machine.ledger.tokens.unsaid
        assert not pair.machine.ledger.covers


@pytest.mark.timeout(600)  # what fails is made smaller first
def test_holds_of_all_kinds_in_any_order() -> None:
    run_state_machine_as_test(ReferenceTable, settings=LIMITS)


# -------------------------------------------------------------------- one rule off each


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing instead."""


def drop_counts_twice(patch: pytest.MonkeyPatch) -> None:
    right = Ledger.drop

    def mutant(self: Ledger, object_id: bytes) -> None:
        right(self, object_id)
        right(self, object_id)

    patch.setattr(Ledger, "drop", mutant)


def what_is_inside_is_not_held(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "contain", lambda *_: ())


def a_dead_borrower_holds_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Borrowing, "drop_borrower", nothing)


def an_unwanted_result_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "discard", nothing)


def a_release_means_every_token(patch: pytest.MonkeyPatch) -> None:
    right = Borrowing.on_release

    def mutant(self: Borrowing, message: Any) -> None:
        for object_id, _ in message.items:
            row = self._ledger.objects.rows.get(object_id)
            if row is not None and row.borrowers:
                row.borrowers.clear()
        right(self, message)

    patch.setattr(Borrowing, "on_release", mutant)


def what_was_inside_is_not_registered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Borrowing, "_needs_cover", lambda *_: False)


def tokens_stay_with_the_owner(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tokens, "release", nothing)


def memory_is_not_claimed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mourning, "claims_on", lambda _, uid, fence: m.ClaimMemory(uid, (), fence))


@pytest.mark.parametrize(
    "broken",
    [
        drop_counts_twice,
        what_is_inside_is_not_held,
        a_dead_borrower_holds_on,
        an_unwanted_result_is_forgotten,
        a_release_means_every_token,
        what_was_inside_is_not_registered,
        tokens_stay_with_the_owner,
        memory_is_not_claimed,
    ],
)
def test_a_broken_rule_is_seen(
    broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    assert_it_sees(ReferenceTable, LIMITS)
