"""The standard library's process pool: tasks only, no references, no actors, no store."""

from __future__ import annotations

import concurrent.futures as cf
from collections.abc import Callable
from functools import partial

from benchmarks.runners.main import main
from benchmarks.runners.system import WORKERS, Ref, Submit, TaskSystem, Value

_NO_ACTORS = "a process pool has no actors"
_NO_REFERENCES = "a process pool has no references"


class ProcessPool(TaskSystem):
    """``concurrent.futures.ProcessPoolExecutor``."""

    name = "futures"
    import_statement = "from concurrent.futures import ProcessPoolExecutor"
    cannot = {  # noqa: RUF012 - the base class declares it a Mapping
        **dict.fromkeys(
            ("actor_latency", "actor_pipelined", "actor_pipelined_async"), _NO_ACTORS
        ),
        **dict.fromkeys(("actors_created", "hundred_actors"), _NO_ACTORS),
        **dict.fromkeys(("chain", "many_references", "by_reference"), _NO_REFERENCES),
        **dict.fromkeys(("put_1kib", "put_1mib", "put_100mib"), _NO_REFERENCES),
        "worker_killed": "a process pool is broken when a worker dies",
        "get_100mib": "a process pool has no store: its wait copies, its get does nothing",
        "million": "takes minutes, and no budget needs it",
        "leak_cycles": "asked of zfut only",
    }

    def start(self) -> None:
        self._pool = cf.ProcessPoolExecutor(WORKERS)

    def stop(self) -> None:
        self._pool.shutdown()

    def remote(self, function: Callable[..., object]) -> Submit:
        return partial(self._pool.submit, function)

    def get(self, refs: Ref) -> Value:
        if isinstance(refs, list):
            return [ref.result() for ref in refs]
        return refs.result()

    def wait_one(self, refs: list[Ref]) -> list[Ref]:
        done = cf.wait(refs, return_when=cf.FIRST_COMPLETED).done
        return [ref for ref in refs if ref not in done]


if __name__ == "__main__":
    main(ProcessPool())
