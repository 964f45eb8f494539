"""The table of edge cases: every number once, and everything that it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "edge_cases.md"
ROWS = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
NUMBERS = range(1, 161)
MARKS = ("**several nodes**", "**not there yet**")


@cache
def functions(file: Path) -> tuple[str, ...]:
    """Return the functions of a file's top level."""
    tree = ast.parse(file.read_text())
    return tuple(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def exists(named: str) -> bool:
    """Whether a scenario, a test or a mutant of this name is there."""
    if named.endswith(".txt"):
        return (TESTS / "scenarios" / named).is_file()
    path, _, function = named.partition("::")
    file = TESTS / path
    is_test = function.startswith("test_") or path.startswith("sim/mutants/")
    return is_test and file.is_file() and function in functions(file)


def test_every_number_is_there_once() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(NUMBERS)


@pytest.mark.parametrize(("number", "what", "shown"), ROWS, ids=[row[0] for row in ROWS])
def test_what_is_named_exists(number: str, what: str, shown: str) -> None:
    named = re.findall(r"`([^`]+)`", shown)
    marks = [mark for mark in MARKS if mark in shown]
    assert named or marks, f"nothing shows {number}: {what}"
    assert shown == ", ".join([*(f"`{name}`" for name in named), *marks])
    assert what.endswith(".")
    for name in named:
        assert exists(name), name


@pytest.mark.parametrize(
    ("named", "there"),
    [
        ("lease_reuse.txt", True),
        ("no_such_scenario.txt", False),
        ("test_edge_cases.py::test_every_number_is_there_once", True),
        ("test_edge_cases.py::exists", False),
        ("test_edge_cases.py::test_that_is_not_there", False),
        ("sim/mutants/borrowing.py::drop_counts_twice", True),
        ("sim/mutants/borrowing.py::no_such_mutant", False),
        ("no/such/file.py::test_x", False),
    ],
)
def test_a_name_that_leads_nowhere_is_seen(named: str, there: bool) -> None:  # noqa: FBT001
    assert exists(named) is there
