"""A program's part in a session: joins a node, or starts one that ends with the program."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import secrets
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path

from zfut import errors
from zfut.actors import places, start
from zfut.actors.failures import WordedFailures
from zfut.actors.loop import Loop
from zfut.actors.mailbox import Mailbox, MailboxError
from zfut.config import Config
from zfut.core import effects as f
from zfut.core.owner.machine import OwnerMachine
from zfut.ids import PROGRAM_SPAWN, NodeUid, ProcUid, proc_uid
from zfut.session import Session
from zfut.shield import shielded
from zfut.store import Arena
from zfut.wire import messages as m
from zfut.wire.codec import decode_to_owner
from zfut.wire.specs import Stored

log = logging.getLogger("zfut")

GOODBYE_S = 0.2

LAST_WORDS_S = 0.05
"""What was sent is here by then, or was not sent."""


class Driver:
    """Owns what a program's session is made of, and takes it down in order."""

    def __init__(self, contents: places.SessionFile, directory: Path) -> None:
        if contents.protocol != m.PROTOCOL_VERSION:
            raise errors.VersionMismatchError(
                f"session {contents.session}", contents.protocol, m.PROTOCOL_VERSION
            )
        self.contents = contents
        self.directory = directory
        self.launched: start.Launched | None = None
        manager = bytes.fromhex(contents.manager)
        self.manager = manager
        spawn = PROGRAM_SPAWN | secrets.randbits(31)
        uid = proc_uid(NodeUid(manager[:8]), spawn, secrets.token_bytes(4))
        config = Config(**contents.config)  # type: ignore[arg-type]
        places.raise_file_limit()
        with contextlib.ExitStack() as undo:
            self._join(uid, config, undo)
            undo.pop_all()

    def _join(self, uid: ProcUid, config: Config, undo: contextlib.ExitStack) -> None:
        contents, manager = self.contents, self.manager
        self.arena = Arena.attach(contents.arena)
        undo.callback(self.arena.close)
        hello = m.Hello(
            m.PROTOCOL_VERSION, bytes.fromhex(contents.key), uid, "driver", os.getpid()
        )
        mailbox = Mailbox(
            f"{self.directory}/s", hello, decode_to_owner, config.message_max_bytes
        )
        undo.callback(mailbox.close)
        owner = OwnerMachine(uid, manager, config, WordedFailures())
        self.loop = Loop(owner, mailbox)
        undo.callback(self.loop.close, "it could not be joined")
        self.session = Session(uid, self.loop, owner, self.arena, config)
        self.loop.handlers = {
            f.Forget: lambda effect: mailbox.forget(effect.uid),
            f.Note: _note,
            f.CollectGarbage: lambda _: self.loop.callbacks.append(gc.collect),
            f.Interrupt: lambda effect: self._interrupted(effect.why),
        }
        self.loop.leave = self._leaves
        self._manager_fd = self._watch_manager()
        undo.callback(os.close, self._manager_fd)
        with self.loop.lock:
            mailbox.greet(manager)
        self.loop.start_background()

    def _watch_manager(self) -> int:
        """Notice the node manager's end at once, whoever started it."""
        try:
            fd = os.pidfd_open(self.contents.manager_pid)
        except ProcessLookupError:
            raise errors.SessionError(
                f"session {self.contents.session}", "its node manager is gone"
            ) from None
        self.loop.watch_fd(fd, self._manager_ended)
        return fd

    def _manager_ended(self) -> None:
        self.loop.unwatch_fd(self._manager_fd)
        self._hear_last_words()
        self._interrupted("its node manager ended; what it said last is in its node.log")

    def _hear_last_words(self) -> None:
        """A node that stops in peace says why; that may come after the news of its end."""
        deadline = time.monotonic() + LAST_WORDS_S
        self.loop.handle_all()
        while not self.session.closed and (left := deadline - time.monotonic()) > 0:
            select.select([self.loop.mailbox.fd], [], [], 0 if self.loop.more else left)
            self.loop.handle_all()

    def _interrupted(self, why: str) -> None:
        self.session.closed = self.session.closed or why
        self.loop.fail_all(why)

    def _leaves(self, why: str) -> None:
        """Others cannot be spoken to: what was lent goes back, and every wait and call ends."""
        if self.launched is None:
            self._keep_arrays()
        with contextlib.suppress(MailboxError):
            self.loop.mailbox.send(self.manager, m.Farewell())
        self._interrupted(why)

    def close(self, *, keep_arrays: bool = True) -> None:
        """Leave the session; a node that was started for this program ends with it.

        Arrays that live on keep their values, unless nobody is left to look at them.
        """
        with shielded(_nothing):
            self._close(keep_arrays=keep_arrays)

    def _keep_arrays(self) -> None:
        """Others may write where values are as soon as the node hears that this program left."""
        rows = self.session.owner.rows.values()
        values = [row.spent or row.value for row in rows if row.views]
        try:
            self.arena.keep(
                (value.offset, value.size_bytes)
                for value in values
                if isinstance(value, Stored)
            )
        except OSError as error:
            why = f"({error}); do not read them: other programs may write there"
            _note(f.Note("error", f"arrays of the session that was left cannot be kept {why}"))

    def _close(self, *, keep_arrays: bool) -> None:
        self.session.closed = self.session.closed or "it was shut down"
        if os.getpid() != self.session._pid:  # noqa: SLF001  a fork must not end its parent's
            return
        launched = self.launched
        if launched is None and not self.loop.closed:
            with self.loop.lock, contextlib.suppress(Exception):
                self.loop.handle_all()
                if keep_arrays:
                    self._keep_arrays()
                self.loop.mailbox.send(self.manager, m.Farewell())
        self.loop.close(self.session.closed)
        self.loop.mailbox.close(linger_ms=0 if launched else int(GOODBYE_S * 1000))
        os.close(self._manager_fd)
        if launched is not None:
            launched.end()
        self.arena.close()


def _nothing() -> None:
    return


def _note(effect: f.Note) -> None:
    level = logging.getLevelName(effect.level.upper())
    if log.hasHandlers():
        log.log(level, "%s", effect.text)
    elif level >= logging.WARNING:
        sys.stderr.write(f"zfut: {effect.text}\n")


def _make(
    contents: places.SessionFile, directory: Path, launched: start.Launched | None = None
) -> Driver:
    """Join; Ctrl-C may come before or after, and leaves nothing."""
    driver: Driver | None = None
    try:
        with shielded(_nothing):
            driver = Driver(contents, directory)
            driver.launched = launched
    except BaseException:
        if driver is not None:
            driver.close()
        raise
    return driver


def join(address: str) -> Driver:
    """Join a session that runs on this machine: "auto", its id, its name, or its directory.

    Raises SessionError if there is none.
    """
    for directory, contents in places.sessions():
        named = address in ("auto", contents.session, contents.name, str(directory))
        offered = contents.embedded is False or address != "auto"
        if named and offered and places.alive(contents.manager_pid, contents.manager_started):
            return _make(contents, directory)
    raise errors.SessionError(
        f"the session {address!r}",
        f"no node of yours runs it on this machine (looked in {places.base_directory()}); "
        "start one with `zfut start-node`",
    )


def start_embedded(
    resources: dict[str, float], config: Config, progress: Callable[[str], None] | None = None
) -> Driver:
    """Start a node that ends with this program, and join it."""
    begun = time.monotonic()
    sys_path = [entry or str(Path.cwd()) for entry in sys.path]
    plan: start.NodePlan | None = None
    launched: start.Launched | None = None
    try:
        with shielded(_nothing):
            plan = start.make_plan(resources, config, embedded=True, sys_path=sys_path)
            launched = start.launch(plan)
        contents = start.await_ready(launched)
        driver = _make(contents, Path(plan.directory), launched)
    except BaseException:
        if launched is not None:
            launched.end()
        elif plan is not None:
            places.remove(Path(plan.directory))
        raise
    if contents.arena.advice:
        _note(f.Note("warning", contents.arena.advice))
    if progress is not None:
        progress(f"session {plan.session} ready in {time.monotonic() - begun:.2f} s")
    return driver
