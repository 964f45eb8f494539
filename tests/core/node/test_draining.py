"""A node that drains: what it refuses, what it still lends, and when it stops."""

from __future__ import annotations

from itertools import count

import pytest

from zfut.config import Config
from zfut.core import effects as f
from zfut.core.events import Received, Woken
from zfut.core.node.machine import NodeMachine
from zfut.wire import messages as m

CPU = (("CPU", 10_000),)
NODE = b"n" * 8
MANAGER = NODE + bytes(8)
PROGRAM = NODE + b"program."
ASKER = NODE + b"askerask"
GRACE_NS, LINGER_NS = 1000, 100


class Bench:
    """A node of two CPUs, whose effects are kept."""

    def __init__(self) -> None:
        config = Config(drain_grace_ns=GRACE_NS, drain_linger_ns=LINGER_NS)
        spawns = count(1)
        self.node = NodeMachine(
            MANAGER,
            config,
            {"CPU": 20_000},
            1 << 20,
            lambda: NODE + next(spawns).to_bytes(8, "big"),
        )
        self.now = 0
        self.effects: list[f.Effect] = []

    def tell(self, sender: bytes, message: m.Message) -> list[f.Effect]:
        """Let a message arrive; a worker that is asked for is there at once."""
        return self._keep(self.node.step(Received(sender, message), self.now))

    def join(self, uid: bytes) -> None:
        self.tell(uid, m.Hello(m.PROTOCOL_VERSION, b"", uid, "driver", 1))

    def ask(self, owner: bytes, lease_id: int, *, actor_id: bytes = b"") -> list[f.Effect]:
        return self.tell(owner, m.RequestLease(lease_id, CPU, 0, 1, "f", actor_id))

    def wait_until(self, now: int) -> None:
        """Hand in Woken whenever the machine asks for it, up to ``now``."""
        while (wake := self.node.wake_at()) is not None and wake <= now and not self.ended():
            self.now = max(self.now, wake)
            self._keep(self.node.step(Woken(), self.now))
        self.now = now

    def _keep(self, effects: list[f.Effect]) -> list[f.Effect]:
        self.effects += effects
        kept = list(effects)
        for effect in effects:
            if isinstance(effect, f.StartWorker):
                hello = m.Hello(m.PROTOCOL_VERSION, b"", effect.uid, "worker", 1)
                kept += self.tell(effect.uid, hello)
        self.node.check()
        return kept

    def ended(self) -> str:
        """Why the node has stopped; nothing if it has not."""
        return next((e.why for e in self.effects if isinstance(e, f.EndProcess)), "")


def sent(effects: list[f.Effect], to: bytes) -> list[m.Message]:
    return [e.message for e in effects if isinstance(e, f.Send) and e.to == to]


def granted(effects: list[f.Effect], to: bytes) -> m.LeaseGranted:
    (message,) = [one for one in sent(effects, to) if isinstance(one, m.LeaseGranted)]
    return message


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.join(PROGRAM)
    bench.join(ASKER)
    return bench


def drain(bench: Bench) -> list[f.Effect]:
    return bench.tell(ASKER, m.Stop("told to", drain=True))


def test_a_node_with_nothing_out_and_no_program_stops_at_once(bench: Bench) -> None:
    bench.tell(PROGRAM, m.Farewell())
    drain(bench)
    assert bench.ended() == "told to"


def test_what_waits_is_refused_and_what_runs_is_asked_back(bench: Bench) -> None:
    for lease_id in (1, 2, 3):
        bench.ask(PROGRAM, lease_id)
    assert len(bench.node.granting.leases.granted) == 2
    said = sent(drain(bench), PROGRAM)
    assert [one.lease_id for one in said if isinstance(one, m.LeaseFailed)] == [3]
    assert [one.lease_id for one in said if isinstance(one, m.LeaseRevoked)] == [1, 2]
    assert not bench.ended()


def test_programs_get_nothing_new_those_that_join_later_too(bench: Bench) -> None:
    bench.ask(PROGRAM, 1)
    drain(bench)
    late = NODE + b"latecome"
    bench.join(late)
    for owner in (PROGRAM, late):
        (refused,) = sent(bench.ask(owner, 9), owner)
        assert isinstance(refused, m.LeaseFailed)
        assert "draining" in refused.why


def test_a_running_task_still_gets_workers_for_its_own_tasks(bench: Bench) -> None:
    parent = granted(bench.ask(PROGRAM, 1), PROGRAM).worker
    drain(bench)
    bench.tell(parent, m.Blocked())
    child = granted(bench.ask(parent, 1), parent)
    assert child.worker != parent
    bench.tell(PROGRAM, m.ReturnLease(1, "done"))
    assert not bench.ended(), "the child's lease is out"


def test_it_lingers_so_that_programs_can_take_their_results(bench: Bench) -> None:
    bench.ask(PROGRAM, 1)
    drain(bench)
    bench.now = 50
    bench.tell(PROGRAM, m.ReturnLease(1, "done"))
    bench.wait_until(50 + LINGER_NS - 1)
    assert not bench.ended()
    bench.wait_until(50 + LINGER_NS)
    assert bench.ended() == "told to"


def test_it_does_not_linger_when_the_last_program_leaves(bench: Bench) -> None:
    bench.ask(PROGRAM, 1)
    drain(bench)
    bench.tell(PROGRAM, m.ReturnLease(1, "done"))
    assert not bench.ended()
    bench.tell(PROGRAM, m.Farewell())
    assert bench.ended() == "told to"


def test_after_the_grace_period_it_stops_and_says_what_had_not_ended(bench: Bench) -> None:
    bench.ask(PROGRAM, 1)
    bench.ask(PROGRAM, 2, actor_id=b"a" * 24)
    drain(bench)
    bench.wait_until(GRACE_NS - 1)
    assert not bench.ended()
    bench.wait_until(GRACE_NS)
    assert "told to; 2 leases were out" in bench.ended()
    stops = [one for one in sent(bench.effects, PROGRAM) if isinstance(one, m.NodeStops)]
    assert [one.why for one in stops] == [bench.ended()]


def test_an_actor_is_not_taken_from_its_program(bench: Bench) -> None:
    bench.ask(PROGRAM, 1, actor_id=b"a" * 24)
    assert not [one for one in sent(drain(bench), PROGRAM) if isinstance(one, m.LeaseRevoked)]


def test_being_told_again_changes_nothing_and_to_stop_stops(bench: Bench) -> None:
    bench.ask(PROGRAM, 1)
    drain(bench)
    bench.now = GRACE_NS - 1
    assert not sent(drain(bench), PROGRAM)
    bench.wait_until(GRACE_NS)
    assert bench.ended(), "the grace period began with the first time"

    other = Bench()
    other.join(PROGRAM)
    other.join(ASKER)
    other.ask(PROGRAM, 1)
    drain(other)
    other.tell(ASKER, m.Stop("now"))
    assert other.ended() == "now"


def test_no_worker_starts_in_advance_while_it_drains(bench: Bench) -> None:
    bench.ask(PROGRAM, 1)
    bench.node.granting.prestart = 8
    drain(bench)
    bench.node.granting.dirty = True
    before = len(bench.node.granting.pool.workers)
    bench.wait_until(1)
    bench.tell(PROGRAM, m.Watch(()))
    assert len(bench.node.granting.pool.workers) == before
