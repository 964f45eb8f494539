"""The loop on real sockets, with a machine that only remembers: who handles what, and when."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.actors.test_mailbox import ALICE, BOB, FRAME_MAX, hello
from tests.cluster.leftovers import Footprint, assert_unchanged, new_base, until
from zfut.actors import loop as loop_module
from zfut.actors.loop import DROPS_AT_ONCE, FLUSH_AT, LOOK_EVERY, Loop
from zfut.actors.mailbox import Mailbox
from zfut.core import effects as f
from zfut.core.events import Received, Woken
from zfut.waiting import Pending
from zfut.wire import messages as m
from zfut.wire.codec import decode_to_owner


class Machine:
    """Does what its events are: they are effects. Remembers them, and the threads."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.threads: list[int] = []
        self.wakes: list[int] = []
        self._out: list[f.Effect] = []

    def handle(self, event: Any, now: int) -> None:
        assert now > 0
        self.seen.append(event)
        self.threads.append(threading.get_ident())
        if isinstance(event, f.Send | f.Complete | f.Note):
            self._out.append(event)
        elif isinstance(event, Woken):
            self.wakes.pop(0)
        elif isinstance(event, Received) and isinstance(event.message, m.NodeStops):
            self._out.append(f.Complete(int(event.message.why), "answered"))

    def settle(self, now: int) -> list[f.Effect]:
        assert now > 0
        out, self._out = self._out, []
        return out

    def wake_at(self) -> int | None:
        return self.wakes[0] if self.wakes else None


class Party:
    """A process in miniature."""

    def __init__(self, base: Path, uid: bytes, *, background: bool) -> None:
        self.machine = Machine()
        self.mailbox = Mailbox(str(base), hello(uid), decode_to_owner, FRAME_MAX)
        self.loop = Loop(self.machine, self.mailbox)
        if background:
            self.loop.start_background()

    def call(self, number: int, callback: Callable[[], None] | None = None) -> Pending:
        pending = self.loop.calls[number] = Pending(callback)
        return pending

    def answer(self, number: int) -> f.Send:
        """Return the event that makes this machine answer call ``number`` of Alice's."""
        return f.Send(ALICE, m.NodeStops(str(number)))

    def close(self) -> None:
        self.loop.close("closed by the test")
        self.mailbox.close()


@pytest.fixture
def base() -> Iterator[Path]:
    made = new_base()
    before = Footprint.take(made)
    yield made
    assert_unchanged(before, made)
    made.rmdir()


@pytest.fixture(params=[True, False], ids=["background", "alone"])
def alice(base: Path, request: pytest.FixtureRequest) -> Iterator[Party]:
    party = Party(base, ALICE, background=request.param)
    yield party
    party.close()


@pytest.fixture
def bob(base: Path) -> Iterator[Party]:
    party = Party(base, BOB, background=True)
    yield party
    party.close()


def soon_ns(milliseconds: int = 20_000) -> int:
    import time

    return time.monotonic_ns() + milliseconds * 1_000_000


# ------------------------------------------------------------------ handling


def test_what_is_posted_is_handled_in_order_by_who_waits(alice: Party) -> None:
    pending = alice.call(1)
    for n in range(10):
        alice.loop.post(n)
    alice.loop.drop(b"dropped")
    alice.loop.post(f.Complete(1, "outcome"))
    assert alice.loop.wait(pending, soon_ns())
    assert pending.outcome == "outcome"
    assert alice.machine.seen == [*range(10), b"dropped", f.Complete(1, "outcome")]


def test_an_answer_over_the_socket_ends_a_wait(alice: Party, bob: Party) -> None:
    for n in range(100):
        pending = alice.call(n)
        bob.loop.post(bob.answer(n))
        assert alice.loop.wait(pending, soon_ns())
        assert pending.outcome == "answered"


def test_who_submits_much_without_waiting_hands_it_over(base: Path) -> None:
    party = Party(base, ALICE, background=False)
    for n in range(FLUSH_AT):
        party.loop.post(n)
    assert party.machine.seen == list(range(FLUSH_AT))
    party.close()


def test_a_wait_ends_at_its_deadline(alice: Party) -> None:
    pending = alice.call(1)
    assert not alice.loop.wait(pending, soon_ns(20))
    assert not pending.done
    assert not alice.loop.wait(pending, soon_ns(-1))


def test_a_wait_ends_when_somebody_else_says_so(alice: Party) -> None:
    pending, flag = alice.call(1), threading.Event()
    timer = threading.Timer(0.02, lambda: (flag.set(), alice.loop.wake()))
    timer.start()
    assert not alice.loop.wait(pending, soon_ns(), flag.is_set)
    timer.join()


def test_the_machine_is_woken_when_it_asked_for_it(alice: Party) -> None:
    alice.machine.wakes = [soon_ns(5), soon_ns(10)]
    pending = alice.call(1)
    alice.loop.wait(pending, soon_ns(), lambda: not alice.machine.wakes)
    assert [type(event) for event in alice.machine.seen] == [Woken, Woken]


def test_callbacks_run_outside_the_lock_and_may_fail(alice: Party) -> None:
    told: list[bool] = []

    def callback() -> None:
        told.append(not alice.loop.has_lock())
        raise ValueError

    alice.call(1, callback)
    alice.call(2, callback)
    alice.loop.post(f.Complete(1))
    alice.loop.post(f.Complete(2))
    until(lambda: (alice.loop.turn(), len(told) == 2)[1], "both were told")
    assert told == [True, True]


def test_a_watched_descriptor_calls_back(alice: Party) -> None:
    read, write = os.pipe()
    seen: list[bytes] = []
    alice.loop.watch_fd(read, lambda: seen.append(os.read(read, 10)))
    pending = alice.call(1)
    os.write(write, b"news")
    alice.loop.wait(pending, soon_ns(), lambda: bool(seen))
    alice.loop.unwatch_fd(read)
    alice.loop.unwatch_fd(read)
    assert seen == [b"news"]
    os.close(read)
    os.close(write)


# ------------------------------------------------------------------ a little at a time


def test_what_is_posted_goes_before_drops_that_are_left(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "SLICE_NS", 0)
    party = Party(base, ALICE, background=False)
    drops = [number.to_bytes(4, "big") for number in range(DROPS_AT_ONCE + 5 * LOOK_EVERY)]
    party.loop.post("first")
    for number, name in enumerate(drops):
        party.loop.drop(name)
        if number in (10, DROPS_AT_ONCE + 10):
            party.loop.post(number)
    party.loop.turn()
    seen = party.machine.seen
    assert seen.index(DROPS_AT_ONCE + 10) == DROPS_AT_ONCE
    assert seen[0] == "first"
    assert seen[12] == 10
    while party.loop.is_left():
        before = len(seen)
        party.loop.turn()
        assert len(seen) - before <= LOOK_EVERY
    assert [name for name in seen if isinstance(name, bytes)] == drops
    party.close()


def test_a_drop_never_goes_before_what_was_posted_before_it(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "DROPS_AT_ONCE", 5)
    party = Party(base, ALICE, background=True)
    rounds = 3000

    def use(thread: int) -> None:
        for number in range(rounds):
            party.loop.post((thread, number))
            party.loop.drop(b"%d %d" % (thread, number))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(use, range(3)))
    until(lambda: len(party.machine.seen) == 6 * rounds, "all was handled")
    posted: set[bytes] = set()
    for event in party.machine.seen:
        if isinstance(event, bytes):
            assert event in posted
        else:
            posted.add(b"%d %d" % event)
    party.close()


def test_nobody_sleeps_while_a_message_is_left(
    alice: Party, bob: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "SLICE_NS", 0)
    for _ in range(20):
        pendings = [alice.call(number) for number in range(50)]
        for number in range(50):
            bob.loop.post(bob.answer(number))
        for pending in pendings:
            assert alice.loop.wait(pending, soon_ns())


def test_one_turn_receives_a_part_and_says_that_there_is_more(
    alice: Party, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "SLICE_NS", 0)
    bob = Party(base, BOB, background=False)
    for number in range(50):
        alice.loop.post(f.Send(BOB, m.NodeStops(str(number))))
    alice.loop.turn()
    turns = 0
    until(bob.mailbox.readable, "something has arrived")
    while len(bob.machine.seen) < 51:  # a hello comes first
        before = len(bob.machine.seen)
        bob.loop.turn()
        turns += 1
        assert len(bob.machine.seen) - before <= 2
    assert turns >= 25
    bob.close()


# ------------------------------------------------------------------ the background thread


def test_the_background_serves_while_user_code_does_something_else(bob: Party) -> None:
    for n in range(3):
        bob.loop.post(n)
        until(lambda n=n: n in bob.machine.seen, "it was handled")
    assert threading.get_ident() not in bob.machine.threads


def test_what_is_posted_while_another_thread_waits_is_handled(base: Path) -> None:
    party = Party(base, ALICE, background=True)
    with ThreadPoolExecutor(1) as pool:
        pending = party.call(1)
        waits = pool.submit(party.loop.wait, pending, soon_ns())
        until(lambda: party.loop.blocked, "the other thread waits")
        for n in range(50):
            party.loop.post(n)
            until(lambda n=n: party.machine.seen[-1:] == [n], "it was handled")
        party.loop.post(f.Complete(1))
        assert waits.result(20)
    party.close()


# ------------------------------------------------------------------ many threads


def test_every_thread_gets_its_own_answer(alice: Party, bob: Party) -> None:
    def ask(n: int) -> Any:
        pending = alice.call(n)
        bob.loop.post(bob.answer(n))
        assert alice.loop.wait(pending, soon_ns())
        return pending.outcome

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(800))) == ["answered"] * 800


def test_a_thread_that_leaves_hands_the_work_on(alice: Party, bob: Party) -> None:
    with ThreadPoolExecutor(3) as pool:
        pendings = [alice.call(n) for n in range(3)]
        waits = [pool.submit(alice.loop.wait, pending, soon_ns()) for pending in pendings]
        until(lambda: len(alice.loop._sleepers) == 2, "one drives, two sleep")  # noqa: SLF001
        for n in range(3):
            bob.loop.post(bob.answer(n))
            assert waits[n].result(20)


def test_the_serving_thread_takes_over_from_one_that_waits(alice: Party, bob: Party) -> None:
    pending = alice.call(1)
    with ThreadPoolExecutor(1) as pool:
        for _ in range(50):
            pending = alice.call(1)
            waits = pool.submit(alice.loop.wait, pending, soon_ns())
            until(lambda: alice.loop.driving, "the thread drives")
            bob.loop.post(bob.answer(1))
            alice.loop.serve(lambda p=pending: p.done)
            assert waits.result(20)


def test_who_holds_the_loop_may_wait_in_it_and_others_sleep(bob: Party, base: Path) -> None:
    party = Party(base, ALICE, background=True)
    mine, theirs = party.call(1), party.call(2)
    with ThreadPoolExecutor(1) as pool:
        party.loop.hold()
        waits = pool.submit(party.loop.wait, theirs, soon_ns())
        bob.loop.post(bob.answer(1))
        assert party.loop.wait(mine, soon_ns())
        assert not theirs.done
        bob.loop.post(bob.answer(2))
        assert waits.result(20)
    party.close()


def test_an_event_loop_that_sleeps_is_woken_by_what_others_post(base: Path) -> None:
    party = Party(base, ALICE, background=True)
    party.loop.hold()
    for n in range(50):
        party.loop.rest()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(party.loop.post, n)
            assert select.select(party.loop.fds(), [], [], 20)[0]
        party.loop.resume()
        for fd in party.loop.fds():
            party.loop.after_readable(fd)
        party.loop.turn()
    assert party.machine.seen == list(range(50))
    party.close()


# ------------------------------------------------------------------ Ctrl-C


def test_an_interrupt_ends_the_wait_and_nothing_else(alice: Party, bob: Party) -> None:
    for n in range(10):
        pending = alice.call(n)
        timer = threading.Timer(0.002 * n, os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012  it may come in the first line
            timer.start()
            alice.loop.wait(pending, soon_ns())
        timer.join()
        bob.loop.post(bob.answer(n))
        assert alice.loop.wait(pending, soon_ns())


def test_an_interrupt_reaches_a_thread_that_sleeps_behind_another(
    alice: Party, bob: Party
) -> None:
    with ThreadPoolExecutor(1) as pool:
        drives = pool.submit(alice.loop.wait, alice.call(1), soon_ns())
        until(lambda: alice.loop.driving, "the other thread drives")
        timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            alice.loop.wait(alice.call(2), soon_ns())
        timer.join()
        bob.loop.post(bob.answer(1))
        assert drives.result(20)


def test_a_handler_of_the_programs_own_may_let_the_wait_go_on(alice: Party, bob: Party) -> None:
    caught: list[int] = []

    def handler(number: int, _: Any) -> None:
        caught.append(number)
        bob.loop.post(bob.answer(1))

    previous = signal.signal(signal.SIGINT, handler)
    try:
        timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        assert alice.loop.wait(alice.call(1), soon_ns())
        timer.join()
    finally:
        assert signal.signal(signal.SIGINT, previous) is handler
    assert caught == [signal.SIGINT]


# ------------------------------------------------------------------ the end


def test_the_end_of_a_session_ends_every_wait(alice: Party) -> None:
    told: list[int] = []
    alice.call(9, lambda: told.append(9))
    with ThreadPoolExecutor(3) as pool:
        pendings = [alice.call(n) for n in range(3)]
        waits = [pool.submit(alice.loop.wait, pending, None) for pending in pendings]
        until(lambda: len(alice.loop._sleepers) == 2, "one drives, two sleep")  # noqa: SLF001
        alice.loop.close("over")
        for wait in waits:
            wait.result(20)
    assert told == [9]
    assert alice.loop.closed == "over"


def test_what_is_dropped_after_the_end_touches_nothing(base: Path) -> None:
    party = Party(base, ALICE, background=True)
    until(lambda: party.loop._polling, "the background thread polls")  # noqa: SLF001
    party.loop.close("over")
    other = os.eventfd(0, os.EFD_NONBLOCK)
    more = os.eventfd(0, os.EFD_NONBLOCK)
    party.loop.drop(b"late")
    party.loop.post("late")
    for fd in (other, more):
        with pytest.raises(BlockingIOError):
            os.eventfd_read(fd)
        os.close(fd)
    party.mailbox.close()
