"""Entry point of the ``zfut`` command: finds the subcommand, and words whatever goes wrong.

Each command is a file of its own that is imported when it is used; what needs ZeroMQ is
imported when the command runs.  So ``zfut --help`` costs no more than click does.
"""

from __future__ import annotations

import difflib
import os
import sys
from importlib import import_module
from typing import NoReturn

import click

import zfut

from .failures import BY_SIGNAL, FAILED, CommandError, code_of
from .options import SETTINGS

COMMANDS = ("start-node", "status", "why", "memory", "stop", "doctor")
"""Command X-Y is ``command`` in x_y.py."""

SIGINT = 2


class Commands(click.Group):
    """Imports a command when it is asked for."""

    debug = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, in the order of the help page."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of this name, if there is one."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = import_module("." + cmd_name.replace("-", "_"), __package__)
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may have been meant."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = [each for each in COMMANDS if each.startswith(name)]
            near = near or difflib.get_close_matches(name, COMMANDS, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            message = f"No such command {name!r}.{meant}"
            raise click.UsageError(message, ctx)
        return super().resolve_command(ctx, args)


@click.command(cls=Commands, context_settings=SETTINGS)
@click.version_option(zfut.__version__, message="zfut %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an unexpected error.")
@click.pass_context
def group(ctx: click.Context, *, debug: bool) -> None:
    """Distributed futures and actors on plain ZeroMQ."""
    Commands.debug = debug
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def _worded(error: Exception) -> CommandError:
    causes = sys.modules.get("zfut.causes")
    if causes is not None and isinstance(error, causes.ZfutError):
        return CommandError(str(error), code_of(error))
    return CommandError(
        f"unexpected {type(error).__name__}: {error}. "
        "`zfut --debug COMMAND` shows where it comes from"
    )


def run(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    try:
        code = group.main(arguments, prog_name="zfut", standalone_mode=False)
    except CommandError as error:
        error.show()
        return error.code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return BY_SIGNAL + SIGINT
    except BrokenPipeError:
        # The reader has gone; what is still buffered must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if Commands.debug:
            raise
        failure = _worded(error)
        failure.show()
        return failure.code
    return code if isinstance(code, int) else 0


def main() -> NoReturn:
    """Be the ``zfut`` command."""
    sys.exit(run())
