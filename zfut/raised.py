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

E = TypeVar("E", bound=BaseException)

PICKLED_MAX_BYTES = 8 * 1024 * 1024
"""An exception larger than this does not travel: an error is a message, not a value."""

HEAP_TYPE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: set for classes made by a class statement."""

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
        except (Exception, SystemExit) as error:  # noqa: BLE001  a user's code
            why = brief(error)
        else:
            return data, ""
    return None, why


def load(data: bytes) -> BaseException:
    """Return the exception; raises whatever its class raises, or TypeError if it is none."""
    loaded = pickle.loads(data)  # noqa: S301  from a process of this session
    if isinstance(loaded, BaseException):
        return loaded
    text = f"its pickle makes an instance of {type_text(type(loaded))}, which cannot be raised"
    raise TypeError(text)


def copy_into(cls: type[E], exc: BaseException) -> E:
    """Return an instance of ``cls``, a subclass of the exception's class, that equals it."""
    return assemble(cls, *take_apart(exc))


def type_text(cls: type) -> str:
    """Name a class as tracebacks do."""
    module = cls.__module__
    return (
        cls.__qualname__
        if module in ("builtins", "__main__")
        else f"{module}.{cls.__qualname__}"
    )


def message_of(exc: BaseException) -> str:
    """Return ``str(exc)``, whatever the class does with it."""
    try:
        return encodable(str(exc))
    except Exception:  # noqa: BLE001  a user's code
        return "<its __str__ failed>"


def encodable(text: str) -> str:
    """Replace what UTF-8 cannot say: lone surrogates, from file names for instance."""
    return text.encode("utf-8", "backslashreplace").decode()


def brief(exc: BaseException) -> str:
    """Return class and message of an exception, in one line."""
    message = message_of(exc)
    return f"{type_text(type(exc))}: {message}" if message else type_text(type(exc))


# ------------------------------------------------------------------ taking apart, assembling


def _is_copied(cls: type[BaseException]) -> bool:
    """Whether ``cls`` has a constructor of its own and leaves pickling to BaseException."""
    own = [vars(base) for base in cls.__mro__ if base.__flags__ & HEAP_TYPE]
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
    for cls in type(exc).__mro__:
        if cls is BaseException or cls is object:
            continue
        for name, slot in vars(cls).items():
            if isinstance(slot, types.MemberDescriptorType) and not name.startswith("__"):
                try:
                    value = slot.__get__(exc)
                except AttributeError:
                    continue
                if value is not None or cls.__flags__ & HEAP_TYPE:  # else: C has no value there
                    fields.setdefault(name, value)
    if isinstance(exc, BaseExceptionGroup):
        fields.update(message=exc.message, exceptions=exc.exceptions)
    return exc.args, fields, dict(vars(exc))


def assemble(
    cls: type[E], args: tuple[Any, ...], fields: dict[str, Any], attributes: dict[str, Any]
) -> E:
    """Make an exception without running its class's ``__new__`` and ``__init__``."""
    layout: Any = cls
    while layout.__flags__ & HEAP_TYPE:
        layout = layout.__base__
    if issubclass(cls, BaseExceptionGroup):
        made: E = layout.__new__(cls, fields["message"], fields["exceptions"])
    else:
        made = layout.__new__(cls, *args)
    object.__setattr__(made, "args", args)  # a frozen dataclass has a __setattr__ that refuses
    for name, value in fields.items():
        try:
            object.__setattr__(made, name, value)
        except (AttributeError, TypeError):
            continue  # read-only: set by __new__
    vars(made).update(attributes)
    return made
