"""Exit codes that say why a worker ended, and words for all the others."""

from __future__ import annotations

import signal

EXIT_CLEAN = 0
EXIT_ACTOR = 222
EXIT_OUT_OF_SCOPE = 223
EXIT_CONSTRUCTOR = 224
EXIT_NO_SOCKET = 225
EXIT_NO_FORK = 226
EXIT_NO_FILES = 227

ORPHANED = "owner died"
"""Why a worker ends whose lease was a dead owner's."""

MAX_CALLS = "max_calls"
"""Why a worker ends in which a function has had its ``max_calls``."""

_KNOWN = {
    EXIT_ACTOR: "exit_actor",
    EXIT_OUT_OF_SCOPE: "out of scope",
    EXIT_CONSTRUCTOR: "constructor failed",
    EXIT_NO_SOCKET: "it can reach nobody: the session's socket directory was deleted",
    EXIT_NO_FORK: "the system refused to fork its process: see ulimit -u, and free memory",
    EXIT_NO_FILES: (
        "it was out of file descriptors and could open no connection to another process; "
        "close what its code opens, or raise the limit: ulimit -n"
    ),
}


def describe_exit(status: int) -> str:
    """Say how a process ended: ``status`` is an exit code, or minus a signal's number."""
    if status in _KNOWN:
        return _KNOWN[status]
    if status >= 0:
        return f"it exited with code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = "unknown"
    hint = ""
    if -status == signal.SIGKILL:
        hint = "; if nobody killed it, the system may have run out of memory"
    elif -status == signal.SIGALRM:
        hint = "; code in it had set an alarm (signal.alarm, signal.setitimer) and no handler"
    elif -status in (signal.SIGSEGV, signal.SIGBUS):
        hint = "; native code it called crashed, or its stack overflowed"
    elif -status == signal.SIGABRT:  # ZeroMQ does that when it cannot take a connection in
        hint = "; native code it called gave up: it failed, or had no file descriptor left"
    return f"killed by signal {-status} ({name}){hint}"
