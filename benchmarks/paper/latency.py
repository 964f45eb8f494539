"""Figure 13, its local rows: 1,000 tasks or actor calls with the same argument of 1 MiB.

Pipelined (all submitted, then all got: the whole time for each), and one at a time (the median of
call and get).  With the lease kept for a moment after a call, as zfut does, and given back at once,
as the paper's system does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import zfut
from benchmarks.paper.experiment import Experiment, Must, Trial, at_most, cell, times
from benchmarks.paper.tasks import Empty, empty
from benchmarks.paper.trial import running
from benchmarks.results import Results
from benchmarks.runners.clock import each_ns, latency, seconds

NAME = "latency"
CALLS = 1_000
WARM_CALLS = 200
ARGUMENT_BYTES = 1 << 20
US_PER_S = 1e6

KINDS = ("tasks", "actor calls")
LINGERS = ("kept", "given back")
PAPER_MS = {"tasks": (0.278, 0.802), "actor calls": (0.300, 0.642)}
"""Pipelined mean (plotted) and one at a time, p50 (in the artifact's data, not plotted)."""


def measure(trial: Trial) -> None:
    """Time tasks and actor calls, with and without linger, in turn."""
    for kind in KINDS:
        for linger in LINGERS:
            limits: dict[str, Any] = {} if linger == "kept" else {"lease_linger_ns": 0}
            with running(num_cpus=1, **limits):
                _calls(trial, _case(kind, linger), kind)


def _calls(trial: Trial, case: str, kind: str) -> None:
    argument = zfut.put(os.urandom(ARGUMENT_BYTES))
    submit: Callable[[Any], Any] = empty.remote
    if kind != "tasks":
        submit = zfut.remote(Empty).remote().call.remote

    def one() -> None:
        zfut.get(submit(argument))

    calls = trial.count(CALLS)
    each_ns(one, trial.count(WARM_CALLS))
    whole_s = seconds(lambda: zfut.get([submit(argument) for _ in range(calls)]))
    alone = latency(each_ns(one, calls))
    trial.add(case, "pipelined", whole_s / calls * US_PER_S, "us")
    trial.add(case, "p50", alone["p50"], "us")
    trial.add(case, "p99", alone["p99"], "us")


def musts(results: Results) -> list[Must]:
    """The paper's system pays a lease for each task that is alone; a kept lease must save it."""
    ratio = times(results, NAME, "p50", _case("tasks", "kept"), _case("tasks", "given back"))
    return [at_most("tasks one at a time: no slower with the lease kept", ratio, 1, "x")]


def table(results: Results) -> list[list[str]]:
    """A row for each kind of call and each way with leases."""
    head = ["calls", "lease", "pipelined, each", "one at a time: p50", "p99"]
    rows = [[*head, "paper: pipelined", "one at a time: p50"]]
    for kind in KINDS:
        for linger in LINGERS:
            cells = [
                cell(results, NAME, _case(kind, linger), metric)
                for metric in ("pipelined", "p50", "p99")
            ]
            paper = ["", ""]
            if linger == "given back":
                paper = [f"{value * 1e3:.0f} us" for value in PAPER_MS[kind]]
            rows.append([kind, linger, *cells, *paper])
    return rows


def _case(kind: str, linger: str) -> str:
    return f"{kind}, lease {linger}"


EXPERIMENT = Experiment(NAME, "Latency (figure 13, local)", measure, musts, table)
