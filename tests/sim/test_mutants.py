"""Mutants: one rule of the protocol is broken at a time, and the simulator must see it.

``mutants/`` has them by subject, each with what catches it; ``telling.py`` says what counts.  If
a change of the workload moves the seed that catches one, look for another: ``first_catch`` says
which.  Without a mutant all that is named here must be clean, or a catch would prove nothing.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sim.mutants import (  # noqa: F401  they list their mutants
    actors,
    backlog,
    borrowing,
    deaths,
    leases,
    lineage,
    objects,
    tasks,
)
from tests.sim.mutants.catalog import CATALOGUE, Catch, Expectation, Mutant
from tests.sim.telling import first_catch, honest, tell
from zfut.core.owner.ledger import Ledger
from zfut.core.owner.tasks import Tasks
from zfut.sim import run
from zfut.sim.arena import Violation

PAGE = (Path(__file__).parents[2] / "docs" / "mutants.md").read_text()
MUTANTS = {catch.name: catch.mutant for catch in CATALOGUE}
IN_SEEDS = [catch for catch in CATALOGUE if catch.seeds is not None]
IN_SCENARIOS = [catch for catch in CATALOGUE if catch.scenario]
IN_TESTS = [catch for catch in CATALOGUE if catch.test is not None]


def name_of(thing: Any) -> str:
    return str(getattr(thing, "name", thing))


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Catch], None]:
    """Break the rule of a catch until the test ends."""
    monkeypatch.setattr(run, "describe", honest)
    return lambda catch: catch.mutant(monkeypatch)


@pytest.mark.parametrize("catch", IN_SEEDS, ids=name_of)
def test_seeds_catch(catch: Catch, broken: Callable[[Catch], None]) -> None:
    assert catch.seeds is not None
    broken(catch)
    seed, _ = first_catch(catch.seeds, catch.frees, catch.walks)
    assert seed >= 0, f"no seed of {catch.seeds} sees that {catch.name}"


@pytest.mark.parametrize("catch", IN_SCENARIOS, ids=name_of)
def test_a_scenario_catches(catch: Catch, broken: Callable[[Catch], None]) -> None:
    right = tell(catch.scenario)
    assert not right.broken
    assert not right.refused
    broken(catch)
    wrong = tell(catch.scenario)
    if catch.expects is None:
        assert wrong.shows(right)
    else:
        assert catch.expects.holds(right.transcript), "it is not so without the mutant either"
        assert not catch.expects.holds(wrong.transcript), catch.expects.words


@pytest.mark.parametrize("catch", IN_TESTS, ids=name_of)
def test_a_test_catches(catch: Catch, broken: Callable[[Catch], None]) -> None:
    assert catch.test is not None
    broken(catch)
    with pytest.raises(catch.raises):
        catch.test()


# ------------------------------------------------------------------ what a catch is worth

RANGES = dict.fromkeys((catch.seeds, catch.frees, catch.walks) for catch in IN_SEEDS)


@pytest.mark.parametrize(("seeds", "frees", "walks"), RANGES, ids=str)
def test_without_a_mutant_the_seeds_see_nothing(
    seeds: range, frees: float, walks: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "describe", honest)
    assert first_catch(seeds, frees, walks) == (-1, "")


@pytest.mark.parametrize("test", {catch.test for catch in IN_TESTS}, ids=lambda f: f.__name__)
def test_without_a_mutant_the_tests_pass(test: Callable[[], None]) -> None:
    test()


class Careful(pytest.MonkeyPatch):
    """Patches nothing: looks whether a mutant can be called as what it stands in for."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_at = 0

    def setattr(self, target: Any, name: str, value: Any = None, raising: bool = True) -> None:  # type: ignore[override]  # noqa: FBT001, FBT002
        del raising
        mutant = getattr(value, "__func__", value)
        required = inspect.signature(getattr(target, name))
        for optional in (True, False):
            args, named = arguments_of(required, optional=optional)
            inspect.signature(mutant).bind(*args, **named)
        self.looked_at += 1


def arguments_of(
    signature: inspect.Signature, *, optional: bool
) -> tuple[list[str], dict[str, str]]:
    """Return names in place of arguments, as a caller gives them."""
    wanted = [
        one for one in signature.parameters.values() if optional or one.default is one.empty
    ]
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return (
        [one.name for one in wanted if one.kind in by_place],
        {one.name: one.name for one in wanted if one.kind is inspect.Parameter.KEYWORD_ONLY},
    )


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: mutant.__name__)
def test_a_mutant_takes_what_the_method_takes(mutant: Mutant) -> None:
    careful = Careful()
    mutant(careful)
    assert careful.looked_at


def test_a_mutant_with_an_old_signature_is_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'force'"):
        Careful().setattr(Tasks, "cancel", lambda self, task: None)  # noqa: ARG005


def test_a_mutant_that_cannot_run_catches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "describe", honest)
    monkeypatch.setattr(Ledger, "drop", lambda _: None)
    with pytest.raises(TypeError):
        first_catch(range(5))
    with pytest.raises(TypeError):
        tell("free_pending")


def test_a_machines_assertion_counts_and_one_of_the_simulator_does_not() -> None:
    def violated() -> None:
        raise Violation("a rule")

    def asserted() -> None:
        raise AssertionError

    assert honest(raised_by(violated)) == "Violation: a rule"
    with pytest.raises(AssertionError):
        honest(raised_by(asserted))


def raised_by(act: Callable[[], None]) -> Exception:
    try:
        act()
    except Exception as error:  # noqa: BLE001  it is the result
        return error
    raise AssertionError("it raised nothing")


def test_an_expectation_looks_at_the_order() -> None:
    text = "w1 runs t\nw1 gets x\nw1 runs t\n"
    assert Expectation("twice", ("runs t", "runs t")).holds(text)
    assert not Expectation("thrice", ("runs t", "runs t", "runs t")).holds(text)
    assert not Expectation("after", ("gets x", "gets x")).holds(text)


# ------------------------------------------------------------------ the page about them


@pytest.mark.parametrize("name", MUTANTS)
def test_the_page_says_what_catches_it(name: str) -> None:
    wheres = "; ".join(catch.where for catch in CATALOGUE if catch.name == name)
    assert f"| `{name}` | {wheres} |" in PAGE


def test_the_page_counts_them_and_names_no_other() -> None:
    assert f"{len(MUTANTS)} mutants" in PAGE
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(MUTANTS)
