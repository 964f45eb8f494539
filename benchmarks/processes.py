"""What /proc says of the processes of one benchmark run: which, how large, how busy.

A run is found by its mark, an environment variable that its processes inherit, and by
descent: a process may overwrite its environment, and another may lose its parent, but
what the benchmark looks at has one or the other. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

MARK = "ZFUT_BENCH_RUN"

_PROC = Path("/proc")
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """From now on a descendant that loses its parent becomes a child of this process."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run_of(root: int, mark: str, *, zombies: bool = False) -> list[int]:
    """The processes that descend from ``root`` or bear ``mark``, and their children."""
    parents = _parents("X" if zombies else "ZX")
    members = {pid for pid in parents if pid == root or _bears(pid, mark)}
    while True:
        more = {pid for pid, parent in parents.items() if parent in members} - members
        if not more:
            return sorted(members)
        members |= more


def pss_bytes(pids: list[int]) -> int:
    """Their memory, each shared page counted once in sum (proportional set size)."""
    return sum(_pss_bytes(pid) for pid in pids)


def cpu_ns(pids: list[int]) -> int:
    """Processor time their live threads have used, exact (not in clock ticks)."""
    return sum(_cpu_ns(pid) for pid in pids)


def resident_bytes() -> int:
    """Memory of this process that is in RAM now."""
    return _status_bytes("VmRSS")


def peak_resident_bytes() -> int:
    """The most memory this process has had in RAM since ``forget_peak``."""
    return _status_bytes("VmHWM")


def forget_peak() -> None:
    """Make the peak start again from what is resident."""
    with contextlib.suppress(OSError):
        (_PROC / "self" / "clear_refs").write_text("5")


def command(pid: int) -> str:
    """The command line of ``pid``, shortened, for a message."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return "gone"
    return b" ".join(words).decode(errors="replace").strip()[:100]


def end(pids: list[int], grace_s: float) -> None:
    """End exactly these processes: ask, wait up to ``grace_s``, then insist."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if gone_within(pids, grace_s):
            return


def gone_within(pids: list[int], timeout_s: float) -> bool:
    """Whether all of them end in that time. Reaps those that are our children."""
    deadline = time.monotonic() + timeout_s
    while True:
        for pid in pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if not any(_alive(pid) for pid in pids):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def reap() -> None:
    """Take the exit status of every child that has ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _parents(dead: str) -> dict[int, int]:
    """Every process that is in no state of ``dead``, and its parent."""
    found = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            state, parent = _stat(int(entry.name))
            if state not in dead:
                found[int(entry.name)] = parent
    return found


def _stat(pid: int) -> tuple[str, int]:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return "X", 0
    state, parent = text.rpartition(")")[2].split()[:2]  # the name may hold spaces
    return state, int(parent)


def _alive(pid: int) -> bool:
    return _stat(pid)[0] not in "ZX"


def _bears(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False


def _pss_bytes(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _cpu_ns(pid: int) -> int:
    total = 0
    with contextlib.suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
    return total


def _status_bytes(field: str) -> int:
    lines = (_PROC / "self" / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
