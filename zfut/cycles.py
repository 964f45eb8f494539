"""Values and actors that only keep each other: what counting references alone never frees.

    process --- has a handle, a view, a call ---> object --- holds ---> object
       ^                                            |
       '------------ is the process of -------- (an actor's handle)

Whatever no program and no plain worker reaches along these arrows is kept by itself.  A value is
written once, so it holds itself only if its task was handed its own reference, through an actor
for example; actors may hold each other's handles.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zfut.ids import PROC_BYTES, TASK_BYTES

Reports = dict[str, list[dict[str, Any]]]
Arrows = dict[str, set[str]]

PROC_DIGITS, TASK_DIGITS = 2 * PROC_BYTES, 2 * TASK_BYTES


def cycles(reports: Reports, lives_in: dict[str, str]) -> list[list[str]]:
    """Return the groups of actors and objects that only keep each other, by their ids.

    ``reports`` is by process, ``lives_in`` names the process of each actor.
    """
    arrows = _arrows(reports, lives_in)
    actor_of = {process: actor for actor, process in lives_in.items()}
    others = [node for node in arrows if len(node) == PROC_DIGITS and node not in actor_of]
    kept = _reached(others, arrows)
    rest = {node: targets - kept for node, targets in arrows.items() if node not in kept}
    groups = []
    for group in _rings(rest):
        names = {actor_of.get(node, node) for node in group}
        handles = {node for node in names if node[:TASK_DIGITS] in names - {node}}
        groups.append(sorted(names - handles))
    return groups


def _arrows(reports: Reports, lives_in: dict[str, str]) -> Arrows:
    """Return what each process and each object keeps."""
    arrows: Arrows = {uid: set() for uid in reports}
    borrowers: dict[str, list[str]] = {}
    for uid, rows in reports.items():
        for row in rows:
            keeps = arrows.setdefault(row["id"], set())
            keeps.update(row["contains"])
            actor = row["id"][:TASK_DIGITS] if row["kind"] == "actor" else ""
            if actor in lives_in:
                keeps.add(lives_in[actor])
            if row["owned"]:
                borrowers[row["id"]] = row["borrowers"]
                if row["handles"] or row["calls"]:
                    arrows[uid].add(row["id"])
    here = {(uid, row["id"]): row for uid, rows in reports.items() for row in rows}
    for name, users in borrowers.items():  # an actor's handle of itself is weak, and not here
        for uid in users:
            known = here.get((uid, name))
            if known is None or known["handles"] or known["calls"]:
                arrows.setdefault(uid, set()).add(name)
    return arrows


def _reached(start: Iterable[str], arrows: Arrows) -> set[str]:
    reached: set[str] = set()
    stack = list(start)
    while stack:
        node = stack.pop()
        if node not in reached:
            reached.add(node)
            stack.extend(arrows.get(node, ()))
    return reached


def _rings(arrows: Arrows) -> list[set[str]]:
    """Return the sets of nodes that all lead to each other."""
    found: list[set[str]] = []
    backwards: Arrows = {}
    for node, targets in arrows.items():
        for target in targets:
            backwards.setdefault(target, set()).add(node)
    left = set(arrows)
    while left:
        node = min(left)
        ring = _reached(arrows[node], arrows) & _reached(backwards.get(node, ()), backwards)
        if node in ring:
            found.append(ring)
        left -= ring | {node}
    return found
