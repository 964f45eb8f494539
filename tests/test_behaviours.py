"""The table of behaviours: every number that it should have, and tests that exist."""

from __future__ import annotations

import re

import pytest

from tests.test_edge_cases import TESTS, exists

PAGE = TESTS.parent / "docs" / "behaviours.md"
ROWS = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
NUMBERS = [13, 17, *range(24, 30), 33, 36, 43, 47, 50, *range(54, 58), 61, 62, 68]
MARK = "**several nodes**"


def test_every_number_is_there_once() -> None:
    assert [int(number) for number, _, _ in ROWS] == NUMBERS


@pytest.mark.parametrize(("number", "what", "shown"), ROWS, ids=[row[0] for row in ROWS])
def test_the_tests_that_are_named_exist(number: str, what: str, shown: str) -> None:
    named = re.findall(r"`([^`]+)`", shown)
    assert named, f"nothing shows {number}: {what}"
    marks = [MARK] if MARK in shown else []
    assert shown == ", ".join([*(f"`{name}`" for name in named), *marks])
    assert what.endswith(".")
    for name in named:
        assert "::test_" in name, name
        assert exists(name), name
