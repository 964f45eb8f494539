"""The unfinished calls that this process has submitted: how many, and who waits to submit more.

A call is unfinished from its submission to its result or error, and once more while a lost result is
made again or an actor's constructor runs again.  At the bound whoever submits waits until a fifth
of it is free.

Nobody waits for calls that may wait for him.  A process runs calls that it has submitted itself, so
one that submits may be among those that are unfinished, and all the others may need its result.
Therefore it also goes on when a fifth of those that *it* has submitted have ended; and if it has
none that is unfinished it goes on at once.  So at the bound it adds one at a time.

What must hold, checked by ``Backlog.check``: ``open_calls`` is the number of unfinished calls in
the tables, ``open_bytes`` the size of their packed arguments, but for those in the arena, and
``by_parent`` how many of them each call that runs, or ran, here has submitted.
"""

from __future__ import annotations

from collections.abc import Iterator

from zfut.config import Config
from zfut.core.effects import Complete, Outbox
from zfut.core.owner.actors import Actors
from zfut.core.owner.objects import Objects
from zfut.core.owner.records import Task, Wait
from zfut.core.owner.submission import Submission

NO_BOUND = 1 << 62

RESUMED_SHARE = 4, 5
"""Who waits goes on when no more than this share of the bound is taken."""


class Backlog:
    """Counts; the user's threads read the counts without a lock."""

    def __init__(
        self, config: Config, objects: Objects, held_up: dict[bytes, list[Task]], out: Outbox
    ) -> None:
        self.open_calls = 0
        self.open_bytes = 0
        self.calls_max = config.pending_calls_max or NO_BOUND
        self.bytes_max = config.pending_args_max_bytes or NO_BOUND
        self.bar = self.calls_max  # who submits waits at so many; 0: their bytes are too many
        self.by_parent: dict[bytes, int] = {}  # a program's own code is no call, and not in it
        self.waits: dict[int, tuple[bytes, int]] = {}  # who submits, and at how many it goes on
        self._objects = objects
        self._held_up = held_up  # calls that wait for a word of an owner: Tokens
        self._out = out

    def begin(self, task: Task) -> None:
        """A call was submitted, or has to run again."""
        args = task.args
        size = task.counted_bytes = len(args) if type(args) is bytes else 0
        self.open_calls += 1
        if size:
            self.open_bytes += size
            if self.open_bytes >= self.bytes_max:
                self.bar = 0
        if parent := task.parent:
            self.by_parent[parent] = self.by_parent.get(parent, 0) + 1

    def end(self, task: Task) -> None:
        """The result or the error of a call is known."""
        size = task.counted_bytes
        if size < 0:
            return
        task.counted_bytes = -1
        self.open_calls -= 1
        if size:
            self.open_bytes -= size
            if not self.bar and self.open_bytes < self.bytes_max:
                self.bar = self.calls_max
        if parent := task.parent:
            left = self.by_parent[parent] = self.by_parent[parent] - 1
            if not left:
                del self.by_parent[parent]

    # ---------------------------------------------------------------- waiting

    def is_full(self, submitter: bytes) -> bool:
        """Whether what this call submits has to wait; no call: a program's own code."""
        return self.open_calls >= self.bar and self._own(submitter) > 0

    def _own(self, submitter: bytes) -> int:
        return self.by_parent.get(submitter, 0) if submitter else self.open_calls

    def _has_room(self) -> bool:
        share, of = RESUMED_SHARE
        calls = self.open_calls * of <= self.calls_max * share
        return calls and self.open_bytes * of <= self.bytes_max * share

    def wait(self, call_id: int, submitter: bytes) -> None:
        """A thread waits to submit more; ``submitter`` is the call that it runs, if any."""
        if not self.is_full(submitter):
            self._out.add(Complete(call_id))
            return
        share, of = RESUMED_SHARE
        self.waits[call_id] = submitter, self._own(submitter) * share // of
        self._objects.waits[call_id] = Wait(
            call_id,
            0,
            fail_fast=False,
            object_ids=(),
            submitter=submitter,
            caller=submitter,
        )

    def settle(self) -> None:
        """Let those go on who have waited for enough."""
        room = self._has_room()
        for call_id, (submitter, until) in list(self.waits.items()):
            if room or self._own(submitter) <= until:
                self.stop_waiting(call_id)
                self._out.add(Complete(call_id))

    def stop_waiting(self, call_id: int) -> None:
        """A wait is over, whatever came."""
        self.waits.pop(call_id, None)
        self._objects.stop_waiting(call_id)

    def children(
        self, call: bytes, unblocked: list[Task], submission: Submission, actors: Actors
    ) -> list[Task]:
        """Return unfinished calls that ``call`` has submitted, users before what they use.

        One of which all results are dropped has no row, and runs all the same.
        """
        every = (*self._unfinished(submission, actors), *unblocked)
        found = {task.task_id: task for task in every if task.parent == call}
        return [task for task in reversed(found.values()) if task.creation is None]

    def told(self) -> str:
        """Say how full it is."""
        text = f"{self.open_calls} calls of this process are unfinished"
        if self.calls_max < NO_BOUND:
            text += f" (pending_calls_max is {self.calls_max})"
        text += f", with {self.open_bytes} bytes of arguments"
        if self.bytes_max < NO_BOUND:
            text += f" (pending_args_max_bytes is {self.bytes_max})"
        return text

    def _unfinished(self, submission: Submission, actors: Actors) -> Iterator[Task]:
        for row in self._objects.rows.values():
            if row.task is not None:
                yield row.task
            for one in row.waiters or ():
                if isinstance(one, Task) and not (one.given_up() or one.creation):
                    yield one
        for tasks in self._held_up.values():
            yield from (task for task in tasks if not task.given_up())
        for key in submission.keys.values():
            yield from key.queue
        for lease in submission.leases.values():
            yield from lease.in_flight.values()
        for actor in actors.actors.values():
            yield from actor.sent.values()
            yield from actor.queue
            if actor.creation is not None and not actor.created and actor.state != "dead":
                yield actor.creation

    # ---------------------------------------------------------------- the invariant

    def check(self, submission: Submission, actors: Actors) -> None:
        """Assert that the counts are those of the tables."""
        found = {id(task): task for task in self._unfinished(submission, actors)}.values()
        wrong = [task.template.name for task in found if task.counted_bytes < 0]
        assert not wrong, f"not counted: {wrong}"
        assert self.open_calls == len(found), (self.open_calls, len(found))
        assert self.open_bytes == sum(
            len(task.args) for task in found if isinstance(task.args, bytes)
        )
        assert (self.bar == 0) == (self.open_bytes >= self.bytes_max)
        parents = [task.parent for task in found if task.parent]
        assert self.by_parent == {parent: parents.count(parent) for parent in parents}
        for call_id, (submitter, until) in self.waits.items():
            assert call_id in self._objects.waits
            assert not self._has_room()
            assert self._own(submitter) > until
