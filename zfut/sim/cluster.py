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
from zfut.core.executor.inbox import Call
from zfut.core.node.machine import NodeMachine
from zfut.core.owner.machine import OwnerMachine
from zfut.core.worker import WorkerMachine
from zfut.ids import NodeUid, proc_uid
from zfut.sim import custody, invariants
from zfut.sim.arena import GhostArena, violate
from zfut.sim.causes import causes_are_alive
from zfut.sim.ghost import Ghost
from zfut.sim.history import History
from zfut.sim.network import Latency, Link, Network
from zfut.sim.process import SLOT, Code, Machine, Process, Thread
from zfut.sim.rules import Retries
from zfut.sim.threads import Threads
from zfut.sim.values import SymbolicFailures
from zfut.wire import messages as m
from zfut.wire.codec import decode_to_node, decode_to_owner, decode_to_worker, encode, join

NODE = NodeUid(b"simnode1")

QUIET_NS = 1_000_000
"""When nothing happens for so long, and no message is under way, every hold must be a real one."""

LONG_NS = 10_000_000
"""When nothing happens for so long, whatever waits must have a cause that is alive."""

ENDS = {
    0: "it exited with code 0",
    222: "exit_actor",
    223: "out of scope",
    224: "constructor failed",
}
"""How the root words the exit codes of workers; see ``zfut.exits``."""

EXIT_CONSTRUCTOR = 224


NODE_ENDED = "its node manager ended"

LAST_WORDS_NS = 50_000_000
"""So long a program listens when its node manager has ended; see ``zfut.actors.driver``."""


class Setting(Struct):
    """What kind of cluster a seed means, and how much chance there is in it.

    ``preempt``: user code is interrupted between two things it does.  ``batches``: all that
    has arrived is handled at once.  ``losses``: what a process that ends in peace sent last is
    lost.
    """

    cpus: int = 2
    slots: int = 0
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
        self.threads = Threads(self)
        self.waits_aside: Callable[[], bool] = (
            bool  # a task waits as a coroutine does, not in get
        )
        self.now = rng.randrange(1 << 40)
        self.network = Network(rng, setting.latency)
        self.arena = GhostArena()
        self.ghost = Ghost(self)
        self.retries = Retries()
        self.history = History(self)
        self.processes: dict[bytes, Process] = {}
        self.trace: deque[tuple[int, Process, Any, str]] = deque(maxlen=1500)
        self.events = 0
        self.turns = 0
        self._dying: dict[bytes, None] = {}  # the node has asked for their end
        self.rests = 0  # moments at which nothing was under way
        self.deaths: dict[int, None] = {}  # turns that their processes do not survive
        self._calendar: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._dates = 0
        self._spawned = 0
        uid = proc_uid(NODE, 0, rng.randbytes(4))
        total = {"CPU": setting.cpus * 10_000, "GPU": 10_000}
        if setting.slots:
            total[SLOT] = setting.slots * 10_000
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
        if not self.node.alive:
            return  # the root has ended with it
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
        if process is self.node:
            self._end_session(why, peaceful=False)
        elif process.alive:
            self._end(process, why, peaceful=False)

    def _end_session(self, why: str, *, peaceful: bool) -> None:
        """The node manager is gone: its root kills the workers, and programs notice it."""
        node = self.node
        if not node.alive:
            return
        self._end(node, why, peaceful=peaceful)
        for process in list(self.processes.values()):
            if process in self.drivers:
                self.at(LAST_WORDS_NS + self._delay(), self._interrupt, process, NODE_ENDED)
            else:
                self.at(self._delay(), self.kill, process, NODE_ENDED)

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

    def moment(self) -> int:
        return 1 + int(self.rng.random() * self.setting.jitter_ns)

    def soon(self, process: Process) -> None:
        """The process has something to handle."""
        self._turn_by(process, self.now + self.moment())

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
            if when - self.now > QUIET_NS and self._is_quiet():
                self.rests += 1
                custody.holds_are_real(self)
                if when - self.now > LONG_NS:
                    causes_are_alive(self)
            heappop(calendar)
            self.now = max(self.now, when)
            what(*args)
        return True

    def _is_quiet(self) -> bool:
        """Whether nothing is under way, and nobody is stopped: only time can change anything."""
        if not self.node.alive:
            return False
        node = self.node.machine
        assert isinstance(node, NodeMachine)
        known = (*node.drivers, *node.granting.pool.workers)
        untold = any(uid in self.processes and not self.lives(uid) for uid in known)
        return not (untold or self._dying or self.network.under_way) and not any(
            process.alive
            and (process.inbox or process.arrived or process.paused_until > self.now)
            for process in self.processes.values()
        )

    # ---------------------------------------------------------------- turns

    def _take_turn(self, process: Process, when: int) -> None:
        if process.turn_at != when or not process.alive:
            return
        process.turn_at = -1
        if process.paused_until > self.now:
            self._turn_by(process, process.paused_until)
            return
        self.turn(process)
        self.threads.start_calls(process)

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
            before = self.history.before(process, event)
            machine.handle(event, now)
            self.history.after(process, event, before)
        wake_at = machine.wake_at()
        if wake_at is not None and wake_at <= now:
            machine.handle(Woken(), now)
            count += 1
        if count:
            self.events += count
            self._perform(process, machine.settle(now))
        self.turns += 1
        if self.turns in self.deaths and process is not self.node:
            self.ghost.killed += 1
            self.at(0, self.kill, process)
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

    def _perform(self, process: Process, effects: list[f.Effect]) -> None:  # noqa: C901, PLR0912  one for each
        for effect in effects:
            self.trace.append((self.now, process, effect, "effect"))
            match effect:
                case f.Send():
                    self._send(process, effect)
                case f.Complete(call_id, outcome):
                    self._complete(process, call_id, outcome)
                case f.Forget(uid):
                    process.forgotten[uid] = process.hung_up[uid] = None
                    kept = [letter for letter in process.arrived if letter[0] != uid]
                    process.arrived.clear()  # nothing more is taken from it
                    process.arrived.extend(kept)
                case f.Note() | f.CollectGarbage():
                    pass  # what is dropped here is known at once
                case f.StartWorker(uid):
                    self.at(self._delay(), self._fork, uid)
                case f.KillProcess(uid):
                    self._dying[uid] = None
                    self.at(self._delay(), self._kill_now, uid)
                case f.WatchProcess(uid):
                    if not self.lives(uid):
                        process.post(ProcessEnded(uid, "it ended before it had joined"))
                case f.EndProcess():
                    self._end_process(process, effect)
                case f.ReleaseInstance():
                    process.releases = True
                    self.at(self.moment(), self.threads.start_calls, process)
                case f.ConfirmOpened(task_id):
                    process.confirm(task_id)
                case f.Interrupt(why):
                    self._interrupt(process, why)
                case f.Close():
                    pass  # threads that tasks leave behind are not simulated
                case f.InterruptCall(task_id):
                    self.threads.interrupt(process, task_id)
                case _:
                    assert_never(effect)

    def _send(self, process: Process, effect: f.Send) -> None:
        if effect.to in process.hung_up and not self._asks_again(process, effect.to):
            violate(
                f"{process.name} sends {type(effect.message).__name__} to a process that it "
                "knows is dead"
            )
        if isinstance(effect.message, m.Watch):
            for uid in effect.message.uids:  # it is told again of whom it has forgotten
                process.hung_up.pop(uid, None)
        self.ghost.sent(effect)
        self.history.sent(process, effect)
        payload = join(effect.payload) if effect.payload else b""
        letter = (process.uid, encode(effect.message), payload)
        if self.lives(effect.to):
            at, link = self.network.send(process.uid, effect.to, letter, self.now)
            self._dates += 1
            heappush(self._calendar, (at, self._dates, self._arrive, (link,)))

    def _asks_again(self, process: Process, uid: bytes) -> bool:
        """Whether the process has forgotten this death, and watches the dead: it will be told."""
        if process is self.node:
            return False
        ledger = process.owner.ledger
        return uid in ledger.watched and uid not in ledger.dead

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
            self.at(self.moment(), self.threads.resume, pending.thread, pending)

    def _kill_now(self, uid: bytes) -> None:
        process = self.processes.get(uid)
        if process is None and self.node.alive:
            self.at(self._delay(), self._kill_now, uid)
        elif process is not None:
            self._dying.pop(uid, None)
            self.kill(process)

    def _end_process(self, process: Process, effect: f.EndProcess) -> None:
        if process is self.node:
            self._end_session(effect.why, peaceful=True)
            return
        process.end = effect
        self.at(self.moment(), self.threads.start_calls, process)

    def _interrupt(self, process: Process, why: str) -> None:
        process.over = process.over or why
        for pending in process.calls.values():
            pending.done = True
            if pending.thread is not None:
                self.at(self.moment(), self.threads.resume, pending.thread, pending)
        process.calls.clear()

    # ---------------------------------------------------------------- checks that need all

    def check_lent(self, process: Process, offset: int, size: int) -> None:
        """What a process writes lies in what it was lent."""
        machine = self.node.machine
        assert isinstance(machine, NodeMachine)
        for start, length in machine.lending.lent.get(process.uid, ()):
            if start <= offset and offset + size <= start + length:
                return
        violate(f"{process.name} writes at {offset}+{size}, which it was not lent")
