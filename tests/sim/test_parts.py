"""Seeds in which every message names one object, and every step lets go of one."""

from __future__ import annotations

import pytest

from zfut.core import effects
from zfut.core.owner import ledger
from zfut.sim.run import run_seed
from zfut.wire import messages as m

SEEDS = 60


def test_seeds_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "ITEMS_AT_ONCE", 1)
    monkeypatch.setattr(ledger, "ITEMS_AT_ONCE", 1)
    released = 0
    for seed in range(SEEDS):
        outcome = run_seed(seed)
        assert not outcome.violation, f"seed {seed}: {outcome.violation}"
        for _, _, what, kind in outcome.cluster.trace:
            message = getattr(what, "message", None)
            if kind == "effect" and isinstance(message, m.ReleaseBorrows):
                released += 1
                assert len(message.items) == 1
    assert released > SEEDS
