"""What holds memory in a whole session: every process's objects, joined."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from zfut.ids import counted


class Held(Struct):
    """One object, as its owner and its borrowers describe it."""

    id: str
    short: str
    kind: str
    state: str
    bytes: int
    owner: str
    site: str = ""
    task: str = ""
    holds: list[str] = field(default_factory=list)


def join(reports: dict[str, list[dict[str, Any]]], names: dict[str, str]) -> list[Held]:
    """Return every owned object with what holds it, the largest first.

    ``reports`` is by process, ``names`` say what a person calls each.
    """
    found: list[Held] = []
    inside: dict[str, list[str]] = {}
    for rows in reports.values():
        for row in rows:
            for name in row["contains"]:
                inside.setdefault(name, []).append(row["short"])
    for uid, rows in reports.items():
        for row in rows:
            if row["owned"]:
                fields = {name: row[name] for name in Held.__struct_fields__ if name in row}
                fields["owner"] = names.get(uid, uid)
                found.append(Held(**fields, holds=_holds(row, inside, names)))
    found.sort(key=lambda held: -held.bytes)
    return found


def _holds(
    row: dict[str, Any], inside: dict[str, list[str]], names: dict[str, str]
) -> list[str]:
    holds: list[str] = []
    views = row.get("views", 0)
    if row["handles"] > views:
        holds.append(f"{counted(row['handles'] - views, 'reference')} in its owner")
    if views:
        holds.append(f"{counted(views, 'view')} in its owner")
    if row["calls"]:
        holds.append(f"{counted(row['calls'], 'call')} under way")
    if row["contained_in"]:
        values = ", ".join(inside.get(row["id"], ["a value"]))
        holds.append(f"inside {values}")
    holds.extend(f"borrowed by {names.get(uid, uid)}" for uid in row["borrowers"])
    if row["lineage"]:
        holds.append(f"the lineage of {counted(row['lineage'], 'call')}")
    return holds
