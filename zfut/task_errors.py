"""What happens to an exception between the task that raised it and the caller of ``get``.

    executor                          owner, dependents, borrowers
    capture -> encode_failure -> bytes -> decode_failure -> an error to raise
                                   |
                                   '----> dependency_failed -> bytes

What must hold: a task that raised anything at all, however odd, gives a failure; a failure
always decodes to an exception; nothing of the user's runs where bytes are only passed on.
What an exception's own code raises while it is looked at is never raised here: it is told.
"""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Sequence
from types import TracebackType

from msgspec import DecodeError

from zfut.causes import Hop
from zfut.dual import carry, failure_of
from zfut.errors import ActorDiedError, InternalError, RemoteProtocolError, TaskError, ZfutError
from zfut.failure import Failure, clip, encode_failure, read_failure, tellable
from zfut.raised import dump
from zfut.untrusted import (
    asked,
    attributes_of,
    brief,
    is_a,
    kind_text,
    message_of,
    reason_of,
    traceback_of,
)

__all__ = [
    "UNTOLD",
    "Failure",
    "brief_failure",
    "capture",
    "decode_failure",
    "dependency_failed",
    "describe_failure",
    "encode_error",
    "encode_failure",
]

UNTOLD = encode_failure(
    Failure(
        type_name="an exception",
        message="it could not be captured, not even its class, by the process where it was raised",
    )
)
"""The answer of a call whose failure could not be told in any other way."""

BRIEF_CHARS = 200
"""A line about an error is cut here."""

READ_ONLY_NOTE = (
    "An array from zfut is shared, read-only memory. "
    "Use zfut.get(ref, copy=True) or array.copy() for one that can be changed."
)

KINDS = {**ZfutError.by_name, ZfutError.__name__: ZfutError}
"""The errors that travel by their names."""

HIDDEN_FILES = (__file__.removesuffix("task_errors.py"), pickle.__file__)
"""The beginnings of the names of files that are the framework's, not the user's."""

HIDDEN_FOLDER = f"{os.sep}cloudpickle{os.sep}"


# ------------------------------------------------------------------ where it was raised


def capture(
    exc: BaseException, *, task_name: str, pid: int, node: str, actor_repr: str | None = None
) -> Failure:
    """Return the failure of a task that raised ``exc``; never keeps ``exc``.

    If ``exc`` is the error of another task, the failure is still that one's, one hop further.
    Raises only what the handler of a signal raises that comes meanwhile.
    """
    hop = Hop(clip(task_name), pid, clip(node), clip(actor_repr or ""))
    earlier = failure_of(exc)
    if earlier is not None:
        return earlier.through(hop._replace(traceback=_frames(exc)))
    message = message_of(exc)
    if is_a(exc, ValueError) and "read-only" in message:
        asked(lambda: exc.add_note(READ_ONLY_NOTE), lambda _: None)
    pickled, why = dump(exc)
    return Failure(
        type_name=clip(kind_text(exc)),
        message=clip(message),
        hops=(hop._replace(traceback=_told(exc)),),
        pickled=pickled,
        why=clip(why),
    )


def _told(exc: BaseException) -> str:
    return asked(lambda: _traceback(exc), lambda error: _told_without(exc, error))


def _traceback(exc: BaseException) -> str:
    """Return the traceback with its chain of causes, without the framework's frames."""
    told = traceback.TracebackException(type(exc), exc, exc.__traceback__, compact=True)
    todo, seen = [told], set[int]()
    while todo:
        part = todo.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        part.stack[:] = _users(part.stack)
        todo += [p for p in (part.__cause__, part.__context__) if p is not None]
        todo += part.exceptions or []
    return clip("".join(told.format()))


def _told_without(exc: BaseException, error: BaseException) -> str:
    """Return the same if the exception's own code failed with ``error`` when it was asked.

    Only its text is asked for.
    """
    told: list[str] = []
    seen: dict[int, BaseException] = {}
    part: BaseException | None = exc
    while part is not None and id(part) not in seen:
        seen[id(part)] = part
        told.append(f"{_frames(part)}{brief(part)}\n")
        part, link = reason_of(part)
        if part is not None:
            told.append(f"\n{link}\n\n")
    why = f"[without notes and details: looking at the exception raised {brief(error)}]\n"
    return clip("".join([why, *reversed(told)]))


def _frames(exc: BaseException) -> str:
    """Return only the user's frames, if possible with their lines."""
    return asked(
        lambda: _frames_with_lines(traceback_of(exc)), lambda _: _places(traceback_of(exc))
    )


def _frames_with_lines(trace: TracebackType | None) -> str:
    stack = traceback.StackSummary.from_list(_users(traceback.extract_tb(trace)))
    head = "Traceback (most recent call last):\n" if stack else ""
    return clip(head + "".join(stack.format()))


def _places(trace: TracebackType | None) -> str:
    """Return the frames of files that have names which no file can have."""
    told = ["Traceback (most recent call last):\n"]
    while trace is not None:
        code = trace.tb_frame.f_code
        if not _is_hidden(code.co_filename):
            told.append(
                f'  File "{code.co_filename}", line {trace.tb_lineno}, in {code.co_name}\n'
            )
        trace = trace.tb_next
    return clip("".join(told))


def _users(frames: Sequence[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    return [frame for frame in frames if not _is_hidden(frame.filename)]


def _is_hidden(filename: str) -> bool:
    return filename.startswith(HIDDEN_FILES) or HIDDEN_FOLDER in filename


# ------------------------------------------------------------------ where it is passed on


def dependency_failed(failure: bytes, task_name: str) -> bytes:
    """Return the failure of a task whose argument failed: the same one, a hop further."""
    return encode_failure(_read(failure).through(Hop(clip(task_name))))


def encode_error(error: ZfutError) -> bytes:
    """Return the failure that raises ``error`` as itself, not wrapped in a TaskError."""
    earlier = failure_of(error)
    if earlier is not None:
        return encode_failure(earlier)
    known = (cls for cls in type(error).__mro__ if KINDS.get(cls.__name__) is cls)
    kind = next(known, ZfutError).__name__
    fields = tuple(tellable(field) for field in error.args)
    return encode_failure(Failure(kind, clip(str(error)), system=kind, fields=fields))


# ------------------------------------------------------------------ where it is raised again


def decode_failure(failure: bytes, task_id: bytes = b"") -> BaseException:
    """Return the error to raise: a zfut error, or a TaskError of the user's class too."""
    read = _read(failure)
    if not read.system:
        made = carry(read)
        if task_id:
            attributes_of(made)["task_id"] = task_id
        return made
    error = _system_error(read)
    if isinstance(error, ActorDiedError) and error.failure:
        inner = decode_failure(error.failure)
        error.cause = inner.cause if isinstance(inner, TaskError) else inner
    return error


def describe_failure(failure: bytes) -> str:
    """Return the text of the error without making it: no code of the user's runs."""
    read = _read(failure)
    if read.system:
        return str(_system_error(read))
    told = TaskError(read.type_name, read.message, read.hops)
    told._zfut_apart = read.why  # noqa: SLF001  one of ours
    return str(told)


def brief_failure(failure: bytes) -> str:
    """Return one line: what went wrong, and for a task's own error where, without advice."""
    read = _read(failure)
    if read.system:
        try:
            return _first_line(_system_error(read).fact())
        except (AttributeError, TypeError, ValueError):  # fields of another kind than it takes
            return read.system
    where = f"{read.hops[-1].place()}: " if read.hops else ""
    return where + _first_line(f"{read.type_name}: {read.message.lstrip()}").rstrip(": ")


def _first_line(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= BRIEF_CHARS else f"{line[: BRIEF_CHARS - 3]}..."


def _system_error(failure: Failure) -> ZfutError:
    try:
        error: ZfutError = KINDS[failure.system](*failure.fields)
    except (KeyError, TypeError):
        error = InternalError(f"unknown error {failure.system!r}", failure.message)
    if isinstance(error, ActorDiedError) and error.failure:
        error.told = describe_failure(error.failure)
    if failure.hops:
        error.input_of = tuple(hop.name for hop in failure.hops)
    return error


def _read(failure: bytes) -> Failure:
    try:
        return read_failure(failure)
    except DecodeError as error:
        bad = RemoteProtocolError(f"a failure that cannot be read ({error})")
        return Failure(type(bad).__name__, str(bad), system=type(bad).__name__, fields=bad.args)
