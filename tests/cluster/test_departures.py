"""A program leaves, or is killed, while an actor of another program holds its references."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zfut
from tests.cluster.leftovers import until
from tests.cluster.programs import Program
from zfut.errors import OwnerDiedError

pytestmark = pytest.mark.cluster


def is_lost(ref: Any) -> bool:
    try:
        zfut.get(ref, timeout=20)
    except OwnerDiedError:
        return True
    return False


@pytest.mark.parametrize("end", ["in peace", "killed"])
@pytest.mark.usefixtures("session")
def test_an_actor_outlives_a_program_whose_references_it_holds(
    base: Path, run: Callable[[str], Program], end: str
) -> None:
    @zfut.remote
    class Keeper:
        def keep(self, refs: list[Any]) -> None:
            self.refs = refs

        def look(self, index: int) -> Any:
            return zfut.get(self.refs[index])

    keeper = Keeper.options(name="keeper").remote()
    session = next(base.iterdir()).name
    program = run(f"""
    zfut.init(address="{session}")
    keeper = zfut.get_actor("keeper")
    zfut.get(keeper.keep.remote([zfut.put("small"), zfut.put("unread")]))
    say("kept")
    hear()
    """)
    assert program.line() == "kept"
    assert zfut.get(keeper.look.remote(0), timeout=20) == "small"
    if end == "killed":
        program.kill(signal.SIGKILL)
    else:
        program.tell()
    assert program.wait() == (0 if end == "in peace" else -signal.SIGKILL)
    until(lambda: is_lost(keeper.look.remote(1)), "the actor is told of what it had not read")
    assert zfut.get(keeper.look.remote(0), timeout=20) == "small", "what it has read it keeps"
    zfut.get(keeper.keep.remote([zfut.put("ours")]), timeout=20)
    assert zfut.get(keeper.look.remote(0), timeout=20) == "ours"
