"""Random programs: what user code does in a simulated cluster.

A call's plan has a number that seeds what it does, so a second attempt does the same.  Its
result is that number, whatever happens on the way: errors met inside are looked at and passed
over.
"""

# ruff: noqa: PLR2004, S311  a program is made of chances, and they come from a seed
from __future__ import annotations

from random import Random

import msgspec

from zfut.core import events as e
from zfut.core.executor.inbox import CREATE, METHOD, TASK, Call
from zfut.sim.process import Code, Process, Thread, Waits
from zfut.sim.scope import Plans, Scope
from zfut.sim.values import (
    PICKLE,
    Chances,
    ExitWanted,
    Handle,
    Opened,
    Plan,
    Symbol,
    UserError,
    pack,
    raised,
    unpack,
    unpack_plan,
)
from zfut.wire.specs import (
    BEREFT,
    OK,
    RAISED,
    RETRIABLE,
    Failed,
    Inline,
    Stored,
    TaskResult,
    Value,
)

EXIT_ACTOR = 222


class Workload:
    """Plans programs and runs them."""

    def __init__(self, rng: Random, chances: Chances, seed: int = 0) -> None:
        self._rng = rng
        self.chances = chances
        self._plans = Plans(chances, seed)
        self._opens = Random(f"opens {seed}")

    def program(self, thread: Thread) -> Code:
        """A driver's program: submits, waits, drops everything, ends."""
        scope = Scope(self._plans, thread, Random(self._rng.random()), self.chances.budget)
        for _ in range(self.chances.ops * 2):
            yield from scope.one_thing()
        yield from scope.get_all()
        scope.drop_all()

    # ---------------------------------------------------------------- what a worker runs

    def run_call(self, thread: Thread, call: Call) -> Code:  # noqa: PLR0915  one call, from its arguments to its answer
        """Run one call as ``zfut.actors.user_code`` does: open, run, answer, let go."""
        process = thread.process
        spec = call.spec
        began = process.cluster.now
        held: list[Opened] = []
        views: list[Handle] = []
        payload: list[bytes] = []
        scope: Scope | None = None
        try:
            plan = yield from self._open(thread, call, held)
            views += [opened.view for opened in held if opened.view is not None]
            rng = Random(plan.number)
            scope = Scope(self._plans, thread, rng, plan.budget)
            scope.take(held)
            thread.in_code = True
            yield plan.slow_ns
            values, refs = yield from self._body(scope, call, plan, payload)
            thread.in_code = False
            if rng.random() < 0.5:
                scope.drop_all(but=refs)
            process.keep_arguments(views, spec.task_id)
            took = process.cluster.now - began
            result = TaskResult(spec.task_id, spec.attempt, OK, values, took)
            process.post(e.Returned(result, tuple(payload), refs))
        except UserError as error:
            thread.in_code = False
            process.keep_arguments(views, spec.task_id)
            failure = raised(error.failure[1])
            if error.failure[0] not in ("Raised", "Flaky"):
                failure = pack_failure(error)
            values = (Failed(len(failure)),)
            status = self._status(process, call, error)
            result = TaskResult(spec.task_id, spec.attempt, status, values)
            process.post(e.Returned(result, (failure,)))
        except ExitWanted as wanted:
            thread.in_code = False
            process.keep_arguments(views, spec.task_id)
            self._exits(process, call, wanted.code)
        if self.chances.max_calls and call.kind == TASK:
            self._count(process, spec.function)
        if scope is not None:
            scope.drop_all()
            return
        for opened in held:  # an argument was gone before user code began
            opened.drop()

    def _count(self, process: Process, function_id: bytes) -> None:
        """The worker ends when a function has had its ``max_calls``."""
        counted = process.counted[function_id] = process.counted.get(function_id, 0) + 1
        if counted >= self.chances.max_calls:
            process.post(e.Retired())

    @staticmethod
    def _status(process: Process, call: Call, error: UserError) -> int:
        if call.kind == TASK and error.is_bereft():
            ghost = process.cluster.ghost
            told = ghost.calls[call.spec.task_id]
            told.retries -= 1 if told.retries > 0 else 0  # it may use up a try, as a crash does
            ghost.bereft = max(ghost.bereft, call.spec.attempt + 1)
            return BEREFT
        return RETRIABLE if error.failure[0] == "Flaky" else RAISED

    def _fail_at_first(self, process: Process, call: Call, plan: Plan) -> None:
        """Some tasks raise what their options say to try again; see ``retry_exceptions``."""
        draw = Random(f"flaky {plan.number}")
        if draw.random() >= self.chances.flaky or call.spec.attempt > draw.randrange(2):
            return
        ghost = process.cluster.ghost
        told = ghost.calls[call.spec.task_id]
        told.retries -= 1 if told.retries > 0 else 0  # it uses up a try, as a crash does
        ghost.exits[plan.number] = None
        raise UserError(["Flaky", plan.number])

    def _exits(self, process: Process, call: Call, code: int) -> None:
        ghost = process.cluster.ghost
        ghost.exit_wanted[process.uid] = code
        number = ghost.calls[call.spec.task_id].plan.number
        ghost.exits[number] = None
        failure = raised(number)
        if code == EXIT_ACTOR:
            actor_id = process.worker.executor.actor_id
            ghost.actors[actor_id].left = True
            failures = process.owner.ledger.failures
            failure = failures.system("ActorDiedError", actor_id, "", "exit_actor", "", b"")
        spec = call.spec
        values = (Failed(len(failure)),)
        result = TaskResult(spec.task_id, spec.attempt, RAISED, values)
        process.post(e.Returned(result, (failure,)))

    def _open(self, thread: Thread, call: Call, held: list[Opened]) -> Waits:
        process, spec = thread.process, call.spec
        yield 1
        yield from self._dawdle(thread)
        deps = call.deps
        cover = spec.task_id
        if deps and deps[0][0].where == -1:
            stored = deps[0][0].value
            assert isinstance(stored, Stored)
            opened = process.read_argument(stored, cover)
            plan = process.cluster.ghost.plans[opened.number]
            held.append(opened)
            deps = deps[1:]
        else:
            plan = unpack_plan(call.args)
            held.append(_open_refs(process, plan, cover, call.owner.uid))
        for (dep, data), (object_id, expected) in zip(deps, plan.expects, strict=True):
            value = dep.value
            yield from self._dawdle(thread)
            if isinstance(value, Stored):
                opened = process.read_argument(value, cover)
            else:
                opened = process.open(unpack(data), cover, object_id[:16])
            for handle in opened.handles:
                process.cluster.ghost.given(process.uid, handle.object_id, call.owner.uid)
            assert opened.number == expected, (opened.number, expected)
            held.append(opened)
        process.opened(call)
        return plan

    def _dawdle(self, thread: Thread) -> Waits:
        """To open an argument may take long, and is interrupted as user code is."""
        rng = self._opens
        if self.chances.opens and rng.random() < self.chances.opens:
            thread.in_code = True
            yield 1 + int(rng.random() * self.chances.slow_ns)
            thread.in_code = False

    def _body(self, scope: Scope, call: Call, plan: Plan, payload: list[bytes]) -> Waits:
        process = scope.process
        if call.kind == METHOD:
            scope.keep_some()
        for _ in range(scope.rng.randrange(1 + min(plan.budget, self.chances.ops))):
            yield from scope.one_thing()
        if scope.rng.random() < self.chances.exits and call.kind != CREATE:
            raise ExitWanted(EXIT_ACTOR if call.kind == METHOD else 3)
        if plan.raises:
            raise UserError(["Raised", plan.number])
        if self.chances.flaky and call.kind == TASK:
            self._fail_at_first(process, call, plan)
        values: list[Value] = []
        refs = []
        if call.kind == CREATE:
            scope.keep_some()
            return (), ()
        for index, size in enumerate(plan.sizes):
            handles = scope.pick_some(2)
            data = pack(plan.number + index, tuple(handle.ref for handle in handles))
            if size <= process.cluster.config.inline_max_bytes:
                values.append(Inline(len(data), PICKLE))
                payload.append(data)
            else:
                object_id = call.spec.task_id + (index + 1).to_bytes(4, "big")
                try:
                    stored = yield from process.write(
                        data, size, object_id, call.owner, call.spec.attempt
                    )
                except UserError:
                    process.unwrite(values)
                    raise
                values.append(stored)
            refs.append(tuple((handle.object_id, handle.owner) for handle in handles))
        return tuple(values), tuple(refs) if any(refs) else ()


def pack_failure(error: UserError) -> bytes:
    """Return the failure of a call that let an error of the framework through."""
    return msgspec.msgpack.encode(error.failure)


def _open_refs(process: Process, plan: Plan, cover: bytes, giver: bytes) -> Opened:
    return process.open(Symbol(plan.number, plan.refs), cover, giver)
