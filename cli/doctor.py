"""``zfut doctor``: what of this machine helps or hinders, and what dead sessions left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .failures import FAILED
from .options import SETTINGS

if TYPE_CHECKING:
    from .checks import Check

COLOURS = {"ok": "green", "warn": "yellow", "bad": "red"}


@click.command(
    "doctor", context_settings=SETTINGS, short_help="Check this machine; find leftovers."
)
@click.option("--json", "as_json", is_flag=True, help="The checks as one JSON document.")
@click.option(
    "--clean",
    is_flag=True,
    allow_from_autoenv=False,
    help="Remove what dead sessions of yours left.",
)
@click.pass_context
def command(ctx: click.Context, *, as_json: bool, clean: bool) -> None:
    """Check shared memory, limits, paths, versions and leftovers; say what to do.

    Exit code 0 if nothing is bad, 1 otherwise.
    """
    from . import checks  # noqa: PLC0415  not for the help page

    done = [*checks.machine(), *_leftovers(clean=clean)]
    healthy = all(check.level != checks.BAD for check in done)
    if as_json:
        plain = [
            {
                "name": check.name,
                "level": check.level,
                "found": check.found,
                "advice": check.advice,
            }
            for check in done
        ]
        click.echo(json.dumps({"schema": 1, "ok": healthy, "checks": plain}, indent=2))
    else:
        for check in done:
            _show(check)
    ctx.exit(0 if healthy else FAILED)


def _show(check: Check) -> None:
    level = click.style(f"{check.level:<4}", fg=COLOURS[check.level], bold=check.level != "ok")
    click.echo(f"{level}  {check.name:<17}  {check.found}")
    if check.advice:
        click.echo(f"{'':25}{check.advice}")


def _leftovers(*, clean: bool) -> list[Check]:
    """Look for what dead sessions left, and remove it if that is asked for."""
    from zfut.actors import places  # noqa: PLC0415
    from zfut.errors import SessionError  # noqa: PLC0415

    from . import leftovers, sessions  # noqa: PLC0415
    from .checks import OK, WARN, Check  # noqa: PLC0415

    try:
        directories = leftovers.dead_directories(places.base_directory())
        running = sessions.running()
    except SessionError:
        directories, running = [], []
    arenas = leftovers.stale_arenas()
    ids = ", ".join(session.id for session in running)
    done = [Check("sessions", OK, f"{len(running)} run{f': {ids}' if ids else ''}")]
    found: list[Path] = [*directories, *arenas]
    if not found:
        return [*done, Check("leftovers", OK, "none")]
    if not clean:
        advice = "`zfut doctor --clean` removes it: its session is dead."
        return [*done, *(Check("leftovers", WARN, str(path), advice) for path in found)]
    gone = [*leftovers.remove_directories(directories), *leftovers.remove_arenas(arenas)]
    left = [path for path in found if path not in gone]
    return [
        *done,
        *(Check("leftovers", OK, f"removed {path}") for path in gone),
        *(Check("leftovers", WARN, f"{path} stays", "Remove it by hand.") for path in left),
    ]
