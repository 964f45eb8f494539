"""Lineage and recovery on one owner's machine: long chains, bounded memory, reasons."""

from __future__ import annotations

import pytest

from zfut.config import Config
from zfut.core import effects as f
from zfut.core import events as e
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.records import FAILED, FREED, PENDING, STORED, Task, Template
from zfut.ids import PUT_INDEX
from zfut.sim.values import SymbolicFailures, read_failure
from zfut.wire import messages as m
from zfut.wire.specs import Address, Stored, TaskResult

OWNER, NODE, WORKER = b"o" * 16, b"n" * 16, b"w" * 16
SIZE = 200_000


class Bench:
    """One owner, one worker that returns large values at once, and no clock."""

    def __init__(self, **limits: int) -> None:
        config = Config(**limits)
        self.machine = OwnerMachine(OWNER, NODE, config, SymbolicFailures())
        self.runs: list[bytes] = []
        self.template = Template(b"f" * 16, "f", b"code", ())
        self._tasks = 0
        self._offset = 0

    def submit(self, *deps: bytes, retries: int = 3, nested: tuple[bytes, ...] = ()) -> bytes:
        """Submit a call and let it run."""
        self._tasks += 1
        template = Template(b"f" * 16, "f", b"code", (), max_retries=retries)
        me = Address(OWNER)
        task = Task(
            OWNER + self._tasks.to_bytes(8, "big"),
            template,
            b"args",
            1,
            1,
            tuple((i, dep, me) for i, dep in enumerate(deps)),
            tuple((name, me) for name in nested),
        )
        self.step(task)
        return task.task_id + b"\0\0\0\1"

    def put(self) -> bytes:
        """Put a large value."""
        self._tasks += 1
        name = OWNER + self._tasks.to_bytes(8, "big") + PUT_INDEX
        self._offset += SIZE
        stored = Stored(name, Address(OWNER), 0, NODE, OWNER, self._offset, SIZE, 1)
        self.step(e.PutStored(stored))
        return name

    def step(self, event: object) -> None:
        """Handle an event and everything that the node and the worker answer."""
        effects = self.machine.step(event, 0)  # type: ignore[arg-type]
        while effects:
            answers: list[e.Received] = []
            for effect in effects:
                if isinstance(effect, f.Send):
                    answers.extend(self._answer(effect.message))
            effects = []
            for answer in answers:
                effects.extend(self.machine.step(answer, 0))
        if len(self.machine.rows) < 500:
            self.machine.check()

    def _answer(self, message: m.Message) -> list[e.Received]:
        if isinstance(message, m.RequestLease):
            if self.machine.tasks.submission.by_worker:
                return []
            return [e.Received(NODE, m.LeaseGranted(message.lease_id, WORKER, 1))]
        if not isinstance(message, m.PushTasks):
            return []
        results = []
        for spec in message.tasks:
            self.runs.append(spec.task_id)
            self._offset += SIZE
            name = spec.task_id + b"\0\0\0\1"
            owner = Address(OWNER)
            stored = Stored(name, owner, spec.attempt, NODE, WORKER, self._offset, SIZE, 1)
            results.append(TaskResult(spec.task_id, spec.attempt, 0, (stored,), 1000))
        return [e.Received(WORKER, m.TasksFinished(tuple(results)))]

    def state(self, name: bytes) -> int:
        """Return the state of an object."""
        return self.machine.rows[name].state

    def lose(self, name: bytes) -> None:
        """Take a value out of the store."""
        value = self.machine.rows[name].value
        assert isinstance(value, Stored)
        self.step(e.ValueLost(name, value.attempt))

    def drop(self, *names: bytes) -> None:
        """Drop handles."""
        for name in names:
            self.step(name)

    def failure(self, name: bytes) -> list[object]:
        """Return the failure of an object."""
        value = self.machine.rows[name].value
        assert isinstance(value, bytes)
        return read_failure(value)


def test_a_chain_of_twenty_thousand_runs_again_without_recursion() -> None:
    bench = Bench()
    names = [bench.submit()]
    for _ in range(20_000):
        names.append(bench.submit(names[-1]))
        bench.machine.step(names[-2], 0)  # only lineage needs it now
    assert bench.state(names[0]) == FREED
    first = list(bench.runs)
    bench.runs.clear()
    bench.lose(names[-1])
    assert bench.state(names[-1]) == STORED
    assert bench.runs == first, "each call once, the oldest first"
    bench.drop(names[-1])
    assert not bench.machine.rows, "a chain is forgotten without recursion too"


def test_the_smallest_set_runs_again() -> None:
    bench = Bench()
    root = bench.submit()
    kept, gone = bench.submit(root), bench.submit(root)
    last = bench.submit(kept, gone)
    bench.drop(root, gone)
    bench.runs.clear()
    bench.lose(last)
    assert bench.runs == [root[:24], gone[:24], last[:24]]
    assert bench.state(kept) == STORED


def test_one_lost_input_of_many_runs_once() -> None:
    bench = Bench()
    root = bench.submit()
    leaves = [bench.submit(root) for _ in range(4)]
    bench.drop(root)
    bench.runs.clear()
    for leaf in leaves:
        value = bench.machine.rows[leaf].value
        assert isinstance(value, Stored)
        bench.machine.handle(e.ValueLost(leaf, value.attempt), 0)
    bench.step(e.Woken())
    assert bench.runs.count(root[:24]) == 1
    assert sorted(bench.runs) == sorted([root[:24], *(leaf[:24] for leaf in leaves)])


def test_a_put_in_lineage_keeps_its_value_and_a_lost_one_says_so() -> None:
    bench = Bench()
    put = bench.put()
    made = bench.submit(put)
    bench.drop(put)
    assert bench.state(put) == STORED
    bench.lose(made)
    assert bench.state(made) == STORED
    bench.lose(put)
    bench.lose(made)
    assert bench.failure(made)[0] == "Dependency"
    other = bench.put()
    bench.lose(other)
    assert bench.failure(other)[::2] == ["ReconstructionFailedError", "put"]


@pytest.mark.parametrize(("retries", "losses"), [(0, 1), (1, 2), (3, 4), (-1, 50)])
def test_attempts_are_counted(retries: int, losses: int) -> None:
    bench = Bench()
    made = bench.submit(retries=retries)
    for _ in range(losses):
        assert bench.state(made) == STORED
        bench.lose(made)
    assert bench.state(made) == (STORED if retries < 0 else FAILED)
    if retries > 0:
        assert bench.failure(made)[2] == "attempts exceeded"


def test_lineage_is_bounded_and_what_it_dropped_is_not_made_again() -> None:
    bench = Bench(lineage_max_bytes=20_000)
    names = [bench.submit() for _ in range(100)]
    lineage = bench.machine.ledger.lineage
    assert 0 < lineage.bytes <= 20_000
    bench.lose(names[-1])
    assert bench.state(names[-1]) == STORED
    bench.lose(names[0])
    assert bench.state(names[0]) == FAILED
    bench.drop(*names)
    assert not bench.machine.rows
    assert not lineage.retained
    assert lineage.bytes == 0


def test_a_late_notice_of_an_older_value_means_nothing() -> None:
    bench = Bench()
    made = bench.submit()
    bench.lose(made)
    bench.runs.clear()
    bench.step(e.ValueLost(made, 0))
    assert bench.state(made) == STORED
    assert not bench.runs


def test_a_reference_inside_an_argument_is_there_again_for_the_next_run() -> None:
    bench = Bench()
    inner = bench.submit()
    made = bench.submit(nested=(inner,))
    bench.drop(inner)
    assert bench.state(inner) == FREED
    bench.lose(made)
    assert bench.state(inner) in (FREED, PENDING, STORED)
    bench.step(e.AwaitObjects(1, (made,), 1, fail_fast=True))
    assert bench.state(made) == STORED
