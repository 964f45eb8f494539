"""How a command fails: one line on stderr that says what to do, and an exit code.

    0 ok    1 failed    2 usage    3 no session reached    4 not authorised
    5 incompatible version    6 not found    7 timed out    130, 143 ended by a signal

The same codes mean the same in every command; ``docs/guides/operators.md`` lists them.
"""

from __future__ import annotations

from typing import IO, Any

import click

FAILED = 1
USAGE = 2
NOT_REACHED = 3
NOT_AUTHORISED = 4
INCOMPATIBLE = 5
NOT_FOUND = 6
TIMED_OUT = 7
BY_SIGNAL = 128
"""Added to a signal's number."""


class CommandError(click.ClickException):
    """A command cannot do what it was asked for."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the text to stderr."""
        if file is None:
            note(self.message)
        else:
            click.echo(f"zfut: {self.message}", file=file)


def note(text: str) -> None:
    """Tell the person at the terminal; data alone goes to stdout."""
    click.echo(f"zfut: {text}", err=True)


def code_of(error: Exception) -> int:
    """Return the exit code of one of zfut's own errors."""
    from zfut import errors  # noqa: PLC0415  only a command that failed needs it

    for kind, code in (
        (errors.AuthenticationError, NOT_AUTHORISED),
        (errors.VersionMismatchError, INCOMPATIBLE),
        (errors.GetTimeoutError, TIMED_OUT),
        (errors.SessionError, FAILED),
        (errors.UsageError, USAGE),
    ):
        if isinstance(error, kind):
            return code
    return FAILED
