"""A node in the foreground: started, announced, drained when a signal says so, ended.

    starting --- ready ---> serving --- signal ---> draining ---> ended: 130, 143
        '--- signal ---> ended |                        '--- second signal ---> ended at once
                               '--- `zfut stop`: 0; the node died: 1 ---> ended

This process holds the root's life line: however it ends, the node ends with it.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable
from pathlib import Path

import click

import zfut
from zfut.actors import places, start
from zfut.exits import describe_exit
from zfut.ids import TASK_UNITS

from .failures import BY_SIGNAL, CommandError, note
from .options import amount_text, size_text
from .sessions import Found, Held, grace_s, running
from .supervisor import Signals, Told, report

MARGIN_S = 5.0
"""Beyond the grace period, which the node itself keeps."""

MANAGER_S = 2.0
"""A node manager whose root has gone sees it at once."""


class Foreground:
    """One node, from its start to its end."""

    def __init__(
        self, make_plan: Callable[[], start.NodePlan], ready_file: Path | None
    ) -> None:
        self._make_plan = make_plan
        self._ready_file = ready_file

    def run(self) -> int:
        """Return the exit code. Raises SessionError or CommandError if the node fails."""
        self._withdraw()  # what a node that was killed left there
        with Signals() as signals:
            launched = self._launch()
            try:
                with signals.interrupting():
                    file = start.await_ready(launched)
                found = Found(Path(launched.plan.directory), file)
                with contextlib.closing(Held(found)) as held:
                    try:
                        self._announce(found, launched.plan)
                        return Serving(found, launched, signals).run()
                    finally:
                        self._end(launched, held)
            except Told:
                note("told to stop before the node was ready")
                return BY_SIGNAL + signals.first
            finally:
                launched.end()

    def _launch(self) -> start.Launched:
        plan = self._make_plan()
        try:
            return start.launch(plan)
        except BaseException:
            places.remove(Path(plan.directory))
            raise

    def _end(self, launched: start.Launched, held: Held) -> None:
        self._withdraw()
        report("STOPPING=1")
        launched.end()
        if not held.wait(MANAGER_S):
            held.kill()

    # ---------------------------------------------------------------- announcing

    def _announce(self, found: Found, plan: start.NodePlan) -> None:
        nodes = [other.id for other in running() if not other.file.embedded]
        others = [name for name in nodes if name != found.id]
        if others:
            note(f"other nodes of yours run: {', '.join(others)}; 'auto' means the newest")
        if found.file.arena.advice:
            note(found.file.arena.advice)
        click.echo("\n".join(_lines(found, plan)))
        if self._ready_file is not None:
            hidden = self._ready_file.with_name(f".{self._ready_file.name}.{os.getpid()}")
            hidden.write_text(f"{found.id}\n")
            hidden.rename(self._ready_file)
        report("READY=1", f"STATUS={found.title()}")

    def _withdraw(self) -> None:
        if self._ready_file is not None:
            self._ready_file.unlink(missing_ok=True)


def _lines(found: Found, plan: start.NodePlan) -> list[str]:
    amounts = [
        f"{kind} {amount_text(kind, units / TASK_UNITS)}"
        for kind, units in plan.resources.items()
    ]
    arena = found.file.arena
    store = f"store {size_text(arena.capacity_bytes)} ({arena.kind})"
    base = os.environ.get("ZFUT_SESSION_DIR")
    variables = f"ZFUT_SESSION_DIR={base} " if base else ""
    return [
        "  ".join([f"zfut {zfut.__version__}", found.title(), *amounts, store]),
        f"to use: {variables}ZFUT_ADDRESS={found.file.name or found.id} python app.py",
        '    or: zfut.init(address="auto")',
        "ready.",
    ]


class Serving:
    """A node that is ready, until its end or the end of patience with it."""

    def __init__(self, found: Found, launched: start.Launched, signals: Signals) -> None:
        self._found = found
        self._launched = launched
        self._signals = signals
        self._root = os.pidfd_open(launched.process.pid)
        self._poll = select.poll()
        self._poll.register(self._root, select.POLLIN)
        self._poll.register(signals.fd, select.POLLIN)

    def run(self) -> int:
        """Return the exit code. Raises CommandError if the node died."""
        try:
            if self._root_ended(signals=1):
                self._check_exit()
                note(f"{self._found.title()} was told to stop, and has")
                return 0
            self._drain()
            return BY_SIGNAL + self._signals.first
        finally:
            os.close(self._root)

    def _root_ended(self, signals: int, timeout_s: float | None = None) -> bool:
        """Wait for the root's end. Returns False after so many signals or so much time."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._signals.count < signals:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = self._poll.poll(None if left is None else left * 1000)
            if any(fd == self._root for fd, _ in ready):
                return True
            if not ready:
                return False
            self._signals.clear()
        return False

    def _drain(self) -> None:
        from .control import Ending  # noqa: PLC0415  imports ZeroMQ, which serving does without

        grace = grace_s(self._found)
        note(f"draining: what runs may end first, for at most {grace:g} s; again stops at once")
        report("STOPPING=1")
        with contextlib.closing(Ending(self._found)) as ending:
            ending.tell("its node was told to stop", drain=True)
            if self._root_ended(signals=2, timeout_s=grace + MARGIN_S):
                self._check_exit()
                note("stopped")
            else:
                self._launched.end()
                note("stopped at once")

    def _check_exit(self) -> None:
        """Raise CommandError if the root ended otherwise than in peace."""
        code = self._launched.process.wait()
        if code == 0:
            return
        # The root takes its node manager's exit code; a signal's number is negative there.
        who = "its root process" if code < 0 else "its node manager"
        how = describe_exit(code - 256 if code > BY_SIGNAL else code)
        text = f"{self._found.title()} ended by itself: {who}: {how}. Its programs were told"
        raise CommandError(text)
