"""``zfut memory``: every live object, its size, its owner, and what holds it."""

from __future__ import annotations

import json
import sys
from math import inf
from typing import TYPE_CHECKING, Any

import click

from .failures import note
from .options import SETTINGS, size_text
from .table import WIDTH, table

if TYPE_CHECKING:
    from zfut.inventory import Held

UNRECORDED = (
    "Where each was made is not recorded: zfut.init(record_call_sites=True) does that, "
    "or ZFUT_RECORD_CALL_SITES=1 when the node starts."
)


@click.command(
    "memory", context_settings=SETTINGS, short_help="Show what objects there are, and why."
)
@click.option(
    "--address",
    metavar="ID",
    help="Id, beginning of an id, name, or directory. Default: the newest node, or session.",
)
@click.option("--cycles", is_flag=True, help="Only actors and values that keep each other.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as one JSON document.")
def command(address: str | None, *, cycles: bool, as_json: bool) -> None:
    """List objects, the largest first, with what holds each of them.

    Where they were made is shown if the session records it: zfut.init(record_call_sites=True),
    or ZFUT_RECORD_CALL_SITES=1 when its node is started.
    """
    from zfut import cycles as rings  # noqa: PLC0415
    from zfut import inventory  # noqa: PLC0415

    from .asking import Asking  # noqa: PLC0415  imports ZeroMQ
    from .status import find  # noqa: PLC0415

    with Asking(find(address)) as asking:
        reports, names = asking.reports, asking.names
        groups = rings.cycles(reports, asking.lives_in)
        held = inventory.join(reports, names)
        called = {one.id: f"{one.kind} {one.short}" for one in held}
        for actor, process in asking.lives_in.items():
            called[actor] = names.get(process, process)
    found: dict[str, Any] = {
        "objects": [
            {name: getattr(one, name) for name in one.__struct_fields__} for one in held
        ],
        "cycles": [[called.get(name, name) for name in group] for group in groups],
        "silent": asking.silent,
    }
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        width = WIDTH if sys.stdout.isatty() else inf
        shown = cycle_lines(found["cycles"]) if cycles else lines(held, width)
        click.echo("\n".join(shown))
    for name in asking.silent:
        note(f"{name} did not answer: what it owns, or keeps, is not in this")


def lines(held: list[Held], width: float = WIDTH) -> list[str]:
    """Return the table of objects and a sum."""
    from zfut.ids import counted  # noqa: PLC0415

    if not held:
        return ["No objects."]
    sites = any(one.site for one in held)
    rows = [
        (
            one.short,
            one.kind,
            one.state,
            size_text(one.bytes),
            one.owner,
            ", ".join(one.holds) or (f"made by {one.task}()" if one.task else "nothing"),
            one.site,
        )
        for one in held
    ]
    headings = ["ID", "KIND", "STATE", "SIZE", "OWNER", "HELD BY", "MADE AT"]
    if not sites:
        headings.pop()
        rows = [row[:-1] for row in rows]  # type: ignore[misc]
    total = size_text(sum(one.bytes for one in held))
    shown = [*table(headings, rows, width), "", f"{counted(len(held), 'object')}, {total}"]
    return shown if sites else [*shown, UNRECORDED]


def cycle_lines(groups: list[list[str]]) -> list[str]:
    """Return a line for each group that nobody else can reach."""
    if not groups:
        return ["No actors keep only each other alive, and no values."]
    said = [f"keep each other alive: {', '.join(group)}" for group in groups]
    last = "Nobody else can reach them: they stay until zfut.kill() or the session's end."
    return [*said, "", last]
