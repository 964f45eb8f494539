"""The borrower's side on one machine: what it says to the owners of what it uses."""

from __future__ import annotations

from zfut.config import Config
from zfut.core import events as e
from zfut.core.effects import Effect, Send
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.records import Task, Template
from zfut.ids import NodeUid, proc_uid
from zfut.sim.values import SymbolicFailures
from zfut.wire import messages as m
from zfut.wire.specs import Address, Stored, TaskResult

NODE = NodeUid(b"simnode1")
MANAGER, OWNER, ME, WORKER = (proc_uid(NODE, number, b"test") for number in range(4))
TEMPLATE = Template(b"f", "f", b"code", (("CPU", 10_000),), 1, 3)
THEIRS = OWNER + (1).to_bytes(8, "big") + b"\0\0\0\1"


def call(number: int) -> Task:
    task_id = ME + number.to_bytes(8, "big")
    return Task(task_id, TEMPLATE, b"x", 1, 1, deps=((0, THEIRS, Address(OWNER)),))


def said(effects: list[Effect], to: bytes) -> list[type[m.Message]]:
    return [type(one.message) for one in effects if isinstance(one, Send) and one.to == to]


def kept_for_lineage() -> OwnerMachine:
    """Return a borrower that has made a stored value from somebody else's object."""
    me = OwnerMachine(ME, MANAGER, Config(), SymbolicFailures())
    me.step(e.RefArrived(THEIRS, Address(OWNER), b""), 0)
    me.step(call(1), 0)
    theirs = Stored(THEIRS, Address(OWNER), 0, MANAGER[:8], OWNER, 0, 4096, 1)
    me.step(e.Received(OWNER, m.ObjectReady(THEIRS, 1, theirs)), 0)
    me.step(e.Received(MANAGER, m.LeaseGranted(1, WORKER, 1)), 0)
    mine = Stored(
        ME + (1).to_bytes(8, "big") + b"\0\0\0\1", Address(ME), 0, NODE, WORKER, 8192, 4096, 1
    )
    me.step(
        e.Received(
            WORKER, m.TasksFinished((TaskResult(ME + (1).to_bytes(8, "big"), 0, 0, (mine,)),))
        ),
        0,
    )
    return me


def test_an_object_that_is_let_go_and_found_again_in_one_turn_is_not_let_go() -> None:
    me = kept_for_lineage()
    me.handle(THEIRS, 0)
    me.handle(e.RefArrived(THEIRS, Address(OWNER), b"c" * 28), 0)
    me.handle(call(2), 0)
    told = said(me.settle(0), OWNER)
    assert m.DowngradeBorrows not in told, "the owner must not free what the call takes"
    assert m.ReviveBorrows not in told
    assert me.rows[THEIRS].registered()


def test_an_object_that_only_lineage_needs_is_revived_when_it_is_used_again() -> None:
    me = kept_for_lineage()
    assert said(me.step(THEIRS, 0), OWNER) == [m.DowngradeBorrows]
    me.handle(e.RefArrived(THEIRS, Address(OWNER), b"c" * 28), 0)
    me.handle(call(2), 0)
    assert m.ReviveBorrows in said(me.settle(0), OWNER)
    assert me.rows[THEIRS].registered()
