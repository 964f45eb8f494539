"""Who kills workers, for how long, and what must be so when the killing has stopped."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import zfut
from tests.cluster.leftovers import DEADLINE_S, PAUSE_S, descendants
from tests.cluster.programs import Processes
from tests.cluster.test_leaks import settled
from zfut import explain

SECONDS = float(os.environ.get("ZFUT_CHAOS_SECONDS", "5"))
"""Programs go on for at least so long, in each test."""

RATE = 10.0
"""Kills in a second, on average."""

ANY_WORKER = 0.2
"""The part of the kills that may hit idle workers, which own things, too."""

WAIT_S = 60.0
"""No program of a few calls takes a tenth of this, however often it is killed."""


class Killer(threading.Thread):
    """Kills workers at random, ten a second: eight in ten of those that hold a lease."""

    def __init__(self, seed: int) -> None:
        super().__init__(name="killer")
        self._chance = random.Random(seed)  # noqa: S311
        self._ended = threading.Event()
        self._killed: set[str] = set()
        self._began = time.monotonic()
        self.seconds = 0.0
        self.busy: Counter[str] = Counter()
        """Kills of workers that held a lease, by what they ran."""
        self.facts: dict[str, Any] = {}
        """What a program says about its run."""

    @property
    def kills(self) -> int:
        return len(self._killed)

    def run(self) -> None:
        due = self._began
        while True:
            due += self._chance.uniform(0, 2 / RATE)
            while not self._ended.wait(max(0.0, due - time.monotonic())):
                if self._kill_one():
                    break
                due = time.monotonic() + PAUSE_S
            if self._ended.is_set():
                return

    def _kill_one(self) -> bool:
        workers = [
            worker
            for worker in zfut.nodes()[0]["workers"]
            if worker["uid"] not in self._killed
            and worker["state"] != "starting"  # none of which comes up: that is an error
        ]
        busy = [x for x in workers if x["state"] in ("lent", "blocked")]
        victims = workers if self._chance.random() < ANY_WORKER else busy
        if not victims:
            return False
        victim = self._chance.choice(victims)
        try:
            os.kill(victim["pid"], signal.SIGKILL)
        except ProcessLookupError:
            return False
        self._killed.add(victim["uid"])
        if victim in busy:
            self.busy[victim["runs"].partition("(")[0]] += 1
        return True

    def going(self, *, enough: bool) -> bool:
        """Whether a program goes on: for the time that was asked, and until it has ``enough``.

        Fails the test if that takes too long.
        """
        seconds = time.monotonic() - self._began
        assert seconds < SECONDS + 2 * WAIT_S, f"not enough after {seconds:.0f} s: {self}"
        return not (enough and seconds >= SECONDS and self.kills >= SECONDS * RATE / 2)

    def stop(self) -> None:
        self._ended.set()
        self.join(WAIT_S)
        assert not self.is_alive(), "the node does not answer"
        self.seconds = time.monotonic() - self._began

    def __str__(self) -> str:
        seconds = self.seconds or time.monotonic() - self._began
        return f"{self.kills} kills in {seconds:.1f} s, of these busy: {dict(self.busy)}"


@contextmanager
def killing(session: zfut.Session, base: Path, seed: int) -> Iterator[Killer]:
    """Kill while the block runs; assert that it was about as often as it should be.

    Then everything must be as it was: the block keeps no reference.
    """
    killer = Killer(seed)
    killer.start()
    try:
        yield killer
    finally:
        killer.stop()
    print(f"\n{killer}\n{killer.facts}")  # noqa: T201  for whoever runs it for a minute
    assert killer.kills >= killer.seconds * RATE / 2, str(killer)
    assert killer.busy.total() >= killer.kills / 2, str(killer)
    assert_quiet(session, base)


# ------------------------------------------------------------------ quiet


def assert_quiet(session: zfut.Session, base: Path) -> None:
    """Assert that the session is as it was before its first task; takes what it needs to be so.

    All references must be dropped.  At the end the whole store is taken in one piece, which
    nothing that is left anywhere in it would allow.
    """
    gc.collect()
    end = time.monotonic() + DEADLINE_S
    while (found := _left(session, base)) and time.monotonic() < end:
        time.sleep(PAUSE_S)
    assert not found, found
    capacity = zfut.nodes()[0]["memory"]["capacity"]
    whole = zfut.put(np.zeros(capacity - (1 << 20), dtype=np.uint8))
    del whole
    while (found := _left(session, base)) and time.monotonic() < end:
        time.sleep(PAUSE_S)
    assert not found, found


def _left(session: zfut.Session, base: Path) -> dict[str, Any]:
    """Return what is not as in a session that has done nothing yet."""
    node = zfut.nodes()[0]
    memory = node["memory"]
    apart = memory["capacity"] - memory["free"] - memory["lent"]
    processes = Processes(base)
    known = {processes.manager, *(worker["pid"] for worker in node["workers"])}
    found: dict[str, Any] = {
        "tables": settled(session),
        "workers": [worker for worker in node["workers"] if worker["state"] != "idle"],
        "waiting": [node["waiting"], node["waiting_for_memory"], node["names"]],
        "in use": {
            kind: (zfut.available_resources().get(kind), amount)
            for kind, amount in zfut.cluster_resources().items()
            if zfut.available_resources().get(kind) != amount
        },
        "neither free nor lent": {"bytes": apart, **memory} if apart else {},
        "processes": set(descendants(processes.root)) ^ known,
    }
    found["waiting"] = [one for one in found["waiting"] if one]
    if not any(found.values()):
        uids = [worker["uid"] for worker in node["workers"]]
        rows = {uid: explain.inventory(session, bytes.fromhex(uid)) for uid in uids}
        found["objects"] = {uid: known for uid, known in rows.items() if known != []}
    return {name: what for name, what in found.items() if what}
