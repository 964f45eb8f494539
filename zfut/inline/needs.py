"""What a wait needs, and the words for a wait that nothing can end.

A call on top of another one on a stack has to end before the lower one can go on.  So what
runs on top of a wait should be what it waits for: otherwise a call that needs the lower one
may sit on it for good.  All tables are in this process, so the way from a reference to the
calls that make it can be walked: arguments, the calls ahead at an actor, and what running
coroutines await.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.records import READY, Actor, Task
from zfut.errors import UsageError
from zfut.ids import owner_of, short

if TYPE_CHECKING:
    from zfut.inline.loop import InlineLoop
    from zfut.inline.pump import Pump
    from zfut.inline.workers import Worker

LOOKS_MAX = 1000
"""A walk gives up after this many objects: then workers simply take turns."""

SHOWN = 3


class Walk:
    """One walk from the waits of a process to the workers whose next step they need."""

    def __init__(self, pump: Pump, loop: InlineLoop) -> None:
        self._pump = pump
        self._todo: deque[tuple[InlineLoop, bytes]] = deque()
        self._seen: dict[tuple[bytes, bytes], None] = {}
        self._found: deque[Worker] = deque()
        self._waits_of(loop)

    def __iter__(self) -> Iterator[Worker]:
        for _ in range(LOOKS_MAX):
            while self._found:
                yield self._found.popleft()
            if not self._todo:
                return
            loop, object_id = self._todo.popleft()
            if (loop.uid, object_id) not in self._seen:
                self._seen[loop.uid, object_id] = None
                self._look(loop, object_id)

    def _waits_of(self, loop: InlineLoop) -> None:
        """Everything that somebody in this process waits for is needed, the last wait first."""
        owner = loop.owner
        if owner is None:
            return
        waits = owner.ledger.objects.waits
        if len(loop.looked_to) > 2 * len(waits):
            loop.looked_to = {k: n for k, n in loop.looked_to.items() if k in waits}
        for wait in reversed(waits.values()):
            ids = wait.object_ids
            at = loop.looked_to.get(wait.call_id, 0)
            while at < len(ids) and not _is_pending(owner, ids[at]):
                at += 1
            loop.looked_to[wait.call_id] = at  # what is ready stays ready
            self._todo.extend((loop, name) for name in ids[at : at + LOOKS_MAX])
            if len(self._todo) >= LOOKS_MAX:
                return

    def _look(self, loop: InlineLoop, object_id: bytes) -> None:
        owner = loop.owner
        row = owner.rows.get(object_id) if owner is not None else None
        if row is None or row.state >= READY:
            return
        if row.owner is not None:
            home = self._pump.loops.get(row.owner.uid)
            if home is not None:
                self._todo.append((home, object_id))
        elif row.task is not None:
            self._need(loop, row.task)

    def _need(self, loop: InlineLoop, task: Task) -> None:
        owner = loop.owner
        assert owner is not None
        self._arguments(loop, task)
        uid = task.lease.worker if task.lease is not None else b""
        actor = owner.calls.actors.actors.get(task.actor_id) if task.actor_id else None
        if actor is not None:
            uid = self._actor(loop, actor, task)
        worker = self._pump.workers.get(uid)
        if worker is None:
            return
        self._found.append(worker)
        if task.task_id in worker.machine.executor.inbox.running:
            self._waits_of(worker.loop)

    def _actor(self, loop: InlineLoop, actor: Actor, task: Task) -> bytes:
        """Return its worker. It must have been made, and what was asked before comes first."""
        for ahead in itertools.islice(actor.queue, LOOKS_MAX):
            if ahead is task:
                break
            self._arguments(loop, ahead)
        home = self._pump.loops.get(actor.owner.uid)
        if home is None or home.owner is None:
            return actor.worker
        there = home.owner.calls.actors.actors.get(actor.actor_id, actor)
        if there.creation is not None and not there.created:
            self._arguments(home, there.creation)
        return there.worker

    def _arguments(self, loop: InlineLoop, task: Task) -> None:
        self._todo.extend((loop, object_id) for _, object_id, _ in task.deps)


def _is_pending(owner: OwnerMachine, object_id: bytes) -> bool:
    row = owner.rows.get(object_id)
    return row is not None and row.state < READY


# ------------------------------------------------------------------ dead-locks


def deadlock(pump: Pump, loop: InlineLoop) -> UsageError:
    """Word a wait that can never end: what it waits for, and what is under way below it."""
    owner = loop.owner
    waits = list(owner.ledger.objects.waits.values()) if owner is not None else []
    ids = waits[-1].object_ids if waits else ()
    missing = [name for name in ids if not pump.session_of(loop).is_ready(name)]
    shown = "; ".join(f"{short(name)} {describe(pump, name)}" for name in missing[:SHOWN])
    more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
    below = [frame.label for frame in pump.threads.below()]
    stack = f" Under way on this thread, and waiting: {', '.join(below)}." if below else ""
    text = (
        "This wait can never end: with mode='inline' everything runs on the thread that waits, "
        f"and nothing is left to run. It waits for: {shown or 'an answer'}{more}.{stack}"
    )
    return UsageError(text, _ADVICE_BELOW if below else _ADVICE)


_ADVICE = (
    "See that what makes it can run: that its node has what it asks for, and that whatever it "
    "waits for is called before this wait"
)
_ADVICE_BELOW = (
    "A call on top of another on this stack cannot wait for the lower one. Wait for it in one "
    "place, or pass the reference as an argument; with mode='processes' both run side by side"
)


def describe(pump: Pump, object_id: bytes) -> str:
    """Say what is known of an object, as its owner sees it."""
    home = pump.loops.get(owner_of(object_id))
    if home is None or home.owner is None:
        return "its owner has ended"
    row = home.owner.rows.get(object_id)
    task = row.task if row is not None else None
    text = pump.session_of(home).describe(object_id)
    if task is not None:
        for worker in pump.workers.values():
            if task.task_id in worker.machine.executor.inbox.running:
                name = f"{task.template.name}()"
                where = "is under way as a coroutine" if worker.coroutines else "is under way"
                return f"{name} {where} and waits itself"
    return text
