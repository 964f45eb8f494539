"""Runs a scenario file: a command in, a transcript of every event and effect out.

A file is a list of blocks with an empty line between them. A block is comments, a command,
a line ``----`` and the transcript the command is expected to print.  User code does what the
commands say, chance has no part, and time stands still but for ``advance``.

    cluster cpus=1 drivers=2 workers=4 store=1000000 calls=100
    driver submit t1 t2 deps=x nested=y cpus=2 retries=0 returns=2
    driver put x [big] nested=y         driver get x y [timeout=5ms]
    driver drop x                       driver wait x y need=1
    w1 get x aside=yes: as a coroutine of a task awaits it, or another thread gets it
    driver free x                       driver close x: drop the views of it
    driver cancel t1                    driver actor a [restarts=1 cpus=1 threads=2]
    driver kill a [restart]             driver call a m1 m2 [retries=2]
    w1 return [big] [last] refs=x            w1 raise / w1 keep x / any of the driver's commands
    w1 raise lost: it lets an owner's death pass
    kill w1                             hold w1 driver / release w1 driver
    slow w3 5ms: opening the arguments of a call takes so long there
    advance 20ms                        stabilize: deliver until nothing is under way
"""

# ruff: noqa: S311  the words are for whoever writes a scenario
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from zfut.config import Config
from zfut.core import events as e
from zfut.core.executor.inbox import CREATE, Call
from zfut.core.owner.actors import handle_id
from zfut.core.owner.records import Creation, Task, Template
from zfut.sim import invariants
from zfut.sim.cluster import Cluster, Setting
from zfut.sim.network import Latency
from zfut.sim.process import Code, Pending, Process, Thread, Waits
from zfut.sim.transcript import Names, lines
from zfut.sim.values import (
    PICKLE,
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
from zfut.wire import messages as m
from zfut.wire.specs import BEREFT, OK, RAISED, Failed, Inline, Stored, TaskResult, Value

BIG = 200_000
MOMENT_NS = 500_000
RUN_NS = 1_000
"""How long every task says that it took: short enough to be sent in batches."""

UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
HIDDEN = (m.Hello, m.Watch)


class User:
    """User code that does what the commands say: one thread."""

    def __init__(self, thread: Thread) -> None:
        self.thread = thread
        self.orders: deque[list[str]] = deque()
        self.idle: Pending | None = None
        self.handles: list[Handle] = []
        self.opened: list[Opened] = []
        self.views: list[Handle] = []


class Script:
    """One cluster, and the transcript of what happens in it."""

    def __init__(self) -> None:
        self._cluster = Cluster(Setting(drivers=0), Random(0), self._run_call)
        self._names = Names(self._cluster.processes)
        self._users: dict[str, list[User]] = {}
        self._ids: dict[str, bytes] = {}
        self._said: list[str] = []
        self._number = 0
        self._slow: dict[str, int] = {}
        self._globals: dict[str, Callable[[list[str]], None]] = {
            "cluster": self._make,
            "stabilize": lambda _: self._run(MOMENT_NS),
            "advance": lambda words: self._run(_time(words[0])),
            "kill": lambda words: self._cluster.kill(self._process(words[0])),
            "hold": lambda words: self._cluster.hold(*map(self._process, words)),
            "release": lambda words: self._cluster.let_go(*map(self._process, words)),
            "slow": lambda words: self._slow.update({words[0]: _time(words[1])}),
            "rest": self._rest,
        }

    def run(self, text: str) -> str:
        """Return the file as it would read if every expectation in it were right."""
        blocks = text.strip().split("\n\n")
        return "\n\n".join(self._run_block(block) for block in blocks) + "\n"

    def _run_block(self, block: str) -> str:
        given = block.partition("\n----")[0]
        commands = [line for line in given.split("\n") if not line.startswith("#")]
        if not commands:
            return given
        self._said = []
        self._cluster.trace.clear()
        for line in commands:
            name, *words = line.split()
            if name in self._globals:
                self._globals[name](words)
            else:
                self._order(name, words)
        transcript = self._transcript()
        return "\n".join([given, "----", *(transcript or ["ok"])])

    def _transcript(self) -> list[str]:
        shown = []
        for _, process, what, kind in self._cluster.trace:
            if isinstance(getattr(what, "message", None), HIDDEN):
                continue
            if isinstance(what, str) and kind == "says":
                shown.append(f"  {process.name} {what}")
            else:
                shown.append(lines(process, what, kind, self._names))
        return [*self._said, *shown]

    # ---------------------------------------------------------------- the cluster

    def _make(self, words: list[str]) -> None:
        options = _options(
            words, cpus="1", drivers="1", workers="0", store=str(1 << 30), calls="0"
        )
        config = Config(
            workers_max=int(options["workers"]),
            extent_bytes=1 << 20,
            pending_calls_max=int(options["calls"]),
        )
        still = Latency(0, 0, 0.0)
        setting = Setting(
            cpus=int(options["cpus"]),
            drivers=int(options["drivers"]),
            capacity=int(options["store"]),
            latency=still,
            start_ns=0,
            jitter_ns=0,
            batches=0.0,
            losses=0.0,
            config=config,
        )
        self._cluster = Cluster(setting, Random(0), self._run_call)
        self._names = Names(self._cluster.processes)
        for driver in self._cluster.drivers:
            self._cluster.threads.start(driver, self._program)
        self._run(MOMENT_NS)
        self._cluster.trace.clear()

    def _run(self, for_ns: int) -> None:
        cluster = self._cluster
        until = cluster.now + for_ns
        cluster.run(10_000, until)
        cluster.now = until

    def _rest(self, _: list[str]) -> None:
        """``rest``: run until nothing can happen, and check that nothing is left."""
        for users in self._users.values():
            for user in users:
                if user.thread.call is None and user.thread in user.thread.process.threads:
                    user.thread.process.threads.remove(user.thread)
        self._cluster.run(10_000)
        invariants.at_rest(self._cluster)
        self._cluster.trace.clear()
        self._said.append("nothing is left")

    def _process(self, name: str) -> Process:
        for process in self._cluster.processes.values():
            if process.name == name:
                return process
        raise ValueError(f"no process is called {name!r}")

    # ---------------------------------------------------------------- user code

    def _order(self, name: str, words: list[str]) -> None:
        found = [user for user in self._users.get(name, ()) if user.idle is not None]
        if not found:
            raise ValueError(f"{name} runs nothing that could {' '.join(words)}")
        user = found[-1]
        assert user.idle is not None
        user.orders.append(words)
        idle, user.idle = user.idle, None
        idle.done = True
        self._cluster.threads.resume(user.thread, idle)
        self._run(1_000)

    def _program(self, thread: Thread) -> Code:
        user = self._enter(thread)
        while True:
            yield from self._obey(user)

    def _run_call(self, thread: Thread, call: Call) -> Code:
        user = self._enter(thread)
        process, spec = thread.process, call.spec
        yield from self._open(user, call)
        while True:
            words = yield from self._obey(user)
            if words[0] in ("return", "raise"):
                break
        views = [view for view in user.views if view.live]
        process.keep_arguments(views, spec.task_id)
        if words[0] == "raise":
            ghost = process.cluster.ghost
            number = ghost.calls[spec.task_id].plan.number
            ghost.exits[number] = None
            failure = raised(number)
            status = BEREFT if "lost" in words else RAISED
            result = TaskResult(spec.task_id, spec.attempt, status, (Failed(len(failure)),))
            process.post(e.Returned(result, (failure,)))
        else:
            yield from self._return(user, call, words[1:])
        for opened in user.opened:
            opened.drop()
        for handle in user.handles:
            handle.drop()
        self._users[process.name].remove(user)

    def _enter(self, thread: Thread) -> User:
        user = User(thread)
        self._users.setdefault(thread.process.name, []).append(user)
        return user

    def _obey(self, user: User) -> Waits:
        user.idle = idle = Pending()
        yield idle
        words = user.orders.popleft()
        act = getattr(self, f"_do_{words[0]}", None)
        if act is not None:
            try:
                yield from act(user, words[1:])
            except UserError as error:
                self._says(user, f"gets {error.failure[0]}")
        return words

    def _says(self, user: User, text: str) -> None:
        self._cluster.trace.append((self._cluster.now, user.thread.process, text, "says"))

    def _open(self, user: User, call: Call) -> Waits:
        process, cover, giver = user.thread.process, call.spec.task_id, call.owner.uid
        yield self._slow.get(process.name, 1)
        plan = unpack_plan(call.args)
        user.opened.append(process.open(Symbol(plan.number, plan.refs), cover, giver))
        for dep, data in call.deps:
            if isinstance(dep.value, Stored):
                opened = process.read_argument(dep.value, cover)
                assert opened.view is not None
                user.views.append(opened.view)
            else:
                opened = process.open(unpack(data), cover, giver)
            user.opened.append(opened)
        for opened in user.opened:
            user.handles.extend(opened.handles)
            opened.handles = []
        process.opened(call)

    def _return(self, user: User, call: Call, words: list[str]) -> Waits:
        options = _options(words, refs="")
        process, spec = user.thread.process, call.spec
        plan = process.cluster.ghost.calls[spec.task_id].plan
        values: list[Value] = []
        payload: list[bytes] = []
        handles = [self._handle(user, name) for name in _list(options["refs"])]
        for index in range(spec.num_returns if call.kind != CREATE else 0):
            data = pack(plan.number + index, tuple(handle.ref for handle in handles))
            if "big" in words:
                object_id = spec.task_id + (index + 1).to_bytes(4, "big")
                stored = yield from process.write(
                    data, BIG, object_id, call.owner, spec.attempt
                )
                values.append(stored)
            else:
                values.append(Inline(len(data), PICKLE))
                payload.append(data)
        found = tuple((handle.object_id, handle.owner) for handle in handles)
        refs = tuple(found for _ in values) if found else ()
        result = TaskResult(spec.task_id, spec.attempt, OK, tuple(values), RUN_NS)
        process.post(e.Returned(result, tuple(payload), refs))
        if "last" in words:
            process.post(e.Retired())

    # ---------------------------------------------------------------- what user code can do

    def _handle(self, user: User, name: str) -> Handle:
        object_id = self._ids[name]
        kept = [handle for opened in user.thread.process.kept for handle in opened.handles]
        for handle in user.handles + kept:
            if handle.live and handle.object_id == object_id:
                return handle
        raise ValueError(f"{user.thread.process.name} has no reference {name!r}")

    def _task(self, user: User, words: list[str], kind: str) -> Task:
        usual = (
            {"cpus": "1", "retries": "3"} if kind == "task" else {"cpus": "0", "retries": "0"}
        )
        options = _options(
            words, deps="", nested="", returns="1", restarts="0", threads="1", **usual
        )
        process = user.thread.process
        deps = [self._handle(user, name) for name in _list(options["deps"])]
        nested = [self._handle(user, name) for name in _list(options["nested"])]
        self._number += 10
        refs = tuple(handle.ref for handle in nested)
        plan = Plan(self._number, kind, False, (), 0, 0, (), refs)  # noqa: FBT003
        process.cluster.ghost.plan(plan)
        cpus = int(float(options["cpus"]) * 10_000)
        demand = (("CPU", cpus),) if cpus else ()
        function = b"" if kind == "method" else b"f"
        returns = 0 if kind == "create" else int(options["returns"])
        retries = int(options["retries"])
        name = f"p{plan.number}"
        template = Template(function, name, b"code", demand, returns, retries)
        return Task(
            process.new_task_id(),
            template,
            pack_plan(plan),
            PICKLE,
            returns,
            tuple((i, dep.object_id, dep.owner) for i, dep in enumerate(deps)),
            tuple((inner.object_id, inner.owner) for inner in nested),
            user.thread.depth + 1,
            parent=user.thread.cover,
        )

    def _submit(self, user: User, name: str, task: Task) -> None:
        self._names.given[task.task_id] = name
        handles = user.thread.process.submit(task)
        user.handles.extend(handles)
        for index, handle in enumerate(handles):
            self._ids[name if index == 0 else f"{name}.{index + 1}"] = handle.object_id

    def _do_submit(self, user: User, words: list[str]) -> Waits:
        for name in _plain(words):
            yield from user.thread.process.room(user.thread, None)
            self._submit(user, name, self._task(user, words, "task"))
        yield 1

    def _do_actor(self, user: User, words: list[str]) -> Waits:
        task = self._task(user, words, "create")
        given = dict(word.split("=") for word in words if "=" in word)
        at_once, restarts = int(given.get("threads", 1)), int(given.get("restarts", 0))
        task.creation = Creation(at_once, "", "", "Actor", restarts)
        name = _plain(words)[0]
        self._submit(user, name, task)
        self._ids[name] = handle_id(task.task_id)
        process = user.thread.process
        user.handles.append(Handle(process, self._ids[name], process.address))
        yield 1

    def _do_call(self, user: User, words: list[str]) -> Waits:
        actor, *names = _plain(words)
        for name in names:
            yield from user.thread.process.room(user.thread, None)
            handle = self._handle(user, actor)
            task = self._task(user, words, "method")
            task.actor_id = handle.object_id[:24]
            task.actor_owner = handle.owner
            task.method = b"method"
            task.weak = handle.weak
            self._submit(user, name, task)
        yield 1

    def _do_put(self, user: User, words: list[str]) -> Waits:
        options = _options(words, nested="")
        handles = [self._handle(user, name) for name in _list(options["nested"])]
        self._number += 10
        size = BIG if "big" in words else 10
        handle = yield from user.thread.process.put(self._number, size, handles)
        name = words[0]
        self._ids[name] = handle.object_id
        self._names.given[handle.object_id[:24]] = name
        user.handles.append(handle)

    def _do_get(self, user: User, words: list[str]) -> Waits:
        options = _options(words, timeout="", aside="")
        timeout_ns = _time(options["timeout"]) if options["timeout"] else None
        names = _plain(words)
        handles = [self._handle(user, name) for name in names]
        self._cluster.waits_aside = lambda: bool(options["aside"])
        opened = yield from user.thread.process.get(user.thread, handles, timeout_ns)
        for name, one in zip(names, opened, strict=True):
            self._says(user, f"gets {name}")
            user.opened.append(one)
            user.handles.extend(one.handles)
            one.handles = []

    def _do_wait(self, user: User, words: list[str]) -> Waits:
        options = _options(words, need="1", timeout="", aside="")
        self._cluster.waits_aside = lambda: bool(options["aside"])
        timeout_ns = _time(options["timeout"]) if options["timeout"] else None
        handles = [self._handle(user, name) for name in _plain(words)]
        process, need = user.thread.process, int(options["need"])
        ready = yield from process.wait(user.thread, handles, need, timeout_ns)
        self._says(user, f"sees {ready} of {len(handles)} ready")

    def _do_drop(self, user: User, words: list[str]) -> Waits:
        for name in words:
            self._handle(user, name).drop()
            for opened in list(user.opened):
                if opened.view is not None and opened.view.object_id == self._ids[name]:
                    opened.drop()
        yield 1

    def _do_keep(self, user: User, words: list[str]) -> Waits:
        for name in words:
            views = [opened for opened in user.opened if opened.view is not None]
            seen = [one for one in views if one.view.object_id == self._ids[name]]  # type: ignore[union-attr]
            if seen:
                user.opened.remove(seen[0])
                user.thread.process.kept.append(seen[0])
                continue
            handle = self._handle(user, name)
            user.handles.remove(handle)
            user.thread.process.kept.append(Opened(0, [handle]))
        yield 1

    def _do_cancel(self, user: User, words: list[str]) -> Waits:
        for name in words:
            handle = self._handle(user, name)
            self._cluster.ghost.cancelled(handle.object_id)
            user.thread.process.post(e.Cancelled(handle.object_id))
        yield 1

    def _do_free(self, user: User, words: list[str]) -> Waits:
        names = tuple(self._ids[name] for name in words)
        self._cluster.ghost.freed.update(dict.fromkeys(names))
        user.thread.process.post(e.ObjectsFreed(names))
        yield 1

    def _do_close(self, user: User, words: list[str]) -> Waits:
        for name in words:
            for opened in user.opened:
                if opened.view is not None and opened.view.object_id == self._ids[name]:
                    opened.view.drop()
        yield 1

    def _do_lose(self, _: User, words: list[str]) -> Waits:
        for name in words:
            object_id = self._ids[name]
            owner = self._cluster.processes[object_id[:16]]
            value = owner.owner.rows[object_id].value
            assert isinstance(value, Stored), value
            self._cluster.ghost.lost[object_id] = None
            owner.post(e.ValueLost(object_id, value.attempt))
        yield 1

    def _do_kill(self, user: User, words: list[str]) -> Waits:
        handle = self._handle(user, words[0])
        actor_id, for_good = handle.object_id[:24], "restart" not in words
        actor = self._cluster.ghost.actors[actor_id]
        actor.killed, actor.restarted = actor.killed or for_good, not for_good
        user.thread.process.post(e.ActorKilled(actor_id, handle.owner, for_good))
        yield 1


def _plain(words: list[str]) -> list[str]:
    return [word for word in words if "=" not in word and word != "big"]


def _list(text: str) -> list[str]:
    return text.split(",") if text else []


def _options(words: list[str], **known: str) -> dict[str, Any]:
    """Read ``name=value`` words; a name that is not known is an error in the scenario."""
    given = dict(word.split("=", 1) for word in words if "=" in word)
    wrong = [name for name in given if name not in known]
    if wrong:
        raise ValueError(f"unknown option {wrong[0]!r}")
    return known | given


def _time(text: str) -> int:
    number = text.rstrip("nums")
    return int(number) * UNITS[text[len(number) :]]
