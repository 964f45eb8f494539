"""References that come inside a value: counted together, not one by one.

A value may hold hundreds of thousands of them.  They are counted when the value is unpickled, or
before: when there are many, or if user code that runs inside the unpickler hands anything in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from zfut.core.events import RefsArrived
from zfut.refs import Maker, ObjectRef
from zfut.wire.specs import Address

MANY = 1000
"""So many are counted at once: others are answered in between."""

_name: Callable[[ObjectRef[Any]], tuple[bytes, Address]] = attrgetter("_id", "_owner")


class Arriving:
    """The references that one value brings.

    Each is alive in here until it is counted, so that its finaliser cannot come first.
    """

    __slots__ = ("_cover", "_drop", "_note", "_owners", "_refs", "_session", "_turn")

    def __init__(
        self,
        session: Maker,
        drop: Callable[[bytes], None],
        note: Callable[[Any], None],
        turn: Callable[[], None],
        cover: bytes,
    ) -> None:
        self._session = session
        self._drop = drop
        self._note = note
        self._turn = turn
        self._cover = cover
        self._refs: deque[ObjectRef[Any]] = deque()
        self._owners: dict[bytes, Address] = {}

    def __del__(self) -> None:  # an exception came between
        self.count(self._note)

    def make(self, object_id: bytes, uid: bytes, epoch: int) -> ObjectRef[Any]:
        """Make a reference that came inside the value."""
        owner = self._owners.get(uid)
        if owner is None or owner.epoch != epoch:
            owner = self._owners[uid] = Address(uid, epoch)
        ref: ObjectRef[Any] = ObjectRef(object_id, owner, self._session, self._drop)
        self._refs.append(ref)
        if len(self._refs) >= MANY:
            self.count(self._note)
            self._turn()
        return ref

    def count(self, note: Callable[[Any], None]) -> None:
        """Count those made so far; another thread may be making more."""
        refs: list[ObjectRef[Any]] = []
        try:
            while True:  # each is taken by one thread
                refs.append(self._refs.popleft())
        except IndexError:
            pass
        if refs:
            note(RefsArrived(map(_name, refs), self._cover))
