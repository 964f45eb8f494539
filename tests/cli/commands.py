"""Running the ``zfut`` command and programs beside it, in a session directory of their own.

Everything that is waited for is an event: a line, an end of file, the end of a process.  The
processes of a node inherit its pipes, so an end of file says that the last of them has gone.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from zfut.actors import places
from zfut.store import ArenaInfo

ROOT = Path(__file__).parent.parent.parent
DEADLINE_S = 30.0

COMMAND = [sys.executable, "-m", "cli"]


class EndedError(AssertionError):
    """The text that was waited for cannot come any more."""


class Running:
    """A process whose output is read line by line."""

    def __init__(self, arguments: list[str], base: Path, **variables: str) -> None:
        environment = {
            **{name: value for name, value in os.environ.items() if name[:5] != "ZFUT_"},
            "ZFUT_SESSION_DIR": str(base),
            "PYTHONPATH": str(ROOT),
            **variables,
        }
        self.process = subprocess.Popen(  # noqa: S603  our own command
            arguments,
            cwd=base,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self.pid = self.process.pid
        self.err = Lines(self.process.stderr)
        self.out = Lines(self.process.stdout, self.err)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def code(self) -> int:
        """Wait for the end and return the exit code."""
        return self.process.wait(DEADLINE_S)

    def gone(self) -> None:
        """Wait until this process and all that it started have ended."""
        self.out.rest()
        self.err.rest()

    def close(self) -> None:
        """End it, whatever it does; what it started ends with it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE_S)
        self.gone()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


class Lines:
    """The lines of a pipe, each waited for with a deadline."""

    def __init__(self, stream: IO[bytes] | None, errors: Lines | None = None) -> None:
        assert stream is not None
        self._fd = stream.fileno()
        self._errors = errors
        self._unread = b""
        self.seen: list[str] = []

    def until(self, text: str) -> str:
        """Return the first line from here on that contains ``text``."""
        while True:
            line = self._line()
            if line is None:
                errors = self._errors.rest() if self._errors is not None else []
                message = f"no {text!r} in {self.seen}; {errors}"
                raise EndedError(message)
            if text in line:
                return line

    def rest(self) -> list[str]:
        """Wait for the end of file and return all lines that came."""
        while self._line() is not None:
            pass
        return self.seen

    def _line(self) -> str | None:
        deadline = time.monotonic() + DEADLINE_S
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            assert select.select([self._fd], [], [], max(0, left))[0], f"silent: {self.seen}"
            more = os.read(self._fd, 65536)
            if not more:
                if not self._unread:
                    return None
                more = b"\n"
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        self.seen.append(line.decode())
        return self.seen[-1]


def zfut(base: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    running = Running([*COMMAND, *arguments], base, **variables)
    try:
        out, err = running.out.rest(), running.err.rest()
        return subprocess.CompletedProcess(
            arguments, running.code(), "\n".join(out), "\n".join(err)
        )
    finally:
        running.close()


@contextlib.contextmanager
def node(base: Path, *options: str, **variables: str) -> Iterator[Running]:
    """Have a node of two CPUs that is ready."""
    running = Running([*COMMAND, "start-node", "--num-cpus=2", *options], base, **variables)
    try:
        running.out.until("ready.")
        yield running
    finally:
        running.close()


@contextlib.contextmanager
def program(base: Path, code: str, **variables: str) -> Iterator[Running]:
    """Have a program that runs ``code``."""
    running = Running([sys.executable, "-uc", code], base, **variables)
    try:
        yield running
    finally:
        running.close()


def sessions(base: Path) -> list[str]:
    """Return the names of the session directories."""
    return sorted(entry.name for entry in base.iterdir() if entry.is_dir())


class Gate:
    """Where a task waits until the test lets it go on."""

    def __init__(self, directory: Path, name: str = "gate") -> None:
        self.path = directory / name
        os.mkfifo(self.path)

    def open(self) -> None:
        """Let who waits go on; fails if nobody ever comes."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                assert time.monotonic() < deadline, "nobody waits at the gate"
                time.sleep(0.005)
            else:
                return


def session_file(session: str, pid: int, started: float) -> places.SessionFile:
    return places.SessionFile(
        session=session,
        protocol=1,
        key="00",
        manager="00" * 16,
        manager_pid=pid,
        manager_started=started,
        root_pid=pid,
        root_started=started,
        driver_pid=0,
        arena=ArenaInfo("memfd", f"/proc/{pid}/fd/3", 4096),
        config={"drain_grace_ns": 0},
        embedded=False,
        zfut="0",
    )


def fabricate(base: Path, session: str, pid: int, started: float) -> Path:
    """Write the file of a session whose root and node manager are said to be ``pid``."""
    directory = base / session
    (directory / "s").mkdir(parents=True)
    places.write(directory, session_file(session, pid, started))
    return directory
