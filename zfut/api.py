"""The functions that users call: Ray's verbs, the standard library's protocols."""

from __future__ import annotations

import atexit
import inspect
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, overload

import msgspec

from zfut import config, errors
from zfut.actors import driver as drivers
from zfut.actors import start
from zfut.context import running
from zfut.core import events as e
from zfut.handles import ActorHandle, RemoteClass, RemoteFunction, from_description
from zfut.ids import short
from zfut.options import ACTOR_OPTIONS, TASK_OPTIONS, Options, merge
from zfut.refs import ObjectRef
from zfut.session import Session, current, current_or_none, set_current
from zfut.wire import messages as m

if TYPE_CHECKING:
    from zfut.inline.driver import InlineDriver

SECONDS_MAX = 1e9

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_lock = threading.RLock()
_driver: drivers.Driver | InlineDriver | None = None


# ------------------------------------------------------------------ sessions


def init(  # noqa: PLR0913  all but the first by name
    address: str | None = None,
    *,
    mode: str | None = None,
    num_cpus: float | None = None,
    num_gpus: float = 0,
    resources: dict[str, float] | None = None,
    object_store_memory: int | None = None,
    namespace: str = "",
    ignore_reinit_error: bool = False,
    **limits: Any,
) -> Session:
    """Join a session, or start one that ends with this program; returns it.

    ``address``: None takes ZFUT_ADDRESS, and starts an embedded node if that is not set; "auto" is
    this user's newest node on this machine and must exist; "local" always starts a new one.
    ``mode``: "processes", or "inline": everything in this process, on the thread that calls, for
    a debugger; None takes ZFUT_MODE.  ``limits`` are fields of ``zfut.config.Config``.

    Raises UsageError if the program has a session already or an option makes no sense,
    SessionError if the node cannot be joined or started.
    """
    global _driver  # noqa: PLW0603  the program's one session
    with _lock:
        _forget_parents_session()
        existing = current_or_none()
        if existing is not None and not existing.closed:
            if ignore_reinit_error:
                return existing
            raise errors.UsageError(
                "zfut.init() was called twice",
                "Call zfut.shutdown() first, or pass ignore_reinit_error=True",
            )
        if _driver is not None:
            _close()
        inline = _is_inline(mode, address)
        address = address or os.environ.get("ZFUT_ADDRESS") or "local"
        settings = config.load(object_store_memory=object_store_memory, **limits)
        if inline:
            from zfut.inline.driver import InlineDriver  # noqa: PLC0415  only for a debugger

            _driver = InlineDriver(_resources(num_cpus, num_gpus, resources), settings)
        elif address == "local":
            total = _resources(num_cpus, num_gpus, resources)
            _driver = drivers.start_embedded(total, settings)
        else:
            _refuse_resources(num_cpus, num_gpus, resources)
            _driver = drivers.join(address)
        session = _driver.session
        session.namespace = namespace
        session.on_exit = shutdown
        if isinstance(_driver, drivers.Driver):
            set_current(session)
        else:
            set_current(None, _driver.find)
        return session


def _is_inline(mode: str | None, address: str | None) -> bool:
    chosen = mode or os.environ.get("ZFUT_MODE") or "processes"
    if chosen not in ("processes", "inline"):
        raise errors.OptionError("zfut.init()", "mode", chosen, '"processes" or "inline"')
    if chosen == "inline" and address not in (None, "", "local"):
        raise errors.UsageError(
            f"mode='inline' is one process; it cannot join the session {address!r}",
            "Leave out address=, or mode= and ZFUT_MODE",
        )
    return chosen == "inline"


def _resources(
    num_cpus: float | None, num_gpus: float, custom: dict[str, float] | None
) -> dict[str, float]:
    given: dict[str, Any] = {"num_gpus": num_gpus, "resources": custom or {}}
    if num_cpus is not None:
        given["num_cpus"] = num_cpus
    checked = merge(Options(), given, ("num_cpus", "num_gpus", "resources"), "zfut.init")
    cpus = start.cpus_available() if checked.num_cpus is None else checked.num_cpus
    total = {"CPU": float(cpus), "GPU": checked.num_gpus, "memory": start.memory_available()}
    total.update(checked.resources)
    return {kind: amount for kind, amount in total.items() if amount}


def _refuse_resources(*given: Any) -> None:
    if any(given):
        raise errors.UsageError(
            "num_cpus, num_gpus and resources belong to a node that is started, not joined",
            "Give them to `zfut start-node`",
        )


def _forget_parents_session() -> None:
    global _driver  # noqa: PLW0603  in a fork there is nothing to close
    session = current_or_none()
    if session is not None and session.is_forked():
        _driver = None
        set_current(None)


def shutdown() -> None:
    """Leave the session; an embedded node ends with all its processes. Harmless when repeated.

    Arrays that were got from it keep their values: those on a node that others use are copied.
    """
    _leave(keep_arrays=True)


def _at_exit() -> None:
    _leave(keep_arrays=False)


def _leave(*, keep_arrays: bool) -> None:
    with _lock:
        _forget_parents_session()
        if _driver is not None and current_or_none() in (None, _driver.session):
            _close(keep_arrays=keep_arrays)  # a task does not end the session of its program


def _close(*, keep_arrays: bool = True) -> None:
    global _driver
    closing, _driver = _driver, None
    set_current(None)
    if closing is not None:
        closing.close(keep_arrays=keep_arrays)


atexit.register(_at_exit)


def is_initialized() -> bool:
    """Whether this process has a session."""
    session = current_or_none()
    return session is not None and not session.closed and not session.is_forked()


# ------------------------------------------------------------------ functions and classes


@overload
def remote(target: type[T], /) -> RemoteClass[..., T]: ...  # type: ignore[overload-overlap]
@overload
def remote(target: Callable[P, R], /) -> RemoteFunction[P, R]: ...
@overload
def remote(**options: Any) -> Callable[[Callable[P, R]], RemoteFunction[P, R]]: ...
def remote(*targets: Any, **options: Any) -> Any:
    """Make a function or a class remote; bare or with options.

    Raises UsageError for options that do not exist or make no sense, TypeError for anything but a
    function or a class.
    """
    if len(targets) == 1 and not options:
        return _make(targets[0], {})
    if targets or not options:
        raise errors.UsageError(
            "@remote takes a function or class, or options by keyword",
            "Write @zfut.remote, or @zfut.remote(num_cpus=2)",
        )
    return lambda target: _make(target, options)


def _make(target: Any, options: dict[str, Any]) -> Any:
    name = getattr(target, "__qualname__", type(target).__name__)
    if isinstance(target, type):
        return RemoteClass(target, merge(Options(), options, ACTOR_OPTIONS, f"class {name}"))
    if isinstance(target, RemoteFunction | RemoteClass):
        raise errors.UsageError(f"{name} is remote already", "Use .options() to change options")
    if not callable(target):
        message = f"@zfut.remote takes a function or a class, not {type(target).__name__}"
        raise TypeError(message)
    if inspect.iscoroutinefunction(target):
        raise errors.UsageError(
            f"{name} is a coroutine function, and a task has no event loop",
            "Make it a method of an actor, or a plain function that calls asyncio.run().",
        )
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise errors.UsageError(
            f"{name} is a generator; streaming results are not supported",
            "Return a list, or set num_returns on a function that returns a tuple",
        )
    return RemoteFunction(target, merge(Options(), options, TASK_OPTIONS, f"function {name}"))


def method(*, num_returns: int = 1) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a method of an actor class options of its own."""
    merge(Options(), {"num_returns": num_returns}, ("num_returns",), "@zfut.method")

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        function.__zfut_num_returns__ = num_returns  # type: ignore[attr-defined]
        return function

    return mark


# ------------------------------------------------------------------ values


def put(value: T) -> ObjectRef[T]:
    """Store an immutable snapshot of ``value`` and return its reference.

    Raises SerializationError (a TypeError) if it cannot be pickled, ObjectStoreFullError (a
    MemoryError) if no room came free in time.
    """
    return current().put(value)


@overload
def get(refs: ObjectRef[T], *, timeout: float | None = None, copy: bool = False) -> T: ...
@overload
def get(
    refs: Sequence[ObjectRef[T]], *, timeout: float | None = None, copy: bool = False
) -> list[T]: ...
def get(refs: Any, *, timeout: float | None = None, copy: bool = False) -> Any:
    """Return the value of a reference, or the values of a sequence of references, in order.

    Large arrays and tables are read in place, so they are read-only; ``copy=True`` gives copies
    that can be written.  Raises the task's error at once when any of them failed, GetTimeoutError
    (a TimeoutError) after ``timeout`` seconds, TypeError for anything but references.
    """
    session = current()
    session.check_open()
    if timeout is not None:
        timeout = _seconds(timeout)
    if type(refs) is ObjectRef:
        session.check_refs((refs,), "get()")
        return session.get_one(refs, timeout, copy=copy)
    if isinstance(refs, str | bytes | dict) or not isinstance(refs, Sequence):
        raise errors.WrongTypeError("get()", "a reference or a sequence of references", refs)
    session.check_refs(refs, "get()")
    return session.get_many(refs, timeout, copy=copy)


def _seconds(timeout: float) -> float | None:
    """Check a timeout; one that nobody lives to see is none."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise errors.UsageError(f"timeout={timeout!r} is no number of seconds from 0")
    return timeout if timeout <= SECONDS_MAX else None


def wait(
    refs: Sequence[ObjectRef[T]],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[ObjectRef[T]], list[ObjectRef[T]]]:
    """Wait until ``num_returns`` of the references are ready; returns these and all others.

    Ready means that the value or the error is known.  Both lists keep the given order and the
    first never has more than ``num_returns``.  Raises ValueError for duplicates and for a
    ``num_returns`` that cannot come true, TypeError for anything but a sequence of references.
    """
    session = current()
    session.check_open()
    if timeout is not None:
        timeout = _seconds(timeout)
    del fetch_local  # on one node every value that exists is local
    if isinstance(refs, ObjectRef | str | bytes | dict) or not isinstance(refs, Sequence):
        raise errors.WrongTypeError("wait()", "a sequence of references", refs)
    if not refs:
        return [], []
    session.check_unique(refs)
    if isinstance(num_returns, bool) or not isinstance(num_returns, int) or num_returns < 1:
        raise errors.CountError("wait()", num_returns, len(refs))
    if num_returns > len(refs):
        raise errors.CountError("wait()", num_returns, len(refs))
    return session.ready_split(refs, num_returns, timeout)


def free(refs: ObjectRef[Any] | Sequence[ObjectRef[Any]]) -> None:
    """Take the values of references away now, though references to them exist.

    From then on ``get`` raises ObjectFreedError wherever the reference is, and a task that takes
    it fails, also one that was called before and has not begun.  What reads the value already goes
    on: its memory is used again when no call, process or array does.  What was computed from it
    and is lost is made again, if the freed value's own task can make that again.

    What has failed or was freed stays as it is.  Raises UsageError for a reference of which
    another process is the owner, TypeError for anything but references.
    """
    session = current()
    session.check_open()
    if isinstance(refs, ObjectRef):
        refs = (refs,)
    if isinstance(refs, str | bytes | dict) or not isinstance(refs, Sequence):
        raise errors.WrongTypeError("free()", "a reference or a sequence of references", refs)
    session.free(refs)


def as_completed(
    refs: Iterable[ObjectRef[T]], *, timeout: float | None = None
) -> Iterator[ObjectRef[T]]:
    """Yield references as they become ready. Raises GetTimeoutError after ``timeout`` seconds.

    Raises at once what ``wait`` raises for anything but different references.
    """
    session = current()
    session.check_open()
    if timeout is not None:
        timeout = _seconds(timeout)
    if isinstance(refs, ObjectRef | str | bytes | dict) or not isinstance(refs, Iterable):
        raise errors.WrongTypeError("as_completed()", "references", refs)
    rest = list(refs)
    if rest:
        session.check_unique(rest, "as_completed()")
    return _as_completed(session, rest, timeout)


def _as_completed(
    session: Session, rest: list[ObjectRef[T]], timeout: float | None
) -> Iterator[ObjectRef[T]]:
    total = len(rest)
    deadline = None if timeout is None else time.monotonic() + timeout
    while rest:
        session.check_open()
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, rest = session.ready_split(rest, 1, left)
        if not ready:
            raise session.timed_out(rest, timeout, total)
        yield from ready
        if rest:
            ready, rest = session.ready_split(rest, len(rest), 0)
            yield from ready


def cancel(ref: ObjectRef[Any], *, force: bool = False, recursive: bool = True) -> None:
    """Cancel the task that makes ``ref``; its ``get`` then raises TaskCancelledError.

    One that has not started is dropped.  A task that runs is interrupted: KeyboardInterrupt is
    raised in it, as soon as it runs Python code again.  With ``force`` its worker is killed.  A
    coroutine of an actor is cancelled; another method of an actor goes on, and can ask
    ``get_runtime_context().cancelled``.  ``recursive``: also what the task has submitted itself.

    Only a request: a call that ends first has its value.  A cancelled task is never tried again.
    Does nothing once the value is known.  Raises OptionError (a ValueError) for ``force`` with an
    actor's call: use ``kill``.
    """
    session = current()
    session.check_open()
    session.check_refs((ref,), "cancel()")
    if force and session.is_actor_call(ref.binary()):
        expected = "False: this is an actor's call; zfut.kill(actor) ends the actor"
        raise errors.OptionError("cancel()", "force", force, expected)
    session.loop.post(e.Cancelled(ref.binary(), force, recursive))
    session.loop.turn()


# ------------------------------------------------------------------ actors


def kill(actor: ActorHandle[Any], *, no_restart: bool = True) -> None:
    """End an actor at once, like kill -9: its calls fail with ActorDiedError.

    With ``no_restart=False`` only its process: it lives again if ``max_restarts`` allows.
    """
    if not isinstance(actor, ActorHandle):
        raise errors.WrongTypeError("kill()", "an actor handle", actor)
    actor.kill(no_restart=no_restart)


def exit_actor() -> NoReturn:
    """End the actor this is called in, once this call is unwound; never returns.

    It raises what ``except Exception`` and ``except SystemExit`` do not catch.  The call and all
    later ones fail with ActorDiedError.  Raises UsageError outside an actor.
    """
    if not running.get().actor_id:
        raise errors.UsageError("exit_actor() works only in an actor's method")
    current().exit_actor()


def get_actor(name: str, namespace: str | None = None) -> ActorHandle[Any]:
    """Return a handle of the actor with this name; it does not keep the actor alive.

    Raises NoSuchActorError (a ValueError) if there is none, TypeError if a name is no text.
    """
    session = current()
    session.check_open()
    merge(
        Options(), {"name": name, "namespace": namespace}, ("name", "namespace"), "get_actor()"
    )
    if name is None:
        raise errors.OptionTypeError("get_actor()", "name", name, "text")
    where = session.namespace if namespace is None else namespace
    answer = session.ask(lambda request: m.FindName(request, where, name))
    if not answer.handle:
        raise errors.NoSuchActorError(name, where)
    return from_description(session, answer.handle)


# ------------------------------------------------------------------ what there is


def _report(topic: str) -> dict[str, Any]:
    session = current()
    answer = session.ask(lambda request: m.AskNode(request, topic))
    return msgspec.json.decode(answer.answer, type=dict[str, Any])


def nodes() -> list[dict[str, Any]]:
    """Return what is known of each node: id, resources, workers, memory."""
    report = _report("status")
    return [{**report, "alive": True}]


def cluster_resources() -> dict[str, float]:
    """Return all resources of the cluster."""
    total: dict[str, float] = _report("resources")["total"]
    return total


def available_resources() -> dict[str, float]:
    """Return the resources that are free now; kinds that are used up are left out."""
    available: dict[str, float] = _report("resources")["available"]
    return available


class RuntimeContext(msgspec.Struct, frozen=True):
    """Where this code runs: ids in hexadecimal digits, empty where there is none."""

    session: str
    node_id: str
    worker_id: str
    task_id: str
    task_name: str
    attempt: int
    actor_id: str
    namespace: str
    cancelled: bool = False
    """Whether ``zfut.cancel`` asked this call of an actor to end."""


def get_runtime_context() -> RuntimeContext:
    """Return where this code runs. Raises UsageError without a session."""
    session = current()
    now = running.get()
    return RuntimeContext(
        session=short(session.node),
        node_id=session.node.hex(),
        worker_id=session.uid.hex(),
        task_id=now.task_id.hex(),
        task_name=now.name,
        attempt=now.attempt,
        actor_id=now.actor_id.hex(),
        namespace=session.namespace,
        cancelled=session.is_cancelled(now.task_id),
    )
