"""What protects a reference that a process has found in a value, when that value goes."""

from __future__ import annotations

from tests.core.test_borrowing import ME, OWNER, said
from zfut.config import Config
from zfut.core import events as e
from zfut.core.owner.covers import SLACK, Covers
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.records import Task, Template
from zfut.ids import NodeUid, proc_uid
from zfut.sim.values import SymbolicFailures
from zfut.wire import messages as m
from zfut.wire.specs import Address

MANAGER, OTHER = (proc_uid(NodeUid(b"simnode1"), number, b"test") for number in (0, 9))
OUTER, INNER = (OWNER + bytes([0] * 7 + [number]) + b"\0\0\0\1" for number in (5, 6))
FIRST, SECOND = (OTHER + bytes([0] * 7 + [number]) for number in (1, 2))


def who_has_found_it() -> OwnerMachine:
    """Return a borrower that was lent a value in one call, and has found a reference in it."""
    me = OwnerMachine(ME, MANAGER, Config(), SymbolicFailures())
    me.step(e.RefArrived(OUTER, Address(OWNER), FIRST), 0)
    me.step(e.RefArrived(INNER, Address(OWNER), OUTER), 0)
    return me


def test_the_call_that_brought_the_value_protects_what_is_in_it() -> None:
    me = who_has_found_it()
    assert m.RegisterBorrows not in said(me.step(OUTER, 0), OWNER)
    assert FIRST in me.ledger.covers.over(INNER)


def test_another_call_that_brought_it_too_may_live_on_our_own_hold() -> None:
    me = who_has_found_it()
    assert not me.borrowing.end_call(FIRST, OTHER)
    me.step(e.RefArrived(INNER, Address(OWNER), SECOND), 0)
    assert m.RegisterBorrows in said(me.step(OUTER, 0), OWNER)


def test_a_call_of_our_own_protects_nothing() -> None:
    me = who_has_found_it()
    me.borrowing.end_call(FIRST, OTHER)
    task = Task(ME + bytes(8), Template(b"f", "f", b"", ()), b"", 1, 1)
    task.nested = ((INNER, Address(OWNER)),)
    me.step(task, 0)
    me.step(e.RefArrived(INNER, Address(OWNER), task.task_id), 0)
    assert m.RegisterBorrows in said(me.step(OUTER, 0), OWNER)


# ------------------------------------------------------------------ the table


def names(count: int, start: int = 0) -> list[bytes]:
    return [OWNER + number.to_bytes(8, "big") + bytes(4) for number in range(start, count)]


def test_who_covers_is_found_from_what_is_covered() -> None:
    covers = Covers()
    covers.add(FIRST, names(3))
    covers.add(SECOND, names(3, start=1))
    assert covers.over(names(1)[0]) == {FIRST: ()}
    assert covers.over(names(3)[2]) == {FIRST: (), SECOND: ()}
    assert list(covers.take(FIRST)) == names(3)
    assert covers.over(names(1)[0]) == {}
    assert covers.over(names(3)[2]) == {SECOND: ()}
    covers.check()


def test_what_came_by_itself_needs_no_way() -> None:
    covers = Covers()
    (name,) = names(1)
    covers.add(FIRST, [name], (OUTER,))
    assert covers.over(name) == {FIRST: (OUTER,)}
    covers.add(FIRST, [name], (OUTER, INNER))
    assert covers.over(name) == {FIRST: (OUTER,)}
    covers.add(FIRST, [name])
    covers.add(FIRST, [name], (OUTER,))
    assert covers.over(name) == {FIRST: ()}


def test_a_death_takes_what_came_by_way_of_the_dead() -> None:
    covers = Covers()
    straight, led, inside = names(3)
    covers.add(FIRST, [straight])
    covers.add(FIRST, [led], (OTHER + bytes(12), OUTER))
    covers.add(OUTER, [inside])
    assert covers.take_of(OWNER) == [inside, led]
    assert dict(covers.items()) == {FIRST: {straight: ()}}
    assert not covers.over(led)
    covers.check()


def test_the_tables_do_not_grow_with_what_has_been() -> None:
    covers = Covers()
    shared, own = names(2)
    covers.add(FIRST, [own])
    for number in range(10 * SLACK):
        cover = OTHER + number.to_bytes(12, "big")
        covers.add(cover, [shared, *names(number + 3, start=number + 2)])
        covers.take(cover)
    assert covers.over(own) == {FIRST: ()}
    assert not covers.over(shared)
    assert covers.noted <= 2 * SLACK
