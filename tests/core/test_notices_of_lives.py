"""What a caller hears of an actor's lives, in every order in which it may come.

The owner's words come in their order; the node's word that a process is dead comes before, between
or after them.  The number of the life decides.
"""

from __future__ import annotations

import pytest

from zfut.actors.failures import WordedFailures
from zfut.config import Config
from zfut.core import effects as f
from zfut.core import events as e
from zfut.core.owner.actors import handle_id
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.records import Task, Template
from zfut.wire import messages as m
from zfut.wire.serialize import PICKLE
from zfut.wire.specs import Address

ME, NODE = b"n" * 8 + b"m" * 8, b"n" * 16
OWNER, FIRST, SECOND = (b"n" * 8 + bytes([n]) * 8 for n in (1, 2, 3))
ACTOR = OWNER + bytes(7) + b"\1"

ALIVE = m.ActorMoved(ACTOR, 0, "alive", FIRST)
RESTARTING = m.ActorMoved(ACTOR, 1, "restarting", b"")
AGAIN = m.ActorMoved(ACTOR, 1, "alive", SECOND)
DEATH = (NODE, m.ProcessDied(FIRST, "killed"))
WORDS = [(OWNER, RESTARTING), (OWNER, AGAIN)]


class Caller:
    """A machine with a handle that it was given, and what it sent to the actor's processes."""

    def __init__(self) -> None:
        self.machine = OwnerMachine(ME, NODE, Config(), WordedFailures())
        self.sent: list[tuple[bytes, int, bytes, int]] = []
        self.step(e.RefArrived(handle_id(ACTOR), Address(OWNER), b""))

    def step(self, event: e.Event) -> None:
        for effect in self.machine.step(event, 1):
            if isinstance(effect, f.Send) and isinstance(effect.message, m.PushCalls):
                self.sent += [
                    (effect.to, effect.message.incarnation, spec.task_id[-1:], spec.attempt)
                    for spec in effect.message.calls
                ]

    def hear(self, *told: tuple[bytes, m.Message]) -> None:
        for sender, message in told:
            self.step(e.Received(sender, message))

    def call(self, number: int) -> None:
        template = Template(b"f", "m", b"", (), max_retries=2)
        task = Task(ME + number.to_bytes(8, "big"), template, b"", PICKLE, 1)
        task.actor_id, task.actor_owner, task.method = ACTOR, Address(OWNER), b"m"
        self.step(task)


@pytest.mark.parametrize("late", [0, 1, 2])
def test_what_was_sent_goes_once_to_the_next_life_and_in_order(late: int) -> None:
    caller = Caller()
    caller.call(1)
    caller.hear((OWNER, ALIVE))
    caller.call(2)
    assert caller.sent == [(FIRST, 0, b"\1", 0), (FIRST, 0, b"\2", 0)]
    caller.sent.clear()
    caller.hear(*WORDS[:late], DEATH, *WORDS[late:])
    caller.call(3)
    again = [(SECOND, 1, b"\1", 1), (SECOND, 1, b"\2", 1), (SECOND, 1, b"\3", 0)]
    assert caller.sent == again
    caller.hear((OWNER, ALIVE), (OWNER, AGAIN), DEATH)
    caller.call(4)
    assert caller.sent == [*again, (SECOND, 1, b"\4", 0)]


def test_a_life_that_ended_before_it_was_heard_of_gets_no_call() -> None:
    caller = Caller()
    caller.hear(DEATH)
    caller.call(1)
    caller.hear((OWNER, ALIVE))
    assert caller.sent == []
    caller.hear(*WORDS)
    assert [(to, life, name) for to, life, name, _ in caller.sent] == [(SECOND, 1, b"\1")]
