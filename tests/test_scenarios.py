"""Runs every file in scenarios/.

When one fails, ``pytest tests/test_scenarios.py --rewrite`` and read the diff. Commit it only
if you know what caused it and it is what you want.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from zfut.sim.script import Script

SCENARIOS = sorted(Path(__file__).parent.glob("scenarios/*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path, request: pytest.FixtureRequest) -> None:
    expected = path.read_text()
    actual = Script().run(expected)
    if request.config.getoption("--rewrite"):
        path.write_text(actual)
    else:
        assert actual == expected


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_ends_with_nothing_left(path: Path) -> None:
    assert path.read_text().endswith("rest\n----\nnothing is left\n")


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 15


def test_a_wrong_expectation_is_seen() -> None:
    text = "cluster cpus=1\n----\nok\n\ndriver put x\n----\nsomething else\n"
    assert Script().run(text) != text


def test_a_scenario_that_asks_for_the_impossible_is_refused() -> None:
    with pytest.raises(ValueError, match="w1 runs nothing that could return"):
        Script().run("cluster cpus=1\n\nw1 return\n")
