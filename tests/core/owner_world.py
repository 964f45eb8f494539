"""What surrounds one owner in a test: it answers what must be answered and remembers the rest.

The node lends a worker to every request until all are lent; workers keep what they are sent until
a rule says how it ends.  Every token of ours is followed from its registration to its release.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from zfut.config import Config
from zfut.core import effects as f
from zfut.core import events as e
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.records import Task
from zfut.ids import FIRST_RETURN
from zfut.sim.values import SymbolicFailures
from zfut.wire import messages as m
from zfut.wire.specs import Stored

NODE_ID = b"n" * 8
NODE = NODE_ID + bytes(8)
ME = NODE_ID + b"\0\0\0\1" + b"self"
WORKERS_MAX = 2
ARENA_BYTES = 1 << 20
FIRST_OFFSET = 1 << 30
"""Values of others lie from here on, so that an offset names one value."""

USE, LINEAGE = "use", "lineage"
BORROWS = (m.RegisterBorrows, m.ReleaseBorrows, m.DowngradeBorrows, m.ReviveBorrows)


@dataclass
class Token:
    """A registration of ours at the owner of ``name``."""

    name: bytes
    owner: bytes
    kind: str = USE


@dataclass
class World:
    """One owner's machine and everybody it talks to."""

    config: Config = field(default_factory=Config)
    workers: dict[bytes, int] = field(default_factory=dict)
    requests: list[int] = field(default_factory=list)
    in_flight: dict[bytes, tuple[bytes, int]] = field(default_factory=dict)
    recalled: set[bytes] = field(default_factory=set)
    pushed: list[bytes] = field(default_factory=list)
    freed: list[int] = field(default_factory=list)
    tokens: dict[bytes, Token] = field(default_factory=dict)
    released: dict[bytes, Token] = field(default_factory=dict)
    unanswered: list[tuple[bytes, bytes]] = field(default_factory=list)
    located: list[tuple[bytes, bytes]] = field(default_factory=list)
    questions: dict[bytes, int] = field(default_factory=dict)
    told: list[tuple[bytes, m.Message]] = field(default_factory=list)
    claims: list[m.ClaimMemory] = field(default_factory=list)
    claims_owed: int = 0
    claiming: list[int] = field(default_factory=list)
    fences: list[bytes] = field(default_factory=list)
    completed: set[int] = field(default_factory=set)
    watched: set[bytes] = field(default_factory=set)
    dead: set[bytes] = field(default_factory=set)
    unsettled: bool = False

    def __post_init__(self) -> None:
        self.machine = OwnerMachine(ME, NODE, self.config, SymbolicFailures())
        self._names = 1
        self._offset = FIRST_OFFSET
        self.step(e.Received(NODE, m.MemoryLent(0, 0, ARENA_BYTES)))

    # ---------------------------------------------------------------- names

    def number(self) -> int:
        """Return a number that was never used."""
        self._names += 1
        return self._names

    def process(self) -> bytes:
        """Name a process."""
        return NODE_ID + self.number().to_bytes(8, "big")

    def token(self, issuer: bytes) -> bytes:
        """Name a registration."""
        return issuer + self.number().to_bytes(8, "big")

    def object_of(self, owner: bytes) -> bytes:
        """Name an object of somebody else."""
        return owner + self.number().to_bytes(8, "big") + FIRST_RETURN  # later: greater

    def place(self, size_bytes: int) -> int:
        """Name a place in the memory of another process."""
        self._offset += size_bytes
        return self._offset

    def allocate(self, size_bytes: int) -> int:
        """Take a place in our own memory."""
        call_id = self.number()
        self.settle()
        for effect in self.machine.step(e.AllocateMemory(call_id, size_bytes, ME), 0):
            if isinstance(effect, f.Complete) and effect.call_id == call_id:
                assert isinstance(effect.outcome, int)
                return effect.outcome
        raise AssertionError("there is room")

    # ---------------------------------------------------------------- steps

    def hear(self, sender: bytes, message: m.Message, payload: bytes = b"") -> None:
        """Let a message arrive, and everything that follows from it."""
        self.step(e.Received(sender, message, payload))

    def step(self, event: e.Event | Task | bytes, *, settle: bool = True) -> None:
        """Handle an event; the machine settles now or with a later one."""
        self.machine.handle(event, 0)
        self.unsettled = True
        if settle:
            self.settle()

    def settle(self) -> None:
        """Let the machine say what is to be done, and answer."""
        while self.unsettled:
            self.unsettled = False
            for effect in self.machine.settle(0):
                if isinstance(effect, f.Complete):
                    assert effect.call_id not in self.completed, "a wait ends once"
                    self.completed.add(effect.call_id)
                elif isinstance(effect, f.Send):
                    self._on_send(effect.to, effect.message)
            while self.requests and len(self.workers) < WORKERS_MAX:
                self._lend(self.requests.pop(0))

    def _lend(self, lease_id: int) -> None:
        worker = self.process()
        self.workers[worker] = lease_id
        self.machine.handle(e.Received(NODE, m.LeaseGranted(lease_id, worker, 1)), 0)
        self.unsettled = True

    def end_process(self, uid: bytes) -> list[bytes]:
        """Let the notice of a death arrive. Returns the calls that ran there."""
        self.settle()
        self.dead.add(uid)
        self.workers.pop(uid, None)
        lost = [name for name, (worker, _) in self.in_flight.items() if worker == uid]
        for name in lost:
            del self.in_flight[name]
            self.recalled.discard(name)
        self.tokens = {t: held for t, held in self.tokens.items() if held.owner != uid}
        self.unanswered = [(to, token) for to, token in self.unanswered if to != uid]
        self.located = [(to, name) for to, name in self.located if to != uid]
        self._tell_death(uid)
        return lost

    def _tell_death(self, uid: bytes, fence: int = 0) -> None:
        self.claims_owed += 1
        self.hear(NODE, m.ProcessDied(uid, "killed", fence))

    def complete_fence(self) -> bytes:
        """Let the node complete the first fence, when we have answered it too."""
        uid = self.fences.pop(0)
        self.answer_registrations()
        self._tell_death(uid, self.number())
        assert not self.claims_owed, "it waits for no registration"
        self.hear(NODE, m.ProcessFenced(uid))
        return uid

    def take_told(self) -> list[tuple[bytes, m.Message]]:
        """Return answers and claims since the last time."""
        told, self.told = self.told, []
        return told

    # ---------------------------------------------------------------- what it is told

    def _on_send(self, to: bytes, message: m.Message) -> None:  # noqa: C901  one for each
        assert to not in self.dead, (to, message)
        match message:
            case m.RequestLease() | m.CancelLease() | m.ReturnLease():
                self._on_lease(message)
            case m.PushTasks():
                self._on_push(to, message)
            case m.RecallTasks(tasks):
                assert message.cancel
                self.recalled.update(tasks)
            case m.FreeMemory(offsets) | m.FreeClaimed(offsets):
                self.freed.extend(offsets)
            case m.ClaimMemory(number=number):
                if number:
                    self.claiming.append(number)
                else:  # the answer to a death: all that is needed
                    self.claims.append(message)
                    self.claims_owed -= 1
            case m.FenceProcess(uid):
                assert uid not in self.fences
                self.fences.append(uid)
            case m.LocateObjects(object_ids, question):
                self.questions.update(dict.fromkeys(object_ids, question))
                self.located += [(to, name) for name in object_ids]
            case m.Watch(uids):
                self.watched.update(uids)
            case _ if isinstance(message, BORROWS):
                self._on_borrow(to, message)
            case _:
                self.told.append((to, message))

    def _on_lease(self, message: m.RequestLease | m.CancelLease | m.ReturnLease) -> None:
        lease_id = message.lease_id
        if isinstance(message, m.RequestLease):
            self.requests.append(lease_id)
        elif isinstance(message, m.CancelLease):
            self.requests.remove(lease_id)
        else:
            self.workers = {w: held for w, held in self.workers.items() if held != lease_id}

    def _on_push(self, worker: bytes, message: m.PushTasks) -> None:
        assert self.workers[worker] == message.lease_id
        for spec in message.tasks:
            assert spec.task_id not in self.in_flight, "one attempt at a time"
            self.in_flight[spec.task_id] = (worker, spec.attempt)
            self.pushed.append(spec.task_id)
            for dep in spec.deps:
                if isinstance(dep.value, Stored):
                    assert dep.value.offset not in self.freed, "an argument was freed"

    def _on_borrow(self, owner: bytes, message: m.Message) -> None:
        match message:
            case m.RegisterBorrows(borrower, items):
                assert borrower == ME
                for name, token in items:
                    assert token not in self.tokens
                    self.tokens[token] = Token(name, owner)
                    self.unanswered.append((owner, token))
            case m.ReleaseBorrows(items):
                for name, token in items:
                    held = self.tokens.pop(token, None) or self.released[token]
                    assert (held.name, held.owner) == (name, owner)
                    self.released[token] = held
            case m.DowngradeBorrows(items):
                for name, token in items:
                    held = self.tokens[token]
                    assert (held.name, held.owner) == (name, owner)
                    held.kind = LINEAGE
            case m.ReviveBorrows(items):
                for name, token in items:
                    held = self.tokens[token]
                    assert (held.name, held.owner) == (name, owner)
                    held.kind = USE
            case _:
                raise AssertionError(message)

    def hand_over(self, name: bytes, owner: bytes, token: bytes) -> None:
        """A result comes with a registration that its executor made for us."""
        if owner not in self.dead:
            self.tokens[token] = Token(name, owner)

    def answer_registrations(self) -> None:
        """Every owner says that it holds the tokens that we asked it to hold."""
        self.settle()
        while self.unanswered:
            owner, token = self.unanswered.pop(0)
            self.hear(owner, m.BorrowsRegistered((token,), ()))
        while self.claiming:
            self.hear(NODE, m.MemoryClaimed(self.claiming.pop(0)))
