"""The cluster: every machine of one node in one thread, on a made-up clock.

Things happen in the order of a calendar whose dates chance draws: a message arrives, a process
takes its turn, a thread goes on, a fault strikes.  The machines are those of production and so
are the bytes between them; sockets, processes and user code are made up.

    user thread -- posts --> inbox --.
                                      >-- turn --> machine --> effects --> network, calendar
    network -- arrives --> arrived --'
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any, assert_never

from msgspec import Struct

from zfut.config import Config
from zfut.core import effects as f
from zfut.core.events import ProcessEnded, ProcessStarted, Received, Woken
from zfut.core.executor.inbox import CREATE, Call
from zfut.core.node.machine import NodeMachine
from zfut.core.owner.machine import OwnerMachine
from zfut.core.worker import WorkerMachine
from zfut.ids import NodeUid, proc_uid
from zfut.sim import invariants
from zfut.sim.arena import GhostArena, violate
from zfut.sim.ghost import Ghost
from zfut.sim.network import Latency, Link, Network
from zfut.sim.process import Code, Machine, Pending, Process, Thread
from zfut.sim.values import SessionOver, SymbolicFailures
from zfut.wire import messages as m
from zfut.wire.codec import decode_to_node, decode_to_owner, decode_to_worker, encode, join

NODE = NodeUid(b"simnode1")

ENDS = {
    0: "it exited with code 0",
    222: "exit_actor",
    223: "out of scope",
    224: "constructor failed",
}
"""How the root words the exit codes of workers; see ``zfut.exits``."""

EXIT_CONSTRUCTOR = 224


class Setting(Struct):
    """What kind of cluster a seed means, and how much chance there is in it.

    ``preempt``: user code is interrupted between two things it does.  ``batches``: all that
    has arrived is handled at once.  ``losses``: what a process that ends in peace sent last is
    lost.
    """

    cpus: int = 2
    drivers: int = 1
    capacity: int = 1 << 30
    latency: Latency = Latency(50_000, 0, 0.0)
    start_ns: int = 3_000_000
    preempt: float = 0.2
    jitter_ns: int = 20_000
    batches: float = 0.5
    losses: float = 0.1
    config: Config = Config()


class Cluster:
    """The world. ``run_call`` is the user code that workers run."""

    def __init__(
        self, setting: Setting, rng: Random, run_call: Callable[[Thread, Call], Code]
    ) -> None:
        self.setting = setting
        self.config = setting.config
        self.rng = rng
        self.run_call = run_call
        self.now = rng.randrange(1 << 40)
        self.network = Network(rng, setting.latency)
        self.arena = GhostArena()
        self.ghost = Ghost(self)
        self.processes: dict[bytes, Process] = {}
        self.trace: deque[tuple[int, Process, Any, str]] = deque(maxlen=1500)
        self.events = 0
        self.turns = 0
        self.stopped = False
        self._calendar: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._dates = 0
        self._spawned = 0
        uid = proc_uid(NODE, 0, rng.randbytes(4))
        total = {"CPU": setting.cpus * 10_000, "GPU": 10_000}
        machine = NodeMachine(uid, self.config, total, setting.capacity, self._name_worker)
        self.node = self._add(uid, "node", machine)
        self.drivers = [self._add_driver(index) for index in range(setting.drivers)]

    # ---------------------------------------------------------------- processes

    def _add(self, uid: bytes, name: str, machine: Machine) -> Process:
        process = self.processes[uid] = Process(self, uid, name, machine)
        return process

    def _add_driver(self, index: int) -> Process:
        uid = proc_uid(NODE, 0x80000000 + index, self.rng.randbytes(4))
        machine = OwnerMachine(uid, self.node.uid, self.config, SymbolicFailures())
        name = "driver" if index == 0 else f"driver{index + 1}"
        process = self._add(uid, name, machine)
        self._greet(process, "driver")
        return process

    def _name_worker(self) -> bytes:
        self._spawned += 1
        return proc_uid(NODE, self._spawned, self.rng.randbytes(4))

    def _greet(self, process: Process, kind: str) -> None:
        hello = m.Hello(m.PROTOCOL_VERSION, b"key", process.uid, kind, self._spawned)
        self._send(process, f.Send(self.node.uid, hello))

    def lives(self, uid: bytes) -> bool:
        """Whether the process is there."""
        process = self.processes.get(uid)
        return process is not None and process.alive

    def workers(self) -> list[Process]:
        """Return the workers that live."""
        return [
            process
            for process in self.processes.values()
            if process.alive and isinstance(process.machine, WorkerMachine)
        ]

    def _fork(self, uid: bytes) -> None:
        """The root forks; the worker says hello when it has its mailbox."""
        name = f"w{int.from_bytes(uid[8:12], 'big')}"
        machine = WorkerMachine(uid, self.node.uid, self.config, SymbolicFailures())
        process = self._add(uid, name, machine)
        self.node.post(ProcessStarted(uid, self._spawned))
        self.at(self._delay(self.setting.start_ns), self._born, process)

    def _born(self, process: Process) -> None:
        if process.alive:
            self._greet(process, "worker")

    def kill(self, process: Process, why: str = "killed by signal 9 (SIGKILL)") -> None:
        """The process dies, this very moment, wherever it is."""
        if process.alive:
            self._end(process, why, peaceful=False)

    def _end(self, process: Process, why: str, *, peaceful: bool) -> None:
        process.alive = False
        self.trace.append((self.now, process, why, "ends"))
        self.ghost.ended(process)
        self.network.lose(process.uid, peaceful=peaceful)
        for thread in process.threads:
            if thread.code is not None:
                thread.code = None
        self.at(self._delay(), self._root_tells, process.uid, why)

    def _root_tells(self, uid: bytes, why: str) -> None:
        if self.node.alive:
            self.node.post(ProcessEnded(uid, why))

    def leave(self, process: Process, code: int) -> None:
        """The process ends in peace."""
        if not process.alive:
            return
        self.turn(process)
        why = ENDS.get(code, f"it exited with code {code}")
        self._end(process, why, peaceful=self.rng.random() >= self.setting.losses)

    def farewell(self, driver: Process) -> None:
        """A program leaves the session."""
        self.turn(driver)
        self._send(driver, f.Send(self.node.uid, m.Farewell()))
        self._end(driver, "the program ended", peaceful=True)

    # ---------------------------------------------------------------- the calendar

    def at(self, delay: int, what: Callable[..., None], *args: object) -> None:
        """Let something happen after ``delay`` nanoseconds."""
        self._dates += 1
        heappush(self._calendar, (self.now + delay, self._dates, what, args))

    def _delay(self, usual_ns: int = 0) -> int:
        if usual_ns:
            return 1 + int(self.rng.random() * usual_ns)
        return self.setting.latency.draw(self.rng)

    def _moment(self) -> int:
        return 1 + int(self.rng.random() * self.setting.jitter_ns)

    def soon(self, process: Process) -> None:
        """The process has something to handle."""
        self._turn_by(process, self.now + self._moment())

    def _turn_by(self, process: Process, when: int) -> None:
        if process.alive and (process.turn_at < 0 or when < process.turn_at):
            process.turn_at = when
            self._dates += 1
            heappush(self._calendar, (when, self._dates, self._take_turn, (process, when)))

    def run(self, turns: int, until: int | None = None) -> bool:
        """Let things happen. Returns whether nothing is left that could."""
        calendar = self._calendar
        limit = self.turns + turns
        while calendar:
            when, _, what, args = calendar[0]
            if until is not None and when > until:
                self.now = until
                return False
            if self.turns >= limit:
                return False
            heappop(calendar)
            self.now = max(self.now, when)
            what(*args)
        return True

    # ---------------------------------------------------------------- turns

    def _take_turn(self, process: Process, when: int) -> None:
        if process.turn_at != when or not process.alive:
            return
        process.turn_at = -1
        if process.paused_until > self.now:
            self._turn_by(process, process.paused_until)
            return
        self.turn(process)
        self._start_calls(process)

    def turn(self, process: Process) -> None:
        """Handle what was posted and what has arrived; see ``zfut.actors.loop``."""
        machine, now, trace = process.machine, self.now, self.trace
        inbox, arrived = process.inbox, process.arrived
        if inbox:
            while inbox:
                event = inbox.popleft()
                trace.append((now, process, event, "event"))
                machine.handle(event, now)
                self.events += 1
            self._perform(process, machine.settle(now))
        count = (
            len(arrived) if self.rng.random() < self.setting.batches else min(1, len(arrived))
        )
        for _ in range(count):
            sender, head, payload = arrived.popleft()
            event = Received(sender, self._decode(process, head), payload)
            trace.append((now, process, event, "event"))
            machine.handle(event, now)
        wake_at = machine.wake_at()
        if wake_at is not None and wake_at <= now:
            machine.handle(Woken(), now)
            count += 1
        if count:
            self.events += count
            self._perform(process, machine.settle(now))
        self.turns += 1
        invariants.after_turn(self, process)
        if arrived:
            self.soon(process)
        else:
            wake_at = machine.wake_at()
            if wake_at is not None:
                self._turn_by(process, max(wake_at, now + 1))

    @staticmethod
    def _decode(process: Process, head: bytes) -> m.Message:
        machine = process.machine
        if isinstance(machine, WorkerMachine):
            return decode_to_worker(head)
        return (
            decode_to_owner(head) if isinstance(machine, OwnerMachine) else decode_to_node(head)
        )

    def _arrive(self, link: Link) -> None:
        process = self.processes[link.receiver]
        letters = self.network.arrived(link, self.now)
        if process.alive and letters:
            process.arrived.extend(
                letter for letter in letters if letter[0] not in process.forgotten
            )
            self.soon(process)

    # ---------------------------------------------------------------- effects

    def _perform(self, process: Process, effects: list[f.Effect]) -> None:  # noqa: C901
        for effect in effects:
            self.trace.append((self.now, process, effect, "effect"))
            match effect:
                case f.Send():
                    self._send(process, effect)
                case f.Complete(call_id, outcome):
                    self._complete(process, call_id, outcome)
                case f.Forget(uid):
                    process.forgotten[uid] = None
                case f.Note():
                    pass
                case f.StartWorker(uid):
                    self.at(self._delay(), self._fork, uid)
                case f.KillProcess(uid):
                    self.at(self._delay(), self._kill_now, uid)
                case f.WatchProcess(uid):
                    if not self.lives(uid):
                        process.post(ProcessEnded(uid, "it ended before it had joined"))
                case f.EndProcess():
                    self._end_process(process, effect)
                case f.Interrupt(why):
                    self._interrupt(process, why)
                case _:
                    assert_never(effect)

    def _send(self, process: Process, effect: f.Send) -> None:
        if effect.to in process.forgotten:
            violate(
                f"{process.name} sends {type(effect.message).__name__} to a process that it "
                "knows is dead"
            )
        self.ghost.sent(effect)
        payload = join(effect.payload) if effect.payload else b""
        letter = (process.uid, encode(effect.message), payload)
        if self.lives(effect.to):
            at, link = self.network.send(process.uid, effect.to, letter, self.now)
            self._dates += 1
            heappush(self._calendar, (at, self._dates, self._arrive, (link,)))

    def hold(self, sender: Process, to: Process) -> None:
        """What one process sends another is under way until ``let_go``."""
        self.network.hold(sender.uid, to.uid)

    def let_go(self, sender: Process, to: Process) -> None:
        """What was held up arrives."""
        for at, link in self.network.let_go(sender.uid, to.uid, self.now):
            self.at(at - self.now, self._arrive, link)

    def _complete(self, process: Process, call_id: int, outcome: object) -> None:
        pending = process.calls.pop(call_id, None)
        if pending is None:
            return
        pending.outcome = outcome
        pending.done = True
        if pending.thread is not None:
            self.at(self._moment(), self.resume, pending.thread, pending)

    def _kill_now(self, uid: bytes) -> None:
        process = self.processes.get(uid)
        if process is None:
            self.at(self._delay(), self._kill_now, uid)
        else:
            self.kill(process)

    def _end_process(self, process: Process, effect: f.EndProcess) -> None:
        if process is self.node:
            self.stopped = True
            for other in list(self.processes.values()):
                self._interrupt(other, effect.why)
            process.alive = False
            return
        process.end = effect
        self.at(self._moment(), self._start_calls, process)

    def _interrupt(self, process: Process, why: str) -> None:
        process.over = process.over or why
        for pending in process.calls.values():
            pending.done = True
            if pending.thread is not None:
                self.at(self._moment(), self.resume, pending.thread, pending)
        process.calls.clear()

    # ---------------------------------------------------------------- user code

    def start(self, process: Process, code: Callable[[Thread], Code]) -> Thread:
        """Start a thread of user code in a driver."""
        thread = Thread(process)
        thread.code = code(thread)
        process.threads.append(thread)
        self.at(self._moment(), self.resume, thread, None)
        return thread

    def _start_calls(self, process: Process) -> None:
        """A worker's main thread looks for work; see ``zfut.actors.worker``."""
        machine = process.machine
        if not process.alive or not isinstance(machine, WorkerMachine):
            return
        if process.paused_until > self.now:
            self.at(process.paused_until - self.now, self._start_calls, process)
            return
        executor = machine.executor
        while executor.inbox.queue and len(process.threads) < executor.max_concurrency:
            call = executor.take()
            assert call is not None
            self._start_call(process, call, None)
            if not process.alive:
                return
        while executor.inbox.nested:
            below = self._waiting_call(process)
            call = executor.inbox.take_nested() if below is not None else None
            if call is None:
                break
            self._start_call(process, call, below)
            if not process.alive:
                return
        if process.end is not None and not executor.inbox.queue and not process.threads:
            self.leave(process, process.end.code)

    def _start_call(self, process: Process, call: Call, below: Thread | None) -> None:
        self.ghost.started(process, call)
        self.trace.append((self.now, process, call, "runs"))
        thread = Thread(process, call, below)
        if below is not None:
            below.above = thread
        thread.code = self.run_call(thread, call)
        process.threads.append(thread)
        self.resume(thread, None)

    @staticmethod
    def _waiting_call(process: Process) -> Thread | None:
        """The call on top of which another one may run: see ``Session.await_objects``."""
        if not process.threads:
            return None
        top = process.threads[-1]
        waits = top.waits_for
        return top if waits is not None and waits.reenters and not waits.done else None

    def resume(self, thread: Thread, waited: Pending | None) -> None:
        """A thread goes on, if it still waits for what came."""
        process = thread.process
        if not process.alive or thread.code is None or thread.waits_for is not waited:
            return
        if thread.above is not None:
            return  # it goes on when what runs on top of it has ended
        if process.paused_until > self.now:
            self.at(process.paused_until - self.now, self.resume, thread, waited)
            return
        thread.waits_for = None
        try:
            wants = thread.code.send(None)
        except StopIteration:
            self._code_ended(thread)
        except SessionOver:
            thread.code = None
        else:
            self._suspend(thread, wants)

    def _suspend(self, thread: Thread, wants: int | Pending) -> None:
        if isinstance(wants, int):
            self.at(wants, self.resume, thread, None)
            return
        thread.waits_for = wants
        wants.thread = thread
        if wants.done:
            self.at(1, self.resume, thread, wants)
        elif wants.deadline is not None:
            self.at(max(0, wants.deadline - self.now), self.resume, thread, wants)

    def _code_ended(self, thread: Thread) -> None:
        process = thread.process
        thread.code = None
        process.threads.remove(thread)
        if thread.below is not None:
            self._go_on(thread.below)
        machine = process.machine
        if thread.call is None or not isinstance(machine, WorkerMachine):
            return
        code = self.ghost.exit_wanted.pop(process.uid, None)
        if code is not None:
            self.turn(process)
            self.leave(process, code)
        elif thread.call.kind == CREATE:
            self.turn(process)
            if machine.executor.exiting == "constructor failed":
                self.leave(process, EXIT_CONSTRUCTOR)
            self.at(self._moment(), self._start_calls, process)
        elif self.rng.random() < self.setting.batches:
            self.at(1, self._start_calls, process)
        else:
            self.soon(process)

    def _go_on(self, below: Thread) -> None:
        """What ran on top of a call that waits has ended."""
        below.above = None
        waits = below.waits_for
        assert waits is not None
        late = waits.deadline is not None and waits.deadline <= self.now
        if waits.done or late:
            self.at(1, self.resume, below, waits)

    # ---------------------------------------------------------------- checks that need all

    def check_lent(self, process: Process, offset: int, size: int) -> None:
        """What a process writes lies in what it was lent."""
        machine = self.node.machine
        assert isinstance(machine, NodeMachine)
        for start, length in machine.lending.lent.get(process.uid, ()):
            if start <= offset and offset + size <= start + length:
                return
        violate(f"{process.name} writes at {offset}+{size}, which it was not lent")
