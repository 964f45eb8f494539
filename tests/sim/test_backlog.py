"""A bound on unfinished calls: a flood on one CPU ends, and each rule of it is missed if broken."""

# ruff: noqa: SLF001  a story is told turn by turn, and a mutant reaches into the machines
from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from tests.sim.telling import reads_differently
from tests.sim.test_two_owners import running, told
from zfut.core.owner.backlog import Backlog
from zfut.core.owner.records import Task
from zfut.core.worker import WorkerMachine
from zfut.sim.run import run_seed
from zfut.sim.script import Script

CHILDREN = 200
BOUND = 5
TURNS = 5_000

Patch: TypeAlias = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize("workers", [0, 1], ids=["any processes", "one process"])
def test_a_task_floods_its_only_cpu(workers: int) -> None:
    """It submits far more than the bound: each child runs, and few are ever in the tables."""
    script = Script()
    told(script, f"cluster cpus=1 workers={workers} calls={BOUND}", "driver submit flood")
    flooder = next(process for process in script._cluster.workers() if process.name == "w1")
    names = " ".join(f"c{n}" for n in range(CHILDREN))
    told(script, f"w1 submit {names}", "advance 40ms")
    backlog = flooder.owner.ledger.backlog

    def run_children() -> int:
        done = 0
        while at_work := [name for name, what in running(script) if what != "flood"]:
            assert 0 < backlog.open_calls <= BOUND
            told(script, f"{at_work[0]} return", "advance 40ms")
            done += 1
        return done

    done = run_children()
    assert CHILDREN - done <= BOUND, "all are submitted"
    told(script, f"w1 get {names}", "advance 40ms")
    assert done + run_children() == CHILDREN
    assert backlog.open_calls == 0
    told(script, f"w1 drop {names}", "w1 return", "advance 1ms")
    assert told(script, "driver drop flood", "rest").endswith("nothing is left")
    assert len(script._cluster.workers()) <= (workers or 2), "one process more at most"


def test_a_program_and_an_actor_it_floods() -> None:
    """Calls of an actor count as well, and so does its constructor until it has returned."""
    script = Script()
    told(script, f"cluster cpus=1 calls={BOUND}", "driver actor a")
    backlog = script._cluster.drivers[0].owner.ledger.backlog
    assert backlog.open_calls == 1
    names = [f"m{n}" for n in range(3 * BOUND)]
    told(script, f"driver call a {' '.join(names)}", "advance 40ms")
    assert backlog.open_calls == BOUND
    told(script, "w1 return", "advance 1ms")
    assert backlog.open_calls == BOUND, "the constructor has ended, and one more call went"
    for _ in names:
        assert 0 < backlog.open_calls <= BOUND
        told(script, "w1 return", "advance 1ms")
    assert backlog.open_calls == 0
    shown = told(script, f"driver drop a {' '.join(names)}", "advance 40ms", "rest")
    assert shown.endswith("nothing is left")


# -------------------------------------------------------------------- one rule off each


def failed_calls_stay_counted(patch: pytest.MonkeyPatch) -> None:
    right = Backlog.end

    def mutant(self: Backlog, task: Task) -> None:
        if not task.cancelled:
            right(self, task)

    patch.setattr(Backlog, "end", mutant)


def who_waits_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def mutant(*_: Any) -> None:
        return

    patch.setattr(Backlog, "settle", mutant)


def who_waits_keeps_its_cpu(patch: pytest.MonkeyPatch) -> None:
    def mutant(*_: Any) -> None:
        return

    patch.setattr(WorkerMachine, "_on_await_room", mutant)


def who_waits_does_so_for_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backlog, "_own", lambda self, _: self.open_calls)


@pytest.mark.parametrize(
    ("mutant", "seeds"),
    [
        (failed_calls_stay_counted, range(60)),
        (who_waits_is_forgotten, range(60)),
        (who_waits_does_so_for_all, range(700_345, 700_355)),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_seeds_catch(mutant: Patch, seeds: range, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    assert any(run_seed(seed, TURNS).violation for seed in seeds)


@pytest.mark.parametrize(
    ("mutant", "scenario"),
    [
        (who_waits_keeps_its_cpu, "submitter_waits_for_room"),
        (who_waits_does_so_for_all, "submitter_is_one_of_the_unfinished"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_scenario_catches(
    mutant: Patch, scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    assert reads_differently(scenario)
