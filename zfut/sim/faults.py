"""Faults: what goes wrong in a seed, and when.

Killed: a worker in any state, also one that is starting; a program, the only one too; the node
manager, which ends the session; whichever process takes a certain turn.  Paused: any process, the
node manager too.  Lost: a stored value that only its owner knows of.  A small store and slow
tasks are settings.

A seed has two sources of chance.  The first draws what seeds have always meant.  ``widen`` adds to
that from a source of its own, so a *plain* seed, without it, stays what it was when a test named it.
No connection of two living processes is cut: see docs/invariants.md.
"""

# ruff: noqa: PLR2004  chances are numbers
from __future__ import annotations

from random import Random
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from zfut.config import Config
from zfut.core.events import ValueLost, Woken
from zfut.core.node.machine import NodeMachine
from zfut.sim.cluster import Cluster, Setting
from zfut.sim.network import Latency
from zfut.sim.process import Process
from zfut.sim.values import Chances
from zfut.wire.specs import Stored


class Strikes(Struct):
    """How often what strikes.

    ``after_turns``: whoever takes one of these turns dies right after it.  ``program``: which one
    dies, ``leaves`` in peace with work under way, or ends the session with it because the node is
    ``embedded``.  ``node``: the node manager dies, or is told to stop.
    """

    kills: int = 0
    pauses: int = 0
    losses: int = 0
    driver_dies: bool = False
    within_ns: int = 50_000_000
    after_turns: tuple[int, ...] = ()
    program: int | None = None
    leaves: bool = False
    embedded: bool = False
    node: Literal["", "dies", "stops"] = ""
    moments: tuple[float, float] = (0.0, 0.0)  # of the program's end, and the node's


def draw_setting(rng: Random) -> tuple[Setting, Chances, Strikes]:
    """Return what kind of cluster, programs and faults a seed means."""
    capacity = rng.choice((1 << 30, 1 << 30, 1 << 30, 2 << 20))
    config = Config(
        extent_bytes=rng.choice((1 << 18, 1 << 20, 32 << 20)),
        workers_max=rng.choice((0, 0, 2, 4)),
        worker_idle_ns=rng.choice((60_000_000_000, 60_000_000_000, 30_000_000)),
        batch_max=rng.choice((256, 2)),
        starting_max=rng.choice((4, 1)),
        lease_requests_max=rng.choice((10, 2)),
        fate_share=rng.choice(("error", "error", "kill")),
    )
    setting = Setting(
        cpus=rng.choice((1, 2, 2, 4)),
        slots=10_000,
        drivers=rng.choice((1, 1, 2)),
        capacity=capacity,
        latency=rng.choice(_LATENCIES),
        preempt=rng.choice((0.0, 0.2, 0.6)),
        config=config,
    )
    chances = Chances(
        budget=rng.choice((6, 12, 24)),
        stored=rng.choice((0.0, 0.1, 0.4, 0.9)),
        raises=rng.choice((0.0, 0.1)),
        slow=rng.choice((0.0, 0.1, 0.3)),
        actors=rng.choice((0.0, 0.05, 0.1)),
        cancels=rng.choice((0.0, 0.05)),
        kills=rng.choice((0.0, 0.02)),
        exits=rng.choice((0.0, 0.0, 0.02)),
        retries=rng.choice((3, 1, -1)),
        restarts=rng.random() < 0.5,
        chains=rng.random() < 0.25,
    )
    if chances.exits:
        chances.retries = max(1, chances.retries)  # or a task that exits is tried for ever
    if chances.chains:
        chances.stored = 0.9
    strikes = Strikes()
    if rng.random() < 0.5:
        strikes.kills = rng.randrange(5)
        strikes.pauses = rng.randrange(3)
        strikes.driver_dies = setting.drivers > 1 and rng.random() < 0.3
        strikes.losses = rng.choice((0, 4, 30)) if chances.stored else 0
        strikes.within_ns = rng.choice((5_000_000, 50_000_000, 200_000_000))
    setting.config = replace(config, **_bounds(rng))
    return setting, chances, strikes


def _bounds(rng: Random) -> dict[str, int]:
    """Return bounds on unfinished calls; a look ahead, so that other draws stay as they are."""
    state = rng.getstate()
    calls = rng.choice((0, 0, 0, 0, 2, 5))
    size = rng.choice((0, 0, 0, 500))
    rng.setstate(state)
    return {"pending_calls_max": calls, "pending_args_max_bytes": size}


def widen(seed: int, setting: Setting, chances: Chances, strikes: Strikes) -> None:
    """Draw what a plain seed has not: from a source of its own, whatever the other one drew."""
    rng = Random(f"wide {seed}")  # noqa: S311  a seed is meant to be known
    if rng.random() < 0.25:
        limit = rng.choice((600, 1_500, 4_000))
        setting.config = replace(setting.config, lineage_max_bytes=limit)
    if rng.random() < 0.3:
        chances.flaky = rng.choice((0.1, 0.4))
    if rng.random() < 0.25:
        chances.max_calls = rng.choice((1, 2, 5))
    if rng.random() < 0.3:
        chances.names, chances.actors = rng.choice((0.2, 0.5)), 0.1
    if rng.random() < 0.25:
        chances.actors, chances.restarts, chances.kills = 0.1, True, 0.07 - chances.cancels
    strikes.moments = rng.random(), rng.random()
    if rng.random() < 0.3:
        count = rng.randrange(1, 4)
        last = rng.choice((30, 200, 800))
        strikes.after_turns = tuple(rng.randrange(1, last) for _ in range(count))
    if rng.random() < 0.25:
        strikes.program = rng.randrange(setting.drivers)
        strikes.leaves = rng.random() < 0.3
        strikes.embedded = strikes.program == 0 and rng.random() < 0.2
    if rng.random() < 0.1:
        strikes.node = rng.choice(("dies", "dies", "stops"))


_LATENCIES = (
    Latency(50_000, 0, 0.0),
    Latency(100_000, 3_000_000, 0.1),
    Latency(1_000_000, 0, 0.0),
    Latency(200_000, 40_000_000, 0.03),
)


class Faults:
    """Strikes a cluster as planned."""

    def __init__(self, cluster: Cluster, strikes: Strikes) -> None:
        self._cluster = cluster
        self._strikes = strikes

    def arm(self) -> None:
        """Put every fault on the calendar."""
        cluster, strikes = self._cluster, self._strikes
        span = strikes.within_ns
        for _ in range(strikes.kills):
            cluster.at(int(cluster.rng.random() * span), self._kill_worker)
        for _ in range(strikes.pauses):
            cluster.at(int(cluster.rng.random() * span), self._pause)
        for _ in range(strikes.losses):
            cluster.at(int(cluster.rng.random() * span), self._lose_value)
        if strikes.driver_dies:
            cluster.at(int(cluster.rng.random() * span), self._kill_driver)
        cluster.deaths.update(dict.fromkeys(strikes.after_turns))
        program, node = (int(moment * span) for moment in strikes.moments)
        if strikes.program is not None:
            cluster.at(program, self._end_program, cluster.drivers[strikes.program])
        if strikes.node:
            cluster.at(node, self._end_node)

    def _kill_worker(self) -> None:
        cluster = self._cluster
        workers = cluster.workers()
        if workers:
            victim = workers[cluster.rng.randrange(len(workers))]
            cluster.ghost.killed += 1
            cluster.kill(victim)

    def _kill_driver(self) -> None:
        cluster = self._cluster
        victim = cluster.drivers[-1]
        if victim.alive:
            cluster.ghost.killed += 1
            cluster.kill(victim, "the program ended")

    def _end_program(self, victim: Process) -> None:
        cluster = self._cluster
        if not victim.alive:
            return
        if self._strikes.leaves:
            cluster.farewell(victim)
            return
        cluster.ghost.killed += 1
        cluster.kill(victim, "the program ended")
        if self._strikes.embedded:  # its root ends with it, and everybody else with the root
            cluster.kill(cluster.node)

    def _end_node(self) -> None:
        cluster = self._cluster
        node = cluster.node
        if not node.alive:
            return
        if self._strikes.node == "dies":
            cluster.kill(node)
            return
        assert isinstance(node.machine, NodeMachine)
        node.machine.stop("it was told to stop (SIGTERM)")
        node.post(Woken())

    def _lose_value(self) -> None:
        """A stored value is gone; only one that no process but its owner knows of."""
        cluster = self._cluster
        owners = [p for p in cluster.processes.values() if p.alive and p is not cluster.node]
        owners = [process for process in owners if process.paused_until <= cluster.now]
        for process in owners:
            cluster.turn(process)
        found = [(process, name) for process in owners for name in self._unknown(process)]
        if found:
            wanted = [one for one in found if one[0].owner.rows[one[1]].made_by is not None]
            found = wanted or found
            process, object_id = found[cluster.rng.randrange(len(found))]
            value = process.owner.rows[object_id].value
            assert isinstance(value, Stored)
            cluster.ghost.lost[object_id] = None
            process.post(ValueLost(object_id, value.attempt))
            cluster.turn(process)

    def _unknown(self, process: Process) -> list[bytes]:
        """Stored values of a process that nobody else knows of, and nobody looks at."""
        others = [p for p in self._cluster.processes.values() if p.alive and p is not process]
        return [
            object_id
            for object_id, row in process.owner.rows.items()
            if isinstance(row.value, Stored)
            and row.owner is None
            and not (row.submitted or row.borrowers)
            and (object_id in process.uses or not row.local)  # else put for a call to come
            and not self._cluster.arena.is_looked_at(row.value.offset)
            and not any(
                object_id in other.owner.rows
                for other in others
                if other is not self._cluster.node
            )
        ]

    def _pause(self) -> None:
        cluster = self._cluster
        alive = [process for process in cluster.processes.values() if process.alive]
        if not alive:
            return
        victim = alive[cluster.rng.randrange(len(alive))]
        victim.paused_until = cluster.now + int(cluster.rng.random() * 100_000_000)
