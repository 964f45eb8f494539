"""``zfut stop``: ends sessions of this user, and removes what dead ones left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .failures import FAILED, NOT_FOUND, USAGE, CommandError, note
from .options import SETTINGS

if TYPE_CHECKING:
    from .control import Ending
    from .sessions import Found

FORCED_S = 2.0
"""What a node takes at most to end when it does not drain."""

MARGIN_S = 5.0
"""Beyond the grace period: for the end itself, on a machine with other work."""


@click.command("stop", context_settings=SETTINGS, short_help="Stop nodes and sessions.")
@click.option("--session", metavar="ID", help="Id, beginning of an id, name, or directory.")
@click.option(
    "--all",
    "every",
    is_flag=True,
    allow_from_autoenv=False,
    help="All of your sessions on this machine, those inside programs too.",
)
@click.option(
    "--force",
    is_flag=True,
    allow_from_autoenv=False,
    help="At once: what runs is lost. A node that does not react is killed.",
)
@click.pass_context
def command(ctx: click.Context, session: str | None, *, every: bool, force: bool) -> None:
    """Stop your sessions: running tasks may end first, for at most the grace period.

    Without options it stops the one session that `zfut start-node` runs. Only processes whose
    recorded pid and start time agree are touched.
    """
    from zfut.actors import places  # noqa: PLC0415  not for the help page

    from . import leftovers, sessions  # noqa: PLC0415

    if session and every:
        message = "--session and --all exclude each other."
        raise click.UsageError(message, ctx)
    running = sessions.running()
    chosen = running if every else _chosen(running, session)
    failed = _stop(chosen, force=force)
    dead = leftovers.dead_directories(places.base_directory())
    for directory in leftovers.remove_directories(dead):
        note(f"removed {directory}: its session is dead")
    if not chosen:
        note("no session of yours runs" if every else "no node of yours runs")
    ctx.exit(FAILED if failed else 0)


def _chosen(running: list[Found], wanted: str | None) -> list[Found]:
    """Return the session that is meant. Raises CommandError if that is not clear."""
    from . import sessions  # noqa: PLC0415  not for the help page

    if wanted is None:
        found = [session for session in running if not session.file.embedded]
    else:
        found = sessions.choose(running, wanted)
        if not found:
            known = ", ".join(session.id for session in running) or "none"
            text = f"no session {wanted!r} of yours runs on this machine (running: {known})"
            raise CommandError(text, NOT_FOUND)
    if len(found) > 1:
        titles = ", ".join(session.id for session in found)
        text = f"{len(found)} sessions may be meant: {titles}. Choose with --session, or --all"
        raise CommandError(text, USAGE)
    return found


def _stop(chosen: list[Found], *, force: bool) -> int:
    """Tell all of them, then wait for each. Returns how many did not end."""
    from .control import Ending  # noqa: PLC0415  imports ZeroMQ
    from .sessions import grace_s  # noqa: PLC0415

    endings = [Ending(session) for session in chosen]
    failed = 0
    try:
        for ending in endings:
            ending.tell("`zfut stop` was called", drain=not force)
            if not force:
                grace = grace_s(ending.session)
                note(f"{ending.session.title()}: draining, at most {grace:g} s")
        for ending in endings:
            limit = FORCED_S if force else grace_s(ending.session) + MARGIN_S
            failed += not _ended(ending, limit, force=force)
    except KeyboardInterrupt:
        note("what was told to stop goes on doing so; --force does not wait")
        raise
    finally:
        for ending in endings:
            ending.close()
    return failed


def _ended(ending: Ending, limit_s: float, *, force: bool) -> bool:
    title = ending.session.title()
    how = "stopped"
    ended = ending.held.wait(limit_s)
    if not ended and force:
        ending.held.kill()
        how = "killed: it did not react"
        ended = ending.held.wait(FORCED_S)
    if ended:
        note(f"{title}: {how}")
    else:
        note(f"{title} still runs after {limit_s:g} s; `zfut stop --force` kills it")
    return ended
