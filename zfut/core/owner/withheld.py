"""Objects that user code freed and that are not done with: what is to be looked at, what is lent.

Tables only; ``zfut.core.owner.freeing`` decides.  Wherever a hold on an object ends, whoever ends
it names the object here, so that settling costs nothing for freed objects that nothing happens to.
"""

from __future__ import annotations

from zfut.core.owner.records import Task


class Withheld:
    """What is due, what is lent, and the calls that run again."""

    def __init__(self) -> None:
        self.due: dict[bytes, None] = {}  # a hold on it ended, or its value came
        self.lent: dict[bytes, list[Task]] = {}  # calls that run again take it
        self.rerun: dict[bytes, Task] = {}  # calls, and constructors, that run again
        self._taken: dict[bytes, list[bytes]] = {}  # what is lent to each of them

    def begin(self, task: Task) -> None:
        """A call runs again."""
        task.again = True
        self.rerun[task.task_id] = task

    def lend(self, object_id: bytes, task: Task) -> None:
        """A call that runs again takes this object, or finds it in one that it takes."""
        self.lent.setdefault(object_id, []).append(task)
        self._taken.setdefault(task.task_id, []).append(object_id)

    def end(self, task: Task) -> None:
        """It has ended, or it is given up."""
        if not task.again:
            return
        task.again = False
        del self.rerun[task.task_id]
        self.due.update(dict.fromkeys(self._taken.pop(task.task_id, ())))
