"""Programs in processes of their own, for what a test cannot do to the process it runs in."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from tests.cluster.leftovers import DEADLINE_S, alive, descendants, ended, until
from zfut.actors import places

ROOT = Path(__file__).resolve().parents[2]

PRELUDE = """
import os, signal, sys, threading, time
import zfut

def say(*words):
    print(*words, flush=True)

def hear():
    return sys.stdin.readline().strip()

def pids():
    node = zfut.nodes()[0]
    return [worker["pid"] for worker in node["workers"]]

"""
"""What every program begins with: a line out, a line in, and the workers' processes."""


class Program:
    """A Python program that talks to its test in lines."""

    def __init__(self, source: str, base: Path, file: Path) -> None:
        file.write_text(PRELUDE + textwrap.dedent(source))
        self._base = base
        self._text = b""
        self._errors = file.with_suffix(".err")
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(  # noqa: S603  a file of the test's
                [sys.executable, str(file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | {"ZFUT_SESSION_DIR": str(base), "PYTHONPATH": str(ROOT)},
            )
        self.pid = self.process.pid

    def line(self, deadline_s: float = 30.0) -> str:
        """Return the next line it says; fail the test if none comes in time."""
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        end = time.monotonic() + deadline_s
        while b"\n" not in self._text:
            ready = select.select([fd], [], [], max(0.0, end - time.monotonic()))[0]
            data = os.read(fd, 65536) if ready else b""
            assert data, f"it said nothing more after {self._text!r}: {self.errors()}"
            self._text += data
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()

    def lines(self, count: int) -> list[str]:
        """Return the next lines it says."""
        return [self.line() for _ in range(count)]

    def tell(self, text: str = "") -> None:
        """Say a line to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def errors(self) -> str:
        """Return what it wrote to its standard error."""
        return self._errors.read_text(errors="replace")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, deadline_s: float = 30.0) -> int:
        """Wait for its end and return its exit code."""
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            text = f"it does not end: {self.errors()}"
            raise AssertionError(text) from None

    def close(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Processes:
    """All processes of the one session in ``base``, but for its drivers."""

    def __init__(self, base: Path) -> None:
        self.directory, contents = until(lambda: _sessions(base), "there is a session")[0]
        self.root = contents.root_pid
        self.manager = contents.manager_pid
        self.workers = [pid for pid in descendants(self.root) if pid != self.manager]

    def all_ended(self, deadline_s: float = DEADLINE_S) -> bool:
        """Wait for the end of every one."""
        end = time.monotonic() + deadline_s
        pids = (self.root, self.manager, *self.workers)
        return all(ended(pid, max(0.0, end - time.monotonic())) for pid in pids)

    def living(self) -> list[int]:
        """Return those that live."""
        return [pid for pid in (self.root, self.manager, *self.workers) if alive(pid)]


def _sessions(base: Path) -> list[tuple[Path, places.SessionFile]]:
    found = [(directory, places.read(directory)) for directory in base.iterdir()]
    return [(directory, contents) for directory, contents in found if contents is not None]
