"""The samples of one benchmark run, and what they say: medians, spreads, ratios.

A ratio is taken within each repeat, where both sides ran one after the other, and the median
of those is shown: the machine's speed drifts, but both sides drift together.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.model import Against, Workload
from benchmarks.workloads import WORKLOADS


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure from one process."""

    workload: str
    runner: str
    repeat: int
    metric: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Note:
    """Why there is no figure, or what a run left behind: shown below the tables."""

    workload: str
    runner: str
    kind: str  # cannot, failed, left behind, not installed
    text: str


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some samples, and their ends."""

    median: float
    low: float
    high: float


@dataclass(slots=True)
class Results:
    """All of one run. Grows while it lasts; is what the JSON file holds."""

    about: dict[str, Any] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def runners(self) -> list[str]:
        """The runners with at least one sample, in order of appearance."""
        return list(dict.fromkeys(sample.runner for sample in self.samples))

    def workloads(self) -> list[Workload]:
        """The workloads that were tried, in the catalogue's order."""
        tried = {sample.workload for sample in self.samples}
        tried |= {note.workload for note in self.notes}
        return [workload for name, workload in WORKLOADS.items() if name in tried]

    def by_repeat(self, runner: str, workload: str, metric: str) -> dict[int, float]:
        """One value for each repeat."""
        wanted = (runner, workload, metric)
        values: dict[int, list[float]] = {}
        for sample in self.samples:
            if (sample.runner, sample.workload, sample.metric) == wanted:
                values.setdefault(sample.repeat, []).append(sample.value)
        return {repeat: median(several) for repeat, several in values.items()}

    def spread(self, runner: str, workload: str, metric: str) -> Spread | None:
        """Median, lowest and highest over the repeats; None without samples."""
        values = self.by_repeat(runner, workload, metric).values()
        return Spread(median(values), min(values), max(values)) if values else None

    def ratio(self, runner: str, workload: str, metric: str, to: Against) -> float | None:
        """The runner's figure over that other one; None if no repeat has both."""
        ours = self.by_repeat(runner, workload, metric)
        theirs = self.by_repeat(to.runner, to.workload or workload, to.metric or metric)
        pairs = [(ours[repeat], theirs[repeat]) for repeat in ours if theirs.get(repeat)]
        return median(one / other for one, other in pairs) if pairs else None

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """What ``write`` wrote."""
        held = json.loads(path.read_text())
        samples = [Sample(**sample) for sample in held["samples"]]
        return cls(held["about"], samples, [Note(**note) for note in held["notes"]])
