"""References that a call used or returned before it ran again: none of them is left over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zfut
from tests.cluster.leftovers import until
from zfut.explain import inventory
from zfut.session import current
from zfut.testing import lose

pytestmark = pytest.mark.cluster

WAIT_S = 20


class FlakyError(Exception):
    pass


def note_try(log: Path) -> int:
    """Note one more run. Returns how many there were."""
    with log.open("a") as file:
        file.write("x")
    return log.stat().st_size


def nothing_is_left() -> bool:
    """Whether every worker says that it owns and borrows nothing."""
    session = current()
    return all(
        inventory(session, bytes.fromhex(worker["uid"])) == []
        for worker in zfut.nodes()[0]["workers"]
    )


@zfut.remote(max_retries=3, retry_exceptions=True)
def flaky(log: Path, good_at: int, boxed: list[Any]) -> Any:
    mine = [zfut.put(np.ones(50_000)), zfut.put("small"), boxed[0]]
    assert zfut.get(boxed[0]) == "lent"
    if note_try(log) < good_at:
        message = "after it had put and borrowed"
        raise FlakyError(message)
    return mine


@pytest.mark.parametrize("good_at", [3, 99], ids=["the third is good", "all fail"])
def test_references_of_every_try_are_let_go(tmp_path: Path, good_at: int) -> None:
    lent = zfut.put("lent")
    ref = flaky.remote(tmp_path / "log", good_at, [lent])
    if good_at == 99:
        with pytest.raises(FlakyError):
            zfut.get(ref, timeout=WAIT_S)
        assert len((tmp_path / "log").read_text()) == 4
    else:
        large, small, same = zfut.get(ref, timeout=WAIT_S)
        assert zfut.get([small, same], timeout=WAIT_S) == ["small", "lent"]
        assert zfut.get(large, timeout=WAIT_S).sum() == 50_000
        del large, small, same
    del ref, lent
    until(nothing_is_left, "no worker keeps anything of any try")


def test_a_value_with_references_that_is_made_again_leaves_those_of_the_first_run() -> None:
    @zfut.remote
    def boxes() -> Any:
        return [np.ones(50_000), zfut.put("inner"), zfut.put(np.zeros(50_000))]

    ref = boxes.remote()
    zfut.wait([ref], timeout=WAIT_S)
    for _ in range(2):
        lose(ref)
        filled, inner, large = zfut.get(ref, timeout=WAIT_S)
        assert filled.sum() == 50_000
        assert zfut.get(inner, timeout=WAIT_S) == "inner"
        assert zfut.get(large, timeout=WAIT_S).sum() == 0
        del filled, inner, large
    del ref
    until(nothing_is_left, "no worker keeps what any run put")
