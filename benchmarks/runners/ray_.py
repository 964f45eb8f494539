"""Ray on one node, without its dashboard."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable
from typing import Any

from benchmarks.runners.main import main
from benchmarks.runners.system import WORKERS, Actor, Ref, Submit, TaskSystem, Value


class Ray(TaskSystem):
    """``ray``, version 2."""

    name = "ray"
    import_statement = "import ray"
    share = 0.5
    cannot = {  # noqa: RUF012 - the base class declares it a Mapping
        "million": "takes minutes, and no budget needs it",
        "hundred_actors": "takes a hundred heavy processes, and no budget needs it",
        "leak_cycles": "asked of zfut only",
    }

    def __init__(self) -> None:
        self._ray: Any = importlib.import_module("ray")

    def start(self) -> None:
        self._ray.init(
            address="local",
            num_cpus=WORKERS,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=os.environ["RAY_TMPDIR"],
        )

    def stop(self) -> None:
        self._ray.shutdown()

    def remote(self, function: Callable[..., object]) -> Submit:
        submit: Submit = self._ray.remote(function).remote
        return submit

    def get(self, refs: Ref) -> Value:
        return self._ray.get(refs)

    def put(self, value: Value) -> Ref:
        return self._ray.put(value)

    def wait_one(self, refs: list[Ref]) -> list[Ref]:
        _, rest = self._ray.wait(refs)
        return list(rest)

    def create(self, actor_class: type) -> Actor:
        return self._ray.remote(actor_class).remote()

    def method(self, actor: Actor, name: str) -> Submit:
        submit: Submit = getattr(actor, name).remote
        return submit

    def kill(self, actor: Actor) -> None:
        self._ray.kill(actor)


if __name__ == "__main__":
    main(Ray())
