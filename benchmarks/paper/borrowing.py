"""Figure 12e: tasks that share one object, submitted by its owner or by its borrowers.

The rate at which the program, and 1, 2 and 4 nested tasks that got the reference in a list, get
empty tasks done.  Beside it, in sessions that nobody times: how many uses of the object its owner
is told of.  The program owns it, so every such word arrives at the program's own machine.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import zfut
from benchmarks.paper.experiment import Experiment, Must, Trial, at_least, cell, times
from benchmarks.paper.tasks import empty, submits, submits_and_keeps
from benchmarks.paper.trial import running
from benchmarks.results import Results
from zfut.core import events as e
from zfut.wire import messages as m

NAME = "borrowing"
BORROWERS = (0, 1, 2, 4)
TASKS = 100_000
WARM_TASKS = 2_000
COUNTED_TASKS = 2_000
SHARED_BYTES = 1 << 20

WITHIN = 0.9
PAPER = {0: 12_208, 1: 11_987, 2: 21_675, 4: 23_451}
"""Tasks a second on one node of 64 virtual CPUs, with Ray of that time."""


def measure(trial: Trial) -> None:
    """Time every number of borrowers in turn, then count."""
    tasks = trial.count(TASKS, least=len(BORROWERS))
    for borrowers in BORROWERS:
        trial.add(_case(borrowers), "rate", tasks / _seconds(trial, borrowers, tasks), "/s")
    for borrowers in BORROWERS[1:]:
        leaves = trial.count(COUNTED_TASKS, least=borrowers)
        for keeps in (False, True):
            seen = count(borrowers, leaves, keeps=keeps)
            word = "kept" if keeps else "dropped"
            trial.add(_case(borrowers), f"{word}: registered", seen.registered, "count")
            trial.add(_case(borrowers), f"{word}: processes", seen.borrowing, "count")


def _seconds(trial: Trial, borrowers: int, tasks: int) -> float:
    with running():
        shared = zfut.put(os.urandom(SHARED_BYTES))
        _run(shared, borrowers, trial.count(WARM_TASKS, least=4))
        start = time.perf_counter()
        _run(shared, borrowers, tasks)
        return time.perf_counter() - start


def _run(shared: Any, borrowers: int, tasks: int) -> None:
    if not borrowers:
        zfut.get([empty.remote(shared) for _ in range(tasks)])
        return
    zfut.get([submits.remote([shared], share) for share in shares(tasks, borrowers)])


def shares(tasks: int, parts: int) -> list[int]:
    """So many tasks in so many parts, as equal as can be."""
    return [tasks * (part + 1) // parts - tasks * part // parts for part in range(parts)]


# ------------------------------------------------------------------ counting


@dataclass(slots=True)
class Seen:
    """What the owner was told of one object, and by how many processes it was borrowed."""

    registered: int = 0
    borrowing: int = 0


def count(borrowers: int, leaves: int, *, keeps: bool) -> Seen:
    """Run nested tasks that drop the reference, or keep it beyond the call; count uses told."""
    seen = Seen()
    nested = submits_and_keeps if keeps else submits
    with running() as run:
        shared = zfut.put(os.urandom(SHARED_BYTES))
        loop: Any = run.session.loop
        machine = loop.machine
        handle = machine.handle
        object_id = shared.binary()

        def watch(event: Any, now: int) -> None:
            if type(event) is e.Received:
                seen.registered += _told(event.message, object_id)
            handle(event, now)

        machine.handle = watch
        pids = zfut.get([nested.remote([shared], n) for n in shares(leaves, borrowers)])
        seen.borrowing = len(set(pids))
        del machine.handle
    return seen


def _told(message: m.Message, object_id: bytes) -> int:
    """How many uses of the object this message announces: alone, or with a call's answer."""
    items: list[tuple[bytes, bytes]] = []
    if isinstance(message, m.RegisterBorrows):
        items += message.items
    elif isinstance(message, m.TasksFinished):
        for result in message.results:
            items += result.retained
    return sum(name == object_id for name, _ in items)


# ------------------------------------------------------------------ what must hold


def musts(results: Results) -> list[Must]:
    """One borrower costs little, more cost nothing, and only who keeps the object registers."""
    found = [_one_is_near_none(results)]
    found += [_more_do_not_fall(results, fewer, more) for fewer, more in ((1, 2), (2, 4))]
    found.append(
        _registered(results, "kept", "one for each process that keeps it, none a leaf")
    )
    found.append(_registered(results, "dropped", "none if it is dropped before the call ends"))
    return found


def _one_is_near_none(results: Results) -> Must:
    ratio = times(results, NAME, "rate", _case(1), _case(0))
    return at_least("one borrower within 10 % of none", ratio, WITHIN, "x")


def _more_do_not_fall(results: Results, fewer: int, more: int) -> Must:
    ratio = times(results, NAME, "rate", _case(more), _case(fewer))
    return at_least(f"{more} borrowers no slower than {fewer}", ratio, 1, "x")


def _registered(results: Results, word: str, text: str) -> Must:
    shown, held = [], []
    for borrowers in BORROWERS[1:]:
        told = results.by_repeat(_case(borrowers), NAME, f"{word}: registered")
        holders = results.by_repeat(_case(borrowers), NAME, f"{word}: processes")
        for repeat, number in told.items():
            wanted = holders[repeat] if word == "kept" else 0
            held.append(number == wanted)
            shown.append(f"{number:g} of {borrowers}")
    if not held:
        return Must(f"registrations: {text}", "", None)
    return Must(f"registrations: {text}", ", ".join(dict.fromkeys(shown)), all(held))


# ------------------------------------------------------------------ the table


def table(results: Results) -> list[list[str]]:
    """A row for each number of borrowers."""
    rows = [["borrowers", "tasks/s", "to none", "paper: tasks/s", "to none", "registrations"]]
    for borrowers in BORROWERS:
        ratio = times(results, NAME, "rate", _case(borrowers), _case(0))
        rows.append(
            [
                str(borrowers),
                cell(results, NAME, _case(borrowers), "rate"),
                "" if ratio is None else f"{ratio:.2f}x",
                f"{PAPER[borrowers]:,}",
                f"{PAPER[borrowers] / PAPER[0]:.2f}x",
                _counts(results, borrowers),
            ]
        )
    return rows


def _counts(results: Results, borrowers: int) -> str:
    words = []
    for word in ("dropped", "kept"):
        told = results.spread(_case(borrowers), NAME, f"{word}: registered")
        holders = results.spread(_case(borrowers), NAME, f"{word}: processes")
        if told and holders:
            words.append(f"{word}: {told.median:g} ({holders.median:g} processes)")
    return ", ".join(words)


def _case(borrowers: int) -> str:
    return f"b={borrowers}"


EXPERIMENT = Experiment(NAME, "Borrowing (figure 12e)", measure, musts, table)
