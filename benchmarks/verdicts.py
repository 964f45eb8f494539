"""Holds zfut's figures against the budgets of ``workloads``."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.model import ZFUT, Budget, Workload
from benchmarks.results import Results


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a budget was met; None where there was nothing to judge by.

    ``shown`` is the figure itself, or the factor on the one it is held against.
    """

    workload: Workload
    budget: Budget
    shown: float | None
    met: bool | None


def judge(results: Results, workload: Workload, budget: Budget) -> Verdict:
    """One budget against the samples of a run."""
    shown: float | None
    if budget.against is None:
        spread = results.spread(ZFUT, workload.name, budget.metric)
        shown = spread.median if spread else None
    else:
        shown = results.ratio(ZFUT, workload.name, budget.metric, budget.against)
    if shown is None:
        return Verdict(workload, budget, None, None)
    if workload.metric(budget.metric).better == "lower":
        return Verdict(workload, budget, shown, shown <= budget.bound)
    return Verdict(workload, budget, shown, shown >= budget.bound)


def judge_all(results: Results) -> list[Verdict]:
    """Every budget of the workloads that were tried."""
    return [
        judge(results, workload, budget)
        for workload in results.workloads()
        for budget in workload.budgets
    ]
