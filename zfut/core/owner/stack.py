"""The calls of this process that wait, one on top of the other, and what may run on top of them.

At the cap on processes a worker that waits is lent to itself: it runs on top of the call that waits
something that it has queued.  Whatever runs there holds up the calls below it until it ends, so
it must not wait for any of them, however indirectly.  A task that the call on top waits for anyway
cannot: the call would wait for itself with a process for every task, too.  So that is the rule:
only what the newest wait needs runs there, directly or as the way to an argument that is missing,
and one task at a time, because the next may be needed by the wait below only.  A call that waits to
submit more needs that its own children end.

Paper: none; the paper's prototype starts one more process for each task that waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from zfut.core.owner.objects import Objects
from zfut.core.owner.records import READY, Lease, Task, Wait
from zfut.core.owner.submission import Submission

LOOKS_MAX = 1000
"""So far into a queue a child of the call on top is looked for."""


class Stack:
    """Facts only: the machines beside it decide and send."""

    def __init__(self, objects: Objects, submission: Submission) -> None:
        self._objects = objects
        self._submission = submission
        self.waits: dict[int, int] = {}  # the newest is on top; so many calls run up to its own
        self.open = False  # WorkerMachine: the call on top waits, and nothing has come to run
        self._pushed_for = 0  # the wait for which a task was sent on its way
        self._in_vain = 0, 0  # a wait, and the version of the queues that had nothing for it

    def top(self) -> int:
        """Return the wait of the call on top; 0 if none waits."""
        return next(reversed(self.waits), 0)

    def height(self) -> int:
        """How many calls run here up to the newest that waits: a lower one may wait no more."""
        return next(reversed(self.waits.values()), 0)

    def next_task(self) -> Task | None:
        """Return a queued task that the call on top waits for, if one may run there."""
        call_id = self.top() if self.open else 0
        state = call_id, self._submission.version
        if not call_id or self._in_vain == state:
            return None
        wait = self._objects.waits.get(call_id)
        task = self._search(wait) if wait is not None else None
        if task is None:
            self._in_vain = state
        return task

    def _search(self, wait: Wait) -> Task | None:
        rows = self._objects.rows
        ids = wait.object_ids
        if not ids:
            return self._child_of(wait.submitter)
        seen: dict[bytes, None] = {}
        for place in range(wait.known, len(ids)):
            row = rows.get(ids[place])
            if row is not None and row.task is not None:
                found = self._way_to(row.task, seen)
                if found is not None:
                    return found
            elif place == wait.known and (row is None or row.state >= READY):
                wait.known += 1
        return None

    def _child_of(self, call: bytes) -> Task | None:
        """Return a queued task of the call on top, which waits until some of them have ended."""
        for key in self._submission.keys.values():
            for task in islice(key.queue, 0 if key.why else LOOKS_MAX):
                if task.parent == call:
                    return task
        return None

    def _way_to(self, task: Task, seen: dict[bytes, None]) -> Task | None:
        """Return the first queued task without which ``task`` cannot end."""
        rows = self._objects.rows
        todo = [task]
        while todo:
            task = todo.pop()
            if task.task_id in seen:
                continue
            seen[task.task_id] = None
            if task.waiting_on:
                makers = [rows[object_id].task for _, object_id, _ in reversed(task.deps)]
                todo += [maker for maker in makers if maker is not None]
            elif task.lease is None and not task.actor_id:
                return task
        return None

    def request(self) -> int:
        """Return the request that, lent to ourselves, lets the call on top go on; 0: none."""
        task = self.next_task()
        return next(iter(self._submission.key(task).requests), 0) if task is not None else 0

    def fill(self, lease: Lease, now: int) -> Task | None:
        """Move what the call on top waits for to a lease by which we are lent to ourselves."""
        task = None if lease.draining else self.next_task()
        if task is None or self._submission.key(task) is not lease.key:
            return None
        if not self._submission.take(task, lease, now):
            return None
        self._pushed_for = self.top()
        self.open = False
        return task

    def on_its_way(self, running: Mapping[bytes, object]) -> bool:
        """Whether this process has been sent something of its own that has not begun."""
        return any(
            task_id not in running
            for lease in self._submission.leases.values()
            if lease.nested
            for task_id in lease.in_flight
        )

    def is_for_top(self) -> bool:
        """Whether the call on top is still the one for which a task was sent on its way."""
        return self._pushed_for == self.top() != 0
