"""A simulated process: a machine, what has arrived for it, and its threads of user code.

It stands in for the loop, the session and the runner: user code posts the same events in the
same order, and the machine handles them later, in batches that chance cuts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeAlias

from zfut.core import events as e
from zfut.core.effects import EndProcess
from zfut.core.executor.inbox import METHOD, TASK, Call
from zfut.core.node.machine import NodeMachine
from zfut.core.owner.actors import handle_id
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.records import FAILED, INLINE, READY, ObjectRow, Task
from zfut.core.worker import WorkerMachine
from zfut.ids import PUT_INDEX
from zfut.sim.network import Letter
from zfut.sim.values import (
    PICKLE,
    Handle,
    Opened,
    SessionOver,
    Symbol,
    UserError,
    pack,
    read_failure,
    unpack,
)
from zfut.wire.messages import Message
from zfut.wire.specs import Address, Stored, Value

if TYPE_CHECKING:
    from zfut.sim.cluster import Cluster

Machine: TypeAlias = OwnerMachine | WorkerMachine | NodeMachine
Code: TypeAlias = Generator[Any, Any, None]
Waits: TypeAlias = Generator[Any, Any, Any]

SLOT = "SLOT"
"""What half of the actors ask for; there is enough for all, and it must come back."""


class Pending:
    """What a thread waits for; see ``zfut.actors.loop.Pending``."""

    __slots__ = ("deadline", "done", "interruptible", "outcome", "reenters", "thread")

    def __init__(self) -> None:
        self.interruptible = False
        self.reenters = False  # a call may run on top of the one that waits
        self.done = False
        self.outcome: Any = None
        self.deadline: int | None = None
        self.thread: Thread | None = None


class Thread:
    """A thread of user code. It runs until it yields: a time to compute, or a Pending."""

    __slots__ = (
        "above", "actor_id", "below", "blocks", "call", "code", "cover", "depth", "in_code",
        "interrupted", "process", "waits_for",
    )  # fmt: skip

    def __init__(
        self, process: Process, call: Call | None = None, below: Thread | None = None
    ) -> None:
        self.below = below  # a call that waits, on top of which this one runs
        self.above: Thread | None = None
        self.process = process
        self.call = call
        self.cover = call.spec.task_id if call is not None else b""
        self.depth = call.spec.depth if call is not None else -1
        self.blocks = call is not None and call.kind == TASK
        self.actor_id = b""
        if call is not None and call.kind == METHOD:
            self.actor_id = process.worker.executor.actor_id
        self.code: Code | None = None
        self.waits_for: Pending | None = None
        self.interrupted = False
        self.in_code = False  # between the opening of its arguments and its answer

    @property
    def name(self) -> str:
        """What the user calls the call that runs here."""
        assert self.call is not None
        return self.process.cluster.ghost.calls[self.call.spec.task_id].name


class Process:
    """One process of the cluster. The node manager has no user code, and is no owner."""

    owner: OwnerMachine

    def __init__(self, cluster: Cluster, uid: bytes, name: str, machine: Machine) -> None:
        self.cluster = cluster
        self.uid = uid
        self.name = name
        self.address = Address(uid)
        self.machine = machine
        if not isinstance(machine, NodeMachine):
            self.owner = machine.owner if isinstance(machine, WorkerMachine) else machine
        self.alive = True
        self.inbox: deque[Any] = deque()
        self.arrived: deque[Letter] = deque()
        self.calls: dict[int, Pending] = {}
        self.uses: dict[bytes, int] = {}
        self.kept: list[Opened] = []
        self.threads: list[Thread] = []  # an upper call of a stack comes after the lower one
        self.turn_at = -1
        self.paused_until = 0
        self.end: EndProcess | None = None
        self.releases = False  # the actor has ended: what it keeps is to go
        self.over = ""
        self.forgotten: dict[bytes, None] = {}  # nothing more is taken from them
        self.hung_up: dict[bytes, None] = {}  # nothing more is sent to them
        self.counted: dict[bytes, int] = {}  # calls of functions that have ``max_calls``
        self.found: dict[bytes, None] = {}  # actors, by their names
        self.to_confirm: dict[bytes, None] = {}  # calls whose arguments are to be open
        self._tasks = 0
        self._calls = 0

    # ---------------------------------------------------------------- the machine's parts

    @property
    def worker(self) -> WorkerMachine:
        """The machine of a worker."""
        assert isinstance(self.machine, WorkerMachine)
        return self.machine

    # ---------------------------------------------------------------- posting

    def post(self, event: e.Event | Task | bytes) -> None:
        """Hand an event in; it is handled soon."""
        self.inbox.append(event)
        self.cluster.soon(self)

    def drop(self, object_id: bytes, *, view: bool = False) -> None:
        """A handle, or a view, is gone."""
        left = self.uses[object_id] - 1
        if left:
            self.uses[object_id] = left
        else:
            del self.uses[object_id]
        self.post(e.ViewClosed(object_id) if view else object_id)

    def release_kept(self) -> None:
        """The actor's instance goes, and all that it kept."""
        self.releases = False
        for opened in self.kept:
            opened.drop()
        self.kept.clear()

    def new_task_id(self) -> bytes:
        """Name a task or put of this process."""
        self._tasks += 1
        return self.uid + self._tasks.to_bytes(8, "big")

    def new_call(self) -> tuple[int, Pending]:
        """Open a call that the machine will complete."""
        self._calls += 1
        pending = self.calls[self._calls] = Pending()
        return self._calls, pending

    def submit(self, task: Task) -> list[Handle]:
        """Hand a call in and return its references."""
        self._check_open()
        self.post(task)
        if isinstance(task.args, Stored):
            self.post(task.args.object_id)  # put for this call: the call holds it
        self.cluster.ghost.submitted(self, task)
        return [
            Handle(self, task.task_id + (i + 1).to_bytes(4, "big"), self.address)
            for i in range(task.num_returns)
        ]

    def arrive(
        self,
        object_id: bytes,
        owner: Address,
        cover: bytes,
        giver: bytes,
    ) -> Handle:
        """A reference was unpickled here."""
        self.post(e.RefArrived(object_id, owner, cover))
        self.cluster.ghost.given(self.uid, object_id, giver)
        return Handle(self, object_id, owner)

    # ---------------------------------------------------------------- values

    def put(self, number: int, size: int, handles: list[Handle]) -> Waits:
        """Put a value; yields while it waits for room."""
        object_id = self.new_task_id() + PUT_INDEX
        data = pack(number, tuple(handle.ref for handle in handles))
        refs = tuple((handle.object_id, handle.owner) for handle in handles)
        if size <= self.cluster.config.inline_max_bytes:
            self.post(e.PutInline(object_id, PICKLE, data, refs))
        else:
            stored = yield from self.write(data, size, object_id, self.address, 0)
            self.post(e.PutStored(stored, refs))
        self.cluster.ghost.put(object_id, number)
        return Handle(self, object_id, self.address)

    def write(
        self, data: bytes, size: int, object_id: bytes, owner: Address, attempt: int
    ) -> Waits:
        """Write a value into the arena; yields while it waits for room."""
        self._check_open()
        memory = self.owner.ledger.memory
        offset = memory.allocate(size, owner.uid)
        if offset is None:
            self.cluster.turn(self)
            call_id, pending = self.new_call()
            self.post(e.AllocateMemory(call_id, size, owner.uid))
            yield pending
            self._check_open()
            if not isinstance(pending.outcome, int):
                raise UserError(["StoreFull", size])
            offset = pending.outcome
        self.cluster.check_lent(self, offset, size)
        self.cluster.arena.write(object_id, attempt, (offset, size), data)
        node = self.cluster.node.uid
        return Stored(object_id, owner, attempt, node, self.uid, offset, size, PICKLE)

    def unwrite(self, values: list[Value]) -> None:
        """A result of several values is not to be: free those that are written."""
        for value in values:
            if isinstance(value, Stored):
                self.owner.ledger.memory.free(value.offset)

    def value_of(self, object_id: bytes, row: ObjectRow, cover: bytes) -> Opened:
        """Return the value of a ready object, or raise its error."""
        if row.state == INLINE:
            assert isinstance(row.value, bytes)
            covering = object_id if row.contains or row.owner is not None else cover
            owner = row.owner.uid if row.owner is not None else self.uid
            return self.open(unpack(row.value), covering, owner)
        if row.state == FAILED:
            assert isinstance(row.value, bytes)
            raise UserError(read_failure(row.value), object_id)
        assert isinstance(row.value, Stored), row
        return self.read(row.value, object_id, cover)

    def open(self, value: Symbol, cover: bytes, giver: bytes) -> Opened:
        """Make handles of the references in a value."""
        handles = [
            self._open_ref(object_id, uid, cover, giver, risky=risky)
            for object_id, uid, risky in value.refs
        ]
        return Opened(value.number, handles)

    def _open_ref(
        self, object_id: bytes, uid: bytes, cover: bytes, giver: bytes, *, risky: bool
    ) -> Handle:
        machine = self.machine
        own = isinstance(machine, WorkerMachine) and machine.executor.actor_id
        if own and object_id == handle_id(own):
            return Handle(self, object_id, Address(uid), weak=True)
        handle = self.arrive(object_id, Address(uid), cover, giver)
        handle.risky = risky
        return handle

    def read(self, stored: Stored, object_id: bytes, cover: bytes) -> Opened:
        """Open a value in the arena; what is made of it holds the object."""
        row = self.owner.rows.get(object_id)
        if row is not None:
            row.local += 1
            row.views += 1
        else:
            self.post(e.ViewArrived(stored, cover))
            self.cluster.ghost.given(self.uid, object_id, stored.owner.uid)
        view = Handle(self, object_id, stored.owner, view=stored)
        return self._look(stored, view, object_id)

    def read_argument(self, stored: Stored, cover: bytes) -> Opened:
        """Open a call's argument: the call covers it, see ``keep_arguments``."""
        view = Handle(self, stored.object_id, stored.owner, weak=True, view=stored)
        self.cluster.ghost.given(self.uid, stored.object_id, stored.owner.uid)
        return self._look(stored, view, cover)

    def _look(self, stored: Stored, view: Handle, cover: bytes) -> Opened:
        data = self.cluster.arena.read(stored, view)
        opened = self.open(unpack(data), cover, stored.owner.uid)
        opened.view = view
        return opened

    def opened(self, call: Call) -> None:
        """A call's arguments are open, and what is in them has been handed in."""
        call.opened = True
        self._confirm(call)

    def confirm(self, task_id: bytes) -> None:
        """The machine is to be told when the arguments of this call are open."""
        call = self.worker.executor.inbox.running.get(task_id)
        if call is not None:
            self.to_confirm[task_id] = None
            if call.opened:
                self._confirm(call)

    def _confirm(self, call: Call) -> None:
        if call.spec.task_id in self.to_confirm:
            del self.to_confirm[call.spec.task_id]
            self.post(e.ArgumentsOpened(call.spec.task_id))

    def keep_arguments(self, views: list[Handle], task_id: bytes) -> None:
        """The call is over: views of its arguments that live on are uses of their objects."""
        for view in views:
            if view.live:
                assert view.view is not None
                self.post(e.ViewArrived(view.view, task_id))
                view.count()

    # ---------------------------------------------------------------- waiting

    def _check_open(self) -> None:
        if self.over:
            raise SessionOver(self.over)

    def await_objects(
        self, thread: Thread, ids: tuple[bytes, ...], need: int, timeout_ns: int | None
    ) -> Waits:
        """Wait until ``need`` of the objects are ready; 0: all of them, or the first failed."""
        self._check_open()
        call_id, pending = self.new_call()
        pending.reenters = thread.blocks and not self.cluster.waits_aside()
        self.post(
            e.AwaitObjects(
                call_id, ids, need or len(ids), not need, pending.reenters, thread.cover
            )
        )
        return (yield from self._await(call_id, pending, timeout_ns))

    def _await(self, call_id: int, pending: Pending, timeout_ns: int | None) -> Waits:
        self._check_open()
        if timeout_ns is not None:
            pending.deadline = self.cluster.now + timeout_ns
        pending.interruptible = True
        try:
            yield pending
        finally:
            if not pending.done:
                self.calls.pop(call_id, None)
                self.post(e.StopWaiting(call_id))
        self._check_open()
        return pending.done

    def ask(self, make: Callable[[int], Message]) -> Waits:
        """Ask the node something. Returns its answer."""
        self._check_open()
        call_id, pending = self.new_call()
        self.post(e.Asked(call_id, make(call_id)))
        yield pending
        self._check_open()
        return pending.outcome

    def room(self, thread: Thread, timeout_ns: int | None) -> Waits:
        """Wait while too many calls are unfinished; see ``zfut.room``."""
        backlog = self.owner.ledger.backlog
        if backlog.open_calls + len(self.inbox) < backlog.bar:
            return True
        self.cluster.turn(self)
        if not backlog.is_full(thread.cover):
            return True
        call_id, pending = self.new_call()
        pending.reenters = thread.blocks
        self.post(e.AwaitRoom(call_id, thread.cover, thread.blocks))
        return (yield from self._await(call_id, pending, timeout_ns))

    def get(self, thread: Thread, handles: list[Handle], timeout_ns: int | None) -> Waits:
        """Return what the references stand for, or raise the first error."""
        ids = tuple(handle.object_id for handle in handles)
        rows = self.owner.rows
        row = rows.get(ids[0])
        while len(ids) > 1 or row is None or row.state < READY:
            done = yield from self.await_objects(thread, ids, 0, timeout_ns)
            if not done:
                raise UserError(["Timeout"])
            row = rows[ids[0]]
            states = [rows[name].state for name in ids]
            if min(states) >= READY or FAILED in states:
                break  # else one of them was lost meanwhile
        self._check_open()
        for handle in handles:
            row = rows[handle.object_id]
            if row.state == FAILED:
                self.cluster.ghost.check_failed(handle, row)
                self.value_of(handle.object_id, row, thread.cover)
        opened = []
        for handle in handles:
            one = self.value_of(handle.object_id, rows[handle.object_id], thread.cover)
            self.cluster.ghost.check_value(handle, one.number)
            opened.append(one)
        return opened

    def wait(
        self, thread: Thread, handles: list[Handle], need: int, timeout_ns: int | None
    ) -> Waits:
        """Wait until ``need`` of the references are ready. Returns how many are."""
        ready = self._ready_of(handles)
        while ready < need:
            ids = tuple(handle.object_id for handle in handles)
            yield from self.await_objects(thread, ids, need, timeout_ns)
            ready = self._ready_of(handles)
            if timeout_ns is not None:
                break
        return ready

    def _ready_of(self, handles: list[Handle]) -> int:
        rows = self.owner.rows
        found = [rows.get(handle.object_id) for handle in handles]
        return sum(1 for row in found if row is not None and row.state >= READY)
