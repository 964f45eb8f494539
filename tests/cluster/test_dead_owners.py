"""Memory of owners that died: kept while somebody reads it, and free when nobody does."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest

import zfut
from tests.cluster.leftovers import until
from zfut.api import current

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("session")]

COUNT = 200_000


@zfut.remote
class Maker:
    """Puts a value, and owns it."""

    def make(self, filled_with: float) -> tuple[list[Any], int]:
        self.ref = zfut.put(np.full(COUNT, filled_with))
        return [self.ref], os.getpid()


@zfut.remote
class Keeper:
    """Keeps what it is given."""

    def keep(self, values: Any) -> float:
        self.values = values
        return float(values.sum())

    def different(self) -> list[float]:
        return sorted(set(self.values.tolist()))


def test_a_value_of_a_dead_owner_that_was_handed_on_is_not_written_over() -> None:
    maker, keeper = Maker.remote(), Keeper.remote()
    (ref,), pid = zfut.get(maker.make.remote(7.0), timeout=20)
    assert zfut.get(ref, timeout=20)[0] == 7.0
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(zfut.errors.ActorError):
        zfut.get(maker.make.remote(0.0), timeout=20)
    assert zfut.get(keeper.keep.remote(ref), timeout=20) == 7.0 * COUNT
    del ref
    others = [zfut.put(np.full(COUNT, float(number))) for number in range(60)]
    assert zfut.get(keeper.different.remote(), timeout=20) == [7.0]
    del others


@zfut.remote
class Writer:
    """Returns large values, and says how many it keeps for others."""

    def write(self) -> Any:
        return np.zeros(COUNT)

    def kept(self) -> int:
        return len(current().owner.ledger.memory.written_for)


@zfut.remote
class Caller:
    """Owns what the writer writes for it."""

    def call(self, writer: Any) -> int:
        self.results = [writer.write.remote() for _ in range(5)]
        zfut.wait(self.results, num_returns=5)
        return os.getpid()


@pytest.mark.parametrize("end", ["killed", "out of scope"])
def test_what_was_written_for_a_dead_owner_is_free(end: str) -> None:
    writer, caller = Writer.remote(), Caller.remote()
    pid = zfut.get(caller.call.remote(writer), timeout=20)
    assert zfut.get(writer.kept.remote(), timeout=20) == 5
    if end == "killed":
        os.kill(pid, signal.SIGKILL)
    del caller
    until(lambda: not zfut.get(writer.kept.remote(), timeout=20), "it is the node's, or free")
