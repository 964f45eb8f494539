"""Figure 14 on one node: a chain of dependent tasks whose workers are all killed at half time.

The chain is about 3 s of work.  The kill comes when half of the links are done and the next one has
slept half of its delay.  What one run shows, in the terms of its log (one record for each link done):

    total      from the first submission until the last value is there
    restart    from the kill until a link is done again, less that link's delay
    lost work  links done a second time, at the pace of the undisturbed run

Values in shared memory outlive a worker, so a kill loses one running link.  ``lost`` takes the
newest value from the store as well; the values before it are freed by then, so that all of the chain
up to there runs again, as it does in the paper where the node's memory goes with it.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import zfut
from benchmarks.paper.experiment import Experiment, Must, Trial, at_most, cell, failure
from benchmarks.paper.tasks import link
from benchmarks.paper.trial import running
from benchmarks.results import Results
from zfut import testing

NAME = "recovery"
LINES, KILLED = "recovery lines", "recovery kills"
"""What is kept for the picture: links done over time, and when the workers were killed."""

WORK_S = 3.0
DELAYS_MS = (10, 50, 100, 500)
LARGE_BYTES = 10 << 20
SIZES = {"small": 0, "large": LARGE_BYTES}
VARIANTS = {"small": ("undisturbed", "killed"), "large": ("undisturbed", "killed", "lost")}
LEAST_LINKS = 4
WARM_LINKS = 4
NS_PER_S = 1e9

WITHIN = 1.15
PAPER = {
    ("small", "killed"): {10: 1.24, 50: 1.25, 100: 1.24, 500: 1.30},
    ("large", "lost"): {10: 1.61, 50: 1.57, 100: 1.73, 500: 1.77},
}
"""Run time with the failure over without, 10 s of work, the node killed and restarted."""


@dataclass(frozen=True, slots=True)
class Chain:
    """One run: which chain, and what is done to it."""

    size: str
    delay_ms: int
    variant: str

    @property
    def case(self) -> str:
        """What its figures are called."""
        return f"{self.size}, {self.delay_ms} ms, {self.variant}"

    def other(self, variant: str) -> Chain:
        """The same chain, with something else done to it."""
        return Chain(self.size, self.delay_ms, variant)


@dataclass(frozen=True, slots=True)
class Course:
    """What happened: the links as they were done, and the kill, in seconds from the start."""

    done: list[tuple[float, int]]
    killed_s: float | None
    total_s: float

    def check(self, links: int, *, lost: bool) -> None:
        """Look that every link followed the one it needs, and a lost value was made again.

        Raises RuntimeError if not.
        """
        numbers = [number for _, number in self.done]
        steps = zip([-1, *numbers], numbers, strict=False)
        if numbers[-1] != links - 1 or any(now > before + 1 for before, now in steps):
            raise RuntimeError(f"links were done in the order {numbers}")
        after = [number for at, number in self.done if self.killed_s and at > self.killed_s]
        if lost and 0 not in after:
            raise RuntimeError(f"the value was lost, and after it came {after}")

    def again(self) -> int:
        """How many links were done more than once."""
        return len(self.done) - len({number for _, number in self.done})

    def restart_s(self, delay_s: float) -> float:
        """From the kill until a link was done again, less that link's delay."""
        assert self.killed_s is not None
        after = [at for at, _ in self.done if at > self.killed_s]
        return min(after) - self.killed_s - delay_s


CHAINS = [
    Chain(size, delay_ms, variant)
    for delay_ms in DELAYS_MS
    for size, variants in VARIANTS.items()
    for variant in variants
]


def measure(trial: Trial) -> None:
    """Run every chain: undisturbed, killed, and with its value lost."""
    for chain in CHAINS:
        links = trial.count(round(WORK_S * 1e3 / chain.delay_ms), least=LEAST_LINKS)
        try:
            course = _run(chain, links)
            course.check(links, lost=chain.variant == "lost")
        except Exception as error:  # noqa: BLE001  the other chains are measured all the same
            trial.fail(chain.case, error)
            continue
        trial.add(chain.case, "total", course.total_s, "s")
        trial.add(chain.case, "links", links, "count")
        if course.killed_s is not None:
            trial.add(chain.case, "restart", course.restart_s(chain.delay_ms / 1e3), "s")
            trial.add(chain.case, "again", course.again(), "count")
            trial.keep(KILLED, chain.case, round(course.killed_s, 4))
        trial.keep(
            LINES, chain.case, [(round(at, 4), number + 1) for at, number in course.done]
        )


def _run(chain: Chain, links: int) -> Course:
    with running() as run:
        _chain(chain, WARM_LINKS, run.files / "warm", disturb=False)
        return _chain(chain, links, run.files / "log", disturb=chain.variant != "undisturbed")


def _chain(chain: Chain, links: int, log: Path, *, disturb: bool) -> Course:
    """Submit all links at once; hold only what is not done yet, and the newest value."""
    start_ns = time.monotonic_ns()
    delay_s = chain.delay_ms / 1e3
    refs: list[Any] = []
    for number in range(links):
        previous = refs[-1] if refs else None
        refs.append(link.remote(previous, number, delay_s, SIZES[chain.size], str(log)))
    previous = None
    killed_ns = 0
    for number in range(links):
        zfut.wait([refs[number]])
        if number:
            refs[number - 1] = None
        if disturb and number + 1 == links // 2:
            time.sleep(delay_s / 2)
            killed_ns = _kill_workers(refs[number] if chain.variant == "lost" else None)
    zfut.get(refs[-1])
    total_s = (time.monotonic_ns() - start_ns) / NS_PER_S
    killed_s = (killed_ns - start_ns) / NS_PER_S if killed_ns else None
    return Course(_read(log, start_ns), killed_s, total_s)


def _kill_workers(lost: Any) -> int:
    """Kill every worker of the session. Returns when, on the monotonic clock.

    A value that is to be lost goes first: afterwards a new worker might read it already.
    """
    pids = [worker["pid"] for worker in zfut.nodes()[0]["workers"]]
    killed_ns = time.monotonic_ns()
    if lost is not None:
        testing.lose(lost)
    for pid in pids:
        if pid > 0:
            os.kill(pid, signal.SIGKILL)
    return killed_ns


def _read(log: Path, start_ns: int) -> list[tuple[float, int]]:
    records = [line.split() for line in log.read_text().splitlines()]
    return [((int(at_ns) - start_ns) / NS_PER_S, int(number)) for number, at_ns in records]


# ------------------------------------------------------------------ what must hold


def musts(results: Results) -> list[Must]:
    """Apart from the restart and the lost work, a kill costs at most 15 %."""
    found = []
    for chain in CHAINS:
        if chain.variant != "undisturbed":
            plus = "restart" + (" and lost work" if chain.variant == "lost" else "")
            text = f"{chain.case}: ≤ 1.15x the undisturbed run, plus {plus}"
            why = failure(results, NAME, chain.case)
            must = at_most(text, apart(results, chain), WITHIN, "x")
            found.append(Must(text, f"failed: {why}", met=False) if why else must)
    return found


def apart(results: Results, chain: Chain) -> float | None:
    """The run without its restart and its lost work, over the undisturbed run of the trial."""
    calm = results.by_repeat(chain.other("undisturbed").case, NAME, "total")
    of_chain = {
        metric: results.by_repeat(chain.case, NAME, metric)
        for metric in ("total", "restart", "again", "links")
    }
    ratios = []
    for repeat, total_s in of_chain["total"].items():
        if repeat not in calm:
            continue
        lost_s = of_chain["again"][repeat] * calm[repeat] / of_chain["links"][repeat]
        restart_s = of_chain["restart"][repeat]
        ratios.append((total_s - restart_s - lost_s) / calm[repeat])
    return median(ratios) if ratios else None


# ------------------------------------------------------------------ the table


def table(results: Results) -> list[list[str]]:
    """A row for each chain and what was done to it."""
    head = ["values", "delay", "run", "total", "restart", "links done again", "to undisturbed"]
    rows = [[*head, "apart from restart and lost work", "paper: to undisturbed"]]
    for chain in CHAINS:
        cells = [
            cell(results, NAME, chain.case, name) for name in ("total", "restart", "again")
        ]
        of_all, rest, paper = "", "", ""
        if chain.variant != "undisturbed":
            of_all = _times(_to_undisturbed(results, chain))
            rest = _times(apart(results, chain))
            paper = _times(PAPER.get((chain.size, chain.variant), {}).get(chain.delay_ms))
        delay = f"{chain.delay_ms} ms"
        rows.append([chain.size, delay, chain.variant, *cells, of_all, rest, paper])
    return rows


def _to_undisturbed(results: Results, chain: Chain) -> float | None:
    calm = results.by_repeat(chain.other("undisturbed").case, NAME, "total")
    totals = results.by_repeat(chain.case, NAME, "total")
    ratios = [total / calm[repeat] for repeat, total in totals.items() if repeat in calm]
    return median(ratios) if ratios else None


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}x"


EXPERIMENT = Experiment(NAME, "Recovery (figure 14)", measure, musts, table)
