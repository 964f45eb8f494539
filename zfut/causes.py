"""What every error is built from: the base class, and the words errors share.

Knows no particular error.  What must hold: fields are plain (text, numbers, bytes, None and
tuples of these), since pickle and the wire carry the class name and the fields; a story ends
with the root cause, so the last line of a task error is what a user looks for first.

    g() failed in pid 812 on node b1. <what to do>
    Traceback ... the frames of g
    because f() failed in pid 813 on node b1:
    Traceback ... the frames of f
    ValueError: boom
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple

KIB = 1024

PUBLIC_HOME = "zfut.errors"
"""Where users find every error, whichever file holds its code."""

HOMES = (__name__, "zfut.losses", "zfut.mistakes", "zfut.misuse", PUBLIC_HOME)


class Hop(NamedTuple):
    """One task that an error went through.  ``pid`` 0: it never ran, its input was missing."""

    name: str
    pid: int = 0
    node: str = ""
    actor: str = ""
    traceback: str = ""

    def place(self) -> str:
        """Say which call this was and where it ran."""
        call = call_text(self.name)
        if not self.pid:
            return f"{call} never ran: an input argument of {call} could not be computed"
        node = f" on node {self.node}" if self.node else ""
        actor = f", actor {self.actor}" if self.actor else ""
        return f"{call} failed in pid {self.pid}{node}{actor}"


def story(hops: Sequence[Hop], advice: str) -> str:
    """Tell each hop of an error, the task that was asked for first, the root cause last."""
    told: list[str] = []
    for hop in hops:
        if told:
            told.append(f"because {hop.place()}:")
        else:
            told.append(f"{hop.place()}. {advice}")
        if hop.traceback:
            told.append(hop.traceback.rstrip("\n"))
    return "\n".join(told)


def call_text(name: str) -> str:
    """Write a function's or method's name as a call."""
    return name if name.endswith(")") or not name else f"{name}()"


def size_text(size_bytes: int) -> str:
    """Write a number of bytes for a person."""
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < KIB or unit == "GiB":
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= KIB
    raise AssertionError(size_bytes)


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` to append to a text, or nothing if nothing is near."""
    near = difflib.get_close_matches(name, list(options), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def identity(name: bytes) -> str:
    """Write an id so that it can be searched for."""
    return name.hex() or "unknown"


def sentence(text: str) -> str:
    """End a text as a sentence."""
    return text if not text or text.endswith((".", "?", "!", ":")) else f"{text}."


def because(why: str) -> str:
    """Append a reason to a statement, if there is one."""
    return f": {why.rstrip('.')}" if why else ""


class ZfutError(Exception):
    """Base class of every error zfut raises."""

    by_name: ClassVar[dict[str, type[ZfutError]]] = {}
    """Every error of zfut itself; a user's subclass does not travel by its name."""

    advice: ClassVar[str] = "Read the log of the session for what happened before."
    """What to do next."""

    told: str = ""
    """The story behind this error, where another process wrote one."""

    input_of: tuple[str, ...] = ()
    """Tasks that never ran because this error came in place of an argument."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__ in HOMES:
            cls.__module__ = PUBLIC_HOME
            ZfutError.by_name[cls.__name__] = cls

    def __init__(self, *fields: object) -> None:
        super().__init__()
        self.args = fields  # not through __init__: an OSError would read two of them as errno

    def fact(self) -> str:
        """Say what happened, to which thing, and why."""
        return " ".join(str(field) for field in self.args)

    def next_step(self) -> str:
        """Say what to do about it."""
        return self.advice

    def __str__(self) -> str:
        lines = [f"{self.fact()} {self.next_step()}".strip()]
        lines += [f"{Hop(name).place()}." for name in self.input_of]
        return "\n".join([*lines, self.told] if self.told else lines)
