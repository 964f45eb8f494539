"""Workers are killed ten times a second while programs with known answers run.

``ZFUT_CHAOS_SECONDS=60`` runs it for a minute instead of a few seconds.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import zfut
from tests.cluster.leftovers import Footprint, assert_unchanged, new_base
from zfut.errors import ActorUnavailableError

pytestmark = pytest.mark.cluster

SECONDS = float(os.environ.get("ZFUT_CHAOS_SECONDS", "5"))
WAIT_S = 120
KIB, MIB = 1 << 10, 1 << 20


class Killer(threading.Thread):
    """Kills a worker that has work, ten times a second on average, until it is told to stop."""

    def __init__(self, seed: int) -> None:
        super().__init__(name="killer")
        self._chance = random.Random(seed)  # noqa: S311
        self._stop_now = threading.Event()
        self.kills = 0

    def run(self) -> None:
        while not self._stop_now.wait(self._chance.uniform(0, 0.2)):
            workers = zfut.nodes()[0]["workers"]
            busy = [
                worker["pid"] for worker in workers if worker["state"] in ("lent", "blocked")
            ]
            if busy:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._chance.choice(busy), signal.SIGKILL)
                    self.kills += 1

    def stop(self) -> None:
        self._stop_now.set()
        self.join()


@pytest.fixture
def killer() -> Iterator[Killer]:
    """Start a session of two CPUs and its killer; after it nothing is left."""
    base = new_base()
    before = Footprint.take(base)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZFUT_SESSION_DIR", str(base))
        zfut.init(num_cpus=2, object_store_memory=512 * MIB)
        made = Killer(7)
        made.start()
        yield made
        made.stop()
        zfut.shutdown()
        assert_unchanged(before, base)
    base.rmdir()


@zfut.remote(max_retries=-1)
def leaf(number: int) -> Any:
    time.sleep(number % 3 / 1000)
    return np.full((10, 100, 50_000)[number % 3], number)


@zfut.remote(max_retries=-1)
def tree(low: int, high: int) -> list[Any]:
    """Return references, so that every level owns what the level above adds up."""
    if high - low <= 4:
        return [leaf.remote(number) for number in range(low, high)]
    middle = (low + high) // 2
    return [tree.remote(low, middle), tree.remote(middle, high)]


@zfut.remote(max_retries=-1)
def total(low: int, high: int) -> int:
    """Add up a tree whose references it owns itself, or makes again."""
    if high - low <= 4:
        return sum(int(one[0]) for one in zfut.get([leaf.remote(n) for n in range(low, high)]))
    middle = (low + high) // 2
    return sum(zfut.get([total.remote(low, middle), total.remote(middle, high)]))


@zfut.remote(max_retries=-1)
def join(size: int, *parts: Any) -> Any:
    made = np.zeros(size, dtype=np.uint8)
    made[0] = sum(int(part[0]) for part in parts) % 251
    return made


@zfut.remote(max_restarts=-1, max_task_retries=-1)
class Adder:
    def __init__(self, start: int) -> None:
        self.sum = start

    def plus(self, value: Any) -> int:
        return self.sum + int(value[0])


def test_trees_and_their_references(killer: Killer) -> None:
    end = time.monotonic() + SECONDS
    chance = random.Random(1)  # noqa: S311
    rounds = 0
    while time.monotonic() < end or killer.kills < 5:
        count = chance.randint(20, 150)
        assert zfut.get(total.remote(0, count), timeout=WAIT_S) == count * (count - 1) // 2
        with contextlib.suppress(zfut.errors.OwnerDiedError, zfut.errors.ReferenceVoidError):
            level: list[Any] = zfut.get(tree.remote(0, 16), timeout=WAIT_S)
            while level and isinstance(level[0], zfut.ObjectRef):
                found = zfut.get(level, timeout=WAIT_S)
                level = (
                    [one for part in found for one in part] if type(found[0]) is list else found
                )
            assert sum(int(one[0]) for one in level) == 120
        rounds += 1
    assert rounds


@pytest.mark.usefixtures("killer")
def test_a_graph_of_two_thousand_objects() -> None:
    """Each object depends on earlier ones; sizes from 1 KiB to 20 MiB; the last ones are known."""
    chance = random.Random(2)  # noqa: S311
    sizes = [KIB] * 60 + [64 * KIB] * 25 + [200 * KIB] * 12 + [MIB] * 2 + [20 * MIB]
    values: list[int] = []
    refs: list[Any] = []
    window = 30
    for number in range(2000):
        ancestors = [number - 1 - n for n in (0, 7, 19) if number > n]
        values.append((sum(values[at] for at in ancestors) + (not ancestors)) % 251)
        size = 20 * MIB if number % 400 == 399 else chance.choice(sizes[:-1])
        parts = [refs[at] for at in ancestors] or [np.ones(1, dtype=np.uint8)]
        refs.append(join.remote(size, *parts))
        if number >= window:
            refs[number - window] = None
        if number % 50 == 49:
            assert zfut.get(refs[number], timeout=WAIT_S)[0] == values[number]
    assert zfut.get(refs[-1], timeout=WAIT_S)[0] == values[-1]


def test_actors_that_live_again(killer: Killer) -> None:
    end = time.monotonic() + SECONDS
    actors = [Adder.remote(start) for start in range(3)]
    rounds = 0
    while time.monotonic() < end or killer.kills < 5:
        calls = [actor.plus.remote(leaf.remote(n)) for actor in actors for n in range(10)]
        right = [start + n for start in range(3) for n in range(10)]
        assert zfut.get(calls, timeout=WAIT_S) == right
        rounds += 1
    once = actors[0].plus.options(max_task_retries=0)
    with contextlib.suppress(ActorUnavailableError):
        assert zfut.get(once.remote(leaf.remote(1)), timeout=WAIT_S) == 1
    assert rounds
