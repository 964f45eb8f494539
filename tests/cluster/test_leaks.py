"""What sessions, tasks, actors and mistakes leave behind: nothing."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zfut
from tests.cluster.leftovers import Footprint, assert_unchanged, descendants, until
from tests.cluster.programs import Processes
from zfut.errors import GetTimeoutError, SessionError, UsageError

pytestmark = pytest.mark.cluster

CYCLES = 25


@zfut.remote
class Keeper:
    def __init__(self) -> None:
        self.kept: Any = None

    def keep(self, thing: Any) -> int:
        self.kept = thing
        return os.getpid()

    async def later(self, thing: Any) -> Any:
        return thing

    def rows(self) -> int:
        """Return how many objects this process knows, but for this call's."""
        from zfut.session import current

        return len(current().owner.rows)


def total(values: Any) -> float:
    return float(np.sum(values))


def settled(session: zfut.Session) -> dict[str, int]:
    """Return what the program's tables hold once everything was handled."""
    gc.collect()
    with session.loop.lock:
        session.loop.handle_all()
        owner = session.owner
        owner.check()
        ledger = owner.ledger
        tables = {
            "rows": len(owner.rows),
            "waits": len(ledger.objects.waits),
            "covered": len(ledger.covers),
            "actors": len(owner.calls.actors.actors),
            "actors by worker": len(owner.calls.actors.by_worker),
            "calls": len(session.loop.calls),
            "written": len(ledger.memory.written_for),
            "in flight": sum(len(x.in_flight) for x in owner.tasks.submission.leases.values()),
            "queued": sum(len(key.queue) for key in owner.tasks.submission.keys.values()),
        }
    return {name: count for name, count in tables.items() if count}


def nothing_left(session: zfut.Session) -> None:
    until(lambda: not settled(session), f"the tables are empty: {settled(session)}")


# ------------------------------------------------------------------ sessions


def test_many_sessions_leave_nothing(base: Path) -> None:
    function = zfut.remote(total)

    def cycle() -> weakref.ref[zfut.Session]:
        session = zfut.init(num_cpus=2)
        keeper = Keeper.remote()
        large = zfut.put(np.ones(100_000))
        refs = [function.remote(large), keeper.keep.remote([large]), keeper.later.remote(1)]
        assert zfut.get(refs[0]) == 100_000
        assert zfut.get(refs)[2] == 1
        array = zfut.get(large)
        zfut.shutdown()
        assert array[-1] == 1.0
        return weakref.ref(session)

    cycle()
    gc.collect()
    before = Footprint.take(base)
    sessions = [cycle() for _ in range(CYCLES)]
    gc.collect()
    assert_unchanged(before, base)
    assert [session() for session in sessions[:-1]] == [None] * (CYCLES - 1)


def test_a_reference_that_outlives_its_session_holds_no_process_or_file(base: Path) -> None:
    before = Footprint.take(base)
    zfut.init(num_cpus=1)
    kept = [zfut.put(1), zfut.put(bytes(1_000_000)), Keeper.remote()]
    zfut.shutdown()
    assert_unchanged(before, base)
    del kept


@pytest.mark.parametrize(
    "options",
    [
        {"num_cpus": -1},
        {"num_cpus": "many"},
        {"resources": {"CPU": 1}},
        {"inline_max_bytez": 1},
        {"object_store_memory": -5},
        {"address": "no such session"},
    ],
)
def test_a_session_that_could_not_be_made_leaves_nothing(
    base: Path, options: dict[str, Any]
) -> None:
    before = Footprint.take(base)
    with pytest.raises((UsageError, ValueError)):
        zfut.init(**options)
    assert not zfut.is_initialized()
    assert_unchanged(before, base)


def test_a_directory_that_is_too_deep_is_refused_and_leaves_nothing(
    base: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    deep = base / ("d" * 80)
    monkeypatch.setenv("ZFUT_SESSION_DIR", str(deep))
    before = Footprint.take(base)
    with pytest.raises(SessionError, match="ZFUT_SESSION_DIR"):
        zfut.init(num_cpus=1)
    assert not list(deep.iterdir())
    deep.rmdir()
    assert_unchanged(before, base)
    assert "Traceback" not in capfd.readouterr().err


def test_a_directory_that_cannot_be_made_is_refused(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (base / "file").write_text("not a directory")
    monkeypatch.setenv("ZFUT_SESSION_DIR", str(base / "file" / "below"))
    with pytest.raises(SessionError, match="ZFUT_SESSION_DIR"):
        zfut.init(num_cpus=1)
    (base / "file").unlink()


# ------------------------------------------------------------------ inside a session


def test_tasks_and_values_leave_no_rows_and_no_memory(session: zfut.Session) -> None:
    function = zfut.remote(total)

    @zfut.remote
    def nested(refs: list[Any]) -> list[Any]:
        return [zfut.put(zfut.get(refs[0])), *refs]

    @zfut.remote
    def fail(value: object) -> None:
        raise ValueError(value)

    def work() -> None:
        large = zfut.put(np.ones(50_000))
        refs = [function.remote(large) for _ in range(50)]
        refs += [function.remote(np.ones(50_000)) for _ in range(5)]
        inner = nested.remote([large, refs[0]])
        failed = [fail.remote(large), function.remote(fail.remote(1))]
        zfut.wait(refs, num_returns=10)
        assert sum(zfut.get(refs)) == 55 * 50_000
        assert zfut.get(zfut.get(inner)[0]).sum() == 50_000
        assert zfut.get(zfut.get(inner)[1]).sum() == 50_000
        for ref in failed:
            with pytest.raises(ValueError):  # noqa: PT011
                zfut.get(ref)

    for _ in range(3):
        work()
    nothing_left(session)
    until(lambda: zfut.nodes()[0]["memory"]["claimed"] == 0, "no memory is claimed")


def test_actors_leave_no_rows_no_names_and_no_processes(
    session: zfut.Session, base: Path
) -> None:
    processes = Processes(base)
    until(lambda: len(descendants(processes.root)) >= 3, "the first workers are there")

    def work() -> None:
        keepers = [Keeper.options(name=f"keeper{n}").remote() for n in range(10)]
        value = zfut.put(np.ones(50_000))
        zfut.get([keeper.keep.remote([value, keepers[0]]) for keeper in keepers[1:]])
        zfut.get([zfut.get_actor(f"keeper{n}").later.remote(n) for n in range(10)])
        with pytest.raises(ValueError, match="keeper3"):
            Keeper.options(name="keeper3").remote()
        zfut.kill(keepers[5])

    for _ in range(3):
        work()
        nothing_left(session)
        until(lambda: not zfut.nodes()[0]["names"], "every name is free")
        until(
            lambda: not any(worker["actor"] for worker in zfut.nodes()[0]["workers"]),
            "every actor has ended",
        )
    assert len(zfut.nodes()[0]["workers"]) <= 6


def test_a_worker_keeps_nothing_of_calls_that_are_over(session: zfut.Session) -> None:
    keeper: Any = Keeper.remote()
    first = zfut.get(keeper.rows.remote())
    for n in range(20):
        value, large = zfut.put(n), zfut.put(np.ones(50_000))
        zfut.get([keeper.keep.remote([value, large]) for _ in range(5)])
        zfut.get([keeper.later.remote(large), keeper.later.remote([value])])
    zfut.get(keeper.keep.remote(None))
    del value, large
    until(lambda: zfut.get(keeper.rows.remote()) <= first, "its table is as it was")
    keeper = None
    nothing_left(session)


def test_waits_that_time_out_leave_nothing(session: zfut.Session) -> None:
    import asyncio

    @zfut.remote
    class Never:
        async def come(self) -> None:
            await asyncio.Event().wait()

    never = Never.remote()
    refs = [never.come.remote() for _ in range(3)]
    zfut.get(never.__zfut_ready__.remote())
    before = settled(session)
    for timeout in (0, 0.001):
        for _ in range(50):
            with pytest.raises(GetTimeoutError):
                zfut.get(refs, timeout=timeout)
            with pytest.raises(GetTimeoutError):
                zfut.get(refs[0], timeout=timeout)
            assert zfut.wait(refs, timeout=timeout)[0] == []

    async def give_up(ref: Any) -> None:
        for _ in range(20):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ref, 0.001)

    asyncio.run(give_up(refs[0]))
    assert settled(session) == before
    zfut.kill(never)
    del never, refs
    nothing_left(session)


def test_refused_calls_leave_nothing(session: zfut.Session) -> None:
    import threading

    function, keeper = zfut.remote(total), Keeper.remote()
    zfut.get(keeper.later.remote(1))
    before = settled(session)
    value, large = zfut.put(1), zfut.put(np.ones(50_000))
    for _ in range(20):
        for call in (function.remote, keeper.keep.remote):
            with pytest.raises(TypeError):
                call(value, large, 3, 4)
            with pytest.raises(TypeError):
                call([value, large, threading.Lock()])
        with pytest.raises(TypeError):
            zfut.put([value, np.ones(50_000), threading.Lock()])
        with pytest.raises(AttributeError):
            keeper.no_such_method  # noqa: B018
    del value, large
    until(lambda: settled(session) == before, "the tables are as they were")
