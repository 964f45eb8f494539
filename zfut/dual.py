"""The error a caller sees: an instance of both TaskError and the class the task raised.

``except ValueError`` must work as if the function had been called here, and so must
``except TaskError``.  For each class of user errors a class that inherits from both is made.
The user's comes first, so its attributes, properties and methods are what they were; only the
text, pickling and ``cause`` are TaskError's.

What must hold: no code of the user's class runs here other than what unpickling needs; a class
that forbids subclassing costs the user a warning, never the error.
"""

from __future__ import annotations

import logging
import types
import weakref
from collections.abc import Callable
from typing import Any

from zfut.errors import TaskError, UnpicklableExceptionError
from zfut.failure import Failure, encode_failure, read_failure
from zfut.raised import assemble, brief, copy_into, load, take_apart, type_text

log = logging.getLogger("zfut")

_duals: weakref.WeakValueDictionary[type, type[RemoteTaskError]] = weakref.WeakValueDictionary()
_refused: weakref.WeakSet[type] = weakref.WeakSet()


class RemoteTaskError(TaskError):
    """A TaskError that came from another process, with the failure it was made from.

    ``_zfut_made`` has its attributes as they were then: what is different since is pickled
    beside the failure.
    """

    def __str__(self) -> str:
        if "_zfut_story" in vars(self):
            return super().__str__()
        return str(
            _user_class(type(self)).__str__(self)
        )  # made by a method of the user's class

    def __reduce__(self) -> tuple[Callable[..., BaseException], tuple[Any, ...]]:
        now = vars(self)
        made, failure = now.get("_zfut_made"), now.get("_zfut_failure")
        if made is None or failure is None:  # made by a method of the user's class
            return assemble, (_user_class(type(self)), *take_apart(self))
        same = {name for name, value in made.items() if now.get(name) is value} - {"__notes__"}
        changed = {k: v for k, v in now.items() if k not in same and k != "_zfut_made"}
        return revive, (encode_failure(failure), changed)

    def __reduce_ex__(self, protocol: object) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.__reduce__()


RemoteTaskError.__name__ = RemoteTaskError.__qualname__ = TaskError.__name__
RemoteTaskError.__module__ = TaskError.__module__


def failure_of(error: BaseException) -> Failure | None:
    """Return the failure that ``carry`` made this error from, if it did."""
    failure = vars(error).get("_zfut_failure")
    return failure if isinstance(failure, Failure) else None


def carry(failure: Failure) -> TaskError:
    """Return the error to raise for a failure of user code."""
    why = failure.why
    cause: BaseException | None = None
    if failure.pickled is not None:
        try:
            cause = load(failure.pickled)
        except Exception as error:  # noqa: BLE001  a user's code
            why = brief(error)
    if cause is None:
        made: TaskError = RemoteTaskError(failure.type_name, failure.message, failure.hops)
        remote = made.remote_traceback
        cause = UnpicklableExceptionError(failure.type_name, failure.message, why, remote)
    else:
        made = _as_both(cause)
    told = TaskError.known(failure.type_name, failure.message, failure.hops)
    attributes = vars(made)
    for name, value in told.items():
        attributes.setdefault(name, value)
    attributes.update(cause=cause, _zfut_story=told["_zfut_story"], _zfut_failure=failure)
    if not isinstance(made, type(cause)):
        attributes["_zfut_apart"] = why or "its class cannot be subclassed"
    attributes["_zfut_made"] = dict(attributes)
    return made


def revive(data: bytes, changed: dict[str, Any]) -> TaskError:
    """Unpickle an error that ``carry`` made."""
    error = carry(read_failure(data))
    vars(error).update(changed)
    return error


def _as_both(cause: BaseException) -> TaskError:
    cls = type(cause)
    if issubclass(RemoteTaskError, cls):  # Exception itself, for instance
        return copy_into(RemoteTaskError, cause)
    try:
        return copy_into(_dual(cls), cause)
    except Exception as error:  # noqa: BLE001  a user's code
        if cls not in _refused:
            _refused.add(cls)
            log.warning(
                "%s cannot be subclassed (%s), so 'except %s' does not catch it when a task "
                "raises it. Catch zfut.errors.TaskError and look at its cause.",
                type_text(cls),
                brief(error),
                cls.__name__,
            )
    made = RemoteTaskError()
    made.args = cause.args
    return made


def _dual(cls: type[BaseException]) -> type[RemoteTaskError]:
    """Return the class that is both TaskError and ``cls``, which is made once."""
    made = _duals.get(cls)
    if made is None:
        body = {
            "__doc__": f"A {cls.__name__} that a task raised.",
            "__module__": __name__,
            "__str__": RemoteTaskError.__str__,
            "__reduce__": RemoteTaskError.__reduce__,
            "__reduce_ex__": RemoteTaskError.__reduce_ex__,
        }
        name = f"{TaskError.__name__}({cls.__name__})"
        made = types.new_class(
            name, (cls, RemoteTaskError), exec_body=lambda ns: ns.update(body)
        )
        made.__module__ = TaskError.__module__
        _duals[cls] = made
    return made


def _user_class(cls: type) -> type[BaseException]:
    """Return the class a dual class was made for."""
    user: type[BaseException] = cls.__mro__[1]
    return user
