"""The workloads made of values: puts, gets, large arguments and results.

Each takes a started system and a count, and returns its figures. Blocks are written before
they are used: an untouched page would be the kernel's shared zero page and copy too fast.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from benchmarks.runners import functions
from benchmarks.runners.clock import NS_PER_S, NS_PER_US, each_ns, seconds
from benchmarks.runners.functions import MIB
from benchmarks.runners.system import Figures, Ref, Submit, TaskSystem

KIB = 1 << 10
LARGE_BYTES = 100 * MIB
WARM_PUTS = 3
WARM_TASKS = 100
PAIRS = 3  # with and without, in turn


def results_1mib(system: TaskSystem, count: int) -> Figures:
    """Tasks that return 1 MiB each; each result is read, and dropped."""
    submit = system.remote(functions.block)

    def run(tasks: int) -> None:
        refs = [submit(MIB) for _ in range(tasks)]
        for index, ref in enumerate(refs):
            refs[index] = None
            value = system.get(ref)
            assert len(value) == MIB
            assert value[-1] == 1

    run(WARM_TASKS)
    return {"rate": count / seconds(lambda: run(count))}


def put_1kib(system: TaskSystem, count: int) -> Figures:
    """Put 1 KiB of bytes, and drop it."""
    return _put(system, b"\1" * KIB, count)


def put_1mib(system: TaskSystem, count: int) -> Figures:
    """Put an array of 1 MiB, and drop it."""
    return _put(system, functions.block(MIB), count)


def _put(system: TaskSystem, value: object, count: int) -> Figures:
    put = system.put

    def run(puts: int) -> None:
        for _ in range(puts):
            put(value)

    run(max(1, count // 10))
    return {"rate": count / seconds(lambda: run(count))}


def put_100mib(system: TaskSystem, count: int) -> Figures:
    """Put an array of 100 MiB, and drop it: the median put."""
    value = functions.block(LARGE_BYTES)
    times_ns = each_ns(lambda: system.put(value), WARM_PUTS + count)[WARM_PUTS:]
    return {"bandwidth": LARGE_BYTES / median(times_ns)}  # bytes per ns are GB/s


def get_100mib(system: TaskSystem, count: int) -> Figures:
    """Get a result of 100 MiB that is ready, made by a worker: the median first get."""
    submit = system.remote(functions.block)
    gets = [_first_get(system, submit(LARGE_BYTES)) for _ in range(1 + count)][1:]
    return {
        "p50": median(took_s for took_s, _ in gets) * NS_PER_S / NS_PER_US,
        "shared": float(all(shared for _, shared in gets)),
    }


def _first_get(system: TaskSystem, ref: Ref) -> tuple[float, bool]:
    """How long the get of a ready array takes, and whether it shares the store's memory."""
    assert system.wait_one([ref]) == []
    start_ns = time.perf_counter_ns()
    value = system.get(ref)
    took_s = (time.perf_counter_ns() - start_ns) / NS_PER_S
    assert value[-1] == 1
    return took_s, lies_in_shared_memory(value.ctypes.data)


def lies_in_shared_memory(address: int) -> bool:
    """Whether that address of this process lies in a mapping shared with others."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        bounds, permissions = line.split()[:2]
        low, high = (int(bound, 16) for bound in bounds.split("-"))
        if low <= address < high:
            return permissions.endswith("s")
    return False


def by_reference(system: TaskSystem, count: int) -> Figures:
    """The same tasks with 1 MiB by reference and with a small argument, in turn."""
    submit = system.remote(functions.first_byte)
    ref = system.put(functions.block(MIB))
    small = b"\1"
    _tasks_s(system, submit, ref, WARM_TASKS)
    slowdowns, times_s = [], []
    for _ in range(PAIRS):
        without_s = _tasks_s(system, submit, small, count)
        times_s.append(_tasks_s(system, submit, ref, count))
        slowdowns.append(times_s[-1] / without_s)
    return {"slowdown": median(slowdowns), "rate": count / median(times_s)}


def _tasks_s(system: TaskSystem, submit: Submit, argument: object, count: int) -> float:
    def run() -> None:
        answers = system.get([submit(argument) for _ in range(count)])
        assert sum(answers) == count

    return seconds(run)
