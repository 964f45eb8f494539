"""How long state machines run, and a proof that one sees a broken rule."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

T = TypeVar("T")

FACTOR = int(os.environ.get("ZFUT_HYPOTHESIS_EXAMPLES", "0"))
"""So many examples instead of each machine's own number."""


def pick(items: Sequence[T], at: int) -> T:
    """Return one of ``items``."""
    return items[at % len(items)]


def limits(examples: int, steps: int) -> settings:
    """Return settings that always try the same ``examples`` histories of ``steps`` steps."""
    return settings(
        max_examples=FACTOR or examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        phases=tuple(Phase) if FACTOR else (Phase.generate,),  # a short history takes minutes
        report_multiple_bugs=False,
    )


def assert_it_sees(machine: type[RuleBasedStateMachine], limit: settings) -> None:
    """Fail unless ``machine`` fails: a rule of the core is broken."""
    only_find = settings(limit, phases=(Phase.generate,), report_multiple_bugs=False)
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(machine, settings=only_find)
