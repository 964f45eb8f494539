"""Measures every workload on zfut, the bare loops and the installed peers, in turn.

    python -m benchmarks.micro --quick --no-peers
    python -m benchmarks.micro --only task_latency put_100mib --peers ray --repeats 5

For each workload the runners go A B C, A B C, ... each time in a process of its own, in
a directory of its own; after each, no process of it may be left, and what is left is noted
and ended. Writes micro.json (after each workload), micro.md and micro.png.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine, processes, report
from benchmarks.launch import Outcome, run
from benchmarks.model import BARE, PEERS, ZFUT, Workload
from benchmarks.results import Note, Results, Sample
from benchmarks.workloads import WORKLOADS

PEER_MODULES = {"ray": "ray", "xoscar": "xoscar", "dask": "distributed"}
ALIASES = {"dask.distributed": "dask", "distributed": "dask", "concurrent.futures": "futures"}
USAGE_ERROR = 2


@dataclass(frozen=True, slots=True)
class Runner:
    """A system to measure, and the interpreter that has it."""

    name: str
    python: str

    @property
    def module(self) -> str:
        """What to run; a name that a package has taken ends in an underscore."""
        own = self.name in (BARE, "futures")
        return f"benchmarks.runners.{self.name}{'' if own else '_'}"


def main(arguments: list[str] | None = None) -> int:
    """Run, and write the report; 1 if zfut failed a workload or left processes behind."""
    options = _parse(arguments)
    results = Results()
    try:
        runners = _runners(options, results)
    except LookupError as error:
        sys.stderr.write(f"benchmarks.micro: {error.args[0]}\n")
        return USAGE_ERROR
    _describe(options, results)
    options.out.mkdir(parents=True, exist_ok=True)
    processes.adopt_orphans()
    for name in options.only or WORKLOADS:
        _measure(WORKLOADS[name], runners, options, results)
        results.about["load_after"] = round(os.getloadavg()[0], 2)
        results.write(options.out / "micro.json")
    no_picture = report.write(results, options.out)
    sys.stdout.write(report.markdown(results))
    if no_picture:
        _say(no_picture)
    _say(
        f"written to {options.out}/: micro.json, micro.md{'' if no_picture else ', micro.png'}"
    )
    bad = [n for n in results.notes if n.runner == ZFUT and n.kind in ("failed", "left behind")]
    return 1 if bad else 0


def _measure(
    workload: Workload, runners: list[Runner], options: argparse.Namespace, results: Results
) -> None:
    """All repeats of one workload, all runners in each."""
    waiting = list(runners)
    repeats = min(options.repeats, workload.repeats_max or options.repeats)
    for repeat in range(repeats):
        for runner in list(waiting):
            _say(f"{workload.name} {repeat + 1}/{repeats} {runner.name}: ", end="")
            outcome = run(runner.python, runner.module, workload, quick=options.quick)
            _keep(outcome, workload, runner, repeat, results)
            _say(_in_short(outcome, workload))
            if not outcome.figures:
                waiting.remove(runner)  # once is enough to know


def _keep(
    outcome: Outcome, workload: Workload, runner: Runner, repeat: int, results: Results
) -> None:
    for metric, value in outcome.figures:
        unit = workload.metric(metric).unit
        results.samples.append(Sample(workload.name, runner.name, repeat, metric, value, unit))
    for kind, text in outcome.notes:
        results.notes.append(Note(workload.name, runner.name, kind, text))


def _in_short(outcome: Outcome, workload: Workload) -> str:
    figures = [
        f"{metric} {report.quantity(value, workload.metric(metric).unit)}"
        for metric, value in outcome.figures
    ]
    return "; ".join([*figures, *(f"{kind}: {text}" for kind, text in outcome.notes)])


def _runners(options: argparse.Namespace, results: Results) -> list[Runner]:
    """zfut, the bare loops, and the peers that are wanted and installed."""
    own = machine.versions()
    results.about["versions"] = own
    runners = [Runner(BARE, sys.executable)]
    if own["zfut"] is None:
        _say(f"zfut is not installed for {sys.executable}: measured without it")
        results.notes.append(Note("", ZFUT, "not installed", sys.executable))
    else:
        runners.insert(0, Runner(ZFUT, sys.executable))
    if options.no_peers:
        return runners
    python = _peer_python(options)
    found = machine.versions_of(python)
    results.about["peer_versions"] = {m: found[m] for m in PEER_MODULES.values() if found[m]}
    for name in options.peers or PEERS:
        if name == "futures":
            runners.append(Runner(name, sys.executable))
        elif found[PEER_MODULES[name]] is not None:
            runners.append(Runner(name, python))
        elif options.peers:
            message = f"{name} is not installed for {python}: run make bench-peers"
            raise LookupError(message)
        else:
            _say(f"{name} is not installed for {python}: left out (make bench-peers)")
            results.notes.append(Note("", name, "not installed", "make bench-peers"))
    return runners


def _peer_python(options: argparse.Namespace) -> str:
    if options.peer_python:
        return str(options.peer_python)
    made = machine.ROOT / ".venv-peers" / "bin" / "python"
    return str(made) if made.exists() else sys.executable


def _describe(options: argparse.Namespace, results: Results) -> None:
    results.about |= {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "repeats": options.repeats,
        "quick": options.quick,
    }


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.micro",
        description="Measure zfut beside the bare loops and the installed peers.",
        epilog="Workloads: " + ", ".join(WORKLOADS),
    )
    parser.add_argument("--repeats", type=_at_least_one, default=3, metavar="N")
    parser.add_argument(
        "--only", nargs="+", choices=list(WORKLOADS), metavar="WORKLOAD", help="of those below"
    )
    peers = parser.add_mutually_exclusive_group()
    peers.add_argument(
        "--peers",
        nargs="+",
        type=lambda name: ALIASES.get(name, name),
        choices=PEERS,
        metavar="NAME",
        help=f"of {', '.join(PEERS)}; default: those installed",
    )
    peers.add_argument("--no-peers", action="store_true", help="zfut and the bare loops only")
    parser.add_argument(
        "--peer-python",
        type=_interpreter,
        metavar="PYTHON",
        help="interpreter with the peers (.venv-peers/bin/python)",
    )
    parser.add_argument("--quick", action="store_true", help="small counts: does it all work")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"), metavar="DIR")
    return parser.parse_args(arguments)


def _at_least_one(text: str) -> int:
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    message = f"must be a whole number, at least 1, not {text!r}"
    raise argparse.ArgumentTypeError(message)


def _interpreter(text: str) -> str:
    if found := shutil.which(text):
        return str(Path(found).absolute())  # not resolved: a venv's python is a link
    message = f"{text!r} cannot be run; name the python of the environment with the peers"
    raise argparse.ArgumentTypeError(message)


def _say(text: str, end: str = "\n") -> None:
    sys.stderr.write(text + end)
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
