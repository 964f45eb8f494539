"""What the calls that were sent to this process do, or wait for: told to whoever asks why.

A call waits for what its own waits name, in whatever way it waits: see ``AwaitObjects.caller``.
A wait of which no call is known is a thread's that some call started; it is told of every call
here that has none of its own.
"""

from __future__ import annotations

from itertools import islice

from zfut.core.executor.inbox import METHOD
from zfut.core.executor.machine import ExecutorMachine
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.records import FREED, PENDING, Wait
from zfut.core.owner.why import Cause, Question
from zfut.ids import counted, short

TOLD_MAX = 40
"""So many of the objects that a call waits for are named; nobody reads more."""


class Telling:
    """Reads the tables of both parties; decides nothing."""

    def __init__(self, owner: OwnerMachine, executor: ExecutorMachine) -> None:
        self._owner = owner
        self._executor = executor
        self._me = owner.ledger.uid

    def task(self, task_id: bytes) -> Cause:
        """Say what a call that was sent here does, or waits for."""
        if task_id not in self._executor.inbox.running:
            return self._does_not_run(task_id)
        runs = f"{self.name_of(task_id)} runs in process {short(self._me)}"
        waits = self._waits_of(task_id)
        if any(not wait.object_ids for wait in waits):
            runs += f", where remote() waits: {self._owner.ledger.backlog.told()}"
        if pending := self._pending(waits):
            return Cause(f"{runs} and waits there for others", pending)
        if above := self._on_top_of(task_id):
            text = f"{runs}, below {self.name_of(above)}, which has to end first"
            return Cause(text, [Question(self._me, "task", above)])
        if pending := self._pending(self._waits_of(None)):
            return Cause(f"{runs}, and a thread of that process waits for others", pending)
        if self._owner.ledger.memory.waiting:
            return Cause(f"{runs}, where a value waits for room in the store")
        return Cause(runs)

    def name_of(self, task_id: bytes) -> str:
        """Return what a user calls a call that runs here."""
        inbox = self._executor.inbox
        call = inbox.running[task_id]
        if call.kind == METHOD:
            return f"{self._executor.actor_name}.{call.method()}()"
        name, _ = inbox.functions.get(call.spec.function, ("a task", b""))
        return f"{call.spec.name or name}()"

    # ---------------------------------------------------------------- calls that run

    def _waits_of(self, call: bytes | None) -> list[Wait]:
        """Return the waits of a call; None: those of which no call that runs is known."""
        running = self._executor.inbox.running
        return [
            wait
            for wait in self._owner.ledger.objects.waits.values()
            if wait.caller is not None
            and (wait.caller == call or (call is None and wait.caller not in running))
        ]

    def _pending(self, waits: list[Wait]) -> list[Question]:
        """Ask further about what these wait for, each once."""
        rows = self._owner.rows
        missing = dict.fromkeys(
            name
            for wait in waits
            for name in wait.object_ids
            if name in rows and rows[name].state in (PENDING, FREED)
        )
        return [Question(self._me, "object", name) for name in islice(missing, TOLD_MAX)]

    def _on_top_of(self, task_id: bytes) -> bytes:
        """Return the call that runs on top of this one, which we submitted ourselves."""
        calls = iter(self._executor.inbox.running.items())
        for name, _ in calls:
            if name == task_id:
                break
        above, call = next(calls, (b"", None))
        nested = call is not None and call.owner.uid == self._me and not self._executor.actor_id
        return above if nested else b""

    # ---------------------------------------------------------------- calls that do not

    def _does_not_run(self, task_id: bytes) -> Cause:
        me, inbox = self._me, self._executor.inbox
        for place, call in enumerate([*inbox.nested, *inbox.queue]):
            if call.spec.task_id == task_id:
                ahead = [Question(me, "task", name) for name in inbox.running]
                before = place + len(ahead)
                where = f"behind {counted(before, 'call')}" if before else "and is the next"
                return Cause(f"it is queued in process {short(me)} {where}", ahead)
        if task_id in self._executor.held:
            waiting = self._owner.ledger.tokens.unsaid.values()
            owners = dict.fromkeys(owner for waits, owner in waiting if task_id in waits)
            names = ", ".join(short(owner) for owner in owners)
            text = f"it has run; its answer waits until {names} has registered what it keeps"
            return Cause(text, passing=True)
        text = f"it is not in process {short(me)}: it is on its way there, or back"
        return Cause(text, passing=True)
