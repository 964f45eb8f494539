"""Actors as their callers see them: queued and unanswered calls, in the caller's order.

    pending --- granted, created ---> alive --- killed, constructor failed ---> dead
       |                              |   ^
       '----------------------> dead  |   '--- restarting: lives again
                                      '---------^

Only the head of a caller's queue may be sent, and it gets its sequence number when it is sent, so
calls start in the order of submission and no gap is ever waited for.  Calls that run again for a
lost result go before all others, among themselves in that order, too.  The process that created
the actor owns it: it alone asks for its worker and says where it lives.

Invariants, checked by ``Actors.check``:
  - a dead actor has no calls; a call is queued or sent, never both;
  - sequence numbers of sent calls rise.
"""

from __future__ import annotations

from collections import deque

from zfut.core.owner.records import Actor, Task
from zfut.wire.specs import Address

HANDLE_SUFFIX = b"\x00\x00\x00\x00"


def handle_id(actor_id: bytes) -> bytes:
    """Return the ObjectID of an actor's handles: index 0 of its creation task."""
    return actor_id + HANDLE_SUFFIX


def is_handle(object_id: bytes) -> bool:
    """Whether this names an actor's handles."""
    return object_id.endswith(HANDLE_SUFFIX)


class Actors:
    """Facts only: the machine beside it decides and sends."""

    def __init__(self) -> None:
        self.actors: dict[bytes, Actor] = {}
        self.by_worker: dict[bytes, Actor] = {}
        self.dirty: list[Actor] = []

    def get(self, actor_id: bytes, owner: Address) -> Actor:
        """Return what is known of an actor, made if this is the first call to it."""
        actor = self.actors.get(actor_id)
        if actor is None:
            actor = self.actors[actor_id] = Actor(actor_id, owner)
        return actor

    def touch(self, actor: Actor) -> None:
        """Something may be ready to send."""
        if not actor.dirty:
            actor.dirty = True
            self.dirty.append(actor)

    def move(self, actor: Actor, worker: bytes, incarnation: int) -> None:
        """The actor lives in ``worker``."""
        actor.state = "alive"
        actor.worker = worker
        actor.incarnation = incarnation
        actor.sequence = 0
        self.by_worker[worker] = actor
        self.touch(actor)

    def lose(self, actor: Actor) -> None:
        """Its process is gone, and it may live again: its owner will say."""
        actor.state = "restarting"
        if self.by_worker.get(actor.worker) is actor:
            del self.by_worker[actor.worker]
        actor.worker = b""

    def leave(self, actor: Actor) -> list[Task]:
        """End this life; another follows. Returns the calls that got no answer."""
        self.lose(actor)
        sent = list(actor.sent.values())
        actor.sent.clear()
        return sent

    @staticmethod
    def go_first(actor: Actor, unanswered: list[Task]) -> None:
        """Queue calls of the life before in their order, ahead of newer ones.

        Those that run again for a lost result go before all: one of the others may take it.
        """
        queue = sorted((*unanswered, *actor.queue), key=lambda task: not task.again)
        actor.queue.clear()
        actor.queue.extend(queue)

    @staticmethod
    def _sort_again(queue: deque[Task]) -> None:
        """Calls that run again do so in the order of submission: a later one may get an earlier's."""
        again: list[Task] = []
        while queue and queue[0].again:
            again.append(queue.popleft())
        queue.extendleft(sorted(again, key=lambda task: task.task_id, reverse=True))

    def sendable(self, actor: Actor, limit: int) -> list[Task]:
        """Take the calls at the head of the queue that have their arguments."""
        if actor.queue and actor.queue[0].again:
            self._sort_again(actor.queue)
        tasks: list[Task] = []
        passed: list[Task] = []  # they run again, so their order does not count
        queue = actor.queue
        while queue and len(tasks) < limit:
            task = queue[0]
            if task.waiting_on and not task.again:
                break
            queue.popleft()
            if task.given_up():
                continue
            if task.waiting_on:
                passed.append(task)
                continue
            actor.sent[task.task_id] = task
            tasks.append(task)
        queue.extendleft(reversed(passed))
        return tasks

    def die(self, actor: Actor, reason: str, detail: str) -> list[Task]:
        """The actor is dead for good. Returns the calls that will get no answer."""
        actor.state = "dead"
        actor.reason = reason
        actor.detail = detail
        self.by_worker.pop(actor.worker, None)
        lost = [*actor.sent.values(), *actor.queue]
        actor.sent.clear()
        actor.queue.clear()
        return lost

    def forget(self, actor: Actor) -> None:
        """Nobody here can call it any more."""
        self.actors.pop(actor.actor_id, None)
        if self.by_worker.get(actor.worker) is actor:
            del self.by_worker[actor.worker]

    def check(self) -> None:
        """Assert the invariants above."""
        for actor in self.actors.values():
            if actor.state == "dead":
                assert not actor.sent, actor.actor_id
                assert not actor.queue, actor.actor_id
            for task in actor.queue:
                assert task.task_id not in actor.sent
