"""What a session may not leave behind, and how a test waits for something: with a deadline.

A footprint is everything of this process and of its session directory that outlives a session
if something is wrong: descriptors, threads, children, files, shared memory.
"""

from __future__ import annotations

import os
import select
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")

DEADLINE_S = 15.0
"""Nothing here takes a tenth of this; a machine with other work may be that much slower."""

PAUSE_S = 0.005
STANDARD_ERROR = 2


def until(condition: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
    """Return the first true value of ``condition``; fail the test if none comes in time."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {deadline_s:g} s: {what}"
        time.sleep(PAUSE_S)


def ended(pid: int, deadline_s: float = DEADLINE_S) -> bool:
    """Wait for a process to end. Returns False if it outlives the deadline."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], deadline_s)[0])
    finally:
        os.close(fd)


def alive(pid: int) -> bool:
    """Whether the process runs; one that is dead and not yet collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def descendants(pid: int) -> list[int]:
    """Return the children of a process, and theirs."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def new_base() -> Path:
    """Make a directory for sessions; its path is short, as sockets want it."""
    return Path(tempfile.mkdtemp(prefix="zt-"))


@dataclass(frozen=True)
class Footprint:
    """What is there now."""

    descriptors: Counter[str]
    threads: int
    children: tuple[int, ...]
    sessions: tuple[str, ...]
    shared: tuple[str, ...]

    @classmethod
    def take(cls, base: Path) -> Footprint:
        """Look."""
        me = psutil.Process()
        return cls(
            _descriptors(),
            me.num_threads(),
            tuple(sorted(child.pid for child in me.children(recursive=True))),
            tuple(sorted(entry.name for entry in base.iterdir())),
            tuple(sorted(f.name for f in Path("/dev/shm").glob("*zfut*"))),  # noqa: S108
        )

    def beyond(self, before: Footprint) -> dict[str, tuple[object, object]]:
        """Return what differs: before, and now."""
        return {
            name: (getattr(before, name), getattr(self, name))
            for name in self.__dataclass_fields__
            if getattr(before, name) != getattr(self, name)
        }


def _descriptors() -> Counter[str]:
    found: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        if int(entry.name) <= STANDARD_ERROR:
            continue  # pytest moves these about
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        kind, colon, _ = target.partition(":")
        found[kind if colon else target] += 1
    return found


def assert_unchanged(before: Footprint, base: Path) -> None:
    """Assert that nothing is left; what the kernel still takes down gets a moment."""
    end = time.monotonic() + DEADLINE_S
    while (now := Footprint.take(base)) != before and time.monotonic() < end:
        time.sleep(PAUSE_S)
    assert now == before, f"left behind: {now.beyond(before)}"
