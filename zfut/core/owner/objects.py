"""The ownership table: what this process knows about each object it owns or borrows.

    PENDING --- set_value(Inline) ----> INLINE
       |------- set_value(Stored) ----> STORED
       '------- fail -----------------> FAILED          ACTOR: a handle, from the start

    STORED --- lost, or only lineage needs it ---> FREED --- needed again ---> PENDING
    any of these --- freed by user code ---> FAILED; see ``zfut.core.owner.freeing``

The process that submits the task that makes an object owns it.  The owner alone decides where the
object is and when it may be forgotten; every other process asks it (paper, section 4).  There is
no other object directory.

Invariants, checked by ``Objects.check``:
  - no count is negative; a row that nothing holds is gone, or was never shown to anyone;
  - nothing waits on a row that is not PENDING;
  - only a row that somebody else owns has tokens; only a row of ours has borrowers.
"""

from __future__ import annotations

from zfut.core.owner.actors import is_handle
from zfut.core.owner.records import (
    ACTOR,
    FAILED,
    FREED,
    INLINE,
    PENDING,
    STATE_NAMES,
    STORED,
    ObjectRow,
    Task,
    Wait,
)
from zfut.wire.specs import Address, Stored


class Objects:
    """Facts only: the machine beside it decides and sends."""

    def __init__(self) -> None:
        self.rows: dict[bytes, ObjectRow] = {}
        self.waits: dict[int, Wait] = {}

    def own(self, object_id: bytes, task: Task | None) -> ObjectRow:
        """A task was submitted that will make this object; one handle of it exists."""
        row = ObjectRow(task=task, local=1)
        self.rows[object_id] = row
        return row

    def borrow(self, object_id: bytes, owner: Address) -> ObjectRow:
        """Return the row of somebody else's object, made if this is the first we hear of it."""
        row = self.rows.get(object_id)
        if row is None:
            row = ObjectRow(owner=owner)
            if is_handle(object_id):
                row.state = ACTOR
            self.rows[object_id] = row
        return row

    @staticmethod
    def set_value(row: ObjectRow, encoding: int, value: bytes | Stored) -> list[Wait | Task]:
        """The value is known. Returns who waited for it."""
        row.state = STORED if isinstance(value, Stored) else INLINE
        row.encoding = encoding
        row.value = value
        row.task = None
        waiters, row.waiters = row.waiters, None
        return waiters or []

    @staticmethod
    def fail(row: ObjectRow, failure: bytes) -> list[Wait | Task]:
        """The value will never be known. Returns who waited for it."""
        row.state = FAILED
        row.value = failure
        row.task = None
        waiters, row.waiters = row.waiters, None
        return waiters or []

    def wait(self, wait: Wait) -> list[bytes]:
        """Register ``wait`` on those of its objects that are pending, and return these.

        An empty list: it has what it needs, and nothing was registered.
        """
        rows = self.rows
        pending: list[bytes] = []
        failed = False
        for object_id in wait.object_ids:
            state = rows[object_id].state
            if state in (PENDING, FREED):
                pending.append(object_id)
            elif state == FAILED:
                failed = True
        wait.remaining -= len(wait.object_ids) - len(pending)
        if wait.remaining <= 0 or (failed and wait.fail_fast):
            return []
        for object_id in pending:
            rows[object_id].add_waiter(wait)
        self.waits[wait.call_id] = wait
        return pending

    def stop_waiting(self, call_id: int) -> None:
        """Forget a wait, so that repeated short waits leave nothing behind."""
        wait = self.waits.pop(call_id, None)
        if wait is None:
            return
        wait.done = True
        if wait.remaining <= 0 and not wait.partial:
            return  # it saw every one of its objects
        for object_id in wait.object_ids:
            row = self.rows.get(object_id)
            if row is not None and row.waiters:
                row.waiters = [waiter for waiter in row.waiters if waiter is not wait]

    def satisfied(self, wait: Wait, row: ObjectRow) -> bool:
        """One object of ``wait`` is known. Returns whether that ends the wait."""
        if wait.done:
            return False
        wait.remaining -= 1
        if wait.remaining > 0 and not (wait.fail_fast and row.state == FAILED):
            return False
        wait.done = True
        return True

    def check(self) -> None:
        """Assert the invariants above. The simulator calls this after every event."""
        for object_id, row in self.rows.items():
            where = (object_id.hex(), STATE_NAMES[row.state])
            assert min(row.submitted, row.contained_in, row.views) >= 0, where
            assert row.local >= row.views, where
            assert row.owner is None or not row.freed, where
            withheld = row.freed or row.owner is not None
            assert row.spent is None or (withheld and row.state == FAILED), where
            assert row.state == PENDING or not row.waiters, where
            assert row.owner is None or not row.borrowers, where
            assert row.owner is not None or not row.tokens, where
            assert (row.state == STORED) == isinstance(row.value, Stored), where
