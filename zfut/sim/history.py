"""What was sent to whom and answered: attempts, answers, lives and names, seen from outside.

It looks at a machine before and after each message and at what it sends; it asks the machines
nothing that they decide.  Letters name the families of the design: T tasks, A actors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from zfut.config import Config
from zfut.core.effects import Send
from zfut.core.events import Received
from zfut.core.node.machine import NodeMachine
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.records import Task
from zfut.ids import FIRST_RETURN, PROC_BYTES
from zfut.sim.arena import violate
from zfut.wire import messages as m
from zfut.wire.specs import TaskSpec

if TYPE_CHECKING:
    from zfut.sim.cluster import Cluster
    from zfut.sim.process import Process


class Open(Struct):
    """A call before a message that may answer it was handled."""

    task: Task
    attempt: int
    worker: bytes


Before: TypeAlias = dict[bytes, Open]


class History:
    """Who was sent which attempt, what was accepted, which token stands for what."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._sent: dict[bytes, dict[bytes, int]] = {}  # call -> where it may be -> attempt
        self._accepted: dict[tuple[bytes, int], str] = {}
        self._tokens: dict[bytes, tuple[bytes, bytes]] = {}

    # ---------------------------------------------------------------- sent

    def sent(self, process: Process, effect: Send) -> None:
        """T3: a call is sent on only when it is certain that it runs nowhere else."""
        message = effect.message
        specs: tuple[TaskSpec, ...] = ()
        if isinstance(message, m.PushTasks):
            specs = message.tasks
        elif isinstance(message, m.PushCalls):
            specs = message.calls
        elif isinstance(message, m.CreateActor):
            specs = (message.task,)
        for spec in specs:
            self._check_free(process, spec, is_task=isinstance(message, m.PushTasks))
            self._sent[spec.task_id] = {effect.to: spec.attempt}

    def _knows_the_end(self, process: Process, worker: bytes) -> bool:
        """Whether an owner has heard of a death; of those that it has forgotten it had."""
        if worker in process.owner.ledger.dead:
            return True
        bounded = process.owner.ledger.config.deaths_max < Config().deaths_max
        return bounded and not self._cluster.lives(worker)

    def _check_free(self, process: Process, spec: TaskSpec, *, is_task: bool) -> None:
        name = self._cluster.ghost.calls[spec.task_id].name
        for worker, attempt in self._sent.get(spec.task_id, {}).items():
            where = self._cluster.processes[worker].name
            if attempt > spec.attempt:
                violate(f"{name} attempt {spec.attempt} is sent after attempt {attempt}")
            if is_task and not self._knows_the_end(process, worker):
                violate(f"{name} is sent on, and its owner does not know that {where} is dead")
            if self._cluster.lives(worker):
                violate(f"{name} is sent on while {where}, which has it, lives")

    # ---------------------------------------------------------------- answered

    def before(self, process: Process, event: Received) -> Before:
        """Note how the calls stand that a message may answer."""
        message = event.message
        if isinstance(process.machine, NodeMachine) or not isinstance(message, m.TasksFinished):
            return {}
        found: Before = {}
        for result in message.results:
            task = _unfinished(process.owner, event.sender, result.task_id)
            if task is not None:
                found[result.task_id] = Open(task, task.attempt, _place(process.owner, task))
        return found

    def after(self, process: Process, event: Received, before: Before) -> None:
        """T1: what ends a call is the first answer to its newest attempt, from who was sent it."""
        message = event.message
        if isinstance(process.machine, NodeMachine):
            return
        if isinstance(message, m.TasksPushedBack):
            for task_id, _ in message.tasks:
                self._sent.get(task_id, {}).pop(event.sender, None)
        elif isinstance(message, m.TasksFinished):
            for result in message.results:
                self._sent.get(result.task_id, {}).pop(event.sender, None)
                opened = before.get(result.task_id)
                if opened is not None and opened.task.counted_bytes < 0:
                    self._accept(event.sender, opened, result.attempt)

    def _accept(self, sender: bytes, opened: Open, attempt: int) -> None:
        name = f"{opened.task.template.name} attempt {attempt}"
        who = self._cluster.processes[sender].name
        if attempt != opened.attempt:
            violate(
                f"{name} is accepted from {who}, and attempt {opened.attempt} is the newest"
            )
        if sender != opened.worker:
            where = self._cluster.processes[opened.worker].name if opened.worker else "nobody"
            violate(f"{name} is accepted from {who}, and was sent to {where}")
        first = self._accepted.setdefault((opened.task.task_id, attempt), who)
        if first is not who:
            violate(f"{name} is accepted from {first} and from {who}")

    # ---------------------------------------------------------------- tables

    def check_order(self, process: Process) -> None:
        """A3: what an actor has not answered is sent again in the order of submission."""
        calls = self._cluster.ghost.calls
        for actor in process.owner.calls.actors.actors.values():
            for table in (actor.sent.values(), actor.queue):
                orders = [calls[task.task_id].order for task in table if not task.again]
                if orders != sorted(orders):
                    names = [task.template.name for task in table]
                    violate(f"{process.name} has an actor's calls in another order: {names}")

    def check_tokens(self, process: Process) -> None:
        """R5: a token stands for one borrower of one object, and is never used again."""
        for object_id, row in process.owner.rows.items():
            for table in (row.borrowers, row.lineage_tokens):
                for token, borrower in (table or {}).items():
                    named = self._tokens.setdefault(token, (object_id, borrower))
                    if named != (object_id, borrower):
                        name = self._cluster.processes[token[:PROC_BYTES]].name
                        violate(f"{name} used a token twice, for {object_id.hex()}")


def check_names(cluster: Cluster) -> None:
    """A7: of the actors of one name at most one lives, as far as their owners know."""
    names: dict[str, str] = {}
    for process in cluster.processes.values():
        if not process.alive or isinstance(process.machine, NodeMachine):
            continue
        for actor in process.owner.calls.actors.actors.values():
            task = actor.creation
            if task is None or task.creation is None or actor.state == "dead":
                continue
            name = task.creation.name
            if name and names.setdefault(name, task.template.name) != task.template.name:
                violate(f"{names[name]} and {task.template.name} are both called {name}")


def _unfinished(owner: OwnerMachine, sender: bytes, task_id: bytes) -> Task | None:
    row = owner.rows.get(task_id + FIRST_RETURN)
    if row is not None:
        return row.task
    actor = owner.calls.actors.actors.get(task_id)
    if actor is not None:
        creation = actor.creation
        return creation if creation is not None and creation.counted_bytes >= 0 else None
    lease = owner.tasks.submission.by_worker.get(sender)
    return lease.in_flight.get(task_id) if lease is not None else None


def _place(owner: OwnerMachine, task: Task) -> bytes:
    """Where the owner thinks that the call is."""
    if task.lease is not None:
        return task.lease.worker
    actor = owner.calls.actors.actors.get(task.actor_id or task.task_id)
    return actor.worker if actor is not None else b""
