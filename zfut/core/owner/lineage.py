"""Lineage: the calls whose stored results could be lost are kept, so that they can run again.

    task finished, a result lies in a store, tries are left --- keep ---> retained
    retained --- its last such result is forgotten, or memory for lineage runs out ---> dropped

A retained call names its arguments, so their rows stay; their values do not have to.  A value that
nobody uses and that a retained call can make again is freed, and its row says FREED.  What nothing
can make again (a put, a small value that lies in its row, the result of a call without retries)
keeps its value for as long as lineage names it.

Differs from the paper: a small argument is not copied into each call that took it, but kept once,
in its row.

Invariants, checked by ``Lineage.check``:
  - an object's ``lineage`` is the number of retained calls that name it as an argument;
  - a call is retained exactly while a row has it as ``made_by``;
  - the bytes counted for retained calls do not exceed the limit once settled.
"""

from __future__ import annotations

from zfut.core.owner.actors import is_handle
from zfut.core.owner.records import ObjectRow, Task

TASK_BYTES = 600
"""What a retained call costs beside the bytes of its arguments."""

KEPT_SHARE = 0.5
"""When lineage needs too much memory, the oldest calls go until this share of the limit is left."""


class Lineage:
    """Facts only: the ledger and the recovery beside it decide."""

    def __init__(
        self, rows: dict[bytes, ObjectRow], limit_bytes: int, freed: dict[bytes, None]
    ) -> None:
        self._rows = rows
        self._freed = freed  # freed by user code, and no lineage any more
        self._limit = limit_bytes
        self.retained: dict[bytes, Task] = {}
        self.bytes = 0

    def keep(self, task: Task, made: list[ObjectRow]) -> None:
        """A call has finished, and these of its results lie in a store."""
        for row in made:
            row.made_by = task
        if task.task_id in self.retained:
            return
        self.retained[task.task_id] = task
        self.bytes += footprint(task)
        for object_id in arguments(task):
            argument = self._rows.get(object_id)
            if argument is not None:
                argument.lineage += 1

    def drop(self, task: Task) -> list[tuple[bytes, ObjectRow]]:
        """The call will not run again. Returns the arguments that only it needed."""
        if self.retained.pop(task.task_id, None) is None:
            return []
        self.bytes -= footprint(task)
        unused: list[tuple[bytes, ObjectRow]] = []
        for object_id in arguments(task):
            argument = self._rows.get(object_id)
            if argument is not None:
                argument.lineage -= 1
                if argument.lineage:
                    continue
                if argument.freed:
                    self._freed[object_id] = None
                if not argument.in_use():
                    unused.append((object_id, argument))
        return unused

    def results(self, task: Task) -> list[tuple[bytes, ObjectRow]]:
        """Return the rows that ``task`` can make again."""
        found: list[tuple[bytes, ObjectRow]] = []
        for object_id in task.result_ids():
            row = self._rows.get(object_id)
            if row is not None and row.made_by is task:
                found.append((object_id, row))
        return found

    def forgotten(self, row: ObjectRow) -> list[tuple[bytes, ObjectRow]]:
        """A row is gone that a retained call made. Returns what only that call needed."""
        task, row.made_by = row.made_by, None
        if task is None or self.results(task):
            return []
        return self.drop(task)

    def excess(self) -> list[Task]:
        """Return the oldest retained calls, if lineage needs more memory than it may."""
        if self.bytes <= self._limit:
            return []
        surplus = self.bytes - int(self._limit * KEPT_SHARE)
        oldest: list[Task] = []
        for task in self.retained.values():
            if surplus <= 0:
                break
            surplus -= footprint(task)
            oldest.append(task)
        return oldest

    def check(self) -> None:
        """Assert the invariants above."""
        named: dict[bytes, int] = {}
        for task in self.retained.values():
            assert self.results(task), task.template.name
            for object_id in arguments(task):
                named[object_id] = named.get(object_id, 0) + 1
        for object_id, row in self._rows.items():
            assert row.lineage == named.get(object_id, 0), (object_id.hex(), row.lineage)
            assert row.made_by is None or row.made_by.task_id in self.retained
        assert self.bytes == sum(footprint(task) for task in self.retained.values())


def arguments(task: Task) -> list[bytes]:
    """Return every object that a call's arguments name, as often as they do; no handles.

    A handle in lineage would keep an actor that nobody can call alive.
    """
    names = [object_id for _, object_id, _ in task.deps]
    names.extend(object_id for object_id, _ in task.nested if not is_handle(object_id))
    return names


def footprint(task: Task) -> int:
    """Return how many bytes a retained call is counted for."""
    size = len(task.args) if isinstance(task.args, bytes) else 0
    return TASK_BYTES + size + 64 * (len(task.deps) + len(task.nested))
