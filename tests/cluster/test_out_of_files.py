"""Processes that are out of file descriptors: they leave their session, and everybody is told."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

import zfut
from tests.cluster.leftovers import until
from tests.cluster.programs import Program
from zfut.errors import WorkerCrashedError

pytestmark = pytest.mark.cluster


def use_up_files() -> list[int]:
    """Open files until no more can be."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
    opened = []
    try:
        while True:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return opened


@pytest.mark.parametrize("spare", [0, 1])
@pytest.mark.parametrize("way", ["waits", "computes"])
@pytest.mark.usefixtures("session")
def test_a_task_that_is_out_of_files_ends_its_worker(way: str, spare: int) -> None:
    @zfut.remote
    def other() -> None:
        return

    @zfut.remote(max_retries=0)
    def greedy() -> None:
        opened = use_up_files()
        for fd in opened[:spare]:
            os.close(fd)
        ref = other.remote()
        while way == "computes":
            pass
        zfut.get(ref)

    with pytest.raises(WorkerCrashedError, match=r"greedy\(\).*ulimit -n"):
        zfut.get(greedy.remote(), timeout=20)
    assert zfut.get(other.remote(), timeout=20) is None
    until(lambda: zfut.available_resources() == zfut.cluster_resources(), "both CPUs are free")


def test_a_program_that_is_out_of_files_is_told_and_lives_on(
    run: Callable[[str], Program], base: Path
) -> None:
    assert base.is_dir()
    program = run("""
    import resource
    import cloudpickle  # while files can be opened

    @zfut.remote
    def same(value):
        return value

    def attempt(function, *args):
        try:
            say(function(*args))
        except zfut.errors.SessionError as error:
            say("SessionError", "ulimit -n" in str(error))

    zfut.init(num_cpus=2)
    zfut.nodes()  # who has a connection keeps it
    value = zfut.put(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    opened = []
    try:
        while True:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    ref = same.remote(2)
    attempt(zfut.get, ref)
    attempt(zfut.get, value)
    attempt(same.remote, 2)
    attempt(zfut.put, 3)
    for fd in opened:
        os.close(fd)
    zfut.shutdown()
    zfut.init(num_cpus=1)
    attempt(zfut.get, same.remote(4))
    """)
    assert program.lines(5) == ["SessionError True"] * 4 + ["4"], program.errors()
    assert program.wait() == 0
