"""Mutants: memory, and what user code frees."""

# ruff: noqa: SLF001  a mutant reaches into the machines
from __future__ import annotations

from typing import Any

import pytest

from tests.sim.mutants.catalog import EARLY, FREES, caught_by, expects, nothing
from zfut.core.owner.freeing import Freeing
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.machine import OwnerMachine


@caught_by(seeds=EARLY)
def freed_memory_is_told_to_nobody(patch: pytest.MonkeyPatch) -> None:
    right = Ledger.flush

    def mutant(self: Ledger) -> None:
        self._to_free.clear()
        right(self)

    patch.setattr(Ledger, "flush", mutant)


@caught_by(seeds=EARLY)
def memory_is_freed_while_it_is_used(patch: pytest.MonkeyPatch) -> None:
    right = Ledger.set_value

    def mutant(self: Ledger, row: Any, encoding: int, value: Any) -> None:
        right(self, row, encoding, value)
        if not isinstance(value, bytes) and row.owner is None:
            self.free_memory(value)

    patch.setattr(Ledger, "set_value", mutant)


@caught_by(seeds=EARLY, frees=FREES)
@caught_by(scenario="free_while_a_call_reads_it")
def free_does_not_wait_for_readers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Freeing, "may_be_read", staticmethod(lambda _: False))


@caught_by(
    scenario="free_then_rebuilt",
    expects=expects(
        "b is made again from a, which was freed", "w1 runs a#1", "w1 runs b#1", "driver gets b"
    ),
)
def freed_values_are_made_again_for_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Freeing, "lend", nothing)


@caught_by(scenario="free_with_a_view_open")
def closed_views_of_freed_values_go_unnoticed(patch: pytest.MonkeyPatch) -> None:
    right = Ledger.close_view

    def mutant(self: Ledger, object_id: bytes) -> None:
        before = dict(self.withheld.due)
        right(self, object_id)
        self.withheld.due.clear()
        self.withheld.due.update(before)

    patch.setattr(Ledger, "close_view", mutant)


@caught_by(seeds=EARLY, frees=FREES)
@caught_by(scenario="free_while_a_call_reads_it")
def ends_of_holds_on_freed_values_go_unnoticed(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Ledger, object_id: bytes, row: Any) -> None:
        if not row.in_use():
            self.release(object_id, row)

    patch.setattr(Ledger, "unheld", mutant)


@caught_by(
    scenario="free_between_two_lives",
    expects=expects(
        "the next lives take x, and answer",
        "runs a#1(stored",
        "runs a#2(stored",
        "driver gets m",
    ),
)
def constructors_that_run_again_take_nothing_freed(patch: pytest.MonkeyPatch) -> None:
    right = Freeing._reach

    def mutant(self: Freeing, task: Any) -> dict[bytes, None]:
        return right(self, task) if task.creation is None else {}

    patch.setattr(Freeing, "_reach", mutant)


@caught_by(scenario="free_what_a_queued_call_takes")
def queued_calls_keep_what_was_freed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OwnerMachine, "_values_gone", nothing)
