"""Errors about what was passed to a function of the API.

Public through ``zfut.errors``; the same rules hold as there.
"""

from __future__ import annotations

from zfut.mistakes import UsageError

_SHOWN_CHARACTERS = 60


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


class WrongTypeError(UsageError, TypeError):
    """A function of the API was given something of another kind than it takes."""

    def __init__(self, function: str, wants: str, got: object) -> None:
        shown = got if isinstance(got, str) else f"{type(got).__name__} {_shown(got)}"
        super().__init__(function, wants)
        self.args = (function, wants, shown)
        self.function, self.wants, self.got = function, wants, shown

    def fact(self) -> str:
        return f"{self.function} takes {self.wants}, not {self.got}."

    def next_step(self) -> str:
        if "actor" in self.wants:
            return "Handles are what .remote() of an actor class and zfut.get_actor() return."
        return "References are what .remote() and zfut.put() return."


class OptionError(UsageError, ValueError):
    """An option has a value that makes no sense."""

    def __init__(self, what: str, option: str, value: object, wants: str) -> None:
        super().__init__(what, option)
        shown = value if isinstance(value, str) else _shown(value)
        self.args = (what, option, shown, wants)
        self.what, self.option, self.value, self.wants = what, option, shown, wants

    def fact(self) -> str:
        return f"{self.what}: {self.option}={self.value} makes no sense."

    def next_step(self) -> str:
        return f"It must be {self.wants}."


class OptionTypeError(OptionError, TypeError):
    """An option has a value of the wrong kind."""


class CountError(UsageError, ValueError):
    """wait() was asked for a number of references that it cannot return."""

    def __init__(self, function: str, wanted: object, given: int) -> None:
        super().__init__(function, "")
        shown = wanted if isinstance(wanted, int | str) else _shown(wanted)
        self.args = (function, shown, given)
        self.function, self.wanted, self.given = function, shown, given

    def fact(self) -> str:
        return f"{self.function} cannot return num_returns={self.wanted} of {self.given}."

    def next_step(self) -> str:
        return f"num_returns is a whole number from 1 to {self.given}."


class DuplicateRefError(UsageError, ValueError):
    """wait() was given one reference more than once."""

    def __init__(self, function: str, given: int, different: int) -> None:
        super().__init__(function, "")
        self.args = (function, given, different)
        self.function, self.given, self.different = function, given, different

    def fact(self) -> str:
        return f"{self.function} got {self.given} references to {self.different} objects."

    def next_step(self) -> str:
        return "Pass each reference once: list(dict.fromkeys(refs))."


class NoSuchActorError(UsageError, ValueError):
    """No living actor has this name."""

    def __init__(self, name: str, namespace: str) -> None:
        super().__init__(name, namespace)
        self.name, self.namespace = name, namespace

    def fact(self) -> str:
        return f"No actor is named {self.name!r} in namespace {self.namespace!r}."

    def next_step(self) -> str:
        return "Create it with options(name=...), and keep a handle: it ends with its last one."


class DirectCallError(UsageError, TypeError):
    """A remote function, class or method was called as if it were a plain one."""

    def __init__(self, name: str, kind: str = "function") -> None:
        super().__init__(name, "")
        self.args = (name, kind)
        self.name, self.kind = name, kind

    def fact(self) -> str:
        return f"{self.name} is remote and cannot be called directly."

    def next_step(self) -> str:
        here = f", or {self.name}.local(...) to run it here" if self.kind == "function" else ""
        return f"Write {self.name}.remote(...){here}."
