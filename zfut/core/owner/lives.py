"""The lives of actors that this process owns: created, restarted, killed, ended with their handles.

    pending --- granted, created ---> alive --- killed, failed, restarts used up ---> dead
       ^                                |
       '---- restarting <--- died ------'

Only the owner asks for a worker, and only after the process of the life before is dead for
certain, so an actor never lives twice at once.  Each life has a number, its incarnation; who calls
the actor follows it and is told of every change.  A restart runs the constructor again: its
arguments are held for as long as restarts are left.
"""

from __future__ import annotations

from zfut.core.owner.actors import handle_id
from zfut.core.owner.calls import Calls
from zfut.core.owner.fate import fatal_argument
from zfut.core.owner.freeing import Freeing
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.readiness import still_ready
from zfut.core.owner.records import ACTOR, Actor, Task
from zfut.core.owner.tasks import Tasks
from zfut.wire import messages as m
from zfut.wire.specs import OK, Address, TaskResult

ENDS = ("exit_actor", "killed", "out of scope", "owner died")
"""Words of an obituary that say that the end was wanted: no restart follows."""

RESTARTED = "zfut.kill() asked for a restart"


class Lives:
    """Decides where an actor of ours lives, whether again, and when it ends."""

    def __init__(self, ledger: Ledger, tasks: Tasks, calls: Calls, freeing: Freeing) -> None:
        self._ledger = ledger
        self._freeing = freeing
        self._tasks = tasks
        self._calls = calls
        self._actors = calls.actors
        self.leaving: dict[bytes, Actor] = {}  # by the worker that is being killed

    # ---------------------------------------------------------------- creation

    def announce(self, actor_id: bytes) -> None:
        """User code asks for a name for an actor: it may be found before it is created."""
        self._actors.get(actor_id, self._ledger.address)
        self._ledger.objects.own(handle_id(actor_id), None).state = ACTOR

    def renounce(self, actor_id: bytes) -> None:
        """Another actor has the name: this one is never created."""
        self._actors.actors.pop(actor_id, None)
        self._ledger.objects.rows.pop(handle_id(actor_id), None)

    def create(self, task: Task) -> None:
        """User code made an actor: this process owns it from now on."""
        assert task.creation is not None
        if task.task_id not in self._actors.actors:
            self.announce(task.task_id)
        actor = self._actors.actors[task.task_id]
        actor.creation = task
        actor.restarts_left = task.creation.max_restarts
        handle = self._ledger.objects.rows.get(handle_id(task.task_id))
        if handle is not None:
            handle.site = task.site

    def request(self, task: Task) -> None:
        """The constructor's arguments are ready: ask for a worker, for life."""
        actor = self._actors.actors.get(task.task_id)
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

    def granted_the_dead(self, actor_id: bytes) -> None:
        """The worker died, and its death was heard of before the node lent it: ask again."""
        actor = self._actors.actors.get(actor_id)
        if actor is None or actor.lease is None or actor.creation is None:
            return
        self._tasks.submission.end(actor.lease)
        actor.lease = None
        self.request(actor.creation)

    def granted(self, actor_id: bytes) -> None:
        """The node lent a worker: construct there, and let the queued calls follow at once."""
        actor = self._actors.actors.get(actor_id)
        if actor is None or actor.creation is None or actor.lease is None:
            return
        task, lease = actor.creation, actor.lease
        assert task.creation is not None
        if task.deps and not still_ready(self._ledger, task):
            actor.lease = None  # asked for again when what the constructor takes is there
            self._tasks.give_back(lease)
            return
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
        self._actors.move(actor, lease.worker, actor.incarnation)

    def class_of(self, actor_id: bytes) -> str:
        """Name the class of an actor that is ours and not made yet."""
        actor = self._actors.actors.get(actor_id)
        task = actor.creation if actor is not None else None
        return task.creation.class_name if task is not None and task.creation else "?"

    def lease_failed(self, actor_id: bytes, why: str) -> None:
        """No worker can be had for the actor."""
        actor = self._actors.actors.get(actor_id)
        if actor is not None and actor.lease is not None:
            self._tasks.submission.end(actor.lease)
            actor.lease = None
            self.die(actor, "node refused", why)

    def on_created(self, sender: bytes, result: TaskResult, payload: bytes) -> bool:
        """A constructor ended. Returns False if it is not that of an actor of ours now."""
        actor = self._actors.by_worker.get(sender)
        if actor is None or result.task_id != actor.actor_id:
            return False
        if actor.creation is not None:
            self._ledger.withheld.end(actor.creation)
        if result.status == OK:
            actor.created = True
            if actor.creation is not None:
                self._ledger.backlog.end(actor.creation)
            actor.between = False
            if not actor.restarts_left:
                self._release_creation(actor)
            self._tell_followers(actor)
            if actor.ending:
                self._out_of_scope(actor)
            return True
        actor.failure = payload
        self.construction_failed(actor)
        self._end_worker(actor, "constructor failed")
        return True

    def construction_failed(self, actor: Actor, why: str = "") -> None:
        """It does not come to life, or not again: its constructor raised, or cannot be run."""
        again = actor.created or actor.incarnation
        self.die(actor, "restart failed" if again else "constructor failed", why)

    def _release_creation(self, actor: Actor) -> None:
        creation, actor.creation_held = actor.creation, False
        if creation is not None:
            self._ledger.release_arguments(creation)

    # ---------------------------------------------------------------- whom it tells

    def on_locate(self, sender: bytes, message: m.LocateActor) -> None:
        """A caller asks where an actor of ours lives."""
        actor = self._actors.actors.get(message.actor_id)
        if actor is None:
            self._ledger.out.send(
                sender, m.ActorMoved(message.actor_id, 1 << 30, "dead", b"", "out of scope")
            )
            return
        self._ledger.watch(sender)
        actor.followers[sender] = None
        if actor.created or actor.state == "dead" or actor.incarnation:
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

    # ---------------------------------------------------------------- the end of a life

    def kill(self, actor_id: bytes, owner: Address, *, no_restart: bool) -> None:
        """User code asked for the actor's end, at once, or for that of this life."""
        if owner.uid != self._ledger.uid:
            if owner.uid not in self._ledger.dead:
                borrowed = self._actors.actors.get(actor_id)
                life = borrowed.incarnation if borrowed is not None and borrowed.worker else -1
                self._ledger.out.send(owner.uid, m.KillActor(actor_id, no_restart, life))
            return
        actor = self._actors.actors.get(actor_id)
        if actor is None or actor.state == "dead":
            return
        if not no_restart:
            self._end_life(actor)
            return
        if actor.creation is None:
            actor.reason = "killed"  # it was found by name; it dies when it is created
            return
        self.die(actor, "killed", "zfut.kill() was called on it")
        self._end_worker(actor, "killed")

    def on_kill(self, message: m.KillActor) -> None:
        """A borrower of the handle asks for it; a life that it had not heard of is not meant."""
        actor = self._actors.actors.get(message.actor_id)
        late = actor is not None and 0 <= message.incarnation < actor.incarnation
        if message.no_restart or not late:
            address = self._ledger.address
            self.kill(message.actor_id, address, no_restart=message.no_restart)

    def _end_life(self, actor: Actor) -> None:
        """Kill its process; what is called from now on, and may wait, meets its next life."""
        if actor.worker:
            if actor.creation is not None and not actor.created:
                self._calls.hold_while_it_runs(actor.creation, actor.worker)
            actor.between = True
            actor.detail = RESTARTED
            self.leaving[actor.worker] = actor
            self._ledger.out.send(self._ledger.node, m.KillWorker(actor.worker, RESTARTED))
            self._calls.interrupted(actor, RESTARTED)

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
        if creation is not None:
            self._ledger.backlog.end(creation)
            self._ledger.withheld.end(creation)
        if creation is not None and actor.creation_held:
            actor.creation_held = False
            creation.over = True
            reads = b"" if actor.created else actor.worker
            self._calls.let_arguments_go(reads, creation)
        self._calls.end_calls(actor, reason, detail)
        self._tell_followers(actor)
        self._ledger.out.send(self._ledger.node, m.ReleaseName(actor.actor_id))
        if actor.ending:
            self._actors.forget(actor)

    def on_process_died(self, uid: bytes, actor: Actor | None, why: str) -> None:
        """A process is gone, and with it this life of the actor that it was, if any."""
        actor = self.leaving.pop(uid, actor)
        if actor is None or actor.state == "dead":
            return
        if actor.lease is not None:
            self._tasks.submission.end(actor.lease)
            actor.lease = None
        if why in ENDS:
            self.die(actor, why, why)
        elif not actor.restarts_left or actor.ending or actor.creation is None:
            self.die(actor, "worker died", why)
        elif (fatal := fatal_argument(self._ledger, actor.creation)) is not None:
            actor.failure = fatal
            self.construction_failed(actor, why)
        else:
            self._restart(actor, actor.creation, why)

    def _restart(self, actor: Actor, creation: Task, why: str) -> None:
        actor.restarts_left -= 1 if actor.restarts_left > 0 else 0
        creation.attempt += 1
        if actor.created:
            self._ledger.backlog.begin(creation)
        actor.created = False
        actor.between = True
        self._calls.interrupted(actor, why)
        actor.incarnation += 1
        actor.detail = why
        self._tell_followers(actor)
        self._ledger.withheld.begin(creation)
        self._freeing.lend(creation)  # it holds what its constructor takes for this
        self.request(creation)

    def handles_gone(self) -> None:
        """Last handles were dropped here: actors of ours end, others' are forgotten."""
        gone = self._ledger.handles_gone[:]
        self._ledger.handles_gone.clear()
        for object_id in gone:
            actor = self._actors.actors.get(object_id[:-4])
            if actor is None:
                continue
            if actor.owner.uid != self._ledger.uid:
                if not actor.queue and not actor.sent:
                    self._actors.forget(actor)
                continue
            actor.ending = "out of scope"
            constructing = actor.lease is not None and actor.lease.worker and not actor.created
            if not constructing:  # else its constructor reads arguments that we hold
                self._out_of_scope(actor)

    def _out_of_scope(self, actor: Actor) -> None:
        if actor.state == "dead":
            self._actors.forget(actor)
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
