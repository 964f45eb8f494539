"""The error a caller sees: an instance of both TaskError and the class the task raised.

``except ValueError`` must work as if the function had been called here, and so must
``except TaskError``.  For each class of user errors a class that inherits from both is made.
The user's comes first, so its attributes, properties and methods are what they were; only the
text, pickling and ``cause`` are TaskError's, and it is true: futures ask ``if exception``.

What must hold: no code of the user's class runs here other than what unpickling and subclassing
need; a class that forbids subclassing costs the user a warning, never the error.
"""

from __future__ import annotations

import logging
import types
import weakref
from collections.abc import Callable
from typing import Any

from zfut.errors import TaskError, UnpicklableExceptionError
from zfut.failure import Failure, encode_failure, read_failure
from zfut.raised import assemble, copy_into, load, take_apart
from zfut.untrusted import args_of, asked, attributes_of, bases_of, brief, kind_text

log = logging.getLogger("zfut")

_duals: weakref.WeakValueDictionary[type, type[RemoteTaskError]] = weakref.WeakValueDictionary()
_refused: weakref.WeakSet[type] = weakref.WeakSet()


class RemoteTaskError(TaskError):
    """A TaskError that came from another process, with the failure it was made from.

    ``_zfut_made`` has its attributes as they were then: what is different since is pickled
    beside the failure.
    """

    def __str__(self) -> str:
        if "_zfut_story" in attributes_of(self):
            return super().__str__()
        return str(
            _user_class(type(self)).__str__(self)
        )  # made by a method of the user's class

    def __bool__(self) -> bool:
        return True

    def __reduce__(self) -> tuple[Callable[..., BaseException], tuple[Any, ...]]:
        now = attributes_of(self)
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
    failure = attributes_of(error).get("_zfut_failure")
    return failure if type(failure) is Failure else None


def carry(failure: Failure) -> TaskError:
    """Return the error to raise for a failure of user code."""
    cause, why = asked(lambda: _loaded(failure), lambda error: (None, brief(error)))
    made: TaskError | None = None
    if cause is not None:
        made, why = _as_both(cause, failure), "its class cannot be subclassed"
    if made is None:
        made = RemoteTaskError(failure.type_name, failure.message, failure.hops)
        if cause is None:
            remote = made.remote_traceback
            cause = UnpicklableExceptionError(failure.type_name, failure.message, why, remote)
        else:
            made.args = args_of(cause)
        _tell(made, failure, cause)
        made._zfut_apart = why  # noqa: SLF001  one of ours
    attributes = attributes_of(made)
    attributes["_zfut_made"] = dict(attributes)
    return made


def _loaded(failure: Failure) -> tuple[BaseException | None, str]:
    return (None, failure.why) if failure.pickled is None else (load(failure.pickled), "")


def _tell(made: TaskError, failure: Failure, cause: BaseException) -> None:
    """Add what a TaskError says of the task to what the user's class says of itself."""
    told = TaskError.known(failure.type_name, failure.message, failure.hops)
    attributes = attributes_of(made)
    for name, value in told.items():
        attributes.setdefault(name, value)
    attributes.update(cause=cause, _zfut_story=told["_zfut_story"], _zfut_failure=failure)


def revive(data: bytes, changed: dict[str, Any]) -> TaskError:
    """Unpickle an error that ``carry`` made."""
    error = carry(read_failure(data))
    attributes_of(error).update(changed)
    return error


def _as_both(cause: BaseException, failure: Failure) -> TaskError | None:
    """Return the error that is of the class of ``cause`` too; None: there can be none."""
    return asked(lambda: _combined(cause, failure), lambda error: _refuse(cause, error))


def _combined(cause: BaseException, failure: Failure) -> TaskError:
    cls = type(cause)
    is_base = any(base is cls for base in RemoteTaskError.__mro__)  # Exception, for instance
    made = copy_into(RemoteTaskError if is_base else _dual(cls), cause)
    _tell(made, failure, cause)
    str(made)  # a class's own __getattribute__ may refuse it
    return made


def _refuse(cause: BaseException, error: BaseException) -> None:
    """Say once that a class cannot be combined with ours."""
    if asked(lambda: _is_news(type(cause)), lambda _: True):
        name = kind_text(cause)
        log.warning(
            "%s cannot be subclassed (%s), so 'except %s' does not catch it when a task "
            "raises it. Catch zfut.errors.TaskError and look at its cause.",
            name,
            brief(error),
            name.rpartition(".")[2],
        )


def _is_news(cls: type) -> bool:
    if cls in _refused:
        return False
    _refused.add(cls)
    return True


def _dual(cls: type[BaseException]) -> type[RemoteTaskError]:
    """Return the class that is both TaskError and ``cls``, which is made once."""
    made = _duals.get(cls)
    if made is None:
        body = {
            "__doc__": f"A {cls.__name__} that a task raised.",
            "__module__": __name__,
            "__str__": RemoteTaskError.__str__,
            "__bool__": RemoteTaskError.__bool__,
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
    user: type[BaseException] = bases_of(cls)[1]
    return user
