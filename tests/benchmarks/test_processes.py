"""The benchmark finds every process of a run, orphans too, and ends those and no others."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from benchmarks import processes

WAIT_S = 10.0


@pytest.fixture
def orphan() -> Iterator[tuple[int, str]]:
    """A process whose parent is gone, and the mark it bears."""
    mark = uuid.uuid4().hex
    done = subprocess.run(
        ["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"],  # noqa: S607
        env=os.environ | {processes.MARK: mark},
        capture_output=True,
        text=True,
        check=True,
    )
    pid = int(done.stdout)
    yield pid, mark
    processes.end([pid], WAIT_S)


def test_an_orphan_is_found_by_its_mark(orphan: tuple[int, str]) -> None:
    pid, mark = orphan
    assert pid in processes.run_of(os.getpid(), mark)
    assert pid not in processes.run_of(os.getpid(), uuid.uuid4().hex)


def test_a_child_is_found_by_descent_and_measured() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:  # noqa: S607
        try:
            assert child.pid in processes.run_of(os.getpid(), "no such mark")
            assert processes.pss_bytes([child.pid]) > 0
            assert processes.cpu_ns([os.getpid()]) > 0
        finally:
            child.kill()


def test_what_is_ended_is_gone_and_the_rest_lives(orphan: tuple[int, str]) -> None:
    pid, mark = orphan
    with subprocess.Popen(["sleep", "60"]) as other:  # noqa: S607
        try:
            processes.end([pid], WAIT_S)
            assert pid not in processes.run_of(os.getpid(), mark)
            assert other.poll() is None
        finally:
            other.kill()


def test_a_process_that_lives_on_is_not_gone(orphan: tuple[int, str]) -> None:
    pid, _ = orphan
    assert not processes.gone_within([pid], 0.0)
