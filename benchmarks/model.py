"""What a workload, a metric and a budget are, and which systems there are.

A budget compares zfut's value with a bound, or with a bound times what another runner
(or another workload of zfut) showed in the same repeat. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher"]
Level = Literal["must", "aim"]

ZFUT = "zfut"
BARE = "bare"
PEERS = ("ray", "futures", "xoscar", "dask")
RUNNERS = (ZFUT, BARE, *PEERS)


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a workload. ``better`` says which way is good."""

    name: str
    unit: str
    better: Better = "lower"


@dataclass(frozen=True, slots=True)
class Against:
    """Whose figure a budget is measured by; no workload means the budget's own."""

    runner: str
    workload: str | None = None
    metric: str | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """zfut's ``metric`` is at most (lower is better) or at least (higher) ``bound``.

    With ``against``, the bound is a factor on that figure.
    """

    metric: str
    bound: float
    text: str
    against: Against | None = None
    level: Level = "must"


@dataclass(frozen=True, slots=True)
class Workload:
    """One thing to measure. The first metric is the one shown in tables and pictures."""

    name: str
    title: str
    metrics: tuple[Metric, ...]
    count: int
    quick_count: int
    budgets: tuple[Budget, ...] = ()
    fixed_size: bool = True  # False: the figure is a rate or a median, slow systems do less
    repeats_max: int | None = None  # for what takes long and varies little
    timeout_s: float = 120.0

    def metric(self, name: str) -> Metric:
        """The metric of that name."""
        return next(metric for metric in self.metrics if metric.name == name)


def must(metric: str, bound: float, text: str, against: Against | None = None) -> Budget:
    """A budget that a release has to meet."""
    return Budget(metric, bound, text, against)


def aim(metric: str, bound: float, text: str, against: Against | None = None) -> Budget:
    """A budget that says where the design could get to."""
    return Budget(metric, bound, text, against, "aim")


def rate(name: str = "rate") -> Metric:
    """So many a second."""
    return Metric(name, "/s", "higher")
