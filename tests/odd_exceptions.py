"""Exceptions that refuse to be looked at, and actors of each kind that raise them.

For the tests of every way in which calls run.  A process imports this, or is sent it by value.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any, NoReturn

import zfut.task_errors


def _refuse(error: BaseException) -> Any:
    """Return a method that raises ``error``."""

    def method(*_: object) -> NoReturn:
        raise error

    return method


class ApiError(Exception):
    """Looks up every attribute it has not in a dict."""

    def __init__(self, info: dict[str, Any]) -> None:
        super().__init__("api")
        self.info = info

    def __getattr__(self, name: str) -> Any:
        return self.info[name]


def _class(**names: Any) -> BaseException:
    return type("OddError", (Exception,), names)("odd")  # type: ignore[no-any-return]


class _NoSubclassMeta(type):
    def __init__(cls, name: str, bases: tuple[type, ...], names: dict[str, Any]) -> None:
        super().__init__(name, bases, names)
        if name.startswith("TaskError"):
            raise BaseException("no subclass")  # noqa: TRY002


class _NamelessMeta(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__qualname__", "__module__", "__mro__", "__name__"):
            raise BaseException(name)  # noqa: TRY002
        return super().__getattribute__(name)


def _with_state() -> BaseException:
    error = _class(__setstate__=_refuse(BaseException("state")))
    error.left = 1  # type: ignore[attr-defined]
    return error


def make(kind: str) -> BaseException:
    """Return a new exception."""
    made = {
        "getattr": lambda: ApiError({"a": 1}),
        "bool": lambda: _class(__bool__=_refuse(ValueError("no truth"))),
        "len": lambda: _class(__len__=_refuse(ValueError("no length"))),
        "falsy": lambda: _class(__bool__=lambda _: False),
        "empty": lambda: _class(__len__=lambda _: 0),
        "cause": lambda: _class(__cause__=property(_refuse(RuntimeError("no cause")))),
        "args": lambda: _class(args=property(_refuse(BaseException("no args")))),
        "class": lambda: _class(__class__=property(_refuse(BaseException("no class")))),
        "str": lambda: _class(__str__=_refuse(KeyboardInterrupt())),
        "str exit": lambda: _class(__str__=_refuse(SystemExit(3))),
        "reduce": lambda: _class(__reduce__=_refuse(KeyboardInterrupt("by reduce"))),
        "reduce cancelled": lambda: _class(__reduce__=_refuse(asyncio.CancelledError())),
        "reduce exit": lambda: _class(__reduce_ex__=_refuse(GeneratorExit())),
        "setstate": _with_state,
        "attributes": lambda: _class(__getattribute__=_refuse(BaseException("nothing"))),
        "qualname": lambda: _class(__qualname__="Odd\ud800Error"),
        "file": _of_no_file,
        "metaclass": lambda: _NoSubclassMeta("OddError", (Exception,), {})("odd"),
        "nameless": lambda: _NamelessMeta("OddError", (Exception,), {})("odd"),
    }[kind]
    return made()


def _of_no_file() -> BaseException:
    names: dict[str, Any] = {}
    exec(compile("def f(): raise ValueError('odd')", "no\ud800file", "exec"), names)  # noqa: S102
    try:
        names["f"]()
    except ValueError as error:
        return error
    raise AssertionError


TOLD = {
    "getattr": ("ApiError", "KeyError: '__notes__'"),
    "bool": ("OddError", "ValueError: no truth"),
    "len": ("OddError", "ValueError: no length"),
    "falsy": ("OddError", ""),
    "empty": ("OddError", ""),
    "cause": ("OddError", "RuntimeError: no cause"),
    "args": ("OddError", ""),
    "class": ("", "BaseException: no class"),
    "str": ("OddError", "its __str__ raised KeyboardInterrupt"),
    "str exit": ("OddError", "its __str__ raised SystemExit"),
    "reduce": ("", "KeyboardInterrupt: by reduce"),
    "reduce cancelled": ("", "CancelledError"),
    "reduce exit": ("", "GeneratorExit"),
    "setstate": ("", "BaseException: state"),
    "attributes": ("", "BaseException: nothing"),
    "qualname": ("OddError", "Odd\\ud800Error"),
    "file": ("ValueError", 'File "no\\ud800file", line 1, in f'),
    "metaclass": ("", "its class cannot be subclassed"),
    "nameless": ("", "OddError"),
}
"""Of each kind: the class besides TaskError that arrives, if one does, and what the text says."""


def check(kind: str, error: BaseException) -> None:
    """See that what arrived is a TaskError that says what there is to say."""
    name, told = TOLD[kind]
    assert issubclass(type(error), zfut.errors.TaskError)
    assert type(error).__name__ == (f"TaskError({name})" if name else "TaskError")
    assert error
    text = str(error)
    assert told in text
    assert "throw() failed in pid" in text or ".throw() failed in pid" in text
    assert "in throw" in text


def check_constructor(kind: str, error: BaseException) -> None:
    """See the same of an actor whose constructor raised it."""
    assert isinstance(error, zfut.errors.ActorDiedError)
    told = "OddError" if kind == "metaclass" else TOLD[kind][1]  # no class is made for its text
    assert told in str(error)
    assert "in throw" in str(error)
    assert error.cause is not None


def throw(kind: str) -> NoReturn:
    """Raise one, as a task."""
    raise make(kind)


class Plain:
    """As an actor: runs one call at a time."""

    def throw(self, kind: str) -> NoReturn:
        raise make(kind)

    def lose_words(self) -> NoReturn:
        lose_words()

    def pid(self) -> int:
        return os.getpid()


class Coroutines:
    """As an actor: runs its calls as coroutines."""

    async def throw(self, kind: str) -> NoReturn:
        await asyncio.sleep(0)
        raise make(kind)

    async def lose_words(self) -> NoReturn:
        await asyncio.sleep(0)
        lose_words()

    async def pid(self) -> int:
        return os.getpid()


class Constructor:
    """As an actor: never comes to be."""

    def __init__(self, kind: str) -> None:
        self.throw(kind)

    def throw(self, kind: str) -> NoReturn:
        raise make(kind)

    def pid(self) -> int:
        return os.getpid()


def lose_words() -> NoReturn:
    """Raise while zfut itself cannot capture anything, this once."""
    capture = zfut.task_errors.capture

    def fail(*_: object, **__: object) -> NoReturn:
        zfut.task_errors.capture = capture
        raise MemoryError

    zfut.task_errors.capture = fail
    raise ValueError("lost")


def interrupt(*_: object) -> str:
    """Send the program a SIGINT, as a Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):  # the handler runs between two instructions
        pass
    return "not interrupted"
