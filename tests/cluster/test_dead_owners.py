"""Memory of owners that died: kept while somebody reads it, and free when nobody does."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
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

    def lend(self, filled_with: float) -> tuple[list[Any], int]:
        return [zfut.put(np.full(COUNT, filled_with))], os.getpid()


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


class Slow:
    """Its unpickling says that it has begun, and goes on when it may."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        (self.directory / "opens").touch()
        until((self.directory / "go on").exists, "the caller is dead")


@zfut.remote
class Reader:
    """Reads what is inside its argument."""

    def read(self, _: Slow, inside: list[Any]) -> None:
        self.sum = float(zfut.get(inside[0], timeout=20).sum())

    def saw(self) -> float:
        return self.sum

    def opened(self) -> bool:
        return True


@zfut.remote(max_retries=0)
def call(inside: list[Any], reader: Any, directory: Path) -> None:
    reader.read.remote(Slow(directory), inside)
    (directory / "pid.tmp").write_text(str(os.getpid()))
    (directory / "pid.tmp").rename(directory / "pid")
    threading.Event().wait()


def test_references_in_arguments_that_a_dead_caller_sent_wait_until_they_are_open(
    tmp_path: Path,
) -> None:
    maker, reader = Maker.remote(), Reader.remote()
    zfut.get([maker.make.remote(0.0), reader.opened.remote()], timeout=20)
    inside, _ = zfut.get(maker.lend.remote(7.0), timeout=20)
    caller = call.remote(inside, reader, tmp_path)
    del inside
    until((tmp_path / "pid").exists, "the call has been made")
    until((tmp_path / "opens").exists, "its arguments are being opened")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    with pytest.raises(zfut.errors.WorkerCrashedError):
        zfut.get(caller, timeout=20)
    for number in range(
        20
    ):  # who would let go of the value has the time to, and writes over it
        zfut.get(maker.make.remote(float(number)), timeout=20)
    (tmp_path / "go on").touch()
    assert zfut.get(reader.saw.remote(), timeout=20) == 7.0 * COUNT
