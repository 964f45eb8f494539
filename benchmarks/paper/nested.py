"""Getting 1,000 values that each contain 600 references: a known failure of others.

Not of the paper.  Four programs, since it matters who owns the inner objects and how many there
are: one list of 600 references in every value, or 600,000 different ones, put by the program; the
same 600, returned by tasks that were given them; and 600 new ones from each task, owned by workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import zfut
from benchmarks.paper.experiment import Experiment, Must, Trial, at_most, cell
from benchmarks.paper.tasks import makes, returns
from benchmarks.paper.trial import running
from benchmarks.results import Results
from benchmarks.runners.clock import seconds

NAME = "nested"
OUTER, INNER = 1_000, 600
BOUND_S = 1.0


def measure(trial: Trial) -> None:
    """Make the values, wait until they are there, time one get of all."""
    outer, inner = trial.count(OUTER), trial.count(INNER)
    for case, make in CASES.items():
        with running():
            refs = make(outer, inner)
            zfut.wait(refs, num_returns=len(refs))
            start = time.perf_counter()
            values = zfut.get(refs)
            trial.add(case, "get", time.perf_counter() - start, "s")
            assert [len(value) for value in values] == [inner] * outer
            trial.add(case, "drop", seconds(values.clear), "s")


def _put_numbers(count: int) -> list[Any]:
    return [zfut.put(number) for number in range(count)]


def _same(outer: int, inner: int) -> list[Any]:
    numbers = _put_numbers(inner)
    return [zfut.put(numbers) for _ in range(outer)]


def _different(outer: int, inner: int) -> list[Any]:
    return [zfut.put(_put_numbers(inner)) for _ in range(outer)]


def _given(outer: int, inner: int) -> list[Any]:
    numbers = _put_numbers(inner)
    return [returns.remote(numbers) for _ in range(outer)]


def _made(outer: int, inner: int) -> list[Any]:
    return [makes.remote(inner) for _ in range(outer)]


CASES: dict[str, Callable[[int, int], list[Any]]] = {
    "put by the program, the same 600 in each": _same,
    "put by the program, 600,000 different ones": _different,
    "returned by tasks that were given them": _given,
    "made by tasks, owned by workers": _made,
}


def musts(results: Results) -> list[Must]:
    """A second for all of them, whoever owns them."""
    found = []
    for case in CASES:
        spread = results.spread(case, NAME, "get")
        found.append(at_most(f"{case}: ≤ 1 s", spread.median if spread else None, BOUND_S, "s"))
    return found


def table(results: Results) -> list[list[str]]:
    """A row for each program."""
    rows = [["the references inside are", "get of all", "values dropped"]]
    for case in CASES:
        cells = [cell(results, NAME, case, metric) for metric in ("get", "drop")]
        rows.append([case, *cells])
    return rows


EXPERIMENT = Experiment(NAME, "References inside values", measure, musts, table)
