"""A session for one run of an experiment, in a place of its own, of which nothing is left.

The session's processes bear a mark in their environment. When the session has ended they must be
gone, and its directory empty: what is left is named in an error, and ended.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zfut
from benchmarks import processes
from benchmarks.paper.experiment import WORKERS
from benchmarks.sandbox import sandbox

LEAVE_S = 10.0
END_S = 3.0


class LeftBehindError(RuntimeError):
    """A session has ended, and something of it is still there."""


@dataclass(frozen=True, slots=True)
class Running:
    """A session that runs, and a directory for files of the run."""

    session: zfut.Session
    files: Path


@contextlib.contextmanager
def running(*, num_cpus: int = WORKERS, **limits: Any) -> Iterator[Running]:
    """Start a session; end it and look that nothing is left.

    Raises LeftBehindError if its processes outlive it, or its directory does.
    """
    with sandbox() as given:
        place = Path(given["TMPDIR"])
        sessions, files = place / "s", place / "files"
        sessions.mkdir(mode=0o700)
        files.mkdir()
        with _environment({**given, "ZFUT_SESSION_DIR": str(sessions)}):
            try:
                session = zfut.init("local", mode="processes", num_cpus=num_cpus, **limits)
                yield Running(session, files)
            finally:
                zfut.shutdown()
        _look_for_leftovers(given[processes.MARK], sessions)


@contextlib.contextmanager
def _environment(given: dict[str, str]) -> Iterator[None]:
    """Have these variables, and none of the user's own for zfut, for a while."""
    before = dict(os.environ)
    for name in before:
        if name.startswith("ZFUT_"):
            del os.environ[name]
    os.environ.update(given)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _look_for_leftovers(mark: str, sessions: Path) -> None:
    """Take processes by the mark alone: this one has other children, of other owners."""
    left = processes.run_of(0, mark)
    if left and not processes.gone_within(left, LEAVE_S):
        left = processes.run_of(0, mark)
        names = "; ".join(f"{pid} {processes.command(pid)}" for pid in left)
        processes.end(left, END_S)
        raise LeftBehindError(f"processes outlived their session, and were ended: {names}")
    files = sorted(entry.name for entry in sessions.iterdir())
    if files:
        raise LeftBehindError(f"the session left {', '.join(files)} in its directory")
