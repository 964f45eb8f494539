"""A node in the foreground: started, announced, drained when a signal says so, ended.

    starting --- ready ---> serving --- signal, `zfut stop` ---> draining ---> ended: 0, 130, 143
        |                      '------- the node died --------------------------> ended: 1
        '--- signal ---> ended        a second signal, or no end in sight ------> ended at once

This process holds the root's life line: however it ends, the node ends with it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import click

import zfut
from zfut.actors import places, start
from zfut.exits import describe_exit

from .failures import BY_SIGNAL, FAILED, CommandError, note
from .options import amount_text, size_text
from .sessions import Found, Held, running

MARGIN_S = 5.0
"""Beyond the grace period, which the node itself keeps."""

MANAGER_S = 2.0
"""The node manager sees at once that its root has gone."""


class Told(BaseException):
    """A signal told us to end before the node was ready."""


class Signals:
    """Counts the signals that mean "end"; ``fd`` is readable after each."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.count = 0
        self.first = 0
        self._raising = False
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Signals:
        self.fd, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stack.callback(os.close, self.fd)
        self._stack.callback(os.close, write)
        before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self._stack.callback(signal.set_wakeup_fd, before)
        for number in self.NUMBERS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and the shell's & want it
                self._stack.callback(signal.signal, number, signal.getsignal(number))
                signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.count += 1
        self.first = self.first or number
        if self._raising:
            self._raising = False
            raise Told

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Raise Told for a signal that has come or comes inside."""
        self._raising = True
        try:
            if self.count:
                raise Told
            yield
        finally:
            self._raising = False

    def clear(self) -> None:
        """Take note of what made ``fd`` readable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 512)


class Foreground:
    """One node, from its start to its end."""

    def __init__(self, make_plan: Callable[[], start.NodePlan], ready_file: Path | None) -> None:
        self._make_plan = make_plan
        self._ready_file = ready_file

    def run(self) -> int:
        """Return the exit code. Raises SessionError if the node does not start."""
        with Signals() as signals:
            self._withdraw()  # what a node that was killed left there
            launched = self._launch()
            try:
                with signals.interrupting():
                    contents = start.await_ready(launched)
                found = Found(Path(launched.plan.directory), contents)
                with contextlib.closing(Held(found)) as held:
                    try:
                        self._announce(found)
                        return self._serve(found, launched, signals)
                    finally:
                        self._end(launched, held)
            except Told:
                note("told to stop before the node was ready")
                return BY_SIGNAL + signals.first
            finally:
                launched.end()
                self._withdraw()

    def _launch(self) -> start.Launched:
        plan = self._make_plan()
        try:
            return start.launch(plan)
        except BaseException:
            places.remove(Path(plan.directory))
            raise

    # ---------------------------------------------------------------- serving

    def _announce(self, found: Found) -> None:
        others = [other for other in running() if other.id != found.id]
        standing = [other.id for other in others if not other.file.embedded]
        if standing:
            note(f"other nodes of yours run: {', '.join(standing)}; 'auto' is the newest")
        arena = found.file.arena
        if arena.advice:
            note(arena.advice)
        click.echo("\n".join(self._lines(found)))
        if self._ready_file is not None:
            hidden = self._ready_file.with_name(f".{self._ready_file.name}.{os.getpid()}")
            hidden.write_text(found.id + "\n")
            hidden.rename(self._ready_file)
        tell_supervisor(f"READY=1\nMAINPID={os.getpid()}\nSTATUS=session {found.id}")

    def _lines(self, found: Found) -> list[str]:
        plan, arena = self._plan, found.file.arena
        amounts = [
            f"{kind} {amount_text(kind, units / zfut_units())}"
            for kind, units in plan.resources.items()
        ]
        store = f"store {size_text(arena.capacity_bytes)} ({arena.kind})"
        where = os.environ.get("ZFUT_SESSION_DIR")
        prefix = f"ZFUT_SESSION_DIR={where} " if where else ""
        return [
            "  ".join([f"zfut {zfut.__version__}", found.title(), *amounts, store]),
            f"to use: {prefix}ZFUT_ADDRESS={found.file.name or found.id} python app.py",
            '    or: zfut.init(address="auto")',
            "ready.",
        ]
