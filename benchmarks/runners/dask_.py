"""Dask's distributed scheduler on one machine, without its dashboard."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.runners.main import main
from benchmarks.runners.system import WORKERS, Actor, Ref, Submit, TaskSystem, Value


class Dask(TaskSystem):
    """``distributed.LocalCluster`` with worker processes of one thread."""

    name = "dask"
    import_statement = "import distributed"
    share = 0.2
    cannot = {  # noqa: RUF012 - the base class declares it a Mapping
        "million": "takes half an hour, and no budget needs it",
        "hundred_actors": "its actors share the worker processes",
        "leak_cycles": "asked of zfut only",
    }

    def __init__(self) -> None:
        self._distributed: Any = importlib.import_module("distributed")
        self._cluster: Any = None
        self._client: Any = None

    def start(self) -> None:
        self._cluster = self._distributed.LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=50,
        )
        self._client = self._distributed.Client(self._cluster)

    def stop(self) -> None:
        self._client.close()
        self._cluster.close()

    def remote(self, function: Callable[..., object]) -> Submit:
        return partial(self._client.submit, function, pure=False)

    def get(self, refs: Ref) -> Value:
        if not isinstance(refs, list):
            return refs.result()
        if isinstance(refs[0], self._distributed.Future):
            return self._client.gather(refs)
        return [ref.result() for ref in refs]  # an actor's answers

    def put(self, value: Value) -> Ref:
        return self._client.scatter(value, hash=False)

    def wait_one(self, refs: list[Ref]) -> list[Ref]:
        done = self._distributed.wait(refs, return_when="FIRST_COMPLETED").done
        return [ref for ref in refs if ref not in done]

    def create(self, actor_class: type) -> Actor:
        return self._client.submit(actor_class, actor=True, pure=False).result()

    def method(self, actor: Actor, name: str) -> Submit:
        submit: Submit = getattr(actor, name)
        return submit

    def kill(self, actor: Actor) -> None:
        """Its actors go with the last reference to them."""


if __name__ == "__main__":
    main(Dask())
