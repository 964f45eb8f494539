"""Looks at an exception of a user's class, which may do anything when it is looked at.

``__getattr__``, ``__bool__``, ``__str__``, a property, a metaclass: each may raise, and what it
raises may be a KeyboardInterrupt.  So what the interpreter itself keeps is read without them,
and where they must run, what they raise is an answer too.

What must hold: nothing here raises, except what a signal's handler raises: that is an interrupt
of the program, not of the exception's making.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from zfut.shield import Notice, shielded

T = TypeVar("T")

HEAP_TYPE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: set for classes made by a class statement."""

_OF_CLASS = vars(type)
_OF_EXCEPTION = vars(BaseException)


def asked(question: Callable[[], T], otherwise: Callable[[BaseException], T]) -> T:
    """Return what a user's code answers, or ``otherwise`` of what it raised."""
    with shielded(_nothing, Notice) as signals:
        try:
            return question()
        except BaseException as error:
            if signals.hit:
                raise
            return otherwise(error)


def _nothing() -> None:
    return


# ------------------------------------------------------------------ none of its code runs


def bases_of(cls: type) -> tuple[type, ...]:
    """Return ``cls.__mro__``."""
    bases: tuple[type, ...] = _OF_CLASS["__mro__"].__get__(cls)
    return bases


def names_of(cls: type) -> dict[str, Any]:
    """Return ``vars(cls)``."""
    names: dict[str, Any] = _OF_CLASS["__dict__"].__get__(cls)
    return names


def flags_of(cls: type) -> int:
    """Return ``cls.__flags__``."""
    flags: int = _OF_CLASS["__flags__"].__get__(cls)
    return flags


def layout_of(cls: type) -> type:
    """Return the class made in C whose instances those of ``cls`` are laid out as."""
    while flags_of(cls) & HEAP_TYPE:
        cls = _OF_CLASS["__base__"].__get__(cls)
    return cls


def attributes_of(exc: BaseException) -> dict[str, Any]:
    """Return ``vars(exc)``."""
    attributes: dict[str, Any] = _OF_EXCEPTION["__dict__"].__get__(exc)
    return attributes


def args_of(exc: BaseException) -> tuple[Any, ...]:
    """Return the arguments that its class gave to BaseException."""
    args: tuple[Any, ...] = _OF_EXCEPTION["args"].__get__(exc)
    return args


def set_args(exc: BaseException, args: tuple[Any, ...]) -> None:
    """Set ``exc.args``."""
    _OF_EXCEPTION["args"].__set__(exc, args)


def traceback_of(exc: BaseException) -> TracebackType | None:
    """Return ``exc.__traceback__``."""
    trace: TracebackType | None = _OF_EXCEPTION["__traceback__"].__get__(exc)
    return trace


def reason_of(exc: BaseException) -> tuple[BaseException | None, str]:
    """Return the exception that a traceback tells before this one, and how it leads here."""
    cause = _OF_EXCEPTION["__cause__"].__get__(exc)
    if cause is not None:
        return cause, "The above exception was the direct cause of the following exception:"
    context = _OF_EXCEPTION["__context__"].__get__(exc)
    if context is None or _OF_EXCEPTION["__suppress_context__"].__get__(exc):
        return None, ""
    return context, "During handling of the above exception, another exception occurred:"


def is_a(exc: BaseException, *kinds: type[BaseException]) -> bool:
    """Return ``isinstance(exc, kinds)``, for classes that are not the user's."""
    return issubclass(type(exc), kinds)


def type_text(cls: type) -> str:
    """Name a class as tracebacks do."""
    name = encodable(_OF_CLASS["__qualname__"].__get__(cls))
    module: Any = (
        names_of(cls).get("__module__") if flags_of(cls) & HEAP_TYPE else cls.__module__
    )
    if not issubclass(type(module), str):
        return name
    module = encodable(module)
    return name if module in ("builtins", "__main__") else f"{module}.{name}"


def encodable(text: str) -> str:
    """Replace what UTF-8 cannot say: lone surrogates, from file names for instance."""
    return str.encode(text, "utf-8", "backslashreplace").decode()


# ------------------------------------------------------------------ some of its code runs


def message_of(exc: BaseException) -> str:
    """Return ``str(exc)``, whatever the class does with it."""
    return asked(
        lambda: encodable(str(exc)), lambda error: f"<its __str__ raised {kind_text(error)}>"
    )


def kind_text(exc: BaseException) -> str:
    """Name the class of an exception."""
    return type_text(type(exc))


def brief(exc: BaseException) -> str:
    """Return class and message of an exception, in one line."""
    message = message_of(exc)
    return f"{kind_text(exc)}: {message}" if message else kind_text(exc)
