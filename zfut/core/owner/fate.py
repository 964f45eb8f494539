"""Shared fate: calls that no worker survives, because what they take is a dead owner's.

With ``fate_share="kill"``, the paper's rule, a worker that uses a dead owner's object ends.  A call
that hands it such a reference would kill one worker after the other: it fails instead.
"""

from __future__ import annotations

from zfut.core.owner.ledger import Ledger
from zfut.core.owner.records import Task
from zfut.wire.specs import Stored


def fatal_argument(ledger: Ledger, task: Task) -> bytes | None:
    """Return why no worker survives the call's arguments; None: it may run."""
    if ledger.config.fate_share != "kill":
        return None
    named = [(object_id, owner) for _, object_id, owner in task.deps] + list(task.nested)
    for object_id, _ in list(named):
        row = ledger.objects.rows.get(object_id)
        if row is None:
            continue
        stored = isinstance(row.value, Stored)
        refs = row.value.refs if stored else ledger.inner.get(object_id, ())  # type: ignore[union-attr]
        named += [(inner.object_id, inner.owner) for inner in refs]
        named += [(inner_id, ledger.owner_of(inner_id)) for inner_id, _ in row.contains]
    for object_id, owner in named:
        if owner.uid in ledger.dead:
            failure = ledger.owner_died(object_id, owner.uid)
            return ledger.failures.dependency(failure, task.template.name)
    return None
