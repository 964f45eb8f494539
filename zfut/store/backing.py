"""Files whose pages are the arena: which kind, how large, and that nothing is left behind.

    memfd   anonymous memory; limited by nothing but memory itself
    shm     a file in /dev/shm, clipped to what is free there
    file    a file on disk, clipped to what is free there, and reserved: slow, and said so

Where /proc is, a file is unlinked as soon as it is open and reached through this process's
descriptor, as a memfd is: after kill -9 nothing is left.  Elsewhere it keeps its name until the
process that made it closes it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import PAGESIZE
from pathlib import Path

from zfut.store.backend import ArenaInfo, check_capacity
from zfut.store.capacity import CAPACITY_MIN_BYTES

SHM_DIR = "/dev/shm"  # noqa: S108 (a mount, not a directory for temporary files)

_PERCENT_OF_FREE = 90
"""Some of what a file system has free is left to others."""


@dataclass(slots=True)
class Backing:
    """An open file that has its size, and what to unlink when its maker closes it."""

    fd: int
    info: ArenaInfo
    name: str | None = None  # only without /proc


def open_backing(capacity_bytes: int, fallback_dir: str, kinds: tuple[str, ...]) -> Backing:
    """Return the first of ``kinds`` that this machine has.

    Raises OSError with every reason if it has none.
    """
    check_capacity(capacity_bytes)
    wanted_bytes = (capacity_bytes + PAGESIZE - 1) // PAGESIZE * PAGESIZE
    reasons: list[str] = []
    for kind in kinds:
        try:
            return KINDS[kind](wanted_bytes, fallback_dir)
        except OSError as error:
            reasons.append(f"{kind}: {error.strerror or error}")
    message = (
        f"no memory for an object store of {size_text(wanted_bytes)}: {'; '.join(reasons)}. "
        "Ask for a smaller one, or name a directory on a disk with room"
    )
    raise OSError(errno.ENOSPC, message)


def open_again(info: ArenaInfo) -> Backing:
    """Open the file of an arena that another process made.

    Raises OSError if it is gone or may not be opened.
    """
    try:
        fd = os.open(info.path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot attach to the object store ({error.strerror}): the process that made it "
            "has ended or belongs to another user. Start a new session",
            info.path,
        ) from error
    found = os.fstat(fd)
    if (found.st_ino, found.st_size) != (info.inode, info.capacity_bytes):
        os.close(fd)
        raise FileNotFoundError(
            errno.ENOENT,
            "the object store is gone and another file has its path: the process that made it "
            "has ended. Start a new session",
            info.path,
        )
    return Backing(fd, info)


def _open_memfd(wanted_bytes: int, _fallback_dir: str) -> Backing:
    if not hasattr(os, "memfd_create"):
        raise OSError(errno.ENOSYS, "this system has no memfd_create")
    fd = os.memfd_create("zfut-arena")
    with _closed_on_error(fd):
        os.ftruncate(fd, wanted_bytes)
        return _backing("memfd", fd, wanted_bytes, name=None, advice=None)


def _open_shm(wanted_bytes: int, _fallback_dir: str) -> Backing:
    """Open a file in /dev/shm, unless it has less room than any arena should have.

    Its pages are not reserved, which would take the memory at once: ``Arena`` writes to a page
    by system call before it touches it, so a full file system is an error and no signal.
    """
    capacity_bytes = _clipped(wanted_bytes, SHM_DIR)
    if capacity_bytes < min(wanted_bytes, CAPACITY_MIN_BYTES):
        raise _too_small(SHM_DIR, capacity_bytes)
    advice = None
    if capacity_bytes < wanted_bytes:
        advice = (
            f"the object store has {size_text(capacity_bytes)} instead of "
            f"{size_text(wanted_bytes)}, because {SHM_DIR} has no more: enlarge it "
            "(docker run --shm-size=...)"
        )
    fd, name = _new_file(SHM_DIR)
    with _closed_on_error(fd, name):
        os.ftruncate(fd, capacity_bytes)
        return _backing("shm", fd, capacity_bytes, name, advice)


def _open_file(wanted_bytes: int, fallback_dir: str) -> Backing:
    """Open a file on disk and reserve all of it: touching a page never fails."""
    capacity_bytes = _clipped(wanted_bytes, fallback_dir)
    if capacity_bytes < min(wanted_bytes, CAPACITY_MIN_BYTES):
        raise _too_small(fallback_dir, capacity_bytes)
    advice = (
        f"the object store is a file of {size_text(capacity_bytes)} in {fallback_dir}, which "
        f"makes large values slow: allow memfd_create, or give {SHM_DIR} "
        f"{size_text(wanted_bytes)}"
    )
    fd, name = _new_file(fallback_dir)
    with _closed_on_error(fd, name):
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, capacity_bytes)
        else:
            _fill(fd, capacity_bytes)
        return _backing("file", fd, capacity_bytes, name, advice)


KINDS: dict[str, Callable[[int, str], Backing]] = {
    "memfd": _open_memfd,
    "shm": _open_shm,
    "file": _open_file,
}
"""Every kind of backing, best first."""


def _backing(
    kind: str, fd: int, capacity_bytes: int, name: str | None, advice: str | None
) -> Backing:
    """Unlink the file if its descriptor can be reached through /proc."""
    path = f"/proc/{os.getpid()}/fd/{fd}"
    if not Path(path).exists():
        path = name or ""
    elif name is not None:
        Path(name).unlink()
        name = None
    inode = os.fstat(fd).st_ino
    return Backing(fd, ArenaInfo(kind, path, capacity_bytes, inode, advice), name)


def _new_file(directory: str) -> tuple[int, str]:
    """Make an empty file that only this user can open; return its descriptor and name."""
    name = f"{directory}/zfut-arena-{os.getpid()}-{os.urandom(8).hex()}"
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), name


def _clipped(wanted_bytes: int, directory: str) -> int:
    """Return the whole pages of ``wanted_bytes`` for which a file system has room."""
    found = os.statvfs(directory)
    free_bytes = found.f_bavail * found.f_frsize * _PERCENT_OF_FREE // 100
    return min(wanted_bytes, free_bytes // PAGESIZE * PAGESIZE)


def _too_small(directory: str, free_bytes: int) -> OSError:
    return OSError(errno.ENOSPC, f"{directory} has only {size_text(free_bytes)} free")


def _fill(fd: int, size_bytes: int) -> None:
    """Write zeros: how to reserve a file where nothing else does it."""
    zeros = bytes(1 << 20)
    at = 0
    while at < size_bytes:
        at += os.pwrite(fd, zeros[: size_bytes - at], at)


@contextmanager
def _closed_on_error(fd: int, name: str | None = None) -> Iterator[None]:
    """Leave no descriptor and no file behind if what follows fails."""
    try:
        yield
    except BaseException:
        os.close(fd)
        if name is not None:
            Path(name).unlink(missing_ok=True)
        raise


def size_text(size_bytes: int) -> str:
    """Return a size for a person."""
    size, unit = float(size_bytes), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if size < 1024:  # noqa: PLR2004 (of each unit in the next)
            break
        size, unit = size / 1024, larger
    return f"{size:.4g} {unit}"
