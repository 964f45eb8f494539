"""The owner's machine and its dumb second version, told the same; compared after every step."""

from __future__ import annotations

from tests.core.dumb_owner import (
    FAILED,
    FREED,
    INLINE,
    PENDING,
    STORED,
    Call,
    DumbOwner,
    Ref,
    Returned,
)
from tests.core.owner_world import ARENA_BYTES, LINEAGE, ME, USE, World
from zfut.config import Config
from zfut.core import events as e
from zfut.core.owner.records import STATE_NAMES, Task, Template
from zfut.ids import PROC_BYTES, PUT_INDEX
from zfut.wire import messages as m
from zfut.wire.specs import (
    OK,
    RETRIABLE,
    Address,
    Failed,
    Inline,
    RefInfo,
    Stored,
    TaskResult,
    Value,
)

SIZE = 64
NODE_OF_VALUES = b"n" * 16


class Pair:
    """Whatever happens, happens to both."""

    def __init__(self, config: Config) -> None:
        self.world = World(config)
        self.machine = self.world.machine
        self.dumb = DumbOwner(ME, config.lineage_max_bytes)
        self.covers: dict[bytes, list[bytes]] = {}
        self.waits: dict[int, tuple[tuple[bytes, ...], int, bool]] = {}
        self.agree = True
        self._freed_ever: set[int] = set()

    def owner_of(self, name: bytes) -> bytes:
        """Return the process that owns this object."""
        return name[:PROC_BYTES]

    def held(self) -> list[bytes]:
        """Return what user code has a handle of."""
        return [name for name, count in self.dumb.handles.items() if count > 0]

    # ---------------------------------------------------------------- user code

    def put(self, inside: list[bytes], *, stored: bool) -> bytes:
        """Put a value that holds ``inside``."""
        name = ME + self.world.number().to_bytes(8, "big") + PUT_INDEX
        refs = tuple((inner, Address(self.owner_of(inner))) for inner in inside)
        held = tuple(Ref(inner, self.owner_of(inner)) for inner in inside)
        if stored:
            offset = self.world.allocate(SIZE)
            value = Stored(name, Address(ME), 0, NODE_OF_VALUES, ME, offset, SIZE, 1)
            self.world.step(e.PutStored(value, refs), settle=False)
            self.dumb.put(name, Returned(STORED, held, ME, offset))
        else:
            self.world.step(e.PutInline(name, 1, b"small", refs), settle=False)
            self.dumb.put(name, Returned(INLINE, held))
        return name

    def submit(
        self, deps: list[bytes], nested: list[bytes], results: int, tries: int
    ) -> list[bytes]:
        """Submit a call. Returns the names of its results."""
        name = ME + self.world.number().to_bytes(8, "big")
        owners = {each: self.owner_of(each) for each in [*deps, *nested]}
        task = Task(
            name,
            Template(b"f" * 16, "f", b"code", (), max_retries=tries),
            b"packed",
            1,
            results,
            tuple((i, dep, Address(owners[dep])) for i, dep in enumerate(deps)),
            tuple((each, Address(owners[each])) for each in nested),
        )
        made = tuple(name + (index + 1).to_bytes(4, "big") for index in range(results))
        self.world.step(task, settle=False)
        self.dumb.submit(
            Call(name, tuple(deps), tuple(nested), made, tries, len(b"packed")), owners
        )
        return list(made)

    def drop(self, name: bytes) -> None:
        """Drop one handle; whoever waits for it stops."""
        if any(name in names for names, _, _ in self.waits.values()):
            self.stop_waiting()
        self.world.step(name, settle=False)
        if name in self.dumb.things:
            self.dumb.handles[name] -= 1
        self.dumb.sweep()

    def arrive(self, name: bytes, cover: bytes = b"") -> None:
        """Unpickling makes a handle."""
        owner = self.owner_of(name)
        self.world.step(e.RefArrived(name, Address(owner), cover), settle=False)
        self.dumb.thing_of(name, owner)
        self.dumb.handles[name] += 1
        if cover:
            self.covers.setdefault(cover, []).append(name)

    def cancel(self, name: bytes, *, force: bool) -> None:
        """Cancel the call that makes ``name``; by force its worker dies."""
        if force:
            self.compare()
        self.world.step(e.Cancelled(name, force))
        thing = self.dumb.things.get(name)
        call = thing.maker if thing is not None else None
        if thing is None or thing.state != PENDING or call is None or not call.open:
            return
        runs_at = self.world.in_flight.get(call.name)
        call.cancelled = True
        if runs_at is None:
            self.dumb.fail(call)
        elif force:
            self._die(runs_at[0])

    def wait(self, names: list[bytes], need: int, *, fail_fast: bool) -> None:
        """Wait for ``need`` of these."""
        call_id = self.world.number()
        self.world.step(e.AwaitObjects(call_id, tuple(names), need, fail_fast), settle=False)
        self.waits[call_id] = (tuple(names), need, fail_fast)
        if not self._over(call_id):
            for name in names:
                self.dumb.need(name)

    def stop_waiting(self) -> None:
        """Give up every wait."""
        for call_id in self.waits:
            self.world.step(e.StopWaiting(call_id), settle=False)
        self.waits.clear()

    def _over(self, call_id: int) -> bool:
        names, need, fail_fast = self.waits[call_id]
        states = [self.dumb.things[name].state for name in names if name in self.dumb.things]
        failed = fail_fast and FAILED in states
        known = sum(state not in (PENDING, FREED) for state in states)
        return failed or known >= need

    def lose(self, name: bytes) -> None:
        """A value of ours is not in its store any more."""
        self.world.step(e.ValueLost(name, self.dumb.things[name].attempt), settle=False)
        self.dumb.lose(name)

    # ---------------------------------------------------------------- executors

    def finish(self, call: Call, returned: list[Returned]) -> None:
        """A worker says that a call has returned."""
        worker, attempt = self.world.in_flight.pop(call.name)
        assert attempt == call.attempt, "an attempt has its own number"
        self.world.recalled.discard(call.name)
        self._answer(worker, call, returned, ())
        self.dumb.finish(call, returned)

    def finish_keeping(self, call: Call, returned: list[Returned]) -> None:
        """A worker says that a call has returned, and that it still uses its arguments."""
        worker = self.world.in_flight.pop(call.name)[0]
        self.world.recalled.discard(call.name)
        mine = sorted({name for name in call.arguments if self.owner_of(name) == ME})
        kept = tuple((name, self.world.token(worker)) for name in mine)
        self._answer(worker, call, returned, kept)
        for name, token in kept:
            if name in self.dumb.things:
                self.dumb.users[token] = (name, worker)
        self.dumb.finish(call, returned)

    def fail(self, call: Call, status: int) -> None:
        """A worker says that a call has not returned."""
        worker, _ = self.world.in_flight.pop(call.name)
        self.world.recalled.discard(call.name)
        results = (TaskResult(call.name, call.attempt, status, (Failed(5),)),)
        self.world.step(e.Received(worker, m.TasksFinished(results), b"wrong"), settle=False)
        self.dumb.fail(call)
        self.dumb.sweep()

    def push_back(self, call: Call) -> None:
        """A worker gives a call back that it has not started."""
        worker, attempt = self.world.in_flight.pop(call.name)
        self.world.recalled.discard(call.name)
        self.world.hear(worker, m.TasksPushedBack(((call.name, attempt),)))
        if call.cancelled:
            self.dumb.fail(call)

    def try_again(self, call: Call) -> None:
        """A worker says that a call raised what it may be run again for."""
        worker, _ = self.world.in_flight.pop(call.name)
        self.world.recalled.discard(call.name)
        result = TaskResult(call.name, call.attempt, RETRIABLE, (Failed(5),))
        self.world.step(e.Received(worker, m.TasksFinished((result,)), b"wrong"), settle=False)
        if call.tries and not call.cancelled:
            call.attempt += 1
            call.tries -= call.tries > 0
        else:
            self.dumb.fail(call)

    def answer_late(self, call: Call, worker: bytes, returned: list[Returned]) -> None:
        """An attempt that nobody waits for any more has returned: all that it made is let go."""
        self._answer(worker, call, returned, (), attempt=call.attempt + 7)
        self.dumb.freed += [value.offset for value in returned if value.state == STORED]

    def _answer(
        self,
        worker: bytes,
        call: Call,
        returned: list[Returned],
        kept: tuple[tuple[bytes, bytes], ...],
        attempt: int = -1,
    ) -> None:
        values: list[Value] = []
        payload = b""
        attempt = call.attempt if attempt < 0 else attempt
        for name, value in zip(call.results, returned, strict=True):
            refs = tuple(RefInfo(r.name, Address(r.owner), r.token) for r in value.inside)
            self._follow_tokens(value)
            if value.state == STORED:
                place = (NODE_OF_VALUES, value.creator, value.offset, SIZE, 1, refs)
                values.append(Stored(name, Address(ME), attempt, *place))
                continue
            payload += b"small"
            values.append(Failed(5) if value.state == FAILED else Inline(5, 1, refs))
        result = TaskResult(call.name, attempt, OK, tuple(values), 0, kept)
        message = e.Received(worker, m.TasksFinished((result,)), payload)
        self.world.step(message, settle=False)

    def _follow_tokens(self, value: Returned) -> None:
        for ref in value.inside:
            if ref.token:
                self.world.hand_over(ref.name, ref.owner, ref.token)

    # ---------------------------------------------------------------- other processes

    def end_process(self, uid: bytes) -> None:
        """A process dies: what ran there runs again or fails."""
        self.compare()
        self._die(uid)

    def _die(self, uid: bytes) -> None:
        issued = self._issued_by(uid)
        self.world.take_told()
        lost = self.world.end_process(uid)
        told = [message for _, message in self.world.take_told()]
        asked = [
            item for each in told if isinstance(each, m.AuditBorrows) for item in each.items
        ]
        assert sorted(asked) == sorted(issued), "what it registered for others is audited"
        self.dumb.die(uid, [self.dumb.calls[name] for name in lost])
        self.dumb.settle(set(self.world.in_flight))
        assert (uid in self.world.fences) == (uid in self.dumb.fenced), (
            "what it lent on is held"
        )

    def complete_fence(self) -> None:
        """Whoever uses what a dead process had passed on is registered."""
        self.dumb.fence(self.world.complete_fence())

    def _issued_by(self, uid: bytes) -> list[tuple[bytes, bytes]]:
        return [
            (name, token)
            for token, (name, holder) in self.dumb.users.items()
            if token.startswith(uid) and holder not in {uid, *self.dumb.dead}
        ]

    def register(self, sender: bytes, borrower: bytes, name: bytes, token: bytes) -> bool:
        """``sender`` registers ``borrower``. Returns whether it holds."""
        self.world.take_told()
        self.world.hear(sender, m.RegisterBorrows(borrower, ((name, token),)))
        holds = name in self.dumb.things and self.owner_of(name) == ME
        answer = (
            m.BorrowsRegistered((token,), ()) if holds else m.BorrowsRegistered((), (token,))
        )
        assert self.world.take_told() == [(sender, answer)]
        if holds:
            self.dumb.users[token] = (name, borrower)
        return holds

    def release(self, token: bytes, name: bytes, holder: bytes) -> None:
        """A borrower gives a token back; one that is not held means nothing."""
        message = m.ReleaseBorrows(((name, token),))
        self.world.step(e.Received(holder, message), settle=False)
        self.dumb.users.pop(token, None)
        self.dumb.remakers.pop(token, None)
        self.dumb.sweep()

    def downgrade(self, token: bytes) -> None:
        """A borrower needs an object only to make others again."""
        name, holder = self.dumb.users[token]
        message = m.DowngradeBorrows(((name, token),))
        self.world.step(e.Received(holder, message), settle=False)
        self.dumb.remakers[token] = self.dumb.users.pop(token)
        self.dumb.sweep()

    def revive(self, token: bytes) -> None:
        """A borrower needs the value again."""
        name, holder = self.dumb.remakers[token]
        message = m.ReviveBorrows(((name, token),))
        self.world.step(e.Received(holder, message), settle=False)
        self.dumb.users[token] = self.dumb.remakers.pop(token)
        self.dumb.need(name)

    def become_ready(self, owner: bytes, name: bytes, value: Returned | None) -> None:
        """The owner of something that we borrow answers."""
        wire: Value | None = None
        state = FAILED if value is None else value.state
        if value is not None and state == STORED:
            place = (NODE_OF_VALUES, value.creator, value.offset, SIZE, 1)
            wire = Stored(name, Address(owner), 0, *place)
        elif value is not None:
            wire = Failed(5) if state == FAILED else Inline(5, 1)
        message = m.ObjectReady(name, self.world.questions.get(name, 0), wire)
        self.world.step(e.Received(owner, message, b"small"), settle=False)
        thing = self.dumb.things.get(name)
        if thing is not None and thing.state == PENDING and thing.asked:
            thing.state, thing.value = state, value or Returned(FAILED)
        self.dumb.sweep()

    # ---------------------------------------------------------------- comparing

    def compare(self) -> None:
        """Settle, and assert that both say the same."""
        self.agree = False
        self.world.settle()
        self.machine.check()
        self.dumb.settle(set(self.world.in_flight))
        used, named = self.dumb.marks()
        self._compare_rows(used)
        self._compare_memory()
        self._compare_lineage()
        self._compare_waits()
        self._check_tokens(used, named)
        self.agree = True

    def _compare_rows(self, used: set[bytes]) -> None:
        rows, things = self.machine.rows, self.dumb.things
        assert set(rows) == set(things), "the rows that somebody needs"
        counts = self.dumb.counts()
        for name, thing in things.items():
            row = rows[name]
            where = (name.hex(), thing)
            assert STATE_NAMES[row.state] == thing.state, where
            assert row.in_use() == (name in used), where
            for column, holders in counts.items():
                found, expected = getattr(row, column), holders.get(name)
                assert (found or None) == (expected or None), (column, where, found, expected)

    def _compare_memory(self) -> None:
        freed, self.world.freed = self.world.freed, []
        expected = [offset for offset in self.dumb.freed if offset > ARENA_BYTES]
        self.dumb.freed.clear()
        assert sorted(freed) == sorted(expected), "what is freed"
        assert not self._freed_ever.intersection(freed), "nothing is freed twice"
        self._compare_claims()
        self._freed_ever.update(freed)
        here = [
            thing.value.offset
            for thing in self.dumb.things.values()
            if thing.state == STORED and thing.value.creator == ME
        ]
        assert sorted(self.machine.ledger.memory.written_for) == sorted(here)

    def _compare_claims(self) -> None:
        claims, self.world.claims = self.world.claims, []
        waits = self.world.unanswered or self.world.claiming
        assert waits or not self.world.claims_owed, "who asks is answered"
        for claim in claims:
            needed = {
                (thing.value.offset, SIZE)
                for thing in self.dumb.things.values()
                if thing.state == STORED and thing.value.creator == claim.uid
            }
            assert needed <= set(claim.pieces), "what is needed of a dead process is claimed"
            assert not self._freed_ever.intersection(offset for offset, _ in claim.pieces)

    def _compare_lineage(self) -> None:
        lineage = self.machine.ledger.lineage
        assert list(lineage.retained) == [call.name for call in self.dumb.kept]
        for call in self.dumb.kept:
            task = lineage.retained[call.name]
            assert (task.attempt, task.retries_left) == (call.attempt, call.tries)
        assert lineage.bytes == self.dumb.kept_bytes()
        assert lineage.bytes <= self.dumb.limit_bytes

    def _compare_waits(self) -> None:
        for call_id in list(self.waits):
            over = self._over(call_id)
            assert (call_id in self.world.completed) == over, "a wait ends when it may"
            if over:
                del self.waits[call_id]
        assert set(self.machine.ledger.objects.waits) == set(self.waits)

    def _end_covers(self) -> None:
        """Whatever protected a value that is gone protects what was found in it."""
        for value in [value for value in self.covers if value not in self.dumb.things]:
            inside = self.covers.pop(value)
            for names in self.covers.values():
                if value in names:
                    names.extend(inside)

    def _check_tokens(self, used: set[bytes], named: set[bytes]) -> None:
        """Whatever we use of others is protected, and nothing is kept for no use."""
        self._end_covers()
        covered = {name for names in self.covers.values() for name in names}
        kinds: dict[bytes, set[str]] = {}
        for token in self.world.tokens.values():
            kinds.setdefault(token.name, set()).add(token.kind)
            if not self.world.unanswered:
                assert token.name in self.dumb.things, "a token outlives its use"
        for name, thing in self.dumb.things.items():
            if thing.owner == ME or thing.owner in self.dumb.dead or name in covered:
                continue
            if name in used and thing.state in (PENDING, INLINE, STORED):
                assert USE in kinds.get(name, ()), "what is used is registered for its use"
            elif name in used:
                assert name in kinds, "what may be wanted again is registered"
            elif name in named and not self.world.unanswered:
                assert kinds.get(name) == {LINEAGE}, "what lineage names is registered as that"
        for _, holder in [*self.dumb.users.values(), *self.dumb.remakers.values()]:
            assert holder in self.world.watched, "a borrower's death is heard of"
