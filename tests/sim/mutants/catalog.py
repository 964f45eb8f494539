"""The catalogue of mutants: each is listed beside what catches it.

``caught_by`` says where a broken rule is seen: in the first seed of a range that shows it; in a
scenario, by what user code sees or by a failing check; or in a test that must raise.  What only
messages can show (what must, or must not, be sent or run) is an expectation, in words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from msgspec import Struct

Mutant: TypeAlias = Callable[[pytest.MonkeyPatch], None]

FREES = 0.15
"""How often user code frees something, in the seeds that look at that."""

WALKS = 0.3
"""How often user code puts values into values, or reads what is inside, in the seeds for that."""

EARLY = range(60)
"""Seeds that most broken rules do not survive."""


class Expectation(Struct, frozen=True):
    """What a transcript must show, in words, and by these parts of lines in this order."""

    words: str
    lines: tuple[str, ...]

    def holds(self, transcript: str) -> bool:
        """Whether each part is there, after the one before it."""
        at = 0
        for line in self.lines:
            found = transcript.find(line, at)
            if found < 0:
                return False
            at = found + len(line)
        return True


class Catch(Struct, frozen=True):
    """A mutant, and one place where it is seen."""

    mutant: Mutant
    seeds: range | None = None
    frees: float = 0.0
    walks: float = 0.0
    scenario: str = ""
    expects: Expectation | None = None
    test: Callable[[], None] | None = None
    raises: type[BaseException] = AssertionError

    @property
    def name(self) -> str:
        """The mutant's name."""
        return self.mutant.__name__

    @property
    def where(self) -> str:
        """Where it is seen, as ``docs/mutants.md`` says it."""
        if self.test is not None:
            return f"`{self.test.__name__}`"
        if self.seeds is None:
            return f"`{self.scenario}.txt`" + (
                f": {self.expects.words}" if self.expects else ""
            )
        frees = " with frees" if self.frees else ""
        walks = " with walks" if self.walks else ""
        return f"seeds {self.seeds.start}-{self.seeds.stop - 1}{frees}{walks}"


CATALOGUE: list[Catch] = []


def caught_by(**where: Any) -> Callable[[Mutant], Mutant]:
    """List the mutant below with where it is seen; the fields are those of ``Catch``."""

    def listed(mutant: Mutant) -> Mutant:
        CATALOGUE.append(Catch(mutant, **where))
        return mutant

    return listed


def expects(words: str, *lines: str) -> Expectation:
    """Say what a transcript must show."""
    return Expectation(words, lines)


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing instead."""
