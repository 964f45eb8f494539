"""The workloads of a system's life: start, stop, idle, import, a killed worker, leaks.

``worker_killed`` takes a started system; the others start and stop it themselves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks import processes
from benchmarks.machine import ROOT
from benchmarks.runners import functions
from benchmarks.runners.clock import seconds
from benchmarks.runners.functions import MIB
from benchmarks.runners.system import Figures, System, TaskSystem
from benchmarks.sandbox import DIRECTORIES

NS_PER_MS = 1e6
MS_PER_S = 1e3
PERCENT = 100
WARM_CYCLES = 3
POLL_S = 0.0005
SETTLE_S = 2.0
PATIENCE_S = 60.0


def start_stop(system: System, count: int) -> Figures:
    """From nothing to the first result, and back to nothing."""
    assert count == 1

    def start() -> None:
        system.start()
        system.first_result()

    return {"start": seconds(start), "stop": seconds(system.stop)}


def idle(system: System, seconds_idle: int) -> Figures:
    """What all processes of the system, this one included, hold and burn while idle."""
    system.start()
    system.first_result()
    system.idle(1.0)
    cpu_before_ns = _run_cpu_ns()
    own_before_ns = time.process_time_ns()
    system.idle(float(seconds_idle))
    own_ns = time.process_time_ns() - own_before_ns
    cpu_ns = _run_cpu_ns() - cpu_before_ns + own_ns
    members = _members()
    figures = {
        "cpu": cpu_ns / (seconds_idle * 1e9) * PERCENT,
        "pss": processes.pss_bytes(members) / MIB,
        "processes": float(len(members)),
    }
    system.stop()
    return figures


def import_time(system: System, count: int) -> Figures:
    """The import alone, in a fresh interpreter; a first one fills the caches."""
    program = (
        "import time; start = time.perf_counter_ns()\n"
        f"{system.import_statement}\n"
        "print(time.perf_counter_ns() - start)"
    )
    times_ns = []
    for _ in range(1 + count):
        done = subprocess.run(  # noqa: S603 - our own interpreter and program
            [sys.executable, "-c", program],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        times_ns.append(int(done.stdout.split()[-1]))
    return {"time": median(times_ns[1:]) / NS_PER_MS}


def worker_killed(system: TaskSystem, count: int) -> Figures:
    """From kill -9 of a task's worker to the task's next start, and to its answer."""
    submit = system.remote(functions.killed_at_first)
    retried_ms, answered_ms = [], []
    with tempfile.TemporaryDirectory() as directory:
        for turn in range(count):
            marker = Path(directory, str(turn))
            ref = submit(str(marker))
            worker = _pid_in(marker)
            killed_ns = time.monotonic_ns()
            os.kill(worker, signal.SIGKILL)
            again_ns = system.get(ref)
            answered_ms.append((time.monotonic_ns() - killed_ns) / NS_PER_MS)
            retried_ms.append((again_ns - killed_ns) / NS_PER_MS)
    return {"retried": median(retried_ms), "answered": median(answered_ms)}


def leak_cycles(system: System, count: int) -> Figures:
    """What is left after so many starts and stops that was not there after the first."""
    for _ in range(WARM_CYCLES):
        start_stop(system, 1)
    before = _possessions()
    took_s = seconds(lambda: [start_stop(system, 1) for _ in range(count)])
    deadline = time.monotonic() + SETTLE_S
    while _others() and time.monotonic() < deadline:
        time.sleep(POLL_S)
    after = _possessions()
    left = {name: float(after[name] - before[name]) for name in before}
    return {"cycle": took_s / count * MS_PER_S, **left, "processes": float(_others())}


def _possessions() -> dict[str, int]:
    """What this process and its sandbox hold."""
    own = Path("/proc/self")
    maps = (own / "maps").read_text().splitlines()
    places = {Path(os.environ[name]) for name in DIRECTORIES}
    shared_memory = Path("/dev/shm")  # noqa: S108 - looked at, not written
    return {
        "descriptors": len(list((own / "fd").iterdir())),
        "files": sum(len(list(place.rglob("*"))) for place in places),
        "shm": len(list(shared_memory.iterdir())) if shared_memory.is_dir() else 0,
        "mappings": sum(line.split()[1].endswith("s") for line in maps),
        "threads": len(list((own / "task").iterdir())),
    }


def _members(*, zombies: bool = False) -> list[int]:
    return processes.run_of(os.getpid(), os.environ[processes.MARK], zombies=zombies)


def _others() -> int:
    return len(_members(zombies=True)) - 1


def _run_cpu_ns() -> int:
    """Processor time of the others; this process's own is read apart, it reads /proc here."""
    return processes.cpu_ns([pid for pid in _members() if pid != os.getpid()])


def _pid_in(marker: Path) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while not marker.exists():
        if time.monotonic() > deadline:
            message = f"the task to be killed did not start within {PATIENCE_S:g} s"
            raise TimeoutError(message)
        time.sleep(POLL_S)
    return int(marker.read_text())
