"""The chain of causes of something that is pending: asked from process to process.

    3f20001c is made by train(), which was sent to worker 0004a1b2
      it runs in process 0004a1b2 and waits there for others
        a1b20007 is made by load(), which waits for a worker (CPU:1); 3 tasks queued, ...
          node 700a79af has CPU 0 of 2 free; lent 41 s ago to actor Counter, process ...

Every line comes from the tables of the process, or the node, that knows; see ``zfut.core.owner.why``.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Protocol

import msgspec

from zfut.causes import size_text
from zfut.core import events as e
from zfut.core.owner.machine import OwnerMachine
from zfut.core.owner.why import Cause, Question, read_answer, read_wanted
from zfut.ids import TASK_UNITS, counted, short
from zfut.waiting import Pending
from zfut.wire import messages as m

ANSWER_S = 1.0
"""A process that does not answer in this time does not answer."""

INVENTORY_S = 30.0
"""One that has begun to tell of its objects has this long for each further part."""

LINES_MAX = 40
"""So much is told from the top; then the end of the next chain."""

END_LINES = 3
LINKS_MAX = 10_000

HOLDERS_MAX = 4
"""So many of those are named who have what a request waits for."""


class Asker(Protocol):
    """What asking takes of a session."""

    uid: Any
    owner: OwnerMachine
    loop: Any

    def new_call(self) -> tuple[int, Pending]:
        """Open a call that the machine will complete."""

    def wait_for(self, call_id: int, pending: Pending, deadline_ns: int | None) -> bool:
        """Wait for it."""


def explain(session: Asker, *names: bytes, within_s: float | None = None) -> str:
    """Return why objects are pending, a line for each cause.

    With ``within_s`` others are asked only for so long in all; 0: nobody is.
    """
    deadline = None if within_s is None else time.monotonic() + within_s
    lines: list[str] = []
    seen: dict[Question, None] = {}
    stack = [(0, Question(session.uid, "object", name)) for name in reversed(names)]
    while stack and len(lines) < LINES_MAX:
        indent, question = stack.pop()
        pad = "  " * indent
        if question in seen:
            lines.append(f"{pad}{_title(question)}: see above")
            continue
        seen[question] = None
        left = ANSWER_S if deadline is None else deadline - time.monotonic()
        if left <= 0 and question.to != session.uid:
            continue
        cause = ask(session, question, left)
        lines.append(pad + cause.text)
        stack.extend((indent + 1, deeper) for deeper in reversed(cause.deeper))
    if stack:
        lines.extend(_end_of_chain(session, stack.pop()[1], seen, deadline))
    return "\n".join(lines)


def _end_of_chain(
    session: Asker, question: Question, seen: dict[Question, None], deadline: float | None
) -> list[str]:
    """Follow the first cause of each cause: what is at the end keeps all the others waiting."""
    told: deque[str] = deque(maxlen=END_LINES)
    links = 0
    while question not in seen and links < LINKS_MAX:
        seen[question] = None
        left = ANSWER_S if deadline is None else deadline - time.monotonic()
        if left <= 0 and question.to != session.uid:
            break
        cause = ask(session, question, left)
        told.append(f"  {cause.text}")
        links += 1
        if not cause.deeper:
            break
        question = cause.deeper[0]
    skipped = links - len(told)
    return [f"... {skipped} more, and then" if skipped else "...", *told]


def _title(question: Question) -> str:
    at_node = question.kind in ("room", "workers")
    return f"the node's {question.kind}" if at_node else short(question.name)


def ask(session: Asker, question: Question, within_s: float = ANSWER_S) -> Cause:
    """Put one question to the process that can answer it."""
    if question.to == session.uid:
        with session.loop.lock:
            return read_answer(session.owner.told(question.kind, question.name))
    if question.kind == "room":
        return _room(session, question, within_s)
    if question.kind == "workers":
        return _workers(session, question, within_s)
    if question.to in session.owner.ledger.dead:
        return Cause(f"process {short(question.to)} is dead")
    said = _ask(session, question, within_s)
    if said is None:
        text = f"process {short(question.to)} did not answer within {within_s:.2g} s"
        return Cause(f"{text}: it has ended, or its user code never lets others run")
    return read_answer(said)


def _room(session: Asker, question: Question, within_s: float) -> Cause:
    """Say how it stands with what a process waits to write into the node's store."""
    said = _ask_node(session, within_s)
    if said is None:
        return Cause(f"the node did not answer within {within_s:.2g} s")
    memory = said["memory"]
    free = f"{memory['free']} of {memory['capacity']} bytes are free (largest piece "
    texts = [f"the store: {free}{memory['largest']})"]
    for one in said["waiting_for_memory"]:
        if one["uid"] != question.name.hex():
            continue
        text = f"{one['bytes']} bytes are asked for"
        if one["behind"]:
            text += " behind a request of {bytes} bytes by process {process}".format(
                **one["behind"]
            )
            text += ", which enough smaller ones have passed: it is served first"
        if one["passed"]:
            text += f"; smaller requests that came later got {one['passed']} bytes"
        texts.append(text)
    return Cause("; ".join(texts))


def _workers(session: Asker, question: Question, within_s: float) -> Cause:
    """Say what the node has of what a request asks for, and who has the rest."""
    said = _ask_node(session, within_s)
    if said is None:
        return Cause(f"the node did not answer within {within_s:.2g} s")
    kinds = {kind: amount / TASK_UNITS for kind, amount in read_wanted(question.name)}
    free, total = said["available"], said["total"]
    lacking = [kind for kind, amount in kinds.items() if free.get(kind, 0) < amount]
    have = ", ".join(
        f"{kind} {_amount(kind, free)} of {_amount(kind, total)} free"
        for kind in lacking or kinds
    )
    texts = [f"node {said['node'][:8]} has {have or 'what it takes'}"]
    if not lacking:
        texts.append(_processes(said))
    holders = [one for one in said["workers"] if _has_any(one, lacking)]
    holders.sort(key=lambda one: -one["lent_s"])
    texts += [_lent(one, said) for one in holders[:HOLDERS_MAX]]
    if len(holders) > HOLDERS_MAX:
        texts.append(f"and {len(holders) - HOLDERS_MAX} more are lent")
    if len(said["waiting"]) > 1:
        texts.append(f"{len(said['waiting'])} requests wait there")
    return Cause("; ".join(texts))


def _amount(kind: str, table: dict[str, float]) -> str:
    amount = table.get(kind, 0)
    return size_text(int(amount)) if kind == "memory" else f"{amount:g}"


def _processes(said: dict[str, Any]) -> str:
    """Say what a request waits for that could be met: it needs a process alone."""
    if said["starting"]:
        return f"{counted(said['starting'], 'worker')} being started"
    if said["draining"]:
        return f"it is being stopped: {said['draining']}"
    plain = sum(1 for one in said["workers"] if not one["actor"] and one["state"] != "leaving")
    return f"no worker is free: {plain} live, the most there may be is {said['workers_max']}"


def _has_any(worker: dict[str, Any], lacking: list[str]) -> bool:
    if not lacking:
        return bool(worker["owner"]) and not worker["actor"]
    return any(kind in worker["holds"] for kind in lacking)


def _lent(worker: dict[str, Any], said: dict[str, Any]) -> str:
    """Name a worker, and what it was lent for, to whom and when."""
    process = f"{worker['id']} (pid {worker['pid']})"
    if not worker["owner"]:
        return f"worker {process} has not ended yet"
    ago = f"lent {worker['lent_s']:.0f} s ago"
    pids = {one["uid"]: f"program {one['pid']}" for one in said["drivers"]}
    by = pids.get(worker["owner"], f"process {short(bytes.fromhex(worker['owner']))}")
    if worker["actor"]:
        return f"{ago} to actor {worker['runs']}, process {process}, of {by}"
    return f"{ago} to {worker['runs']}() of {by}, worker {process}"


def inventory(session: Asker, uid: bytes) -> list[dict[str, Any]] | None:
    """Return what a process says about every object that it owns or borrows; None: silence.

    It answers in parts, and goes on with its work between them; what comes and goes meanwhile may be
    missing.
    """
    found: dict[str, dict[str, Any]] = {}
    start: int | None = 0
    while start is not None:
        question = Question(uid, "memory", start.to_bytes(8, "big"))
        said = _ask(session, question, INVENTORY_S if found else ANSWER_S)
        if said is None:
            return None
        page = msgspec.json.decode(said)
        found.update((row["id"], row) for row in page["objects"])
        start = page["next"]
    return list(found.values())


def _ask(session: Asker, question: Question, within_s: float) -> bytes | None:
    call_id, pending = session.new_call()
    session.loop.post(e.AskedOwner(call_id, question.to, question.kind, question.name))
    answer: bytes | None = _answer(session, call_id, pending, within_s)
    return answer


def _ask_node(session: Asker, within_s: float) -> dict[str, Any] | None:
    call_id, pending = session.new_call()
    session.loop.post(e.Asked(call_id, m.AskNode(call_id, "status")))
    said = _answer(session, call_id, pending, within_s)
    return None if said is None else msgspec.json.decode(said)


def _answer(session: Asker, call_id: int, pending: Pending, within_s: float) -> bytes | None:
    deadline = time.monotonic_ns() + int(within_s * 1e9)
    try:
        if not session.wait_for(call_id, pending, deadline):
            return None
    finally:
        if not pending.done:
            session.loop.calls.pop(call_id, None)
            session.loop.post(e.StopWaiting(call_id))
    answer: bytes = pending.outcome.answer
    return answer
