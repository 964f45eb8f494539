"""Shared fate: calls that cannot end well, because what they take is a dead owner's.

A task that lets an ``OwnerDiedError`` pass is run again, as the paper runs again what ended with its
owner: its children make anew what was lost.  With ``fate_share="kill"``, the paper's rule, a worker
that uses a dead owner's object ends, and its task is run again.  Neither helps a call that is handed
such a reference itself: it would fail, or kill, one time after the other.  It fails.
"""

from __future__ import annotations

from zfut.core.owner.ledger import Ledger
from zfut.core.owner.records import Task
from zfut.wire.specs import Address, Stored

LOOKED_AT_MAX = 10_000
"""So many objects are looked at for a dead owner's: others wait meanwhile."""


def fatal_argument(ledger: Ledger, task: Task) -> bytes | None:
    """Return why no worker survives the call's arguments; None: it may run."""
    dead = dead_argument(ledger, task) if ledger.config.fate_share == "kill" else None
    if dead is None:
        return None
    return ledger.failures.dependency(ledger.owner_died(*dead), task.template.name)


def dead_argument(
    ledger: Ledger, task: Task, *, deep: bool = False
) -> tuple[bytes, bytes] | None:
    """Return an object in the call's arguments whose owner is dead, and that owner; None: none.

    ``deep``: or in a value that can be reached from them, as far as it is known here, and near.
    """
    named = {object_id: owner for _, object_id, owner in task.deps} | dict(task.nested)
    todo = list(named)
    while todo:
        inner = [ref for name in todo for ref in _inside(ledger, name) if ref[0] not in named]
        named.update(inner)
        todo = [name for name, _ in inner] if deep and len(named) < LOOKED_AT_MAX else []
    for object_id, owner in named.items():
        if owner.uid in ledger.dead:
            return object_id, owner.uid
    return None


def _inside(ledger: Ledger, object_id: bytes) -> list[tuple[bytes, Address]]:
    row = ledger.objects.rows.get(object_id)
    if row is None:
        return []
    stored = isinstance(row.value, Stored)
    refs = row.value.refs if stored else ledger.inner.get(object_id, ())  # type: ignore[union-attr]
    found = [(inner.object_id, inner.owner) for inner in refs]
    return found + [(inner_id, ledger.owner_of(inner_id)) for inner_id, _ in row.contains]
