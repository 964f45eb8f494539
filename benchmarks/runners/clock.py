"""Timing loops and what is said of them: seconds, rates, percentiles."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

NS_PER_US = 1e3
NS_PER_S = 1e9


def seconds(run: Callable[[], object]) -> float:
    """How long ``run()`` takes."""
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / NS_PER_S


def each_ns(run: Callable[[], object], count: int) -> list[int]:
    """How long each of ``count`` runs takes."""
    now = time.perf_counter_ns
    times = []
    for _ in range(count):
        start = now()
        run()
        times.append(now() - start)
    return times


def latency(times_ns: list[int]) -> dict[str, float]:
    """Median and 99th percentile, in microseconds."""
    ordered = sorted(times_ns)
    p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return {"p50": median(ordered) / NS_PER_US, "p99": p99 / NS_PER_US}
