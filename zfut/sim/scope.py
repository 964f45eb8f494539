"""What one running call or program can do: its variables, and one thing after another.

So that no program waits for itself, a reference that an actor handed on is *risky*: whoever
waits for it gives up after a while, as does all code that runs in an actor.
"""

# ruff: noqa: PLR2004  a program is made of chances, and they are numbers
from __future__ import annotations

from random import Random

from zfut.core import events as e
from zfut.core.executor.inbox import CREATE
from zfut.core.owner.actors import handle_id
from zfut.core.owner.backlog import NO_BOUND
from zfut.core.owner.records import Creation, Task, Template
from zfut.ids import PROC_BYTES, PUT_INDEX
from zfut.sim.process import SLOT, Thread, Waits
from zfut.sim.values import PICKLE, Chances, Handle, Opened, Plan, UserError, pack, pack_plan
from zfut.wire import messages as m
from zfut.wire.specs import Address, Demand, Stored

Refs = tuple[tuple[tuple[bytes, Address], ...], ...]

Expects = tuple[tuple[bytes, int], ...]

NAMES = ("alpha", "beta")

TIMEOUT_NS = 30_000_000
ONE_CPU = (("CPU", 10_000),)


class Plans:
    """Names every call and put of a run."""

    def __init__(self, chances: Chances, seed: int = 0) -> None:
        self.chances = chances
        self.frees = Random(f"frees {seed}")  # noqa: S311  a seed is meant to be known
        self.walks = Random(f"walks {seed}")  # noqa: S311
        self._numbers = 0

    def new_number(self) -> int:
        """Name a call or a put; the values of a call count on from it."""
        self._numbers += 10
        return self._numbers


class Scope:
    """The variables of one running call or program, and what it can do with them."""

    def __init__(self, plans: Plans, thread: Thread, rng: Random, budget: int) -> None:
        self.plans = plans
        self.chances = plans.chances
        self.thread = thread
        self.process = thread.process
        self.rng = rng
        self.budget = budget
        self.handles: list[Handle] = []
        self.opened: list[Opened] = []
        self.numbers: dict[bytes, int] = {}
        self.patient = not thread.actor_id and (
            thread.call is None or thread.call.kind != CREATE
        )

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
        if not self.handles or self.rng.random() < (0.2 if self.chances.walks else 0.5):
            return []
        count = min(len(self.handles), 1 + self.rng.randrange(most))
        return self.rng.sample(self.handles, count)

    # ---------------------------------------------------------------- doing something

    def one_thing(self) -> Waits:
        """Do one thing that user code does."""
        if self.rng.random() < self.process.cluster.setting.preempt:
            yield 1 + int(self.rng.random() * 100_000)
        self._free()
        yield from self._walk_or_nest()
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

    def _free(self) -> None:
        process, rng = self.process, self.plans.frees
        if not self.chances.frees or rng.random() >= self.chances.frees:
            return
        mine = [h for h in self.handles if not h.is_actor and h.owner.uid == process.uid]
        if mine:
            freed = tuple(h.object_id for h in rng.choices(mine, k=1 + rng.randrange(2)))
            process.cluster.ghost.freed.update(dict.fromkeys(freed))
            process.post(e.ObjectsFreed(freed))

    def _walk_or_nest(self) -> Waits:
        if self.chances.walks and self.plans.walks.random() < self.chances.walks:
            yield from self._walk() if self.rng.random() < 0.6 else self._nest()

    def _nest(self) -> Waits:
        """Put away what is at hand: from now on it is inside something."""
        before = len(self.handles)
        handles = self.pick_some(2)
        yield from self.put(handles)
        if len(self.handles) > before and self.rng.random() < 0.7:
            self._drop_these(handles)

    def _walk(self) -> Waits:
        """Read a value, one that is inside it, and so on; much of what is on the way goes."""
        rng, handle = self.rng, self.pick()
        for depth in range(4):
            if handle is None:
                return
            before = list(self.handles)
            yield from self._get([handle], self._patience([handle]))
            found = [inner for inner in self.handles if inner not in before]
            if depth and rng.random() < 0.6:
                self._drop_these([handle])
            inside = [inner for inner in found if not inner.is_actor]
            handle = rng.choice(inside) if inside else None

    def _drop_these(self, handles: list[Handle]) -> None:
        for handle in handles:
            self.handles.remove(handle)
            handle.drop()

    def _cancel(self) -> None:
        handle = self.pick()
        if handle is not None:
            self.process.cluster.ghost.cancelled(handle.object_id)
            force = self.rng.random() < 0.3
            recursive = self.rng.random() < 0.7
            self.process.post(e.Cancelled(handle.object_id, force, recursive))

    def _kill(self) -> None:
        handle = self.pick(actor=True)
        if handle is not None:
            actor = self.process.cluster.ghost.actors[handle.object_id[:24]]
            no_restart = self.rng.random() < 0.5
            actor.killed = actor.killed or no_restart
            actor.restarted = actor.restarted or not no_restart
            event = e.ActorKilled(handle.object_id[:24], handle.owner, no_restart)
            self.process.post(event)

    def _size(self) -> int:
        if self.rng.random() >= self.chances.stored:
            return 0
        return 102_401 + self.rng.randrange(200_000)

    def put(self, inside: list[Handle] | None = None) -> Waits:
        """Put a small or large value, with references in it or not."""
        number = self.plans.new_number()
        handles = self.pick_some(2) if inside is None else inside
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
            self.plans.new_number(),
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
        """Pack a call's arguments; yields while they, or the call, wait for room."""
        if self.process.owner.ledger.backlog.bar < NO_BOUND:
            yield from self._room()
        rng, process = self.rng, self.process
        nested = self.pick_some(3)
        found = [handle for handle in self.handles if not handle.is_actor]
        several = min(len(found), rng.randrange(3))
        deps = rng.sample(found, several) if rng.random() < 0.5 else []
        if self.chances.chains and found:
            deps = found[-2:]
        expects = tuple((handle.object_id, self._expected(handle)) for handle in deps)
        plan = self._plan(kind, expects, nested)
        template = self._template(plan, kind)
        data, size = pack_plan(plan), self._size() if rng.random() < 0.3 else 0
        args: bytes | Stored = data
        refs = tuple((inner.object_id, inner.owner) for inner in nested)
        if size:
            object_id = process.new_task_id() + PUT_INDEX
            body = pack(plan.number, plan.refs)
            stored = yield from process.write(body, size, object_id, process.address, 0)
            process.post(e.PutStored(stored, refs))
            args = stored
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
            parent=self.thread.call.spec.task_id if self.thread.call is not None else b"",
        )

    def _room(self) -> Waits:
        """Wait to submit more; code whose calls may wait for it gives up after a while."""
        risky = not self.patient or any(handle.risky for handle in self.handles)
        if not (yield from self.process.room(self.thread, TIMEOUT_NS if risky else None)):
            raise UserError(["Timeout"])

    @property
    def _always(self) -> int:
        """Without end, unless a call might end its own actor's life every time."""
        return 2 if self.chances.kills else -1

    def _expected(self, handle: Handle) -> int:
        ghost = self.process.cluster.ghost
        told = ghost.calls.get(handle.object_id[:24])
        if told is None:
            return ghost.puts[handle.object_id]
        return told.plan.number + int.from_bytes(handle.object_id[24:], "big") - 1

    def _template(self, plan: Plan, kind: str) -> Template:
        rng = self.rng
        demand: Demand
        function = b"f%d" % rng.randrange(3)
        name = f"p{plan.number}"
        if kind == "method":
            retries = rng.choice((0, 0, 1, self._always)) if self.chances.restarts else 0
            return Template(b"", name, b"", (), len(plan.sizes), retries)
        if kind == "create":
            demand = ((SLOT, 10_000),) if plan.number % 2 else ()
            return Template(b"class", name, b"code", demand, 0)
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
            made = self.process.submit(task)
            if self.chances.walks:
                self._pass_risk_on(task, made)
            self.handles.extend(made)
            if self.chances.chains:
                self._cut_chain()

    def _pass_risk_on(self, task: Task, made: list[Handle]) -> None:
        taken = [object_id for _, object_id, _ in task.deps]
        risky = any(one.risky and one.object_id in taken for one in self.handles)
        for one in made:
            one.risky = risky

    def _cut_chain(self) -> None:
        """Drop all but the newest: only lineage needs what they stand for."""
        found = [handle for handle in self.handles if not handle.is_actor]
        while len(found) > 2:
            handle = found.pop(0)
            self.handles.remove(handle)
            handle.drop()

    def actor(self) -> Waits:
        """Make an actor, or call one."""
        if self.chances.names and self.rng.random() < self.chances.names:
            yield from self._by_name()
            return
        handle = self.pick(actor=True)
        if handle is None or self.rng.random() < 0.3:
            yield from self._create()
            return
        for _ in range(1 + self.rng.randrange(3)):
            yield from self._call(handle)

    def _by_name(self) -> Waits:
        """Make an actor with a name, or find one: such a handle does not keep it alive."""
        name = self.rng.choice(NAMES)
        if self.rng.random() < 0.5:
            yield from self._create(name)
            return
        process = self.process
        found = yield from process.ask(lambda request: m.FindName(request, "", name))
        if found.handle and found.actor_id in process.cluster.ghost.actors:
            owner = Address(found.actor_id[:PROC_BYTES])
            process.found[found.actor_id] = None
            yield from self._call(Handle(process, handle_id(found.actor_id), owner, weak=True))

    def _has_name(self, task: Task, name: str) -> Waits:
        """Take a name for an actor before it is made. Returns whether another one has it."""
        process, actor_id = self.process, task.task_id
        answer = yield from process.ask(
            lambda request: m.RegisterName(
                request, "", name, actor_id, process.address, actor_id
            )
        )
        if answer.taken and isinstance(task.args, Stored):
            process.post(task.args.object_id)  # put for the call that is not made
        return answer.taken

    def _create(self, name: str = "") -> Waits:
        if self.budget <= 0:
            return
        self.budget -= 1
        try:
            task = yield from self._task("create")
        except UserError:
            return
        concurrency = 1 if self.rng.random() < 0.7 else 3
        restarts = self.rng.choice((0, 1, 3, self._always)) if self.chances.restarts else 0
        task.creation = Creation(concurrency, name, "", "Actor", restarts)
        if name and (yield from self._has_name(task, name)):
            return
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
