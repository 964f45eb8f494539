"""The workloads made of calls: tasks, actor calls, chains, waits.

Each takes a started system and a count, and returns its figures. Each warms up what it
measures before the clock starts, and checks that the answers are right.
"""

from __future__ import annotations

import gc

from benchmarks import processes
from benchmarks.runners import functions
from benchmarks.runners.clock import each_ns, latency, seconds
from benchmarks.runners.system import Actor, Figures, TaskSystem

WARM_CALLS = 200
MEGA = 1e6


def task_latency(system: TaskSystem, count: int) -> Figures:
    """Submit a task, wait for its answer, and again."""
    submit, get = system.remote(functions.nothing), system.get
    return latency(each_ns(lambda: get(submit()), WARM_CALLS + count)[WARM_CALLS:])


def actor_latency(system: TaskSystem, count: int) -> Figures:
    """Call an actor, wait for its answer, and again."""
    call, get = system.method(system.create(functions.Counter), "add"), system.get
    return latency(each_ns(lambda: get(call(1)), WARM_CALLS + count)[WARM_CALLS:])


def tasks_pipelined(system: TaskSystem, count: int) -> Figures:
    """Submit all, then get all."""
    submit = system.remote(functions.add_one)
    system.get([submit(number) for number in range(WARM_CALLS)])
    answers: list[int] = []

    def run() -> None:
        answers.extend(system.get([submit(number) for number in range(count)]))

    took_s = seconds(run)
    assert answers == list(range(1, count + 1))
    return {"rate": count / took_s}


def actor_pipelined(system: TaskSystem, count: int) -> Figures:
    """Call one actor so often, then get all answers."""
    return _actor_pipelined(system, functions.Counter, count)


def actor_pipelined_async(system: TaskSystem, count: int) -> Figures:
    """The same with a coroutine method."""
    return _actor_pipelined(system, functions.AsyncCounter, count)


def _actor_pipelined(system: TaskSystem, actor_class: type, count: int) -> Figures:
    call = system.method(system.create(actor_class), "add")
    system.get([call(0) for _ in range(WARM_CALLS)])
    answers: list[int] = []

    def run() -> None:
        answers.extend(system.get([call(1) for _ in range(count)]))

    took_s = seconds(run)
    assert max(answers) == count
    return {"rate": count / took_s}


def actors_created(system: TaskSystem, count: int) -> Figures:
    """Create actors at once and have an answer from each."""
    actors: list[Actor] = []

    def run() -> None:
        actors.extend(system.create(functions.Counter) for _ in range(count))
        answers = system.get([system.method(actor, "add")(1) for actor in actors])
        assert answers == [1] * count

    took_s = seconds(run)
    for actor in actors:
        system.kill(actor)
    return {"rate": count / took_s}


def hundred_actors(system: TaskSystem, count: int) -> Figures:
    """The same, many more of them than cores."""
    return {"time": count / actors_created(system, count)["rate"], "answered": count}


def chain(system: TaskSystem, count: int) -> Figures:
    """Each task takes the reference of the one before."""
    submit = system.remote(functions.add_one)

    def run(links: int) -> None:
        ref = submit(0)
        for _ in range(links - 1):
            ref = submit(ref)
        assert system.get(ref) == links

    run(links=20)
    return {"link": seconds(lambda: run(count)) / count * MEGA}


def many_references(system: TaskSystem, count: int) -> Figures:
    """One task with so many references as arguments, results of tasks, all of them ready."""
    make = system.remote(functions.add_one)
    refs = [make(number) for number in range(count)]
    system.get(refs)
    submit = system.remote(functions.count)
    assert system.get(submit(*refs[:10])) == len(refs[:10])

    def run() -> None:
        assert system.get(submit(*refs)) == count

    return {"time": seconds(run)}


def wait_one_by_one(system: TaskSystem, count: int) -> Figures:
    """Submit tasks and take them one at a time, as they get ready."""
    submit = system.remote(functions.nothing)

    def run() -> None:
        refs = [submit() for _ in range(count)]
        while refs:
            refs = system.wait_one(refs)

    return {"time": seconds(run)}


def million(system: TaskSystem, count: int) -> Figures:
    """So many tasks before the first get: how fast, and what the owner's memory grows by."""
    submit = system.remote(functions.add_one)
    system.get([submit(number) for number in range(WARM_CALLS)])
    gc.collect()
    processes.forget_peak()
    before = processes.resident_bytes()

    def run() -> None:
        refs = [submit(number) for number in range(count)]
        step = 10_000  # the values are not what is measured: never hold them all
        for start in range(0, count, step):
            assert system.get(refs[start : start + step])[0] == start + 1

    took_s = seconds(run)
    growth_bytes = processes.peak_resident_bytes() - before
    return {"rate": count / took_s, "growth": growth_bytes / MEGA}
