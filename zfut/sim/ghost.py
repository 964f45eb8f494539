"""The ghost: what really happened, kept beside the machines and never shown to them.

It knows the right answer of every call, who really holds what, and which deaths, kills and
cancellations may explain an error.  An answer that is neither right nor explained is a
violation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from zfut.core.effects import Send
from zfut.core.executor.inbox import CREATE, METHOD, TASK, Call
from zfut.core.node.granting import ATTEMPTS
from zfut.core.owner.records import FAILED, READY, ObjectRow, Task
from zfut.sim.arena import violate
from zfut.sim.values import Failure, Handle, Plan, read_failure
from zfut.wire import messages as m

MANY_TRIES = 50

if TYPE_CHECKING:
    from zfut.sim.cluster import Cluster
    from zfut.sim.process import Process


class Told(Struct):
    """One call, as it was submitted."""

    task_id: bytes
    owner: bytes
    name: str
    plan: Plan
    retries: int
    order: int
    actor_id: bytes = b""
    parent: bytes = b""
    cancelled: bool = False
    has_deps: bool = False
    weak: bool = False  # an actor called itself: its handle of itself holds nothing
    pushed: dict[bytes, None] = field(default_factory=dict)


class TrueActor(Struct):
    """One actor, as it really is."""

    actor_id: bytes
    owner: bytes
    worker: bytes = b""
    workers: dict[bytes, None] = field(default_factory=dict)
    killed: bool = False
    restarted: bool = False  # by kill(no_restart=False)
    left: bool = False
    handed_on: bool = False  # by itself: its handles elsewhere may keep nothing alive
    started: dict[bytes, int] = field(default_factory=dict)  # caller -> order of its last call


class Ghost:
    """Facts about the whole cluster, by name."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.calls: dict[bytes, Told] = {}
        self.by_name: dict[str, Told] = {}
        self.plans: dict[int, Plan] = {}
        self.puts: dict[bytes, int] = {}
        self.actors: dict[bytes, TrueActor] = {}
        self.exit_wanted: dict[bytes, int] = {}
        self.exits: dict[int, None] = {}
        self.bereft = 0  # tries of one call that let a dead owner's end pass
        self.lost: dict[bytes, None] = {}
        self.freed: dict[bytes, None] = {}
        self.answered: dict[bytes, None] = {}
        self.killed = 0
        self.gone = 0
        self._givers: dict[tuple[bytes, bytes], dict[bytes, None]] = {}
        self._ran: dict[tuple[bytes, int], str] = {}
        self._runs: dict[bytes, int] = {}
        self._orders = 0

    # ---------------------------------------------------------------- what happens

    def plan(self, plan: Plan) -> None:
        """A call was planned."""
        self.plans[plan.number] = plan

    def submitted(self, process: Process, task: Task) -> None:
        """User code submitted a call."""
        self._orders += 1
        number = int(task.template.name[1:])
        told = Told(
            task.task_id,
            process.uid,
            task.template.name,
            self.plans[number],
            task.template.max_retries,
            self._orders,
            task.actor_id,
            has_deps=bool(task.deps),
            parent=task.parent,
            weak=task.weak,
        )
        self.calls[task.task_id] = self.by_name[told.name] = told
        if task.creation is not None:
            self.actors[task.task_id] = TrueActor(task.task_id, process.uid)

    def put(self, object_id: bytes, number: int) -> None:
        """User code put a value."""
        self.puts[object_id] = number

    def given(self, to: bytes, object_id: bytes, giver: bytes) -> None:
        """A reference came to ``to`` in something that ``giver`` holds for it.

        An actor's handle of itself holds nothing: what it hands on keeps nobody alive.
        """
        actor = self.actors.get(object_id[:24])
        if actor is not None and actor.worker == giver:
            actor.handed_on = True
            giver = b""
        self._givers.setdefault((to, object_id), {})[giver] = None

    def sent(self, effect: Send) -> None:
        """A machine sends."""
        message = effect.message
        if type(message) is m.PushTasks:
            for spec in message.tasks:
                self.calls[spec.task_id].pushed[effect.to] = None
        elif type(message) is m.TasksFinished:
            self.answered.update((result.task_id, None) for result in message.results)
        elif type(message) is m.CreateActor:
            actor = self.actors[message.actor_id]
            actor.worker = effect.to
            actor.workers[effect.to] = None
            actor.started.clear()

    def cancelled(self, object_id: bytes) -> None:
        """User code cancelled a call."""
        told = self.calls.get(object_id[:24])
        if told is not None:
            told.cancelled = True

    def ended(self, process: Process) -> None:
        """A process is gone."""
        self.gone += 1
        process.uses.clear()

    def started(self, process: Process, call: Call) -> None:
        """User code begins to run: once for each attempt, in order, and not after the end."""
        spec = call.spec
        name = (spec.task_id, spec.attempt)
        where = f"{self.calls[spec.task_id].name} attempt {spec.attempt}"
        self._runs[spec.task_id] = self._runs.get(spec.task_id, 0) + 1
        if call.kind == CREATE:
            self._check_single(process, call.spec.task_id)
        told = self.calls[spec.task_id]
        if (
            told.retries >= 0
            and call.kind == METHOD
            and self._runs[spec.task_id] > told.retries + 1
        ):
            violate(f"{where} runs more often than max_task_retries={told.retries} allows")
        if name in self._ran:
            violate(f"{where} runs on {process.name} and ran on {self._ran[name]}")
        self._ran[name] = process.name
        owner = self._cluster.processes[call.owner.uid]
        if call.kind == METHOD:
            self._check_order(process, call)
        elif call.owner.uid not in (process.worker.executor.lease_owner, process.uid):
            violate(f"{where} starts on {process.name}, which is not bound to its owner")
        if owner.alive:
            self._check_wanted(process, owner, call, where)

    def _check_single(self, process: Process, actor_id: bytes) -> None:
        for other in self._cluster.workers():
            if other is not process and other.worker.executor.actor_id == actor_id:
                violate(f"an actor begins to live in {process.name} and lives in {other.name}")

    def _check_order(self, process: Process, call: Call) -> None:
        actor = self.actors[process.worker.executor.actor_id]
        told = self.calls[call.spec.task_id]
        if call.spec.attempt and call.spec.task_id in self.answered:
            return  # a result that was lost or freed is made again, without a promise of order
        last = actor.started.get(told.owner, 0)
        if told.order < last:
            violate(f"{told.name} starts after a later call of the same caller")
        actor.started[told.owner] = told.order

    def _check_wanted(self, process: Process, owner: Process, call: Call, where: str) -> None:
        rows = owner.owner.rows
        numbers = range(1, call.spec.num_returns + 1)
        names = [call.spec.task_id + number.to_bytes(4, "big") for number in numbers]
        made = [rows[name] for name in names if name in rows]
        row = made[0] if made else None
        if call.spec.attempt and (self.lost or len(made) < len(names)):
            return  # what it was to make again may be dropped by now
        if row is not None and all(one.state >= READY for one in made):
            value = row.value if isinstance(row.value, bytes) else b""
            state = read_failure(value) if row.state == FAILED else ["a value"]
            killed = ["ActorDiedError", "ActorUnavailableError", "TaskCancelledError"]
            actor = self.actors.get(process.worker.executor.actor_id)
            if actor is not None and (actor.killed or actor.restarted):
                killed.append("Dependency")  # it was to be sent to the next life, and cannot be
            if call.kind != TASK and state[0] in killed:
                return  # its process was to end, and does not know yet
            violate(f"{where} starts on {process.name} though it has {state}")
        if call.kind != TASK:
            return
        task = owner.owner.tasks.submission.find(process.uid, call.spec.task_id)
        if task is None or task.attempt != call.spec.attempt:
            violate(f"{where} starts on {process.name} and its owner does not know")

    # ---------------------------------------------------------------- what may be

    def excused(self, uid: bytes, object_id: bytes) -> bool:
        """Whether it came to ``uid`` from an actor's handle of itself, which holds nothing.

        No death excuses the loss of a reference: what the dead protected is protected by fences.
        """
        stack, seen = [uid], {uid: None}
        while stack:
            for giver in self._givers.get((stack.pop(), object_id), ()):
                if not giver:
                    return True
                if giver not in seen:
                    seen[giver] = None
                    stack.append(giver)
        return False

    def tries_for_ever(self) -> bool:
        """Whether a call may run again as often as its worker dies, or it meets a dead owner."""
        vain = self._cluster.config.fate_share == "kill" or self.bereft > MANY_TRIES
        return vain and any(told.retries < 0 for told in self.calls.values())

    def check_value(self, handle: Handle, number: int) -> None:
        """A get returned ``number``."""
        told = self.calls.get(handle.object_id[:24])
        if told is None:
            right = self.puts.get(handle.object_id)
        elif told.plan.raises:
            violate(f"{told.name} gave {number} and must raise")
        else:
            right = told.plan.number + int.from_bytes(handle.object_id[24:], "big") - 1
        if number != right:
            violate(f"{handle.object_id.hex()} is {number} and must be {right}")

    def check_failed(self, handle: Handle, row: ObjectRow) -> None:
        """A get raises: user code, a fault or the user must explain it."""
        assert isinstance(row.value, bytes)
        failure = read_failure(row.value)
        told = self.calls.get(handle.object_id[:24])
        if not self._explained(failure, handle, told):
            name = told.name if told is not None else handle.object_id.hex()
            violate(f"{handle.process.name}: nothing explains {failure} of {name}")

    def _explained(  # noqa: PLR0911  one for each kind
        self, failure: Failure, handle: Handle, told: Told | None
    ) -> bool:
        kind = failure[0]
        if kind == "OwnerDiedError":
            return not self._cluster.lives(failure[2])
        if kind == "ReferenceVoidError":
            return self.excused(handle.process.uid, handle.object_id)
        if kind == "StoreFull":
            return self._cluster.setting.capacity < 1 << 28
        if kind == "ReconstructionFailedError":
            return self._not_made_again(failure)
        if kind == "ObjectFreedError":
            return failure[1] in self.freed
        if told is None:
            return False
        if kind == "ActorDiedError":
            return self._actor_explained(failure, told)
        return self._call_explained(failure, told)

    def _call_explained(self, failure: Failure, told: Told) -> bool:
        kind = failure[0]
        if kind == "Raised":
            return failure[1] in ((told.plan.number,) if told.plan.raises else self.exits)
        if kind == "Dependency":
            inner = read_failure(failure[1])
            shared = inner[0] == "OwnerDiedError"  # of something in an argument
            return (told.has_deps or shared) and self._inner_explained(inner)
        if kind == "ActorUnavailableError":
            return self._was_interrupted(self.actors[told.actor_id], told.retries)
        if kind == "WorkerCrashedError":
            dead = [uid for uid in told.pushed if not self._cluster.lives(uid)]
            runs = self._runs.get(told.task_id, 0) if self.lost else 0
            return failure[1] == told.name and 0 <= told.retries < len(dead) + runs
        if kind == "TaskCancelledError":
            return failure[1] == told.name and self._cancelled(told)
        return kind == "TaskUnschedulableError" and self._no_worker_starts()

    def _inner_explained(self, failure: Failure) -> bool:  # noqa: C901, PLR0911  one for each kind
        """Whether the failure of an argument, of which only its words are known, can be."""
        kind = failure[0]
        if kind == "Raised":
            return failure[1] in self.exits or self.plans[failure[1]].raises
        if kind == "Dependency":
            return self._inner_explained(read_failure(failure[1]))
        if kind == "WorkerCrashedError":
            return not self._cluster.lives(failure[2])
        if kind == "TaskCancelledError":
            return self._cancelled(self.by_name[failure[1]])
        if kind == "TaskUnschedulableError":
            return self._no_worker_starts()
        if kind == "OwnerDiedError":
            return not self._cluster.lives(failure[2])
        if kind == "ReferenceVoidError":
            return any(
                self.excused(to, name) for to, name in self._givers if name == failure[1]
            )
        if kind == "ActorUnavailableError":
            return self._was_interrupted(self.actors[failure[1]], 0)
        if kind == "ReconstructionFailedError":
            return self._not_made_again(failure)
        if kind == "ObjectFreedError":
            return failure[1] in self.freed
        if kind == "StoreFull":
            return self._cluster.setting.capacity < 1 << 28
        return kind == "ActorDiedError" and self._actor_ended(failure)

    def _cancelled(self, told: Told) -> bool:
        """Whether it was cancelled, or one that submitted it was, or lost its owner."""
        while not told.cancelled:
            if told.parent not in self.calls:
                return False
            told = self.calls[told.parent]
            if not self._cluster.lives(told.owner):
                return True
        return True

    def _not_made_again(self, failure: Failure) -> bool:
        """A put that was lost, or what could be made again no more after something was lost."""
        return failure[1] in self.lost if failure[2] == "put" else bool(self.lost)

    def _was_interrupted(self, actor: TrueActor, retries: int) -> bool:
        dead = [uid for uid in actor.workers if not self._cluster.lives(uid)]
        used = retries if not self.lost else 0  # making lost values again uses tries up too
        return retries >= 0 and (actor.restarted or used < len(dead))

    def _no_worker_starts(self) -> bool:
        """Whether so many were killed that the node may have given up on starting any."""
        return self.killed >= ATTEMPTS

    def _actor_explained(self, failure: Failure, told: Told) -> bool:
        if failure[3] == "out of scope" and not self.actors[told.actor_id].handed_on:
            handle_id = told.actor_id + b"\0\0\0\0"
            return told.weak or self.excused(told.owner, handle_id)
        return failure[1] == told.actor_id and self._actor_ended(failure)

    def _actor_ended(self, failure: Failure) -> bool:  # noqa: PLR0911  one for each reason
        actor = self.actors[failure[1]]
        reason, why = failure[3], failure[5]
        lives = self._cluster.lives
        if reason == "killed":
            return actor.killed
        if reason == "owner died":
            return not lives(actor.owner)
        if reason == "worker died":
            return any(not lives(uid) for uid in actor.workers)
        if reason == "exit_actor":
            return actor.left
        if reason == "node refused":
            return self._no_worker_starts()
        if reason in ("constructor failed", "restart failed"):
            return not why or self._inner_explained(read_failure(why))
        called_itself = any(
            one.weak and one.actor_id == failure[1] for one in self.calls.values()
        )
        return reason == "out of scope" and (actor.handed_on or called_itself)
