"""How long another thread's call takes while a million references are dropped.

Not of the paper.  Three programs: the references are of values that the program put; they are in
one value, whose only reference is dropped; they are the program's, and an actor drops them.  Beside
the longest call stands the longest with nothing else to do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import zfut
from benchmarks.paper.experiment import Experiment, Must, Trial, at_most, cell
from benchmarks.paper.tasks import Keeper, empty
from benchmarks.paper.trial import running
from benchmarks.results import Results
from zfut.session import current

NAME = "drops"
REFERENCES = 1_000_000
BORROWED = 300_000
QUIET_S = 0.5
PAUSE_S = 0.002
BOUND_S = 0.2


def measure(trial: Trial) -> None:
    """Make the references, drop them while a thread calls, wait until they are gone."""
    for case, (full, prepare) in CASES.items():
        with running():
            drop = prepare(trial.count(full, 100))
            _settled()
            trial.add(case, "quiet", _longest_call(lambda: time.sleep(QUIET_S)), "s")
            began = time.perf_counter()
            trial.add(case, "longest", _longest_call(lambda act=drop: _all_gone(act)), "s")
            trial.add(case, "gone", time.perf_counter() - began, "s")


def _put(count: int) -> Callable[[], Any]:
    return [zfut.put(number) for number in range(count)].clear


def _inside(count: int) -> Callable[[], Any]:
    return [zfut.put([zfut.put(number) for number in range(count)])].clear


def _borrowed(count: int) -> Callable[[], Any]:
    keeper: Any = zfut.remote(Keeper).remote()
    zfut.get(keeper.keep.remote([zfut.put(number) for number in range(count)]))
    return lambda: zfut.get(keeper.drop.remote())


CASES: dict[str, tuple[int, Callable[[int], Callable[[], Any]]]] = {
    "put by the program: a million": (REFERENCES, _put),
    "inside one value: a million": (REFERENCES, _inside),
    "borrowed by an actor: 300,000": (BORROWED, _borrowed),
}


def _rows() -> int:
    """How many objects this process keeps, counting what is on its way out."""
    session = current()
    return len(session.owner.rows) + len(session.loop.drops)


def _settled() -> None:
    """What is dropped by now is handled."""
    while current().loop.drops:
        time.sleep(PAUSE_S)


def _all_gone(drop: Callable[[], Any]) -> None:
    drop()
    while _rows() > BESIDE:
        time.sleep(PAUSE_S)


BESIDE = 10
"""Rows of the calls that are measured, and of the actor."""


def _longest_call(meanwhile: Callable[[], Any]) -> float:
    """Call again and again in a thread, until ``meanwhile`` is over. Returns the longest time."""
    took: list[float] = []
    began, over = threading.Event(), threading.Event()

    def call() -> None:
        zfut.get(empty.remote(None))
        began.set()
        while not over.is_set():
            start = time.perf_counter()
            zfut.get(empty.remote(None))
            took.append(time.perf_counter() - start)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        began.wait()
        meanwhile()
    finally:
        over.set()
        thread.join()
    return max(took)


def musts(results: Results) -> list[Must]:
    """No call waits for longer than a person notices."""
    found = []
    for case in CASES:
        spread = results.spread(case, NAME, "longest")
        value = spread.median if spread else None
        found.append(at_most(f"{case}: ≤ 200 ms", value, BOUND_S, "s"))
    return found


def table(results: Results) -> list[list[str]]:
    """A row for each program."""
    rows = [["the references are", "longest call meanwhile", "with nothing to do", "all gone"]]
    for case in CASES:
        cells = [cell(results, NAME, case, name) for name in ("longest", "quiet", "gone")]
        rows.append([case, *cells])
    return rows


EXPERIMENT = Experiment(NAME, "Dropping many references", measure, musts, table)
