"""Actors with coroutines: one thread, many calls in flight, and what may wait where."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zfut
from tests.cluster.leftovers import ended, until
from zfut.core.owner.why import Question
from zfut.errors import ActorDiedError, TaskCancelledError
from zfut.explain import ask
from zfut.ids import TASK_BYTES
from zfut.session import current

pytestmark = pytest.mark.cluster


def write(log: Path, text: str) -> None:
    log.write_text(text)


@zfut.remote
class Worker:
    """Waits where it is told to."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.began: list[object] = []
        self.inside = 0
        self.most = 0

    async def enter(self, value: object = None) -> object:
        self.began.append(value)
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.open.wait()
        finally:
            self.inside -= 1
        return value

    async def turn(self, _: object) -> tuple[int, int]:
        self.inside += 1
        seen = self.inside
        for _ in range(3):
            await asyncio.sleep(0)
        self.inside -= 1
        return seen, self.inside

    async def lift(self) -> None:
        self.open.set()

    async def thread(self) -> int:
        return threading.get_ident()

    def plain_thread(self) -> int:
        return threading.get_ident()

    def hold_thread(self, place: Path) -> None:
        until((place / "go").exists, "it may go on")

    def plain_lift(self) -> None:
        self.open.set()

    async def state(self) -> tuple[list[object], int, int]:
        return self.began, self.inside, self.most

    async def value_of(self, ref: list[Any]) -> object:
        return await ref[0]

    def blocking_get(self, ref: list[Any]) -> object:
        return zfut.get(ref[0], timeout=20)

    async def get_then_enter(self, ref: list[Any]) -> object:
        value = zfut.get(ref[0], timeout=20)
        return await self.enter(value)

    async def get_in_a_thread(self, ref: list[Any]) -> object:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, lambda: zfut.get(ref[0], timeout=20))

    async def leave(self) -> None:
        zfut.exit_actor()

    def plain_leave(self) -> None:
        zfut.exit_actor()

    def plain_write(self, log: Path) -> None:
        write(log, "ran")

    def plain_ref(self) -> zfut.ObjectRef[list[int]]:
        return zfut.put([1])

    async def leave_in_a_task_of_its_own(self, log: Path) -> None:
        async def inner() -> None:
            zfut.exit_actor()

        await asyncio.create_task(inner())
        write(log, "went on")

    async def leave_unawaited(self) -> None:
        async def inner() -> None:
            zfut.exit_actor()

        self.kept = asyncio.create_task(inner())
        await self.open.wait()

    async def leave_swallowing(self, log: Path) -> None:
        try:
            zfut.exit_actor()
        except (SystemExit, Exception, asyncio.CancelledError):  # noqa: BLE001
            write(log, "swallowed")
        write(log, "went on")

    async def exit_process(self) -> None:
        raise SystemExit(4)

    async def fail(self) -> None:
        message = "async"
        raise KeyError(message)

    async def cancelled(self) -> None:
        raise asyncio.CancelledError

    def pid(self) -> int:
        import os

        return os.getpid()


def test_many_calls_are_in_flight_at_once_and_begin_in_order() -> None:
    worker = Worker.remote()
    refs = [worker.enter.remote(n) for n in range(300)]
    zfut.get(worker.thread.remote())
    began, inside, _ = zfut.get(worker.state.remote())
    assert inside == 300
    assert began == list(range(300))
    zfut.get(worker.lift.remote())
    assert zfut.get(refs) == list(range(300))


def test_a_call_overtakes_one_that_waits() -> None:
    worker = Worker.remote()
    waits = worker.enter.remote("waits")
    overtakes = worker.thread.remote()
    ready, rest = zfut.wait([waits, overtakes], timeout=20)
    assert (ready, rest) == ([overtakes], [waits])
    zfut.get(worker.plain_lift.remote())
    assert zfut.get(waits) == "waits"


def test_one_call_at_a_time_if_max_concurrency_is_one() -> None:
    worker = Worker.options(max_concurrency=1).remote()
    seen = zfut.get([worker.turn.remote(n) for n in range(50)])
    assert seen == [(1, 0)] * 50


def test_no_more_calls_at_once_than_max_concurrency() -> None:
    worker = Worker.options(max_concurrency=3).remote()
    refs = [worker.turn.remote(n) for n in range(30)]
    inside = [seen for seen, _ in zfut.get(refs)]
    assert max(inside) == 3


def test_methods_of_both_kinds_run_on_one_thread() -> None:
    worker = Worker.remote()
    threads = [worker.thread.remote(), worker.plain_thread.remote(), worker.thread.remote()]
    assert len(set(zfut.get(threads))) == 1


def test_references_can_be_awaited_inside() -> None:
    @zfut.remote
    def square(n: int) -> int:
        return n * n

    @zfut.remote
    class Sums:
        async def squares(self, count: int) -> int:
            values = await asyncio.gather(*[square.remote(n) for n in range(count)])
            return sum(values)

        async def large(self) -> float:
            ref = zfut.put(np.ones(300_000))
            return float((await ref).sum())

        async def failing(self) -> str:
            @zfut.remote
            def fail() -> None:
                message = "inner"
                raise LookupError(message)

            try:
                await fail.remote()
            except LookupError as error:
                return type(error).__name__
            return "nothing"

    sums = Sums.remote()
    totals = zfut.get([sums.squares.remote(n) for n in range(20)])
    assert totals == [sum(k * k for k in range(n)) for n in range(20)]
    assert zfut.get(sums.large.remote()) == 300_000
    assert "LookupError" in zfut.get(sums.failing.remote())


def test_an_awaited_reference_of_another_owner() -> None:
    gate, worker = Worker.remote(), Worker.remote()
    pending = gate.enter.remote("value")
    waiting = [worker.value_of.remote([pending]) for _ in range(5)]
    assert zfut.wait(waiting, timeout=0)[0] == []
    zfut.get(gate.lift.remote())
    assert zfut.get(waiting, timeout=20) == ["value"] * 5


def test_a_blocking_get_inside_stops_nothing_for_good() -> None:
    gate, worker = Worker.remote(), Worker.remote()
    pending = gate.enter.remote("value")
    blocked = worker.blocking_get.remote([pending])
    after = worker.thread.remote()
    zfut.get(gate.lift.remote())
    assert zfut.get(blocked, timeout=20) == "value"
    assert zfut.get(after, timeout=20)
    assert zfut.get([worker.turn.remote(n) for n in range(10)], timeout=20)


def test_calls_are_served_after_a_coroutine_has_blocked_in_get() -> None:
    gate, worker = Worker.remote(), Worker.remote()
    pending = gate.enter.remote("value")
    refs = [worker.get_then_enter.remote([pending]) for _ in range(3)]
    zfut.get(gate.lift.remote())
    until(lambda: zfut.get(worker.state.remote(), timeout=20)[1] == 3, "all wait inside")
    zfut.get(worker.lift.remote(), timeout=20)
    assert zfut.get(refs, timeout=20) == ["value"] * 3


def test_a_get_in_a_thread_of_the_loops_holds_nothing_up() -> None:
    gate, worker = Worker.remote(), Worker.remote()
    pending = gate.enter.remote("value")
    refs = [worker.get_in_a_thread.remote([pending]) for _ in range(3)]
    for n in range(100):
        assert zfut.get(worker.turn.remote(n), timeout=20)[0] >= 1
    zfut.get(gate.lift.remote())
    assert zfut.get(refs, timeout=20) == ["value"] * 3


def test_the_process_answers_while_a_method_computes(tmp_path: Path) -> None:
    @zfut.remote
    class Owner:
        def make(self) -> list[Any]:
            return [zfut.put("mine")]

        async def compute(self, until_there: Path) -> None:
            (until_there.parent / "computes").touch()
            while not until_there.exists():  # noqa: ASYNC240  it is to block
                pass

    owner = Owner.remote()
    refs = [zfut.get(owner.make.remote())[0] for _ in range(3)]
    busy = owner.compute.remote(tmp_path / "stop")
    until((tmp_path / "computes").exists, "the method computes")
    assert zfut.get(refs, timeout=20) == ["mine"] * 3
    after = owner.make.remote()
    (tmp_path / "stop").touch()
    assert zfut.get(busy, timeout=20) is None
    assert zfut.get(zfut.get(after, timeout=20)[0]) == "mine"


def test_a_coroutine_that_will_not_be_cancelled_holds_up_no_end() -> None:
    @zfut.remote
    class Stubborn:
        async def stay(self) -> None:
            while True:
                try:  # noqa: SIM105  in a loop it reads better
                    await asyncio.sleep(100)
                except asyncio.CancelledError:
                    pass

        async def pid(self) -> int:
            import os

            return os.getpid()

    stubborn = Stubborn.remote()
    pid = zfut.get(stubborn.pid.remote())
    ref = stubborn.stay.remote()
    stubborn.__zfut_terminate__.remote()
    with pytest.raises(ActorDiedError):
        zfut.get(ref, timeout=20)
    assert ended(pid)


def test_two_async_actors_call_each_other() -> None:
    @zfut.remote
    class Peer:
        async def meet(self, other: Any) -> None:
            self.other = other

        async def down(self, n: int) -> int:
            return 0 if n == 0 else 1 + await self.other.down.remote(n - 1)

    one, two = Peer.remote(), Peer.remote()
    zfut.get([one.meet.remote(two), two.meet.remote(one)])
    assert zfut.get(one.down.remote(50), timeout=20) == 50
    zfut.get([one.meet.remote(None), two.meet.remote(None)])


def test_errors_of_coroutines() -> None:
    worker = Worker.remote()
    with pytest.raises(KeyError, match="async") as caught:
        zfut.get(worker.fail.remote())
    assert "Worker.fail()" in str(caught.value)
    with pytest.raises(BaseException, match="CancelledError") as cancelled:
        zfut.get(worker.cancelled.remote())
    assert not isinstance(cancelled.value, KeyboardInterrupt)
    assert zfut.get(worker.thread.remote())


def test_a_call_that_has_not_begun_can_be_cancelled() -> None:
    worker = Worker.options(max_concurrency=1).remote()
    running = worker.enter.remote("running")
    until(lambda: zfut.wait([worker.__zfut_ready__.remote()], timeout=0) or True, "asked")
    queued = worker.enter.remote("queued")
    zfut.cancel(queued)
    with pytest.raises(TaskCancelledError):
        zfut.get(queued, timeout=20)
    zfut.kill(worker)
    with pytest.raises(ActorDiedError):
        zfut.get(running, timeout=20)


@pytest.mark.parametrize("how", ["leave", "leave_unawaited"])
def test_exit_actor_ends_the_calls_in_flight(how: str) -> None:
    worker = Worker.remote()
    pid = zfut.get(worker.pid.remote())
    waits = [worker.enter.remote(n) for n in range(10)]
    last = getattr(worker, how).remote()
    for ref in (*waits, last):
        with pytest.raises(ActorDiedError) as caught:
            zfut.get(ref, timeout=20)
        assert caught.value.reason == "exit_actor"
    assert ended(pid)


@pytest.mark.parametrize("how", ["leave_in_a_task_of_its_own", "leave_swallowing"])
def test_exit_actor_never_goes_on(how: str, tmp_path: Path) -> None:
    worker = Worker.remote()
    pid = zfut.get(worker.pid.remote())
    with pytest.raises(ActorDiedError) as caught:
        zfut.get(getattr(worker, how).remote(tmp_path / "log"), timeout=20)
    assert caught.value.reason == "exit_actor"
    assert ended(pid)
    assert not (tmp_path / "log").exists()


def test_no_call_that_came_with_the_last_one_begins(tmp_path: Path) -> None:
    worker = Worker.remote()
    blocked = worker.hold_thread.remote(tmp_path)
    last = worker.plain_leave.remote()
    after = worker.plain_write.remote(tmp_path / "log")
    (tmp_path / "go").touch()
    assert zfut.get(blocked, timeout=20) is None
    for ref in (last, after):
        with pytest.raises(ActorDiedError):
            zfut.get(ref, timeout=20)
    assert not (tmp_path / "log").exists()


def test_a_reference_that_a_plain_method_returns_stays_a_reference() -> None:
    worker = Worker.remote()
    inner: Any = zfut.get(worker.plain_ref.remote(), timeout=20)
    assert isinstance(inner, zfut.ObjectRef)
    assert zfut.get(inner, timeout=20) == [1]


def test_system_exit_in_a_coroutine_is_the_end_of_the_worker() -> None:
    worker = Worker.remote()
    waits = worker.enter.remote()
    gone = worker.exit_process.remote()
    for ref in (waits, gone):
        with pytest.raises(ActorDiedError, match="code 4") as caught:
            zfut.get(ref, timeout=20)
        assert caught.value.reason == "worker died"


def test_an_async_actor_ends_with_its_last_handle_after_its_calls() -> None:
    worker = Worker.remote()
    pid = zfut.get(worker.pid.remote())
    waits = worker.enter.remote("late")
    worker.lift.remote()
    del worker
    assert zfut.get(waits, timeout=20) == "late"
    assert ended(pid)


def test_an_async_constructor_hook_and_context_managers() -> None:
    @zfut.remote
    class Queue:
        def __init__(self) -> None:
            self.queue: asyncio.Queue[int] = asyncio.Queue()

        async def put(self, value: int) -> None:
            await self.queue.put(value)

        async def take(self) -> int:
            return await self.queue.get()

    queue = Queue.remote()
    takes = [queue.take.remote() for _ in range(100)]
    for n in range(100):
        queue.put.remote(n)
    assert zfut.get(takes, timeout=20) == list(range(100))


def test_one_of_many_callers_dies_and_the_others_go_on() -> None:
    @zfut.remote(max_retries=0)
    def caller(worker: Any, *, die: bool) -> object:
        import os
        import signal

        ref = worker.enter.remote("mine")
        zfut.get(worker.thread.remote())
        if die:
            os.kill(os.getpid(), signal.SIGKILL)
        return zfut.get(ref)

    worker = Worker.remote()
    lives, dies = caller.remote(worker, die=False), caller.remote(worker, die=True)
    with pytest.raises(zfut.errors.WorkerCrashedError):
        zfut.get(dies, timeout=20)
    zfut.get(worker.lift.remote())
    assert zfut.get(lives, timeout=20) == "mine"


@zfut.remote(num_cpus=0, max_concurrency=2)
class Gated:
    def __init__(self) -> None:
        self.began: list[str] = []

    async def enter(self, who: str, gate: Path | None = None) -> str:
        self.began.append(who)
        if gate is not None:
            gate.with_suffix(".begun").touch()
            await asyncio.to_thread(gate.read_bytes)
        return who

    async def seen(self) -> list[str]:
        return self.began


@zfut.remote(num_cpus=0, max_retries=0)
def calls_many(actor: Any, who: str, told: Path, *, die: bool) -> object:
    refs = [actor.enter.remote(who) for _ in range(10)]
    while "is queued in process" not in refs[-1].explain():
        pass
    told.write_bytes(refs[-1].binary())
    told.rename(told.with_suffix(".queued"))
    if die:
        os.kill(os.getpid(), signal.SIGKILL)
    return zfut.get(refs)


def test_the_unstarted_calls_of_a_dead_caller_are_dropped_and_the_others_run(
    tmp_path: Path,
) -> None:
    gates = [tmp_path / "one", tmp_path / "two"]
    for gate in gates:
        os.mkfifo(gate)
    actor = Gated.remote()
    holds = [actor.enter.remote("program", gate) for gate in gates]
    until(lambda: all(gate.with_suffix(".begun").exists() for gate in gates), "both are in")
    lives = [calls_many.remote(actor, who, tmp_path / who, die=False) for who in ("ann", "bob")]
    for who in ("ann", "bob"):
        until((tmp_path / f"{who}.queued").exists, "its calls are queued")
    dies = calls_many.remote(actor, "eve", tmp_path / "eve", die=True)
    with pytest.raises(zfut.errors.WorkerCrashedError):
        zfut.get(dies, timeout=20)
    dropped = (tmp_path / "eve.queued").read_bytes()
    (uid,) = [w["uid"] for w in zfut.nodes()[0]["workers"] if w["actor"]]
    question = Question(bytes.fromhex(uid), "task", dropped[:TASK_BYTES])
    until(lambda: "is queued" not in ask(current(), question).text, "the actor has dropped it")
    for gate in gates:
        gate.write_bytes(b"")
    assert zfut.get(holds, timeout=20) == ["program"] * 2
    assert zfut.get(lives, timeout=20) == [["ann"] * 10, ["bob"] * 10]
    seen = zfut.get(actor.seen.remote(), timeout=20)
    assert sorted(seen) == ["ann"] * 10 + ["bob"] * 10 + ["program"] * 2


def test_await_in_the_programs_own_loop() -> None:
    worker = Worker.remote()

    async def main() -> tuple[object, list[object]]:
        waits = worker.enter.remote("first")
        worker.lift.remote()
        first = await asyncio.wait_for(waits, 20)
        again = await waits
        many = await asyncio.gather(*[worker.enter.remote(n) for n in range(100)])
        with pytest.raises(KeyError):
            await worker.fail.remote()
        return (first, again), many

    assert asyncio.run(main()) == (("first", "first"), list(range(100)))
