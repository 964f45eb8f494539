"""Runs user code: opens arguments, calls, packs results, and says what went wrong.

It decides nothing: a call comes from the executor's inbox, a Returned event goes back.
"""

from __future__ import annotations

import _signal
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from zfut import errors, task_errors
from zfut.actors.failures import WordedFailures
from zfut.context import Running, cover, running
from zfut.core.events import ArgumentsOpened, Retired, Returned
from zfut.core.executor.inbox import CREATE, METHOD, TASK, Call
from zfut.core.executor.machine import ExecutorMachine
from zfut.session import ArgumentHold, Session
from zfut.untrusted import asked, brief, encodable, is_a, kind_text, traceback_of
from zfut.wire import serialize
from zfut.wire.specs import (
    BEREFT,
    CANCELLED,
    OK,
    RAISED,
    RETRIABLE,
    Address,
    Failed,
    Inline,
    Stored,
    TaskResult,
    Value,
)

log = logging.getLogger("zfut")

Refs = tuple[tuple[bytes, Address], ...]


class ActorExit(BaseException):
    """Raised by exit_actor(): ends the actor's process once its call is unwound."""


class CancelInterrupt(KeyboardInterrupt):
    """Raised in a task that ``zfut.cancel`` interrupts."""


class Runner:
    """Runs calls one at a time on the thread that asks; actors keep their instance here."""

    owns_process = True

    def __init__(self, session: Session, executor: ExecutorMachine, node: str) -> None:
        self._session = session
        self._executor = executor
        self._node = node
        self._pid = os.getpid()
        self._functions: dict[bytes, serialize.Code] = {}
        self._scoped = False
        self._counts: dict[bytes, int] = {}  # calls so far of functions that have ``max_calls``
        self.serializers = b""
        self._failures = WordedFailures()
        self.instance: Any = None
        self.class_name = ""
        self.exit_wanted = ""
        self._exiting_call = b""
        self.on_top = b""  # the task whose user code has the main thread now
        self.interrupts: dict[bytes, None] = {}  # tasks that are to be interrupted
        self.cancelled: dict[bytes, None] = {}  # actor calls that were cancelled and run
        self._to_confirm: dict[
            bytes, None
        ] = {}  # calls of which the machine asks: are they open?
        session.exit_actor = self._ask_exit
        session.is_cancelled = self.cancelled.__contains__
        session.check_interrupt = self.check_interrupt

    # ---------------------------------------------------------------- what to call

    def _function(self, function_id: bytes) -> Callable[..., Any]:
        code = self._functions.get(function_id)
        if code is None:
            _, sent = self._executor.inbox.functions[function_id]
            code = self._functions[function_id] = serialize.load_code(sent)
            self._scoped = self._scoped or bool(code.serializers)
            if code.max_calls:
                self._counts[function_id] = 0
        if self._scoped and code.serializers != self.serializers:
            self.install(code.serializers)
        return code.function  # type: ignore[no-any-return]

    def install(self, serializers: bytes) -> None:
        """Use what the driver registered whose code runs here now."""
        self.serializers = _UNKNOWN  # if it fails the next call does not run with half of them
        serialize.install(serializers)
        self.serializers = serializers

    def name_of(self, call: Call) -> str:
        """Return what a user calls this call: ``f`` or ``Class.method``."""
        if call.kind == METHOD:
            return f"{self._executor.actor_name}.{call.method()}"
        if call.spec.name:
            return call.spec.name
        name, _ = self._executor.inbox.functions[call.spec.function]
        return f"{name}.__init__" if call.kind == CREATE else name

    def target(self, call: Call) -> Callable[..., Any]:
        """Return the callable of a call. Loading a function may raise anything."""
        if call.kind == METHOD:
            name = call.method()
            if name == "__zfut_ready__":
                return _ready
            if name == "__zfut_call__":
                return self._call_inside
            if name == "__zfut_terminate__":
                return self._ask_exit
            return getattr(self.instance, name)  # type: ignore[no-any-return]
        return self._function(call.spec.function)

    def _call_inside(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(self.instance, *args, **kwargs)

    def _ask_exit(self) -> NoReturn:
        """User code called exit_actor(): its process ends even if the exception is swallowed."""
        self._exiting_call = running.get().task_id
        self.exit_wanted = "exit_actor"
        self._session.loop.wake()
        raise ActorExit

    def context(self, call: Call, name: str) -> Running:
        """Return what ``get_runtime_context`` shows inside the call."""
        spec = call.spec
        blocks = call.kind == TASK
        actor_id = self._executor.actor_id
        trace = spec.trace or spec.task_id
        return Running(spec.task_id, spec.attempt, spec.depth, name, actor_id, blocks, trace)

    # ---------------------------------------------------------------- arguments

    def arguments(
        self, call: Call, holds: list[ArgumentHold]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Open a call's arguments; large ones are read in place and noted in ``holds``."""
        try:
            spec = call.spec
            deps = call.deps
            session = self._session
            if deps and deps[0][0].where == -1:
                stored = deps[0][0].value
                assert isinstance(stored, Stored)
                given, kwargs = session.read_argument(stored, holds)
                deps = deps[1:]
            elif spec.encoding:
                given, kwargs = serialize.unpack(spec.encoding, call.args)
            else:
                given, kwargs = (), {}
            args = list(given)
            for dep, data in deps:
                value = dep.value
                if isinstance(value, Stored):
                    opened = session.read_argument(value, holds)
                else:
                    opened = serialize.unpack(value.encoding, data)
                if isinstance(dep.where, str):
                    kwargs[dep.where] = opened
                elif dep.where < len(args):
                    args[dep.where] = opened
                else:
                    args.append(opened)
            return args, kwargs
        finally:
            call.opened = True
            if self._to_confirm:
                self._confirm(call)

    def confirm(self, task_id: bytes) -> None:
        """Tell the machine that a call's arguments are open, or have it told. In a turn."""
        call = self._executor.inbox.running.get(task_id)
        if call is None:
            return  # it has ended, and so it is known
        self._to_confirm[task_id] = None
        if call.opened:  # else whoever opens them looks after this
            self._to_confirm.pop(task_id, None)
            self._session.loop.inbox.append(ArgumentsOpened(task_id))

    def _confirm(self, call: Call) -> None:
        if call.spec.task_id in self._to_confirm:
            self._to_confirm.pop(call.spec.task_id, None)
            self._session.loop.post(ArgumentsOpened(call.spec.task_id))

    def keep(self, call: Call, holds: list[ArgumentHold]) -> None:
        """The call is over: what it keeps of its arguments is used beyond it."""
        if holds:
            self._session.keep_arguments(holds, call.spec.task_id)

    def let_go(self, call: Call) -> None:
        """Before a call is answered: what it was lent and has dropped is not used any more.

        What else was dropped has time.
        """
        loop = self._session.loop
        while loop.drops:
            loop.turn()
            if call.spec.task_id not in self._session.owner.ledger.covers.held:
                return

    # ---------------------------------------------------------------- running

    def run(self, call: Call, post: Callable[[Returned | Retired], None]) -> None:
        """Run one call on this thread, whatever it does; exits are noted, not taken.

        The answer is posted while the result, and the references in it, are still held.
        """
        name = self.name_of(call)
        context = running.set(self.context(call, name))
        covering = cover.set(call.spec.task_id)
        holds: list[ArgumentHold] = []
        below = self.on_top
        began = time.monotonic_ns()
        try:
            function = self.target(call)
            if call.kind == TASK:
                value = self._interruptible(call, function, holds)
            else:
                args, kwargs = self.arguments(call, holds)
                value = function(*args, **kwargs)
                args, kwargs = [], {}  # their holds end before the answer
            self.keep(call, holds)
            took = time.monotonic_ns() - began
            answer = self.returned(call, name, value, took)
            self.let_go(call)
            post(answer)
        except BaseException as error:  # noqa: BLE001  it belongs to the caller
            args, kwargs = [], {}
            self.keep(call, holds)
            failed = self.failed(call, name, error, time.monotonic_ns() - began)
            if failed is not None:
                self.let_go(call)
                post(failed)
        finally:
            if below:
                self.on_top = below
            if self.cancelled:
                self.cancelled.pop(call.spec.task_id, None)
            cover.reset(covering)
            running.reset(context)
            if self._counts:
                self._count(call.spec.function, post)

    def _count(self, function_id: bytes, post: Callable[[Returned | Retired], None]) -> None:
        """End this worker, once all is answered, if the function has had its ``max_calls``."""
        if function_id in self._counts:
            self._counts[function_id] += 1
            if self._counts[function_id] >= self._functions[function_id].max_calls:
                post(Retired())
                self._session.loop.turn()  # before the next call is taken

    def _interruptible(
        self, call: Call, function: Callable[..., Any], holds: list[ArgumentHold]
    ) -> Any:
        """Run a task from where its arguments are opened, which is user code too."""
        task_id = call.spec.task_id
        below = self.on_top
        self.on_top = task_id
        try:
            if task_id in self.interrupts:
                self.check_interrupt()
            args, kwargs = self.arguments(call, holds)
            return function(*args, **kwargs)
        finally:
            self.on_top = b""
            if self.interrupts:
                self.interrupts.pop(task_id, None)
            if not below and self.owns_process and _signal.getsignal(_ALARM) != _signal.SIG_DFL:
                _disarm(self.name_of(call))

    def is_interrupted(self) -> bool:
        """Whether the task whose code has the main thread is cancelled."""
        return bool(self.on_top) and self.on_top in self.interrupts

    def check_interrupt(self) -> None:
        """Raise CancelInterrupt if the task whose code has the main thread is cancelled."""
        if self.is_interrupted():
            del self.interrupts[self.on_top]
            raise CancelInterrupt

    def returned(self, call: Call, name: str, value: Any, took: int) -> Returned:
        """Pack what a call returned. Raises ActorExit if it had called exit_actor()."""
        spec = call.spec
        if self._session.closed:
            self._end_fork()
        if self.exit_wanted and self._exiting_call == spec.task_id:
            raise ActorExit
        if call.kind == CREATE:
            self.instance = value
            self.class_name = self._executor.actor_name
            return Returned(TaskResult(spec.task_id, spec.attempt, OK, (), took), ())
        count = spec.num_returns
        if count == 1:
            if value is None:
                result = TaskResult(spec.task_id, spec.attempt, OK, (_NONE,), took)
                return Returned(result, ())
            values: tuple[Any, ...] = (value,)
        elif count == 0:
            values = ()
        else:
            values = self._several(name, value, count)
        return self._pack(call, name, values, took)

    @staticmethod
    def _several(name: str, value: Any, count: int) -> tuple[Any, ...]:
        unordered = isinstance(value, str | bytes | bytearray | dict | set | frozenset)
        try:
            values = () if unordered else tuple(value)
        except TypeError:
            unordered, values = True, ()
        got = f"one {type(value).__name__}" if unordered else f"{len(values)} values"
        if len(values) != count:
            message = f"{name}() has num_returns={count} but returned {got}"
            raise ValueError(message)
        return values

    def _pack(self, call: Call, name: str, values: tuple[Any, ...], took: int) -> Returned:
        specs: list[Value] = []
        try:
            return self._packed(call, name, values, took, specs)
        except BaseException:  # one of several: those before it are answered by nobody
            for value in specs:
                if isinstance(value, Stored):
                    self._session.unwrite(value)
            raise

    def _packed(
        self, call: Call, name: str, values: tuple[Any, ...], took: int, specs: list[Value]
    ) -> Returned:
        spec = call.spec
        session = self._session
        payload: list[bytes] = []
        refs: list[Refs] = []
        holders: list[object] = []
        room = session.config.inline_sum_max_bytes
        for index, value in enumerate(values):
            packed = serialize.pack(value, f"the result of {name}()")
            if packed.size_bytes <= min(session.config.inline_max_bytes, room):
                room -= packed.size_bytes
                specs.append(Inline(packed.size_bytes, packed.encoding))
                payload.append(packed.to_bytes())
            else:
                object_id = spec.task_id + (index + 1).to_bytes(4, "big")
                specs.append(session.write(packed, object_id, call.owner, spec.attempt))
            refs.append(packed.refs)
            holders += packed.holders
        result = TaskResult(spec.task_id, spec.attempt, OK, tuple(specs), took)
        return Returned(result, tuple(payload), tuple(refs) if holders else (), holders)

    # ---------------------------------------------------------------- failing

    def failed(self, call: Call, name: str, error: BaseException, took: int) -> Returned | None:
        """Say how a call failed; a call to exit ends the process after its answer.

        None: the end of the process is the answer.  Never raises: wherever a call runs, this is
        what answers it if anything else could not.
        """
        if self._to_confirm:  # it may have failed before its arguments
            self._to_confirm.pop(call.spec.task_id, None)
        try:
            said = self._said(call, name, error)
        except BaseException as other:  # noqa: BLE001  the call must have its answer
            self.untold(name, other)
            said = RAISED, task_errors.UNTOLD
        if said is None:
            return None
        status, failure = said
        BaseException.with_traceback(error, None)  # it may refuse to have attributes set
        values = (Failed(len(failure)),) if failure else ()
        spec = call.spec
        result = TaskResult(spec.task_id, spec.attempt, status, values, took if failure else 0)
        return Returned(result, (failure,) if failure else ())

    def untold(self, name: str, other: BaseException) -> None:
        """How a call failed could not be said, since ``other`` was raised."""
        if is_a(other, CancelInterrupt) and self.on_top:
            self.interrupts[self.on_top] = None  # it was meant for the call below this one
        with contextlib.suppress(BaseException):
            log.error("how %s() failed could not be told: %s", name, brief(other))

    def _said(self, call: Call, name: str, error: BaseException) -> tuple[int, bytes] | None:
        """Return the status and the failure of a call; none for one that was never to run."""
        if self._session.closed:
            self._end_fork(error)
        if is_a(error, ActorExit):
            return None if call.kind == CREATE else (RAISED, self._exited())
        if is_a(error, KeyboardInterrupt):
            why = "it was interrupted"
            return RAISED, self._failures.system("TaskCancelledError", name, why)
        if is_a(error, errors.TaskCancelledError) and not traceback_of(error):
            return CANCELLED, b""
        self.note_exit(error)
        if self.exit_wanted.startswith("exit:"):
            return None
        shown = self._shown() if call.kind == METHOD else None
        captured = task_errors.capture(
            error, task_name=name, pid=self._pid, node=self._node, actor_repr=shown
        )
        return self._status(call, error), task_errors.encode_failure(captured)

    def _exited(self) -> bytes:
        executor = self._executor
        fields = (executor.actor_id, executor.actor_name, "exit_actor", "", b"")
        return self._failures.system("ActorDiedError", *fields)

    def _status(self, call: Call, error: BaseException) -> int:
        """Say whether the call, having raised this, asks to be run again."""
        if call.kind != TASK:
            return RAISED
        if self._is_retried(call.spec.function, error):
            return RETRIABLE
        lost = is_a(error, errors.OwnerDiedError) and not is_a(error, errors.TaskError)
        return BEREFT if lost else RAISED  # a call that failed so has had its own tries

    def _is_retried(self, function_id: bytes, error: BaseException) -> bool:
        code = self._functions.get(function_id)
        if code is None or not code.retried:
            return False
        retried = code.retried
        return asked(lambda: isinstance(error, retried), lambda _: False)

    def _end_fork(self, error: BaseException | None = None) -> None:
        """User code forked, and the child comes back here: it must not answer as its parent."""
        if os.getpid() != self._pid:
            os._exit(0 if error is None else _exit_code(error) & 0xFF)

    def _shown(self) -> str:
        """Return what an error says of the actor: its repr and its id."""
        actor = self._executor
        shown = asked(
            lambda: encodable(repr(self.instance)),
            lambda error: f"<{actor.actor_name} whose repr raised {kind_text(error)}>",
        )
        return f"{shown} ({actor.actor_id.hex()})"

    def note_exit(self, error: BaseException) -> None:
        """User code wants its process to end: remember with which code."""
        if is_a(error, SystemExit):
            self.exit_wanted = f"exit:{_exit_code(error)}"

    # ---------------------------------------------------------------- the end

    def farewell(self) -> None:
        """The actor ends in peace: call what its class has for that, and let it go."""
        for name in ("__zfut_terminate__", "on_exit"):
            hook = getattr(self.instance, name, None)
            if callable(hook):
                with contextlib.suppress(Exception, SystemExit, ActorExit):
                    hook()
        self.instance = hook = None
        self.exit_wanted = ""  # it ends already


def _exit_code(error: BaseException) -> int:
    """Return the code a process ends with for what it raised; other codes are texts to show."""
    if not is_a(error, SystemExit):
        return 1
    code: Any = asked(lambda: error.code, lambda _: 1)  # type: ignore[attr-defined]
    if code is None:
        return 0
    if issubclass(type(code), int):
        return int.__index__(code)
    asked(lambda: sys.stderr.write(f"{code}\n"), lambda _: 0)
    return 1


def _disarm(name: str) -> None:
    """An alarm that a task leaves set would go off in the next one, or in no task at all."""
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    if left:
        log.warning("%s() left an alarm set (signal.setitimer): it was taken back", name)


def _ready() -> bool:
    return True


_ALARM = int(signal.SIGALRM)

_NONE = Inline(0, 0)

_UNKNOWN = b"?"
"""What no process exports."""
