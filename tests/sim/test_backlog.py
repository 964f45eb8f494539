"""A bound on unfinished calls: a flood on one CPU ends, whoever submits."""

# ruff: noqa: SLF001  a story is told turn by turn
from __future__ import annotations

import pytest

from tests.sim.test_two_owners import running, told
from zfut.sim.script import Script

CHILDREN = 200
BOUND = 5


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
