"""Tokens: our registrations with the owners of what we borrow, and what we tell those owners.

A token names one registration; its owner keeps the value for us while it stands.  A row may have
several.  Needed only to make something else again, an object's tokens are *downgraded*: they stand
for its lineage, and the value may go.

    minted -> unsaid -> acknowledged -> downgraded -> released
                 ^                          |
                 +------- revived ----------+
"""

from __future__ import annotations

from collections.abc import Container

from zfut.core.effects import Outbox
from zfut.core.owner.records import ObjectRow, Task
from zfut.wire import messages as m


class Tokens:
    """Names registrations, and sends what is to be said of them, in batches."""

    def __init__(self, uid: bytes, dead: Container[bytes], out: Outbox) -> None:
        self._uid = uid
        self._dead = dead
        self._out = out
        self._count = 0
        self.unsaid: dict[bytes, tuple[tuple[bytes, ...], bytes]] = {}
        """Those that were not acknowledged: what waits for that, and who is asked."""
        self._later: dict[bytes, int] = {}  # of those, words to come after the next one
        self.held_up: dict[bytes, list[Task]] = {}
        """Calls that are not sent before such a word comes."""
        self._to_release: dict[bytes, list[tuple[bytes, bytes]]] = {}
        self._to_downgrade: dict[bytes, dict[bytes, list[bytes]]] = {}  # by owner, object
        self.gathered = (self._to_release, self._to_downgrade)  # what ``flush`` is for

    def mint(self) -> bytes:
        """Name a registration; never used twice."""
        self._count += 1
        return self._uid + self._count.to_bytes(8, "big")

    def is_unsure(self, row: ObjectRow) -> bool:
        """Whether we have asked to be registered, and no owner has said so."""
        unsaid, tokens = self.unsaid, row.tokens
        return bool(unsaid and tokens) and all(token in unsaid for token in tokens or ())

    def is_known(self, row: ObjectRow) -> bool:
        """Whether the owner of a borrowed object has said that it keeps the value for us."""
        return bool(row.tokens) and not row.downgraded and not self.is_unsure(row)

    def add(self, object_id: bytes, row: ObjectRow, token: bytes) -> None:
        """Its owner keeps the value for us by this name; what stood for lineage alone goes back."""
        assert row.owner is not None
        if row.downgraded:
            for old in row.tokens or ():
                self.release(row.owner.uid, object_id, old)
            row.tokens, row.downgraded = None, False
        row.tokens = [*(row.tokens or ()), token]

    def revive(self, object_id: bytes, row: ObjectRow) -> None:
        """A borrowed object of which we only kept how to make it is used again."""
        assert row.owner is not None
        row.downgraded = False
        unsent = self._to_downgrade.get(row.owner.uid)
        if unsent is not None and unsent.pop(object_id, None) is not None:
            return  # its owner has not heard that only lineage needed it
        if row.owner.uid not in self._dead:
            items = tuple((object_id, token) for token in row.tokens or ())
            for token in row.tokens or ():
                self._ask_again(token, row.owner.uid)
            self._out.send(row.owner.uid, m.ReviveBorrows(items))

    def hold_up(self, row: ObjectRow, task: Task) -> None:
        """A call lends what no call that runs here covers: only once its owner keeps it for us."""
        if row.tokens and self.is_unsure(row):
            self.held_up.setdefault(row.tokens[-1], []).append(task)
            task.waiting_on += 1

    def holds_up(self, task: Task) -> bytes | None:
        """Return whose word a call waits for, if it does."""
        for token, tasks in self.held_up.items():
            if any(one is task for one in tasks):
                return self.unsaid[token][1]
        return None

    def _ask_again(self, token: bytes, owner: bytes) -> None:
        """One more word of the owner's is to come; that which is under way is older than this."""
        if token in self.unsaid:
            self._later[token] = self._later.get(token, 0) + 1
        else:
            self.unsaid[token] = (), owner

    def is_last_word(self, token: bytes) -> bool:
        """The owner has acknowledged a token. Returns whether it has nothing more to say of it."""
        left = self._later.get(token, 0)
        if left > 1:
            self._later[token] = left - 1
        elif left:
            del self._later[token]
        return not left

    def said(self, token: bytes) -> tuple[bytes, ...]:
        """A token is acknowledged, or never will be. Returns what waits for that."""
        self._later.pop(token, None)
        return self.unsaid.pop(token, ((), b""))[0]

    def let_go(self, object_id: bytes, row: ObjectRow) -> None:
        """Tell the owner that we use its object no more, or only as lineage."""
        assert row.owner is not None
        if row.lineage:
            if row.tokens and not row.downgraded and row.owner.uid not in self._dead:
                self._to_downgrade.setdefault(row.owner.uid, {})[object_id] = row.tokens
                row.downgraded = True
                row.question = 0  # what is under way to us may have gone by then
        else:
            for token in row.tokens or ():
                self.release(row.owner.uid, object_id, token)

    def release(self, owner: bytes, object_id: bytes, token: bytes) -> None:
        """Give a registration back to the owner of the object."""
        if owner not in self._dead:
            self._to_release.setdefault(owner, []).append((object_id, token))

    def flush(self) -> None:
        """Send what was gathered, after the registrations that it may name."""
        if self._to_downgrade:
            self._out.send_each(self._downgrades(), m.DowngradeBorrows, self._dead)
            self._to_downgrade.clear()
        if self._to_release:
            self._out.send_each(self._to_release, m.ReleaseBorrows, self._dead)
            self._to_release.clear()

    def _downgrades(self) -> dict[bytes, list[tuple[bytes, bytes]]]:
        return {
            owner: [
                (object_id, token) for object_id, tokens in objects.items() for token in tokens
            ]
            for owner, objects in self._to_downgrade.items()
            if objects
        }
