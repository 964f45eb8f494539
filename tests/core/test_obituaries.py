"""What a process remembers of the dead is bounded, but for those of whom its tables name."""

from __future__ import annotations

from zfut.actors.failures import WordedFailures
from zfut.config import Config
from zfut.core import effects as f
from zfut.core import events as e
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.obituaries import Obituaries
from zfut.core.owner.records import FAILED, PENDING
from zfut.wire import messages as m
from zfut.wire.specs import Address

ME, NODE = b"n" * 8 + b"m" * 8, b"n" * 16
BOUND = 10
FIRST = bytes(11) + b"\1"


def uid(number: int) -> bytes:
    return b"n" * 8 + number.to_bytes(8, "big")


def owner() -> OwnerMachine:
    return OwnerMachine(ME, NODE, Config(deaths_max=BOUND), WordedFailures())


def die(machine: OwnerMachine, name: bytes) -> list[f.Effect]:
    return machine.step(e.Received(NODE, m.ProcessDied(name, "killed")), 1)


def watches(effects: list[f.Effect]) -> list[bytes]:
    sent = [effect.message for effect in effects if isinstance(effect, f.Send)]
    return [name for message in sent if isinstance(message, m.Watch) for name in message.uids]


def borrow(machine: OwnerMachine, name: bytes) -> list[f.Effect]:
    """A reference to an object of this process arrives, and somebody wants its value."""
    object_id = name + FIRST
    machine.handle(e.RefArrived(object_id, Address(name), b""), 1)
    return machine.step(e.AwaitObjects(1, (object_id,), 1, fail_fast=True), 1)


def test_a_thousand_deaths_are_not_remembered() -> None:
    machine = owner()
    for number in range(1000):
        machine.ledger.watch(uid(number))
        die(machine, uid(number))
        assert len(machine.ledger.dead) <= BOUND
        assert len(machine.ledger.watched) <= BOUND + 2
    assert list(machine.ledger.dead)[-1] == uid(999)
    assert ME in machine.ledger.watched


def test_who_is_named_is_remembered() -> None:
    machine = owner()
    borrow(machine, uid(0))
    assert machine.rows[uid(0) + FIRST].state == PENDING
    for number in range(100):
        die(machine, uid(number))
    assert uid(0) in machine.ledger.dead
    assert machine.rows[uid(0) + FIRST].state == FAILED
    machine.step(uid(0) + FIRST, 1)  # the last handle is gone
    for number in range(100, 200):
        die(machine, uid(number))
    assert uid(0) not in machine.ledger.dead


def test_who_was_forgotten_is_watched_again_and_its_death_told_again() -> None:
    machine = owner()
    for number in range(100):
        die(machine, uid(number))
    assert uid(0) not in machine.ledger.dead
    assert watches(borrow(machine, uid(0))) == [uid(0)]
    effects = die(machine, uid(0))
    assert f.Forget(uid(0)) in effects
    assert f.Complete(1) in effects
    assert machine.rows[uid(0) + FIRST].state == FAILED


def test_tables_that_name_all_the_dead_are_not_searched_at_each_death() -> None:
    dead: dict[bytes, str] = {}
    searched = 0

    def named() -> list[bytes]:
        nonlocal searched
        searched += 1
        return list(dead)

    obituaries = Obituaries(dead, {}, BOUND, named)
    for number in range(BOUND * 32):
        dead[uid(number)] = "killed"
        obituaries.settle()
    assert len(dead) == BOUND * 32
    assert searched == 5
