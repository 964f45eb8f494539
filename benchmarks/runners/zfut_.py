"""zfut itself, through its public API."""

from __future__ import annotations

from collections.abc import Callable

import zfut
from benchmarks.runners.main import main
from benchmarks.runners.system import WORKERS, Actor, Ref, Submit, TaskSystem, Value


class Zfut(TaskSystem):
    """An embedded node."""

    name = "zfut"
    import_statement = "import zfut"

    def start(self) -> None:
        zfut.init(num_cpus=WORKERS)

    def stop(self) -> None:
        zfut.shutdown()

    def remote(self, function: Callable[..., object]) -> Submit:
        return zfut.remote(function).remote

    def get(self, refs: Ref) -> Value:
        return zfut.get(refs)

    def put(self, value: Value) -> Ref:
        return zfut.put(value)

    def wait_one(self, refs: list[Ref]) -> list[Ref]:
        _, rest = zfut.wait(refs)
        return list(rest)

    def create(self, actor_class: type) -> Actor:
        return zfut.remote(actor_class).remote()

    def method(self, actor: Actor, name: str) -> Submit:
        submit: Submit = getattr(actor, name).remote
        return submit

    def kill(self, actor: Actor) -> None:
        zfut.kill(actor)


if __name__ == "__main__":
    main(Zfut())
