"""Runs one workload on one system in a process of its own, and sees to it that it ends.

The child has a session and a sandbox of its own and writes to files, not pipes, so that
a process it leaves behind can hold up nothing. The caller has adopted orphans before: after
the child, whatever descends from this process is what the child left behind.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import IO

from benchmarks import processes
from benchmarks.machine import ROOT
from benchmarks.model import Workload
from benchmarks.sandbox import sandbox

LEAVE_S = 5.0  # for processes that end after the one that started them
END_S = 3.0
ADDRESSES = ("ZFUT_ADDRESS", "RAY_ADDRESS")  # never measure somebody's running cluster
_LINE_MAX = 300


@dataclass(slots=True)
class Outcome:
    """What one process showed: figures, or notes on why not."""

    figures: list[tuple[str, float]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


def run(python: str, module: str, workload: Workload, *, quick: bool) -> Outcome:
    """Run the runner's module for one workload, and leave nothing of it behind."""
    command = [python, "-m", module, workload.name, "--json", *(["--quick"] if quick else [])]
    with (
        sandbox() as environment,
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
    ):
        kept = {name: text for name, text in os.environ.items() if name not in ADDRESSES}
        child = subprocess.Popen(  # noqa: S603 - our own module
            command,
            cwd=ROOT,
            env=kept | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        timed_out, leftovers = False, ""
        try:
            child.wait(workload.timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            leftovers = _leave_nothing(child, environment[processes.MARK])
        outcome = _outcome(output)
        if timed_out:
            outcome.notes.append(("failed", f"not done within {workload.timeout_s:g} s"))
        elif child.returncode:
            outcome.notes.append(("failed", f"exit {child.returncode}: {_last_line(errors)}"))
        elif leftovers:
            outcome.notes.append(("left behind", leftovers))
        return outcome


def _leave_nothing(child: subprocess.Popen[bytes], mark: str) -> str:
    """End the child, if it runs, and all it left; what those were."""
    if child.poll() is None:
        processes.end([child.pid], END_S)
        child.wait()
    left = _descendants(mark)
    if not left or processes.gone_within(left, LEAVE_S):
        processes.reap()
        return ""
    left = _descendants(mark)
    text = "; ".join(processes.command(pid) for pid in left)
    processes.end(left, END_S)
    processes.reap()
    return text


def _descendants(mark: str) -> list[int]:
    return [pid for pid in processes.run_of(os.getpid(), mark) if pid != os.getpid()]


def _outcome(output: IO[str]) -> Outcome:
    """Read the child's JSON lines; a system may have printed others between."""
    outcome = Outcome()
    output.seek(0)
    for line in output:
        if not line.startswith("{"):
            continue
        sample = json.loads(line)
        if "cannot" in sample:
            outcome.notes.append(("cannot", sample["cannot"]))
        else:
            outcome.figures.append((sample["metric"], float(sample["value"])))
    return outcome


def _last_line(errors: IO[str]) -> str:
    errors.seek(0)
    lines = [line.strip() for line in errors if line.strip()]
    return lines[-1][:_LINE_MAX] if lines else "no message"
