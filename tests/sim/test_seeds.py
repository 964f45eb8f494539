"""Seeds: random programs and faults, every invariant after every turn, nothing left at the end.

``python -m zfut.sim --seeds 10000`` does the same for longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest

from zfut.core.owner.covers import Covers, Way
from zfut.core.owner.mourning import Mourning
from zfut.sim.__main__ import main
from zfut.sim.faults import draw_setting, widen
from zfut.sim.run import run_seed
from zfut.sim.transcript import last_lines
from zfut.wire.specs import RETRIABLE

SEEDS = 300
BLOCK = 50
FREES = 0.15
WALKS = 0.2
WALKING = 100
OPENS = 0.2
OPENING = 100


def assert_block_holds(start: int, options: str, **given: Any) -> None:
    """Run a block of seeds; ``options`` say how the command runs one of them again."""
    for seed in range(start, start + BLOCK):
        outcome = run_seed(seed, **given)
        assert not outcome.violation, (
            "\n".join(last_lines(outcome.cluster, 30))
            + f"\nseed {seed}: {outcome.violation}\n"
            + f"again: python -m zfut.sim --seed {seed}{options}"
        )


@pytest.mark.parametrize("start", range(0, SEEDS, BLOCK))
def test_seeds(start: int) -> None:
    assert_block_holds(start, " --plain")


@pytest.mark.parametrize("start", range(0, SEEDS, BLOCK))
def test_seeds_that_free(start: int) -> None:
    assert_block_holds(start, f" --frees {FREES} --plain", frees=FREES)


@pytest.mark.parametrize("start", range(0, SEEDS, BLOCK))
def test_seeds_with_every_fault(start: int) -> None:
    assert_block_holds(start, "", wide=True)


@pytest.mark.parametrize("start", range(0, WALKING, BLOCK))
def test_seeds_that_walk(start: int) -> None:
    assert_block_holds(start, f" --walks {WALKS}", walks=WALKS, wide=True)


@pytest.mark.parametrize("start", range(0, OPENING, BLOCK))
def test_seeds_with_slow_arguments(start: int) -> None:
    assert_block_holds(start, f" --opens {OPENS}", opens=OPENS, wide=True)


def test_calls_of_the_dead_are_still_being_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    late = []
    right = Mourning.opened

    def noted(self: Mourning, task_id: bytes) -> None:
        if any(task_id in awaited for _, _, awaited in self.answers):
            late.append(task_id)
        right(self, task_id)

    monkeypatch.setattr(Mourning, "opened", noted)
    for seed in range(100):
        run_seed(seed, opens=OPENS, wide=True)
    assert len(late) > 3


def test_walks_go_through_values_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    ways: Counter[int] = Counter()
    right = Covers.add

    def noted(self: Covers, cover: bytes, names: Iterable[bytes], way: Way = ()) -> None:
        ways[len(way)] += 1
        right(self, cover, names, way)

    monkeypatch.setattr(Covers, "add", noted)
    for seed in range(60):
        run_seed(seed, walks=WALKS, wide=True)
    assert ways[1], ways


def test_a_wide_seed_is_the_plain_one_and_more() -> None:
    """What is added comes from a source of its own: where that adds nothing, nothing differs."""
    same = [seed for seed in range(60) if adds_nothing(seed)]
    assert same, "no seed of these is only plain"
    for seed in same:
        plain, wide = run_seed(seed), run_seed(seed, wide=True)
        assert last_lines(plain.cluster, 100_000) == last_lines(wide.cluster, 100_000)


def adds_nothing(seed: int) -> bool:
    plain, wide = draw_setting(Random(seed)), draw_setting(Random(seed))  # noqa: S311
    widen(seed, *wide)
    wide[2].moments = plain[2].moments
    return plain == wide


def test_wide_seeds_reach_what_they_are_for() -> None:
    reached: Counter[str] = Counter()
    for seed in range(100):
        cluster = run_seed(seed, wide=True).cluster
        reached["dead nodes"] += not cluster.node.alive
        reached["dead programs"] += not all(one.alive for one in cluster.drivers)
        reached["sole programs that died"] += [one.alive for one in cluster.drivers] == [False]
        reached["rests"] += cluster.rests
        for _, _, what, _ in cluster.trace:
            reached[type(getattr(what, "message", what)).__name__] += 1
            for result in getattr(getattr(what, "message", None), "results", ()):
                reached["tried again"] += result.status == RETRIABLE
    for wanted in (
        *("dead nodes", "dead programs", "sole programs that died", "rests", "tried again"),
        *("Retired", "Retire", "RegisterName", "FindName", "NameAnswer", "ReleaseName"),
        *("NodeStops", "Interrupt", "Farewell", "KillActor"),
    ):
        assert reached[wanted], f"100 seeds do not reach {wanted}"


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


FOUND = [
    (180, 0.0, 0.0),
    (7_003_506, 0.0, 0.0),
    (11_075_161, 0.0, 0.0),
    (6_500_053, FREES, 0.0),
    (6_500_485, FREES, 0.0),
    (7_200_879, FREES, 0.0),
    (2_015, 0.0, 0.2),
    (2_174, 0.0, 0.4),
    (110_962, 0.0, 0.1),
    (8_202_287, 0.1, 0.1),
    (8_600_229, 0.1, 0.1),
    (9_300_164, 0.0, 0.2),
]
"""Wide seeds that once found a fault of the machines; how often they free, and walk."""


@pytest.mark.parametrize(("seed", "frees", "walks"), FOUND)
def test_seeds_that_found_something_find_nothing(seed: int, frees: float, walks: float) -> None:
    outcome = run_seed(seed, frees=frees, walks=walks, wide=True)
    assert not outcome.violation, outcome.violation
