"""Every workload of the micro benchmark: what it does, its units, its size, its budgets.

Knows no system and measures nothing: the runners look sizes up here, the report looks up
units and budgets. Imports only the standard library, since each peer's interpreter reads it.
"""

from __future__ import annotations

from benchmarks.model import BARE, ZFUT, Against, Metric, Workload, aim, must, rate

_BARE = Against(BARE)
_RAY = Against("ray")
_FUTURES = Against("futures")
_XOSCAR = Against("xoscar")
_LATENCY = (Metric("p50", "us"), Metric("p99", "us"))

_CALLS = (
    Workload(
        "task_latency",
        "task, one at a time",
        _LATENCY,
        2_000,
        300,
        (
            must("p50", 2.5, "≤ 2.5x the bare echo", _BARE),
            must("p50", 1 / 6, "≥ 6x faster than ray", _RAY),
            must("p50", 1, "no slower than futures", _FUTURES),
            aim("p50", 1.4, "≤ 1.4x the bare echo", _BARE),
        ),
        fixed_size=False,
    ),
    Workload(
        "actor_latency",
        "actor call, one at a time",
        _LATENCY,
        2_000,
        300,
        (
            must("p50", 2, "≤ 2x the bare echo", _BARE),
            must("p50", 1 / 4, "≥ 4x faster than ray", _RAY),
            must("p50", 1, "no slower than xoscar", _XOSCAR),
            aim("p50", 1.3, "≤ 1.3x the bare echo", _BARE),
        ),
        fixed_size=False,
    ),
    Workload(
        "tasks_pipelined",
        "10,000 tasks submitted, then all got",
        (rate(),),
        10_000,
        2_000,
        (
            must("rate", 50_000, "≥ 50,000/s"),
            must("rate", 16, "≥ 16x ray", _RAY),
            must("rate", 2.5, "≥ 2.5x futures", _FUTURES),
            aim("rate", 150_000, "≥ 150,000/s"),
        ),
        fixed_size=False,
    ),
    Workload(
        "actor_pipelined",
        "1 caller, 1 actor, pipelined",
        (rate(),),
        10_000,
        2_000,
        (
            must("rate", 60_000, "≥ 60,000/s"),
            must("rate", 6, "≥ 6x ray", _RAY),
            must("rate", 3.5, "≥ 3.5x xoscar", _XOSCAR),
            aim("rate", 200_000, "≥ 200,000/s"),
        ),
        fixed_size=False,
    ),
    Workload(
        "actor_pipelined_async",
        "the same with an async def method",
        (rate(),),
        10_000,
        2_000,
        (must("rate", 30_000, "≥ 30,000/s"), aim("rate", 80_000, "≥ 80,000/s")),
        fixed_size=False,
    ),
    Workload(
        "actors_created",
        "20 actors created, first call answered",
        (rate(),),
        20,
        20,
        (must("rate", 60, "≥ 60/s"), aim("rate", 200, "≥ 200/s")),
    ),
    Workload(
        "chain",
        "chain of 1,000 dependent tasks, a link",
        (Metric("link", "us"),),
        1_000,
        200,
        (must("link", 120, "≤ 120 us"), aim("link", 20, "≤ 20 us")),
        fixed_size=False,
    ),
    Workload(
        "many_references",
        "1 task with 10,000 references as arguments",
        (Metric("time", "s"),),
        10_000,
        10_000,
        (must("time", 0.15, "≤ 0.15 s"), aim("time", 0.05, "≤ 0.05 s")),
    ),
    Workload(
        "wait_one_by_one",
        "wait one by one over 1,000",
        (Metric("time", "s"),),
        1_000,
        1_000,
        (must("time", 0.2, "≤ 0.2 s"), aim("time", 0.05, "≤ 0.05 s")),
    ),
    Workload(
        "million",
        "1,000,000 tasks submitted before the first get",
        (rate(), Metric("growth", "MB")),
        1_000_000,
        50_000,
        (
            must("growth", 1_200, "owner's memory ≤ 1.2 GB"),
            must(
                "rate",
                0.7,
                "rate within 30% of the 10,000 case",
                Against(ZFUT, "tasks_pipelined", "rate"),
            ),
            aim("growth", 600, "owner's memory ≤ 0.6 GB"),
        ),
        repeats_max=3,
        timeout_s=600.0,
    ),
)

_VALUES = (
    Workload(
        "results_1mib",
        "1 MiB results of tasks",
        (rate(),),
        1_000,
        200,
        (must("rate", 3_000, "≥ 3,000/s"), aim("rate", 8_000, "≥ 8,000/s")),
        fixed_size=False,
    ),
    Workload(
        "put_1kib",
        "put 1 KiB",
        (rate(),),
        20_000,
        4_000,
        (must("rate", 100_000, "≥ 100,000/s"), aim("rate", 300_000, "≥ 300,000/s")),
        fixed_size=False,
    ),
    Workload(
        "put_1mib",
        "put 1 MiB",
        (rate(),),
        2_000,
        500,
        (
            must("rate", 6_000, "≥ 6,000/s"),
            must("rate", 3, "≥ 3x ray", _RAY),
            aim("rate", 14_000, "≥ 14,000/s"),
        ),
        fixed_size=False,
    ),
    Workload(
        "put_100mib",
        "put 100 MiB, repeated",
        (Metric("bandwidth", "GB/s", "higher"),),
        20,
        8,
        (
            must("bandwidth", 0.5, "≥ 50% of the warm copy", _BARE),
            aim("bandwidth", 0.85, "≥ 85% of the warm copy", _BARE),
        ),
        fixed_size=False,
    ),
    Workload(
        "get_100mib",
        "get 100 MiB on the same node",
        (Metric("p50", "us"), Metric("shared", "of 1", "higher")),
        10,
        5,
        (
            must("p50", 100, "≤ 100 us"),
            must("shared", 1, "no copy (lies in shared memory)"),
            aim("p50", 30, "≤ 30 us"),
        ),
        fixed_size=False,
    ),
    Workload(
        "by_reference",
        "1 MiB by reference to 2,000 tasks",
        (Metric("slowdown", "x"), rate()),
        2_000,
        500,
        (
            must("slowdown", 1.5, "within 1.5x of the same tasks without it"),
            aim("slowdown", 1.1, "within 1.1x"),
        ),
        fixed_size=False,
    ),
)

_LIFE = (
    Workload(
        "start_stop",
        "init() to first result; shutdown()",
        (Metric("start", "s"), Metric("stop", "s")),
        1,
        1,
        (
            must("start", 0.5, "first result ≤ 0.5 s"),
            must("stop", 0.4, "shutdown ≤ 0.4 s"),
            aim("start", 0.2, "first result ≤ 0.2 s"),
            aim("stop", 0.1, "shutdown ≤ 0.1 s"),
        ),
    ),
    Workload(
        "idle",
        "idle: memory of all processes (PSS), CPU of a core",
        (Metric("pss", "MiB"), Metric("cpu", "%"), Metric("processes", "count")),
        30,  # seconds
        10,
        (
            must("pss", 120, "≤ 120 MiB"),
            must("cpu", 0.5, "≤ 0.5% of a core"),
            aim("pss", 60, "≤ 60 MiB"),
            aim("cpu", 0.05, "no CPU (under 0.05%)"),
        ),
        repeats_max=2,
    ),
    Workload(
        "import_time",
        "import",
        (Metric("time", "ms"),),
        5,
        3,
        (must("time", 100, "≤ 100 ms"), aim("time", 50, "≤ 50 ms")),
    ),
)

_BEYOND = (
    Workload(
        "worker_killed",
        "worker killed by kill -9: its task runs again",
        (Metric("retried", "ms"), Metric("answered", "ms")),
        5,
        2,
        (must("retried", 100, "noticed and retried ≤ 100 ms"),),
    ),
    Workload(
        "hundred_actors",
        "100 actors on one node, all answering",
        (Metric("time", "s"), Metric("answered", "count", "higher")),
        100,
        100,
        (must("answered", 100, "100 of 100 answer"),),
    ),
    Workload(
        "leak_cycles",
        "200 cycles of init and shutdown: what is left",
        (
            Metric("cycle", "ms"),
            Metric("descriptors", "count"),
            Metric("processes", "count"),
            Metric("files", "count"),
            Metric("shm", "count"),
            Metric("mappings", "count"),
            Metric("threads", "count"),
        ),
        200,
        20,
        tuple(
            must(name, 0, f"no {what} left")
            for name, what in (
                ("descriptors", "descriptor"),
                ("processes", "process"),
                ("files", "file in the session directories"),
                ("shm", "block in /dev/shm"),
                ("mappings", "shared mapping"),
                ("threads", "thread"),
            )
        ),
        repeats_max=1,
        timeout_s=300.0,
    ),
)

WORKLOADS: dict[str, Workload] = {w.name: w for w in (*_CALLS, *_VALUES, *_LIFE, *_BEYOND)}
