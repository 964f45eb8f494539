"""Covers: what protects the references that are used here without a registration of ours.

A cover is a call that runs here, for what it was given, or a value, for what was found in it.  When
a value goes, what covered it covers what was found in it, by *way* of that value: it is its owner
that holds it for us then, and what is lost with that owner has to be covered anew.

    call -> outer -> inner          outer goes:    call -> inner, by way of outer
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zfut.ids import OBJECT_BYTES

Way = tuple[bytes, ...]
"""Values of others that are gone here, outermost first."""


class Covers:
    """Facts only: ``Borrowing`` decides what they mean."""

    def __init__(self) -> None:
        self._held: dict[bytes, dict[bytes, Way]] = {}  # by cover
        self._over: dict[bytes, dict[bytes, None]] = {}  # by what is covered

    def __contains__(self, cover: bytes) -> bool:
        return cover in self._held

    def __len__(self) -> int:
        return len(self._held)

    def items(self) -> Iterator[tuple[bytes, dict[bytes, Way]]]:
        """Yield each cover, and what it covers by which way."""
        yield from self._held.items()

    def names(self, cover: bytes) -> Iterable[bytes]:
        """Return what a cover covers."""
        return self._held.get(cover, ())

    def add(self, cover: bytes, names: Iterable[bytes], way: Way = ()) -> None:
        """These objects are covered; who is covered by a way of its own already keeps that."""
        held = self._held.setdefault(cover, {})
        for name in names:
            if not way:
                held[name] = ()
            held.setdefault(name, way)
            self._over.setdefault(name, {})[cover] = None

    def over(self, name: bytes) -> dict[bytes, Way]:
        """Return what covers an object, and by which way."""
        return {cover: self._held[cover][name] for cover in self._over.get(name, ())}

    def take(self, cover: bytes) -> dict[bytes, Way]:
        """The cover ends. Returns what it covered."""
        held = self._held.pop(cover, {})
        for name in held:
            self._forget(name, cover)
        return held

    def take_of(self, dead: bytes) -> list[bytes]:
        """An owner died. Returns what its values covered, and what was covered by way of them."""
        found: list[bytes] = []
        for cover in [cover for cover in self._held if is_object(cover, dead)]:
            found += self.take(cover)
        for cover, held in self._held.items():
            led = [name for name, way in held.items() if any(v.startswith(dead) for v in way)]
            for name in led:
                del held[name]
                self._forget(name, cover)
            found += led
        return found

    def _forget(self, name: bytes, cover: bytes) -> None:
        over = self._over[name]
        del over[cover]
        if not over:
            del self._over[name]

    def check(self) -> None:
        """Assert that both tables say the same."""
        for cover, held in self._held.items():
            assert all(cover in self._over[name] for name in held), cover
        for name, over in self._over.items():
            assert over, name
            assert all(name in self._held[cover] for cover in over), name


def is_object(cover: bytes, owner: bytes) -> bool:
    """Whether this names an object of ``owner``, not a call of its."""
    return len(cover) == OBJECT_BYTES and cover.startswith(owner)
