"""Actors: created, called in order, moved, killed, and ended with their last handle."""

from __future__ import annotations

from zfut.core.owner.actors import Actors, handle_id
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.records import ACTOR, Actor, Task
from zfut.core.owner.tasks import Tasks
from zfut.wire import messages as m
from zfut.wire.specs import OK, Address, TaskResult


class Calls:
    """Decides when an actor call may go, and what becomes of it."""

    def __init__(self, ledger: Ledger, tasks: Tasks) -> None:
        self._ledger = ledger
        self._tasks = tasks
        self.actors = Actors()
        self._doomed: dict[bytes, dict[bytes, Task]] = {}  # given up, but it may run still

    # ---------------------------------------------------------------- creation

    def announce(self, actor_id: bytes) -> None:
        """User code asks for a name for an actor: it may be found before it is created."""
        self.actors.get(actor_id, self._ledger.address)
        self._ledger.objects.own(handle_id(actor_id), None).state = ACTOR

    def renounce(self, actor_id: bytes) -> None:
        """Another actor has the name: this one is never created."""
        self.actors.actors.pop(actor_id, None)
        self._ledger.objects.rows.pop(handle_id(actor_id), None)

    def create(self, task: Task) -> None:
        """User code made an actor: this process owns it from now on."""
        if task.task_id not in self.actors.actors:
            self.announce(task.task_id)
        self.actors.actors[task.task_id].creation = task

    def request(self, task: Task) -> None:
        """The constructor's arguments are ready: ask for a worker, for life."""
        actor = self.actors.actors.get(task.task_id)
        if actor is None or actor.state == "dead":
            return
        if actor.reason:
            self.die(actor, actor.reason, "zfut.kill() was called on it")
            return
        lease = self._tasks.submission.new_lease(None, actor.actor_id)
        actor.lease = lease
        template = task.template
        message = m.RequestLease(
            lease.lease_id, template.demand, task.depth, 1, template.name, actor.actor_id
        )
        self._ledger.out.send(self._ledger.node, message)

    def granted(self, actor_id: bytes) -> None:
        """The node lent a worker: construct there, and let the queued calls follow at once."""
        actor = self.actors.actors.get(actor_id)
        if actor is None or actor.creation is None or actor.lease is None:
            return
        task, lease = actor.creation, actor.lease
        assert task.creation is not None
        payload: list[bytes] = []
        functions = (self._tasks.define(task, payload),)
        spec = self._tasks.spec(task, task.template.function_id, payload)
        creation = task.creation
        message = m.CreateActor(
            self._ledger.address,
            lease.lease_id,
            lease.bind,
            actor_id,
            actor.incarnation,
            creation.max_concurrency,
            creation.class_name,
            functions,
            spec,
        )
        self._ledger.out.send(lease.worker, message, payload)
        self.actors.move(actor, lease.worker, actor.incarnation)

    def class_of(self, actor_id: bytes) -> str:
        """Name the class of an actor that is ours and not made yet."""
        actor = self.actors.actors.get(actor_id)
        task = actor.creation if actor is not None else None
        return task.creation.class_name if task is not None and task.creation else "?"

    def lease_failed(self, actor_id: bytes, why: str) -> None:
        """No worker can be had for the actor."""
        actor = self.actors.actors.get(actor_id)
        if actor is not None and actor.lease is not None:
            self._tasks.submission.end(actor.lease)
            actor.lease = None
            self.die(actor, "node refused", why)

    def _created(self, actor: Actor, result: TaskResult, payload: bytes) -> None:
        assert actor.creation is not None
        if result.status == OK:
            self._ledger.release_arguments(actor.creation)
            actor.created = True
            self._tell_followers(actor)
            if actor.ending:
                self._out_of_scope(actor)
            return
        actor.failure = payload
        self.die(actor, "constructor failed", "")
        self._end_worker(actor, "constructor failed")

    # ---------------------------------------------------------------- calls

    def submit(self, task: Task) -> None:
        """User code called a method; its returns are owned here, its order is fixed now."""
        assert task.actor_owner is not None
        known = task.actor_id in self.actors.actors
        actor = self.actors.get(task.actor_id, task.actor_owner)
        if not known:
            self._follow(actor)
        if not task.weak:
            self._ledger.hold_argument(handle_id(task.actor_id), task.actor_owner)
        if actor.state == "dead":
            self._fail_call(actor, task)
            return
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
        if actor is not None and result.task_id == actor.actor_id:
            self._created(actor, result, payload)
            return True
        task = actor.sent.pop(result.task_id, None) if actor is not None else None
        if task is None:
            self._ran_all_the_same(sender, result.task_id)
            return False
        self._tasks.settle_returns(task, result, payload)
        self._let_handle_go(task)
        return True

    def _let_handle_go(self, task: Task) -> None:
        if task.weak:
            return
        object_id = handle_id(task.actor_id)
        row = self._ledger.objects.rows.get(object_id)
        if row is not None:
            row.submitted -= 1
            if not row.in_use():
                self._ledger.release(object_id, row)

    def unblocked(self, task: Task) -> None:
        """A call has its arguments."""
        actor = self.actors.actors.get(task.actor_id)
        if actor is not None:
            self.actors.touch(actor)

    def dependency_failed(self, task: Task, failure: bytes) -> None:
        """A call's argument failed: the call fails, the ones behind it go on."""
        actor = self.actors.actors.get(task.actor_id)
        if actor is not None and task in actor.queue:
            actor.queue.remove(task)
            self.actors.touch(actor)
        self._tasks.fail(task, failure)
        self._let_handle_go(task)

    def cancel(self, task: Task) -> None:
        """Drop a call that has not been sent."""
        actor = self.actors.actors.get(task.actor_id)
        if actor is None or task.cancelled:
            return
        task.cancelled = True
        if task in actor.queue:
            failure = self._ledger.failures.system("TaskCancelledError", task.template.name)
            self.dependency_failed(task, failure)
        elif task.task_id in actor.sent:
            self._ledger.out.send(actor.worker, m.RecallTasks((task.task_id,), cancel=True))

    def on_pushed_back(self, sender: bytes, message: m.TasksPushedBack) -> None:
        """The actor dropped calls that were cancelled before they began."""
        actor = self.actors.by_worker.get(sender)
        for task_id, _ in message.tasks:
            task = actor.sent.pop(task_id, None) if actor is not None else None
            if task is None:
                self._ran_all_the_same(sender, task_id)
            else:
                name = task.template.name
                self._tasks.fail(task, self._ledger.failures.system("TaskCancelledError", name))
                self._let_handle_go(task)

    def settle(self) -> None:
        """Send every call that may go."""
        while self.actors.dirty:
            dirty, self.actors.dirty = self.actors.dirty, []
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

    def on_locate(self, sender: bytes, message: m.LocateActor) -> None:
        """A caller asks where an actor of ours lives."""
        actor = self.actors.actors.get(message.actor_id)
        if actor is None:
            self._ledger.out.send(
                sender, m.ActorMoved(message.actor_id, 1 << 30, "dead", b"", "out of scope")
            )
            return
        self._ledger.watch(sender)
        actor.followers[sender] = None
        if actor.created or actor.state == "dead":
            self._tell(sender, actor)

    def _tell(self, to: bytes, actor: Actor) -> None:
        message = m.ActorMoved(
            actor.actor_id,
            actor.incarnation,
            actor.state,
            actor.worker,
            actor.reason,
            actor.detail,
            actor.failure,
        )
        self._ledger.out.send(to, message)

    def _tell_followers(self, actor: Actor) -> None:
        for follower in actor.followers:
            if follower not in self._ledger.dead:
                self._tell(follower, actor)

    def on_moved(self, message: m.ActorMoved) -> None:
        """The owner of an actor says where it lives, or why it does not."""
        actor = self.actors.actors.get(message.actor_id)
        if actor is None or actor.state == "dead" or actor.owner.uid == self._ledger.uid:
            return
        if message.state == "alive":
            self._ledger.watch(message.worker)
            if message.worker in self._ledger.dead:
                self._end_calls(actor, "worker died", self._ledger.dead[message.worker])
            elif not actor.worker:
                self.actors.move(actor, message.worker, message.incarnation)
        elif message.state == "dead":
            actor.failure = message.failure
            self._end_calls(actor, message.reason, message.detail)

    # ---------------------------------------------------------------- the end

    def kill(self, actor_id: bytes, owner: Address) -> None:
        """User code asked for the actor's end, at once."""
        if owner.uid != self._ledger.uid:
            if owner.uid not in self._ledger.dead:
                self._ledger.out.send(owner.uid, m.KillActor(actor_id))
            return
        actor = self.actors.actors.get(actor_id)
        if actor is None or actor.state == "dead":
            return
        if actor.creation is None:
            actor.reason = "killed"  # it was found by name; it dies when it is created
            return
        self.die(actor, "killed", "zfut.kill() was called on it")
        self._end_worker(actor, "killed")

    def _end_worker(self, actor: Actor, why: str) -> None:
        lease = actor.lease
        if lease is None:
            return
        if lease.worker:
            self._ledger.out.send(self._ledger.node, m.KillWorker(lease.worker, why))
        else:
            self._ledger.out.send(self._ledger.node, m.CancelLease(lease.lease_id))
        self._tasks.submission.end(lease)
        actor.lease = None

    def die(self, actor: Actor, reason: str, detail: str) -> None:
        """An actor of ours is dead: so are its calls, and its callers are told."""
        if actor.state == "dead":
            return
        creation = actor.creation
        if creation is not None and not actor.created:
            self._let_arguments_go(actor.worker, creation)
        self._end_calls(actor, reason, detail)
        self._tell_followers(actor)
        self._ledger.out.send(self._ledger.node, m.ReleaseName(actor.actor_id))
        if actor.ending:
            self.actors.forget(actor)

    def _end_calls(self, actor: Actor, reason: str, detail: str) -> None:
        sent = len(actor.sent)
        for index, task in enumerate(self.actors.die(actor, reason, detail)):
            self._fail_call(actor, task, actor.worker if index < sent else b"")

    def _fail_call(self, actor: Actor, task: Task, runs_at: bytes = b"") -> None:
        task.cancelled = True  # what becomes of its arguments is of no account
        failure = self._ledger.failures.system(
            "ActorDiedError",
            actor.actor_id,
            task.template.name.partition(".")[0],
            actor.reason,
            actor.detail,
            actor.failure,
        )
        self._ledger.fail_returns(task, failure)
        self._let_arguments_go(runs_at, task)

    def _let_arguments_go(self, runs_at: bytes, task: Task) -> None:
        """A call is given up; it may read its arguments until it, or its process, has ended."""
        if runs_at and runs_at not in self._ledger.dead:
            self._doomed.setdefault(runs_at, {})[task.task_id] = task
            return
        self._ledger.release_arguments(task)
        self._let_handle_go(task)

    def _ran_all_the_same(self, worker: bytes, task_id: bytes) -> None:
        doomed = self._doomed.get(worker)
        task = doomed.pop(task_id, None) if doomed else None
        if task is not None:
            self._let_arguments_go(b"", task)
        if doomed is not None and not doomed:
            del self._doomed[worker]

    def on_process_died(self, uid: bytes, why: str) -> None:
        """A process is gone: the actor in it, and the actors it owned."""
        for task in self._doomed.pop(uid, {}).values():
            self._let_arguments_go(b"", task)
        actor = self.actors.by_worker.get(uid)
        if actor is not None and actor.state != "dead":
            self._worker_died(actor, why)
        for other in list(self.actors.actors.values()):
            if other.owner.uid == uid and other.state != "dead":
                self._end_calls(other, "owner died", why)
            other.followers.pop(uid, None)

    def _worker_died(self, actor: Actor, why: str) -> None:
        reason = "worker died"
        if why in ("exit_actor", "killed", "out of scope", "owner died"):
            reason = why
        if actor.owner.uid != self._ledger.uid:
            self._end_calls(actor, reason, why)
            return
        if actor.lease is not None:
            self._tasks.submission.end(actor.lease)
            actor.lease = None
        self.die(actor, reason, why)

    def handles_gone(self) -> None:
        """Last handles were dropped here: actors of ours end, others' are forgotten."""
        gone, self._ledger.handles_gone = self._ledger.handles_gone, []
        for object_id in gone:
            actor = self.actors.actors.get(object_id[:-4])
            if actor is None:
                continue
            if actor.owner.uid != self._ledger.uid:
                if not actor.queue and not actor.sent:
                    self.actors.forget(actor)
                continue
            actor.ending = "out of scope"
            constructing = actor.lease is not None and actor.lease.worker and not actor.created
            if not constructing:  # else its constructor reads arguments that we hold
                self._out_of_scope(actor)

    def _out_of_scope(self, actor: Actor) -> None:
        if actor.state == "dead":
            self.actors.forget(actor)
            return
        if actor.lease is not None and actor.lease.worker:
            self._ledger.out.send(
                actor.lease.worker, m.ExitActor(actor.actor_id, "out of scope")
            )
            self._tasks.submission.end(actor.lease)
            actor.lease = None
        else:
            self._end_worker(actor, "out of scope")
        self.die(actor, "out of scope", "")
