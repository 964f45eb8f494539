"""Questions that nobody answers in time leave nothing behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import zfut
from tests.cluster.leftovers import until
from tests.cluster.programs import Processes
from zfut.core.owner.why import Question
from zfut.errors import GetTimeoutError
from zfut.explain import ask, inventory
from zfut.session import current
from zfut.wire import messages as m

pytestmark = pytest.mark.cluster


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Keep a process from doing anything meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it was killed meanwhile
            os.kill(pid, signal.SIGCONT)


def asked() -> tuple[list[int], list[int]]:
    """Return the questions that this process keeps: in its loop, and in its tables."""
    session: Any = current()
    session.loop.turn()
    return list(session.loop.calls), list(session.owner._asked)  # noqa: SLF001


def test_a_node_that_does_not_answer_in_time(base: Path) -> None:
    assert asked() == ([], [])
    with stopped(Processes(base).manager):
        for _ in range(3):
            with pytest.raises(GetTimeoutError, match="node manager did not answer"):
                current().ask(lambda request: m.AskNode(request, "status"), 0.01)
        assert asked() == ([], [])
    assert len(zfut.nodes()) == 1, "late answers go nowhere"
    assert asked() == ([], [])


@pytest.mark.parametrize("dead", [False, True])
def test_a_process_that_does_not_answer_in_time(dead: bool) -> None:  # noqa: FBT001
    workers = zfut.nodes()[0]["workers"]
    worker = next(one for one in workers if not one["actor"])
    uid = bytes.fromhex(worker["uid"])
    question = Question(uid, "task", b"")
    with stopped(worker["pid"]):
        for _ in range(3):
            assert "did not answer" in ask(current(), question, 0.01).text
        assert asked() == ([], [])
        if dead:
            os.kill(worker["pid"], signal.SIGKILL)
            assert inventory(current(), uid) is None
            assert asked() == ([], [])
    if dead:
        until(lambda: uid.hex() not in uids(), "another is in its place")
    else:
        until(lambda: "did not" not in ask(current(), question).text, "it answers again")
    assert asked() == ([], [])


def uids() -> list[str]:
    """Return the names of the workers."""
    return [worker["uid"] for worker in zfut.nodes()[0]["workers"]]


def test_a_name_that_was_asked_for_in_vain_is_free_in_the_end(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @zfut.remote
    class Named:
        def me(self) -> int:
            return 1

    session = type(current())
    patient = session.ask

    def impatient(self: Any, make: Any, timeout_s: float = 0.01) -> Any:
        return patient(self, make, timeout_s)

    with monkeypatch.context() as patch, stopped(Processes(base).manager):
        patch.setattr(session, "ask", impatient)
        with pytest.raises(GetTimeoutError, match="node manager did not answer"):
            Named.options(name="mine").remote()
        assert asked()[0] == []
    until(lambda: asked() == ([], []), "the answer has come")
    until(lambda: not zfut.nodes()[0]["names"], "the name is free")
    again = Named.options(name="mine").remote()
    assert zfut.get(again.me.remote(), timeout=20) == 1
