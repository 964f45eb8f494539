"""Lost values on real processes: made again, once each, or failed with the reason."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zfut
from zfut.errors import ReconstructionFailedError, UsageError
from zfut.testing import lose

pytestmark = pytest.mark.cluster

WAIT_S = 20


@zfut.remote
def grow(log: Path, name: str, *inputs: Any) -> Any:
    with log.open("a") as file:
        file.write(f"{name}\n")
    return sum(inputs) + np.ones(50_000)


def runs(log: Path) -> list[str]:
    return log.read_text().split()


def test_a_chain_is_made_again_by_the_calls_that_it_takes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = grow.remote(log, "a")
    second = grow.remote(log, "b", first)
    third = grow.remote(log, "c", second)
    assert zfut.get(third, timeout=WAIT_S)[0] == 3
    del second
    lose(third)
    assert zfut.get(third, timeout=WAIT_S)[0] == 3
    assert runs(log) == ["a", "b", "c", "b", "c"]


def test_what_waits_for_a_lost_value_gets_the_new_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    base = grow.remote(log, "base")
    zfut.wait([base], timeout=WAIT_S)
    lose(base)
    after = [grow.remote(log, f"after{n}", base) for n in range(3)]
    assert [a[0] for a in zfut.get(after, timeout=WAIT_S)] == [2, 2, 2]
    assert runs(log).count("base") == 2


def test_a_lost_put_and_a_lost_result_without_retries_say_so(tmp_path: Path) -> None:
    put = zfut.put(np.ones(50_000))
    lose(put)
    with pytest.raises(ReconstructionFailedError, match=r"\(put\)"):
        zfut.get(put, timeout=WAIT_S)
    once = grow.options(max_retries=0).remote(tmp_path / "log", "once")
    zfut.wait([once], timeout=WAIT_S)
    lose(once)
    with pytest.raises(ReconstructionFailedError):
        zfut.get(once, timeout=WAIT_S)


def test_a_worker_that_dies_while_it_makes_a_value_again_costs_another_try(
    tmp_path: Path,
) -> None:
    @zfut.remote
    def fragile(mark: Path) -> Any:
        count = len(list(mark.iterdir()))
        (mark / str(count)).touch()
        if count == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.full(50_000, 7.0)

    ref = fragile.remote(tmp_path)
    zfut.wait([ref], timeout=WAIT_S)
    lose(ref)
    assert zfut.get(ref, timeout=WAIT_S)[0] == 7
    assert len(list(tmp_path.iterdir())) == 3


def test_an_actors_result_is_made_again_only_if_its_calls_may_be() -> None:
    @zfut.remote
    class Source:
        def __init__(self) -> None:
            self.calls = 0

        def array(self) -> Any:
            self.calls += 1
            return np.full(50_000, float(self.calls))

    source = Source.remote()
    again = source.array.options(max_task_retries=1).remote()
    once = source.array.remote()
    zfut.wait([again, once], num_returns=2, timeout=WAIT_S)
    lose(again)
    lose(once)
    assert zfut.get(again, timeout=WAIT_S)[0] == 3
    with pytest.raises(ReconstructionFailedError):
        zfut.get(once, timeout=WAIT_S)


def test_only_what_lies_in_a_store_can_be_lost() -> None:
    with pytest.raises(UsageError, match="100 KiB"):
        lose(zfut.put(1))
