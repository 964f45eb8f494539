"""The lease table against its dumb second version, in any history of requests.

Programs and workers ask for workers, return them, cancel, and die; workers become ready, wait, go
on, idle and die.  After each step both say who has which worker, what waits in which order, and
how much is free; at the end everything is returned and all of it is.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.core.node.dumb_node import IDLE, LEAVING, LENT, STARTING, DumbNode, Request
from tests.core.state_machines import assert_it_sees, limits, pick
from zfut.config import Config
from zfut.core import effects as f
from zfut.core import events as e
from zfut.core.node.granting import Granting
from zfut.core.node.leases import LeaseTable
from zfut.core.node.machine import NodeMachine
from zfut.core.node.resources import Resources
from zfut.core.node.worker_pool import WorkerPool
from zfut.wire import messages as m
from zfut.wire.specs import Demand

LIMITS = limits(examples=160, steps=50)
STARTS_MAX = 3
TICK_NS = 30_000_000
NODE_ID = b"n" * 8
NODE = NODE_ID + bytes(8)
TOTAL = {"CPU": 30_000, "GPU": 20_000}
DEMANDS: tuple[Demand, ...] = (
    (("CPU", 10_000),),
    (("CPU", 5_000),),
    (),
    (("CPU", 10_000), ("GPU", 15_000)),
    (("GPU", 10_000),),
    (("CPU", 5_000), ("GPU", 5_000)),
    (("CPU", 20_000),),
    (("CPU", 10_000),),
    (("CPU", 40_000),),
)

which = st.integers(0, 30)


class NodeLeases(RuleBasedStateMachine):
    """Histories of one node."""

    def __init__(self) -> None:
        super().__init__()
        names = count(1)
        config = Config(
            workers_max=1000,
            starting_max=STARTS_MAX,
            worker_idle_ns=5 * TICK_NS,
            orphan_grace_ns=2 * TICK_NS,
        )
        self.node = NodeMachine(
            NODE, config, TOTAL, 1 << 20, lambda: NODE_ID + next(names).to_bytes(8, "big")
        )
        self.dumb = DumbNode(dict(TOTAL))
        self.programs = [NODE_ID + b"program" + bytes([at]) for at in range(4)]
        self.ended: list[bytes] = []
        self.stopping: dict[bytes, int] = {}
        self.over: list[tuple[bytes, int]] = []
        self.binds: dict[bytes, int] = {}
        self.failed_starts = 0
        self.now = 0
        self._leases = count(1)
        for uid in self.programs:
            self.tell(uid, hello(uid, "driver"))

    # ---------------------------------------------------------------- both

    def tell(self, sender: bytes, message: m.Message) -> list[f.Effect]:
        """Let a message arrive."""
        return self.step(e.Received(sender, message))

    def step(self, event: e.Event) -> list[f.Effect]:  # noqa: C901, PLR0912  one for each
        """Hand an event to the machine; the dumb version has had it."""
        effects = self.node.step(event, self.now)
        grants: list[tuple[tuple[bytes, int], m.LeaseGranted]] = []
        bound: dict[bytes, m.Bind] = {}
        for effect in effects:
            match effect:
                case f.StartWorker(uid):
                    assert uid not in self.dumb.workers
                    self.dumb.workers[uid] = STARTING
                case f.KillProcess(uid):
                    if uid in self.stopping:
                        assert self.stopping.pop(uid) <= self.now, "it has some time to stop"
                    else:
                        self.dumb.doomed.remove(uid)
                    assert self.dumb.workers[uid] == LEAVING
                case f.Send(to, m.Exit("owner died")):
                    self.dumb.orphaned.remove(to)
                    self.stopping[to] = self.now + self.node.config.orphan_grace_ns
                case f.Send(to, m.Exit("max_calls")):
                    self.dumb.may_end.remove(to)
                    assert self.dumb.workers[to] == LEAVING
                case f.Send(to, m.Bind() as bind):
                    assert bind.bind > self.binds.get(to, 0), "a bind number is used once"
                    self.binds[to] = bind.bind
                    bound[to] = bind
                case f.Send(to, m.LeaseGranted() as granted):
                    grants.append(((to, granted.lease_id), granted))
                case f.Send(to, m.Exit()):
                    assert self.dumb.workers[to] == IDLE
                    self.dumb.workers[to] = LEAVING
                case f.Send(to, m.LeaseFailed(lease_id)):
                    assert self.failed_starts >= STARTS_MAX
                    self.dumb.end((to, lease_id))
                case f.Send(to, m.LeaseRevoked(lease_id)):
                    if event != e.Received(self.lent_to((to, lease_id)), m.Retire()):
                        self.check_revoked((to, lease_id))
                case _:
                    pass
        self.grant(grants, bound)
        self.compare()
        return effects

    def grant(
        self,
        grants: list[tuple[tuple[bytes, int], m.LeaseGranted]],
        bound: dict[bytes, m.Bind],
    ) -> None:
        """Grant, in the right order, what the machine has granted."""
        for name, message in grants:
            known = self.dumb.find(name)
            if known is not None and known.worker:  # told again
                assert message.worker == known.worker
                continue
            request = self.dumb.next()
            assert request is not None, "nothing fits"
            assert request.name == name, "the deepest goes first, then the oldest"
            self.dumb.grant(request, message.worker)
            bind = bound.pop(message.worker)
            assert (bind.bind, bind.lease_id, bind.owner) == (message.bind, name[1], name[0])
        assert not bound, "who is bound is lent"

    def lent_to(self, name: tuple[bytes, int]) -> bytes:
        """Return the worker of a lease."""
        lease = self.dumb.find(name)
        return lease.worker if lease is not None else b""

    def check_revoked(self, name: tuple[bytes, int]) -> None:
        """A lease makes way for somebody who has fewer, and it helps."""
        lease = self.dumb.find(name)
        assert lease is not None
        assert lease.worker
        assert not lease.actor
        assert not lease.blocked
        if self.dumb.free()["CPU"] < 0:  # tasks that had waited took theirs back
            return
        held = [each.name[0] for each in self.dumb.granted if not each.actor]
        poorer = [
            request
            for request in self.dumb.waiting
            if held.count(request.name[0]) < held.count(name[0])
            and request.depth >= lease.depth
        ]
        assert poorer, "nobody is worse off"

    def compare(self) -> None:
        """Assert that both say the same."""
        self.node.check()
        granting, dumb = self.node.granting, self.dumb
        assert not dumb.doomed, "who has nothing to live for is killed"
        assert not dumb.orphaned, "who has lost its owner is told"
        assert not dumb.may_end, "who takes no more is told when its lease has ended"
        late = [uid for uid, at in self.stopping.items() if at <= self.now]
        wake_at = self.node.wake_at()
        assert not late or (wake_at is not None and wake_at <= self.now), "the late are killed"
        assert granting.resources.free == dumb.free()
        assert {name: lease.worker for name, lease in granting.leases.granted.items()} == {
            lease.name: lease.worker for lease in dumb.granted
        }
        assert list(granting.leases.queued) == [request.name for request in dumb.waiting]
        states = {uid: worker.state for uid, worker in granting.pool.workers.items()}
        assert states == dumb.workers
        for lease in dumb.granted:
            assert granting.leases.granted[lease.name].blocked == lease.blocked
        owners = {lease.owner for lease in granting.leases}
        assert not owners.intersection(self.ended), "nothing of a dead owner is left"
        assert all(dumb.workers[lease.worker] == LENT for lease in dumb.granted)
        assert len(dumb.granted) == len(dumb.in_state(LENT))
        assert len(dumb.in_state(STARTING)) <= STARTS_MAX
        if dumb.next() is not None:
            assert not dumb.in_state(IDLE), "what fits gets an idle worker"
            assert dumb.in_state(STARTING) or self.failed_starts, "or one is started"

    # ---------------------------------------------------------------- owners

    def owners(self) -> list[bytes]:
        """Return everybody who can ask."""
        workers = [uid for uid, state in self.dumb.workers.items() if state != STARTING]
        return [*self.programs, *workers]

    @precondition(lambda self: self.owners())
    @rule(
        who=which,
        at=which,
        depth=st.integers(0, 2),
        many=st.integers(1, 3),
        actor=which,
        prompt=st.sampled_from((True, True, False)),
    )
    def request(  # noqa: PLR0913  one for each
        self, who: int, at: int, depth: int, many: int, actor: int, *, prompt: bool
    ) -> None:
        """Ask for some workers of one kind; those that are started may be there at once."""
        owner, demand = pick(self.owners(), who), pick(DEMANDS, at)
        for _ in range(many):
            lease_id = next(self._leases)
            actor_id = owner + lease_id.to_bytes(8, "big") if actor % 6 == 5 else b""
            self.dumb.waiting.append(Request((owner, lease_id), demand, depth, bool(actor_id)))
            message = m.RequestLease(
                lease_id=lease_id,
                demand=demand,
                depth=depth,
                backlog=1,
                label="f",
                actor_id=actor_id,
            )
            effects = self.tell(owner, message)
            waits = any(isinstance(each.message, m.LeaseWaits) for each in sent(effects, owner))
            assert waits == any(TOTAL[kind] < amount for kind, amount in demand)
        while prompt and self.dumb.in_state(STARTING):
            self.ready(self.dumb.in_state(STARTING)[0])

    @precondition(lambda self: self.dumb.waiting or self.dumb.granted)
    @rule(at=which)
    def request_again(self, at: int) -> None:
        """A repeated request changes nothing; a granted one is told again."""
        known = pick([*self.dumb.waiting, *self.dumb.granted], at)
        owner, lease_id = known.name
        message = m.RequestLease(
            lease_id=lease_id, demand=known.demand, depth=known.depth, backlog=1, label="f"
        )
        effects = self.tell(owner, message)
        told = [each.message for each in sent(effects, owner)]
        assert any(isinstance(each, m.LeaseGranted) for each in told) == bool(known.worker)

    @precondition(lambda self: self.dumb.waiting or self.dumb.granted)
    @rule(at=which, cancel=st.booleans())
    def give_up(self, at: int, *, cancel: bool) -> None:
        """A return and a cancellation may cross what the node says."""
        name = pick([*self.dumb.granted, *self.dumb.waiting], at).name
        self.over.append(name)
        self.dumb.end(name)
        lease_id = name[1]
        self.tell(
            name[0], m.CancelLease(lease_id) if cancel else m.ReturnLease(lease_id, "done")
        )

    @precondition(lambda self: self.over)
    @rule(at=which)
    def give_up_again(self, at: int) -> None:
        owner, lease_id = pick(self.over, at)
        self.tell(owner, m.ReturnLease(lease_id, "done"))

    @precondition(lambda self: len(self.programs) > 1 and len(self.dumb.granted) > 1)
    @rule(at=which, left=st.booleans())
    def a_program_ends(self, at: int, *, left: bool) -> None:
        uid = pick(self.programs, at)
        self.programs.remove(uid)
        self.ended.append(uid)
        self.dumb.die(uid)
        self.step(e.Received(uid, m.Farewell()) if left else e.ProcessEnded(uid, "killed"))

    @precondition(lambda self: self.ended)
    @rule(at=which)
    def a_dead_owner_asks(self, at: int) -> None:
        """What it sent before its death may come after."""
        message = m.RequestLease(
            lease_id=next(self._leases), demand=DEMANDS[0], depth=0, backlog=1, label="f"
        )
        self.tell(pick(self.ended, at), message)

    # ---------------------------------------------------------------- workers

    def ready(self, uid: bytes) -> None:
        """A worker has its mailbox."""
        self.dumb.workers[uid] = IDLE
        self.failed_starts = 0
        self.tell(uid, hello(uid, "worker"))

    @precondition(lambda self: self.dumb.in_state(STARTING))
    @rule(at=which)
    def become_ready(self, at: int) -> None:
        self.ready(pick(self.dumb.in_state(STARTING), at))

    @precondition(lambda self: self.dumb.in_state(LENT))
    @rule(at=which, twice=st.booleans())
    def block(self, at: int, *, twice: bool) -> None:
        uid = pick(self.dumb.in_state(LENT), at)
        lease = self.dumb.lease_of(uid)
        assert lease is not None
        lease.blocked = True
        for _ in range(1 + twice):
            self.tell(uid, m.Blocked())

    @precondition(lambda self: self.dumb.in_state(LENT))
    @rule(at=which)
    def unblock(self, at: int) -> None:
        """Also one that is not blocked, or whose CPU somebody else has by now."""
        blocked = [lease.worker for lease in self.dumb.granted if lease.blocked]
        uid = pick(blocked or self.dumb.in_state(LENT), at)
        lease = self.dumb.lease_of(uid)
        assert lease is not None
        lease.blocked = False
        self.tell(uid, m.Unblocked())

    @precondition(lambda self: self.dumb.in_state(LENT) or self.dumb.in_state(IDLE))
    @rule(at=which)
    def retire(self, at: int) -> None:
        """A worker takes no more; it may have been told already to stop, as its owner is dead."""
        able = [*self.dumb.in_state(LENT), *self.dumb.in_state(IDLE), *self.stopping]
        uids = sorted(uid for uid in able if uid not in self.dumb.actors)
        if uids:
            uid = pick(uids, at)
            self.dumb.retire(uid)
            self.tell(uid, m.Retire())

    @precondition(lambda self: self.dumb.in_state(LEAVING) or self.dumb.actors)
    @rule(at=which)
    def linger(self, at: int) -> None:
        """Others use what it owns: a worker that was told to end, or an actor out of scope."""
        lent = [uid for uid in self.dumb.in_state(LENT) if uid in self.dumb.actors]
        uids = sorted([*self.dumb.in_state(LEAVING), *lent])
        if uids:
            uid = pick(uids, at)
            self.dumb.linger(uid)
            self.stopping.pop(uid, None)
            self.tell(uid, m.Retire(lingers=True))

    @precondition(lambda self: self.dumb.workers)
    @rule(at=which, state=st.sampled_from((LENT, LEAVING, STARTING, IDLE)))
    def a_worker_dies(self, at: int, state: str) -> None:
        uid = pick(self.dumb.in_state(state) or sorted(self.dumb.workers), at)
        self.failed_starts += self.dumb.workers[uid] == STARTING
        self.ended.append(uid)
        self.dumb.die(uid)
        self.stopping.pop(uid, None)
        self.step(e.ProcessEnded(uid, "killed"))

    @rule(ticks=st.sampled_from((1, 2, 6)))
    def time_passes(self, ticks: int) -> None:
        self.now += ticks * TICK_NS
        self.step(e.Woken())

    # ---------------------------------------------------------------- the end

    def teardown(self) -> None:
        """Every program leaves: all is free, and nobody is lent."""
        for uid in list(self.programs):
            self.programs.remove(uid)
            self.ended.append(uid)
            self.dumb.die(uid)
            self.step(e.ProcessEnded(uid, "left"))
        while alive := [*self.dumb.in_state(LENT), *self.dumb.in_state(LEAVING)]:
            self.ended.append(alive[0])
            self.dumb.die(alive[0])
            self.stopping.pop(alive[0], None)
            self.step(e.ProcessEnded(alive[0], "killed"))
        assert self.node.granting.resources.free == TOTAL
        assert not list(self.node.granting.leases.granted)


def hello(uid: bytes, kind: str) -> m.Hello:
    """Return the first message of a process."""
    return m.Hello(protocol=m.PROTOCOL_VERSION, key=b"", uid=uid, kind=kind, pid=1)


def sent(effects: list[f.Effect], to: bytes) -> list[f.Send]:
    """Return what was sent to this process."""
    return [each for each in effects if isinstance(each, f.Send) and each.to == to]


@pytest.mark.timeout(600)  # what fails is made smaller first
def test_requests_grants_and_ends_in_any_order() -> None:
    run_state_machine_as_test(NodeLeases, settings=LIMITS)


# -------------------------------------------------------------------- one rule off each


def the_oldest_goes_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LeaseTable, "in_order", lambda self: list(self.queued.values()))


def blocking_credits_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("zfut.core.node.granting.cpu_part", lambda demand: demand)


def a_blocked_lease_is_credited_in_full(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Granting, lease: Any, _: Any = None) -> None:
        self.resources.give(lease.demand)

    patch.setattr(Granting, "_credit", mutant)


def devices_are_free_before_their_process_has_ended(patch: pytest.MonkeyPatch) -> None:
    credit = Granting._credit  # noqa: SLF001
    patch.setattr(Granting, "_credit", lambda self, lease, _=None: credit(self, lease))


def who_stays_keeps_its_devices(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Granting, "_give_kept", lambda *_: None)


def who_retires_is_never_told_to_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Granting, "_let_go", Granting.retire)


def leases_outlive_their_owner(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(NodeMachine, "_end_what_it_owned", lambda *_: None)


def requests_outlive_their_owner(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        LeaseTable,
        "of_owner",
        lambda self, owner: [one for one in self.granted.values() if one.owner == owner],
    )


def a_lent_worker_is_lent_again(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: WorkerPool) -> Any:
        usable = [worker for worker in self.workers.values() if worker.state in (IDLE, LENT)]
        return min(usable, key=lambda worker: worker.state, default=None)

    patch.setattr(WorkerPool, "idle", mutant)


def a_repeated_request_is_another(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LeaseTable, "find", lambda *_: None)


def one_kind_is_enough_to_fit(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Resources, demand: Demand) -> bool:
        return all(self.free.get(kind, 0) >= amount for kind, amount in demand[:1])

    patch.setattr(Resources, "fits", mutant)


@pytest.mark.parametrize(
    "broken",
    [
        the_oldest_goes_first,
        blocking_credits_everything,
        a_blocked_lease_is_credited_in_full,
        devices_are_free_before_their_process_has_ended,
        who_stays_keeps_its_devices,
        who_retires_is_never_told_to_end,
        leases_outlive_their_owner,
        requests_outlive_their_owner,
        a_lent_worker_is_lent_again,
        a_repeated_request_is_another,
        one_kind_is_enough_to_fit,
    ],
)
def test_a_broken_rule_is_seen(
    broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    assert_it_sees(NodeLeases, LIMITS)
