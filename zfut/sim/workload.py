"""Random programs: what user code does in a simulated cluster.

A call's plan has a number that seeds what it does, so a second attempt does the same.  Its result
is that number, whatever happens on the way: errors met inside are looked at and passed over.

So that no program waits for itself, a reference that an actor handed on is *risky*: whoever
waits for it gives up after a while, as does all code that runs in an actor.
"""

from __future__ import annotations

from random import Random

from zfut.core import events as e
from zfut.core.executor.inbox import CREATE, METHOD, Call
from zfut.core.owner.actors import handle_id
from zfut.core.owner.records import Creation, Task, Template
from zfut.ids import PUT_INDEX
from zfut.sim.process import Code, Process, Thread, Waits
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
    pack_plan,
    raised,
    unpack,
    unpack_plan,
)
from zfut.wire.specs import OK, RAISED, Address, Failed, Inline, Stored, TaskResult, Value

Refs = tuple[tuple[tuple[bytes, Address], ...], ...]

Expects = tuple[tuple[bytes, int], ...]

TIMEOUT_NS = 30_000_000
ONE_CPU = (("CPU", 10_000),)


class Workload:
    """Plans programs and runs them."""

    def __init__(self, rng: Random, chances: Chances) -> None:
        self._rng = rng
        self.chances = chances
        self._numbers = 0

    def program(self, thread: Thread) -> Code:
        """A driver's program: submits, waits, drops everything, ends."""
        self._numbers += 1
        scope = Scope(self, thread, Random(self._rng.random()), self.chances.budget)
        for _ in range(self.chances.ops * 2):
            yield from scope.one_thing()
        yield from scope.get_all()
        scope.drop_all()

    def new_number(self) -> int:
        """Name a call or a put."""
        self._numbers += 10
        return self._numbers

    # ---------------------------------------------------------------- what a worker runs

    def run_call(self, thread: Thread, call: Call) -> Code:
        """Run one call as ``zfut.actors.user_code`` does: open, run, answer, let go."""
        process = thread.process
        spec = call.spec
        began = process.cluster.now
        held: list[Opened] = []
        views: list[Handle] = []
        payload: list[bytes] = []
        try:
            plan = yield from self._open(thread, call, held)
            views += [opened.view for opened in held if opened.view is not None]
            rng = Random(plan.number)
            scope = Scope(self, thread, rng, plan.budget)
            scope.take(held)
            yield plan.slow_ns
            values, refs = yield from self._body(scope, call, plan, payload)
            if rng.random() < 0.5:
                scope.drop_all(but=refs)
            process.keep_arguments(views, spec.task_id)
            took = process.cluster.now - began
            result = TaskResult(spec.task_id, spec.attempt, OK, values, took)
            process.post(e.Returned(result, tuple(payload), refs))
        except UserError as error:
            process.keep_arguments(views, spec.task_id)
            failure = raised(error.failure[1])
            if error.failure[0] != "Raised":
                failure = pack_failure(error)
            values = (Failed(len(failure)),)
            result = TaskResult(spec.task_id, spec.attempt, RAISED, values)
            process.post(e.Returned(result, (failure,)))
        except ExitWanted as wanted:
            process.keep_arguments(views, spec.task_id)
            self._exits(process, call, wanted.code)
        scope.drop_all()

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
            if isinstance(value, Stored):
                opened = process.read_argument(value, cover)
            else:
                opened = process.open(unpack(data), cover, object_id[:16])
            for handle in opened.handles:
                process.cluster.ghost.given(process.uid, handle.object_id, call.owner.uid)
            assert opened.number == expected, (opened.number, expected)
            held.append(opened)
        return plan

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


EXIT_ACTOR = 222


def pack_failure(error: UserError) -> bytes:
    """Return the failure of a call that let an error of the framework through."""
    import msgspec  # noqa: PLC0415

    return msgspec.msgpack.encode(error.failure)


def _open_refs(process: Process, plan: Plan, cover: bytes, giver: bytes) -> Opened:
    return process.open(Symbol(plan.number, plan.refs), cover, giver)


class Scope:
    """The variables of one running call or program, and what it can do with them."""

    def __init__(self, workload: Workload, thread: Thread, rng: Random, budget: int) -> None:
        self.workload = workload
        self.chances = workload.chances
        self.thread = thread
        self.process = thread.process
        self.rng = rng
        self.budget = budget
        self.handles: list[Handle] = []
        self.opened: list[Opened] = []
        self.numbers: dict[bytes, int] = {}
        self.patient = not thread.actor_id and (thread.call is None or thread.call.kind != CREATE)

    # ---------------------------------------------------------------- variables

    def take(self, held: list[Opened]) -> None:
        """Arguments or a value that was read are now variables."""
        for opened in held:
            self.opened.append(opened)
            self.handles.extend(opened.handles)
            opened.handles = []

    def drop_all(self, but: Refs = ()) -> None:
        """The function returns; references in its result live until the answer is posted."""
        for opened in self.opened:
            opened.drop()
        returned = [object_id for inner in but for object_id, _ in inner]
        kept = [handle for handle in self.handles if handle.object_id in returned]
        for handle in self.handles:
            if handle not in kept:
                handle.drop()
        self.opened.clear()
        self.handles = kept

    def keep_some(self) -> None:
        """An actor keeps, or lets go of, some of what it has."""
        kept = self.process.kept
        if kept and self.rng.random() < 0.3:
            kept.pop(self.rng.randrange(len(kept))).drop()
        if kept and self.rng.random() < 0.3:
            again = kept.pop(self.rng.randrange(len(kept)))
            self.take([again])
        if self.opened and self.rng.random() < 0.4:
            kept.append(self.opened.pop())
        if self.handles and self.rng.random() < 0.5:
            at = self.rng.randrange(len(self.handles))
            kept.append(Opened(0, [self.handles.pop(at)]))

    def pick(self, *, actor: bool = False) -> Handle | None:
        """Return one of the references."""
        found = [handle for handle in self.handles if handle.is_actor == actor]
        return self.rng.choice(found) if found else None

    def pick_some(self, most: int) -> list[Handle]:
        """Return a few of the references, of any kind."""
        if not self.handles or self.rng.random() < 0.5:
            return []
        count = min(len(self.handles), 1 + self.rng.randrange(most))
        return self.rng.sample(self.handles, count)

    # ---------------------------------------------------------------- doing something

    def one_thing(self) -> Waits:
        """Do one thing that user code does."""
        if self.rng.random() < self.process.cluster.setting.preempt:
            yield 1 + int(self.rng.random() * 100_000)
        draw = self.rng.random()
        if draw < 0.35:
            yield from self.submit()
        elif draw < 0.55:
            yield from self.get()
        elif draw < 0.63:
            yield from self.wait()
        elif draw < 0.73:
            yield from self.put()
        elif draw < 0.83:
            self._drop_one()
        elif draw < 0.83 + self.chances.actors:
            yield from self.actor()
        elif draw < 0.93 + self.chances.cancels:
            self._cancel()
        elif draw < 0.93 + self.chances.cancels + self.chances.kills:
            self._kill()

    def _drop_one(self) -> None:
        if self.handles:
            self.handles.pop(self.rng.randrange(len(self.handles))).drop()
        elif self.opened:
            self.opened.pop().drop()

    def _cancel(self) -> None:
        handle = self.pick()
        if handle is not None:
            self.process.cluster.ghost.cancelled(handle.object_id)
            self.process.post(e.Cancelled(handle.object_id))

    def _kill(self) -> None:
        handle = self.pick(actor=True)
        if handle is not None:
            self.process.cluster.ghost.actors[handle.object_id[:24]].killed = True
            self.process.post(e.ActorKilled(handle.object_id[:24], handle.owner))

    def _size(self) -> int:
        if self.rng.random() >= self.chances.stored:
            return 0
        return 102_401 + self.rng.randrange(200_000)

    def put(self) -> Waits:
        """Put a small or large value, with references in it or not."""
        number = self.workload.new_number()
        handles = self.pick_some(2)
        try:
            handle = yield from self.process.put(number, self._size(), handles)
        except UserError as error:
            if error.failure[0] != "StoreFull":
                raise
            return
        handle.risky = any(inner.risky for inner in handles)
        self.handles.append(handle)

    # ---------------------------------------------------------------- waiting

    def get(self) -> Waits:
        """Get one or some of the references."""
        found = [handle for handle in self.handles if not handle.is_actor]
        if not found:
            return
        several = self.rng.random() < 0.3
        chosen = self.rng.sample(found, 1 + self.rng.randrange(len(found))) if several else []
        chosen = _different(chosen) or [self.rng.choice(found)]
        yield from self._get(chosen, self._patience(chosen))

    def _patience(self, handles: list[Handle]) -> int | None:
        risky = not self.patient or any(handle.risky for handle in handles)
        if risky or self.rng.random() < 0.1:
            return self.rng.choice((0, 100_000, TIMEOUT_NS))
        return None

    def _get(self, handles: list[Handle], timeout_ns: int | None) -> Waits:
        try:
            opened = yield from self.process.get(self.thread, handles, timeout_ns)
        except UserError:
            return
        for one, handle in zip(opened, handles, strict=True):
            for inner in one.handles:
                inner.risky = inner.risky or handle.risky
        self.take(opened)

    def get_all(self) -> Waits:
        """Get everything, one by one."""
        for handle in list(self.handles):
            if not handle.is_actor:
                yield from self._get([handle], None if not handle.risky else TIMEOUT_NS)

    def wait(self) -> Waits:
        """Wait for some of the references."""
        found = _different([handle for handle in self.handles if not handle.is_actor])
        if not found:
            return
        need = 1 + self.rng.randrange(len(found))
        timeout_ns = self._patience(found)
        yield from self.process.wait(self.thread, found, need, timeout_ns)

    # ---------------------------------------------------------------- submitting

    def _plan(self, kind: str, expects: Expects, nested: list[Handle]) -> Plan:
        rng = self.rng
        share = max(0, self.budget) // 3 if self.thread.depth < self.chances.depth else 0
        count = 0 if kind == "create" else (1, 1, 1, 2, 0)[rng.randrange(5)]
        slow = rng.random() < self.chances.slow
        plan = Plan(
            self.workload.new_number(),
            kind,
            rng.random() < self.chances.raises,
            tuple(self._size() for _ in range(count)),
            share,
            1 + int(rng.random() * (self.chances.slow_ns if slow else 300_000)),
            expects,
            tuple(handle.ref for handle in nested),
        )
        self.process.cluster.ghost.plan(plan)
        return plan

    def _task(self, kind: str) -> Waits:
        """Pack a call's arguments; yields while they wait for room."""
        rng, process = self.rng, self.process
        nested = self.pick_some(3)
        found = [handle for handle in self.handles if not handle.is_actor]
        deps = rng.sample(found, min(len(found), rng.randrange(3))) if rng.random() < 0.5 else []
        expects = tuple((handle.object_id, self._expected(handle)) for handle in deps)
        plan = self._plan(kind, expects, nested)
        template = self._template(plan, kind)
        data, size = pack_plan(plan), self._size() if rng.random() < 0.3 else 0
        args: bytes | Stored = data
        refs = tuple((inner.object_id, inner.owner) for inner in nested)
        if size:
            object_id = process.new_task_id() + PUT_INDEX
            body = pack(plan.number, plan.refs)
            args = yield from process.write(body, size, object_id, process.address, 0)
            process.post(e.PutStored(args, refs))
            refs = ((object_id, process.address),)
        return Task(
            process.new_task_id(),
            template,
            args,
            PICKLE,
            template.num_returns,
            tuple((i, dep.object_id, dep.owner) for i, dep in enumerate(deps)),
            refs,
            self.thread.depth + 1,
        )

    def _expected(self, handle: Handle) -> int:
        ghost = self.process.cluster.ghost
        told = ghost.calls.get(handle.object_id[:24])
        if told is None:
            return ghost.puts[handle.object_id]
        return told.plan.number + int.from_bytes(handle.object_id[24:], "big") - 1

    def _template(self, plan: Plan, kind: str) -> Template:
        rng = self.rng
        function = b"f%d" % rng.randrange(3)
        name = f"p{plan.number}"
        if kind == "method":
            return Template(b"", name, b"", (), len(plan.sizes), 0)
        if kind == "create":
            return Template(b"class", name, b"code", (), 0)
        demand = ONE_CPU
        leaf = plan.budget == 0
        draw = rng.random()
        if draw < 0.1:
            demand = ()
        elif draw < 0.2:
            demand = (("CPU", 5_000),)
        elif draw < 0.3 and leaf:
            demand = (("CPU", 10_000), ("GPU", 5_000))
        retries = self.chances.retries if rng.random() < 0.8 else 0
        return Template(function, name, b"code", demand, len(plan.sizes), retries)

    def submit(self) -> Waits:
        """Submit one task, or a handful of small ones."""
        if self.budget <= 0:
            return
        several = 1 + self.rng.randrange(4) if self.rng.random() < 0.3 else 1
        for _ in range(several):
            self.budget -= 1
            try:
                task = yield from self._task("task")
            except UserError:
                return
            self.handles.extend(self.process.submit(task))

    def actor(self) -> Waits:
        """Make an actor, or call one."""
        handle = self.pick(actor=True)
        if handle is None or self.rng.random() < 0.3:
            yield from self._create()
            return
        for _ in range(1 + self.rng.randrange(3)):
            yield from self._call(handle)

    def _create(self) -> Waits:
        if self.budget <= 0:
            return
        self.budget -= 1
        try:
            task = yield from self._task("create")
        except UserError:
            return
        concurrency = 1 if self.rng.random() < 0.7 else 3
        task.creation = Creation(concurrency, "", "", "Actor")
        self.process.submit(task)
        handle = Handle(self.process, handle_id(task.task_id), self.process.address)
        self.handles.append(handle)
        for _ in range(self.rng.randrange(3)):
            yield from self._call(handle)

    def _call(self, handle: Handle) -> Waits:
        try:
            task = yield from self._task("method")
        except UserError:
            return
        task.actor_id = handle.object_id[:24]
        task.actor_owner = handle.owner
        task.method = b"method"
        task.weak = handle.weak
        made = self.process.submit(task)
        for one in made:
            one.risky = True
        self.handles.extend(made)


def _different(handles: list[Handle]) -> list[Handle]:
    return list({handle.object_id: handle for handle in handles}.values())
