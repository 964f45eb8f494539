"""A seed is one history: the same events whatever else is different."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from zfut.sim.run import run_seed
from zfut.sim.transcript import last_lines

PRINT = """
from zfut.sim.run import run_seed
from zfut.sim.transcript import last_lines
for seed in {seeds}:
    print("\\n".join(last_lines(run_seed(seed).cluster, 100_000)))
"""
SEEDS = [3, 21, 60]


def transcript(hash_seed: str) -> str:
    done = subprocess.run(  # noqa: S603  this very interpreter
        [sys.executable, "-c", PRINT.format(seeds=SEEDS)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_hash_seeds_do_not_matter() -> None:
    first = transcript("1")
    assert first.count("\n") > 300
    assert first == transcript("2")


@pytest.mark.parametrize("seed", SEEDS)
def test_what_ran_before_does_not_matter(seed: int) -> None:
    alone = last_lines(run_seed(seed).cluster, 100_000)
    run_seed(seed + 1)
    assert last_lines(run_seed(seed).cluster, 100_000) == alone
    assert last_lines(run_seed(seed + 1).cluster, 100_000) != alone
