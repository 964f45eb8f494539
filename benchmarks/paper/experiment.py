"""What an experiment is: how it is measured, what must hold, how its table reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.model import Against
from benchmarks.report import number_span, quantity
from benchmarks.results import Note, Results, Sample

WORKERS = 2


@dataclass(frozen=True, slots=True)
class Must:
    """One thing that must hold, what was shown, and whether it held; None: not measured."""

    text: str
    shown: str
    met: bool | None


@dataclass(slots=True)
class Trial:
    """One turn of one experiment: where it puts its figures. ``scale`` 1 is the real size."""

    experiment: str
    repeat: int
    scale: float
    results: Results

    def count(self, full: int, least: int = 1) -> int:
        """So many at this scale."""
        return max(least, round(full * self.scale))

    def add(self, case: str, metric: str, value: float, unit: str) -> None:
        """Keep one figure."""
        sample = Sample(self.experiment, case, self.repeat, metric, value, unit)
        self.results.samples.append(sample)

    def fail(self, case: str, error: Exception) -> None:
        """Keep why a case has no figures: what must hold of it does not."""
        text = f"{type(error).__name__}: {error}".strip(": ")
        self.results.notes.append(Note(self.experiment, case, "failed", text))

    def keep(self, what: str, case: str, value: Any) -> None:
        """Keep something else of this case for a picture; the newest trial's is drawn."""
        self.results.about.setdefault(what, {})[case] = value


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment. ``table`` begins with its row of headings."""

    name: str
    title: str
    measure: Callable[[Trial], None]
    musts: Callable[[Results], list[Must]]
    table: Callable[[Results], list[list[str]]]


def at_most(text: str, value: float | None, bound: float, unit: str) -> Must:
    """Judge that ``value`` is no more than ``bound``."""
    if value is None:
        return Must(text, "", None)
    return Must(text, quantity(value, unit), value <= bound)


def at_least(text: str, value: float | None, bound: float, unit: str) -> Must:
    """Judge that ``value`` is no less than ``bound``."""
    if value is None:
        return Must(text, "", None)
    return Must(text, quantity(value, unit), value >= bound)


def failure(results: Results, experiment: str, case: str) -> str:
    """Why this case has no figures; empty if none of its trials failed."""
    for note in results.notes:
        if (note.workload, note.runner) == (experiment, case):
            return note.text
    return ""


def cell(results: Results, experiment: str, case: str, metric: str) -> str:
    """The median of a figure, and its ends if there were several trials."""
    units = {
        sample.unit
        for sample in results.samples
        if (sample.workload, sample.runner, sample.metric) == (experiment, case, metric)
    }
    spread = results.spread(case, experiment, metric)
    if spread is None:
        return ""
    unit = units.pop()
    text = f"**{quantity(spread.median, unit)}**"
    if spread.low == spread.high:
        return text
    return f"{text} [{number_span(spread.low, spread.high, unit)}]"


def times(
    results: Results, experiment: str, metric: str, case: str, other: str
) -> float | None:
    """The figure of one case over that of another: the median over trials."""
    return results.ratio(case, experiment, metric, Against(other))
