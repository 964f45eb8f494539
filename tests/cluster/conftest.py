"""A private directory for sessions, programs that use it, and proof that nothing is left."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cloudpickle
import pytest

import zfut
from tests.cluster.leftovers import Footprint, assert_unchanged, new_base
from tests.cluster.programs import Program


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for sessions; after the test nothing of any session is left."""
    made = new_base()
    monkeypatch.setenv("ZFUT_SESSION_DIR", str(made))
    before = Footprint.take(made)
    yield made
    gc.collect()
    assert_unchanged(before, made)
    shutil.rmtree(made)


@pytest.fixture
def session(base: Path, request: pytest.FixtureRequest) -> Iterator[zfut.Session]:
    """A session of 2 CPUs in the process of the test."""
    assert base.is_dir()
    cloudpickle.register_pickle_by_value(request.module)
    yield zfut.init(num_cpus=2)
    zfut.shutdown()
    cloudpickle.unregister_pickle_by_value(request.module)


@pytest.fixture
def run(base: Path, tmp_path: Path) -> Iterator[Callable[[str], Program]]:
    """Start programs whose sessions are in ``base``."""
    started: list[Program] = []

    def start(source: str) -> Program:
        started.append(Program(source, base, tmp_path / f"program{len(started)}.py"))
        return started[-1]

    yield start
    for program in started:
        program.close()
