"""What ``zfut doctor`` looks at: each check is a function that returns what it found.

A check asks the same code that a node asks when it starts, so that it cannot be of another
opinion.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import msgspec

from .options import size_text

OK, WARN, BAD = "ok", "warn", "bad"

NEEDS = {
    "click": "8.1",
    "cloudpickle": "3.0",
    "msgspec": "0.19",
    "numpy": "1.26",
    "psutil": "5.9",
    "pyarrow": "15",
    "pyzmq": "26",
}
"""The oldest versions that do; ``setup.cfg`` says the same."""

PYTHON = (3, 11)

FDS_OWN = 64
FDS_PER_PEER = 3
"""A socket, its signal, and the peer's connection."""

ACTORS_USUAL = 100


class Check(msgspec.Struct, frozen=True):
    """One line of the report."""

    name: str
    level: str
    found: str
    advice: str = ""


# ------------------------------------------------------------------ memory


def shared_memory(directory: str = "/dev/shm") -> Check:  # noqa: S108  a mount
    """Look at the file system for shared memory."""
    try:
        found = os.statvfs(directory)
    except OSError as error:
        advice = "Nothing, as long as the object store is in a memfd."
        return Check("shared memory", WARN, f"{directory}: {error.strerror}", advice)
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    return Check(
        "shared memory", OK, f"{directory} has {size_text(size)}, {size_text(free)} free"
    )


def object_store(directory: str, kinds: tuple[str, ...] = ("memfd", "shm")) -> Check:
    """Open the memory that a node's store would get, for a moment."""
    from zfut.actors import start  # noqa: PLC0415
    from zfut.store import default_capacity_bytes  # noqa: PLC0415
    from zfut.store.backing import open_backing  # noqa: PLC0415

    wanted = default_capacity_bytes(int(start.memory_available()))
    try:
        backing = open_backing(wanted, directory, kinds)
    except OSError as error:
        found = f"would be a file in {directory}, which makes large values slow"
        return Check("object store", WARN, found, f"{error.strerror}.")
    os.close(backing.fd)
    if backing.name is not None:
        Path(backing.name).unlink(missing_ok=True)
    info = backing.info
    found = f"would have {size_text(info.capacity_bytes)} ({info.kind})"
    return Check("object store", WARN if info.advice else OK, found, info.advice or "")


def memory() -> Check:
    """Look at the memory there is, the control group's limit, and what is free now."""
    import psutil  # noqa: PLC0415

    from zfut.actors import start  # noqa: PLC0415
    from zfut.store.capacity import memory_limit_bytes  # noqa: PLC0415

    limit = memory_limit_bytes()
    whole, free = start.memory_available(), psutil.virtual_memory().available
    bound = f"control group limit {size_text(limit)}" if limit else "no control group limit"
    found = f"{size_text(whole)} to use ({bound}), {size_text(free)} free now"
    if free < whole / 10:
        return Check("memory", WARN, found, "Little is free: end what else runs here.")
    return Check("memory", OK, found)


# ------------------------------------------------------------------ processors and limits


def processors() -> Check:
    """Look at how many CPUs a node would count."""
    from zfut.actors import start  # noqa: PLC0415

    allowed, there = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    usable = start.cpus_available()
    found = f"{usable} to use ({there} in the machine, {allowed} allowed"
    found += ", control group quota)" if usable < allowed else ")"
    return Check("processors", OK, found)


def descriptors() -> Check:
    """Compare the limit of open files with what a node of this machine's size needs."""
    from zfut.actors import start  # noqa: PLC0415

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return judge_descriptors(soft, hard, start.cpus_available())


def judge_descriptors(soft: int, hard: int, cpus: int) -> Check:
    """Judge limits of open files; -1 is none. A process raises its own as far as it may."""
    from zfut.actors.places import FILES_WANTED  # noqa: PLC0415

    workers = 4 * cpus + 16
    need = FDS_OWN + FDS_PER_PEER * (workers + ACTORS_USUAL)
    least = FDS_OWN + FDS_PER_PEER * 2 * cpus
    limit = FILES_WANTED if hard < 0 or soft < 0 else max(soft, min(hard, FILES_WANTED))
    found = f"{limit} may be open; {workers} workers and {ACTORS_USUAL} actors need {need}"
    if limit >= need:
        return Check("open files", OK, found)
    advice = f"Raise the hard limit to {need} or more (limits.conf, LimitNOFILE= of systemd)."
    return Check("open files", BAD if limit < least else WARN, found, advice)


def sockets() -> Check:
    """Ask ZeroMQ how many sockets a process may have."""
    import zmq  # noqa: PLC0415

    if not zmq.has("ipc"):
        return Check("sockets", BAD, "ZeroMQ without ipc", "Install pyzmq from PyPI.")
    with zmq.Context() as context:
        limit = int(context.get(zmq.SOCKET_LIMIT))
    if limit < SOCKETS:
        advice = f"Install a libzmq that allows {SOCKETS}: pyzmq from PyPI brings one."
        return Check("sockets", BAD, f"ZeroMQ allows {limit}", advice)
    return Check("sockets", OK, f"ZeroMQ allows {limit} in a process, {SOCKETS} are asked for")


SOCKETS = 16_384
"""What a mailbox asks ZeroMQ for."""


def kernel() -> Check:
    """Try what zfut needs of the kernel."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        advice = "Use Linux 5.3 or newer; in a container, allow pidfd_open (seccomp profile)."
        return Check("kernel", BAD, f"{platform.release()}: no pidfd_open ({error})", advice)
    return Check("kernel", OK, f"{platform.system()} {platform.release()}")


# ------------------------------------------------------------------ files and versions


def session_directory() -> Check:
    """Make the directory of a session, for a moment, and measure the paths of its sockets."""
    from zfut.actors import places  # noqa: PLC0415
    from zfut.actors.mailbox import socket_path  # noqa: PLC0415
    from zfut.actors.places import IPC_PATH_MAX  # noqa: PLC0415
    from zfut.errors import SessionError  # noqa: PLC0415

    advice = "Set ZFUT_SESSION_DIR to a directory of yours."
    try:
        directory = places.make_session_directory()
        places.remove(directory)
    except SessionError as error:
        return Check("session directory", BAD, str(error), advice)
    except OSError as error:
        return Check("session directory", BAD, f"nothing can be made there: {error}", advice)
    base = directory.parent
    length = len(os.fsencode(socket_path(f"{directory}/s", bytes(16))))
    found = f"{base}; socket paths have {length} of {IPC_PATH_MAX} bytes"
    if length > IPC_PATH_MAX:
        return Check("session directory", BAD, found, f"{advice[:-1]} with a shorter path.")
    return Check("session directory", OK, found)


def versions() -> Iterator[Check]:
    """Compare the versions of everything zfut stands on."""
    import zmq  # noqa: PLC0415

    import zfut  # noqa: PLC0415

    python = platform.python_version()
    if sys.version_info[:2] < PYTHON:
        yield Check("python", BAD, python, "Install Python 3.11 or newer.")
    else:
        yield Check("python", OK, f"{platform.python_implementation()} {python}")
    yield Check("zfut", OK, zfut.__version__)
    for package, least in NEEDS.items():
        extra = f" (libzmq {zmq.zmq_version()})" if package == "pyzmq" else ""
        yield judge_version(package, _version(package), least, extra)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def judge_version(package: str, found: str, least: str, extra: str = "") -> Check:
    """Judge a version; empty is not there."""
    advice = f"pip install '{package}>={least}'"
    if not found:
        return Check(package, BAD, "is not installed", advice)
    if _numbers(found) < _numbers(least):
        return Check(package, BAD, f"{found}, {least} is needed", advice)
    return Check(package, OK, found + extra)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def machine() -> list[Check]:
    """Run every check of this machine."""
    where = session_directory()
    base = where.found.partition(";")[0] if where.level == OK else "/tmp"  # noqa: S108
    single: tuple[Callable[[], Check], ...] = (
        memory,
        processors,
        descriptors,
        sockets,
        kernel,
    )
    return [
        where,
        shared_memory(),
        object_store(base),
        *(check() for check in single),
        *versions(),
    ]
