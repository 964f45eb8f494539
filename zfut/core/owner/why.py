"""Why something is pending, and what holds memory: told from the tables, by whoever knows.

Each answer is a line and the questions it leads to, perhaps to other processes: an owner knows
that a task was sent to a worker, the worker that the task waits for an object, and so on to a
cause that is alive, or to one that is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct

from zfut.core.owner.actors import Actors
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.records import (
    ACTOR,
    FAILED,
    FREED,
    PENDING,
    STATE_NAMES,
    Actor,
    ObjectRow,
    Task,
)
from zfut.core.owner.tasks import Tasks
from zfut.ids import PROC_BYTES, PUT_INDEX, TASK_BYTES, amount_text, counted, is_program, short
from zfut.wire.specs import Demand, Stored

PAGE = 2000
"""So many objects are described at once: it takes some ten milliseconds."""


class Question(Struct, frozen=True):
    """What to ask next, and whom: ``kind`` is object, task or actor, or room or workers.

    Those two are for the node: ``name`` is who waits for memory, or what ``wanted`` wrote.
    """

    to: bytes
    kind: str
    name: bytes


class Cause(Struct):
    """One link of a chain of causes."""

    text: str
    deeper: list[Question] = []
    passing: bool = False  # it lasts only while a message is under way


class Why:
    """Reads the owner's tables; decides nothing."""

    def __init__(self, ledger: Ledger, tasks: Tasks, actors: Actors) -> None:
        self._ledger = ledger
        self._tasks = tasks
        self._actors = actors
        self._rows = ledger.objects.rows

    # ---------------------------------------------------------------- objects

    def object(self, object_id: bytes) -> Cause:
        """Say what this process knows of an object."""
        row = self._rows.get(object_id)
        name = short(object_id)
        owner = object_id[:PROC_BYTES]
        if row is None and owner == self._ledger.uid:
            return Cause(
                f"{name} is unknown to its owner: it was let go, or is being submitted",
                passing=True,
            )
        if row is None or (row.owner is not None and row.state in (PENDING, FREED)):
            if owner in self._ledger.dead:
                return Cause(f"{name}: its owner {short(owner)} is dead", passing=True)
            text = f"{name} belongs to process {short(owner)}"
            if row is not None:
                text += ", which has not said its value"
            return Cause(text, [Question(owner, "object", object_id)])
        if row.task is not None:
            return self._task(row.task, name)
        return Cause(f"{name} {self._state(row)}")

    def _state(self, row: ObjectRow) -> str:
        if row.freed and row.state == FAILED:
            return f"is freed by zfut.free(){_withheld(row)}"
        if row.state == FAILED:
            failure = row.value if isinstance(row.value, bytes) else b""
            return f"has failed: {self._ledger.failures.brief(failure)}"
        if row.state == FREED:
            return "is let go; it is made again when it is needed"
        if row.state == PENDING:
            return "is pending, and nothing here makes it"
        return f"is ready ({STATE_NAMES[row.state].lower()}, {_bytes(row)} bytes)"

    def _task(self, task: Task, name: str) -> Cause:
        called = f"{name} is made by {task.template.name}()"
        if task.attempt:
            called += f", attempt {task.attempt + 1}"
        if task.waiting_on:
            return self._waiting(task, called)
        if task.actor_id:
            return self._call(task, called)
        if task.lease is not None:
            worker = task.lease.worker
            text = f"{called}, which was sent to worker {short(worker)}"
            return Cause(text, [Question(worker, "task", task.task_id)])
        return self._queued(task, called)

    def _waiting(self, task: Task, called: str) -> Cause:
        unready = self._unready(task)
        owner = None if unready else self._ledger.tokens.holds_up(task)
        if owner is not None:
            lends = f"process {short(owner)} has said that it keeps what the call lends on"
            return Cause(f"{called}, which waits until {lends}", passing=True)
        return Cause(f"{called}, which waits for arguments", unready)

    def _unready(self, task: Task) -> list[Question]:
        me = self._ledger.uid
        rows = self._rows
        return [
            Question(me, "object", name)
            for _, name, _ in task.deps
            if name in rows and rows[name].state in (PENDING, FREED)
        ]

    def _queued(self, task: Task, called: str) -> Cause:
        key = self._tasks.submission.keys.get((task.template.demand, task.depth))
        wants = amounts(task.template.demand)
        text = f"{called}, which waits for a worker ({wants})"
        if key is None:
            return Cause(text)
        if key.why:
            return Cause(f"{text}: {key.why}")
        deeper = [
            Question(lease.worker, "task", task_id)
            for lease in key.leases.values()
            for task_id in list(lease.in_flight)[:1]
        ]
        runs = "runs" if len(deeper) == 1 else "run"
        mine = f"{len(deeper)} of ours {runs}" if deeper else "we have none"
        if key.requests:
            deeper.append(self._workers(task))
        return Cause(f"{text}; {counted(len(key.queue), 'task')} queued, {mine}", deeper)

    def _workers(self, task: Task) -> Question:
        """Ask the node what it has of what a task asks for, and who has the rest."""
        return Question(self._ledger.node, "workers", wanted(task.template.demand))

    def _call(self, task: Task, called: str) -> Cause:
        actor = self._actors.actors.get(task.actor_id)
        if actor is None:
            return Cause(f"{called}, whose actor is unknown here", passing=True)
        if task.task_id in actor.sent and actor.worker:
            text = f"{called}, which was sent to its actor in process {short(actor.worker)}"
            return Cause(text, [Question(actor.worker, "task", task.task_id)])
        if actor.state != "alive":
            return self._lifeless(actor, called)
        first = actor.queue[0] if actor.queue else task
        if first is not task:
            before = f"{first.template.name}(), which waits for arguments"
            return Cause(f"{called}, which is queued behind {before}", self._unready(first))
        return Cause(f"{called}, which is about to be sent to its actor", passing=True)

    def _lifeless(self, actor: Actor, called: str) -> Cause:
        text = f"{called}, whose actor is {actor.state}"
        if actor.owner.uid != self._ledger.uid:
            handle = Question(actor.owner.uid, "actor", actor.actor_id)
            return Cause(f"{text}, as far as is known here", [handle])
        return Cause(text, [Question(self._ledger.uid, "actor", actor.actor_id)])

    def actor(self, actor_id: bytes) -> Cause:
        """Say what an actor of ours waits for."""
        actor = self._actors.actors.get(actor_id)
        if actor is None or actor.creation is None:
            return Cause("the actor is unknown to its owner: it has ended")
        creation = actor.creation
        name = f"actor {creation.template.name}"
        if creation.waiting_on:
            return Cause(f"{name} waits for its arguments", self._unready(creation))
        if actor.lease is None or not actor.lease.worker:
            return self._homeless(actor, creation, name)
        text = f"{name} is {actor.state}, in process {short(actor.lease.worker)}"
        if actor.created:
            return Cause(text)
        worker = actor.lease.worker
        return Cause(f"{text}, and its constructor runs", [Question(worker, "task", actor_id)])

    def _homeless(self, actor: Actor, creation: Task, name: str) -> Cause:
        text = f"{name} waits for a worker of its own ({amounts(creation.template.demand)})"
        if actor.lease is None:
            return Cause(text)
        if actor.lease.why:
            return Cause(f"{text}: {actor.lease.why}")
        return Cause(text, [self._workers(creation)])

    # ---------------------------------------------------------------- the dead

    def obituary(self, uid: bytes, why: str) -> str:
        """Say how a process ended, and who it was, as far as is known here."""
        who = self._who(uid)
        return f"it was {who}, {why}" if who else why

    def _who(self, uid: bytes) -> str:
        for actor in self._actors.actors.values():
            if actor.worker == uid and (name := _class_of(actor)):
                return f"actor {name}"
        lease = self._tasks.submission.by_worker.get(uid)
        if lease is not None and lease.in_flight:
            task = next(iter(lease.in_flight.values()))
            return f"the worker of {task.template.name}()"
        return "a program" if is_program(uid) else ""

    # ---------------------------------------------------------------- memory

    def with_room(self, cause: Cause) -> Cause:
        """Lead from a call here to the node if this process waits for room in the store."""
        if self._ledger.memory.waiting:
            cause.deeper.append(Question(self._ledger.node, "room", self._ledger.uid))
        return cause

    def page(self, start: int) -> bytes:
        """Describe some of the objects, from the one at ``start`` in the table; for whoever asks.

        In parts, since everything else waits meanwhile; the table may change between two of them.
        """
        end = start + PAGE
        objects = list(self.inventory(start, end))
        following = end if end < len(self._rows) else None
        return msgspec.json.encode({"objects": objects, "next": following})

    def inventory(self, start: int = 0, end: int | None = None) -> Iterator[dict[str, Any]]:
        """Describe every object that this process owns or borrows, or a part of them."""
        for object_id, row in islice(self._rows.items(), start, end):
            yield {
                "id": object_id.hex(),
                "short": short(object_id),
                "kind": _kind(object_id, row),
                "state": "freed by free()" if row.freed else STATE_NAMES[row.state].lower(),
                "bytes": _bytes(row),
                "owner": object_id[:PROC_BYTES].hex(),
                "owned": row.owner is None,
                "task": row.task.template.name if row.task is not None else "",
                "site": row.site,
                "handles": row.local,
                "views": row.views,
                "calls": row.submitted,
                "contained_in": row.contained_in,
                "contains": [name.hex() for name, _ in row.contains],
                "lineage": row.lineage + len(row.lineage_tokens or ()),
                "borrowers": sorted(
                    dict.fromkeys(uid.hex() for uid in (row.borrowers or {}).values())
                ),
            }


def answer(cause: Cause) -> bytes:
    """Encode a cause for whoever asked."""
    deeper = [(one.to.hex(), one.kind, one.name.hex()) for one in cause.deeper]
    return msgspec.json.encode({"text": cause.text, "deeper": deeper, "passing": cause.passing})


def read_answer(data: bytes) -> Cause:
    """Decode what ``answer`` wrote."""
    said = msgspec.json.decode(data)
    deeper = [
        Question(bytes.fromhex(to), kind, bytes.fromhex(name))
        for to, kind, name in said["deeper"]
    ]
    return Cause(said["text"], deeper, said["passing"])


def amounts(demand: Demand) -> str:
    """Word what a task asks for."""
    texts = [f"{kind}:{amount_text(kind, amount)}" for kind, amount in demand]
    return ", ".join(texts) or "no resources"


def wanted(demand: Demand) -> bytes:
    """Encode what a task asks for, as the name of a question to the node."""
    return msgspec.json.encode(demand)


def read_wanted(name: bytes) -> Demand:
    """Decode what ``wanted`` wrote."""
    told: Demand = msgspec.json.decode(name, type=Demand)
    return told


def _class_of(actor: Actor) -> str:
    """Name the class of an actor: ours, or one that has calls of ours."""
    if actor.creation is not None and actor.creation.creation is not None:
        return actor.creation.creation.class_name
    call = next(iter((*actor.sent.values(), *actor.queue)), None)
    return call.template.name.partition(".")[0] if call is not None else ""


def _withheld(row: ObjectRow) -> str:
    if row.spent is None:
        return ""
    holds = {
        "calls that carry it": row.submitted,
        "processes that use it": len(row.borrowers or ()),
        "values that it is in": row.contained_in,
        "views of it": row.views,
        "calls that were given it and may run again": row.lineage,
    }
    told = ", ".join(f"{what}: {count}" for what, count in holds.items() if count)
    return f"; its {_bytes(row)} bytes are kept for {told or 'nobody'}"


def _bytes(row: ObjectRow) -> int:
    value = row.value if row.spent is None else row.spent
    if row.freed and row.state == FAILED and row.spent is None:
        return 0
    if isinstance(value, Stored):
        return value.size_bytes
    return len(value) if isinstance(value, bytes) else 0


def _kind(object_id: bytes, row: ObjectRow) -> str:
    if row.state == ACTOR:
        return "actor"
    return "put" if object_id[TASK_BYTES:] == PUT_INDEX else "result"
