"""The deaths that a process remembers: those of whom its tables name, and the latest of the others.

Whoever is known to be dead is sent nothing, and what comes from it counts no more.  Forgotten, it is
as if this process had never heard of it, and that does no harm if no table names it: a name is
never used again; the mailbox takes nothing from whom it has once let go; and who comes upon the name
later, in a value say, watches it, and is told by the node once more.

Must hold: every table that names a process is asked by whoever passes ``named``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from zfut.core.owner.records import Actor, ObjectRow
from zfut.ids import PROC_BYTES
from zfut.wire.specs import Stored


class Obituaries:
    """Bounds what is remembered; the oldest goes first."""

    def __init__(
        self,
        dead: dict[bytes, str],
        watched: dict[bytes, None],
        bound: int,
        named: Callable[[], Iterable[bytes]],
    ) -> None:
        self._dead = dead
        self._watched = watched
        self._bound = bound
        self._named = named
        self.due = bound  # looked through when there are more

    def settle(self) -> None:
        """Forget the oldest half of what may be forgotten, once there is too much."""
        if len(self._dead) <= self.due:
            return
        named = dict.fromkeys(self._named())
        surplus = len(self._dead) - self._bound // 2
        for uid in [uid for uid in self._dead if uid not in named][:surplus]:
            del self._dead[uid]
            self._watched.pop(uid, None)
        self.due = max(self._bound, 2 * len(self._dead) if len(self._dead) > self._bound else 0)


def named_in_row(row: ObjectRow) -> Iterator[bytes]:
    """Yield the processes that a row names."""
    if row.owner is not None:
        yield row.owner.uid
    for table in (row.borrowers, row.lineage_tokens):
        for token, holder in table.items() if table else ():
            yield holder
            yield token[:PROC_BYTES]
    yield from (asker for asker, _ in row.askers or ())
    for value in (row.value, row.spent):
        if isinstance(value, Stored):
            yield value.creator
            for ref in value.refs:
                yield ref.owner.uid


def named_in_actor(actor: Actor) -> Iterator[bytes]:
    """Yield the processes that an actor's entry names."""
    yield actor.owner.uid
    yield actor.worker
    yield from actor.followers
