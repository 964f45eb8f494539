"""Where a session keeps its files, and how other processes of the user find it.

    <base>/<session>/            0700
        s                        sockets, one for each process
        session.json             0600: key, ids, pids with start times, the arena's path
        node.log

``<base>`` is ZFUT_SESSION_DIR, else $XDG_RUNTIME_DIR/zfut, else a private directory under the
system's temporary one.  Paths are short: a Unix socket's path has at most 107 bytes.
"""

from __future__ import annotations

import os
import resource
import secrets
import shutil
import stat
import tempfile
from pathlib import Path

import msgspec

from zfut.errors import SessionError
from zfut.store.backend import ArenaInfo

FILES_WANTED = 65_536

IPC_PATH_MAX = 107
"""A Unix socket's path has at most this many bytes."""

SOCKET_NAME_BYTES = len("/s/") + 16


class SessionFile(msgspec.Struct, frozen=True):
    """What a process of the same user needs to join a session."""

    session: str
    protocol: int
    key: str
    manager: str
    manager_pid: int
    manager_started: float
    root_pid: int
    root_started: float
    driver_pid: int
    arena: ArenaInfo
    config: dict[str, int | float | bool | str]
    embedded: bool
    zfut: str
    name: str = ""


def base_directory() -> Path:
    """Return the directory that holds this user's sessions, made private if it is zfut's own.

    Each session's directory in it is private in any case.  Raises SessionError if there can be
    none, or others could put theirs in the place of ours.
    """
    given = os.environ.get("ZFUT_SESSION_DIR")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if given:
        base = Path(given)
    elif runtime and os.access(runtime, os.W_OK):
        base = Path(runtime) / "zfut"
    else:
        base = Path(tempfile.gettempdir()) / f"zfut-{os.getuid()}"
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = base.lstat()
    except OSError as error:
        raise SessionError(
            f"cannot make the session directory {base}: {error.strerror}. "
            "Set ZFUT_SESSION_DIR to a directory of yours"
        ) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise SessionError(
            f"{base} belongs to somebody else or is no directory. "
            "Set ZFUT_SESSION_DIR to a directory of yours"
        )
    mode = stat.S_IMODE(status.st_mode)
    if given and mode & 0o022 and not mode & stat.S_ISVTX:
        raise SessionError(
            f"others may write in {base} and put their sessions in the place of yours. "
            f"`chmod go-w {base}`, or set ZFUT_SESSION_DIR to another directory"
        )
    if not given and mode & 0o077:
        base.chmod(0o700)  # a directory that the user names has the mode that the user wants
    return base


def make_session_directory() -> Path:
    """Make the directory of a new session; its name is the session's."""
    directory = base_directory() / secrets.token_hex(4)
    (directory / "s").mkdir(mode=0o700, parents=True)
    directory.chmod(0o700)
    return directory


def check_length(directory: Path) -> None:
    """Raise SessionError if sockets in this session's directory would have too long a path."""
    length = len(os.fsencode(directory)) + SOCKET_NAME_BYTES
    if length > IPC_PATH_MAX:
        raise SessionError(
            f"the paths of sockets in {directory} would have {length} bytes; the system allows "
            f"{IPC_PATH_MAX}. Set ZFUT_SESSION_DIR to a shorter directory"
        )


def write(directory: Path, contents: SessionFile) -> None:
    """Publish a session: the file appears whole or not at all."""
    temporary = directory / ".session.json"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(msgspec.json.encode(contents))
    temporary.rename(directory / "session.json")


def read(directory: Path) -> SessionFile | None:
    """Return a session's file, or None if there is none that can be read."""
    try:
        return msgspec.json.decode((directory / "session.json").read_bytes(), type=SessionFile)
    except (OSError, msgspec.MsgspecError):
        return None


def sessions() -> list[tuple[Path, SessionFile]]:
    """Return this user's sessions, the newest first; those that ended without a trace too."""
    base = base_directory()
    found = []
    for directory in sorted(base.iterdir(), key=_age):
        contents = read(directory)
        if contents is not None:
            found.append((directory, contents))
    return found


def _age(directory: Path) -> float:
    try:
        return -directory.stat().st_ctime
    except OSError:
        return 0.0


def started(pid: int) -> float:
    """When the process with this pid began, in clock ticks since boot; 0 if there is none.

    A pid and this number together name one process for ever.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    return float(text.rpartition(")")[2].split()[19])


def alive(pid: int, start: float) -> bool:
    """Whether the very process that was recorded lives."""
    return start > 0 and started(pid) == start


def raise_file_limit() -> None:
    """Let this process open as many files as the system allows: each peer takes a few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def remove(directory: Path) -> None:
    """Remove a session's directory; what is gone already is no error."""
    shutil.rmtree(directory, ignore_errors=True)
