"""A program's part in an inline session: all of the session."""

from __future__ import annotations

import itertools
import random

from msgspec.structs import replace

from zfut.actors.failures import WordedFailures
from zfut.actors.start import memory_available
from zfut.config import Config
from zfut.core.node.machine import NodeMachine
from zfut.core.owner.machine import OwnerMachine
from zfut.ids import MANAGER_SPAWN, TASK_UNITS, NodeUid, proc_uid
from zfut.inline.loop import InlineLoop
from zfut.inline.pump import NEVER_NS, Pump
from zfut.inline.session import InlineSession
from zfut.inline.threads import Threads, inside
from zfut.session import Session
from zfut.store import HeapStore, default_capacity_bytes

SEED = 1
"""Ids are drawn from this, so the same program runs the same way each time."""

DRIVER_SPAWN = 0x80000000
PAGE_BYTES = 4096


class InlineDriver:
    """Owns what an inline session is made of, and takes it down."""

    def __init__(self, resources: dict[str, float], config: Config) -> None:
        chance = random.Random(SEED)  # noqa: S311  names, not secrets
        node = NodeUid(chance.randbytes(8))
        config = replace(
            config,
            pipeline_ns=1,  # one call at a time is with a worker: they start in a fixed order
            worker_idle_ns=NEVER_NS,  # an idle virtual worker costs nothing
            pending_calls_max=0,  # calls run when somebody waits for them, not when one submits
            pending_args_max_bytes=0,
        )
        capacity = config.object_store_memory or default_capacity_bytes(int(memory_available()))
        capacity -= capacity % PAGE_BYTES
        self._store = HeapStore(capacity)
        self._pump = pump = Pump(self._store, config)
        spawns = itertools.count(1)
        manager = NodeMachine(
            proc_uid(node, MANAGER_SPAWN, chance.randbytes(4)),
            config,
            {kind: round(amount * TASK_UNITS) for kind, amount in resources.items()},
            capacity,
            lambda: proc_uid(node, next(spawns), chance.randbytes(4)),
        )
        pump.node = InlineLoop(manager.uid, manager, pump)
        pump.add(pump.node, "node")
        uid = proc_uid(node, DRIVER_SPAWN, chance.randbytes(4))
        owner = OwnerMachine(uid, manager.uid, config, WordedFailures())
        loop = InlineLoop(uid, owner, pump)
        self.session = pump.driver = InlineSession(loop, owner, self._store, config, pump)
        loop.context.run(inside.set, self.session)
        pump.threads = Threads(self.session)
        pump.add(loop, "driver")

    def find(self) -> Session:
        """Return the session of the virtual process whose code runs here."""
        return self._pump.threads.session()

    def close(self, *, keep_arrays: bool = True) -> None:  # noqa: ARG002  they always are
        """End the session and everything in it."""
        self.session.closed = self.session.closed or "it was shut down"
        self._pump.close()
        self._store.close()
