"""The node's arena: which process may write where, and who waits for room.

Processes borrow extents in advance and hand values out of them without asking.  When an extent
cannot be lent, the request waits in order while everybody is asked to return what is unused.
What fits passes what does not, until as many bytes have passed a request as it wants itself:
then it closes the door, and nobody behind it is served before it is, or has given up.
When a process dies, what it wrote, or had claimed of what the dead wrote, may still be needed:
those who knew it say what, and the rest is free again.

Invariants, checked by ``Lending.check``: free, lent and claimed pieces are disjoint and together
are the arena, but for what waits for claims.
"""

from __future__ import annotations

from msgspec import Struct, field

from zfut.core.extents import Extents

Piece = tuple[int, int]
"""Offset and size in bytes."""


class Waiting(Struct, gc=False):
    """A request for memory that could not be met at once."""

    uid: bytes
    request: int
    size_bytes: int
    wish_bytes: int
    since: int
    passed_bytes: int = 0  # lent to those who came later
    searched: bool = False  # everybody has been asked to collect garbage since it came

    @property
    def closes(self) -> bool:
        """Whether enough has passed it."""
        return self.passed_bytes >= self.size_bytes


class Estate(Struct, gc=False):
    """What a dead process had borrowed, until everybody has said what they need of it.

    One who dies before it has answered may have lent on what it would have claimed: it stays among
    the unanswered until its own estate is settled.
    """

    pieces: list[Piece]
    unanswered: dict[bytes, None]
    claims: dict[int, tuple[int, dict[bytes, None]]] = field(default_factory=dict)


class Lending:
    """Facts only: the machine beside it sends what the methods return."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.free = Extents()
        self.free.add(0, capacity_bytes)
        self.lent: dict[bytes, list[Piece]] = {}
        self.waiting: dict[tuple[bytes, int], Waiting] = {}
        self.estates: dict[bytes, Estate] = {}
        self.claimed: dict[int, tuple[int, dict[bytes, None]]] = {}

    def borrow(self, uid: bytes, size_bytes: int, wish_bytes: int) -> Piece | None:
        """Lend ``wish_bytes`` if they are there, at least ``size_bytes``; None: nothing fits."""
        for wanted in (wish_bytes, size_bytes):
            offset = self.free.allocate(wanted)
            if offset is not None:
                _insert(self.lent.setdefault(uid, []), (offset, wanted))
                return offset, wanted
        return None

    def wait(self, waiting: Waiting) -> None:
        """Queue a request; asked again it keeps its place."""
        self.waiting.setdefault((waiting.uid, waiting.request), waiting)

    def withdraw(self, uid: bytes, requests: tuple[int, ...]) -> None:
        """A process has found room for these itself."""
        for request in requests:
            self.waiting.pop((uid, request), None)

    def give_back(self, uid: bytes, pieces: tuple[Piece, ...]) -> None:
        """A process returned parts of what it had borrowed."""
        mine = self.lent.get(uid)
        if mine is None:
            return
        for piece in pieces:
            if _cut(mine, piece):
                self.free.free_part(*piece)

    def serve(self) -> list[tuple[Waiting, Piece]]:
        """Lend to those who wait, in order, as far as memory and open doors go."""
        served: list[tuple[Waiting, Piece]] = []
        in_front: list[Waiting] = []
        closed = False
        for name, waiting in list(self.waiting.items()):
            if closed:
                break
            piece = self.borrow(waiting.uid, waiting.size_bytes, waiting.size_bytes)
            if piece is None:
                in_front.append(waiting)
                closed = waiting.closes
                continue
            del self.waiting[name]
            served.append((waiting, piece))
            for passed in in_front:
                passed.passed_bytes += piece[1]
                closed = closed or passed.closes
        return served

    def unsearched(self) -> Waiting | None:
        """Return the oldest request for which nobody has been asked to collect garbage."""
        return next((w for w in self.waiting.values() if not w.searched), None)

    def searched(self) -> None:
        """Everybody has been asked for the sake of all that wait now."""
        for waiting in self.waiting.values():
            waiting.searched = True

    def behind(self, waiting: Waiting) -> Waiting | None:
        """Return the request in front that has closed the door to this one, if one has."""
        for other in self.waiting.values():
            if other is waiting:
                return None
            if other.closes:
                return other
        return None

    def expire(self, now: int, timeout_ns: int) -> Waiting | None:
        """Take out the oldest request if it has waited for too long."""
        for name, waiting in self.waiting.items():
            if now - waiting.since >= timeout_ns:
                del self.waiting[name]
                return waiting
            break
        return None

    # ---------------------------------------------------------------- the dead

    def leaves(self, uid: bytes) -> bool:
        """Whether a process leaves memory behind: what it wrote, had claimed, or might have."""
        claims = [self.claimed, *(estate.claims for estate in self.estates.values())]
        return (
            uid in self.lent
            or any(uid in claimers for held in claims for _, claimers in held.values())
            or any(uid in estate.unanswered for estate in self.estates.values())
        )

    def died(self, uid: bytes, witnesses: dict[bytes, None]) -> None:
        """A process is gone; its ``witnesses`` will say what they need of what it leaves."""
        for name in [name for name in self.waiting if name[0] == uid]:
            del self.waiting[name]
        if self.leaves(uid):
            self.estates[uid] = Estate(self.lent.pop(uid, []), dict(witnesses))
            self._settle(uid)

    def cede(
        self, writer: bytes, dead: bytes, pieces: tuple[Piece, ...], asked: dict[bytes, None]
    ) -> None:
        """A process wrote these for one that is dead: they are that one's, and all are asked."""
        mine = self.lent.get(writer, [])
        estate = self.estates.setdefault(dead, Estate([], {}))
        estate.unanswered.update(asked)
        for piece in pieces:
            if _cut(mine, piece):
                _insert(estate.pieces, piece)
        self._settle(dead)

    def claim(self, claimer: bytes, pieces: tuple[Piece, ...]) -> None:
        """Somebody says what it needs; some of it the dead process may have claimed itself.

        What it names and nobody keeps was free before it said so.
        """
        for offset, size in pieces:
            if offset in self.claimed:
                self.claimed[offset][1][claimer] = None
                continue
            for other in self.estates.values():
                if _holds(other.pieces, (offset, size)):
                    held = other.claims.setdefault(offset, (_rounded(size), {}))
                    held[1][claimer] = None

    def answered(self, dead: bytes, witness: bytes) -> None:
        """A witness has said all that it needs of what this process left."""
        estate = self.estates.get(dead)
        if estate is not None and witness in estate.unanswered:
            del estate.unanswered[witness]
            self._settle(dead)

    def _settle(self, dead: bytes) -> None:
        """Free what nobody claimed, once all have answered; that may answer for others."""
        todo = [dead]
        while todo:
            name = todo.pop()
            estate = self.estates.get(name)
            if estate is not None and not estate.unanswered:
                self._divide(name, estate)
                for other, waits in self.estates.items():
                    if name in waits.unanswered:
                        del waits.unanswered[name]
                        todo.append(other)

    def _divide(self, dead: bytes, estate: Estate) -> None:
        del self.estates[dead]
        rest = estate.pieces
        for offset, held in estate.claims.items():
            if _cut(rest, (offset, held[0])):
                self.claimed[offset] = held
        for piece in rest:
            self.free.free_part(*piece)
        for offset in list(self.claimed):
            self._unclaim(offset, dead)
        for other in self.estates.values():
            for offset in list(other.claims):
                self._unclaim_of(other, offset, dead)

    def free_claimed(self, claimer: bytes, offsets: tuple[int, ...]) -> None:
        """A claimer needs these no more."""
        for offset in offsets:
            self._unclaim(offset, claimer)
            for estate in self.estates.values():
                self._unclaim_of(estate, offset, claimer)

    @staticmethod
    def _unclaim_of(estate: Estate, offset: int, claimer: bytes) -> None:
        held = estate.claims.get(offset)
        if held is not None:
            held[1].pop(claimer, None)
            if not held[1]:
                del estate.claims[offset]

    def _unclaim(self, offset: int, claimer: bytes) -> None:
        held = self.claimed.get(offset)
        if held is None:
            return
        held[1].pop(claimer, None)
        if not held[1]:
            del self.claimed[offset]
            self.free.free_part(offset, held[0])

    def figures(self) -> dict[str, int]:
        """Return bytes: capacity, lent, claimed, free, and the largest piece that is free."""
        return {
            "capacity": self.capacity_bytes,
            "lent": sum(size for pieces in self.lent.values() for _, size in pieces),
            "claimed": sum(size for size, _ in self.claimed.values()),
            "free": self.free.free_bytes,
            "largest": self.free.largest_bytes,
            "waiting": len(self.waiting),
            "waiting_bytes": sum(w.size_bytes for w in self.waiting.values()),
        }

    def check(self) -> None:
        """Assert the invariants above."""
        self.free.check()
        figures = self.figures()
        estates = sum(size for estate in self.estates.values() for _, size in estate.pieces)
        parts = figures["free"] + figures["lent"] + figures["claimed"] + estates
        assert parts == self.capacity_bytes, (figures, estates)


def _rounded(size_bytes: int) -> int:
    return -(-size_bytes // 64) * 64


def _insert(pieces: list[Piece], piece: Piece) -> None:
    """Add a piece; neighbours become one, since a value may lie across both."""
    offset, size = piece
    merged: list[Piece] = []
    for start, length in pieces:
        if start + length == offset:
            offset, size = start, length + size
        elif offset + size == start:
            size += length
        else:
            merged.append((start, length))
    merged.append((offset, size))
    pieces[:] = merged


def _holds(pieces: list[Piece], piece: Piece) -> bool:
    """Whether one of the pieces has all of ``piece``."""
    offset, size = piece
    return any(start <= offset and offset + size <= start + n for start, n in pieces)


def _cut(pieces: list[Piece], piece: Piece) -> bool:
    """Take ``piece`` out of the pieces that hold it. Returns whether one did."""
    offset, size = piece
    for index, (start, length) in enumerate(pieces):
        if start <= offset and offset + size <= start + length:
            rest = [(start, offset - start), (offset + size, start + length - offset - size)]
            pieces[index : index + 1] = [part for part in rest if part[1]]
            return True
    return False
