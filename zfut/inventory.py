"""What holds memory in a whole session: every process's objects joined, and cycles of actors."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


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
    if row["handles"]:
        holds.append(f"{row['handles']} in its owner")
    if row["calls"]:
        holds.append(f"{row['calls']} calls under way")
    if row["contained_in"]:
        values = ", ".join(inside.get(row["id"], ["a value"]))
        holds.append(f"inside {values}")
    holds.extend(f"borrowed by {names.get(uid, uid)}" for uid in row["borrowers"])
    if row["lineage"]:
        holds.append(f"lineage of {row['lineage']}")
    return holds


def cycles(
    reports: dict[str, list[dict[str, Any]]], lives_in: dict[str, str]
) -> list[list[str]]:
    """Return the groups of actors that only keep each other alive.

    ``lives_in`` names the process of each actor.  An actor is kept by the processes that hold its
    handle; one that is held only by processes of such actors cannot be ended by anybody else.
    """
    kept_by: dict[str, set[str]] = {}
    for uid, rows in reports.items():
        for row in rows:
            if row["kind"] != "actor" or not row["owned"]:
                continue
            holders = set(row["borrowers"])
            if row["handles"] or row["calls"] or row["contained_in"]:
                holders.add(uid)
            kept_by[row["id"][:48]] = holders
    process_of = {actor: lives_in[actor] for actor in kept_by if actor in lives_in}
    suspects = {actor for actor, holders in kept_by.items() if holders and actor in process_of}
    changed = True
    while changed:  # whoever is held from outside is no part of it
        inside = {process_of[actor] for actor in suspects}
        free = {actor for actor in suspects if not kept_by[actor] <= inside}
        suspects -= free
        changed = bool(free)
    return _groups(suspects, kept_by, process_of)


def _groups(
    actors: set[str], kept_by: dict[str, set[str]], process_of: dict[str, str]
) -> list[list[str]]:
    actor_in = {process: actor for actor, process in process_of.items()}
    groups: list[list[str]] = []
    left = set(actors)
    while left:
        stack, group = [min(left)], set()
        while stack:
            actor = stack.pop()
            if actor not in left:
                continue
            left.discard(actor)
            group.add(actor)
            stack.extend(actor_in[uid] for uid in kept_by[actor] if uid in actor_in)
        groups.append(sorted(group))
    return groups
