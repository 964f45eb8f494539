"""What user code raised: to bytes and back, and into an instance of another class.

An exception is what its class, ``args``, fields and attributes say; making one anew through
``__init__`` is not the same: many classes take other arguments than they hand to ``Exception``,
and then fail to unpickle, or wrap their message twice.  So unless a class says itself how it is
pickled, it is copied field by field and no code of its own runs.

What must hold: what ``dump`` returns has been loaded once, so it can be loaded where the same
modules can be imported.
"""

from __future__ import annotations

import pickle
import types
from collections.abc import Callable
from typing import Any, TypeVar

from zfut.causes import size_text
from zfut.pickles import plain, thorough
from zfut.untrusted import (
    HEAP_TYPE,
    args_of,
    asked,
    attributes_of,
    bases_of,
    brief,
    flags_of,
    is_a,
    kind_text,
    layout_of,
    names_of,
    set_args,
)

E = TypeVar("E", bound=BaseException)

PICKLED_MAX_BYTES = 8 * 1024 * 1024
"""An exception larger than this does not travel: an error is a message, not a value."""

OWN_WAYS = (
    "__reduce__",
    "__reduce_ex__",
    "__getstate__",
    "__setstate__",
    "__getnewargs__",
    "__getnewargs_ex__",
)

Parts = tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]


def dump(exc: BaseException) -> tuple[bytes | None, str]:
    """Return the pickled exception, or None and why it cannot travel."""
    return asked(lambda: _dumped(exc), lambda error: (None, brief(error)))


def _dumped(exc: BaseException) -> tuple[bytes | None, str]:
    portable: object = _Copied(exc) if _is_copied(type(exc)) else exc
    why = ""
    for dumps in (plain, thorough):
        try:
            data = dumps(portable)
            if data is None:
                continue
            if len(data) > PICKLED_MAX_BYTES:
                return None, f"it is larger than {size_text(PICKLED_MAX_BYTES)} when pickled"
            load(data)
        except Exception as error:  # noqa: BLE001  a user's code
            why = brief(error)
        else:
            return data, ""
    return None, why


def load(data: bytes) -> BaseException:
    """Return the exception; raises whatever its class raises, or TypeError if it is none."""
    loaded = pickle.loads(data)  # noqa: S301  from a process of this session
    if is_a(loaded, BaseException):
        return loaded  # type: ignore[no-any-return]
    text = f"its pickle makes an instance of {kind_text(loaded)}, which cannot be raised"
    raise TypeError(text)


def copy_into(cls: type[E], exc: BaseException) -> E:
    """Return an instance of ``cls``, a subclass of the exception's class, that equals it."""
    return assemble(cls, *take_apart(exc))


# ------------------------------------------------------------------ taking apart, assembling


def _is_copied(cls: type[BaseException]) -> bool:
    """Whether ``cls`` has a constructor of its own and leaves pickling to BaseException."""
    own = [names_of(base) for base in bases_of(cls) if flags_of(base) & HEAP_TYPE]
    makes = any("__init__" in names or "__new__" in names for names in own)
    return makes and not any(way in names for names in own for way in OWN_WAYS)


class _Copied:
    """Stands for an exception while it is pickled."""

    def __init__(self, exc: BaseException) -> None:
        self._exc = exc

    def __reduce__(self) -> tuple[Callable[..., BaseException], tuple[Any, ...]]:
        return assemble, (type(self._exc), *take_apart(self._exc))


def take_apart(exc: BaseException) -> Parts:
    """Return what an exception is made of: args, fields in slots or in C, and attributes."""
    fields: dict[str, Any] = {}
    for cls in bases_of(type(exc)):
        if cls is BaseException or cls is object:
            continue
        for name, slot in names_of(cls).items():
            if type(slot) is types.MemberDescriptorType and not name.startswith("__"):
                try:
                    value = slot.__get__(exc)
                except AttributeError:
                    continue
                if value is not None or flags_of(cls) & HEAP_TYPE:  # else: C has no value there
                    fields.setdefault(name, value)
    if issubclass(type(exc), BaseExceptionGroup):
        group = names_of(BaseExceptionGroup)
        fields.update({name: group[name].__get__(exc) for name in ("message", "exceptions")})
    return args_of(exc), fields, dict(attributes_of(exc))


def assemble(
    cls: type[E], args: tuple[Any, ...], fields: dict[str, Any], attributes: dict[str, Any]
) -> E:
    """Make an exception without running its class's ``__new__`` and ``__init__``."""
    layout: Any = layout_of(cls)
    if issubclass(cls, BaseExceptionGroup):
        made: E = layout.__new__(cls, fields["message"], fields["exceptions"])
    else:
        made = layout.__new__(cls, *args)
    set_args(made, args)
    for name, value in fields.items():
        try:
            object.__setattr__(made, name, value)  # a frozen dataclass has one that refuses
        except (AttributeError, TypeError):
            continue  # read-only: set by __new__
    attributes_of(made).update(attributes)
    return made
