"""The root of a session: forks the node manager and the workers, and ends with them.

It has imported what they need and holds no threads and no sockets of ZeroMQ, so a fork is safe,
takes milliseconds and shares memory.  It is their parent: it learns of each end at once and for
certain, and when it ends itself the kernel ends them.

    driver --- life pipe ---> root --- control pair --- node manager
                               '------ fork ----------> workers

Whoever is killed, the rest follows: the root sees the driver's end on the life pipe and the node
manager's as its parent; the node manager and the driver see the root's end as end of file.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zfut.actors import places
from zfut.actors.start import NodePlan
from zfut.exits import EXIT_NO_FORK

if TYPE_CHECKING:
    from zfut.store import Arena

PR_SET_PDEATHSIG = 1

FIRST = ("zfut.actors.node_manager", "zfut.actors.worker")
"""What every process of the node needs: imported once, shared after each fork."""

LATER = ("asyncio", "zfut.actors.async_actor", "concurrent.futures.thread")
"""What some workers need: imported in the first idle moment."""

IDLE_MS = 100


class ForkWorker(msgspec.Struct, tag=True, array_like=True):
    """node manager -> root: fork a worker of this name."""

    uid: bytes


class KillWorkerProcess(msgspec.Struct, tag=True, array_like=True):
    """node manager -> root: kill the worker of this name."""

    uid: bytes


class WorkerForked(msgspec.Struct, tag=True, array_like=True):
    """root -> node manager: the worker is process ``pid``."""

    uid: bytes
    pid: int


class WorkerEnded(msgspec.Struct, tag=True, array_like=True):
    """root -> node manager: the worker is gone; ``status`` is what waitpid said."""

    uid: bytes
    status: int


class Ready(msgspec.Struct, tag=True, array_like=True):
    """node manager -> root: the session is published; tell whoever started us."""


Command = ForkWorker | KillWorkerProcess | Ready
Notice = WorkerForked | WorkerEnded
encode = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(Command).decode
decode_notice = msgspec.msgpack.Decoder(Notice).decode


class Root:
    """The parent of every process of a session."""

    def __init__(self, plan: NodePlan, life_fd: int) -> None:
        self._plan = plan
        self._life_fds = [fd for fd in (life_fd, _watch(plan.driver_pid)) if fd >= 0]
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._workers: dict[int, bytes] = {}
        self._pids: dict[bytes, int] = {}
        self._manager_pid = 0
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = mine
        self._manager_end = theirs
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> int:
        """Fork the node manager, then serve it until it or the driver ends."""
        from zfut.store import Arena  # noqa: PLC0415  needs ctypes, loaded above

        places.raise_file_limit()
        arena = Arena.create(self._plan.arena_bytes, self._plan.directory)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        _import(FIRST)
        gc.collect()
        gc.freeze()
        self._manager_pid = self._fork_manager(arena)
        self._manager_end.close()
        _import(self._plan.preload)
        code = 1
        try:
            code = self._serve(arena)
        finally:
            self._end_all()
            arena.close()
            places.remove(Path(self._plan.directory))
        return code

    # ---------------------------------------------------------------- children

    def _fork_manager(self, arena: Arena) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            self._become_child()
            self._control.close()
            from zfut.actors.node_manager import run_node  # noqa: PLC0415  child only

            code = run_node(self._plan, arena, self._manager_end)
        except BaseException:  # noqa: BLE001  the child must not return into the parent's code
            sys.excepthook(*sys.exc_info())
        finally:
            _leave(code)
        return 0

    def _fork_worker(self, uid: bytes, arena: Arena) -> int:
        root = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            self._become_child()
            self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != root:  # it died before we asked to be told
                os._exit(code)
            self._control.close()
            from zfut.actors.worker import run_worker  # noqa: PLC0415  child only

            code = run_worker(self._plan, arena, uid)
        except BaseException:  # noqa: BLE001  the child must not return into the parent's code
            sys.excepthook(*sys.exc_info())
        finally:
            _leave(code)
        return 0

    def _become_child(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for fd in (self._wake_read, self._wake_write, *self._life_fds):
            os.close(fd)

    # ---------------------------------------------------------------- serving

    def _serve(self, arena: Arena) -> int:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        for fd in self._life_fds:
            poll.register(fd, select.POLLIN)
        later = [LATER]
        while True:
            ready = poll.poll(IDLE_MS if later else None)
            if not ready and later:
                _import(later.pop())
                gc.collect()
                gc.freeze()
            for fd, _ in ready:
                if fd in self._life_fds:
                    return 0
                if fd == self._wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_read, 512)
                    ended = self._reap()
                    if ended is not None:
                        return ended
                elif not self._on_command(arena):
                    return self._wait_for_manager()

    def _on_command(self, arena: Arena) -> bool:
        try:
            data = self._control.recv(65536)
        except ConnectionResetError:  # it ended before it had read everything we told it
            return False
        if not data:
            return False
        command = decode_command(data)
        if isinstance(command, ForkWorker):
            try:
                pid = self._fork_worker(command.uid, arena)
            except OSError:
                self._tell(WorkerEnded(command.uid, EXIT_NO_FORK))
                return True
            self._workers[pid] = command.uid
            self._pids[command.uid] = pid
            self._tell(WorkerForked(command.uid, pid))
        elif isinstance(command, Ready):
            with contextlib.suppress(OSError):
                os.write(self._life_fds[0], b"r")
        else:
            pid = self._pids.get(command.uid, 0)
            if pid:
                os.kill(pid, signal.SIGKILL)
        return True

    def _reap(self) -> int | None:
        """Collect children that ended. Returns the node manager's exit code if it is one."""
        manager: int | None = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return manager if manager is not None else 1
            if pid == 0:
                return manager
            if pid == self._manager_pid:
                self._manager_pid = 0
                manager = os.waitstatus_to_exitcode(status)
                continue
            uid = self._workers.pop(pid, None)
            if uid is not None:
                self._pids.pop(uid, None)
                self._tell(WorkerEnded(uid, os.waitstatus_to_exitcode(status)))

    def _tell(self, notice: Notice) -> None:
        with contextlib.suppress(OSError):
            self._control.send(encode(notice))

    def _wait_for_manager(self) -> int:
        deadline = time.monotonic() + 2.0
        while self._manager_pid and time.monotonic() < deadline:
            select.select([self._wake_read], [], [], 0.05)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 512)
            code = self._reap()
            if code is not None:
                return code
        return 1

    def _end_all(self) -> None:
        """Kill what is left and collect it, so that nothing outlives the session."""
        pids = [*self._workers, *([self._manager_pid] if self._manager_pid else [])]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _watch(pid: int) -> int:
    """Return what becomes readable when the program ends; -1 for none.

    The life pipe alone would not do: a fork of the program holds it open.
    """
    with contextlib.suppress(ProcessLookupError):  # it has ended: the pipe says so too
        return os.pidfd_open(pid) if pid else -1
    return -1


def _import(names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _leave(code: int) -> None:
    """End a forked child without running what the parent registered for its own end."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def main() -> int:
    """Entry point of the root process: its life line is argv[1], the plan comes on stdin."""
    life_fd = int(sys.argv[1])
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=NodePlan)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for entry in plan.sys_path:
        if entry not in sys.path:
            sys.path.append(entry)
    return Root(plan, life_fd).run()
