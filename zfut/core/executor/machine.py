"""The executor: runs what it is pushed, answers the owner, gives back what it cannot start.

It stands on the owner of its own process: a running call borrows into that table, and its answer
waits until what it keeps is registered (see ``zfut.core.owner.borrowing``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from zfut.core import events as e
from zfut.core.effects import Close, EndProcess, InterruptCall, ReleaseInstance
from zfut.core.executor.aside import Aside
from zfut.core.executor.early import Early, names_task, sender_of
from zfut.core.executor.inbox import CREATE, METHOD, TASK, Call, Inbox
from zfut.core.owner.machine import OwnerMachine
from zfut.exits import EXIT_CLEAN, EXIT_OUT_OF_SCOPE, MAX_CALLS, ORPHANED
from zfut.wire import messages as m
from zfut.wire.specs import (
    CANCELLED,
    RAISED,
    Address,
    Failed,
    Stored,
    TaskResult,
    Value,
)

Returns: TypeAlias = tuple[tuple[tuple[bytes, Address], ...], ...]
"""For each value of an answer, the references in it."""

Held: TypeAlias = tuple[bytes, TaskResult, Sequence[bytes], list[bytes]]
"""An answer that waits: to whom, its payload, and what is kept for it."""

BLOCK_DELAY_NS = 1_000_000
"""A wait shorter than this keeps its CPU: most actor calls are answered sooner."""

RUNS = -1
"""In place of a request: something runs on top of the calls that wait."""

LINGERS = ("idle", "out of scope", MAX_CALLS, ORPHANED)
"""Reasons to end that wait until nobody uses this process's objects."""

ORPHANED_WHY = "the program, or task, that this process worked for has ended"


class ExecutorMachine:
    """Pure, like the owner; ``settle`` sends the answers that have gathered."""

    def __init__(self, owner: OwnerMachine) -> None:
        self._owner = owner
        self._out = owner.ledger.out
        self.inbox = Inbox()
        self.aside = Aside(self.inbox.running)
        self.bind = 0
        self.lease_owner = b""
        self.lease_id = 0
        self.actor_id = b""
        self.actor_name = ""
        self.incarnation = 0
        self.max_concurrency = 1
        self.retiring = False  # it takes no more, and waits until its lease has ended
        self.exiting = ""
        self._ended = False  # the world was asked to end this process
        self._lingers = False
        self.blocked_at = 0
        self.blocked = False
        self.told: int | None = None  # the last Blocked that still holds
        self._early: list[tuple[Early, bytes]] = []
        self.held: dict[bytes, Held] = {}
        self._answers: dict[bytes, tuple[list[TaskResult], list[bytes]]] = {}
        self._handlers: dict[type, Callable[[e.Received], None]] = {
            m.PushTasks: self._on_push_tasks,
            m.PushCalls: self._on_push_calls,
            m.CreateActor: self._on_create_actor,
            m.RecallTasks: self._on_recall,
            m.Bind: self._on_bind,
            m.ExitActor: self._on_exit_actor,
            m.Exit: self._on_exit,
        }

    def takes(self, message: m.Message) -> bool:
        """Whether this message is for the executor, not the owner beside it."""
        return type(message) in self._handlers

    def handle(self, event: e.Received) -> None:
        """Take a message from an owner or from the node."""
        self._handlers[type(event.message)](event)

    # ---------------------------------------------------------------- work comes

    def _on_push_tasks(self, event: e.Received) -> None:
        message = event.message
        assert isinstance(message, m.PushTasks)
        if message.bind > self.bind:
            self._early.append((message, event.payload))
            return
        if message.bind < self.bind or self.retiring or self.exiting:
            self._send_back(event.sender, [(t.task_id, t.attempt) for t in message.tasks])
            self.inbox.learn(message.functions, event.payload)
            return
        offset = self.inbox.learn(message.functions, event.payload)
        owner = message.owner
        calls = self.inbox.unpack(TASK, owner, message.tasks, event.payload, offset)
        own = self._owner.ledger.uid
        if owner.uid == own and (self.lease_owner, self.lease_id) != (own, message.lease_id):
            self._take_own(calls)
            return
        self._owner.ledger.watch(owner.uid)
        self.inbox.queue.extend(calls)
        if self.blocked:
            self.push_back()

    def _take_own(self, calls: list[Call]) -> None:
        """The node lent us to ourselves: run these on top of the call that waits for them."""
        self.inbox.nested.extend(calls)
        if not (self.blocked and self._owner.tasks.stack.is_for_top()):
            self.return_nested()

    def return_nested(self) -> None:
        """What was to run on top of a call that waits has not begun, and that wait is over."""
        unstarted, self.inbox.nested = self.inbox.nested, deque()
        if unstarted:
            own = self._owner.ledger.uid
            self._send_back(own, [(call.spec.task_id, call.spec.attempt) for call in unstarted])

    def _on_create_actor(self, event: e.Received) -> None:
        message = event.message
        assert isinstance(message, m.CreateActor)
        if message.bind > self.bind:
            self._early.append((message, event.payload))
            return
        offset = self.inbox.learn(message.functions, event.payload)
        self.actor_id = message.actor_id
        self.actor_name = message.name
        self.incarnation = message.incarnation
        self.max_concurrency = message.max_concurrency
        owner = message.owner
        self._owner.ledger.watch(owner.uid)
        self.inbox.queue.extend(
            self.inbox.unpack(CREATE, owner, (message.task,), event.payload, offset)
        )
        self._replay_early()

    def _on_push_calls(self, event: e.Received) -> None:
        message = event.message
        assert isinstance(message, m.PushCalls)
        if not self.actor_id:
            self._early.append((message, event.payload))
            return
        owner = message.owner
        calls = self.inbox.unpack(METHOD, owner, message.calls, event.payload, 0)
        self._owner.ledger.watch(owner.uid)
        if message.actor_id != self.actor_id or self.exiting:
            for call in calls:
                self._refuse(call)
            return
        self.inbox.queue.extend(calls)

    def _refuse(self, call: Call) -> None:
        failed = self.exiting == "constructor failed"
        why = self.exiting if failed else "out of scope"
        if failed and self.incarnation:
            why = "restart failed"
        failure = self._owner.ledger.failures.system(
            "ActorDiedError", self.actor_id, self.actor_name, why, "", b""
        )
        spec = call.spec
        result = TaskResult(spec.task_id, spec.attempt, RAISED, (Failed(len(failure)),))
        self._answer(call.owner.uid, result, (failure,))

    def _on_bind(self, event: e.Received) -> None:
        message = event.message
        assert isinstance(message, m.Bind)
        if message.bind <= self.bind:
            return
        self.bind = message.bind
        self.lease_owner = message.owner
        self.lease_id = message.lease_id
        self._replay_early()

    def _replay_early(self) -> None:
        early, self._early = self._early, []
        for message, given in early:
            if sender_of(message, given) in self._owner.ledger.dead:
                continue
            if isinstance(message, m.RecallTasks):
                self.handle(e.Received(given, message))
            else:
                self.handle(e.Received(message.owner.uid, message, given))

    # ---------------------------------------------------------------- work goes

    def take(self) -> Call | None:
        """Start the next call, on the thread that asks."""
        return self.inbox.take()

    def _on_recall(self, event: e.Received) -> None:
        message = event.message
        assert isinstance(message, m.RecallTasks)
        if any(names_task(early, message.tasks) for early, _ in self._early):
            self._early.append((message, event.sender))
        back = self.inbox.recall(message.tasks)
        if message.cancel:
            self._interrupt(message)
        if back:
            self._send_back(
                event.sender, [(call.spec.task_id, call.spec.attempt) for call in back]
            )

    def _interrupt(self, message: m.RecallTasks) -> None:
        for task_id in message.tasks:
            if task_id not in self.inbox.running:
                continue
            if message.recursive:
                self._owner.cancel_children(task_id)
            self._out.add(InterruptCall(task_id))

    def push_back(self) -> None:
        """The running task waits: what is queued behind it goes elsewhere."""
        tasks = [call for call in self.inbox.queue if call.kind == TASK]
        if not tasks:
            return
        self.inbox.recall(tuple(call.spec.task_id for call in tasks))
        by_owner: dict[bytes, list[tuple[bytes, int]]] = {}
        for call in tasks:
            entry = (call.spec.task_id, call.spec.attempt)
            by_owner.setdefault(call.owner.uid, []).append(entry)
        for uid, entries in by_owner.items():
            self._send_back(uid, entries)

    def _send_back(self, to: bytes, tasks: list[tuple[bytes, int]]) -> None:
        closed = self.retiring or bool(self.exiting)
        self._out.send(to, m.TasksPushedBack(tuple(tasks), closed))

    def retire(self) -> None:
        """A function has had its ``max_calls`` here: take no more, and end in peace.

        Not before the node says so: our owner may be sending another task, and would take the
        end of this process for a crash.
        """
        if not (self.retiring or self.exiting):
            self.retiring = True
            self._out.send(self._owner.ledger.node, m.Retire())
            self.push_back()

    # ---------------------------------------------------------------- waiting inside a task

    def block(self, now: int, *, at_once: bool) -> None:
        """The running task waits in get: its CPU may be used once it has waited a little."""
        self.blocked_at = now if at_once else now + BLOCK_DELAY_NS
        if at_once:
            self._declare_blocked()

    def _declare_blocked(self) -> None:
        self.blocked = True
        self.told = None
        self.push_back()

    def unblock(self, now: int) -> None:
        """The running task goes on."""
        self.blocked_at = 0
        if self.aside.waits:
            self.aside.restart(now)
        if self.blocked:
            self.blocked = self._owner.tasks.stack.open = False
            self._out.send(self._owner.ledger.node, m.Unblocked())

    def look_aside(self, now: int) -> None:
        """Take the CPU back if neither the task's own thread nor anything else here waits."""
        self.aside.look(now)
        if self.blocked and not (self.aside.lends or self._owner.tasks.stack.waits):
            self.unblock(now)

    def look_at_stack(self) -> None:
        """Note whether the call on top waits, and nothing else is about to run here."""
        stack = self._owner.tasks.stack
        running = self.inbox.running
        waits = self.blocked and stack.height() == len(running)
        stack.open = waits and not stack.on_its_way(running)

    def tell_node(self) -> None:
        """Say whether the call on top waits, and which request would let it go on if lent to us.

        A request that would do no more is not taken back: at worst we are lent to ourselves, and
        decline.
        """
        if not self.blocked:
            return
        stack = self._owner.tasks.stack
        request = stack.request() if stack.open else self._request_aside()
        holds = request == 0 and self.told not in (None, RUNS)
        if request != self.told and not holds:
            self.told = request
            message = m.Blocked(max(request, 0), runs=request == RUNS)
            self._out.send(self._owner.ledger.node, message)

    def _request_aside(self) -> int:
        """Nothing may run on top: 0 if what runs here waits all the same, else RUNS."""
        on_its_way = self._owner.tasks.stack.on_its_way(self.inbox.running)
        return 0 if self.aside.lends and not on_its_way else RUNS

    def woken(self, now: int) -> None:
        """A wait has lasted long enough to give its CPU away."""
        lends = self.aside.woken(now)
        if self.blocked_at and now >= self.blocked_at:
            lends = True
        if lends and not self.blocked:
            self._declare_blocked()

    def wake_at(self) -> int | None:
        """When a wait will have lasted long enough."""
        aside = self.aside.due_at
        if not self.blocked_at or self.blocked:
            return aside or None
        return min(self.blocked_at, aside) if aside else self.blocked_at

    # ---------------------------------------------------------------- answers

    def on_returned(self, event: e.Returned) -> None:
        """User code ended: answer, once everything it keeps is protected."""
        result = event.result
        call = self.inbox.finish(result.task_id)
        if call is None:
            return
        caller = call.owner.uid
        borrowing = self._owner.borrowing
        if self._owner.mourning.orphans:
            self._owner.mourning.ended(result.task_id)
        if call.kind == CREATE and result.status != 0:
            self.exiting = "constructor failed"  # this process ends, and keeps nothing
            self._owner.ledger.covers.take(result.task_id)
            self._answer(caller, result, event.payload)
            return
        if event.refs and caller not in self._owner.ledger.dead:
            result = self._hand_over(result, event, caller)
        callers: list[bytes] = []
        if self._owner.ledger.uncovered:
            borrowing.covers_ended()
        if result.task_id in self._owner.ledger.covers.held:
            callers = borrowing.end_call(result.task_id, caller)
        if event.refs:  # of the caller's own, it holds only what it gave to this call
            given = dict.fromkeys(callers)
            named = [name for refs in event.refs for name, _ in refs if name.startswith(caller)]
            borrowing.secure([name for name in named if name not in given], result.task_id)
        if borrowing.waits_for(result.task_id):
            kept = self._keep_until_answered(event.refs, callers)
            borrowing.secure(callers, result.task_id)
            self.held[result.task_id] = (caller, result, event.payload, kept)
        else:
            retained = borrowing.claim(callers) if callers else ()
            answer = replace(result, retained=retained) if retained else result
            self._answer(caller, answer, event.payload)

    def _hand_over(self, result: TaskResult, event: e.Returned, caller: bytes) -> TaskResult:
        values: list[Value] = []
        for value, refs in zip(result.values, event.refs, strict=True):
            infos = tuple(
                self._owner.borrowing.hand_over(object_id, owner, caller, result.task_id)
                for object_id, owner in refs
            )
            values.append(replace(value, refs=infos) if infos else value)
        return TaskResult(
            result.task_id, result.attempt, result.status, tuple(values), result.run_ns
        )

    def _keep_until_answered(self, refs: Returns, callers: list[bytes]) -> list[bytes]:
        """A held answer names objects of others: our registrations last until it leaves.

        Those of the caller that the call itself brought are held by the caller.
        """
        rows, own = self._owner.rows, self._owner.ledger.uid
        named = [name for found in refs for name, owner in found if owner.uid != own]
        given = dict.fromkeys(callers)
        kept = [name for name in named if name in rows and name not in given]
        for name in kept:
            rows[name].local += 1
        return kept

    def release_held(self) -> None:
        """Registrations were acknowledged: answers that waited for them go."""
        settled, self._owner.borrowing.settled = self._owner.borrowing.settled, []
        for task_id in settled:
            held = self.held.pop(task_id, None)
            if held is not None:
                caller, result, payload, kept = held
                self._answer(caller, result, payload)
                for object_id in kept:
                    self._owner.ledger.drop(object_id)

    def _answer(self, caller: bytes, result: TaskResult, payload: Sequence[bytes]) -> None:
        if caller in self._owner.ledger.dead:
            for value in result.values:
                self._owner.ledger.discard(value)
            return
        for value in result.values:
            if type(value) is Stored:
                self._owner.ledger.memory.hand_over(value.offset)
        answers = self._answers.get(caller)
        if answers is None:
            answers = self._answers[caller] = ([], [])
        answers[0].append(result)
        answers[1].extend(payload)

    def cancelled(self, call: Call) -> None:
        """The call was dropped before it began."""
        spec = call.spec
        result = TaskResult(spec.task_id, spec.attempt, CANCELLED, ())
        self._answer(call.owner.uid, result, ())

    # ---------------------------------------------------------------- the end

    def _on_exit_actor(self, event: e.Received) -> None:
        message = event.message
        assert isinstance(message, m.ExitActor)
        if message.actor_id == self.actor_id or not self.actor_id:
            self.exiting = message.why

    def _on_exit(self, event: e.Received) -> None:
        message = event.message
        assert isinstance(message, m.Exit)
        self.exiting = message.why
        if self.exiting == ORPHANED:
            self.inbox.drop_owner(self.lease_owner)
            for task_id in self.inbox.running:
                self._owner.cancel_children(task_id, spare_used=True)
                self._out.add(InterruptCall(task_id))

    def owner_died(self, uid: bytes) -> None:
        """Nobody waits for what this owner asked for, and nobody protects what it lent us."""
        self.inbox.drop_owner(uid)
        self._early = [early for early in self._early if sender_of(*early) != uid]
        for task_id, call in self.inbox.running.items():
            if call.owner.uid == uid:
                values = [dep.value for dep, _ in call.deps if isinstance(dep.value, Stored)]
                self._owner.mourning.adopt(task_id, values, uid)

    def settle(self) -> None:
        """Send the answers that gathered; end if asked to, when nothing is left to do."""
        if self._owner.borrowing.settled:
            self.release_held()
        if self._answers:
            for caller, (results, payload) in self._answers.items():
                parts = [part for part in payload if part]
                self._out.send(caller, m.TasksFinished(tuple(results)), parts)
            self._answers.clear()
        if self._ended or not self.exiting:
            return
        if not (self.inbox.queue or self.inbox.running or self.held):
            if self.exiting in LINGERS and self._is_needed():
                self._linger()
                return
            code = EXIT_OUT_OF_SCOPE if self.exiting == "out of scope" else EXIT_CLEAN
            self._out.add(EndProcess(code, self.exiting))
            self._ended = True

    def _linger(self) -> None:
        """Nothing runs here any more: the node need not end, nor wait for, this process.

        What an actor's instance keeps may be what keeps this process needed: it goes now.
        """
        if not self._lingers:
            self._lingers = True
            if self.exiting == ORPHANED:
                self._out.add(Close(ORPHANED_WHY))
            if self.actor_id:
                self._out.add(ReleaseInstance())
            self._out.send(self._owner.ledger.node, m.Retire(lingers=True))

    def callers(self) -> Iterator[bytes]:
        """Yield who asked for what is here, and who wrote what that reads."""
        yield from self.inbox.named()
        yield from (sender_of(*early) for early in self._early)
        yield from (caller for caller, *_ in self.held.values())
        yield from self._answers

    def _is_needed(self) -> bool:
        """Whether others use what this process owns, or what it has called is not done."""
        if self._owner.mourning.held:
            return True  # it may be used by somebody who has not said so yet
        if self._owner.ledger.backlog.open_calls and self.exiting != ORPHANED:
            return True
        return any(row.borrowers or row.lineage_tokens for row in self._owner.rows.values())

    def check(self) -> None:
        """Assert the invariants."""
        self.inbox.check()
        self.aside.check()
