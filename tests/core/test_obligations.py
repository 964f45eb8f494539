"""What values oblige their receiver to: references travel in few messages, stale answers too."""

from __future__ import annotations

import pytest

from zfut.config import Config
from zfut.core import effects as f
from zfut.core import events as e
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.records import INLINE, PENDING, Task, Template
from zfut.ids import FIRST_RETURN, NodeUid, proc_uid
from zfut.sim.values import SymbolicFailures
from zfut.wire import messages as m
from zfut.wire.specs import RETRIABLE, Address, Failed, Inline, RefInfo, Stored, TaskResult

NODE = NodeUid(b"simnode1")
MANAGER, ME, WORKER, OTHER = (proc_uid(NODE, number, b"test") for number in range(4))
TEMPLATE = Template(b"f" * 16, "f", b"code", (("CPU", 10_000),), 1, 3)
MANY = 10_000
FEW = 20


def theirs(owner: bytes, number: int) -> bytes:
    """Name an object of another process."""
    return owner + number.to_bytes(8, "big") + FIRST_RETURN


class Desk:
    """One owner's machine, one worker that is lent to it, and all that it says."""

    def __init__(self) -> None:
        self.machine = OwnerMachine(ME, MANAGER, Config(), SymbolicFailures())
        self.said: list[f.Send] = []
        self._tasks = 0

    def step(self, event: e.Event | Task | bytes) -> None:
        """Handle an event, and what is left to do after it."""
        effects = self.machine.step(event, 0)
        while self.machine.ledger.falling:
            effects += self.machine.step(e.Woken(), 0)
        self.said += [one for one in effects if isinstance(one, f.Send)]
        self.machine.check()

    def hear(self, sender: bytes, message: m.Message, payload: bytes = b"") -> None:
        """Let a message arrive."""
        self.step(e.Received(sender, message, payload))

    def run(self) -> bytes:
        """Submit a call; the worker has it."""
        self._tasks += 1
        task_id = ME + self._tasks.to_bytes(8, "big")
        self.step(Task(task_id, TEMPLATE, b"args", 1, 1))
        self.hear(MANAGER, m.LeaseGranted(1, WORKER, 1))
        assert self.machine.rows[task_id + FIRST_RETURN].state == PENDING
        return task_id

    def take(self, kind: type[m.Message], to: bytes) -> list[m.Message]:
        """Return the messages of this kind to that process since the last time."""
        found = [one.message for one in self.said if one.to == to and type(one.message) is kind]
        self.said.clear()
        return found


def items(messages: list[m.Message]) -> list[tuple[bytes, bytes]]:
    """Return what all of these name, together."""
    return [item for message in messages for item in message.items]  # type: ignore[attr-defined]


def test_registrations_and_their_ends_travel_in_few_messages() -> None:
    desk = Desk()
    names = [theirs(OTHER, number) for number in range(MANY)]
    desk.step(e.RefsArrived(((name, Address(OTHER)) for name in names), b""))
    registered = desk.take(m.RegisterBorrows, OTHER)
    assert 0 < len(registered) <= FEW
    assert [name for name, _ in items(registered)] == names
    tokens = tuple(token for _, token in items(registered))
    desk.hear(OTHER, m.BorrowsRegistered(tokens, ()))
    for name in names:
        desk.machine.handle(name, 0)
    desk.step(e.Woken())
    released = desk.take(m.ReleaseBorrows, OTHER)
    assert 0 < len(released) <= FEW
    assert sorted(items(released)) == sorted(items(registered))
    assert not desk.machine.rows


@pytest.mark.parametrize("before", [True, False], ids=["before it comes", "after it came"])
def test_a_value_full_of_references_that_is_dropped_unread_is_few_messages(
    before: bool,  # noqa: FBT001
) -> None:
    desk = Desk()
    task_id = desk.run()
    tokens = [WORKER + number.to_bytes(12, "big") for number in range(MANY)]
    refs = tuple(
        RefInfo(theirs(WORKER, number), Address(WORKER), token)
        for number, token in enumerate(tokens)
    )
    result = TaskResult(task_id, 0, 0, (Inline(5, 1, refs),))
    if before:
        desk.step(task_id + FIRST_RETURN)
    desk.hear(WORKER, m.TasksFinished((result,)), b"value")
    if not before:
        assert desk.machine.rows[task_id + FIRST_RETURN].state == INLINE
        desk.step(task_id + FIRST_RETURN)
    released = desk.take(m.ReleaseBorrows, WORKER)
    assert 0 < len(released) <= FEW
    assert sorted(token for _, token in items(released)) == tokens
    assert not desk.machine.rows


def test_a_late_answer_of_an_older_attempt_is_discarded_with_all_that_it_carries() -> None:
    desk = Desk()
    task_id = desk.run()
    name = task_id + FIRST_RETURN
    failed = TaskResult(task_id, 0, RETRIABLE, (Failed(1),))
    desk.hear(WORKER, m.TasksFinished((failed,)), b"x")
    (again,) = desk.take(m.PushTasks, WORKER)[-1].tasks  # type: ignore[attr-defined]
    assert again.attempt == 1
    inner = RefInfo(theirs(OTHER, 1), Address(OTHER), WORKER + b"t" * 12)
    large = Stored(name, Address(ME), 0, MANAGER[:8], WORKER, 4096, 200_000, 1, (inner,))
    late = e.Received(WORKER, m.TasksFinished((TaskResult(task_id, 0, 0, (large,)),)))
    desk.step(late)
    said, desk.said = desk.said, []
    told = [(one.to, one.message) for one in said]
    assert (WORKER, m.FreeMemory((4096,))) in told
    assert (OTHER, m.ReleaseBorrows(((inner.object_id, inner.token),))) in told
    assert desk.machine.rows[name].state == PENDING, "the attempt that runs decides"
    desk.hear(WORKER, m.TasksFinished((TaskResult(task_id, 1, 0, (Inline(3, 1),)),)), b"new")
    assert desk.machine.rows[name].value == b"new"
    desk.step(late)
    assert desk.machine.rows[name].value == b"new"
    desk.step(name)
    assert not desk.machine.rows
