"""Where the microseconds of one small task go, on both sides, without sockets.

Run it as ``python -m benchmarks.path``.

Runs the production machines, codec and serialiser in one process, one task at a time, and times
each step.  What a real call costs beyond the sum is ZeroMQ, the kernel and waking threads.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from zfut.actors.failures import WordedFailures
from zfut.config import Config
from zfut.core import effects as f
from zfut.core import events as e
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.records import Task, Template
from zfut.core.worker import WorkerMachine
from zfut.wire import codec, serialize
from zfut.wire import messages as m
from zfut.wire.specs import Inline, TaskResult

NODE, DRIVER, WORKER = b"n" * 16, b"n" * 8 + b"d" * 8, b"n" * 8 + b"w" * 8
FIRST = b"\0\0\0\1"
TASKS = 20_000
DEMAND = (("CPU", 10_000),)


class Path:
    """One owner, one worker, and the time each step took."""

    def __init__(self) -> None:
        self.owner = OwnerMachine(DRIVER, NODE, Config(), WordedFailures())
        self.worker = WorkerMachine(WORKER, NODE, Config(), WordedFailures())
        self.template = Template(b"f" * 16, "f", b"code", DEMAND)
        self.spent: dict[str, float] = {}

    def timed(self, step: str, function: Callable[..., Any], *args: Any) -> Any:
        """Run one step and book its time."""
        began = time.perf_counter()
        result = function(*args)
        self.spent[step] = self.spent.get(step, 0.0) + time.perf_counter() - began
        return result

    def lease(self, effects: list[f.Effect]) -> list[f.Effect]:
        """Play the node manager: grant what is asked for."""
        for effect in effects:
            if isinstance(effect, f.Send) and isinstance(effect.message, m.RequestLease):
                granted = m.LeaseGranted(effect.message.lease_id, WORKER, 1)
                self.owner.handle(e.Received(NODE, granted), 0)
                self.worker.handle(e.Received(NODE, m.Bind(1, 1, DRIVER, DEMAND)), 0)
                return self.owner.settle(0)
        return effects

    def run_one(self, number: int) -> None:
        """Take one task from its arguments to its value."""
        timed, owner, worker = self.timed, self.owner, self.worker
        packed = timed("driver: pack arguments", serialize.pack_call, (number,), {}, "f")
        name = DRIVER + number.to_bytes(8, "big")
        task = Task(name, self.template, packed.to_bytes(), packed.encoding, 1)
        timed("driver: own the result", owner.handle, task, 0)
        wanted = e.AwaitObjects(number, (name + FIRST,), 1, fail_fast=True)
        timed("driver: wait for it", owner.handle, wanted, 0)
        effects = self.lease(timed("driver: choose a lease, push", owner.settle, 0))
        push = _sent(effects, m.PushTasks)
        header = timed("driver: encode", codec.encode, push.message)
        message = timed("worker: decode", codec.decode_to_worker, header)
        arrived = e.Received(DRIVER, message, codec.join(push.payload))
        timed("worker: queue", worker.handle, arrived, 0)
        timed("worker: settle", worker.settle, 0)
        call = timed("worker: take", worker.executor.take)
        args, _ = timed(
            "worker: open arguments", serialize.unpack, call.spec.encoding, call.args
        )
        value = timed("worker: pack the result", serialize.pack, args[0])
        spec = Inline(value.size_bytes, value.encoding)
        result = TaskResult(call.spec.task_id, 0, 0, (spec,), 1_000)
        returned = e.Returned(result, (value.to_bytes(),))
        timed("worker: answer", worker.handle, returned, 0)
        effects = timed("worker: gather answers", worker.settle, 0)
        done = _sent(effects, m.TasksFinished)
        header = timed("worker: encode", codec.encode, done.message)
        message = timed("driver: decode", codec.decode_to_owner, header)
        arrived = e.Received(WORKER, message, codec.join(done.payload))
        timed("driver: record the result", owner.handle, arrived, 0)
        timed("driver: settle", owner.settle, 0)
        row = owner.rows[name + FIRST]
        timed("driver: open the value", serialize.unpack, row.encoding, row.value)
        timed("driver: drop the reference", owner.handle, name + FIRST, 0)
        owner.settle(0)


def _sent(effects: list[f.Effect], kind: type[m.Message]) -> f.Send:
    for effect in effects:
        if isinstance(effect, f.Send) and isinstance(effect.message, kind):
            return effect
    raise AssertionError(kind)


def main() -> None:
    """Print a Markdown table."""
    path = Path()
    path.run_one(1)
    path.spent.clear()
    for number in range(2, TASKS + 2):
        path.run_one(number)
    print = sys.stdout.write  # noqa: A001  a script that prints
    print("| step | µs |\n|---|---|\n")
    for step, seconds in path.spent.items():
        print(f"| {step} | {seconds / TASKS * 1e6:.2f} |\n")
    print(f"| sum | {sum(path.spent.values()) / TASKS * 1e6:.1f} |\n")


if __name__ == "__main__":
    main()
