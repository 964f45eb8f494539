"""Why something is pending, and what holds memory: chains of causes across processes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zfut
from tests.cluster.leftovers import until
from tests.cluster.programs import Processes, Program
from zfut.errors import GetTimeoutError
from zfut.explain import LINES_MAX

pytestmark = pytest.mark.cluster

WAIT_S = 20


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


@zfut.remote
def block(begun: Path, until: Path) -> int:
    begun.write_bytes(b"")
    until.read_bytes()
    return 1


@zfut.remote
def add(*values: int) -> int:
    return sum(values)


def test_a_chain_through_arguments_and_workers(tmp_path: Path) -> None:
    @zfut.remote
    def outer(begun: Path, until: Path) -> Any:
        return zfut.get(block.remote(begun, until))

    begun, until = fifo(tmp_path / "begun"), fifo(tmp_path / "until")
    first = outer.remote(begun, until)
    last = add.remote(1, add.remote(first))
    begun.read_bytes()
    lines = last.explain().splitlines()
    said = [
        "is made by add(), which waits for arguments",
        "is made by add(), which waits for arguments",
        "outer(), which was sent to worker",
        "outer() runs in process",
        "block(), which was sent to worker",
        "block() runs in process",
    ]
    assert len(lines) == len(said), lines
    for depth, (line, part) in enumerate(zip(lines, said, strict=True)):
        assert part in line, lines
        assert line.startswith("  " * depth), lines
    with pytest.raises(
        GetTimeoutError, match=r"(?s)made by add\(\).*outer\(\), which was sent"
    ):
        zfut.get(last, timeout=0.01)
    until.write_bytes(b"")
    assert zfut.get(last, timeout=WAIT_S) == 2
    assert "ready" in last.explain()


def test_the_end_of_a_long_chain_is_told(tmp_path: Path) -> None:
    begun, until = fifo(tmp_path / "begun"), fifo(tmp_path / "until")
    last = block.remote(begun, until)
    begun.read_bytes()
    for _ in range(200):
        last = add.remote(last)
    lines = last.explain().splitlines()
    assert len(lines) == LINES_MAX + 4
    assert lines[LINES_MAX] == f"... {200 + 2 - LINES_MAX - 3} more, and then"
    assert "add(), which waits for arguments" in lines[-3]
    assert "block(), which was sent to worker" in lines[-2]
    assert "block() runs in process" in lines[-1]
    until.write_bytes(b"")
    assert zfut.get(last, timeout=WAIT_S) == 1


def test_what_waits_for_a_worker_an_actor_or_room(tmp_path: Path) -> None:
    @zfut.remote
    class Busy:
        def work(self, begun: Path, until: Path) -> int:
            begun.write_bytes(b"")
            until.read_bytes()
            return 1

        def next(self) -> int:
            return 2

    begun, end = fifo(tmp_path / "begun"), fifo(tmp_path / "end")
    actor = Busy.remote()
    runs, queued = actor.work.remote(begun, end), actor.next.remote()
    begun.read_bytes()
    assert "sent to its actor" in runs.explain()
    assert "is queued in process" in queued.explain()
    end.write_bytes(b"")
    assert zfut.get([runs, queued], timeout=WAIT_S) == [1, 2]
    impossible = add.options(resources={"unicorn": 1}).remote(1)
    zfut.wait([impossible], timeout=0.05)
    assert "unicorn" in impossible.explain()
    zfut.cancel(impossible)
    never = Busy.options(num_cpus=500).remote()
    call = never.next.remote()
    why = "needs CPU:500, this node has CPU:2"
    until(lambda: f"a worker of its own (CPU:500): {why}" in call.explain(), "it never fits")
    with pytest.raises(GetTimeoutError, match=f"its actor, which waits for a node: {why}"):
        zfut.get(call, timeout=0)
    zfut.kill(never)


@zfut.remote
class Idle:
    def pid(self) -> int:
        return os.getpid()


def test_a_task_behind_an_actor_says_who_has_the_cpus_and_what_is_free() -> None:
    actor = Idle.options(num_cpus=2).remote()
    pid = zfut.get(actor.pid.remote(), timeout=WAIT_S)
    refs = [add.remote(1), add.remote(2)]
    told = until(lambda: "node" in (text := refs[0].explain()) and text, "the node says")
    task, node = told.splitlines()
    assert task.endswith("waits for a worker (CPU:1); 2 tasks queued, we have none")
    assert node.startswith("  node ")
    assert "has CPU 0 of 2 free; lent " in node
    assert f"(pid {pid}), of program {os.getpid()}" in node
    assert "to actor Idle, process" in node
    second = Idle.options(num_cpus=1).remote()
    made = second.pid.remote()
    told = until(lambda: "to actor Idle" in (text := made.explain()) and text, "it waits too")
    assert "actor Idle waits for a worker of its own (CPU:1)" in told
    assert "2 requests wait there" in told or "3 requests wait there" in told
    with pytest.raises(GetTimeoutError, match="CPU 0 of 2 free; lent"):
        zfut.get(refs[0], timeout=0.5)
    zfut.kill(actor)
    assert zfut.get(refs, timeout=WAIT_S) == [1, 2]
    assert zfut.get(made, timeout=WAIT_S) != pid


def test_a_task_behind_tasks_of_another_kind_says_what_they_are(tmp_path: Path) -> None:
    begun, end = fifo(tmp_path / "begun"), fifo(tmp_path / "end")
    holder = block.remote(begun, end)
    begun.read_bytes()
    ref = add.options(num_cpus=2).remote(1)
    told = until(lambda: "node" in (text := ref.explain()) and text, "the node says")
    assert "(CPU:2); 1 task queued, we have none" in told
    assert "has CPU 1 of 2 free; lent " in told
    assert f"to block() of program {os.getpid()}, worker " in told
    end.write_bytes(b"")
    assert zfut.get([holder, ref], timeout=WAIT_S) == [1, 1]


def test_a_task_behind_another_program_names_that(base: Path, tmp_path: Path) -> None:
    source = f"""
    zfut.init(address="{Processes(base).directory}")

    @zfut.remote
    class Other:
        def ping(self):
            return 1

    actor = Other.options(num_cpus=2).remote()
    zfut.get(actor.ping.remote())
    say("up")
    hear()
    """
    other = Program(source, base, tmp_path / "other.py")
    try:
        assert other.line() == "up"
        ref = add.remote(1)
        told = until(lambda: "node" in (text := ref.explain()) and text, "the node says")
        assert "to actor Other, process" in told
        assert f"of program {other.pid}" in told
        other.tell()
        assert other.wait() == 0
        assert zfut.get(ref, timeout=WAIT_S) == 1
    finally:
        other.close()


def test_a_task_that_lacks_nothing_but_a_process_says_so(start: Any, tmp_path: Path) -> None:
    start(num_cpus=2, workers_max=1)
    begun, end = fifo(tmp_path / "begun"), fifo(tmp_path / "end")
    holder = block.remote(begun, end)
    begun.read_bytes()
    ref = add.options(num_cpus=0.5).remote(1)
    told = until(lambda: "node" in (text := ref.explain()) and text, "the node says")
    assert "has CPU 1 of 2 free; no worker is free: 1 live, the most there may be is 1" in told
    assert "to block() of program" in told
    end.write_bytes(b"")
    assert zfut.get([holder, ref], timeout=WAIT_S) == [1, 1]


def test_inline_too_a_task_behind_an_actor_says_who_has_the_cpus(start: Any) -> None:
    start(num_cpus=1, mode="inline")
    actor = Idle.options(num_cpus=1).remote()
    zfut.get(actor.pid.remote())
    ref = add.remote(1)
    told = ref.explain()
    assert "has CPU 0 of 1 free; lent " in told
    assert "to actor Idle, process " in told
    zfut.kill(actor)
    assert zfut.get(ref) == 1


def test_calls_that_are_queued_are_counted(tmp_path: Path) -> None:
    @zfut.remote
    class Busy:
        def work(self, begun: Path, until: Path) -> None:
            begun.write_bytes(b"")
            until.read_bytes()

    begun, end = fifo(tmp_path / "begun"), fifo(tmp_path / "end")
    actor = Busy.remote()
    calls = [actor.work.remote(begun, end), actor.work.remote(begun, end)]
    calls.append(actor.work.remote(begun, end))
    begun.read_bytes()
    told = until(
        lambda: "is queued in process" in (text := calls[1].explain()) and text, "it is there"
    )
    assert " behind 1 call\n" in told
    told = until(
        lambda: "is queued in process" in (text := calls[2].explain()) and text, "it is there"
    )
    assert " behind 2 calls\n" in told
    zfut.kill(actor)


def test_a_borrowers_chain_leads_to_the_owner(tmp_path: Path) -> None:
    @zfut.remote(num_cpus=0)
    def why(refs: list[Any]) -> str:
        return refs[0].explain()  # type: ignore[no-any-return]

    begun, until = fifo(tmp_path / "begun"), fifo(tmp_path / "until")
    ref = block.remote(begun, until)
    begun.read_bytes()
    told = zfut.get(why.remote([ref]), timeout=WAIT_S)
    assert "which has not said its value" in told.splitlines()[0]
    assert "block()" in told
    until.write_bytes(b"")
    assert zfut.get(ref, timeout=WAIT_S) == 1


@zfut.remote(resources={"unicorn": 1})
def never() -> None:
    """Waits for ever: no node has that."""


def wait_by(how: str, ref: Any) -> None:
    match how:
        case "get":
            zfut.get(ref)
        case "wait":
            zfut.wait([ref])
        case "future":
            ref.future().result()
        case "await":
            asyncio.run(awaits(ref))
        case "thread":
            thread = threading.Thread(target=zfut.get, args=(ref,), daemon=True)
            thread.start()
            thread.join()


async def awaits(ref: Any) -> None:
    await ref


@zfut.remote
def plain(how: str) -> None:
    wait_by(how, never.remote())


@zfut.remote
class Waits:
    def __init__(self, how: str = "") -> None:
        wait_by(how, never.remote())

    def work(self, how: str) -> None:
        wait_by(how, never.remote())


@zfut.remote
class Coroutines:
    async def work(self, how: str) -> None:
        del how
        await never.remote()


CALLS: dict[str, tuple[str, Callable[[str], tuple[Any, Any]]]] = {
    "task": ("plain()", lambda how: (None, plain.remote(how))),
    "method": ("Waits.work()", lambda how: _called(Waits.remote(), how)),
    "thread of an actor": (
        "Waits.work()",
        lambda how: _called(Waits.options(max_concurrency=2).remote(), how),
    ),
    "coroutine": ("Coroutines.work()", lambda how: _called(Coroutines.remote(), how)),
    "constructor": ("Waits()", lambda how: _called(Waits.remote(how), "")),
}


def _called(actor: Any, how: str) -> tuple[Any, Any]:
    return actor, actor.work.remote(how)


@pytest.mark.parametrize("how", ["get", "wait", "future", "await", "thread"])
@pytest.mark.parametrize("kind", CALLS)
def test_a_chain_goes_on_through_whatever_waits_however_it_waits(kind: str, how: str) -> None:
    name, call = CALLS[kind]
    actor, ref = call(how)
    told = until(
        lambda: "needs unicorn" in (text := ref.explain()) and text,
        "what it waits for is told",
    )
    runs, made = told.splitlines()[-2:]
    thread = how == "thread" and kind != "coroutine"
    waits = "a thread of that process waits for others" if thread else "waits there for others"
    assert name in runs
    assert waits in runs
    assert "made by never(), which waits for a worker" in made
    if actor is None:
        zfut.cancel(ref, force=True)
    else:
        zfut.kill(actor)


def test_two_actors_that_call_each_other_are_seen_to() -> None:
    @zfut.remote
    class Calls:
        other: Any

        def meet(self, other: list[Any]) -> None:
            self.other = other[0]

        def call(self) -> Any:
            return zfut.get(self.other.call.remote())

    one, two = Calls.remote(), Calls.remote()
    zfut.get([one.meet.remote([two]), two.meet.remote([one])], timeout=WAIT_S)
    ref = one.call.remote()
    told = until(lambda: "see above" in (text := ref.explain()) and text, "the ring is closed")
    assert told.count("Calls.call() runs in process") == 2
    assert "is queued in process" in told
    with pytest.raises(GetTimeoutError) as late:
        zfut.get(ref, timeout=1)
    assert str(late.value).count("Calls.call() runs in process") == 2
    zfut.kill(one)
    zfut.kill(two)


def test_a_late_get_carries_the_chain_of_the_first_few_and_says_how_many_more() -> None:
    refs = [plain.remote("get"), *[never.remote() for _ in range(4)]]
    until(lambda: "needs unicorn" in refs[0].explain(), "the task waits")
    for wanted in (refs, refs[:1]):
        with pytest.raises(GetTimeoutError) as late:
            zfut.get(wanted, timeout=1)
        text = str(late.value)
        assert "plain() runs in process" in text
        assert "made by never(), which waits for a worker" in text
        assert ("and 2 more" in text) == (wanted is refs)
    assert len(late.value.detail) < 2_000
    with pytest.raises(GetTimeoutError) as late:
        zfut.get(refs, timeout=0)
    assert "plain(), which was sent to worker" in str(late.value)
    assert "plain() runs in process" not in str(late.value), "nobody else was asked"
    with pytest.raises(GetTimeoutError, match=r"(?s)and 2 more.*plain\(\) runs in process"):
        next(zfut.as_completed(refs, timeout=1))
    for ref in refs:
        zfut.cancel(ref, force=True)


def test_a_late_get_does_not_wait_for_a_process_that_says_nothing(tmp_path: Path) -> None:
    begun, until_ = fifo(tmp_path / "begun"), fifo(tmp_path / "until")
    ref = block.remote(begun, until_)
    begun.read_bytes()
    (pid,) = [w["pid"] for w in zfut.nodes()[0]["workers"] if w["runs"] == "block"]
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(GetTimeoutError, match="did not answer within") as late:
            zfut.get(ref, timeout=0.2)
        assert "block(), which was sent to worker" in str(late.value)
    finally:
        os.kill(pid, signal.SIGCONT)
    until_.write_bytes(b"")
    assert zfut.get(ref, timeout=WAIT_S) == 1


def test_what_cannot_be_gathered_does_not_keep_the_error_from_coming(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any, **__: Any) -> str:
        raise RuntimeError

    monkeypatch.setattr("zfut.explain.explain", broken)
    ref = never.remote()
    with pytest.raises(GetTimeoutError, match=r"never\(\)"):
        zfut.get(ref, timeout=0.01)
    zfut.cancel(ref)


def zfut_cli(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603  this very interpreter
        [sys.executable, "-m", "cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_why_and_memory_on_the_command_line(tmp_path: Path) -> None:
    @zfut.remote
    class Keeper:
        def keep(self, refs: list[Any]) -> None:
            self.refs = refs

    begun, until = fifo(tmp_path / "begun"), fifo(tmp_path / "until")
    ref = block.remote(begun, until)
    begun.read_bytes()
    short = repr(ref).split()[0].removeprefix("ObjectRef(")
    assert "block(), which was sent to worker" in zfut_cli("why", short)
    until.write_bytes(b"")
    big = zfut.put(np.zeros(1 << 18))
    keeper = Keeper.remote()
    zfut.get(keeper.keep.remote([big]), timeout=WAIT_S)
    shown = zfut_cli("memory")
    line = next(one for one in shown.splitlines() if "MiB" in one)
    assert "put" in line
    assert "borrowed by actor Keeper" in line
    assert "No actors keep only each other alive" in zfut_cli("memory", "--cycles")


def test_actors_that_keep_each_other_alive_are_reported() -> None:
    @zfut.remote
    class Loop:
        def keep(self, other: Any) -> None:
            self.other = other

    one, two = Loop.remote(), Loop.remote()
    zfut.get([one.keep.remote([two]), two.keep.remote([one])], timeout=WAIT_S)
    weak = Loop.options(name="weak").remote()
    zfut.get(weak.keep.remote([one]), timeout=WAIT_S)
    zfut.get(weak.keep.remote(None), timeout=WAIT_S)
    before = zfut_cli("memory", "--cycles")
    assert "keep each other alive" not in before
    zfut.get(two.keep.remote([one, two]), timeout=WAIT_S)
    del one, two, weak
    shown = zfut_cli("memory", "--cycles")
    while "keep each other alive: actor Loop" not in shown:
        shown = zfut_cli("memory", "--cycles")
    for worker in zfut.nodes()[0]["workers"]:
        if worker["actor"]:
            os.kill(worker["pid"], 9)


def test_a_get_that_takes_long_says_once_why(
    start: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start(num_cpus=1, log_blocked_get_s=0.1)
    begun, until = fifo(tmp_path / "begun"), fifo(tmp_path / "until")
    ref = block.remote(begun, until)
    begun.read_bytes()
    with caplog.at_level(logging.WARNING, "zfut"), pytest.raises(GetTimeoutError):
        zfut.get(ref, timeout=1)
    said = [record.getMessage() for record in caplog.records if "has waited" in record.message]
    assert len(said) == 1
    assert "block() runs in process" in said[0]
    until.write_bytes(b"")
    assert zfut.get(ref, timeout=WAIT_S) == 1


def test_the_line_that_made_a_value_is_shown_if_wanted(start: Any) -> None:
    start(num_cpus=1, record_call_sites=True)
    put = zfut.put(b"x" * 200_000)
    assert "test_explain.py:" in zfut_cli("memory")
    del put
