"""What the things in a value are made of, as far as pickling them goes.

What must hold: nothing of the user's runs, other than what pickling runs: no property, no repr,
no comparison, no iteration that a class redefines.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, cast

from zfut import pickles
from zfut.wire.context import packing

SHOWN_KEYS = frozenset((bool, int, float, str, bytes, type(None)))
CONTAINERS = (dict, list, tuple, set, frozenset)
GLOBAL_OPS = frozenset(("LOAD_GLOBAL", "LOAD_NAME"))

Part: TypeAlias = tuple[str, object]
"""How a part is reached: ``[...]`` is appended to the path, anything else is a step of it."""


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
