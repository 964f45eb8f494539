"""Starting a node: the plan that its processes share, and the launch of their root."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

import zfut
from zfut.actors import places
from zfut.config import Config
from zfut.errors import SessionError
from zfut.ids import TASK_UNITS, NodeUid, proc_uid

ALWAYS_PRELOADED = ("cloudpickle",)
"""Every worker needs it to open a function; imported once, it is there after a fork."""

PRELOADABLE = ("numpy", "pyarrow")
"""Modules that workers inherit ready-made if the driver has them."""

READY_TIMEOUT_S = 30.0


class NodePlan(msgspec.Struct, frozen=True):
    """Everything that the processes of a node are told when they start."""

    session: str
    directory: str
    key: bytes
    manager: bytes
    resources: dict[str, int]
    config: Config
    arena_bytes: int
    prestart: int
    embedded: bool
    driver_pid: int
    sys_path: list[str]
    preload: list[str]
    name: str = ""
    log_level: str = "INFO"

    @property
    def sockets(self) -> str:
        """The directory of the session's sockets."""
        return f"{self.directory}/s"


def cpus_available() -> int:
    """How many CPUs this process may use: affinity and the control group's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _cpu_quota()
    return max(1, min(count or 1, quota)) if quota else max(1, count or 1)


def _cpu_quota() -> int:
    try:
        limit, _, period = Path("/sys/fs/cgroup/cpu.max").read_text().partition(" ")
        return 0 if limit == "max" else max(1, int(int(limit) / int(period)))
    except (OSError, ValueError):
        return 0


def make_plan(
    resources: dict[str, float], config: Config, *, embedded: bool, sys_path: list[str]
) -> NodePlan:
    """Decide what a new session is: its names, key, directory and size."""
    from zfut.store import default_capacity_bytes  # noqa: PLC0415  the store is not always used

    places.check_length(places.base_directory() / "12345678")
    directory = places.make_session_directory()
    node = NodeUid(secrets.token_bytes(8))
    units = {kind: round(amount * TASK_UNITS) for kind, amount in resources.items()}
    capacity = config.object_store_memory or default_capacity_bytes(_memory_bytes())
    capacity -= capacity % 4096
    return NodePlan(
        session=directory.name,
        directory=str(directory),
        key=secrets.token_bytes(32),
        manager=proc_uid(node, 0, secrets.token_bytes(4)),
        resources=units,
        config=config,
        arena_bytes=capacity,
        prestart=int(max(1, min(resources.get("CPU", 1), 64))),
        embedded=embedded,
        driver_pid=os.getpid() if embedded else 0,
        sys_path=sys_path,
        preload=[*ALWAYS_PRELOADED, *(name for name in PRELOADABLE if name in sys.modules)],
    )


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory_available() -> float:
    """How many bytes of memory this machine or control group has."""
    from zfut.store.capacity import memory_limit_bytes  # noqa: PLC0415

    limit = memory_limit_bytes()
    return float(min(limit or _memory_bytes(), _memory_bytes()))


class Launched:
    """A node's root process, as its starter holds it."""

    def __init__(
        self, plan: NodePlan, process: subprocess.Popen[bytes], life: socket.socket
    ) -> None:
        self.plan = plan
        self.process = process
        self.life = life

    def end(self, timeout_s: float = 2.0) -> None:
        """End the whole node: the root sees the life line close and takes everything down."""
        with contextlib.suppress(OSError):
            self.life.shutdown(socket.SHUT_RDWR)  # also if a fork of ours holds it open
        self.life.close()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        places.remove(Path(self.plan.directory))


_BOOT = """
import sys
sys.path[:] = [entry for entry in sys.path if entry]
sys.path.append(sys.argv[2])
from zfut.actors import fork_server
sys.exit(fork_server.main())
"""
"""Finds zfut where the program found it, without a trace in the workers' environment."""


def launch(plan: NodePlan) -> Launched:
    """Start the root process of a node; ``await_ready`` tells when it serves."""
    mine, theirs = socket.socketpair()
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment.setdefault(name, "1")
    package = str(Path(zfut.__file__).resolve().parent.parent)
    process = subprocess.Popen(  # noqa: S603  this very interpreter
        [sys.executable, "-c", _BOOT, str(theirs.fileno()), package],
        stdin=subprocess.PIPE,
        pass_fds=(theirs.fileno(),),
        env=environment,
        start_new_session=True,
    )
    theirs.close()
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(plan))
    process.stdin.close()
    return Launched(plan, process, mine)


def await_ready(launched: Launched) -> places.SessionFile:
    """Wait until the node has published its session.

    Raises SessionError if the root ends first, or takes longer than READY_TIMEOUT_S.
    """
    launched.life.settimeout(READY_TIMEOUT_S)
    try:
        said = launched.life.recv(1)
    except TimeoutError:
        said = b""
    contents = places.read(Path(launched.plan.directory)) if said else None
    if contents is None:
        launched.end()
        raise SessionError(
            f"the node of session {launched.plan.session} did not start "
            f"(exit code {launched.process.returncode}); what it said is above. "
            "Try `zfut doctor`"
        )
    return contents
