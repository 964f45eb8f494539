"""``zfut status``: what a session has, runs and waits for; a table, or JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .failures import NOT_FOUND, NOT_REACHED, CommandError, note
from .options import SETTINGS, amount_text, size_text
from .table import WIDTH, table

if TYPE_CHECKING:
    from .sessions import Found

SCHEMA = 1
"""Of the JSON: fields may be added; one that is changed or removed makes a new number."""


@click.command("status", context_settings=SETTINGS, short_help="Show what runs and what waits.")
@click.option(
    "--address",
    metavar="ID",
    help="Id, beginning of an id, name, or directory. Default: the newest node, or session.",
)
@click.option("--json", "as_json", is_flag=True, help="Everything, as one JSON document.")
def command(address: str | None, *, as_json: bool) -> None:
    """Show resources, workers, what waits and why, memory, names and programs."""
    session = find(address)
    described = describe(session)
    if as_json:
        click.echo(json.dumps(described, indent=2))
    else:
        click.echo("\n".join(lines(described)))


def find(address: str | None) -> Found:
    """Return the session that is meant. Raises CommandError if there is none."""
    from . import sessions  # noqa: PLC0415  not for the help page

    running = sessions.running()
    if address and address not in ("auto", "local"):
        found = sessions.choose(running, address)
        if len(found) > 1:
            ids = ", ".join(session.id for session in found)
            text = f"{address!r} may mean {ids}. Write more of it"
            raise CommandError(text, NOT_FOUND)
    else:
        found = [session for session in running if not session.file.embedded] or running
    if not found:
        what = f"session {address!r}" if address else "session"
        known = ", ".join(session.id for session in running)
        advice = f"These run: {known}" if known else "Start a node with `zfut start-node`"
        text = f"no {what} of yours runs on this machine. {advice}"
        raise CommandError(text, NOT_REACHED)
    others = [session.id for session in running if session.id != found[0].id]
    if others and not address:
        note(f"other sessions of yours: {', '.join(others)} (--address ID)")
    return found[0]


# ------------------------------------------------------------------ the document


def describe(session: Found) -> dict[str, Any]:
    """Ask the session's node and return the document. Raises CommandError."""
    from zfut.errors import SessionError  # noqa: PLC0415

    from .control import ask  # noqa: PLC0415  imports ZeroMQ

    try:
        said = ask(session, "status")
    except (SessionError, OSError) as error:
        text = f"{session.title()} cannot be reached: {error}"
        raise CommandError(text, NOT_REACHED) from None
    return document(session, said)


def document(session: Found, said: dict[str, Any]) -> dict[str, Any]:
    """Arrange what is known of a session. ``said`` is the node's answer to "status"."""
    import os  # noqa: PLC0415

    file = session.file
    node = said["node"]
    memory = {**said["memory"], "kind": file.arena.kind, "waiters": said["waiting_for_memory"]}
    return {
        "schema": SCHEMA,
        "session": {
            "id": file.session,
            "name": file.name,
            "directory": str(session.directory),
            "zfut": file.zfut,
            "protocol": file.protocol,
            "embedded": file.embedded,
            "program_pid": file.driver_pid,
            "root_pid": file.root_pid,
            "draining": said["draining"],
        },
        "nodes": [{"id": node, "alive": True, "pid": file.manager_pid}],
        "resources": {"total": said["total"], "available": said["available"]},
        "workers": [{**worker, "node": node} for worker in said["workers"]],
        "waiting": [
            {**request, "reason": reason(request, said["total"], said["available"])}
            for request in said["waiting"]
        ],
        "memory": [{"node": node, **memory}],
        "names": said["names"],
        "drivers": [driver for driver in said["drivers"] if driver["pid"] != os.getpid()],
    }


def reason(
    request: dict[str, Any], total: dict[str, float], available: dict[str, float]
) -> str:
    """Say why a request for a worker waits."""
    demand = request["demand"].items()
    for kind, amount in demand:
        if amount > total.get(kind, 0):
            there = amount_text(kind, total.get(kind, 0))
            return f"never fits: {kind}:{amount_text(kind, amount)} wanted, node has {there}"
    for kind, amount in demand:
        if amount > available.get(kind, 0):
            free = amount_text(kind, available.get(kind, 0))
            return f"{kind}:{amount_text(kind, amount)} wanted, {free} free"
    return "a worker process starts, or all are in use"


# ------------------------------------------------------------------ the page


def lines(document: dict[str, Any]) -> list[str]:
    """Return the document as lines of at most 100 columns."""
    session, (memory,) = document["session"], document["memory"]
    name = f" ({session['name']})" if session["name"] else ""
    node = document["nodes"][0]
    kind = f"inside program {session['program_pid']}" if session["embedded"] else "a node"
    title = f"session {session['id']}{name}, {kind}; zfut {session['zfut']}"
    page = [f"{title}; node manager {node['pid']}", session["directory"]]
    if session["draining"]:
        page.append(f"DRAINING: {session['draining']}")
    page += ["", *_resources(document["resources"]), "", *_memory(memory)]
    for title, section in (
        ("workers", _workers(document["workers"])),
        ("waiting", _waiting(document["waiting"])),
        ("names", _named(document["names"])),
        ("programs", table(["ID", "PID"], [[d["id"], d["pid"]] for d in document["drivers"]])),
    ):
        count = len(section) - 1
        page += ["", f"{title}: {count or 'none'}", *(section if count else [])]
    return [line if len(line) <= WIDTH else line[: WIDTH - 1] + "…" for line in page]


def _resources(resources: dict[str, dict[str, float]]) -> list[str]:
    total, available = resources["total"], resources["available"]
    rows = [
        [kind, amount_text(kind, amount), amount_text(kind, available.get(kind, 0))]
        for kind, amount in total.items()
    ]
    return table(["RESOURCE", "TOTAL", "FREE"], rows)


def _memory(memory: dict[str, Any]) -> list[str]:
    shown = {name: size_text(memory[name]) for name in ("capacity", "lent", "free", "largest")}
    text = (
        f"store {shown['capacity']} ({memory['kind']}): {shown['lent']} lent to processes, "
        f"{shown['free']} free (largest piece {shown['largest']})"
    )
    late = [
        f"{who['process']} waits for {size_text(who['bytes'])}" for who in memory["waiters"]
    ]
    return [text, *late]


def _workers(workers: list[dict[str, Any]]) -> list[str]:
    rows = [
        [each["id"], each["pid"], each["state"], each["actor"] or "-", each["runs"] or "-"]
        for each in workers
    ]
    return table(["ID", "PID", "STATE", "ACTOR", "RUNS"], rows)


def _waiting(requests: list[dict[str, Any]]) -> list[str]:
    """One line for all requests that an owner has out for one kind of task."""
    queued: dict[tuple[str, str, str], int] = {}
    for each in requests:
        name = (each["task"] or "an actor", each["owner"], each["reason"])
        queued[name] = max(queued.get(name, 0), each["backlog"])
    rows = [[task, count, owner, why] for (task, owner, why), count in queued.items()]
    return table(["TASK", "QUEUED", "OWNER", "REASON"], rows)


def _named(names: list[dict[str, Any]]) -> list[str]:
    rows = [[each["name"], each["namespace"] or "-", each["actor"]] for each in names]
    return table(["NAME", "NAMESPACE", "ACTOR"], rows)
