"""Calls to actors: in the caller's order, sent again if the actor lives again, or failed.

Who calls an actor follows it: its owner says where it lives, that it is being restarted, or that
it is dead (see ``zfut.core.owner.lives``).  When its process dies, calls that were sent and have
``max_task_retries`` left go to its next life in their order, ahead of newer ones; the others fail,
and may have run.  Until the next life has begun, new calls without retries fail at once.
"""

from __future__ import annotations

from collections.abc import Collection

from zfut.core.owner.actors import Actors, handle_id
from zfut.core.owner.fate import fatal_argument
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.readiness import still_ready
from zfut.core.owner.records import Actor, Task, take_from
from zfut.core.owner.tasks import Tasks
from zfut.wire import messages as m
from zfut.wire.specs import TaskResult


class Calls:
    """Decides when an actor call may go, and what becomes of it."""

    def __init__(self, ledger: Ledger, tasks: Tasks) -> None:
        self._ledger = ledger
        self._tasks = tasks
        self.actors = Actors()
        self.doomed: dict[bytes, dict[bytes, Task]] = {}  # given up, but it may run still

    # ---------------------------------------------------------------- calling

    def submit(self, task: Task, *, again: bool = False) -> None:
        """User code called a method; its returns are owned here, its order is fixed now.

        One that runs ``again`` goes first: those that are queued may wait for its result.
        """
        assert task.actor_owner is not None
        known = task.actor_id in self.actors.actors
        actor = self.actors.get(task.actor_id, task.actor_owner)
        if not known:
            self._follow(actor)
        if not task.weak:
            self._ledger.hold_argument(handle_id(task.actor_id), task.actor_owner)
        if actor.state == "dead":
            self._fail_call(actor, task)
            own = actor.owner.uid == self._ledger.uid  # forgotten before this handle came
            if not known and (own or task.weak):  # there is no handle with which it would go
                del self.actors.actors[task.actor_id]
            return
        if actor.between and not task.retries_left and not again:
            self._fail(task, self._unavailable(actor, task, actor.detail), b"")
            return
        if again:
            actor.queue.appendleft(task)
        else:
            actor.queue.append(task)
        self.actors.touch(actor)

    def _follow(self, actor: Actor) -> None:
        owner = actor.owner.uid
        if owner == self._ledger.uid:
            actor.state = "dead"
            actor.reason = "out of scope"
        elif owner in self._ledger.dead:
            actor.state = "dead"
            actor.reason = "owner died"
            actor.detail = self._ledger.dead[owner]
        else:
            self._ledger.watch(owner)
            self._ledger.out.send(owner, m.LocateActor(actor.actor_id))

    def on_result(self, sender: bytes, result: TaskResult, payload: bytes) -> bool:
        """A call ended. Returns False if it is not one of ours now."""
        actor = self.actors.by_worker.get(sender)
        task = actor.sent.get(result.task_id) if actor is not None else None
        if task is None or actor is None or task.attempt != result.attempt:
            self.ran_all_the_same(sender, result.task_id)
            return False
        del actor.sent[result.task_id]
        self._tasks.settle_returns(task, result, payload)
        self._let_handle_go(task)
        return True

    def _let_handle_go(self, task: Task) -> None:
        if task.weak:
            return
        object_id = handle_id(task.actor_id)
        self._ledger.unsubmit(object_id, self._ledger.objects.rows.get(object_id))

    def unblocked(self, task: Task) -> None:
        """A call has its arguments."""
        actor = self.actors.actors.get(task.actor_id)
        if actor is not None:
            self.actors.touch(actor)

    def dependency_failed(self, task: Task, failure: bytes) -> None:
        """A call's argument failed: the call fails, the ones behind it go on."""
        actor = self.actors.actors.get(task.actor_id)
        if actor is not None and take_from(actor.queue, task):
            self.actors.touch(actor)
        self._tasks.fail(task, failure)
        self._let_handle_go(task)

    def cancel(self, task: Task, *, recursive: bool = True) -> None:
        """Drop a call that has not started; one that runs is told, each time."""
        actor = self.actors.actors.get(task.actor_id)
        if actor is None:
            return
        task.cancelled = True
        if task.task_id not in actor.sent:
            if take_from(actor.queue, task):
                self.actors.touch(actor)
                failures = self._ledger.failures
                self._tasks.fail(
                    task, failures.system("TaskCancelledError", task.template.name)
                )
                self._let_handle_go(task)
        elif actor.worker:  # else it is between two lives
            recall = m.RecallTasks((task.task_id,), cancel=True, recursive=recursive)
            self._ledger.out.send(actor.worker, recall)

    def on_pushed_back(self, sender: bytes, message: m.TasksPushedBack) -> None:
        """The actor dropped calls that were cancelled before they began."""
        actor = self.actors.by_worker.get(sender)
        for task_id, _ in message.tasks:
            task = actor.sent.pop(task_id, None) if actor is not None else None
            if task is None:
                self.ran_all_the_same(sender, task_id)
            else:
                name = task.template.name
                self._tasks.fail(task, self._ledger.failures.system("TaskCancelledError", name))
                self._let_handle_go(task)

    # ---------------------------------------------------------------- sending

    def settle(self) -> None:
        """Send every call that may go."""
        while self.actors.dirty:
            dirty = self.actors.dirty[:]
            self.actors.dirty.clear()
            for actor in dirty:
                actor.dirty = False
                if actor.state == "alive":
                    self._send(actor)

    def _send(self, actor: Actor) -> None:
        limit = self._ledger.config.batch_max
        while tasks := self.actors.sendable(actor, limit):
            payload: list[bytes] = []
            specs = []
            for task in tasks:
                actor.sequence += 1
                specs.append(self._tasks.spec(task, task.method, payload, actor.sequence))
            message = m.PushCalls(
                self._ledger.address, actor.actor_id, actor.incarnation, tuple(specs)
            )
            self._ledger.out.send(actor.worker, message, payload)

    # ---------------------------------------------------------------- where it lives

    def on_moved(self, message: m.ActorMoved) -> None:
        """The owner of an actor says where it lives, or why it does not."""
        actor = self.actors.actors.get(message.actor_id)
        if actor is None or actor.state == "dead" or actor.owner.uid == self._ledger.uid:
            return
        if message.state == "dead":
            actor.failure = message.failure
            self.end_calls(actor, message.reason, message.detail)
            return
        if message.incarnation > actor.incarnation:
            actor.detail = message.detail or "it is being restarted"
            self.interrupted(actor, actor.detail)
            actor.incarnation = message.incarnation
        if message.incarnation:
            actor.between = message.state != "alive"
        if message.state == "alive" and not actor.worker:
            self._ledger.watch(message.worker)
            if message.worker not in self._ledger.dead:
                self.actors.move(actor, message.worker, message.incarnation)

    def interrupted(self, actor: Actor, why: str) -> None:
        """The actor's process is gone: what was sent waits for its next life, or fails."""
        worker = actor.worker
        again: list[Task] = []
        for task in self.actors.leave(actor):
            if task.cancelled:
                name = task.template.name
                self._fail(
                    task, self._ledger.failures.system("TaskCancelledError", name), worker
                )
            elif (fatal := fatal_argument(self._ledger, task)) is not None:
                self._fail(task, fatal, worker)
            elif task.retries_left:
                task.attempt += 1
                task.retries_left -= 1 if task.retries_left > 0 else 0
                again.append(task)
            else:
                self._fail(task, self._unavailable(actor, task, why), worker)
        self.actors.go_first(actor, again)
        for task in again:
            self.hold_while_it_runs(task, worker)
            still_ready(self._ledger, task)

    def hold_while_it_runs(self, task: Task, worker: bytes) -> None:
        """A call, or constructor, goes to the next life: this one may read its arguments still."""
        if worker and worker not in self._ledger.dead:
            for object_id, owner in [(dep[1], dep[2]) for dep in task.deps] + list(task.nested):
                self._ledger.hold_argument(object_id, owner)
            if not task.weak and task.actor_owner is not None:
                self._ledger.hold_argument(handle_id(task.actor_id), task.actor_owner)
            self.doomed.setdefault(worker, {})[task.task_id] = task

    def values_lost(self, gone: Collection[bytes]) -> None:
        """Calls that were about to be sent take a value that is lost: they wait again."""
        for actor in self.actors.actors.values():
            for task in list(actor.queue):
                ready = not (task.waiting_on or task.given_up())
                if ready and any(dep[1] in gone for dep in task.deps):
                    still_ready(self._ledger, task)

    def _unavailable(self, actor: Actor, task: Task, why: str) -> bytes:
        name = task.template.name.partition(".")[0]
        return self._ledger.failures.system("ActorUnavailableError", actor.actor_id, name, why)

    # ---------------------------------------------------------------- the end

    def end_calls(self, actor: Actor, reason: str, detail: str) -> None:
        """The actor is dead for good, and so are its calls."""
        worker, sent = actor.worker, len(actor.sent)
        for index, task in enumerate(self.actors.die(actor, reason, detail)):
            self._fail_call(actor, task, worker if index < sent else b"")
        foreign = actor.owner.uid != self._ledger.uid
        if foreign and handle_id(actor.actor_id) not in self._ledger.objects.rows:
            self.actors.forget(actor)  # it was only called by name

    def _fail_call(self, actor: Actor, task: Task, runs_at: bytes = b"") -> None:
        failure = self._ledger.failures.system(
            "ActorDiedError",
            actor.actor_id,
            task.template.name.partition(".")[0],
            actor.reason,
            actor.detail,
            actor.failure,
        )
        self._fail(task, failure, runs_at)

    def _fail(self, task: Task, failure: bytes, runs_at: bytes) -> None:
        task.over = True
        self._tasks.returns.fail(task, failure)
        self.let_arguments_go(runs_at, task)

    def let_arguments_go(self, runs_at: bytes, task: Task) -> None:
        """A call is given up; it may read its arguments until it, or its process, has ended."""
        if runs_at and runs_at not in self._ledger.dead:
            self.doomed.setdefault(runs_at, {})[task.task_id] = task
            return
        self._ledger.release_arguments(task)
        self._let_handle_go(task)

    def ran_all_the_same(self, worker: bytes, task_id: bytes) -> None:
        doomed = self.doomed.get(worker)
        task = doomed.pop(task_id, None) if doomed else None
        if task is not None:
            self.let_arguments_go(b"", task)
        if doomed is not None and not doomed:
            del self.doomed[worker]

    def ran_on(self, worker: bytes) -> list[Task]:
        """Return our calls that are with this process, begun or not, given up or not."""
        ran = list(self.doomed.get(worker, {}).values())
        actor = self.actors.by_worker.get(worker)
        if actor is not None:
            ran += actor.sent.values()
            if actor.creation is not None and not actor.created:
                ran.append(actor.creation)
        return ran

    def on_process_died(self, uid: bytes, why: str) -> Actor | None:
        """A process is gone. Returns the actor of ours that lived in it."""
        for task in self.doomed.pop(uid, {}).values():
            self.let_arguments_go(b"", task)
        actor = self.actors.by_worker.get(uid)
        if actor is not None and actor.state != "dead" and actor.owner.uid != self._ledger.uid:
            self.actors.lose(actor)  # its owner says what becomes of it and of what was sent
            actor = None
        for other in list(self.actors.actors.values()):
            if other.owner.uid == uid and other.state != "dead":
                self.end_calls(other, "owner died", why)
            other.followers.pop(uid, None)
        return actor
