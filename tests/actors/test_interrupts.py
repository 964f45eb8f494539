"""Where a task may be interrupted."""

from __future__ import annotations

import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from zfut.actors.interrupts import may_raise
from zfut.actors.loop import Loop
from zfut.actors.user_code import Runner
from zfut.waiting import Pending


class Places:
    """Stands in for what code of zfut calls, and looks from there."""

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def look(self, *_: Any) -> None:
        self.seen.append(may_raise(sys._getframe(1)))  # noqa: SLF001

    append = pop = __contains__ = look

    def __len__(self) -> int:
        return 1


@pytest.fixture
def places() -> Places:
    return Places()


@pytest.fixture
def on_alarm(places: Places) -> Iterator[None]:
    """The signal's handler looks where it is."""
    before = signal.signal(signal.SIGALRM, places.look)
    yield
    signal.signal(signal.SIGALRM, before)


def raise_alarm(*_: Any, **__: Any) -> None:
    signal.raise_signal(signal.SIGALRM)


def test_user_code_is_interrupted(places: Places) -> None:
    places.look()
    assert places.seen == [True]


def test_a_finaliser_is_not_nor_what_it_calls(places: Places) -> None:
    class Finalised:
        def __del__(self) -> None:
            self.inner()

        def inner(self) -> None:
            places.look()

    finalised = Finalised()
    weakref.finalize(finalised, places.look)
    del finalised
    assert places.seen == [False, False]


def test_steps_that_belong_together_are_not_parted(places: Places) -> None:
    loop: Any = SimpleNamespace(
        batches=(),
        inbox=places,
        drops=(),
        activity=0,
        _polling=False,
        blocked=False,
        driving=True,
    )
    Loop.post(loop, b"gone")
    Loop.drop(loop, b"gone")
    assert places.seen == [False, False]


@pytest.mark.usefixtures("on_alarm")
def test_a_wait_takes_a_signal_that_came_meanwhile(places: Places) -> None:
    pending = Pending()

    def wait(*_: Any) -> None:
        raise_alarm()
        pending.done = True

    loop: Any = SimpleNamespace(check_outside=lambda: None, _wait=wait, _rouse=lambda _: None)
    assert Loop.wait(loop, pending)
    assert places.seen == [True]


@pytest.mark.usefixtures("on_alarm")
def test_a_turn_does_not(places: Places) -> None:
    loop: Any = SimpleNamespace(
        lock=threading.Lock(),
        has_lock=lambda: False,
        wake=lambda: None,
        handle_all=raise_alarm,
        run_callbacks=lambda: None,
        is_left=lambda: False,
        _ended=False,
        driving=False,
    )
    Loop.turn(loop)
    assert places.seen == [False]


def test_what_surrounds_a_task_is_not_the_tasks_code(places: Places) -> None:
    runner: Any = SimpleNamespace(
        interrupts=places,
        on_top=b"below",
        arguments=lambda *_: ([], {}),
        check_interrupt=places.look,
    )
    call: Any = SimpleNamespace(spec=SimpleNamespace(task_id=b"t"))
    Runner._interruptible(runner, call, places.look, [])  # noqa: SLF001
    assert places.seen == [False] * 3
