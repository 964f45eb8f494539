"""Tasks from submission to their last answer: leases asked for, work pushed, retries.

Retries count crashes of the worker, and errors if the task's options say so.  When a worker dies
with one task in flight, that task was running and is charged; when several were in flight nobody
can tell, so none is charged and each goes alone the next time.  Every attempt has a number, and an
answer for another attempt than the current one is dropped with clean-up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from zfut.core.effects import Note
from zfut.core.owner.answering import stored_value
from zfut.core.owner.fate import dead_argument, fatal_argument
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.readiness import still_ready
from zfut.core.owner.records import FAILED, INLINE, Key, Lease, Task
from zfut.core.owner.returns import Returns
from zfut.core.owner.stack import Stack
from zfut.core.owner.submission import Submission
from zfut.wire import messages as m
from zfut.wire.specs import (
    CANCELLED,
    RETRIABLE,
    Dep,
    FunctionDef,
    Inline,
    Stored,
    TaskResult,
    TaskSpec,
)

PATIENCE = "It waits for a node that has it"


class Tasks:
    """Decides what runs where; the executors are told directly."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.returns = Returns(ledger)
        self.submission = Submission(ledger.uid, ledger.config)
        self.stack = Stack(ledger.objects, self.submission)

    # ---------------------------------------------------------------- the node's answers

    def on_granted(self, message: m.LeaseGranted, now: int) -> Lease | None:
        """The node lent a worker. Returns the lease, unless it is void."""
        lease = self.submission.leases.get(message.lease_id)
        if lease is None or lease.worker:
            if lease is None:
                self._return(message.lease_id, "done")
            return None
        if message.worker in self._ledger.dead:
            self._ask_again(lease)
            return None
        self._ledger.watch(message.worker)
        bind, nested = message.bind, message.nested
        self.submission.grant(lease, message.worker, bind, now, nested=nested)
        return lease

    def _ask_again(self, lease: Lease) -> None:
        self.submission.end(lease)

    def on_failed(self, message: m.LeaseFailed) -> None:
        """The demand cannot be met: every task that waits for it fails."""
        lease = self.submission.leases.get(message.lease_id)
        if lease is None or lease.key is None:
            return
        key = lease.key
        self.submission.end(lease)
        while key.queue:
            self._fail_unschedulable(key.queue.popleft(), message.why)

    def _fail_unschedulable(self, task: Task, why: str) -> None:
        name = task.template.name
        self.fail(task, self._ledger.failures.system("TaskUnschedulableError", name, why))

    def on_waits(self, message: m.LeaseWaits, class_of: Callable[[bytes], str]) -> None:
        """No node can ever meet the demand: say so at once, and wait for one that can."""
        lease = self.submission.leases.get(message.lease_id)
        if lease is None:
            return
        lease.why = message.why
        if lease.key is not None:
            lease.key.why = message.why
            name = lease.key.queue[0].template.name if lease.key.queue else "a task"
            advice = "set schedule_timeout= to fail instead"
        else:
            name, advice = f"actor {class_of(lease.actor_id)}", "zfut.kill() it to give up"
        text = f"{name} cannot run: {message.why}. {PATIENCE}; {advice}"
        self._ledger.out.add(Note("warning", text))

    def on_revoked(self, message: m.LeaseRevoked) -> None:
        """Others wait: finish what runs, take back the rest, return the worker."""
        lease = self.submission.leases.get(message.lease_id)
        if lease is None or lease.key is None or lease.draining:
            return
        lease.draining = True
        self._recall(lease)
        self.submission.touch(lease.key)

    # ---------------------------------------------------------------- the executors' answers

    def on_result(self, sender: bytes, result: TaskResult, payload: bytes, now: int) -> bool:
        """A task ended. Returns False if it is not one of ours now."""
        task = self.submission.find(sender, result.task_id)
        if task is None or task.attempt != result.attempt:
            return False
        self.submission.finish(task, result.run_ns, now)
        if result.status == CANCELLED:
            self.fail(task, self._cancelled(task))
        elif result.status >= RETRIABLE and self._may_run_again(task, result.status):
            self._try_again(task)
        else:
            self.settle_returns(task, result, payload)
        return True

    def _may_run_again(self, task: Task, status: int) -> bool:
        """Whether a call that asks for it has tries left, and what it takes is not a dead owner's."""
        if not task.retries_left or task.cancelled:
            return False
        return status == RETRIABLE or dead_argument(self._ledger, task, deep=True) is None

    def _try_again(self, task: Task) -> None:
        """It raised what its options, or an owner's death, are reasons to try again."""
        task.attempt += 1
        task.retries_left -= 1 if task.retries_left > 0 else 0
        self._requeue([task])

    def settle_returns(self, task: Task, result: TaskResult, payload: bytes) -> None:
        """Record values or the error of a finished call, then let its arguments go."""
        ledger = self._ledger
        if result.status == 0:
            self.returns.finish(task, result.values, payload)
        else:
            failure = result.values[0]
            self.returns.fail(task, payload[: failure.size_bytes])
        if task.deps or task.nested:
            ledger.release_arguments(task)

    def on_pushed_back(self, sender: bytes, message: m.TasksPushedBack) -> None:
        """An executor returned tasks that it had not started."""
        lease = self.submission.by_worker.get(sender) if message.closed else None
        if lease is not None and lease.key is not None:
            lease.draining = True
        back: list[Task] = []
        for task_id, attempt in message.tasks:
            task = self.submission.find(sender, task_id)
            if task is None or task.attempt != attempt:
                continue
            self.submission.push_back(task)
            if task.cancelled:
                self.fail(task, self._cancelled(task))
            else:
                back.append(task)
        self._requeue(back)

    def _requeue(self, tasks: list[Task]) -> None:
        ready = [task for task in tasks if not task.deps or still_ready(self._ledger, task)]
        self.submission.requeue(ready)

    def values_lost(self, gone: Collection[bytes]) -> None:
        """Tasks that were ready for a worker take a value that is lost: they wait again."""
        for task in self.submission.take_out(gone):
            if still_ready(self._ledger, task):
                self.submission.enqueue(task)

    def on_worker_died(self, worker: bytes, why: str) -> None:
        """A worker is gone: its tasks are tried again, or fail."""
        lease = self.submission.forget_worker(worker)
        if lease is None or lease.actor_id:
            return
        lost = self.submission.end(lease)
        charged = len(lost) == 1 and not lease.killed
        again: list[Task] = []
        for task in lost:
            fatal = fatal_argument(self._ledger, task)
            if task.cancelled:
                self.fail(task, self._cancelled(task))
            elif fatal is not None:
                self.fail(task, fatal)
            elif charged and task.retries_left == 0:
                name = task.template.name
                failures = self._ledger.failures
                self.fail(task, failures.system("WorkerCrashedError", name, worker, why))
            else:
                task.attempt += 1
                task.alone = True
                task.retries_left -= 1 if charged and task.retries_left > 0 else 0
                again.append(task)
        self._requeue(again)

    # ---------------------------------------------------------------- cancelling and failing

    def cancel(self, task: Task, *, force: bool = False, recursive: bool = True) -> None:
        """Drop the task if it has not started; interrupt it, or kill its worker, if it has.

        Asked again, it interrupts again: user code may have caught what was raised before.
        """
        lease = task.lease
        if force and lease is not None and lease.worker != self._ledger.uid:
            task.cancelled = lease.killed = lease.draining = True
            message = m.KillWorker(lease.worker, "cancelled", lease.lease_id)
            self._ledger.out.send(self._ledger.node, message)
            return
        again, task.cancelled = task.cancelled, True
        if lease is not None:
            recall = m.RecallTasks((task.task_id,), cancel=True, recursive=recursive)
            self._ledger.out.send(lease.worker, recall)
        elif not again:  # queued, or it waits for arguments, or these came a moment ago
            if not task.waiting_on:
                self.submission.remove(task)
            self.fail(task, self._cancelled(task))

    def _cancelled(self, task: Task) -> bytes:
        return self._ledger.failures.system("TaskCancelledError", task.template.name)

    def fail(self, task: Task, failure: bytes) -> None:
        """The call will not run (again): its returns fail and its arguments are let go."""
        self.returns.fail(task, failure)
        self._ledger.release_arguments(task)

    # ---------------------------------------------------------------- pushing

    def spec(
        self, task: Task, function: bytes, payload: list[bytes], sequence: int = 0
    ) -> TaskSpec:
        """Describe the call for its executor; appends its bytes to ``payload``."""
        args = task.args
        deps: tuple[Dep, ...] = ()
        if type(args) is bytes:
            size = len(args)
            payload.append(args)
        else:
            size = 0
            assert isinstance(args, Stored)
            deps = (Dep(-1, args),)
        if task.deps:
            deps += self._deps(task, payload)
        return TaskSpec(
            task.task_id,
            task.attempt,
            function,
            size,
            task.encoding,
            task.num_returns,
            deps,
            task.depth,
            sequence,
            task.trace,
            task.template.name if task.template.function_name else "",
        )

    def _deps(self, task: Task, payload: list[bytes]) -> tuple[Dep, ...]:
        rows = self._ledger.objects.rows
        deps: list[Dep] = []
        for where, object_id, _ in task.deps:
            row = rows[object_id]
            value = row.value
            if row.state == INLINE:
                assert isinstance(value, bytes)
                payload.append(value)
                deps.append(Dep(where, Inline(len(value), row.encoding)))
            else:
                assert row.state != FAILED
                deps.append(Dep(where, stored_value(self._ledger, row)))
        return tuple(deps)

    def push(self, lease: Lease, tasks: list[Task]) -> None:
        """Send tasks to a leased worker, with the functions it does not know yet."""
        payload: list[bytes] = []
        functions: tuple[FunctionDef, ...] = ()
        new = self.submission.to_ship(lease.worker, tasks)
        if new:
            functions = tuple(self.define(task, payload) for task in new)
        specs = tuple([self.spec(task, task.template.function_id, payload) for task in tasks])
        message = m.PushTasks(
            self._ledger.address, lease.lease_id, lease.bind, functions, specs
        )
        self._ledger.out.send(lease.worker, message, payload)

    @staticmethod
    def define(task: Task, payload: list[bytes]) -> FunctionDef:
        """Describe a function's code for a worker; appends it to ``payload``."""
        template = task.template
        payload.append(template.code)
        name = template.function_name or template.name
        return FunctionDef(template.function_id, name, len(template.code))

    def settle(self, now: int) -> None:
        """Look at every key that something happened to: push, ask, cancel, return."""
        submission = self.submission
        if submission.hurried:
            submission.start_clocks(now)
        while submission.dirty:
            keys = submission.dirty[:]
            submission.dirty.clear()
            for key in keys:
                key.dirty = False
                self._settle_key(key, now)

    def _settle_key(self, key: Key, now: int) -> None:
        submission = self.submission
        for lease, tasks in submission.fill(key, now):
            self.push(lease, tasks)
        for lease in self.submission.nested(key):
            self._settle_nested(lease, now)
        if key.queue:
            for _ in range(submission.wanted(key)):
                self._request(key)
        elif key.requests:
            for lease in list(key.requests.values()):
                submission.end(lease)
                self._ledger.out.send(self._ledger.node, m.CancelLease(lease.lease_id))
        for lease in list(key.leases.values()):
            if lease.draining and not lease.in_flight:
                self.give_back(lease)
        if not (key.queue or key.leases or key.requests):
            submission.forget(key)

    def _settle_nested(self, lease: Lease, now: int) -> None:
        """We are lent to ourselves: one task at a time, or the lease goes back."""
        task = None if lease.in_flight else self.stack.fill(lease, now)
        if task is not None:
            self.push(lease, [task])
        elif not lease.in_flight:
            self.give_back(lease)

    def _request(self, key: Key) -> None:
        lease = self.submission.new_lease(key)
        message = m.RequestLease(
            lease.lease_id,
            key.demand,
            key.depth,
            len(key.queue),
            key.queue[0].template.name,
        )
        self._ledger.out.send(self._ledger.node, message)

    def give_back(self, lease: Lease) -> None:
        """Return an idle lease to its node."""
        self.submission.end(lease)
        self._return(lease.lease_id, "done")

    def _return(self, lease_id: int, reason: str) -> None:
        self._ledger.out.send(self._ledger.node, m.ReturnLease(lease_id, reason))

    def _recall(self, lease: Lease) -> None:
        queued = tuple(lease.in_flight)[1:]
        if queued:
            lease.recalled = True
            self._ledger.out.send(lease.worker, m.RecallTasks(queued))

    def woken(self, now: int) -> None:
        """Take back what is stuck behind long work; return what has been idle for long."""
        for task, why in self.submission.overdue(now):
            self._fail_unschedulable(task, why)
        for lease in self.submission.stuck(now):
            self._recall(lease)
        for lease in self.submission.lingering(now):
            self.give_back(lease)
