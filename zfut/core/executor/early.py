"""Messages that came before the node's word that this worker is lent to their sender."""

from __future__ import annotations

from typing import TypeAlias

from zfut.wire import messages as m
from zfut.wire.specs import TaskSpec

Early: TypeAlias = m.PushTasks | m.CreateActor | m.PushCalls | m.RecallTasks
"""What may come early."""


def names_task(early: Early, task_ids: tuple[bytes, ...]) -> bool:
    """Whether something that waits for the node's word carries one of these tasks."""
    if isinstance(early, m.RecallTasks):
        return False
    specs: tuple[TaskSpec, ...] = ()
    if isinstance(early, m.PushTasks):
        specs = early.tasks
    elif isinstance(early, m.PushCalls):
        specs = early.calls
    return any(spec.task_id in task_ids for spec in specs)


def sender_of(early: Early, given: bytes) -> bytes:
    """Return who sent an early message; ``given`` is what was noted beside it."""
    return given if isinstance(early, m.RecallTasks) else early.owner.uid
