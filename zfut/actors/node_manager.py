"""The node manager's process: its mailbox, its machine, and the line to the root."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import secrets
import signal
import socket
from pathlib import Path

from zfut import __version__
from zfut.actors import fork_server, places
from zfut.actors.loop import Loop
from zfut.actors.mailbox import Mailbox
from zfut.actors.start import NodePlan
from zfut.core import effects as f
from zfut.core.events import ProcessEnded, ProcessStarted, Woken
from zfut.core.node.machine import NodeMachine
from zfut.exits import describe_exit
from zfut.ids import node_of, proc_uid
from zfut.store import Arena
from zfut.wire import messages as m
from zfut.wire.codec import decode_to_node

log = logging.getLogger("zfut.node")


class NodeProcess:
    """Joins the node machine to its mailbox, the root, and the ends of programs."""

    def __init__(self, plan: NodePlan, arena: Arena, control: socket.socket) -> None:
        self._plan = plan
        self._arena = arena
        self._control = control
        self._ended = False
        self._told_to_stop = False
        self._orphaned = False
        self._pidfds: dict[bytes, int] = {}
        spawns = itertools.count(1)
        node = node_of(plan.manager)
        self.machine = NodeMachine(
            plan.manager,
            plan.config,
            plan.resources,
            arena.info.capacity_bytes,
            lambda: proc_uid(node, next(spawns), secrets.token_bytes(4)),
        )
        self.machine.granting.prestart = plan.prestart
        self.machine.granting.dirty = True
        hello = m.Hello(m.PROTOCOL_VERSION, plan.key, plan.manager, "node", os.getpid())
        mailbox = Mailbox(plan.sockets, hello, decode_to_node, plan.config.message_max_bytes)
        self.loop = Loop(self.machine, mailbox)
        self.loop.handlers = {
            f.StartWorker: self._start_worker,
            f.KillProcess: self._kill,
            f.Forget: self._forget,
            f.Note: self._note,
            f.WatchProcess: self._watch,
            f.EndProcess: self._end,
        }
        self.loop.watch_fd(control.fileno(), self._on_notice)

    def run(self) -> int:
        """Serve until the session ends."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._publish()
        self._control.send(fork_server.encode(fork_server.Ready()))
        self.loop.turn()
        self.loop.serve(lambda: self._ended or self._told_to_stop)
        if not self._ended:
            self.machine.stop("it was told to stop (SIGTERM)")
            self.loop.post(Woken())
            self.loop.turn()
        self.loop.mailbox.close(linger_ms=100)
        if self._orphaned:
            places.remove(Path(self._plan.directory))
        return 0

    def _publish(self) -> None:
        plan = self._plan
        root = os.getppid()
        contents = places.SessionFile(
            session=plan.session,
            name=plan.name,
            protocol=m.PROTOCOL_VERSION,
            key=plan.key.hex(),
            manager=plan.manager.hex(),
            manager_pid=os.getpid(),
            manager_started=places.started(os.getpid()),
            root_pid=root,
            root_started=places.started(root),
            driver_pid=plan.driver_pid,
            arena=self._arena.info,
            config={name: getattr(plan.config, name) for name in plan.config.__struct_fields__},
            embedded=plan.embedded,
            zfut=__version__,
        )
        places.write(Path(plan.directory), contents)

    # ---------------------------------------------------------------- effects

    def _start_worker(self, effect: f.StartWorker) -> None:
        self._command(fork_server.ForkWorker(effect.uid))

    def _kill(self, effect: f.KillProcess) -> None:
        self._command(fork_server.KillWorkerProcess(effect.uid))

    def _command(self, command: fork_server.Command) -> None:
        with contextlib.suppress(OSError):  # without a root there are no workers either
            self._control.send(fork_server.encode(command))

    def _forget(self, effect: f.Forget) -> None:
        self.loop.mailbox.forget(effect.uid)
        with contextlib.suppress(OSError):
            Path(f"{self._plan.sockets}/{effect.uid[8:].hex()}").unlink()
        fd = self._pidfds.pop(effect.uid, -1)
        if fd >= 0:
            self.loop.unwatch_fd(fd)
            os.close(fd)

    def _note(self, effect: f.Note) -> None:
        log.log(logging.getLevelName(effect.level.upper()), "%s", effect.text)

    def _watch(self, effect: f.WatchProcess) -> None:
        """Learn of a program's end from the kernel, at once."""
        try:
            fd = os.pidfd_open(effect.pid)
        except ProcessLookupError:
            self.loop.inbox.append(ProcessEnded(effect.uid, "it ended before it had joined"))
            return
        self._pidfds[effect.uid] = fd
        self.loop.watch_fd(fd, lambda: self._program_ended(effect.uid))

    def _end(self, _: f.EndProcess) -> None:
        self._ended = True

    # ---------------------------------------------------------------- news

    def _on_notice(self) -> None:
        try:
            data = self._control.recv(65536)
        except OSError:
            data = b""  # the root was killed with commands of ours unread
        if not data:
            self._ended = self._orphaned = True
            return
        notice = fork_server.decode_notice(data)
        if isinstance(notice, fork_server.WorkerForked):
            self.loop.inbox.append(ProcessStarted(notice.uid, notice.pid))
        else:
            why = describe_exit(notice.status)
            self.loop.inbox.append(ProcessEnded(notice.uid, why))

    def _program_ended(self, uid: bytes) -> None:
        fd = self._pidfds.pop(uid, -1)
        if fd >= 0:
            self.loop.unwatch_fd(fd)
            os.close(fd)
        self.loop.inbox.append(ProcessEnded(uid, "the program ended"))

    def _on_sigterm(self, *_: object) -> None:
        """Only note it: the machine may be in the middle of something."""
        self._told_to_stop = True
        self.loop.wake()


def run_node(plan: NodePlan, arena: Arena, control: socket.socket) -> int:
    """Be the node manager; returns the exit code."""
    # Opened here and now: the directory may be gone when there is something to say.
    handler = logging.FileHandler(f"{plan.directory}/node.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger = logging.getLogger("zfut")
    logger.addHandler(handler)
    logger.setLevel(plan.log_level)
    return NodeProcess(plan, arena, control).run()
