"""Draws one bar for each workload and peer: how many times better zfut is.

matplotlib is an optional extra: without it there is no picture, and that is said.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.model import BARE, RUNNERS, ZFUT, Metric, Workload
from benchmarks.results import Results

TimesBetter: TypeAlias = Callable[[Results, Workload, Metric, str], float | None]

NO_PICTURE = "no PNG: matplotlib is not installed here (python -m pip install matplotlib)"
_COLOURS = {
    "ray": "#4878cf",
    "futures": "#6acc65",
    "xoscar": "#b47cc7",
    "dask": "#d65f5f",
    BARE: "#333333",
}
_BAR = 0.2
_INCHES_A_ROW = 0.55


def draw(results: Results, times_better: TimesBetter, path: Path) -> str | None:
    """Write the PNG; what to say if it could not be."""
    bars = _bars(results, times_better)
    if not bars:
        return "no PNG: there is nothing to compare in this run"
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
    except ImportError:
        return NO_PICTURE
    matplotlib.use("Agg")
    plot: Any = importlib.import_module("matplotlib.pyplot")
    figure, axes = plot.subplots(
        figsize=(9, 1.6 + _INCHES_A_ROW * len(bars)), layout="constrained"
    )
    _paint(axes, bars)
    figure.savefig(path, dpi=130)
    plot.close(figure)
    return None


def _bars(results: Results, times_better: TimesBetter) -> dict[str, dict[str, float]]:
    """Workload title -> runner -> factor, for whatever zfut and another both measured."""
    others = [runner for runner in RUNNERS if runner != ZFUT]
    bars: dict[str, dict[str, float]] = {}
    for workload in results.workloads():
        factors = {
            runner: times_better(results, workload, workload.metrics[0], runner)
            for runner in others
        }
        known = {runner: factor for runner, factor in factors.items() if factor}
        if known:
            bars[workload.title] = known
    return bars


def _paint(axes: Any, bars: dict[str, dict[str, float]]) -> None:
    for row, factors in enumerate(bars.values()):
        top = row - _BAR * (len(factors) - 1) / 2
        for place, (runner, factor) in enumerate(factors.items()):
            y = top + place * _BAR
            colour = _COLOURS.get(runner, "#888888")
            axes.barh(y, factor - 1, _BAR * 0.9, left=1, color=colour)
            side, gap = ("left", 3) if factor >= 1 else ("right", -3)
            axes.annotate(
                f"{factor:.3g}x",
                (factor, y),
                (gap, 0),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=7,
            )
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low / 1.6, high * 1.6)
    axes.axvline(1, color="#333333", linewidth=1)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.invert_yaxis()
    axes.set_xlabel("zfut is worse  <  1  <  zfut is so many times better")
    present = [r for r in RUNNERS if any(r in factors for factors in bars.values())]
    axes.set_title("zfut beside the bare loops and the peers, same run")
    _legend(axes, present)


def _legend(axes: Any, runners: list[str]) -> None:
    for runner in runners:
        axes.barh(0, 0, left=1, color=_COLOURS.get(runner, "#888888"), label=runner)
    axes.legend(loc="lower right", fontsize=8)
