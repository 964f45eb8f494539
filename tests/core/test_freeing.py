"""zfut.free() on one owner's machine: what is told, what is withheld, what is made again."""

from __future__ import annotations

import pytest

from tests.core.test_lineage import NODE, OWNER, SIZE, WORKER, Bench
from zfut.core import events as e
from zfut.core.owner.freeing import Freeing
from zfut.core.owner.records import (
    ACTOR,
    FAILED,
    FREED,
    PENDING,
    STORED,
    Creation,
    ObjectRow,
    Task,
    Template,
)
from zfut.core.owner.why import read_answer
from zfut.ids import PUT_INDEX
from zfut.sim.values import read_failure
from zfut.wire import messages as m
from zfut.wire.specs import Address, Failed, Stored

OTHER = b"b" * 16
TOKEN = OTHER + bytes(8)


class Desk(Bench):
    """A bench that remembers whose memory was freed."""

    def __init__(self, **limits: int) -> None:
        super().__init__(**limits)
        self.freed: list[int] = []
        self.said: list[m.Message] = []
        self.away = False  # the worker takes its time

    def _answer(self, message: m.Message) -> list[e.Received]:
        self.said.append(message)
        if isinstance(message, m.FreeMemory | m.FreeClaimed):
            self.freed.extend(message.offsets)
        return [] if self.away else super()._answer(message)

    def free(self, *names: bytes) -> None:
        """Let user code free objects."""
        self.step(e.ObjectsFreed(names))

    def place(self, name: bytes) -> int:
        """Say where a value lies."""
        value = self.machine.rows[name].value
        assert isinstance(value, Stored)
        return value.offset

    def view(self, name: bytes) -> e.ViewArrived:
        """Say that the value is open here."""
        value = self.machine.rows[name].value
        assert isinstance(value, Stored)
        return e.ViewArrived(value, b"")

    def put_small(self, *refs: bytes) -> bytes:
        """Put a value that lies in its row."""
        self._tasks += 1
        name = OWNER + self._tasks.to_bytes(8, "big") + PUT_INDEX
        inside = tuple((ref, Address(OWNER)) for ref in refs)
        self.step(e.PutInline(name, 1, b"small", inside))
        return name

    def run_last(self) -> None:
        """The worker is back, and runs what it was sent last."""
        self.away = False
        sent = next(one for one in reversed(self.said) if isinstance(one, m.PushTasks))
        for answer in super()._answer(sent):
            self.step(answer)

    def explain(self, name: bytes) -> str:
        """Say what the machine says of an object."""
        return read_answer(self.machine.told("object", name)).text


def assert_freed(bench: Bench, name: bytes) -> None:
    assert bench.state(name) == FAILED
    assert bench.failure(name) == ["ObjectFreedError", name]


def test_a_handle_alone_keeps_no_memory() -> None:
    bench = Desk()
    made = bench.submit()
    place = bench.place(made)
    bench.free(made)
    assert_freed(bench, made)
    assert bench.freed == [place]
    assert "freed by zfut.free()" in bench.explain(made)
    bench.drop(made)
    assert not bench.machine.rows
    assert bench.freed == [place], "once"


def test_twice_and_in_one_call_is_once() -> None:
    bench = Desk()
    made = bench.submit()
    bench.free(made, made)
    bench.free(made)
    assert len(bench.freed) == 1
    bench.drop(made)
    bench.free(made)
    assert not bench.machine.rows


def test_what_has_failed_keeps_its_own_error() -> None:
    bench = Desk()
    put = bench.put()
    bench.lose(put)
    bench.free(put)
    assert bench.failure(put)[0] == "ReconstructionFailedError"
    assert not bench.machine.rows[put].freed


def test_a_call_that_takes_it_fails_and_says_what_was_freed() -> None:
    bench = Desk()
    made = bench.submit()
    bench.free(made)
    runs = len(bench.runs)
    late = bench.submit(made)
    assert bench.failure(late)[0] == "Dependency"
    inner = bench.failure(late)[1]
    assert isinstance(inner, bytes)
    assert read_failure(inner) == ["ObjectFreedError", made]
    assert len(bench.runs) == runs, "it never ran"


def test_memory_waits_for_the_call_that_reads_it() -> None:
    bench = Desk()
    made = bench.submit()
    place = bench.place(made)
    bench.away = True
    reader = bench.submit(made)
    bench.free(made)
    assert_freed(bench, made)
    assert not bench.freed
    assert "calls that carry it: 1" in bench.explain(made)
    bench.run_last()
    assert bench.state(reader) == STORED
    assert bench.freed == [place]


def test_memory_waits_for_views_and_for_borrowers() -> None:
    bench = Desk()
    made = bench.submit()
    place = bench.place(made)
    bench.step(bench.view(made))
    bench.step(e.Received(OTHER, m.RegisterBorrows(OTHER, ((made, TOKEN),))))
    bench.free(made)
    assert "processes that use it: 1, views of it: 1" in bench.explain(made)
    bench.step(e.ViewClosed(made))
    assert not bench.freed
    bench.step(e.Received(OTHER, m.LocateObjects((made,), 1)))
    told = bench.said[-1]
    assert isinstance(told, m.ObjectReady)
    assert isinstance(told.value, Failed)
    bench.step(e.Received(OTHER, m.ReleaseBorrows(((made, TOKEN),))))
    assert bench.freed == [place]
    assert bench.state(made) == FAILED


def test_memory_waits_for_the_value_that_it_is_in() -> None:
    bench = Desk()
    inner = bench.submit()
    place = bench.place(inner)
    outer = bench.put_small(inner)
    bench.free(inner)
    assert not bench.freed, "whoever has the outer value open may read the inner one"
    bench.drop(outer)
    assert bench.freed == [place]


def test_what_is_in_a_freed_value_goes_with_it() -> None:
    bench = Desk()
    inner = bench.submit()
    place = bench.place(inner)
    outer = bench.put_small(inner)
    bench.drop(inner)
    assert bench.state(inner) == STORED
    bench.free(outer)
    assert inner not in bench.machine.rows
    assert bench.freed == [place]


def test_a_pending_object_fails_its_calls_at_once_and_itself_when_its_value_comes() -> None:
    bench = Desk()
    bench.away = True
    made = bench.submit()
    waits = bench.submit(made)
    bench.step(e.Received(OTHER, m.LocateObjects((made,), 1)))
    bench.free(made)
    assert bench.failure(waits)[0] == "Dependency"
    assert bench.state(made) == PENDING
    told = bench.said[-1]
    assert isinstance(told, m.ObjectReady)
    assert isinstance(told.value, Failed)
    late = bench.submit(made)
    assert bench.failure(late)[0] == "Dependency"
    bench.away = False
    bench.step(e.Received(NODE, m.LeaseGranted(1, WORKER, 1)))
    assert bench.runs == [made[:24]]
    assert_freed(bench, made)
    assert len(bench.freed) == 1


def test_what_was_made_from_it_is_made_again() -> None:
    bench = Desk()
    root = bench.submit()
    made = bench.submit(root)
    bench.free(root)
    bench.freed.clear()
    bench.runs.clear()
    bench.lose(made)
    assert bench.runs == [root[:24], made[:24]]
    assert bench.state(made) == STORED
    assert_freed(bench, root)
    assert len(bench.freed) == 2, "the lost value's memory, and the root's second"
    bench.lose(made)
    assert bench.state(made) == STORED, "as often as it may"


def test_a_chain_of_freed_values_is_made_again() -> None:
    bench = Desk()
    names = [bench.submit()]
    for _ in range(300):
        names.append(bench.submit(names[-1]))
    bench.free(*names[:-1])
    bench.runs.clear()
    bench.lose(names[-1])
    assert bench.runs == [name[:24] for name in names]
    assert bench.state(names[-1]) == STORED
    assert all(bench.state(name) == FAILED for name in names[:-1])
    assert len(bench.freed) == 2 * 300 + 1
    withheld = bench.machine.ledger.withheld
    assert (withheld.lent, withheld.due, withheld.rerun) == ({}, {}, {})
    bench.drop(*names)
    assert not bench.machine.rows


def test_a_value_that_is_still_withheld_is_used_again_as_it_is() -> None:
    bench = Desk()
    put = bench.put()
    made = bench.submit(put)
    bench.step(bench.view(put))
    bench.free(put)
    bench.lose(made)
    assert bench.state(made) == STORED
    assert_freed(bench, put)
    bench.step(e.ViewClosed(put))
    bench.lose(made)
    assert bench.state(made) == FAILED
    inner = bench.failure(made)[1]
    assert isinstance(inner, bytes)
    assert read_failure(inner) == ["ObjectFreedError", put], "no task makes a put again"


def test_what_lies_inside_an_argument_is_lent_too() -> None:
    bench = Desk()
    root = bench.submit()
    box = bench.put_small(bench.put_small(root))
    made = bench.submit(box)
    bench.free(root)
    bench.away = True
    bench.lose(made)
    assert bench.state(root) == STORED, "the call that runs again may ask for it"
    bench.run_last()
    assert bench.state(made) == STORED
    assert_freed(bench, root)
    assert not bench.machine.ledger.withheld.lent


def test_a_small_value_stays_for_what_was_made_from_it() -> None:
    bench = Desk()
    put = bench.put_small()
    made = bench.submit(put)
    bench.free(put)
    assert_freed(bench, put)
    bench.lose(made)
    assert bench.state(made) == STORED
    assert_freed(bench, put)


def test_what_is_in_a_small_value_goes_when_no_lineage_names_it_any_more() -> None:
    bench = Desk()
    inner = bench.submit()
    place = bench.place(inner)
    outer = bench.put_small(inner)
    bench.drop(inner)
    made = bench.submit(outer)
    bench.free(outer)
    assert not bench.freed, "the lost value's call would need it"
    bench.freed.clear()
    bench.drop(made)
    assert place in bench.freed
    assert inner not in bench.machine.rows
    assert_freed(bench, outer)


def test_settling_looks_only_at_what_something_happened_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Desk()
    names = [bench.submit() for _ in range(20)]
    bench.step(e.Received(OTHER, m.RegisterBorrows(OTHER, tuple((n, TOKEN) for n in names))))
    bench.free(*names)
    looked: list[bytes] = []
    right = Freeing.may_be_read

    def watched(row: ObjectRow) -> bool:
        looked.extend(name for name in names if bench.machine.rows[name] is row)
        return right(row)

    monkeypatch.setattr(Freeing, "may_be_read", staticmethod(watched))
    monkeypatch.setattr(Freeing, "check", lambda _: None)  # it looks at all of them
    bench.submit()
    assert not looked
    bench.step(e.Received(OTHER, m.ReleaseBorrows(((names[3], TOKEN),))))
    assert looked == [names[3]]
    bench.step(e.Received(NODE, m.ProcessDied(OTHER, "killed", 0)))
    assert len(bench.freed) == 1, "it may have lent them on"
    bench.step(e.Received(NODE, m.ProcessFenced(OTHER)))
    assert set(looked[1:]) == {name for name in names if name != names[3]}
    assert len(bench.freed) == len(names)


def test_freed_while_it_is_made_again_for_another() -> None:
    bench = Desk()
    root = bench.submit()
    made = bench.submit(root)
    bench.drop(root)
    bench.step(e.RefArrived(root, Address(OWNER), b""))
    assert bench.state(root) == FREED, "only lineage needed it"
    bench.away = True
    bench.lose(made)
    assert bench.state(root) == PENDING
    bench.free(root)
    bench.run_last()
    assert bench.state(made) == STORED
    assert_freed(bench, root)


def test_an_actor_is_not_sent_what_is_freed_in_the_turn_of_the_call() -> None:
    bench = Desk()
    made = bench.submit()
    actor_id, actor_at = OTHER + bytes(8), b"a" * 16
    template = Template(b"", "A.m", b"", (), max_retries=0)
    calls = []
    for number, deps in ((91, ()), (92, ((0, made, Address(OWNER)),))):
        task = Task(OWNER + number.to_bytes(8, "big"), template, b"args", 1, 1, deps)
        task.actor_id, task.actor_owner, task.method = actor_id, Address(OTHER), b"m"
        calls.append(task)
    bench.step(calls[0])
    bench.step(e.Received(OTHER, m.ActorMoved(actor_id, 0, "alive", actor_at)))
    bench.machine.handle(calls[1], 0)
    bench.machine.handle(e.ObjectsFreed((made,)), 0)
    bench.machine.settle(0)
    assert bench.failure(calls[1].task_id + b"\0\0\0\1")[0] == "Dependency"


def test_a_queued_call_fails_and_one_that_waits_for_another_argument_too() -> None:
    bench = Desk()
    first = bench.submit()
    bench.away = True
    second = bench.submit()
    both, queued = bench.submit(first, second), [bench.submit(first) for _ in range(300)]
    bench.free(first)
    assert bench.failure(both)[0] == "Dependency", "at once, not when the second is there"
    sent = [
        spec.task_id for one in bench.said if isinstance(one, m.PushTasks) for spec in one.tasks
    ]
    unsent = [name for name in queued if name[:24] not in sent]
    assert unsent
    assert all(bench.failure(name)[0] == "Dependency" for name in unsent)
    assert all(bench.state(name) == PENDING for name in queued if name not in unsent)


@pytest.mark.parametrize("again", [False, True])
def test_a_dead_writers_memory_is_claimed_while_it_is_withheld(again: bool) -> None:  # noqa: FBT001
    bench = Desk()
    made = bench.submit()
    place = bench.place(made)
    bench.step(bench.view(made))
    bench.free(made)
    bench.step(e.Received(NODE, m.ProcessDied(WORKER, "killed", 0)))
    claim = next(one for one in reversed(bench.said) if isinstance(one, m.ClaimMemory))
    assert claim.pieces == ((place, SIZE),)
    if again:
        bench.drop(made)
        assert not bench.freed
    bench.step(e.ViewClosed(made))
    assert bench.freed == [place]


def test_what_others_own_and_handles_of_actors_are_left_alone() -> None:
    bench = Desk()
    borrowed = OTHER + bytes(8) + b"\0\0\0\1"
    bench.step(e.RefArrived(borrowed, Address(OTHER), b""))
    actor_id = OWNER + (77).to_bytes(8, "big")
    actor = Task(actor_id, Template(b"c" * 16, "C", b"", (), 0), b"", 1, 0)
    actor.creation = Creation(1, "", "", "C")
    bench.step(actor)
    unknown = OWNER + bytes(12)
    bench.free(borrowed, actor_id + bytes(4), unknown)
    assert bench.state(borrowed) == PENDING
    assert bench.state(actor_id + bytes(4)) == ACTOR
    assert unknown not in bench.machine.rows
    assert not any(row.freed for row in bench.machine.rows.values())


def test_a_call_that_was_given_up_is_asked_for_nothing_any_more() -> None:
    """It stays among those who wait for its other argument; what it takes may be gone by then."""
    bench = Desk()
    bench.away = True
    waited_for, taken = bench.submit(), bench.put_small()
    given_up = bench.submit(waited_for, taken)
    bench.step(e.Cancelled(given_up, force=False, recursive=False))
    queued = bench.submit(taken)
    bench.machine.handle(e.ObjectsFreed((taken,)), 0)
    bench.machine.handle(e.Cancelled(queued, force=False, recursive=False), 0)
    bench.machine.handle(taken, 0)
    bench.machine.settle(0)
    assert taken not in bench.machine.rows
    bench.machine.check()
