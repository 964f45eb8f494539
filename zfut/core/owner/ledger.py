"""The ledger of one process: the life of the objects it owns or borrows, and who must be told.

Every other part of the owner works through it.  Holds go up when a use begins and down when it
ends; a row without holds is released in the same step: memory freed, tokens given back, and the
objects it contained looked at in turn.  All cascades are loops: chains may be thousands long.
What values held that is more than a step should let go is *falling*: held, and let go in parts, one
each time the machine settles.

Messages that can travel together (frees, releases, watches) are gathered here and sent when the
machine settles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import partial

from zfut.config import Config
from zfut.core.effects import ITEMS_AT_ONCE, Complete, Outbox
from zfut.core.owner.backlog import Backlog
from zfut.core.owner.covers import Covers
from zfut.core.owner.failures import Failures
from zfut.core.owner.lineage import Lineage
from zfut.core.owner.memory import Memory
from zfut.core.owner.objects import Objects
from zfut.core.owner.records import (
    ACTOR,
    FAILED,
    FREED,
    INLINE,
    PENDING,
    READY,
    STORED,
    ObjectRow,
    Task,
    Wait,
)
from zfut.core.owner.tokens import Tokens
from zfut.core.owner.withheld import Withheld
from zfut.wire import messages as m
from zfut.wire.specs import Address, RefInfo, Stored, Value


class Ledger:
    """What this process holds, for whom, and what it owes to others."""

    def __init__(self, uid: bytes, node: bytes, config: Config, failures: Failures) -> None:
        self.uid = uid
        self.address = Address(uid)
        self.node = node
        self.config = config
        self.failures = failures
        self.out = Outbox()
        self.objects = Objects()
        self.dead: dict[bytes, str] = {}
        self.tokens = Tokens(uid, self.dead, self.out)
        self.backlog = Backlog(config, self.objects, self.tokens.held_up, self.out)
        self.withheld = Withheld()
        rows, limit = self.objects.rows, config.lineage_max_bytes
        self.lineage = Lineage(rows, limit, self.withheld.due)
        self.memory = Memory(config.extent_bytes)
        self.unblocked: deque[tuple[Task, bytes | None]] = deque()
        self.handles_gone: list[bytes] = []
        self.covers = Covers()
        self.uncovered: list[tuple[bytes, ObjectRow]] = []
        self.kept: dict[bytes, list[ObjectRow]] = {}  # gone, but for what was in them
        self.watched: dict[bytes, None] = {uid: None, node: None}
        self._to_watch: list[bytes] = []
        self._to_locate: dict[bytes, list[bytes]] = {}
        self._to_free: dict[bytes, list[int]] = {}
        self._to_unclaim: list[int] = []  # what the node keeps for us
        self.inner: dict[bytes, tuple[RefInfo, ...]] = {}  # in small values of others
        self.falling: deque[tuple[bytes, bytes]] = deque()
        self.let_out = 0  # from values, since the machine settled, and what is falling
        self._question = 1
        self._unsent = (self._to_watch, self._to_locate, self._to_free, self._to_unclaim)

    # ---------------------------------------------------------------- names

    def watch(self, uid: bytes) -> None:
        """We depend on this process: its death must reach us."""
        if uid not in self.watched:
            self.watched[uid] = None
            self._to_watch.append(uid)

    def row_of(self, object_id: bytes, owner: Address) -> ObjectRow:
        """Return the row of an object that a reference names, made if we only borrow it."""
        row = self.objects.rows.get(object_id)
        if row is not None:
            return row
        if owner.uid == self.uid:
            return self._void_row(object_id)
        row = self.objects.borrow(object_id, owner)
        self.watch(owner.uid)
        if owner.uid in self.dead and row.state != ACTOR:
            self.fail_row(row, self.owner_died(object_id, owner.uid))
        return row

    def _void_row(self, object_id: bytes) -> ObjectRow:
        row = self.objects.own(object_id, None)
        row.local = 0
        self.fail_row(row, self.failures.system("ReferenceVoidError", object_id))
        return row

    def owner_died(self, object_id: bytes, owner: bytes) -> bytes:
        """Word the end of an object with its owner."""
        return self.failures.system(
            "OwnerDiedError", object_id, owner, self.dead.get(owner, "unknown")
        )

    # ---------------------------------------------------------------- holds

    def drop(self, object_id: bytes) -> None:
        """One handle or view of the object in this process is gone."""
        row = self.objects.rows.get(object_id)
        if row is None:
            return
        row.local -= 1
        if row.local <= 0 and not row.in_use():
            self.release(object_id, row)

    def close_view(self, object_id: bytes) -> None:
        """One mapped view of the value in this process is gone."""
        row = self.objects.rows.get(object_id)
        if row is not None:
            row.views -= 1
            if row.freed:
                self.withheld.due[object_id] = None
            elif row.spent is not None and not row.views:
                self._let_place_go(row)
        self.drop(object_id)

    def hold_argument(self, object_id: bytes, owner: Address) -> ObjectRow:
        """An unfinished call of ours carries this reference."""
        row = self.row_of(object_id, owner)
        row.submitted += 1
        if row.downgraded:
            self.tokens.revive(object_id, row)
        return row

    def hold_deps(self, task: Task) -> tuple[list[bytes], bytes | None]:
        """Hold what a call takes as values. Returns what it waits for, and the first failure."""
        missing: list[bytes] = []
        failure: bytes | None = None
        for _, object_id, owner in task.deps:
            row = self.hold_argument(object_id, owner)
            if row.state in (PENDING, FREED):
                if self.is_gone(object_id, row):
                    failure = failure or self.was_freed(object_id)
                    continue
                task.waiting_on += 1
                row.add_waiter(task)
                missing.append(object_id)
                self.locate(object_id, row)
            elif row.state == FAILED and failure is None:
                failure = row.value if isinstance(row.value, bytes) else b""
        return missing, failure

    def release_arguments(self, task: Task) -> None:
        """The call ended: it carries its references no more."""
        rows = self.objects.rows
        for _, object_id, _ in task.deps:
            self.unsubmit(object_id, rows.get(object_id))
        for object_id, _ in task.nested:
            self.unsubmit(object_id, rows.get(object_id))

    def unsubmit(self, object_id: bytes, row: ObjectRow | None) -> None:
        """An unfinished call of ours carries the object no more."""
        if row is not None:
            row.submitted -= 1
            if row.freed or not row.submitted:
                self.unheld(object_id, row)

    def unheld(self, object_id: bytes, row: ObjectRow) -> None:
        """A hold on the object ended; if it was the last the object is released."""
        if row.freed:
            self.withheld.due[object_id] = None
        if not row.in_use():
            self.release(object_id, row)

    def contain(self, refs: Iterable[RefInfo]) -> tuple[tuple[bytes, bytes], ...]:
        """A value of ours holds these references. Returns what the value's row keeps."""
        kept: list[tuple[bytes, bytes]] = []
        for ref in refs:
            row = self.row_of(ref.object_id, ref.owner)
            row.contained_in += 1
            if ref.token and row.owner is not None:
                self._take_token(ref.object_id, row, ref.token)
            elif ref.token and row.borrowers:  # an answer of ours to ourselves
                row.borrowers.pop(ref.token, None)
            kept.append((ref.object_id, ref.token))
        return tuple(kept)

    def _take_token(self, object_id: bytes, row: ObjectRow, token: bytes) -> None:
        """We were registered for an answer's sake; one registration will do."""
        assert row.owner is not None
        if self.tokens.is_known(row):
            self.tokens.release(row.owner.uid, object_id, token)
        else:
            self.tokens.add(object_id, row, token)

    def release(self, object_id: bytes, row: ObjectRow) -> None:
        """Nothing holds the object any more."""
        stack = [(object_id, row)]
        rows = self.objects.rows
        while stack:
            object_id, row = stack.pop()
            if row.lineage or row.lineage_tokens:
                if row.owner is not None or row.made_by is not None:
                    stack.extend(self.forget(object_id, row))
                continue  # nothing can make it again: it stays as it is
            if rows.pop(object_id, None) is None:
                continue
            self.inner.pop(object_id, None)
            if row.state == ACTOR:
                self.handles_gone.append(object_id)
            stack.extend(self.forget(object_id, row))
            if row.made_by is not None:
                stack.extend(self.lineage.forgotten(row))

    def forget(self, object_id: bytes, row: ObjectRow) -> list[tuple[bytes, ObjectRow]]:
        """Let the value go, and what protects it. Returns what it held as the last."""
        if object_id in self.covers.held or object_id in self.kept:
            self.uncovered.append((object_id, row))
        elif row.owner is not None:
            self.tokens.let_go(object_id, row)
        return self.forget_value(row)

    def take_uncovered(self) -> dict[bytes, list[ObjectRow]]:
        """Return the values that covered something and are gone; one may have come and gone twice."""
        gone: dict[bytes, list[ObjectRow]] = {}
        for object_id, row in self.uncovered:
            gone.setdefault(object_id, []).append(row)
        self.uncovered.clear()
        return gone

    def refs_in(self, object_id: bytes, row: ObjectRow) -> tuple[RefInfo, ...]:
        """Return what is in a value of somebody else's, as far as it is known here."""
        if row.state == STORED:
            assert isinstance(row.value, Stored)
            return row.value.refs
        return self.inner.get(object_id, ()) if row.state == INLINE else ()

    def forget_value(self, row: ObjectRow) -> list[tuple[bytes, ObjectRow]]:
        """The value is not needed, or lost. Returns what it held as the last."""
        if row.state == INLINE and not row.contains and row.spent is None:  # most are
            row.state, row.value = FREED, None
            return []
        self._let_place_go(row)
        contains, row.contains = row.contains, ()
        if row.state in (STORED, INLINE):
            row.state, row.value = FREED, None
        if contains:
            self.let_out += len(contains)
            if self.let_out > ITEMS_AT_ONCE:
                self.falling.extend(contains)
                return []
        return self._let_go(contains)

    def _let_go(
        self, contained: Iterable[tuple[bytes, bytes]]
    ) -> list[tuple[bytes, ObjectRow]]:
        """These are in one value less. Returns what was held as the last."""
        unheld: list[tuple[bytes, ObjectRow]] = []
        for inner_id, _ in contained:
            inner = self.objects.rows.get(inner_id)
            if inner is not None:
                inner.contained_in -= 1
                if inner.freed:
                    self.withheld.due[inner_id] = None
                if not inner.in_use():
                    unheld.append((inner_id, inner))
        return unheld

    def _let_place_go(self, row: ObjectRow) -> None:
        """Nobody reads the value here any more."""
        place, row.spent = row.place(), None
        if place is not None and row.owner is None:
            self.free_memory(place)
        elif place is not None and self.is_claimed(row, place):
            self._to_unclaim.append(place.offset)

    def is_claimed(self, row: ObjectRow, place: Stored) -> bool:
        """Whether we have claimed the memory of a borrowed value: its owner or writer died."""
        assert row.owner is not None
        return row.owner.uid in self.dead or place.creator in self.dead

    def fall(self) -> None:
        """A step is over: let go of a part of what is falling."""
        self.let_out = 0
        count = min(len(self.falling), ITEMS_AT_ONCE)
        part = [self.falling.popleft() for _ in range(count)]
        for object_id, row in self._let_go(part):
            self.release(object_id, row)
        self.let_out = len(self.falling)

    def free_memory(self, stored: Stored) -> None:
        """A value in the arena is not needed: its writer may use the memory again."""
        if stored.creator == self.uid:
            self.memory.free(stored.offset)
        else:
            self._to_free.setdefault(stored.creator, []).append(stored.offset)

    # ---------------------------------------------------------------- values

    def note_place(self, row: ObjectRow, stored: Stored) -> None:
        """A value of somebody else's is read here: if its owner dies we claim its memory.

        If it is dead, the value is for this call: what is in it was not taken over here, so nobody
        finds it by the reference.
        """
        if row.owner is None:
            return
        self.watch(stored.creator)
        if row.state == FREED and row.owner.uid in self.dead:
            self.fail_row(row, self.owner_died(stored.object_id, row.owner.uid))
        if row.state < READY:
            self.set_value(row, stored.encoding, stored)
        elif row.state == FAILED:
            row.spent = stored

    def set_value(self, row: ObjectRow, encoding: int, value: bytes | Stored) -> None:
        """The object's value is known; whoever waits for it goes on."""
        for waiter in self.objects.set_value(row, encoding, value):
            self._wake(waiter, row)

    def fail_row(self, row: ObjectRow, failure: bytes) -> None:
        """The object's value will never be known; whoever waits for it is told."""
        for waiter in self.objects.fail(row, failure):
            self._wake(waiter, row)

    def _wake(self, waiter: Wait | Task, row: ObjectRow) -> None:
        if isinstance(waiter, Wait):
            if self.objects.satisfied(waiter, row):
                self.objects.stop_waiting(waiter.call_id)
                self.out.add(Complete(waiter.call_id))
            return
        waiter.waiting_on -= 1
        if row.state == FAILED:
            assert isinstance(row.value, bytes)
            self.unblocked.append((waiter, row.value))
        elif waiter.waiting_on == 0:
            self.unblocked.append((waiter, None))

    def value_came(self, object_id: bytes, row: ObjectRow) -> None:
        """A value is known; only lineage may have a use for it by now, if the row is there."""
        if self.objects.rows.get(object_id) is row:
            self.unheld(object_id, row)

    def discard(self, value: Value) -> None:
        """A result that nobody wants still carries obligations."""
        if isinstance(value, Stored):
            self.free_memory(value)
        for ref in value.refs:
            if ref.token:
                self.watch(ref.owner.uid)
                self.tokens.release(ref.owner.uid, ref.object_id, ref.token)

    # ---------------------------------------------------------------- asking and answering

    def locate(self, object_id: bytes, row: ObjectRow) -> None:
        """Ask the owner of a borrowed object for its value, once."""
        if row.owner is not None and row.state == PENDING and not row.question:
            row.question = self._question
            self._to_locate.setdefault(row.owner.uid, []).append(object_id)

    def is_gone(self, object_id: bytes, row: ObjectRow) -> bool:
        """Whether user code freed the object, and no call that runs again needs it."""
        return row.freed and object_id not in self.withheld.lent

    def was_freed(self, object_id: bytes) -> bytes:
        """Word the end of an object that user code freed."""
        return self.failures.system("ObjectFreedError", object_id)

    def owner_of(self, object_id: bytes) -> Address:
        """Return who owns an object that is known here."""
        row = self.objects.rows.get(object_id)
        return self.address if row is None or row.owner is None else row.owner

    # ---------------------------------------------------------------- settling

    def flush(self) -> None:
        """Send what has been gathered for others."""
        if any(self._unsent):
            self._flush()
        if any(self.tokens.gathered):
            self.tokens.flush()
        if self.memory.waiting or self.memory.scarce or self.memory.withdrawn:
            self._share_memory()

    def _flush(self) -> None:
        if self._to_watch:
            self.out.send(self.node, m.Watch(tuple(self._to_watch)))
            self._to_watch.clear()
        if self._to_locate:
            locate = partial(m.LocateObjects, question=self._question)
            self.out.send_each(self._to_locate, locate, self.dead)
            self._to_locate.clear()
            self._question += 1
        if self._to_free or self._to_unclaim:
            self._flush_frees()

    def _share_memory(self) -> None:
        """What is free here serves those who wait here first, then others."""
        memory = self.memory
        self.give_room(memory.serve_waiting())
        free = memory.extents.free_bytes if memory.scarce else 0
        pieces = memory.give_back(free) if free else []
        withdrawn, memory.withdrawn = memory.withdrawn, []
        if pieces or withdrawn:
            self.out.send(self.node, m.ReturnMemory(tuple(pieces), tuple(withdrawn)))

    def give_room(self, served: list[tuple[int, int]]) -> None:
        """These calls waited for memory, and have it."""
        for call_id, offset in served:
            self.out.add(Complete(call_id, offset))

    def _flush_frees(self) -> None:
        for uid, offsets in self._to_free.items():
            if uid in self.dead:
                self._to_unclaim += offsets
            else:
                self.out.send_in_parts(uid, offsets, m.FreeMemory)
        self._to_free.clear()
        if self._to_unclaim:
            self.out.send_in_parts(self.node, self._to_unclaim, m.FreeClaimed)
            self._to_unclaim.clear()

    def check(self) -> None:
        """Assert the tables' invariants."""
        self.objects.check()
        self.lineage.check()
        self.memory.check()
        self.covers.check()
        for row in self.objects.rows.values():
            if row.owner is None and row.state not in (ACTOR, PENDING):
                assert row.needed() or row.value is None, row
