"""Owners that compete for one worker: few requests, and one that dies at any step harms no other."""

# ruff: noqa: SLF001  a story is told turn by turn
from __future__ import annotations

from zfut.core.node.machine import NodeMachine
from zfut.core.worker import WorkerMachine
from zfut.sim.script import Script

REQUESTS_MAX = 10
"""What an owner may have waiting at the node for one kind of task."""

TURNS_MAX = 100


def told(script: Script, *commands: str) -> str:
    """Run commands; returns the transcript."""
    return script._run_block("\n".join(commands)).partition("\n----\n")[2]


def running(script: Script) -> list[tuple[str, str]]:
    """Return the workers that run something, and what they run."""
    return [
        (process.name, script._names.given[task_id])
        for process in script._cluster.processes.values()
        if process.alive and isinstance(process.machine, WorkerMachine)
        for task_id in process.machine.executor.inbox.running
    ]


def turns_until_both_are_served(script: Script, victim_after: int) -> int:
    """Both submit a task; the second program is killed after so many turns."""
    told(script, "cluster cpus=1 drivers=2")
    go_on, script._run = script._run, lambda _: None  # type: ignore[method-assign]
    for name in ("driver2", "driver"):
        script._order(name, ["submit", f"task_of_{name}"])
    script._run = go_on  # type: ignore[method-assign]
    script._cluster.run(victim_after)
    return script._cluster.turns


def test_one_of_two_owners_dies_at_every_step() -> None:
    """One slot and a task of each; the other's task ends, and nothing is left."""
    last = -1
    for after in range(TURNS_MAX):
        script = Script()
        reached = turns_until_both_are_served(script, after)
        if reached == last:
            break  # nothing happens any more unless a task returns
        last = reached
        told(script, "kill driver2", "advance 2s")
        assert running(script) == [(running(script)[0][0], "task_of_driver")], after
        told(script, f"{running(script)[0][0]} return", "advance 40ms")
        assert "driver gets task_of_driver" in told(script, "driver get task_of_driver")
        assert told(script, "driver drop task_of_driver", "rest").endswith("nothing is left")
    assert after > 10, f"{after} steps are too few"


def test_the_victims_task_runs_already_or_has_returned() -> None:
    for returned in (False, True):
        script = Script()
        turns_until_both_are_served(script, TURNS_MAX)
        assert [what for _, what in running(script)] == ["task_of_driver2"]
        if returned:
            told(script, "hold w1 driver2", "w1 return")
        told(script, "kill driver2", "advance 2s")
        assert [what for _, what in running(script)] == ["task_of_driver"]
        told(script, f"{running(script)[0][0]} return", "advance 40ms")
        assert told(script, "driver drop task_of_driver", "rest").endswith("nothing is left")


def test_a_thousand_tasks_of_one_kind_ask_for_few_workers() -> None:
    script = Script()
    told(script, "cluster cpus=1")
    names = " ".join(f"t{n}" for n in range(1000))
    told(script, f"driver submit {names}", "advance 1ms")
    node = script._cluster.node.machine
    assert isinstance(node, NodeMachine)
    queued = node.granting.leases.queued
    assert 0 < len(queued) <= REQUESTS_MAX
    assert len(script._cluster.workers()) == 1, "one slot, one worker"
    while running(script):
        told(script, "w1 return", "advance 1us")
        assert len(queued) <= REQUESTS_MAX
    shown = told(script, f"driver drop {names}", "advance 40ms")
    assert shown.count("ReturnLease") == 2, "sent, and heard"
    assert not queued
    assert not script._cluster.drivers[0].owner.tasks.submission.keys
    assert told(script, "rest").endswith("nothing is left")
