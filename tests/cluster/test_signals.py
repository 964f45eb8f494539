"""Ctrl-C: it interrupts the wait and nothing else, at whatever moment it comes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import zfut
from tests.cluster.leftovers import until
from tests.cluster.programs import Processes, Program

pytestmark = pytest.mark.cluster

Run = Callable[[str], Program]

WAITS = {
    "get": "zfut.get(never)",
    "get of many": "zfut.get([zfut.put(1), never])",
    "get with a timeout": "zfut.get(never, timeout=100)",
    "wait": "zfut.wait([never])",
    "as_completed": "list(zfut.as_completed([never]))",
    "future": "never.future().result()",
    "await": "asyncio.run(wait_for(never))",
    "get behind another thread": "behind_another_thread()",
}

WAITING = """
    import asyncio
    zfut.init(num_cpus=2)

    @zfut.remote
    class Actor:
        async def never(self):
            await asyncio.Event().wait()
        async def add(self, n):
            return n + 1

    @zfut.remote
    def add(n):
        return n + 1

    async def wait_for(ref):
        await ref

    def behind_another_thread():
        other = actor.never.remote()
        threading.Thread(target=lambda: zfut.get(other), daemon=True).start()
        while not zfut.session.current().loop.driving:
            pass
        zfut.get(never)

    actor = Actor.remote()
    never = actor.never.remote()
    zfut.get(actor.add.remote(0))
    for _ in range(3):
        try:
            say("waits")
            WAIT
            say("went on")
        except KeyboardInterrupt:
            say("interrupted", zfut.is_initialized())
        say(zfut.get([actor.add.remote(1), add.remote(2)], timeout=20))
    zfut.shutdown()
    say("over")
"""


@pytest.mark.parametrize("how", WAITS)
def test_an_interrupt_ends_the_wait_and_the_session_goes_on(run: Run, how: str) -> None:
    program = run(WAITING.replace("WAIT\n", WAITS[how] + "\n"))
    for _ in range(3):
        assert program.line() == "waits"
        program.kill(signal.SIGINT)
        assert program.line() == "interrupted True"
        assert program.line() == "[2, 3]"
    assert program.line() == "over"
    assert program.wait() == 0


def test_an_interrupt_nobody_catches_ends_the_program_and_its_session(
    run: Run, base: Path
) -> None:
    program = run("""
        zfut.init(num_cpus=1)

        @zfut.remote
        def never():
            threading.Event().wait()

        ref = never.remote()
        say("waits")
        zfut.get(ref)
    """)
    assert program.line() == "waits"
    processes = Processes(base)
    program.kill(signal.SIGINT)
    assert program.wait() == -signal.SIGINT
    assert "KeyboardInterrupt" in program.errors()
    assert processes.all_ended()


RANDOM_MOMENTS = """
    import gc, random
    import numpy as np
    zfut.init(num_cpus=2, object_store_memory=256 * 2**20)
    session = zfut.session.current()
    rng = random.Random(SEED)

    @zfut.remote
    def add(a, b=1, *more):
        return a + b

    @zfut.remote
    class Actor:
        def add(self, a, b=1):
            return a + b

    actor = Actor.remote()
    armed = False
    over = False

    def handler(*_):
        global armed
        if armed:
            armed = False
            raise KeyboardInterrupt

    def interrupt():
        while not over:
            time.sleep(rng.uniform(0, 0.003))
            os.kill(os.getpid(), signal.SIGINT)

    def work():
        small = zfut.put(1)
        large = zfut.put(np.zeros(40_000))
        refs = [add.remote(n, small) for n in range(20)]
        refs += [actor.add.remote(n, small) for n in range(20)]
        nested = add.remote(refs[0], refs[1], [refs[2]], large, np.zeros(40_000))
        zfut.wait(refs, num_returns=3)
        assert zfut.get(nested) == 3
        assert zfut.get(refs) == [n + 1 for n in range(20)] * 2
        assert zfut.get(large).shape == (40_000,)

    signal.signal(signal.SIGINT, handler)
    threading.Thread(target=interrupt, daemon=True).start()
    hits = rounds = 0
    until = time.monotonic() + 60
    while hits < 300 and time.monotonic() < until:
        try:
            armed = True
            work()
            armed = False
        except KeyboardInterrupt:
            hits += 1
        rounds += 1
    over = True
    say(hits)
    gc.collect()
    work()
    zfut.get(actor.add.remote(1))
    del actor
    gc.collect()
    until = time.monotonic() + 20
    def consistent():
        with session.loop.lock:
            session.loop.handle_all()
            owner = session.owner
            owner.check()
            waits = len(owner.ledger.objects.waits)
            return (len(owner.rows), waits, len(owner.calls.actors.actors),
                    len(session.loop.calls), len(owner.ledger.memory.written_for))
    while any(consistent()) and time.monotonic() < until:
        time.sleep(0.01)
    say(consistent())
    while zfut.available_resources() != zfut.cluster_resources() and time.monotonic() < until:
        pass
    say(zfut.available_resources() == zfut.cluster_resources())
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_interrupts_at_random_moments_leave_the_tables_consistent(run: Run, seed: int) -> None:
    program = run(RANDOM_MOMENTS.replace("SEED", str(seed)))
    assert program.line(100) == "300"
    assert program.line() == "(0, 0, 0, 0, 0)"
    assert program.line() == "True"
    assert program.wait() == 0


def test_an_interrupt_while_a_session_starts_leaves_nothing(run: Run, base: Path) -> None:
    program = run("""
        import random
        rng = random.Random(3)

        def interrupt(delay):
            time.sleep(delay)
            os.kill(os.getpid(), signal.SIGINT)

        zfut.init(num_cpus=1)
        zfut.shutdown()
        interrupted = 0
        for n in range(16):
            thread = threading.Thread(target=interrupt, args=(n * 0.012,))
            try:
                thread.start()
                zfut.init(num_cpus=1)
                thread.join()
            except KeyboardInterrupt:
                interrupted += 1
            thread.join()
            zfut.shutdown()
        say(interrupted)
        zfut.init(num_cpus=1)
        say(zfut.get(zfut.put(1)))
        hear()
    """)
    assert program.line(60) == "16"
    assert program.line() == "1"
    until(lambda: len(list(base.iterdir())) == 1, "only the last session is left")
    program.tell()
    assert program.wait() == 0


def test_sessions_leave_the_programs_signals_alone(base: Path) -> None:
    before = [signal.getsignal(number) for number in signal.valid_signals()]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with zfut.init(num_cpus=1):
        assert zfut.get(zfut.put(1)) == 1
        processes = Processes(base)
        pids = [processes.root, processes.manager, *processes.workers]
        assert all(os.getsid(pid) != os.getsid(0) for pid in pids)
    assert [signal.getsignal(number) for number in signal.valid_signals()] == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
