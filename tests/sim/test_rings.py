"""Programs that wait for themselves are told apart from machines that do."""

from __future__ import annotations

import pytest

from zfut.sim.rings import a_program_waits_for_itself
from zfut.sim.run import run_seed

RINGS = [
    pytest.param(20_018_169, id="beyond the bound it submits what waits for it"),
    pytest.param(21_025_056, id="it calls an actor, found by name, that is made of its result"),
]


@pytest.mark.parametrize("seed", RINGS)
def test_a_program_that_waits_for_its_own_result_is_no_fault(seed: int) -> None:
    outcome = run_seed(seed, wide=True)
    assert not outcome.violation, outcome.violation
    assert a_program_waits_for_itself(outcome.cluster)


def test_other_programs_do_not() -> None:
    assert not any(
        a_program_waits_for_itself(run_seed(s, wide=True).cluster) for s in range(30)
    )
