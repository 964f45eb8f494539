"""What dead sessions left: their directories, and shared memory that had to have a name.

Removed is only what certainly is a leftover: of this user, named as zfut names things, and the
processes that its file or its name tells of have all ended.  Everything else is left alone.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from zfut.actors import places
from zfut.store.backing import SHM_DIR

from .sessions import runs

_SESSION = re.compile(r"[0-9a-f]{8}")
_ARENA = re.compile(r"zfut-arena-(\d+)-[0-9a-f]{16}")

STARTING_S = 60.0
"""A directory without a session this long after it was made belongs to a start that failed."""


def dead_directories(base: Path) -> list[Path]:
    """Return the directories of sessions whose processes have all ended.

    Only what certainly is one: of this user, named as sessions are, and with a file that says
    whose processes to look for, or without any long after a start should have ended.
    """
    try:
        entries = sorted(base.iterdir())
    except OSError:
        return []
    return [entry for entry in entries if _is_session_directory(entry) and _is_dead(entry)]


def _is_session_directory(entry: Path) -> bool:
    try:
        ours = entry.lstat().st_uid == os.getuid()
    except OSError:
        return False
    plain = entry.is_dir() and not entry.is_symlink()
    return ours and plain and _SESSION.fullmatch(entry.name) is not None


class _Parties(msgspec.Struct):
    """What every version of a session's file has said."""

    manager_pid: int
    manager_started: float
    root_pid: int
    root_started: float


def _is_dead(directory: Path) -> bool:
    try:
        written = (directory / "session.json").read_bytes()
    except FileNotFoundError:
        return _is_failed_start(directory)
    except OSError:
        return False
    try:
        parties = msgspec.json.decode(written, type=_Parties)
    except msgspec.MsgspecError:
        return False
    return not (
        runs(parties.manager_pid, parties.manager_started)
        or runs(parties.root_pid, parties.root_started)
    )


def _is_failed_start(directory: Path) -> bool:
    try:
        age_s = time.time() - directory.stat().st_ctime
        return (directory / "s").is_dir() and age_s > STARTING_S
    except OSError:
        return False


def remove_directories(dead: list[Path]) -> list[Path]:
    """Remove directories of dead sessions. Returns those that are gone."""
    for directory in dead:
        places.remove(directory)
    return [directory for directory in dead if not directory.exists()]


def stale_arenas(directory: Path = Path(SHM_DIR)) -> list[Path]:
    """Return files of shared memory whose maker has ended and that nobody uses.

    On Linux an arena has no name for longer than its making takes, so these are rare.
    """
    dead = [
        file
        for file in sorted(directory.glob("zfut-*"))
        if _is_own_file(file)
        and (named := _ARENA.fullmatch(file.name))
        and not places.started(int(named[1]))
    ]
    used = set(_files_in_use()) if dead else set()
    return [file for file in dead if str(file) not in used]


def remove_arenas(stale: list[Path]) -> list[Path]:
    """Remove files of shared memory. Returns those that are gone."""
    for file in stale:
        file.unlink(missing_ok=True)
    return stale


def _is_own_file(file: Path) -> bool:
    try:
        status = file.lstat()
    except OSError:
        return False
    return status.st_uid == os.getuid() and stat.S_ISREG(status.st_mode)


def _files_in_use() -> Iterator[str]:
    """Yield the paths that this user's processes have open or mapped."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield from (os.readlink(fd) for fd in (process / "fd").iterdir())  # noqa: PTH115
            for line in (process / "maps").read_text().splitlines():
                yield line[line.find("/") :]
        except OSError:
            continue
