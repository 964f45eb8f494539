"""Finds out what inside a value cannot be pickled, and what is large: the path to the culprit.

    x['conn'] -> Client.session -> _thread.lock

It walks from the value into whichever part cannot be pickled by itself, until no part of that
fails.  What must hold: it ends soon, whatever the value (depth, breadth and time are bounded,
cycles are seen), and runs nothing of the user's other than what pickling runs.
"""

from __future__ import annotations

import io
import pickle
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

from zfut import pickles
from zfut.causes import call_text, size_text
from zfut.errors import SerializationError
from zfut.untrusted import message_of
from zfut.wire.context import packing
from zfut.wire.parts import parts

FAILING_MAX = 100
"""Parts that fail: the depth of the path, and how many dead ends are tried."""

BREADTH_MAX = 10_000
TIME_MAX_S = 1.0

ATOMS = frozenset((bool, int, float, complex, str, bytes, bytearray, type(None), type(...)))


def refusal(value: object, error: Exception, what: str, root: str) -> SerializationError:
    """Return the error to raise when ``error`` stopped the pickling of ``value``."""
    if isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError):
        deep = "it is nested too deeply"
        return SerializationError(what, deep, "Flatten it, or send its parts.")
    return SerializationError(what, culprit(value, root))


def refusal_of_call(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    error: Exception,
    function: tuple[str, Sequence[str]],
) -> SerializationError:
    """Return the same for a call of ``function``, (name, parameters): it names the argument."""
    name, parameters = function
    given = [(repr(p), p, value) for p, value in zip(parameters, args, strict=False)]
    given += [(str(i + 1), "value", args[i]) for i in range(len(given), len(args))]
    given += [(repr(p), p, value) for p, value in kwargs.items()]
    for argument, root, value in given:
        found = failure(value)
        if found is not None:
            return refusal(value, found, f"argument {argument} of {call_text(name)}", root)
    return refusal((args, kwargs), error, f"the arguments of {call_text(name)}", "arguments")


def culprit(value: object, root: str) -> str:
    """Return the path from ``root`` (may be empty) to what cannot be pickled in ``value``."""
    path, error = [root] if root else [], failure(value)
    found = _Search().descend(value, path, error) or [*path, _leaf(value, error)]
    return " -> ".join(found)


class _Search:
    """One walk.  It remembers what it has seen fail, so it goes round no cycle twice."""

    def __init__(self) -> None:
        self._seen: dict[int, object] = {}
        self._deadline = time.monotonic() + TIME_MAX_S

    def descend(
        self, value: object, path: list[str], error: Exception | None
    ) -> list[str] | None:
        """Return the path to the culprit, or None if ``value`` fails only for what was seen."""
        self._seen[id(value)] = value
        to_blame = True
        for step, part in islice(parts(value), BREADTH_MAX):
            if type(part) in ATOMS:
                continue
            if id(part) in self._seen:
                to_blame = False
                continue
            if len(self._seen) > FAILING_MAX or time.monotonic() > self._deadline:
                break
            why = failure(part)
            if why is not None:
                found = self.descend(part, _extended(path, step), why)
                if found:
                    return found
                to_blame = False
        return [*path, _leaf(value, error)] if to_blame else None


def _extended(path: list[str], step: str) -> list[str]:
    return [*path[:-1], path[-1] + step] if step.startswith("[") and path else [*path, step]


def failure(value: object) -> Exception | None:
    """Return what stops ``value`` from being pickled, or None."""
    try:
        with packing([]):
            pickles.write(value, _Scale(), _leave_out)
    except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
        return error
    return None


def size_of(value: object) -> int:
    """Return the length of the pickle in bytes; 0 if there is none."""
    scale = _Scale()
    try:
        with packing([]):
            pickles.write(value, scale)
    except Exception:  # noqa: BLE001  it is not the size that stops this one
        return 0
    return scale.size_bytes


def largest(value: object) -> str:
    """Return which part of a function or class is the largest, and how large; may be empty."""
    sizes = [(size_of(part), step, part) for step, part in islice(parts(value), BREADTH_MAX)]
    size, step, part = max(sizes, key=lambda entry: entry[0], default=(0, "", None))
    return f"{step}, a {type(part).__name__}, has {size_text(size)}" if size else ""


class _Scale(io.RawIOBase):
    """A file that only counts."""

    size_bytes = 0

    def write(self, data: Any, /) -> int:
        written = memoryview(data).nbytes
        self.size_bytes += written
        return written


def _leave_out(buffer: pickle.PickleBuffer) -> None:
    """Keep a buffer out of the pickle: it cannot fail."""


def _leaf(value: object, error: Exception | None) -> str:
    cls = type(value)
    name = f"{cls.__module__}.{cls.__name__}".removeprefix("builtins.").removeprefix(
        "__main__."
    )
    if error is None or (
        isinstance(error, TypeError | pickle.PickleError) and "pickle" in str(error)
    ):
        return name
    return f"{name} ({type(error).__name__}: {message_of(error)})"
