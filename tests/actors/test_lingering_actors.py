"""Actors that have ended while others use what they own: their processes stay, and nothing else."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path
from typing import Any

import pytest

import zfut
from tests.cluster.leftovers import alive, ended, until
from zfut.errors import ActorDiedError

pytestmark = pytest.mark.cluster


class Keeper:
    """Puts things, keeps things, and says in a file that it ends."""

    def __init__(self, log: Path | None = None) -> None:
        self.log = log
        self.me = self  # a cycle: the collector has to look for it
        self.kept: Any = None

    def put(self, value: object) -> list[zfut.ObjectRef[object]]:
        return [zfut.put(value)]

    def keep(self, thing: Any) -> int:
        self.kept = thing
        return os.getpid()

    def on_exit(self) -> None:
        if self.log is not None:
            with self.log.open("a") as file:
                file.write("on_exit\n")


class Soft(Keeper):
    """Has an event loop, and leaves a coroutine of its own behind in it."""

    async def begin(self) -> None:
        self.task = asyncio.create_task(self.stay())
        await asyncio.sleep(0)

    async def stay(self) -> None:
        await asyncio.Event().wait()


class Leaving(Keeper):
    """Wants its process to end when it has ended already."""

    def on_exit(self) -> None:
        super().on_exit()
        zfut.exit_actor()


KINDS: dict[str, Any] = {
    "plain": zfut.remote(Keeper),
    "threads": zfut.remote(max_concurrency=3)(Keeper),
    "coroutines": zfut.remote(Soft),
    "leaving": zfut.remote(Leaving),
}


def make(kind: str, log: Path | None = None) -> Any:
    actor = KINDS[kind].remote(log)
    if kind == "coroutines":
        zfut.get(actor.begin.remote())
    return actor


@pytest.mark.parametrize("kind", KINDS)
def test_actors_that_keep_each_others_puts_end(kind: str) -> None:
    a, b = make(kind), make(kind)
    x, y = zfut.get([a.put.remote(1), b.put.remote(2)])
    pids = zfut.get([a.keep.remote(y), b.keep.remote(x)])
    del a, b, x, y
    gc.collect()
    assert [ended(pid) for pid in pids] == [True, True]


@pytest.mark.parametrize("kind", KINDS)
def test_an_actor_that_keeps_a_value_with_its_own_put_in_it_ends(kind: str) -> None:
    a = make(kind)
    x = zfut.get(a.put.remote(1))
    pid = zfut.get(a.keep.remote([zfut.put(x)]))
    del a, x
    gc.collect()
    assert ended(pid)


@pytest.mark.parametrize("kind", KINDS)
def test_on_exit_is_called_once_and_what_was_put_stays(kind: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    a = make(kind, log)
    [x] = zfut.get(a.put.remote("value"))
    pid = zfut.get(a.keep.remote(None))
    del a
    until(log.exists, "on_exit is called")
    assert zfut.get(x, timeout=20) == "value"
    assert alive(pid)
    del x
    assert ended(pid)
    assert log.read_text() == "on_exit\n"


def test_on_exit_may_use_the_session_while_its_process_stays(tmp_path: Path) -> None:
    @zfut.remote
    def triple(n: int) -> int:
        return 3 * n

    @zfut.remote
    class Asking:
        def put(self) -> list[zfut.ObjectRef[int]]:
            return [zfut.put(7)]

        def on_exit(self) -> None:
            said = str(zfut.get(triple.remote(zfut.get(zfut.put(2)))))
            (tmp_path / "new").write_text(said)
            (tmp_path / "new").rename(tmp_path / "said")

    actor = Asking.remote()
    [x] = zfut.get(actor.put.remote())
    del actor
    until((tmp_path / "said").exists, "on_exit is done")
    assert (tmp_path / "said").read_text() == "6"
    assert zfut.get(x) == 7


def test_who_still_finds_an_actor_that_has_ended_is_told(tmp_path: Path) -> None:
    a = KINDS["plain"].options(name="ends").remote(tmp_path / "log")
    [x] = zfut.get(a.put.remote(1))
    found = zfut.get_actor("ends")
    del a
    until((tmp_path / "log").exists, "it has ended")
    with pytest.raises(ActorDiedError, match="last handle"):
        zfut.get(found.put.remote(2), timeout=20)
    assert zfut.get(x) == 1
