"""A worker's machine whose task waits, but not in get: when its CPU is lent, and taken back."""

from __future__ import annotations

import pytest

from zfut.config import Config
from zfut.core import effects as f
from zfut.core import events as e
from zfut.core.executor.aside import ASIDE_DELAY_NS
from zfut.core.executor.machine import BLOCK_DELAY_NS
from zfut.core.owner.records import Task, Template
from zfut.core.owner.why import Question, read_answer
from zfut.core.worker import WorkerMachine
from zfut.ids import FIRST_RETURN
from zfut.sim.values import SymbolicFailures
from zfut.wire import messages as m
from zfut.wire.specs import Address, FunctionDef, Inline, TaskResult, TaskSpec

WORKER, NODE, DRIVER, OTHER = b"w" * 16, b"n" * 16, b"d" * 16, b"o" * 16
FIRST, SECOND = DRIVER + bytes(8), DRIVER + b"2" * 8
ACTOR = DRIVER + b"a" * 8
CPU = (("CPU", 10_000),)


class Desk:
    """One worker, and the time; what it tells its node of its waits is written down."""

    def __init__(self) -> None:
        self.machine = WorkerMachine(WORKER, NODE, Config(), SymbolicFailures())
        self.now = 1_000_000_000
        self.said: list[m.Message] = []
        self.back: list[bytes] = []
        self._calls = 0
        self._tasks = 0
        self.hear(NODE, m.Bind(1, 1, DRIVER, CPU))

    def hear(self, sender: bytes, message: m.Message) -> None:
        self.step(e.Received(sender, message))

    def step(self, event: e.Event | Task) -> None:
        self.machine.handle(event, self.now)
        self._note(self.machine.settle(self.now))

    def _note(self, effects: list[f.Effect]) -> None:
        self.machine.check()
        for effect in effects:
            message = effect.message if isinstance(effect, f.Send) else None
            if isinstance(message, m.Blocked | m.Unblocked):
                self.said.append(message)
            elif isinstance(message, m.TasksPushedBack):
                self.back.extend(task_id for task_id, _ in message.tasks)

    def advance(self, ns: int) -> None:
        """Let time pass as the loop does: the machine is woken when it asked for it."""
        until = self.now + ns
        while (wake_at := self.machine.wake_at()) is not None and wake_at <= until:
            self.now = max(self.now, wake_at)
            self.step(e.Woken())
        self.now = until

    def push(self, task_id: bytes) -> None:
        spec = TaskSpec(task_id, 0, b"f" * 16, 0, 0, 1)
        code = FunctionDef(b"f" * 16, "train", 0)
        self.hear(DRIVER, m.PushTasks(Address(DRIVER), 1, 1, (code,), (spec,)))

    def run(self, task_id: bytes) -> None:
        self.push(task_id)
        assert self.machine.executor.take() is not None

    def become_actor(self) -> None:
        spec = TaskSpec(ACTOR, 0, b"f" * 16, 0, 0, 0)
        code = FunctionDef(b"f" * 16, "Actor", 0)
        message = m.CreateActor(Address(DRIVER), 1, 1, ACTOR, 1, 1, "Actor", (code,), spec)
        self.hear(DRIVER, message)
        assert self.machine.executor.take() is not None

    def end(self, task_id: bytes) -> None:
        self.step(e.Returned(TaskResult(task_id, 0, 0, (Inline(0, 0),)), ()))

    def submit(self) -> bytes:
        self._tasks += 1
        task_id = WORKER + self._tasks.to_bytes(8, "big")
        self.step(Task(task_id, Template(b"g" * 16, "child", b"code", CPU), b"", 0, 1, depth=1))
        return task_id + FIRST_RETURN

    def wait(self, name: bytes, caller: bytes | None, *, blocks: bool = False) -> int:
        self._calls += 1
        waits = e.AwaitObjects(self._calls, (name,), 1, True, blocks, caller)  # noqa: FBT003
        self.step(waits)
        return self._calls

    def tell(self, task_id: bytes) -> tuple[str, list[Question]]:
        cause = read_answer(self.machine.owner.told("task", task_id))
        return cause.text, cause.deeper


@pytest.fixture
def desk() -> Desk:
    made = Desk()
    made.run(FIRST)
    return made


@pytest.mark.parametrize("caller", [FIRST, b"", SECOND])
def test_it_lends_the_cpu_after_a_while_and_takes_it_back(desk: Desk, caller: bytes) -> None:
    """The call itself in a coroutine, a thread of no call, one of a call that has ended."""
    call_id = desk.wait(desk.submit(), caller)
    desk.advance(ASIDE_DELAY_NS - 1)
    assert desk.said == []
    desk.advance(1)
    assert desk.said == [m.Blocked(0, runs=False)], "and nothing may run on top of it"
    desk.step(e.StopWaiting(call_id))
    assert desk.said[1:] == [m.Unblocked()]
    desk.advance(ASIDE_DELAY_NS * 3)
    assert len(desk.said) == 2


def test_a_future_that_nobody_asks_is_no_wait(desk: Desk) -> None:
    desk.wait(desk.submit(), None)
    desk.advance(ASIDE_DELAY_NS * 3)
    assert desk.said == []
    assert desk.tell(FIRST)[0].endswith(f"runs in process {WORKER[8:12].hex()}")


def test_what_is_queued_behind_it_goes_elsewhere(desk: Desk) -> None:
    desk.push(SECOND)
    desk.wait(desk.submit(), b"")
    desk.advance(ASIDE_DELAY_NS)
    assert desk.back == [SECOND]


def test_a_thread_that_its_task_leaves_behind_lends_nothing_of_the_next(desk: Desk) -> None:
    desk.wait(desk.submit(), b"")
    desk.advance(ASIDE_DELAY_NS)
    desk.end(FIRST)
    assert desk.said == [m.Blocked(0, runs=False), m.Unblocked()]
    desk.run(SECOND)
    desk.advance(ASIDE_DELAY_NS * 3)
    assert len(desk.said) == 2


def test_one_of_several_waits_goes_on(desk: Desk) -> None:
    first, second = (desk.wait(desk.submit(), b"") for _ in range(2))
    desk.advance(ASIDE_DELAY_NS)
    desk.step(e.StopWaiting(first))
    desk.advance(ASIDE_DELAY_NS * 3)
    assert desk.said == [m.Blocked(0, runs=False)]
    desk.step(e.StopWaiting(second))
    assert desk.said[1:] == [m.Unblocked()]


def test_the_end_of_a_get_takes_the_cpu_back_though_a_thread_waits(desk: Desk) -> None:
    """The task certainly computes then; it may come to wait for that thread."""
    desk.wait(desk.submit(), b"")
    desk.advance(ASIDE_DELAY_NS // 2)
    child = desk.submit()
    get = desk.wait(child, FIRST, blocks=True)
    desk.advance(BLOCK_DELAY_NS)
    assert [type(one) for one in desk.said] == [m.Blocked]
    desk.advance(ASIDE_DELAY_NS)
    desk.step(e.StopWaiting(get))
    assert type(desk.said[-1]) is m.Unblocked
    said = len(desk.said)
    desk.advance(ASIDE_DELAY_NS - 1)
    assert len(desk.said) == said
    desk.advance(1)
    assert desk.said[said:] == [m.Blocked(0, runs=False)]


def test_an_actor_keeps_its_cpu() -> None:
    desk = Desk()
    desk.become_actor()
    desk.wait(desk.submit(), ACTOR)
    desk.wait(desk.submit(), b"")
    desk.advance(ASIDE_DELAY_NS * 3)
    assert desk.said == []


def test_a_wait_for_room_in_another_thread_lends_the_cpu() -> None:
    desk = Desk()
    desk.machine = WorkerMachine(WORKER, NODE, Config(pending_calls_max=2), SymbolicFailures())
    desk.hear(NODE, m.Bind(1, 1, DRIVER, CPU))
    desk.run(FIRST)
    desk.submit()
    desk.submit()
    desk.step(e.AwaitRoom(1, b""))
    desk.advance(ASIDE_DELAY_NS)
    assert desk.said == [m.Blocked(0, runs=False)]


def test_each_call_is_told_by_its_own_waits() -> None:
    desk = Desk()
    desk.become_actor()
    one, two, three = (desk.submit() for _ in range(3))
    desk.wait(one, ACTOR)
    text, deeper = desk.tell(ACTOR)
    assert text.endswith("waits there for others")
    assert deeper == [Question(WORKER, "object", one)]
    desk.wait(two, b"")
    desk.wait(three, b"")
    assert desk.tell(ACTOR)[1] == deeper, "what a thread waits for is not known to be its wait"


def test_a_call_without_waits_of_its_own_tells_those_of_threads(desk: Desk) -> None:
    one, two = desk.submit(), desk.submit()
    desk.wait(one, b"")
    desk.wait(two, SECOND)
    text, deeper = desk.tell(FIRST)
    assert text.endswith("a thread of that process waits for others")
    assert deeper == [Question(WORKER, "object", one), Question(WORKER, "object", two)]


def test_a_question_that_is_given_up_leaves_nothing(desk: Desk) -> None:
    desk.step(e.AskedOwner(7, OTHER, "object", FIRST))
    desk.step(e.StopWaiting(7))
    assert desk.machine.owner._asked == {}  # noqa: SLF001
