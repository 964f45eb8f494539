"""A model of actor restarts, searched to the end: two callers, two calls each, one death.

Written from the rules in docs/ownership.md and apart from the machines, so that both may be wrong
in different ways.  Messages of one pair of processes are in order, others in any; the actor
dies at any moment or never; every notice arrives at any later moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import pytest

CALLERS, CALLS = 2, 2


class Caller(NamedTuple):
    """What a caller knows: its calls' states, and the life it believes in (-1: none)."""

    waiting: tuple[int, ...] = tuple(range(CALLS))
    sent: tuple[int, ...] = ()
    done: frozenset[int] = frozenset()
    failed: frozenset[int] = frozenset()
    tries: tuple[int, ...] = (0,) * CALLS
    life: int = 0
    stale: bool = False  # it took an answer of a life that it knew to be over


class World(NamedTuple):
    """Everything: ``calls`` and ``answers`` are by (caller, life)."""

    callers: tuple[Caller, ...] = (Caller(),) * CALLERS
    calls: tuple[tuple[int, ...], ...] = ((),) * (CALLERS * 2)
    answers: tuple[tuple[int, ...], ...] = ((),) * (CALLERS * 2)
    lives: tuple[bool, bool] = (True, False)
    died: bool = False
    owner_knows: bool = False
    told_death: tuple[bool, ...] = (False,) * CALLERS
    told_life: tuple[bool, ...] = (False,) * CALLERS
    ran: tuple[tuple[int, int, int], ...] = ()


class Rules(NamedTuple):
    """The protocol, and what can be broken in it."""

    retries: int
    waits_for_certain_death: bool = True
    again_goes_first: bool = True
    fences_the_dead: bool = True
    keeps_answered: bool = True


def put(
    items: tuple[tuple[int, ...], ...], at: int, value: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    return (*items[:at], value, *items[at + 1 :])


def swap(world: World, who: int, caller: Caller) -> tuple[Caller, ...]:
    return (*world.callers[:who], caller, *world.callers[who + 1 :])


def steps(world: World, rules: Rules) -> Iterator[World]:
    """Yield everything that may happen next."""
    yield from _life_and_death(world, rules)
    for who, caller in enumerate(world.callers):
        yield from _talk(world, rules, who, caller)
        yield from _hear(world, rules, who, caller)


def _life_and_death(world: World, rules: Rules) -> Iterator[World]:
    if not world.died:
        yield world._replace(died=True, lives=(False, world.lives[1]))
    if world.died and not world.owner_knows:
        yield world._replace(owner_knows=True)
    certain = world.owner_knows or not rules.waits_for_certain_death
    if certain and not world.lives[1]:
        yield world._replace(lives=(world.lives[0], True))
    for life in (0, 1):
        if not world.lives[life]:
            continue
        for who in range(CALLERS):
            at = 2 * who + life
            if world.calls[at]:
                call, *rest = world.calls[at]
                yield world._replace(
                    calls=put(world.calls, at, tuple(rest)),
                    answers=put(world.answers, at, (*world.answers[at], call)),
                    ran=(*world.ran, (who, call, life)),
                )


def _talk(world: World, rules: Rules, who: int, caller: Caller) -> Iterator[World]:
    if caller.life >= 0 and caller.waiting:
        call, *rest = caller.waiting
        at = 2 * who + caller.life
        tries = tuple(n + (c == call) for c, n in enumerate(caller.tries))
        after = caller._replace(waiting=tuple(rest), sent=(*caller.sent, call), tries=tries)
        yield world._replace(
            callers=swap(world, who, after),
            calls=put(world.calls, at, (*world.calls[at], call)),
        )
    for life in (0, 1):
        at = 2 * who + life
        if not world.answers[at]:
            continue
        call, *rest = world.answers[at]
        left = world._replace(answers=put(world.answers, at, tuple(rest)))
        fenced = life != caller.life and rules.fences_the_dead
        if fenced or call not in caller.sent:
            yield left
        else:
            sent = tuple(other for other in caller.sent if other != call)
            stale = caller.stale or life != caller.life
            after = caller._replace(sent=sent, done=caller.done | {call}, stale=stale)
            yield left._replace(callers=swap(left, who, after))


def _hear(world: World, rules: Rules, who: int, caller: Caller) -> Iterator[World]:
    if world.died and not world.told_death[who]:
        told = (*world.told_death[:who], True, *world.told_death[who + 1 :])
        after = caller if caller.life else caller._replace(life=-1)
        yield world._replace(callers=swap(world, who, after), told_death=told)
    if world.lives[1] and not world.told_life[who]:
        told = (*world.told_life[:who], True, *world.told_life[who + 1 :])
        lost = caller.sent if rules.keeps_answered else tuple(range(CALLS))
        again = tuple(call for call in lost if caller.tries[call] <= rules.retries)
        failed = caller.failed | (frozenset(caller.sent) - frozenset(again))
        queue = (
            (*again, *caller.waiting) if rules.again_goes_first else (*caller.waiting, *again)
        )
        after = caller._replace(waiting=queue, sent=(), failed=failed, life=1)
        yield world._replace(callers=swap(world, who, after), told_life=told)


def broken(world: World, rules: Rules) -> str:  # noqa: C901, PLR0911  one for each rule
    """Say which rule does not hold."""
    if world.lives[0] and world.lives[1]:
        return "it lives twice"
    for who in range(CALLERS):
        for life in (0, 1):
            order = [call for caller, call, at in world.ran if (caller, at) == (who, life)]
            if order != sorted(order):
                return "calls of one caller start out of order"
            if len(order) != len(set(order)):
                return "a call runs twice in one life"
        for call in range(CALLS):
            times = sum(1 for caller, one, _ in world.ran if (caller, one) == (who, call))
            if times > 1 + rules.retries:
                return "a call runs more often than it may"
    for caller in world.callers:
        if caller.stale:
            return "an answer of a life that is over is taken"
        if caller.done & caller.failed or caller.done & set(caller.waiting):
            return "a call that was answered is not at rest"
    return ""


def search(rules: Rules) -> tuple[str, int]:
    """Visit every state. Returns the first violation, and how many states there are."""
    start = World()
    seen = {start}
    queue = deque([start])
    while queue:
        world = queue.popleft()
        wrong = broken(world, rules)
        if wrong:
            return wrong, len(seen)
        nexts = list(steps(world, rules))
        if not nexts and any(caller.waiting or caller.sent for caller in world.callers):
            return "a call waits for ever", len(seen)
        for after in nexts:
            if after not in seen:
                seen.add(after)
                queue.append(after)
    return "", len(seen)


@pytest.mark.parametrize("retries", [0, 1])
def test_the_rules_hold_in_every_state(retries: int) -> None:
    wrong, states = search(Rules(retries))
    assert not wrong
    assert states > 10_000


@pytest.mark.parametrize(
    ("rules", "wrong"),
    [
        (Rules(0, waits_for_certain_death=False), "it lives twice"),
        (Rules(1, again_goes_first=False), "calls of one caller start out of order"),
        (Rules(1, keeps_answered=False), "a call that was answered is not at rest"),
        (Rules(1, fences_the_dead=False), "an answer of a life that is over is taken"),
    ],
)
def test_a_broken_rule_is_found(rules: Rules, wrong: str) -> None:
    assert search(rules)[0] == wrong
