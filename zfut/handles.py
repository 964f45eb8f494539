"""What ``@remote`` makes: remote functions, remote classes, and handles of actors."""

from __future__ import annotations

import functools
import hashlib
import inspect
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar, overload

from zfut import errors, pickles
from zfut.core.events import ActorKilled
from zfut.core.owner.actors import handle_id
from zfut.core.owner.records import Creation, Task, Template
from zfut.errors import did_you_mean
from zfut.options import ACTOR_OPTIONS, METHOD_OPTIONS, TASK_OPTIONS, Options, merge
from zfut.refs import ObjectRef
from zfut.session import Session, current
from zfut.signatures import Checker, checker_of, has_coroutines
from zfut.wire import messages as m
from zfut.wire import serialize
from zfut.wire.specs import Address

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

ASYNC_CONCURRENCY = 1000
SPECIAL_METHODS = ("__zfut_ready__", "__zfut_call__", "__zfut_terminate__")


class _Shipped:
    """A function's or class's code, pickled once for each session and set of serializers."""

    def __init__(self, target: Callable[..., Any], what: str, options: Options) -> None:
        self._target = target
        self._what = what
        self._rules = options.retried(), options.calls_max()
        self._session: Session | None = None
        self._serializers = b""
        self._code = b""
        self._id = b""
        self._refs: list[Any] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_session": None, "_code": b"", "_refs": []}

    def for_session(self, session: Session) -> tuple[bytes, bytes, list[Any]]:
        """Return the FunctionID, the code, and the references captured in it."""
        serializers = serialize.exported()
        if self._session is not session or self._serializers is not serializers:
            code, refs = serialize.dump_function(self._target, self._what, *self._rules)
            if any(getattr(ref, "_session", session) is not session for ref in refs):
                raise errors.SessionError(
                    f"a reference that {self._what} captured", "its session has ended"
                )
            self._code, self._refs = code, refs
            self._id = hashlib.blake2b(self._code, digest_size=16).digest()
            self._session, self._serializers = session, serializers
        return self._id, self._code, self._refs


class RemoteFunction(Generic[P, R]):
    """A function whose ``remote`` runs it in a worker and returns a reference at once."""

    def __init__(
        self, function: Callable[P, R], options: Options, shipped: _Shipped | None = None
    ) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._options = options
        self._name = getattr(function, "__qualname__", "function").rpartition("<locals>.")[2]
        self._check: Checker = checker_of(function, self._name, skip_first=False)
        self._shipped = shipped or _Shipped(function, f"function {self._name}", options)
        self._session: Session | None = None
        self._template: Template | None = None
        _functions.add(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: other functions may capture this one."""
        return {**vars(self), "_session": None, "_template": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        _functions.add(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # noqa: ARG002
        raise errors.DirectCallError(self._name)

    def local(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the plain function here."""
        return self._function(*args, **kwargs)

    def options(self, **given: Any) -> RemoteFunction[P, R]:
        """Return the same function with other options; see ``zfut.options``."""
        options = merge(self._options, given, TASK_OPTIONS, f"function {self._name}")
        known = self._options
        same = (options.retried(), options.calls_max()) == (known.retried(), known.calls_max())
        return RemoteFunction(self._function, options, self._shipped if same else None)

    @overload
    def remote(self, *args: P.args, **kwargs: P.kwargs) -> ObjectRef[R]: ...
    @overload
    def remote(self, ref: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> ObjectRef[R]: ...
    @overload
    def remote(
        self, value: Any, ref: ObjectRef[Any], /, *args: Any, **kwargs: Any
    ) -> ObjectRef[R]: ...
    @overload
    def remote(
        self, value: Any, other: Any, ref: ObjectRef[Any], /, *args: Any, **kwargs: Any
    ) -> ObjectRef[R]: ...
    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function in a worker; returns its reference, or one for each return value.

        Raises TypeError for wrong arguments, SerializationError for what cannot be sent.
        """
        self._check(args, kwargs)
        session = current()
        template = self._template
        if self._session is not session or template is None:
            template = self._make_template(session)
        task = session.make_task(template, args, kwargs)
        refs = session.submit(task)
        if len(refs) == 1:
            return refs[0]
        return refs or None

    def _make_template(self, session: Session) -> Template:
        session.check_open()
        options = self._options
        function_id, code, captured = self._shipped.for_session(session)
        timeout = options.schedule_timeout
        self._template = Template(
            function_id,
            options.name or self._name,
            code,
            options.demand(1),
            options.num_returns,
            options.max_retries,
            0 if timeout is None else max(1, int(timeout * 1e9)),
            self._check.names,
            captured,
            self._name if options.name else "",
        )
        self._session = session
        return self._template

    def forget_code(self) -> None:
        """What was sent carries serializers that are not the ones registered now."""
        self._template = None

    def __repr__(self) -> str:
        return f"<remote function {self._name}>"


_functions: weakref.WeakSet[RemoteFunction[..., Any]] = weakref.WeakSet()


def _forget_code() -> None:
    for function in list(_functions):
        function.forget_code()


pickles.on_change.append(_forget_code)


def _check_class(cls: Any) -> None:
    if inspect.iscoroutinefunction(getattr(cls, "__init__", None)):
        raise errors.UsageError(
            f"actor class {cls.__name__} has an async __init__, which nobody would await",
            "Make it a plain method, and a coroutine method of its own for what it awaits.",
        )


class RemoteClass(Generic[P, T]):
    """A class whose ``remote`` makes an actor: an instance in a process of its own."""

    def __init__(self, cls: Any, options: Options, shipped: _Shipped | None = None) -> None:
        _check_class(cls)
        self._cls = cls
        self._options = options
        self._name: str = self._cls.__qualname__.rpartition("<locals>.")[2]
        self.__doc__ = self._cls.__doc__
        self.__name__ = self._cls.__name__
        self._check = checker_of(self._cls.__init__, self._name, skip_first=True)
        self._shipped = shipped or _Shipped(self._cls, f"actor class {self._name}", Options())
        self._methods = methods_of(self._cls)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:  # noqa: ARG002
        raise errors.DirectCallError(self._name, "class")

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        raise errors.UsageError(
            f"a class cannot inherit from the remote class {self._name}",
            f"Keep a plain class beside it: Remote{self._name} = zfut.remote({self._name}).",
        )

    def options(self, **given: Any) -> RemoteClass[P, T]:
        """Return the same class with other options; see ``zfut.options``."""
        options = merge(self._options, given, ACTOR_OPTIONS, f"class {self._name}")
        return RemoteClass(self._cls, options, self._shipped)

    def remote(self, *args: P.args, **kwargs: P.kwargs) -> ActorHandle[T]:
        """Make an actor and return its handle at once; it ends with its last handle.

        Raises TypeError for wrong arguments, ActorAlreadyExistsError if its name is taken.
        """
        self._check(args, kwargs)
        session = current()
        session.check_open()
        options = self._options
        function_id, code, captured = self._shipped.for_session(session)
        creation = Creation(
            self._concurrency(),
            options.name or "",
            session.namespace if options.namespace is None else options.namespace,
            self._name,
            options.max_restarts,
        )
        template = Template(function_id, self._name, code, options.demand(0), 0)
        template.parameters, template.captured = self._check.names, captured
        task = session.make_task(template, args, kwargs)
        task.creation = creation
        actor_id = task.task_id
        made = Made(actor_id, session.address, self._name, options.max_task_retries)
        handle: ActorHandle[T] = ActorHandle(made, self._methods, session, weak=False)
        if options.name:
            existing = self._register(session, creation, handle)
            if existing is not None:
                handle._dropped = True  # noqa: SLF001  it names nothing that was made
                return existing
        session.submit(task)
        return handle

    def _concurrency(self) -> int:
        if self._options.max_concurrency is not None:
            return self._options.max_concurrency
        return ASYNC_CONCURRENCY if has_coroutines(self._cls) else 1

    def _register(
        self, session: Session, creation: Creation, handle: ActorHandle[T]
    ) -> ActorHandle[T] | None:
        described = handle.describe()
        answer = session.ask(
            lambda request: m.RegisterName(
                request,
                creation.namespace,
                creation.name,
                handle.actor_id,
                session.address,
                described,
            )
        )
        if not answer.taken:
            return None
        if self._options.get_if_exists:
            return from_description(session, answer.handle)
        raise errors.ActorAlreadyExistsError(creation.name, creation.namespace)

    def __repr__(self) -> str:
        return f"<remote class {self._name}>"


class Made(NamedTuple):
    """What every handle of one actor says."""

    actor_id: bytes
    owner: Address
    name: str
    retries: int
    """How often a call may be sent again to the actor's next life; -1: always."""


class ActorHandle(Generic[T]):
    """A reference to an actor: its methods' ``remote`` call it, in order.

    Hashable and equal by the actor, across processes.  Weak handles (an actor's own, and those
    found by name) do not keep it alive.
    """

    __slots__ = (
        "__weakref__",
        "_dropped",
        "_methods",
        "_name",
        "_owner",
        "_retries",
        "_session",
        "_weak",
        "actor_id",
    )

    def __init__(
        self, made: Made, methods: dict[str, MethodInfo], session: Session, *, weak: bool
    ) -> None:
        self.actor_id = made.actor_id
        self._owner = made.owner
        self._name = made.name
        self._retries = made.retries
        self._methods = methods
        self._session = session
        self._weak = weak
        self._dropped = False

    def __del__(self) -> None:
        try:
            if not (self._weak or self._dropped):
                self._session.loop.drop(handle_id(self.actor_id))
        except AttributeError:  # never bound: __init__ did not run
            return

    def __getattr__(self, name: str) -> ActorMethod[Any]:
        methods = self._methods
        info = methods.get(name)
        if info is None:
            if name in SPECIAL_METHODS:
                return ActorMethod(self, name, _SPECIAL)
            hint = did_you_mean(name, methods)
            message = f"actor class {self._name!r} has no method {name!r}.{hint}"
            raise AttributeError(message)
        return ActorMethod(self, name, info)

    def __dir__(self) -> list[str]:
        return [*self._methods, "actor_id"]

    def __hash__(self) -> int:
        return hash(self.actor_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and self.actor_id == other.actor_id

    def __repr__(self) -> str:
        return f"ActorHandle({self._name} {self.actor_id[-4:].hex()})"

    def describe(self) -> bytes:
        """Return what another process needs to make a handle."""
        made = Made(self.actor_id, self._owner, self._name, self._retries)
        return describe_actor(made, self._methods)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        serialize.note_reference(self, handle_id(self.actor_id), self._owner)
        return _rebuild_handle, (self.describe(),)

    def __copy__(self) -> ActorHandle[T]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ActorHandle[T]:
        return self

    def kill(self, *, no_restart: bool = True) -> None:
        """End the actor at once; see ``zfut.kill``."""
        self._session.check_open()
        self._session.loop.post(ActorKilled(self.actor_id, self._owner, no_restart))
        self._session.loop.turn()


class MethodInfo:
    """What a handle knows of a method."""

    __slots__ = ("check", "num_returns", "shape", "templates")

    def __init__(self, check: Checker, num_returns: int, shape: tuple[Any, ...]) -> None:
        self.check = check
        self.num_returns = num_returns
        self.shape = shape
        self.templates: dict[tuple[str, int, int], Template] = {}

    def template(self, name: str, num_returns: int, retries: int) -> Template:
        """Return what all calls of this method share."""
        template = self.templates.get((name, num_returns, retries))
        if template is None:
            template = Template(b"", name, b"", (), num_returns, retries)
            template.parameters = self.check.names
            self.templates[name, num_returns, retries] = template
        return template


class ActorMethod(Generic[R]):
    """One method of one actor."""

    __slots__ = ("_handle", "_info", "_method", "_retries", "_returns")

    def __init__(self, handle: ActorHandle[Any], method: str, info: MethodInfo) -> None:
        self._handle = handle
        self._method = method
        self._info = info
        self._returns = info.num_returns
        self._retries = handle._retries  # noqa: SLF001  a handle and its methods are one

    def __call__(self, *args: Any, **kwargs: Any) -> R:  # noqa: ARG002
        name = f"{self._handle._name}.{self._method}"  # noqa: SLF001
        raise errors.DirectCallError(name, "method")

    def options(self, **given: Any) -> ActorMethod[R]:
        """Return the same method with another number of returns, or of retries."""
        merged = merge(Options(), given, METHOD_OPTIONS, f"method {self._method}")
        method: ActorMethod[R] = ActorMethod(self._handle, self._method, self._info)
        if "num_returns" in given:
            method._returns = merged.num_returns
        if "max_task_retries" in given:
            method._retries = merged.max_task_retries
        return method

    def remote(self, *args: Any, **kwargs: Any) -> ObjectRef[R]:
        """Call the method; returns its reference at once. Calls of one caller start in order."""
        handle = self._handle
        info = self._info
        info.check(args, kwargs)
        session = handle._session  # noqa: SLF001  a handle and its methods are one
        name = f"{handle._name}.{self._method}"  # noqa: SLF001
        template = info.template(name, self._returns, self._retries)
        task = session.make_task(template, args, kwargs)
        task.actor_id = handle.actor_id
        task.actor_owner = handle._owner  # noqa: SLF001
        task.method = self._method.encode()
        task.weak = handle._weak  # noqa: SLF001
        refs = session.submit(task)
        if len(refs) == 1:
            return refs[0]
        return refs or None  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"<method {self._method} of {self._handle!r}>"


def methods_of(cls: type) -> dict[str, MethodInfo]:
    """Return the methods that a handle of ``cls`` has."""
    found: dict[str, MethodInfo] = {}
    for name in dir(cls):
        special = name.startswith("__") and name.endswith("__")
        if special and (name != "__call__" or "__call__" not in vars(cls)):
            continue
        member = inspect.getattr_static(cls, name)
        bound = not isinstance(member, staticmethod)
        function = getattr(member, "__func__", member)
        if not callable(function):
            continue
        check = checker_of(function, f"{cls.__name__}.{name}", skip_first=bound)
        returns = getattr(function, "__zfut_num_returns__", 1)
        found[name] = MethodInfo(check, returns, check.shape)
    return found


def describe_actor(made: Made, methods: dict[str, MethodInfo]) -> bytes:
    """Encode a handle for another process: msgpack, nothing of it is code."""
    shapes = {method: (info.num_returns, info.shape) for method, info in methods.items()}
    owner = made.owner
    whole = (made.actor_id, owner.uid, owner.epoch, made.name, made.retries, shapes)
    return serialize.dump_plain(whole)


def from_description(session: Session, data: bytes, *, weak: bool = True) -> ActorHandle[Any]:
    """Make a handle from what ``describe_actor`` wrote."""
    actor_id, uid, epoch, name, retries, shapes = serialize.load_plain(data)
    methods = {
        method: MethodInfo(Checker(f"{name}.{method}", *shape), returns, tuple(shape))
        for method, (returns, shape) in shapes.items()
    }
    made = Made(actor_id, Address(uid, epoch), name, retries)
    return ActorHandle(made, methods, session, weak=weak)


def _rebuild_handle(data: bytes) -> ActorHandle[Any]:
    from zfut.context import cover, running  # noqa: PLC0415  only when unpickled
    from zfut.core.events import RefArrived  # noqa: PLC0415

    session = current()
    handle = from_description(session, data)
    if running.get().actor_id == handle.actor_id:
        return handle  # an actor does not keep itself alive
    session.loop.post(RefArrived(handle_id(handle.actor_id), handle._owner, cover.get()))  # noqa: SLF001
    handle._weak = False  # noqa: SLF001  not before it is counted: an interrupt would uncount it
    return handle


_SPECIAL = MethodInfo(
    Checker("special method", 0, -1, (), open_kwargs=True), 1, (0, -1, (), True)
)

__all__ = [
    "ActorHandle",
    "ActorMethod",
    "Coroutine",
    "RemoteClass",
    "RemoteFunction",
    "Task",
    "from_description",
    "methods_of",
]
