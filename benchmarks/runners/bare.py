"""The bare loops: what sockets and memory of this machine can do without a runtime.

Calls are the ZeroMQ echo of ``bare_echo``; a put is a copy into shared pages that this process
has touched before; an import is that of the libraries zfut cannot do without.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.runners.bare_echo import Caller
from benchmarks.runners.calls import WARM_CALLS
from benchmarks.runners.clock import each_ns, latency, seconds
from benchmarks.runners.functions import MIB
from benchmarks.runners.main import main
from benchmarks.runners.system import Figures, System
from benchmarks.runners.values import LARGE_BYTES, WARM_PUTS
from benchmarks.workloads import WORKLOADS


class Bare(System):
    """Nothing to start: each loop is whole in itself."""

    name = "bare"
    import_statement = "import zmq, msgspec"

    def __init__(self) -> None:
        self.own = {
            "task_latency": echo_latency,
            "actor_latency": echo_latency,
            "tasks_pipelined": echo_pipelined,
            "actor_pipelined": echo_pipelined,
            "put_1mib": copy_1mib,
            "put_100mib": copy_100mib,
        }
        reason = "no bare loop stands for this"
        self.cannot = dict.fromkeys(WORKLOADS.keys() - self.own.keys(), reason)
        del self.cannot["import_time"]

    def start(self) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""

    def first_result(self) -> None:
        """Nothing."""


def echo_latency(_: System, count: int) -> Figures:
    """One call, one answer, and again."""
    with _caller() as caller:
        return latency(each_ns(lambda: caller.call(1), WARM_CALLS + count)[WARM_CALLS:])


def echo_pipelined(_: System, count: int) -> Figures:
    """All calls, packed, then all answers."""
    answers: list[int] = []
    with _caller() as caller:
        caller.call_many(WARM_CALLS)
        took_s = seconds(lambda: answers.extend(caller.call_many(count)))
    assert answers == list(range(1, count + 1))
    return {"rate": count / took_s}


def copy_1mib(_: System, count: int) -> Figures:
    """Copies of 1 MiB a second."""
    with _warm_copy(MIB) as copy:
        return {"rate": count / seconds(lambda: [copy() for _ in range(count)])}


def copy_100mib(_: System, count: int) -> Figures:
    """Bandwidth of the median copy of 100 MiB."""
    with _warm_copy(LARGE_BYTES) as copy:
        times_ns = each_ns(copy, WARM_PUTS + count)[WARM_PUTS:]
    return {"bandwidth": LARGE_BYTES / median(times_ns)}  # bytes per ns are GB/s


@contextmanager
def _caller() -> Iterator[Caller]:
    with tempfile.TemporaryDirectory(prefix="e") as directory:
        caller = Caller(Path(directory))
        try:
            yield caller
        finally:
            caller.close()


@contextmanager
def _warm_copy(size_bytes: int) -> Iterator[Callable[[], None]]:
    """What copies that many bytes into shared pages, already touched."""
    source = b"\1" * size_bytes
    descriptor = os.memfd_create("zfut-bare-copy")
    try:
        os.ftruncate(descriptor, size_bytes)
        with mmap.mmap(descriptor, size_bytes, mmap.MAP_SHARED) as target:

            def copy() -> None:
                target[:] = source

            copy()
            yield copy
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main(Bare())
