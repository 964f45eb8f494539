"""Covers: what protects the references that are used here without a registration of ours.

A cover is a call that runs here, for what it was given, or a value, for what was found in it.  When
a value goes, what covered it covers what was found in it, by *way* of that value: it is its owner
that holds it for us then, and what is lost with that owner has to be covered anew.

    call -> outer -> inner          outer goes:    call -> inner, by way of outer
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zfut.ids import OBJECT_BYTES, PROC_BYTES

Way = tuple[bytes, ...]
"""Values of others that are gone here, outermost first."""


SLACK = 1000
"""So many entries of the second table may be stale, beyond as many as are not."""


class Covers:
    """Facts only: ``Borrowing`` decides what they mean.

    A value may hold hundreds of thousands of references.  So the second table is filled with whole
    values at once, and emptied late: an entry counts only if the first table says the same.
    """

    def __init__(self) -> None:
        self.held: dict[bytes, dict[bytes, Way]] = {}  # by cover; others only look
        self._over: dict[
            bytes, bytes | dict[bytes, None]
        ] = {}  # by what is covered: its covers
        self._count = 0  # entries of the first table
        self.noted = 0  # entries of the second, stale ones too

    def __len__(self) -> int:
        return len(self.held)

    def items(self) -> Iterator[tuple[bytes, dict[bytes, Way]]]:
        """Yield each cover, and what it covers by which way."""
        yield from self.held.items()

    def names(self, cover: bytes) -> Iterable[bytes]:
        """Return what a cover covers."""
        return self.held.get(cover, ())

    def add(self, cover: bytes, names: Iterable[bytes], way: Way = ()) -> None:
        """These objects are covered; who is covered by a way of its own already keeps that."""
        held = self.held.setdefault(cover, {})
        self._count -= len(held)
        ways = dict.fromkeys(names, way)
        if not way:
            held.update(ways)
        else:
            for name in ways:
                held.setdefault(name, way)
        self._count += len(held)
        self._index(cover, ways)

    def _index(self, cover: bytes, names: dict[bytes, Way]) -> None:
        over = self._over
        self.noted += len(names)
        if names.keys().isdisjoint(over.keys()):
            over.update(dict.fromkeys(names, cover))
            return
        for name in names:
            others = over.setdefault(name, cover)
            if isinstance(others, dict):
                others[cover] = None
            elif others != cover:
                over[name] = dict.fromkeys((others, cover))

    def over(self, name: bytes) -> dict[bytes, Way]:
        """Return what covers an object, and by which way."""
        found = self._over.get(name, ())
        covers = (found,) if isinstance(found, bytes) else found
        return {
            cover: self.held[cover][name]
            for cover in covers
            if name in self.held.get(cover, ())
        }

    def take(self, cover: bytes) -> dict[bytes, Way]:
        """The cover ends. Returns what it covered."""
        held = self.held.pop(cover, {})
        self._count -= len(held)
        self._tidy()
        return held

    def discard(self, cover: bytes, name: bytes) -> None:
        """An object is not needed any more: nothing rests on its being covered."""
        self._count -= 1
        del self.held[cover][name]

    def take_of(self, dead: bytes) -> list[bytes]:
        """An owner died. Returns what its values covered, and what was covered by way of them."""
        found: list[bytes] = []
        for cover in [cover for cover in self.held if is_object(cover, dead)]:
            found += self.take(cover)
        for held in self.held.values():
            led = [name for name, way in held.items() if any(v.startswith(dead) for v in way)]
            for name in led:
                del held[name]
            self._count -= len(led)
            found += led
        return found

    def _tidy(self) -> None:
        if not self.held or self.noted > 2 * self._count + SLACK:
            self._over.clear()
            self.noted = 0
            for cover, held in self.held.items():
                self._index(cover, held)

    def check(self) -> None:
        """Assert that both tables say the same."""
        assert self._count == sum(len(held) for held in self.held.values())
        for cover, held in self.held.items():
            assert all(cover in self.over(name) for name in held), cover


def lengthened(way: Way, value: bytes) -> Way:
    """Return a way by one value more; of neighbours of one owner the first and last will do."""
    if len(way) > 1 and way[-2][:PROC_BYTES] == way[-1][:PROC_BYTES] == value[:PROC_BYTES]:
        way = way[:-1]
    return (*way, value)


def is_object(cover: bytes, owner: bytes) -> bool:
    """Whether this names an object of ``owner``, not a call of its."""
    return len(cover) == OBJECT_BYTES and cover.startswith(owner)
