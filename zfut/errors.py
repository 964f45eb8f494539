"""Every error zfut raises.  An error's positional arguments are its fields.

Pickle and the wire carry the class name and those arguments.  The text is made when it is
asked for: ``fact`` says what happened to which thing and why, ``advice`` what to do next.  A
class is the whole definition: nothing else is touched to add one.

Errors of tasks and actors are below.  The base class is in ``zfut.causes``; ``zfut.losses`` has
what happens to values and nodes, ``zfut.mistakes`` and ``zfut.misuse`` what is wrong before
anything runs.  Users find all of them here.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import Any, ClassVar

from zfut.causes import (
    Hop,
    ZfutError,
    because,
    call_text,
    did_you_mean,
    identity,
    story,
)
from zfut.losses import (
    GetTimeoutError,
    NodeDiedError,
    ObjectFreedError,
    ObjectLostError,
    ObjectStoreFullError,
    OutOfMemoryError,
    OwnerDiedError,
    ReconstructionFailedError,
    ReferenceVoidError,
)
from zfut.mistakes import (
    AuthenticationError,
    FunctionTooLargeError,
    InternalError,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    SerializationError,
    SessionError,
    UnpicklableExceptionError,
    UsageError,
    VersionMismatchError,
)
from zfut.misuse import (
    CountError,
    DirectCallError,
    DuplicateRefError,
    NoSuchActorError,
    OptionError,
    OptionTypeError,
    WrongTypeError,
)

# ------------------------------------------------------------------ tasks


class TaskError(ZfutError):
    """A task raised.  What ``get`` raises is an instance of the task's exception class too.

    ``cause`` is the original exception.  ``task_name``, ``pid``, ``node`` and ``actor`` say
    which task raised it, ``remote_traceback`` how it came here; ``hops`` has that in parts.
    """

    cause: BaseException | None = None
    task_id = b""
    type_name: str
    message: str
    hops: tuple[Hop, ...]
    task_name: str
    pid: int
    node: str
    actor: str
    remote_traceback: str
    _zfut_story: tuple[str, str, tuple[Hop, ...]]
    _zfut_apart: str = ""
    """Why this is not an instance of the task's exception class, if it is not."""

    def __init__(
        self, type_name: str = "", message: str = "", hops: tuple[Hop, ...] = ()
    ) -> None:
        super().__init__(type_name, message, hops)
        vars(self).update(self.known(type_name, message, hops))

    @staticmethod
    def known(type_name: str, message: str, hops: tuple[Hop, ...]) -> dict[str, Any]:
        """Return the attributes of a task error."""
        hops = tuple(Hop(*hop) for hop in hops)
        raised = next((hop for hop in reversed(hops) if hop.pid), Hop(""))
        return {
            "_zfut_story": (type_name, message, hops),
            "type_name": type_name,
            "message": message,
            "hops": hops,
            "task_name": raised.name,
            "pid": raised.pid,
            "node": raised.node,
            "actor": raised.actor,
            "remote_traceback": "\n".join(hop.traceback for hop in hops if hop.traceback),
        }

    def __str__(self) -> str:
        type_name, message, hops = self._zfut_story
        apart = f" (not {type_name}: {self._zfut_apart})" if self._zfut_apart else ""
        catch = f"TaskError{apart}" if apart else f"{type_name} or TaskError"
        told = story(hops, f"Catch {catch} to go on, or mend what raised it.")
        last = f"{type_name}: {message}" if message else type_name
        return told if told.endswith(last) else f"{told}\n{last}".lstrip()

    def as_instanceof_cause(self) -> BaseException:
        """Return an instance of the task's exception class: mostly this error itself."""
        return self


class TaskCancelledError(ZfutError, CancelledError):
    """The task was cancelled before it made its value; it will not run again."""

    advice = "Submit it again if its value is needed."

    def __init__(self, task_name: str = "", why: str = "") -> None:
        super().__init__(task_name, why)
        self.task_name, self.why = task_name, why

    def fact(self) -> str:
        return f"{call_text(self.task_name) or 'The task'} was cancelled{because(self.why)}."


class WorkerCrashedError(ZfutError):
    """The process that ran the task died: an exit, a signal, or a crash in C code."""

    advice = (
        "Read its last output, or call the function here, by .local(...), to see it happen; if it "
        "is a matter of chance, raise max_retries: all tries are used up."
    )

    def __init__(self, task_name: str, worker: bytes = b"", why: str = "") -> None:
        super().__init__(task_name, worker, why)
        self.task_name, self.worker, self.why = task_name, worker, why

    def fact(self) -> str:
        call = call_text(self.task_name) or "a task"
        return f"The worker that ran {call} died{because(self.why)}."


class TaskUnschedulableError(ZfutError):
    """No node could run the task: it asks for more than there is, or was free in time."""

    advice = (
        "Ask for less with .options(num_cpus=..., resources=...), or add a node that has it."
    )

    def __init__(self, task_name: str, why: str = "") -> None:
        super().__init__(task_name, why)
        self.task_name, self.why = task_name, why

    def fact(self) -> str:
        return f"No node could run {call_text(self.task_name)}{because(self.why)}."


class RuntimeEnvSetupError(ZfutError):
    """The environment a task asked for could not be made."""

    advice = "Mend the runtime_env, or try it with a process of your own on that node."

    def __init__(self, what: str, why: str = "") -> None:
        super().__init__(what, why)
        self.what, self.why = what, why

    def fact(self) -> str:
        return f"The runtime_env of {self.what} could not be set up{because(self.why)}."


# ------------------------------------------------------------------ actors


class ActorError(ZfutError):
    """A call did not end because of its actor, not because of the method."""

    advice = "Create the actor again with Class.remote(...)."

    def __init__(self, actor_id: bytes, class_name: str = "", detail: str = "") -> None:
        super().__init__(actor_id, class_name, detail)
        self.actor_id, self.class_name, self.detail = actor_id, class_name, detail

    def fact(self) -> str:
        return f"{self.who()} cannot be called{because(self.detail)}."

    def who(self) -> str:
        """Name the actor."""
        return f"Actor {self.class_name or '?'} ({identity(self.actor_id)})"


class ActorDiedError(ActorError):
    """The actor has ended and will not come back.  ``reason`` is one of ``ENDINGS``.

    ``failure`` is the constructor's encoded failure; decoding puts the exception itself in
    ``cause`` and its text in ``told``.
    """

    ENDINGS: ClassVar[dict[str, tuple[str, str]]] = {
        "killed": (
            "was ended by zfut.kill()",
            "Create it again, and let its users know before you kill it.",
        ),
        "worker died": (
            "is gone because its process died",
            "Read its output above, and create it again.",
        ),
        "owner died": (
            "ended with the process that created it",
            "Create it in a process that lives as long as it is needed.",
        ),
        "node died": (
            "is gone because its node died",
            "Create it again on a node that lives.",
        ),
        "node refused": (
            "was never started, because its node refused",
            "Try 'zfut doctor', or start another session with zfut.init().",
        ),
        "exit_actor": (
            "left by exit_actor()",
            "Create it again if it is still needed.",
        ),
        "constructor failed": (
            "never came to life: its constructor failed",
            "Mend __init__ or its arguments.",
        ),
        "restart failed": (
            "could not be restarted after its process died: its constructor failed",
            "Create it again; its arguments have to be there for as long as it may restart.",
        ),
        "out of scope": (
            "ended when its last handle was dropped",
            "Keep a handle for as long as you call it.",
        ),
    }
    cause: BaseException | None = None

    def __init__(
        self,
        actor_id: bytes,
        class_name: str = "",
        reason: str = "worker died",
        detail: str = "",
        failure: bytes = b"",
    ) -> None:
        super().__init__(actor_id, class_name, detail)
        self.args = (actor_id, class_name, reason, detail, failure)
        self.reason, self.failure = reason, failure

    def fact(self) -> str:
        ending = self.ENDINGS.get(self.reason, (self.reason, ""))[0]
        return f"{self.who()} {ending}{because(self.detail)}."

    def next_step(self) -> str:
        return self.ENDINGS.get(self.reason, ("", self.advice))[1]


class ActorUnavailableError(ActorError):
    """The actor cannot be reached for the moment; the call may or may not have run."""

    advice = "Call again after a moment if a second run does no harm, or set max_task_retries."

    def fact(self) -> str:
        why = because(self.detail)
        return f"{self.who()} is not reachable{why}; the call may or may not have run."


class ActorAlreadyExistsError(ZfutError, ValueError):
    """A living actor has this name in this namespace."""

    advice = "Choose another name, use get_if_exists=True, or get it with zfut.get_actor(name)."

    def __init__(self, name: str, namespace: str = "") -> None:
        super().__init__(name, namespace)
        self.name, self.namespace = name, namespace

    def fact(self) -> str:
        where = f" in namespace {self.namespace!r}" if self.namespace else ""
        return f"An actor named {self.name!r} exists already{where}."


class PendingCallsLimitExceeded(ZfutError):  # noqa: N818 - the field's name for it
    """The actor has as many unanswered calls as its max_pending_calls allows."""

    advice = "Get some results first, or raise max_pending_calls."

    def __init__(self, class_name: str, limit: int) -> None:
        super().__init__(class_name, limit)
        self.class_name, self.limit = class_name, limit

    def fact(self) -> str:
        return f"Actor {self.class_name} has {self.limit} unanswered calls, its limit."


__all__ = [
    "ActorAlreadyExistsError",
    "ActorDiedError",
    "ActorError",
    "ActorUnavailableError",
    "AuthenticationError",
    "CountError",
    "DirectCallError",
    "DuplicateRefError",
    "FunctionTooLargeError",
    "GetTimeoutError",
    "Hop",
    "InternalError",
    "LocalProtocolError",
    "NoSuchActorError",
    "NodeDiedError",
    "ObjectFreedError",
    "ObjectLostError",
    "ObjectStoreFullError",
    "OptionError",
    "OptionTypeError",
    "OutOfMemoryError",
    "OwnerDiedError",
    "PendingCallsLimitExceeded",
    "ProtocolError",
    "ReconstructionFailedError",
    "ReferenceVoidError",
    "RemoteProtocolError",
    "RuntimeEnvSetupError",
    "SerializationError",
    "SessionError",
    "TaskCancelledError",
    "TaskError",
    "TaskUnschedulableError",
    "UnpicklableExceptionError",
    "UsageError",
    "VersionMismatchError",
    "WorkerCrashedError",
    "WrongTypeError",
    "ZfutError",
    "did_you_mean",
]
