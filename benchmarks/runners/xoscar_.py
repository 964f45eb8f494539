"""xoscar on one machine: actors only, and only from coroutines.

Its actors live several to a process, so creating one starts none. Driven inside its own
event loop, since entering a loop for each call would be charged to it.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Awaitable
from typing import Any

from benchmarks.runners.calls import WARM_CALLS
from benchmarks.runners.clock import NS_PER_S, latency
from benchmarks.runners.main import main
from benchmarks.runners.system import WORKERS, Figures, System
from benchmarks.workloads import WORKLOADS

_MEASURED = ("start_stop", "idle", "import_time")


class Xoscar(System):
    """An actor pool of a main process, this one, and two others."""

    name = "xoscar"
    import_statement = "import xoscar"
    share = 0.5

    def __init__(self) -> None:
        self._xoscar: Any = importlib.import_module("xoscar")
        self._actors: Any = importlib.import_module("benchmarks.runners.xoscar_actors")
        self._loop = asyncio.new_event_loop()
        self._pool: Any = None
        self._uid = 0
        self.own = {
            "actor_latency": lambda _, count: self._run(self._latency(count)),
            "actor_pipelined": lambda _, count: self._run(
                self._pipelined(self._actors.Counter, count)
            ),
            "actor_pipelined_async": lambda _, count: self._run(
                self._pipelined(self._actors.AsyncCounter, count)
            ),
            "actors_created": lambda _, count: self._run(self._created(count)),
        }
        self.cannot = {
            **dict.fromkeys(WORKLOADS, "xoscar has actors only"),
            "hundred_actors": "its actors share the worker processes",
            "leak_cycles": "asked of zfut only",
        }
        for measured in (*self.own, *_MEASURED):
            del self.cannot[measured]

    def start(self) -> None:
        self._pool = self._run(self._xoscar.create_actor_pool("127.0.0.1", n_process=WORKERS))

    def stop(self) -> None:
        self._run(self._pool.stop())

    def first_result(self) -> None:
        self._run(self._first_result())

    def idle(self, seconds: float) -> None:
        self._run(asyncio.sleep(seconds))

    def _run(self, work: Awaitable[Any]) -> Any:
        return self._loop.run_until_complete(work)

    async def _create(self, actor_class: type) -> Any:
        self._uid += 1
        strategy = self._xoscar.allocate_strategy.RandomSubPool()
        return await self._xoscar.create_actor(
            actor_class,
            address=self._pool.external_address,
            uid=f"actor-{self._uid}",
            allocate_strategy=strategy,
        )

    async def _first_result(self) -> None:
        assert await (await self._create(self._actors.Counter)).add(1) == 1

    async def _latency(self, count: int) -> Figures:
        actor = await self._create(self._actors.Counter)
        times_ns = []
        for _ in range(WARM_CALLS + count):
            start = time.perf_counter_ns()
            await actor.add(1)
            times_ns.append(time.perf_counter_ns() - start)
        return latency(times_ns[WARM_CALLS:])

    async def _pipelined(self, actor_class: type, count: int) -> Figures:
        actor = await self._create(actor_class)
        await asyncio.gather(*[actor.add(0) for _ in range(WARM_CALLS)])
        start = time.perf_counter_ns()
        answers = await asyncio.gather(*[actor.add(1) for _ in range(count)])
        took_s = (time.perf_counter_ns() - start) / NS_PER_S
        assert max(answers) == count
        return {"rate": count / took_s}

    async def _created(self, count: int) -> Figures:
        start = time.perf_counter_ns()
        actors = await asyncio.gather(
            *[self._create(self._actors.Counter) for _ in range(count)]
        )
        answers = await asyncio.gather(*[actor.add(1) for actor in actors])
        took_s = (time.perf_counter_ns() - start) / NS_PER_S
        assert answers == [1] * count
        return {"rate": count / took_s}


if __name__ == "__main__":
    main(Xoscar())
