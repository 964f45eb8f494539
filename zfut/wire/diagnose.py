"""Finds out what inside a value cannot be pickled, and what is large: the path to the culprit.

    x['conn'] -> Client.session -> _thread.lock

It walks from the value into whichever part cannot be pickled by itself, until no part of that
fails.  What must hold: it ends soon, whatever the value (depth, breadth and time are bounded,
cycles are seen), and runs nothing of the user's other than what pickling runs.
"""

from __future__ import annotations

import dis
import functools
import io
import pickle
import time
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias, cast

from zfut import pickles
from zfut.causes import call_text, size_text
from zfut.errors import SerializationError
from zfut.raised import message_of
from zfut.wire.context import packing

DEPTH_MAX = 50
BREADTH_MAX = 10_000
TIME_MAX_S = 1.0

ATOMS = frozenset((bool, int, float, complex, str, bytes, bytearray, type(None), type(...)))
SHOWN_KEYS = frozenset((bool, int, float, str, bytes, type(None)))
CONTAINERS = (dict, list, tuple, set, frozenset)
GLOBAL_OPS = frozenset(("LOAD_GLOBAL", "LOAD_NAME"))

Part: TypeAlias = tuple[str, object]
"""How a part is reached: ``[...]`` is appended to the path, anything else is a step of it."""


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
    deadline = time.monotonic() + TIME_MAX_S
    path, seen = [root] if root else [], {id(value)}
    error = failure(value)
    for _ in range(DEPTH_MAX):
        found = _failing_part(value, seen, deadline)
        if found is None:
            break
        step, value, error = found
        seen.add(id(value))
        if step.startswith("[") and path:
            path[-1] += step
        else:
            path.append(step)
    return " -> ".join([*path, _leaf(value, error)])


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

    def write(self, data: Any, /) -> int:  # noqa: ANN401  bytes of any kind
        written = memoryview(data).nbytes
        self.size_bytes += written
        return written


def _leave_out(buffer: pickle.PickleBuffer) -> None:
    """Keep a buffer out of the pickle: it cannot fail."""


def _failing_part(
    value: object, seen: set[int], deadline: float
) -> tuple[str, object, Exception] | None:
    for step, part in islice(parts(value), BREADTH_MAX):
        if type(part) in ATOMS or id(part) in seen:
            continue
        if time.monotonic() > deadline:
            return None
        error = failure(part)
        if error is not None:
            return step, part, error
    return None


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


# ------------------------------------------------------------------ the parts of things


def parts(value: object) -> Iterator[Part]:
    """Yield the parts that pickling ``value`` would pickle."""
    cls = type(value)
    if cls in _PARTS:
        yield from _PARTS[cls](value)
    elif issubclass(cls, type):
        yield from _class_parts(cast("type", value))
    elif _has_own_way(cls):
        yield from _reduced_parts(value)
    else:
        yield from _attribute_parts(value)


def _shown(key: object) -> str:
    return repr(key) if type(key) in SHOWN_KEYS else f"<{type(key).__name__}>"


def _dict_parts(value: dict[Any, Any]) -> Iterator[Part]:
    for key, part in value.items():
        yield f"[{_shown(key)}]", part
    for key in value:
        yield f"a {type(key).__name__} as key", key


def _sequence_parts(value: Sequence[object]) -> Iterator[Part]:
    for index, part in enumerate(value):
        yield f"[{index}]", part


def _set_parts(value: Iterable[object]) -> Iterator[Part]:
    for part in value:
        yield f"a {type(part).__name__} in the set", part


def _function_parts(function: types.FunctionType) -> Iterator[Part]:
    for name, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=True
    ):
        try:
            yield f"closure {name!r}", cell.cell_contents
        except ValueError:  # empty: its variable has no value yet
            continue
    for name in _globals_in(function.__code__):
        if name in function.__globals__:
            yield f"global {name!r}", function.__globals__[name]
    for number, default in enumerate(function.__defaults__ or (), 1):
        yield f"default value {number} of {function.__name__}()", default
    for name, default in (function.__kwdefaults__ or {}).items():
        yield f"default of {name!r}", default
    for name, part in vars(function).items():
        yield f"{function.__name__}.{name}", part


def _globals_in(code: types.CodeType) -> dict[str, None]:
    names = {op.argval: None for op in dis.get_instructions(code) if op.opname in GLOBAL_OPS}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(_globals_in(constant))
    return names


def _method_parts(value: types.MethodType) -> Iterator[Part]:
    yield f"{value.__func__.__name__}.__self__", value.__self__
    yield f"{value.__func__.__name__}()", value.__func__


def _wrapped_parts(
    value: staticmethod[..., Any] | classmethod[Any, ..., Any],
) -> Iterator[Part]:
    yield "its function", value.__func__


def _property_parts(value: property) -> Iterator[Part]:
    for name in ("fget", "fset", "fdel"):
        yield name, getattr(value, name)


def _class_parts(value: type) -> Iterator[Part]:
    for name, part in type.__dict__["__dict__"].__get__(value).items():
        if name not in ("__dict__", "__weakref__"):
            yield f"{value.__name__}.{name}", part
    for base in value.__bases__:
        yield f"base {base.__name__}", base


def _attribute_parts(value: object) -> Iterator[Part]:
    cls = type(value)
    for base in cls.__mro__:
        members = type.__dict__["__dict__"].__get__(base)
        for name, member in members.items():
            if isinstance(member, types.MemberDescriptorType):
                try:
                    yield f"{cls.__name__}.{name}", member.__get__(value)
                except AttributeError:  # not set
                    continue
            elif name == "__dict__" and isinstance(member, types.GetSetDescriptorType):
                for attribute, part in member.__get__(value).items():
                    yield f"{cls.__name__}.{attribute}", part


def _has_own_way(cls: type) -> bool:
    """Whether pickling asks the class, rather than taking its attributes as they are."""
    if issubclass(cls, CONTAINERS):
        return True
    own = ("__reduce_ex__", "__reduce__", "__getstate__", "__getnewargs__", "__getnewargs_ex__")
    return pickles.reducer_of(cls) is not None or any(
        getattr(cls, way, None) is not getattr(object, way, None) for way in own
    )


def _reduced_parts(value: object) -> Iterator[Part]:
    """Yield the parts of what the object says it is made from."""
    cls = type(value)
    reducer = pickles.reducer_of(cls)
    try:
        with packing([]):
            made = reducer(value) if reducer else value.__reduce_ex__(pickles.PROTOCOL)
    except Exception:  # noqa: BLE001  then the object itself is the culprit
        return
    if not isinstance(made, tuple):
        return
    for part in made[1] if len(made) > 1 else ():
        yield f"{cls.__name__}'s contents", part
    state = made[2] if len(made) > 2 else None  # noqa: PLR2004  as the pickle protocol has it
    for piece in state if isinstance(state, tuple) else (state,):
        if isinstance(piece, dict):
            for name, part in piece.items():
                yield f"{cls.__name__}.{name}", part
        else:
            yield f"{cls.__name__}'s state", piece
    for index, part in enumerate(made[3] or () if len(made) > 3 else ()):  # noqa: PLR2004
        yield f"[{index}]", part
    for key, part in made[4] or () if len(made) > 4 else ():  # noqa: PLR2004
        yield f"[{_shown(key)}]", part


def _partial_parts(value: functools.partial[Any]) -> Iterator[Part]:
    yield "its function", value.func
    for index, part in enumerate(value.args):
        yield f"its argument {index + 1}", part
    for name, part in value.keywords.items():
        yield f"its argument {name!r}", part


_PARTS: dict[type, Callable[[Any], Iterator[Part]]] = {
    dict: _dict_parts,
    list: _sequence_parts,
    tuple: _sequence_parts,
    set: _set_parts,
    frozenset: _set_parts,
    types.FunctionType: _function_parts,
    types.MethodType: _method_parts,
    staticmethod: _wrapped_parts,
    classmethod: _wrapped_parts,
    property: _property_parts,
    functools.partial: _partial_parts,
}
