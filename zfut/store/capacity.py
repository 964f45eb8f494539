"""How large an arena should be: a part of the memory that this session may use.

Reads the limits of control groups, version 1 and 2, at every level above this process: the
smallest of them is what the kernel enforces.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CAPACITY_MIN_BYTES = 64 * 1024 * 1024

_CAPACITY_PERCENT = 30
_UNLIMITED_BYTES = 1 << 60  # Version 1 says "no limit" with a number near 2**63.


def default_capacity_bytes(available_memory_bytes: int) -> int:
    """Return 30 % of the memory this session may use, at least 64 MiB.

    That is ``available_memory_bytes``, or the control group's limit where that is less.
    """
    limit = memory_limit_bytes()
    memory = available_memory_bytes if limit is None else min(available_memory_bytes, limit)
    return max(CAPACITY_MIN_BYTES, memory * _CAPACITY_PERCENT // 100)


def memory_limit_bytes(
    membership: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup"
) -> int | None:
    """Return the least memory limit of this process's control groups; None without one."""
    limits = [
        limit
        for file in _limit_files(Path(membership), Path(root))
        if (limit := _limit(file)) is not None
    ]
    return min(limits, default=None)


def _limit_files(membership: Path, root: Path) -> Iterator[Path]:
    """Yield the limit file of each group this process is in and of all groups above.

    A line is ``number:controllers:path``; version 2 names no controllers.  In a container the
    path may be the host's, of which only the root is there to be read.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path)
        for above in (group, *group.parents):
            yield base / above.relative_to("/") / name


def _limit(file: Path) -> int | None:
    """Return the limit in a file; None if it has none or cannot be read."""
    try:
        limit = int(file.read_text())
    except (OSError, ValueError):
        return None
    return limit if 0 < limit < _UNLIMITED_BYTES else None
