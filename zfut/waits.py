"""Waiting for objects: get, wait, and what is said when they take long."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from zfut import errors
from zfut.binding import Refs
from zfut.context import running
from zfut.core import events as e
from zfut.core.owner.records import FAILED, READY, STATE_NAMES, Task
from zfut.core.owner.why import amounts
from zfut.ids import short
from zfut.refs import ObjectRef
from zfut.shield import shielded, wakes_nobody
from zfut.values import Values
from zfut.waiting import Pending

log = logging.getLogger("zfut")

SHOWN = 3
"""So many of the references that something waits for are spoken of."""

GATHER_S = 0.3
"""The chain of causes that a late ``get`` carries may take this long; no longer than its timeout,
so that who asks again and again is not held up."""

GATHER_MIN_S = 0.05


class Waits(Values):
    """Waits on the calling thread, which drives the loop meanwhile."""

    # ---------------------------------------------------------------- waiting

    def await_objects(
        self,
        ids: tuple[bytes, ...],
        need: int,
        timeout_s: float | None,
        *,
        fail_fast: bool,
        opened: Callable[[int], None] | None = None,
    ) -> bool:
        """Wait until ``need`` of the objects are ready. Returns False if time ran out.

        ``opened`` is told the number by which ``end_wait`` ends it.
        """
        call_id, pending = self.new_call()
        now = running.get()
        blocks = now.blocks and threading.get_ident() == self.thread
        event = e.AwaitObjects(call_id, ids, need, fail_fast, blocks, now.task_id)
        deadline = None
        if timeout_s is not None:
            deadline = time.monotonic_ns() + max(0, int(timeout_s * 1e9))

        def begin() -> None:
            self.loop.post(event)
            if opened is not None:
                opened(call_id)
            if timeout_s is not None and timeout_s <= 0:
                self.loop.turn()

        return self._await((call_id, pending), deadline, ids, begin, blocks=blocks)

    def note_wait(self, ids: tuple[bytes, ...]) -> int:
        """Somebody waits for all of these in a way of its own, until ``end_wait``."""
        call_id, _ = self.new_call()
        caller = running.get().task_id
        try:
            event = e.AwaitObjects(call_id, ids, len(ids), fail_fast=False, caller=caller)
            self.loop.post(event)
        except BaseException:  # of a signal's handler
            self.end_wait(call_id)
            raise
        return call_id

    def end_wait(self, call_id: int) -> None:
        """Nobody has to wait any more; a thread that does goes on."""
        with self.loop.lock:
            pending = self.loop.calls.pop(call_id, None)
            if pending is None:
                return
            pending.done = True
            if pending.event is not None:
                pending.event.set()
        self.loop.post(e.StopWaiting(call_id))
        self.loop.wake()

    def await_room(self, submitter: bytes) -> None:
        """Wait until enough calls of this process have ended to submit more."""
        call_id, pending = self.new_call()
        blocks = running.get().blocks and threading.get_ident() == self.thread
        event = e.AwaitRoom(call_id, submitter, blocks)
        call = call_id, pending
        self._await(call, None, (), lambda: self.loop.post(event), blocks=blocks)
        self._check_loop()

    def _await(
        self,
        call: tuple[int, Pending],
        deadline: int | None,
        ids: tuple[bytes, ...],
        begin: Callable[[], None],
        *,
        blocks: bool,
    ) -> bool:
        """Begin a wait, and end it: one that nobody ends would lend this task's CPU for ever."""
        call_id, pending = call
        done = False
        try:
            begin()
            if blocks and self.reenter is not None:
                done = self._wait_and_run(call_id, pending, deadline, ids)
            else:
                done = pending.done or self._wait_or_say(call_id, pending, deadline, ids)
        finally:
            if not done:
                with shielded(wakes_nobody):
                    self.loop.calls.pop(call_id, None)
                    self.loop.post(e.StopWaiting(call_id))
        return done

    def _wait_and_run(
        self, call_id: int, pending: Pending, deadline: int | None, ids: tuple[bytes, ...]
    ) -> bool:
        """Wait inside a task; run what this process is lent to itself for meanwhile."""
        reenter = self.reenter
        assert reenter is not None
        patience: int | None = self._patience()
        while True:
            limit = patience if deadline is None else min(deadline, patience or deadline)
            if self.loop.wait(pending, limit, reenter.ready):
                break
            self._check_loop()
            if reenter.ready():
                reenter.run()
                continue
            now = time.monotonic_ns()
            if deadline is not None and now >= deadline:
                return False
            if patience is not None and now >= patience:
                patience = None
                self._say_why(ids)
        if self.loop.closed and call_id:
            self._check_loop()
        return True

    def _wait_or_say(
        self, call_id: int, pending: Pending, deadline: int | None, ids: tuple[bytes, ...]
    ) -> bool:
        """Wait; after ``log_blocked_get_s`` seconds say once what is waited for."""
        patience = self._patience()
        if deadline is None or patience < deadline:
            if self.wait_for(call_id, pending, patience):
                return True
            self._say_why(ids)
        return self.wait_for(call_id, pending, deadline)

    def _patience(self) -> int:
        return time.monotonic_ns() + int(self.config.log_blocked_get_s * 1e9)

    def _say_why(self, ids: tuple[bytes, ...]) -> None:
        if not ids:
            self._say_full()
            return
        waiting = [name for name in ids if not self.is_ready(name)]
        log.warning(
            "a get has waited %g s for %d of %d references:\n%s",
            self.config.log_blocked_get_s,
            len(waiting),
            len(ids),
            self.causes(waiting[:SHOWN]),
        )

    def _say_full(self) -> None:
        with self.loop.lock:
            made = (name for name, row in self._rows.items() if row.task is not None)
            some = list(itertools.islice(made, SHOWN))
        log.warning(
            "a remote() has waited %g s: %s. It goes on when a fifth of that has ended; "
            "zfut.init(pending_calls_max=..., pending_args_max_bytes=...) sets other bounds, "
            "0 for none. Some of what is unfinished:\n%s",
            self.config.log_blocked_get_s,
            self.backlog.told(),
            self.causes(some),
        )

    def get_one(self, ref: ObjectRef[Any], timeout_s: float | None, *, copy: bool) -> Any:
        """Return one value."""
        object_id = ref._id  # noqa: SLF001
        row = self._rows.get(object_id)
        while row is None or row.state < READY:  # it may be lost again meanwhile
            if not self.await_objects((object_id,), 1, timeout_s, fail_fast=True):
                raise self.timed_out((ref,), timeout_s)
            row = self._rows[object_id]
        return self.value_of(object_id, row, copy=copy)

    def get_many(self, refs: Refs, timeout_s: float | None, *, copy: bool) -> list[Any]:
        """Return all values in order, or raise the first error at once."""
        ids = tuple([ref._id for ref in refs])  # noqa: SLF001
        if not ids:
            return []
        rows = self._rows
        whole = False
        while not whole:
            if not self.await_objects(ids, len(ids), timeout_s, fail_fast=True):
                raise self.timed_out(refs, timeout_s)
            found = [rows[object_id] for object_id in ids]
            for object_id, row in zip(ids, found, strict=True):
                if row.state == FAILED:
                    self.value_of(object_id, row)
            whole = all(row.state >= READY for row in found)  # or one was lost meanwhile
        return [
            self.value_of(object_id, row, copy=copy)
            for object_id, row in zip(ids, found, strict=True)
        ]

    def timed_out(
        self, refs: Refs, timeout_s: float | None, total: int = 0
    ) -> errors.GetTimeoutError:
        """Say what was waited for, and why; ``refs`` are what is left of ``total``.

        Other processes are asked, but not for long, and not at all with ``timeout=0``.
        """
        names = [ref.binary() for ref in refs]
        waiting = [name for name in names if not self.is_ready(name)] or names
        what = "; ".join(f"{short(name)} {self.describe(name)}" for name in waiting[:SHOWN])
        if len(waiting) > SHOWN:
            what += f"; and {len(waiting) - SHOWN} more"
        timeout_s = float(timeout_s or 0)
        within_s = min(GATHER_S, max(timeout_s, GATHER_MIN_S)) if timeout_s else 0.0
        with contextlib.suppress(Exception):  # the error is raised whatever becomes of its text
            what += "\n" + self.causes(waiting[:SHOWN], within_s)
        return errors.GetTimeoutError(len(waiting), total or len(refs), timeout_s, what)

    def is_ready(self, object_id: bytes) -> bool:
        """Whether the value or the error of an object is known here."""
        row = self._rows.get(object_id)
        return row is not None and row.state >= READY

    def causes(self, names: Sequence[bytes], within_s: float | None = None) -> str:
        """Return the chains of causes, gathered in this time; 0: what this process knows."""
        from zfut.explain import explain  # noqa: PLC0415  only where something takes long

        return explain(self, *names, within_s=within_s)

    def is_actor_call(self, object_id: bytes) -> bool:
        """Whether a method of an actor makes this object, as far as is known here."""
        row = self._rows.get(object_id)
        return row is not None and row.task is not None and bool(row.task.actor_id)

    def describe(self, object_id: bytes) -> str:
        """Say what is known here of an object, without asking anyone."""
        row = self._rows.get(object_id)
        if row is None:
            return "submitted" if object_id.startswith(self.uid) else "not asked for yet"
        task = row.task
        if task is None:
            return "freed by free()" if row.freed else STATE_NAMES[row.state].lower()
        name = f"{task.template.name}()"
        if task.waiting_on:
            plural = "s" if task.waiting_on > 1 else ""
            return f"{name} waits for {task.waiting_on} argument{plural}"
        if task.actor_id:
            return f"{name} {self._why_called(task)}"
        if task.lease is not None:
            return f"{name} was sent to worker {short(task.lease.worker)}"
        return f"{name} waits for {self._why_queued(task)}"

    def _why_called(self, task: Task) -> str:
        actor = self.owner.calls.actors.actors.get(task.actor_id)
        if actor is None or actor.state == "pending":
            lease = actor.lease if actor is not None else None
            if lease is not None and not lease.worker:
                demand = actor.creation.template.demand if actor and actor.creation else ()
                waits = f"a node: {lease.why}" if lease.why else f"a worker ({amounts(demand)})"
                return f"waits for its actor, which waits for {waits}"
            return "waits for its actor to be created"
        if actor.state == "restarting":
            return "waits for its actor, which is being restarted"
        if task.task_id in actor.sent:
            before = next(iter(actor.sent.values()))
            return "runs" if before is task else f"is queued behind {before.template.name}()"
        return "is queued for its actor"

    def _why_queued(self, task: Task) -> str:
        key = self.owner.tasks.submission.keys.get((task.template.demand, task.depth))
        if key is not None and key.why:
            return f"a node: {key.why}"
        return f"a worker ({amounts(task.template.demand)})"

    def ready_split(
        self, refs: Refs, need: int, timeout_s: float | None
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        """Return at most ``need`` ready references, and all others, each in the given order."""
        ready = self._ready_of(refs, need)
        if len(ready) < need and (timeout_s is None or timeout_s > 0 or self.loop.inbox):
            ids = tuple([ref._id for ref in refs])  # noqa: SLF001
            while self.await_objects(ids, need, timeout_s, fail_fast=False):
                ready = self._ready_of(refs, need)
                if len(ready) >= need:
                    break
            ready = self._ready_of(refs, need)
        if ready and len(ready) == 1 and refs[0] is ready[0]:
            return ready, list(refs[1:])
        chosen = {id(ref) for ref in ready}
        return ready, [ref for ref in refs if id(ref) not in chosen]

    def _ready_of(self, refs: Refs, need: int) -> list[ObjectRef[Any]]:
        rows = self._rows
        ready: list[ObjectRef[Any]] = []
        for ref in refs:
            row = rows.get(ref._id)  # noqa: SLF001
            if row is not None and row.state >= READY:
                ready.append(ref)
                if len(ready) == need:
                    break
        return ready
