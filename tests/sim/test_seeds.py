"""Seeds: random programs and faults, every invariant after every turn, nothing left at the end.

``python -m zfut.sim --seeds 10000`` does the same for longer.
"""

from __future__ import annotations

import pytest

from zfut.sim.__main__ import main
from zfut.sim.run import run_seed
from zfut.sim.transcript import last_lines

SEEDS = 300
BLOCK = 50
FREES = 0.15


@pytest.mark.parametrize("start", range(0, SEEDS, BLOCK))
def test_seeds(start: int) -> None:
    for seed in range(start, start + BLOCK):
        outcome = run_seed(seed)
        assert not outcome.violation, (
            "\n".join(last_lines(outcome.cluster, 30))
            + f"\nseed {seed}: {outcome.violation}\n"
            + f"again: python -m zfut.sim --seed {seed}"
        )


@pytest.mark.parametrize("start", range(0, SEEDS, BLOCK))
def test_seeds_that_free(start: int) -> None:
    for seed in range(start, start + BLOCK):
        outcome = run_seed(seed, frees=FREES)
        assert not outcome.violation, f"--seed {seed} --frees {FREES}: {outcome.violation}"


def test_frees_leave_the_rest_of_a_seed_as_it_is() -> None:
    """The option draws from numbers of its own, so seeds that a test names keep their meaning."""
    assert run_seed(11, frees=1e-12).events == run_seed(11).events
    freed = [run_seed(seed, frees=FREES).cluster.ghost.freed for seed in range(20)]
    assert sum(map(len, freed)) > 20


def test_seeds_reach_what_they_are_for() -> None:
    reached: dict[str, int] = {}
    for seed in range(60):
        for _, _, what, kind in run_seed(seed).cluster.trace:
            name = type(getattr(what, "message", what)).__name__
            reached[f"{kind} {name}"] = reached.get(f"{kind} {name}", 0) + 1
    for wanted in (
        *("event LeaseGranted", "event PushTasks", "event TasksFinished", "event Blocked"),
        *("event CreateActor", "event PushCalls", "event ExitActor", "event LocateActor"),
        *("event RegisterBorrows", "event ReleaseBorrows", "event ObjectReady", "ends str"),
        *(
            "event TasksPushedBack",
            "event RecallTasks",
            "event FreeMemory",
            "event ClaimMemory",
        ),
        *("event MemoryLent", "event ReclaimMemory", "event LeaseRevoked", "event Cancelled"),
    ):
        assert reached.get(wanted), f"60 seeds do not reach {wanted}"


def test_the_command_prints_speed_and_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "3"]) == 0
    printed = capsys.readouterr().out
    assert "3 seeds, 0 failed" in printed
    assert "events/s" in printed


def test_a_seed_that_fails_says_how_to_run_it_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--seed", "7", "--steps", "5", "--lines", "10"]) == 1
    printed = capsys.readouterr().out
    assert "seed 7: it has not ended after 5 turns" in printed
    assert "again: python -m zfut.sim --seed 7" in printed
    assert "driver" in printed
