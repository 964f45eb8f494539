"""Custody: how a reference that outlives the call that delivered it stays protected.

A process that is not the owner may use an object while something *covers* it: the call that
delivered it, whose caller holds it until the answer; or the value it was found in, which somebody
holds.  Rule: before a cover ends while a use is left, this process must hold a *token*, a
registration that the owner has acknowledged.  Where the owner is the caller itself the token travels
in the answer; otherwise the answer waits for the owner.  Nothing is sent for a reference that stays
inside its call.  When a value goes, what protected it protects what was found in it, *through* it:
for as long as its owner lives.

The published scheme passes lists of borrowers up the tree of calls; while a list is in a process
that dies, its holder is unknown, and the object is freed under it.  Registration before the
answer has no such moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from zfut.core.owner.covers import lengthened
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.records import ObjectRow
from zfut.ids import PROC_BYTES, TASK_BYTES
from zfut.wire import messages as m
from zfut.wire.specs import Address, RefInfo, Stored


class Borrowing:
    """Covers, tokens, and what waits for a registration to be acknowledged."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._tokens = ledger.tokens
        self.void: dict[bytes, None] = {}  # calls whose caller died: they cover nothing
        self.missing: dict[bytes, int] = {}
        self.settled: list[bytes] = []
        self.claims: dict[int, list[bytes]] = {}  # asked of the node -> tokens that wait for it
        self._numbers = 0
        self._for_lineage: list[tuple[bytes, ObjectRow]] = []
        self._to_register: dict[tuple[bytes, bytes], list[tuple[bytes, bytes]]] = {}
        self.gathered = (self._to_register, self._for_lineage)  # what ``flush`` is for

    # ---------------------------------------------------------------- borrower side

    def view(self, stored: Stored, cover: bytes) -> None:
        """A value is open here: if its owner dies we claim its memory, so its row says where.

        What a dead owner had acknowledged says nothing of a place that we have not claimed.
        """
        row = self._ledger.row_of(stored.object_id, stored.owner)
        if row.place() is None and stored.owner.uid in self._ledger.dead:
            row.tokens, row.downgraded = None, False
        self.arrive(((stored.object_id, stored.owner),), cover)
        row.views += 1
        self._ledger.note_place(row, stored)

    def arrive(self, refs: Iterable[tuple[bytes, Address]], cover: bytes) -> None:
        """References were unpickled here, protected by ``cover`` for now."""
        rows = self._ledger.objects.rows
        covered: list[bytes] = []
        for object_id, owner in refs:
            row = rows.get(object_id)
            if row is None:
                row = self._ledger.row_of(object_id, owner)
            row.local += 1
            if row.owner is None or self._tokens.is_known(row):
                continue
            if cover and cover not in self.void and cover[:PROC_BYTES] not in self._ledger.dead:
                covered.append(object_id)
            else:  # its cover is gone; whoever lent it to the dead holds it until the fence
                self._secure(object_id, row, cover[:PROC_BYTES])
        if covered:
            self._ledger.covers.add(cover, covered)

    def end_call(self, task_id: bytes, caller: bytes) -> list[bytes]:
        """A call ended here. Returns the caller's objects that it may have kept; see ``claim``.

        Other owners are asked to register us; ``waits_for(task_id)`` tells how many answers the
        call's own answer has to wait for.
        """
        callers: list[bytes] = []
        for object_id, way in self._ledger.covers.take(task_id).items():
            row = self._ledger.objects.rows.get(object_id)
            if row is None or row.owner is None:
                continue
            if row.owner.uid == caller and not way and row.lacks_token():
                callers.append(object_id)
            else:
                self._secure(object_id, row, task_id)
        return callers

    def cover_lost(self, task_id: bytes, used: list[bytes], dead: bytes) -> None:
        """The caller of a running call died: what the call uses needs a cover of its own."""
        self.void[task_id] = None
        for object_id in {**self._ledger.covers.take(task_id), **dict.fromkeys(used)}:
            row = self._ledger.objects.rows.get(object_id)
            if row is None or not row.lacks_token():
                continue
            assert row.owner is not None
            if row.owner.uid != dead and row.owner.uid not in self._ledger.dead:
                self._register(object_id, row, dead)

    def holder_died(self, dead: bytes) -> None:
        """What is in a dead owner's values that are used here needs another cover, found or not."""
        for object_id, row in list(self._ledger.objects.rows.items()):
            if row.owner is not None and row.owner.uid == dead and row.in_use():
                self._take_over(dead, object_id, row)
        self.secure(self._ledger.covers.take_of(dead), dead)

    def _take_over(self, dead: bytes, object_id: bytes, row: ObjectRow) -> None:
        """A value is left to us: what it holds is held here from now on."""
        refs = [
            RefInfo(ref.object_id, ref.owner)
            for ref in self._ledger.refs_in(object_id, row)
            if ref.owner.uid != dead and ref.owner.uid not in self._ledger.dead
        ]
        if not refs or row.contains:
            return
        row.contains = self._ledger.contain(refs)
        self.secure([ref.object_id for ref in refs], dead)

    def secure(self, object_ids: Iterable[bytes], waits: bytes) -> None:
        """What protected these ends: ``waits`` until the owners of those still needed keep them."""
        for object_id in object_ids:
            row = self._ledger.objects.rows.get(object_id)
            if row is not None and row.owner is not None:
                self._secure(object_id, row, waits)

    def _secure(self, object_id: bytes, row: ObjectRow, waits: bytes) -> None:
        if row.lacks_token():
            self._register(object_id, row, waits)
        elif row.tokens and row.needed() and self._tokens.is_unsure(row):
            self._wait_for(row.tokens[-1], waits)  # the registration is under way

    def claim(self, object_ids: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
        """Name tokens for those of the caller's objects that are still used here.

        For an answer that leaves now: a token that was given back before the answer that announces
        it would be held for ever.
        """
        retained: list[tuple[bytes, bytes]] = []
        for object_id in object_ids:
            row = self._ledger.objects.rows.get(object_id)
            if row is None or not row.lacks_token():
                continue
            token = self._tokens.mint()
            self._tokens.add(object_id, row, token)
            retained.append((object_id, token))
            self._note_lineage(object_id, row)
        return tuple(retained)

    def hand_over(self, object_id: bytes, owner: Address, to: bytes, task_id: bytes) -> RefInfo:
        """A result for ``to`` holds this reference: protect it for its new holder."""
        if owner.uid == to != self._ledger.uid:
            return RefInfo(object_id, owner)  # it holds what it gave the call until the answer
        token = self._tokens.mint()
        row = self._ledger.row_of(object_id, owner)
        if row.owner is None:
            self._add_borrower(row, token, to)
        else:
            self._await(token, task_id, row.owner.uid)
            key = (row.owner.uid, to)
            self._to_register.setdefault(key, []).append((object_id, token))
        return RefInfo(object_id, owner, token)

    def waits_for(self, task_id: bytes) -> int:
        """How many registrations the answer of this call waits for."""
        return self.missing.get(task_id, 0)

    def _register(self, object_id: bytes, row: ObjectRow, waits: bytes) -> None:
        assert row.owner is not None
        token = self._tokens.mint()
        self._tokens.add(object_id, row, token)
        self._await(token, waits, row.owner.uid)
        key = (row.owner.uid, self._ledger.uid)
        self._to_register.setdefault(key, []).append((object_id, token))
        self._note_lineage(object_id, row)

    def _note_lineage(self, object_id: bytes, row: ObjectRow) -> None:
        """Only lineage needs it: its owner is told once it knows the token."""
        if not row.in_use():
            self._for_lineage.append((object_id, row))

    def _await(self, token: bytes, waits: bytes, owner: bytes) -> None:
        self._tokens.unsaid[token] = (), owner
        self._wait_for(token, waits)

    def _wait_for(self, token: bytes, waits: bytes) -> None:
        if not waits:
            return
        others, owner = self._tokens.unsaid[token]
        self._tokens.unsaid[token] = (*others, waits), owner
        self.missing[waits] = self.missing.get(waits, 0) + 1

    def on_registered(self, message: m.BorrowsRegistered) -> None:
        """The owner answered: calls that waited for it can answer too."""
        for token in message.tokens + message.gone:
            if self._tokens.is_last_word(token):
                self._acknowledged(token)

    def _acknowledged(self, token: bytes) -> None:
        for task in self._tokens.held_up.pop(token, ()):
            task.waiting_on -= 1
            if not task.waiting_on:
                self._ledger.unblocked.append((task, None))
        for waits in self._tokens.said(token):
            self.missing[waits] -= 1
            if not self.missing[waits]:
                del self.missing[waits]
                self._has_waited(waits)

    def _has_waited(self, waits: bytes) -> None:
        if waits in self._ledger.kept:
            for row in self._ledger.kept.pop(waits):
                self._let_go(waits, row)
        elif len(waits) == TASK_BYTES:
            self.settled.append(waits)

    # ---------------------------------------------------------------- when the owner is dead

    def owner_died(self, owner: bytes) -> None:
        """What ``owner`` will never acknowledge is claimed, or holds nothing up."""
        asked = {token: b"" for token, (_, uid) in self._tokens.unsaid.items() if uid == owner}
        if not asked:
            return
        for object_id, row in self._ledger.objects.rows.items():
            if row.owner is not None and row.owner.uid == owner:
                asked.update((token, object_id) for token in row.tokens or () if token in asked)
        self._claim_at_node(owner, [(object_id, token) for token, object_id in asked.items()])

    def _claim_at_node(self, owner: bytes, items: list[tuple[bytes, bytes]]) -> None:
        """Objects whose owner is dead are used on: where there is memory the node keeps it."""
        rows = self._ledger.objects.rows
        pieces: list[tuple[int, int]] = []
        tokens: list[bytes] = []
        for object_id, token in items:
            row = rows.get(object_id)
            value = row.place() if row is not None else None
            if value is None:
                self._acknowledged(token)
                continue
            pieces.append((value.offset, value.size_bytes))
            tokens.append(token)
            if token in self._tokens.unsaid:
                self._tokens.unsaid[token] = (
                    self._tokens.unsaid[token][0],
                    self._ledger.node,
                )
        if pieces:
            self._numbers += 1
            self.claims[self._numbers] = tokens
            message = m.ClaimMemory(owner, tuple(pieces), 0, self._numbers)
            self._ledger.out.send(self._ledger.node, message)

    def on_claimed(self, number: int) -> None:
        """The node keeps what we claimed: calls that waited for it can answer."""
        for token in self.claims.pop(number, ()):
            self._acknowledged(token)

    # ---------------------------------------------------------------- owner side

    def _add_borrower(self, row: ObjectRow, token: bytes, uid: bytes) -> None:
        if row.borrowers is None:
            row.borrowers = {}
        row.borrowers[token] = uid
        self._ledger.watch(uid)
        self._ledger.watch(token[:PROC_BYTES])  # who dies before it says so is audited

    def retain(self, borrower: bytes, items: tuple[tuple[bytes, bytes], ...]) -> None:
        """An answered call says what its executor still uses of ours."""
        for object_id, token in items:
            row = self._ledger.objects.rows.get(object_id)
            if row is not None and borrower not in self._ledger.dead:
                self._add_borrower(row, token, borrower)

    def on_register(self, sender: bytes, message: m.RegisterBorrows) -> None:
        """A process uses objects of ours beyond a call."""
        held: list[bytes] = []
        gone: list[bytes] = []
        for object_id, token in message.items:
            row = self._ledger.objects.rows.get(object_id)
            if row is None or row.owner is not None or message.borrower in self._ledger.dead:
                gone.append(token)
                continue
            self._add_borrower(row, token, message.borrower)
            held.append(token)
        self._ledger.out.send(sender, m.BorrowsRegistered(tuple(held), tuple(gone)))

    def on_release(self, message: m.ReleaseBorrows) -> None:
        """A borrower uses objects of ours no more."""
        for object_id, token in message.items:
            row = self._ledger.objects.rows.get(object_id)
            if row is None:
                continue
            for held in (row.borrowers, row.lineage_tokens):
                if held:
                    held.pop(token, None)
            row.borrowers = row.borrowers or None
            row.lineage_tokens = row.lineage_tokens or None
            self._ledger.unheld(object_id, row)

    def drop_borrower(self, borrower: bytes) -> None:
        """A borrower died: its registrations end, and so does what it asked."""
        for object_id, row in list(self._ledger.objects.rows.items()):
            if row.lineage_tokens and borrower in row.lineage_tokens.values():
                left = {t: uid for t, uid in row.lineage_tokens.items() if uid != borrower}
                row.lineage_tokens = left or None
                if not row.needed():
                    self._ledger.release(object_id, row)
            if row.askers:
                row.askers = [asker for asker in row.askers if asker[0] != borrower]
            if row.borrowers and borrower in row.borrowers.values():
                kept = {t: uid for t, uid in row.borrowers.items() if uid != borrower}
                row.borrowers = kept or None
                self._ledger.unheld(object_id, row)

    def audit(self, dead: bytes, why: str) -> None:
        """An executor died: ask those whom it had registered here whether they heard of it."""
        asked: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for object_id, row in self._ledger.objects.rows.items():
            for token, holder in (row.borrowers or {}).items():
                if token.startswith(dead) and holder != dead:
                    asked.setdefault(holder, []).append((object_id, token))
        for holder, items in asked.items():
            if holder not in self._ledger.dead:
                self._ledger.out.send(holder, m.AuditBorrows(dead, why, tuple(items)))

    def on_audit(self, owner: bytes, message: m.AuditBorrows) -> None:
        """Give back what was registered for us in an answer that will never come."""
        self.covers_ended()  # what goes in this step may have to be kept
        for object_id, token in message.items:
            row = self._ledger.objects.rows.get(object_id)
            kept = [*self._ledger.kept.get(object_id, ()), *((row,) if row is not None else ())]
            if not any(token in (held.tokens or ()) for held in kept):
                self._tokens.release(owner, object_id, token)

    # ---------------------------------------------------------------- settling

    def kept_rows(self) -> Iterator[ObjectRow]:
        """Yield the rows that outlive their place in the table."""
        for rows in self._ledger.kept.values():
            yield from rows

    def covers_ended(self) -> None:
        """Values are gone here: what was in them and is still used needs another cover.

        A value goes after those that were found in it, so that its own cover is theirs until then.
        """
        covers, gone = self._ledger.covers, self._ledger.take_uncovered()
        stack: list[tuple[bytes, list[ObjectRow]]] = []
        while gone or stack:
            if not stack:
                stack.append(gone.popitem())
            object_id, rows = stack[-1]
            inside = [name for name in covers.names(object_id) if name in gone]
            if inside:
                stack.extend((name, gone.pop(name)) for name in inside)
                continue
            stack.pop()
            for row in rows:
                self._cover_ended(object_id, row)

    def _cover_ended(self, object_id: bytes, row: ObjectRow) -> None:
        covers = self._ledger.covers
        found = covers.take(object_id)
        if row.owner is None:
            return  # what is in a value of ours was protected before it was put in
        inner = {name: way for name, way in found.items() if self._needs_cover(name)}
        above = covers.over(object_id)
        is_back = object_id in self._ledger.objects.rows  # found again in the same step
        for cover, way in above.items():  # what protected the value protects what is in it
            same = not way and cover.startswith(row.owner.uid)
            here = way if same else lengthened(way, object_id)
            for inner_id, further in inner.items():
                covers.add(cover, (inner_id,), here + further)
            if not is_back:
                covers.discard(cover, object_id)
        if all(cover.startswith(self._ledger.uid) for cover in above):  # else it is not our own
            self.secure(inner, object_id)
        if object_id in self.missing:  # our use of the value protects it until then
            kept = self._ledger.kept.setdefault(object_id, [])
            if not any(one is row for one in kept):
                kept.append(row)
        else:
            self._let_go(object_id, row)

    def _let_go(self, object_id: bytes, row: ObjectRow) -> None:
        if not row.in_use():  # it may have come into use again
            self._tokens.let_go(object_id, row)

    def _needs_cover(self, object_id: bytes) -> bool:
        row = self._ledger.objects.rows.get(object_id)
        if row is None or row.owner is None or not row.needed():
            return False
        return row.lacks_token() or self._tokens.is_unsure(row)

    def flush(self) -> None:
        """Send the registrations that were gathered."""
        for (owner, borrower), items in self._to_register.items():
            if owner not in self._ledger.dead:
                register = partial(m.RegisterBorrows, borrower)
                self._ledger.out.send_in_parts(owner, items, register)
            elif borrower == self._ledger.uid:
                self._claim_at_node(owner, items)
            else:
                for _, token in items:
                    self._acknowledged(token)
        self._to_register.clear()
        for object_id, row in self._for_lineage:
            if row.lineage and not row.in_use():
                self._ledger.release(object_id, row)
        self._for_lineage.clear()
