"""The sessions of one user: which of them run, and a hold on their processes.

A pid alone names nobody: the kernel gives it away again.  A process is meant only if its start
time is the recorded one, and it is held by a pidfd before that is looked at, so that whatever
is done next reaches it or nobody.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path

import msgspec

from zfut.actors import places


class Found(msgspec.Struct, frozen=True):
    """A session that left its file."""

    directory: Path
    file: places.SessionFile

    @property
    def id(self) -> str:
        """The session's id."""
        return self.file.session

    def title(self) -> str:
        """Name the session for a person."""
        name = f" ({self.file.name})" if self.file.name else ""
        return f"session {self.id}{name}"

    def matches(self, wanted: str) -> bool:
        """Whether ``wanted`` is the session's name, directory, or the beginning of its id."""
        return bool(wanted) and (
            self.id.startswith(wanted) or wanted in (self.file.name, str(self.directory))
        )

    def parties(self) -> list[tuple[int, float]]:
        """The root and the node manager: pid and start time. The session is what they are."""
        file = self.file
        return [(file.root_pid, file.root_started), (file.manager_pid, file.manager_started)]


def runs(pid: int, started: float) -> bool:
    """Whether the very process that was recorded runs, rather than waits to be reaped."""
    if not places.alive(pid, started):
        return False
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in ("Z", "X")


def running() -> list[Found]:
    """Return the sessions whose processes run, the newest first."""
    found = [Found(directory, file) for directory, file in places.sessions()]
    return [session for session in found if any(runs(*party) for party in session.parties())]


def grace_s(session: Found) -> float:
    """Return how long the session's node lets running work go on when it is told to stop."""
    return float(session.file.config.get("drain_grace_ns", 0)) / 1e9


def choose(sessions: list[Found], wanted: str) -> list[Found]:
    """Return those that ``wanted`` may mean; an exact id, name or directory means one."""
    exact = [
        session
        for session in sessions
        if wanted in (session.id, session.file.name, str(session.directory))
    ]
    return exact[:1] or [session for session in sessions if session.matches(wanted)]


class Held:
    """The root and the node manager of a session, held so that neither can be mistaken."""

    def __init__(self, session: Found) -> None:
        fds = [hold(pid, started) for pid, started in session.parties()]
        self._manager = fds[1]
        self._fds = [fd for fd in fds if fd is not None]

    def terminate(self) -> None:
        """Tell the node manager to stop, which takes the rest with it."""
        _send(self._manager, signal.SIGTERM)

    def kill(self) -> None:
        """End both at once; the workers end with their parent, the root."""
        for fd in self._fds:
            _send(fd, signal.SIGKILL)

    def wait(self, timeout_s: float) -> bool:
        """Wait until both have ended. Returns False if time ran out first."""
        deadline = time.monotonic() + timeout_s
        for fd in self._fds:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            left = max(0.0, deadline - time.monotonic())
            if not poll.poll(left * 1000):
                return False
        return True

    def close(self) -> None:
        """Let them go."""
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        self._manager = None


def _send(fd: int | None, number: int) -> None:
    if fd is not None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, number)


def hold(pid: int, started: float) -> int | None:
    """Return a pidfd of the very process that was recorded; None if it is gone."""
    if pid <= 0:
        return None
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    if runs(pid, started):
        return fd
    os.close(fd)
    return None
