"""The command line that every runner has: ``WORKLOAD [--json] [--quick]``.

One process measures one workload on one system. With ``--json`` each sample is one line
``{"metric": "p50", "value": 41.3, "unit": "us"}``; a system that cannot do the workload says
``{"cannot": "why"}`` and ends well; whatever goes wrong ends badly, with a traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from typing import Any

from benchmarks.model import Workload
from benchmarks.processes import MARK
from benchmarks.runners import calls, lifecycle, values
from benchmarks.runners.system import Figures, Measure, System
from benchmarks.sandbox import sandbox
from benchmarks.workloads import WORKLOADS

# The workloads for a started system; a TaskSystem, unless it measures them in its own way.
STARTED: dict[str, Any] = {
    "task_latency": calls.task_latency,
    "actor_latency": calls.actor_latency,
    "tasks_pipelined": calls.tasks_pipelined,
    "actor_pipelined": calls.actor_pipelined,
    "actor_pipelined_async": calls.actor_pipelined_async,
    "actors_created": calls.actors_created,
    "chain": calls.chain,
    "many_references": calls.many_references,
    "wait_one_by_one": calls.wait_one_by_one,
    "million": calls.million,
    "results_1mib": values.results_1mib,
    "put_1kib": values.put_1kib,
    "put_1mib": values.put_1mib,
    "put_100mib": values.put_100mib,
    "get_100mib": values.get_100mib,
    "by_reference": values.by_reference,
    "worker_killed": lifecycle.worker_killed,
    "hundred_actors": calls.hundred_actors,
}

# The workloads that start and stop the system themselves.
UNSTARTED: dict[str, Measure] = {
    "start_stop": lifecycle.start_stop,
    "idle": lifecycle.idle,
    "import_time": lifecycle.import_time,
    "leak_cycles": lifecycle.leak_cycles,
}


def main(system: System, arguments: list[str] | None = None) -> None:
    """Measure what the command line names, and print it."""
    options = _parse(system, arguments)
    workload = WORKLOADS[options.workload]
    if workload.name in system.cannot:
        _print(options, {"cannot": system.cannot[workload.name]})
        return
    with sandbox() as environment:
        if MARK not in os.environ:  # by hand: a run of its own
            os.environ.update(environment)
            tempfile.tempdir = None  # it was read before this change
        figures = measure(system, workload, quick=options.quick)
    for metric in workload.metrics:
        if metric.name in figures:
            sample = {"metric": metric.name, "value": figures[metric.name]}
            _print(options, {**sample, "unit": metric.unit})


def measure(system: System, workload: Workload, *, quick: bool) -> Figures:
    """The figures of one workload on one system."""
    count = workload.quick_count if quick else workload.count
    if not workload.fixed_size:
        count = max(1, round(count * system.share))
    if workload.name in UNSTARTED and workload.name not in system.own:
        return UNSTARTED[workload.name](system, count)
    run = system.own.get(workload.name) or STARTED[workload.name]
    system.start()
    try:
        system.first_result()
        figures: Figures = run(system, count)
    finally:
        system.stop()
    return figures


def _parse(system: System, arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f"Measure one workload on {system.name}, in this process.",
    )
    parser.add_argument("workload", choices=list(WORKLOADS), metavar="WORKLOAD")
    parser.add_argument("--json", action="store_true", help="one JSON line for each sample")
    parser.add_argument("--quick", action="store_true", help="smaller counts")
    return parser.parse_args(arguments)


def _print(options: argparse.Namespace, line: dict[str, Any]) -> None:
    if options.json:
        text = json.dumps(line)
    elif "cannot" in line:
        text = f"{options.workload}: not measured ({line['cannot']})"
    else:
        text = f"{options.workload} {line['metric']}: {line['value']:.4g} {line['unit']}"
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
