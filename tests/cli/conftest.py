"""A private directory for sessions, and proof that a test left nothing in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import sessions
from tests.cluster.leftovers import new_base, until


@pytest.fixture
def base() -> Iterator[Path]:
    """Where sessions live; none is left there, and no shared memory, when the test ends."""
    shared = Path("/dev/shm")  # noqa: S108  looked at, not written
    before = sorted(shared.glob("zfut-*"))
    base = new_base()
    yield base
    until(lambda: not sessions(base), "every session directory is removed")
    assert sorted(shared.glob("zfut-*")) == before
    shutil.rmtree(base)


@pytest.fixture
def bystander() -> Iterator[int]:
    """A process of this user that has nothing to do with any session."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.kill()
    process.communicate()
