"""Mutants: workers and CPUs, lent and taken back."""

# ruff: noqa: SLF001  a mutant reaches into the machines
from __future__ import annotations

from typing import Any

import pytest

from tests.sim.mutants.catalog import EARLY, caught_by, expects, nothing
from zfut.core.executor.aside import Aside
from zfut.core.executor.machine import RUNS, ExecutorMachine
from zfut.core.node.granting import Granting
from zfut.core.node.resources import cpu_part
from zfut.exits import MAX_CALLS


@caught_by(seeds=EARLY)
def block_credits_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Granting, "block", nothing)


@caught_by(seeds=EARLY)
def cpu_is_not_taken_back(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Granting, uid: bytes, now: int) -> None:
        del now
        lease = self._lease_of(uid)
        if lease is not None and lease.blocked:
            worker = self.pool.workers[uid]
            lease.blocked = worker.blocked = worker.stuck = False

    patch.setattr(Granting, "unblock", mutant)


@caught_by(seeds=EARLY)
def blocked_lease_is_credited_twice(patch: pytest.MonkeyPatch) -> None:
    right = Granting._credit

    def mutant(self: Granting, lease: Any, leaves: Any = None) -> None:
        blocked = lease.blocked
        right(self, lease, leaves)
        if blocked:
            self.resources.give(cpu_part(lease.demand))

    patch.setattr(Granting, "_credit", mutant)


@caught_by(seeds=EARLY)
def a_ready_worker_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Granting, uid: bytes, now: int) -> None:
        self.pool.ready(uid, now)

    patch.setattr(Granting, "worker_ready", mutant)


@caught_by(
    scenario="worker_retires_between_two_tasks",
    expects=expects("u runs, though it may run but once", "w2 runs u"),
)
def a_worker_that_takes_no_more_ends_at_once(patch: pytest.MonkeyPatch) -> None:
    right = ExecutorMachine.retire

    def mutant(self: ExecutorMachine) -> None:
        right(self)
        self.exiting = MAX_CALLS

    patch.setattr(ExecutorMachine, "retire", mutant)


@caught_by(
    scenario="all_that_was_lent_twice",
    expects=expects(
        "D waits until A, B and C have returned",
        "Returned result=C",
        "Returned result=B",
        "Returned result=A",
        "runs D",
    ),
)
def one_lease_of_those_lent_twice_is_enough(patch: pytest.MonkeyPatch) -> None:
    right = Granting._revoke_what_was_lent_twice

    def mutant(self: Granting) -> None:
        granted = self.leases.granted
        self.leases.granted = dict(list(granted.items())[-1:])
        right(self)
        self.leases.granted = granted

    patch.setattr(Granting, "_revoke_what_was_lent_twice", mutant)


@caught_by(
    scenario="lent_while_it_waited",
    expects=expects(
        "C waits until A has returned",
        "w3: Returned result=B",
        "w2: Returned result=A",
        "runs C",
    ),
)
def what_is_lent_twice_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Granting, "_revoke_what_was_lent_twice", nothing)


@caught_by(
    scenario="waits_aside_on_one_cpu",
    expects=expects("inner runs while outer waits for it", "w2 runs inner"),
)
@caught_by(seeds=range(530, 540))
def waits_aside_keep_their_cpu(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Aside, "begin", nothing)


@caught_by(
    scenario="waits_aside_at_the_cap",
    expects=expects("a worker beyond the cap runs what is waited for", "w2 runs inner"),
)
def waits_aside_are_said_to_run(patch: pytest.MonkeyPatch) -> None:
    def mutant(_: ExecutorMachine) -> int:
        return RUNS

    patch.setattr(ExecutorMachine, "_request_aside", mutant)


@caught_by(seeds=range(60))
def waits_aside_never_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Aside, "end", nothing)
    patch.setattr(Aside, "look", nothing)
