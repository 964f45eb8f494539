"""Workers are killed ten times a second while programs with known answers run.

The right answer, no hang, and afterwards a session as if nothing had happened.
``ZFUT_CHAOS_SECONDS=60`` runs each test for a minute instead of a few seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import zfut
from tests.cluster.chaos import SECONDS, WAIT_S, Killer, killing
from tests.cluster.chaos_programs import (
    MIB,
    Answer,
    Content,
    Register,
    argument,
    call_from_a_task,
    check_lives,
    executions,
    gather,
    grow,
    join,
    key_of,
    sizes,
    total,
    walk,
)
from zfut.errors import ActorUnavailableError, OwnerDiedError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(SECONDS + 240)]

Chaos = Callable[[int], AbstractContextManager[Killer]]

STORE_BYTES = 512 * MIB
"""An eighth of what a graph makes in all: memory is used again and again."""

TREES_BYTES = 64 * MIB
"""So little for the trees, whose leaves are small."""

SECOND_NS = 1_000_000_000


@pytest.fixture
def chaos(base: Path, request: pytest.FixtureRequest) -> Iterator[Chaos]:
    """Start a session of two CPUs; return what kills its workers, and sees that nothing is left."""
    session = zfut.init(
        num_cpus=2,
        object_store_memory=getattr(request, "param", STORE_BYTES),
        store_full_timeout_ns=20 * SECOND_NS,
        worker_idle_ns=1_000 * SECOND_NS,  # who keeps memory is not excused by its end
    )
    yield partial(killing, session, base)
    zfut.shutdown()


# ------------------------------------------------------------------ trees


NESTED_LEAVES = 12
RIGHT_TREES = int(max(2, SECONDS / 4))
"""So many trees of references must be right, read in each way."""


def sums_of_calls(killer: Killer) -> int:
    """Add up trees of calls; nothing of them may be lost. Returns how many calls ran again."""
    again = 0
    for number in count():
        if not killer.going(enough=again > 0 and killer.busy["total"] > 0):
            break
        leaves = 8 + number * 7 % 17
        found, more = zfut.get(total.remote(0, leaves), timeout=WAIT_S)
        assert found == leaves * (leaves - 1) // 2
        again += more
    return again


def leaves_of_references(
    killer: Killer, read: Callable[[Any, int], list[int]], runs: str
) -> tuple[int, int]:
    """Read trees of references, which workers own: with one of them, the tree is lost.

    ``runs`` is a function of which at least one call must be killed; trees of it have marks of
    their own.  Returns how many trees were right and how many were lost.
    """
    right = lost = 0
    for number in count():
        if not killer.going(enough=right >= RIGHT_TREES and lost > 0 and killer.busy[runs] > 0):
            break
        tree = 2 * number + (runs == "gather")
        try:
            found = read(grow.remote(0, NESTED_LEAVES, tree), tree)
        except OwnerDiedError:
            lost += 1
            continue
        assert sorted(found) == list(range(NESTED_LEAVES))
        right += 1
    return right, lost


def walk_tree(root: Any, tree: int) -> list[int]:
    return walk([root], tree, WAIT_S)


def gather_tree(root: Any, tree: int) -> list[int]:
    found: list[int] = zfut.get(gather.remote([root], tree), timeout=WAIT_S)
    return found


@pytest.mark.parametrize("chaos", [TREES_BYTES], indirect=True, ids=["small store"])
def test_trees_of_calls_and_of_references(chaos: Chaos) -> None:
    """Three at once, so that somebody is killed whatever one of them does."""
    with chaos(7) as killer, ThreadPoolExecutor(3) as pool:
        calls = pool.submit(sums_of_calls, killer)
        walked = pool.submit(leaves_of_references, killer, walk_tree, "grow")
        gathered = pool.submit(leaves_of_references, killer, gather_tree, "gather")
        killer.facts["calls that ran again"] = calls.result()
        killer.facts["walked: right, lost"] = walked.result()
        killer.facts["gathered: right, lost"] = gathered.result()


# ------------------------------------------------------------------ a graph


OBJECTS = 2_000
WINDOW = 40


@dataclass(frozen=True)
class Made:
    """An object of the graph: what it must hold, and the call that makes it."""

    content: Content
    ref: Any
    attempt: Any


def make(number: int, size_bytes: int, parents: list[Made]) -> Made:
    """Submit the call for an object; two of three pass some parents inside a list."""
    key = key_of(number, [parent.content.key for parent in parents])
    inside = parents[: number % 3]
    refs: Any = join.remote(
        number,
        size_bytes,
        [parent.content for parent in parents],
        [parent.ref for parent in inside],
        *[parent.ref for parent in parents[len(inside) :]],
    )
    return Made(Content(key, size_bytes), *refs)


def check(number: int, made: Made) -> int:
    """Read every second object; the others only their children read. Returns its attempts."""
    if number % 2:
        made.content.check(zfut.get(made.ref, timeout=WAIT_S))
        return int(zfut.get(made.attempt, timeout=WAIT_S))
    return 0


def grow_graph() -> int:
    """Make objects from earlier ones; only a window of them is kept."""
    window: deque[Made] = deque()
    again = 0
    for number, size_bytes in zip(range(OBJECTS), sizes(seed=2), strict=False):
        back = (3, 8 + number % 16)
        parents = [window[-one] for one in back if len(window) >= one]
        window.append(make(number, size_bytes, parents))
        if len(window) > WINDOW:
            again += check(number - WINDOW, window.popleft())
    while window:
        again += check(OBJECTS - len(window), window.popleft())
    return again


def test_a_graph_of_two_thousand_objects(chaos: Chaos) -> None:
    again = 0
    with chaos(8) as killer:
        while killer.going(enough=again > 0):
            again += grow_graph()
            killer.facts["objects made again"] = again


# ------------------------------------------------------------------ actors


CALLS = 24


def answer_or_none(call: Any) -> Answer | None:
    """Wait for a call that may run once only; None if nobody can know whether it did."""
    try:
        answer: Answer = zfut.get(call, timeout=WAIT_S)
    except ActorUnavailableError:
        return None
    return answer


@dataclass
class Tally:
    """What was seen of the killing: lives beyond each caller's first, and calls that were lost."""

    lives: int = 0
    again: int = 0
    lost: int = 0


def call_all(registers: list[Any], log: Path, name: str, tally: Tally) -> None:
    """Call every register from here and from a task, and one so that no call runs twice."""
    tasks = [
        call_from_a_task.remote(register, f"{name}.task{start}", CALLS)
        for start, register in enumerate(registers)
    ]
    mine = [
        [register.add.remote(name, n, argument(n)) for n in range(CALLS)]
        for register in registers
    ]
    add_once = registers[0].add.options(max_task_retries=0)
    once = [add_once.remote(f"{name}.once", n, argument(n)) for n in range(CALLS)]
    for start, calls in enumerate(mine):
        tally.lives += check_lives(zfut.get(calls, timeout=WAIT_S), start) - 1
    for start, task in enumerate(tasks):
        answers, attempt = zfut.get(task, timeout=WAIT_S)
        tally.lives += check_lives(answers, start) - 1
        tally.again += attempt
    answered = [n for n, call in enumerate(once) if answer_or_none(call)]
    tally.lost += CALLS - len(answered)
    ran = executions(log, f"{name}.once")
    assert set(answered) <= set(ran)
    assert set(ran.values()) <= {1}


def call_actors(killer: Killer, log: Path) -> None:
    """Call the same three actors in rounds, in each under new names."""
    register: Any = Register
    registers = [register.remote(start, str(log)) for start in range(3)]
    tally = Tally()
    for number in count():
        seen = min(tally.lives, tally.again, tally.lost)
        if not killer.going(enough=seen > 0 and killer.busy["Register"] > 0):
            break
        call_all(registers, log, f"round{number}", tally)
    killer.facts["seen in the actors' answers"] = (f"{number} rounds", tally)


def test_actors_that_live_again(chaos: Chaos, tmp_path: Path) -> None:
    with chaos(9) as killer:
        call_actors(killer, tmp_path / "executions")
