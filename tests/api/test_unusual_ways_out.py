"""What raises where nobody expects it leaves no wait, no memory and no future behind."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import zfut
from tests.cluster.leftovers import until
from zfut import waiting
from zfut.actors import user_code
from zfut.session import current

pytestmark = pytest.mark.cluster
WAIT_S = 30


class HandlerError(KeyboardInterrupt):
    """What the program's own handler raises."""


@contextlib.contextmanager
def handler(number: int) -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise HandlerError

    before = signal.signal(number, interrupt)
    try:
        yield
    finally:
        signal.signal(number, before)


@zfut.remote
def gated(gate: Path) -> int:
    until(gate.exists, "the gate is open")
    return 1


@zfut.remote
class Several:
    def half(self) -> tuple[bytes, Any]:
        return bytes(2**20), threading.Lock()

    def written(self) -> int:
        return len(current().owner.ledger.memory.written_for)


def test_a_result_of_which_a_later_part_cannot_be_packed_leaves_no_memory_taken() -> None:
    actor = Several.remote()
    method: Any = actor.half
    first, second = method.options(num_returns=2).remote()
    for ref in (first, second):
        with pytest.raises(zfut.errors.TaskError, match="lock"):
            zfut.get(ref, timeout=WAIT_S)
    assert zfut.get(actor.written.remote(), timeout=WAIT_S) == 0


def test_a_handler_that_raises_as_a_wait_begins_leaves_no_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = gated.remote(tmp_path / "gate")
    session = current()
    loop: Any = session.loop
    handle_all = loop.handle_all

    def signalled(**how: bool) -> None:
        handle_all(**how)
        if threading.current_thread() is threading.main_thread():
            os.kill(os.getpid(), signal.SIGUSR1)

    with handler(signal.SIGUSR1), monkeypatch.context() as patch:
        patch.setattr(loop, "handle_all", signalled)
        with pytest.raises(HandlerError):
            zfut.get(ref, timeout=0)
    loop.turn()
    assert not session.owner.ledger.objects.waits
    assert not loop.calls
    (tmp_path / "gate").touch()
    assert zfut.get(ref, timeout=WAIT_S) == 1


class Opened:
    """Interrupts whoever opens it in the main thread, if that has a handler."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, ()


def _open() -> str:
    on_main = threading.current_thread() is threading.main_thread()
    if on_main and callable(signal.getsignal(signal.SIGUSR1)):
        signal.raise_signal(signal.SIGUSR1)
    return "opened"


def test_a_handler_that_raises_as_a_future_opens_its_value_interrupts_the_program() -> None:
    ref = zfut.put([Opened()])
    loop: Any = current().loop
    seen: list[Future[Any]] = []

    def interrupted() -> bool:
        """The thread in the background may open it first; then another one is made."""
        with handler(signal.SIGUSR1), loop.lock:
            try:
                seen.append(ref.future())
                loop.handle_all(receive=False)
                loop.run_callbacks()
            except HandlerError:
                return True
        return False

    until(interrupted, "the program was interrupted")
    assert [future.result(WAIT_S) for future in seen] == [["opened"]] * len(seen)


def test_a_callback_that_exits_ends_no_thread_of_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting.log, "disabled", True)  # a record would keep the futures
    refs = [gated.remote(tmp_path / name) for name in ("one", "two")]
    called = [threading.Event(), threading.Event()]

    def leave(event: threading.Event) -> None:
        event.set()
        sys.exit(3)

    futures = [ref.future() for ref in refs]
    for future, event in zip(futures, called, strict=True):
        future.add_done_callback(lambda _, event=event: leave(event))
    for name, event in zip(("one", "two"), called, strict=True):
        (tmp_path / name).touch()
        assert event.wait(WAIT_S)
    assert zfut.get(refs, timeout=WAIT_S) == [1, 1]


def test_serializers_that_cannot_be_installed_are_not_taken_for_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = object.__new__(user_code.Runner)
    runner.serializers = b""

    def fail(_: bytes) -> None:
        raise ImportError

    with monkeypatch.context() as patch:
        patch.setattr(user_code.serialize, "install", fail)
        with pytest.raises(ImportError):
            runner.install(b"some")
    assert runner.serializers not in (b"", b"some")
