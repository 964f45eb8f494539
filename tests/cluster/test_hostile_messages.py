"""Strangers that find a session's sockets: nobody listens to them, nobody falls over."""

from __future__ import annotations

import logging
import os
import pickle
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import zmq

import zfut
from tests.cluster.leftovers import until
from tests.cluster.programs import Processes
from zfut.actors import places
from zfut.core.owner.actors import handle_id
from zfut.ids import FIRST_RETURN
from zfut.wire import messages as m
from zfut.wire.codec import encode, route, route_prefix
from zfut.wire.specs import Address, FunctionDef, Inline, TaskResult, TaskSpec

pytestmark = pytest.mark.cluster

EVE = bytes(8) + b"evilevil"


@zfut.remote
class Counter:
    def __init__(self) -> None:
        self.count = 0

    def next(self) -> int:
        self.count += 1
        return self.count

    def dropped(self) -> dict[str, int]:
        from zfut.session import current

        return dict(current().loop.mailbox.dropped)

    def uid(self) -> str:
        return zfut.get_runtime_context().worker_id


@zfut.remote
def double(n: int) -> int:
    return 2 * n


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


class Target:
    """One mailbox of the session, and a plain DEALER that knows where it is."""

    def __init__(self, path: Path, key: bytes) -> None:
        self.path = path
        self.key = key
        self.uid = b""
        self.context = zmq.Context()
        self.socket = self._connect()

    def _connect(self) -> zmq.Socket[bytes]:
        dealer = self.context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.ROUTING_ID, EVE)
        dealer.connect(f"ipc://{self.path}")
        return dealer

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def say(
        self, message: m.Message, *payload: bytes, sequence: int = 1, to: bytes = b""
    ) -> None:
        self.send(route(route_prefix(to or self.uid), sequence) + encode(message), *payload)

    def close(self) -> None:
        self.context.destroy(0)


class Victims:
    """A session with an actor, and every mailbox it has."""

    def __init__(self, base: Path) -> None:
        self.counter = Counter.remote()
        self.calls = 0
        processes = Processes(base)
        contents = places.read(processes.directory)
        assert contents is not None
        self.log = processes.directory / "node.log"
        self.key = bytes.fromhex(contents.key)
        self.manager = bytes.fromhex(contents.manager)
        self.driver = zfut.session.current()
        self.worker = bytes.fromhex(zfut.get(self.counter.uid.remote()))
        sockets = processes.directory / "s"
        self.targets = [Target(path, self.key) for path in sorted(sockets.iterdir())]
        for target in self.targets:
            target.uid = contents_uid(self.manager, target.path)
        assert {self.manager, self.worker, self.driver.uid} <= {t.uid for t in self.targets}

    def target(self, uid: bytes) -> Target:
        return next(target for target in self.targets if target.uid == uid)

    def work(self) -> None:
        """Assert that tasks, actors, puts and the node still do what they should."""
        self.calls += 1
        assert zfut.get(self.counter.next.remote(), timeout=20) == self.calls
        assert zfut.get([double.remote(n) for n in range(20)], timeout=20)[-1] == 38
        assert zfut.get(zfut.put(bytes(200_000))) == bytes(200_000)
        assert zfut.nodes()[0]["workers"]

    def drops(self) -> list[dict[str, int]]:
        """Return what the driver and the actor's worker have dropped."""
        return [dict(self.driver.loop.mailbox.dropped), zfut.get(self.counter.dropped.remote())]

    def complaints(self) -> list[str]:
        """Return what the node manager wrote of what it has dropped."""
        text = self.log.read_text() if self.log.exists() else ""
        return [line for line in text.splitlines() if "dropped a message" in line]

    def close(self) -> None:
        for target in self.targets:
            target.close()


def contents_uid(manager: bytes, path: Path) -> bytes:
    """Return the name of the process whose socket this is."""
    return manager[:8] + bytes.fromhex(path.name)


@pytest.fixture
def victims(session: zfut.Session, base: Path) -> Iterator[Victims]:
    assert session is zfut.session.current()
    made = Victims(base)
    made.work()
    yield made
    made.work()
    made.close()
    del made.counter


Attack = Callable[[Victims, Target], None]


def garbage(_: Victims, target: Target) -> None:
    target.send(os.urandom(300))


def nothing(_: Victims, target: Target) -> None:
    target.send(b"")


def truncated(victims: Victims, target: Target) -> None:
    hello = encode(m.Hello(m.PROTOCOL_VERSION, victims.key, EVE, "driver", os.getpid()))
    target.send((route(route_prefix(target.uid), 0) + hello)[:-3])


def half_a_route(_: Victims, target: Target) -> None:
    target.send(route(route_prefix(target.uid), 1)[:20])


def no_hello(_: Victims, target: Target) -> None:
    target.say(m.NodeStops("because I say so"))


def wrong_key(_: Victims, target: Target) -> None:
    target.say(m.Hello(m.PROTOCOL_VERSION, b"guess" * 6, EVE, "driver", os.getpid()))


def another_name(victims: Victims, target: Target) -> None:
    target.say(m.Hello(m.PROTOCOL_VERSION, victims.key, victims.driver.uid, "driver", 1))


def wrong_protocol(victims: Victims, target: Target) -> None:
    target.say(m.Hello(m.PROTOCOL_VERSION + 7, victims.key, EVE, "driver", os.getpid()))


def wrong_destination(victims: Victims, target: Target) -> None:
    hello = m.Hello(m.PROTOCOL_VERSION, victims.key, EVE, "driver", os.getpid())
    target.say(hello, to=bytes(16))


def oversized(_: Victims, target: Target) -> None:
    target.send(route(route_prefix(target.uid), 1) + bytes(8_000_000))


def many_frames(_: Victims, target: Target) -> None:
    target.send(route(route_prefix(target.uid), 1) + b"x", *[b"frame"] * 2000)


ATTACKS: dict[Attack, str] = {
    garbage: "addressed to another process or protocol",
    nothing: "wrong number or size of frames",
    truncated: "it has not said hello",
    half_a_route: "wrong number or size of frames",
    no_hello: "it has not said hello",
    wrong_key: "wrong key",
    another_name: "wrong key",
    wrong_protocol: "it speaks another version of the protocol",
    wrong_destination: "addressed to another process or protocol",
    oversized: "larger than a hello",
    many_frames: "larger than a hello",
}


def test_every_mailbox_drops_counts_and_logs_once_what_strangers_send(
    victims: Victims, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = 3
    with caplog.at_level(logging.WARNING, "zfut"):
        for _ in range(rounds):
            for attack in ATTACKS:
                for target in victims.targets:
                    attack(victims, target)
        expected: dict[str, int] = {}
        for why in ATTACKS.values():
            expected[why] = expected.get(why, 0) + rounds
        until(lambda: victims.drops() == [expected, expected], "everything was dropped")
        until(lambda: len(victims.complaints()) == len(expected), "the node has complained")
    victims.work()
    mine = [record.getMessage() for record in caplog.records]
    assert len(mine) == len(expected)
    for said in (mine, victims.complaints()):
        for why in expected:
            assert sum(why in line and EVE.hex() in line for line in said) == 1


def test_nothing_of_a_stranger_is_unpickled(victims: Victims, tmp_path: Path) -> None:
    file = tmp_path / "exploded"
    bomb = pickle.dumps(Bomb(file))
    code = cloudpickle.dumps(file.touch)
    driver, worker, counter = victims.driver.uid, victims.worker, victims.counter
    mine = Address(EVE)
    pending = double.remote(1)
    task_id = pending.binary()[:24]
    spec = TaskSpec(EVE + bytes(8), 0, b"f" * 16, len(bomb), 1, 1)
    attacks: list[tuple[m.Message, tuple[bytes, ...]]] = [
        (m.TasksFinished((TaskResult(task_id, 0, 0, (Inline(len(bomb), 1),)),)), (bomb,)),
        (m.ObjectReady(task_id + FIRST_RETURN, 1, Inline(len(bomb), 1)), (bomb,)),
        (
            m.PushTasks(mine, 1, 1 << 30, (FunctionDef(b"f" * 16, "f", len(code)),), (spec,)),
            (code + bomb,),
        ),
        (m.PushCalls(mine, counter.actor_id, 0, (spec,)), (bomb,)),
        (m.KillActor(counter.actor_id, no_restart=True), ()),
        (m.ExitActor(counter.actor_id, "go"), ()),
        (m.ReleaseBorrows(((handle_id(counter.actor_id), b""),)), ()),
        (m.ProcessDied(worker, "believe me"), ()),
        (m.ProcessDied(driver, "believe me"), ()),
        (m.KillWorker(worker, "please"), ()),
        (m.Stop("please"), ()),
        (m.Exit("please"), ()),
        (m.NodeStops("please"), ()),
    ]
    for target in victims.targets:
        for sequence, (message, payload) in enumerate(attacks):
            target.say(message, *payload, sequence=sequence)
        target.send(bomb)
        target.send(route(route_prefix(target.uid), 1) + bomb)
        target.send(route(route_prefix(target.uid), 1) + bomb, bomb)
    count = len(attacks) + 3
    until(lambda: min(sum(d.values()) for d in victims.drops()) >= count, "all was dropped")
    assert zfut.get(pending) == 2
    victims.work()
    assert not file.exists()


def test_bytes_that_are_no_zeromq_and_frames_beyond_every_bound(victims: Victims) -> None:
    for target in victims.targets:
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(target.path))
            raw.sendall(b"GET / HTTP/1.1\r\n\r\n" + os.urandom(1000))
        target.send(route(route_prefix(target.uid), 1) + bytes(65 * 1024 * 1024))
    victims.work()
    for target in victims.targets:
        target.send(b"x")
    until(lambda: all(sum(d.values()) for d in victims.drops()), "they still listen")
    victims.work()


def test_a_peer_with_the_key_that_talks_nonsense_harms_nobody_else(victims: Victims) -> None:
    """It has the key, so it is a process of the same user: still, nobody falls over it."""
    counter = victims.counter
    hello = m.Hello(m.PROTOCOL_VERSION, victims.key, EVE, "driver", os.getpid())
    unknown = EVE + bytes(12)
    nonsense: list[m.Message] = [
        m.TasksFinished((TaskResult(unknown[:24], 3, 0, (Inline(10**6, 1),)),)),
        m.TasksPushedBack(((unknown[:24], 1),)),
        m.ObjectReady(unknown, 1, None),
        m.LocateObjects((unknown, b""), 1),
        m.LocateActor(unknown[:24]),
        m.ActorMoved(unknown[:24], 0, "alive", EVE),
        m.ReleaseBorrows(((unknown, b"token"), (b"", b""))),
        m.BorrowsRegistered((b"token",), (b"other",)),
        m.FreeMemory((0, 1 << 60)),
        m.LeaseGranted(1 << 40, EVE, 1),
        m.LeaseFailed(1 << 40, "no"),
        m.LeaseRevoked(1 << 40),
        m.NameAnswer(1 << 40, taken=True, actor_id=b"", handle=b"x"),
        m.NodeSays(1 << 40, b"not json"),
        m.MemoryRefused(1 << 40, "no"),
        m.PushCalls(Address(EVE), unknown[:24], 0, (TaskSpec(unknown[:24], 0, b"x", 0, 0, 1),)),
        m.PushCalls(
            Address(EVE), counter.actor_id, 0, (TaskSpec(unknown[:24], 0, b"\xff", 9, 1, 1),)
        ),
        m.RecallTasks((unknown[:24],)),
        m.ExitActor(unknown[:24], "wrong actor"),
        m.ReturnLease(1 << 40, "done"),
        m.CancelLease(1 << 40),
        m.Blocked(),
        m.Unblocked(),
        m.Watch((unknown[:16], victims.worker)),
        m.ReturnMemory(((0, 1 << 60), (-1, 5))),
        m.ClaimMemory(unknown[:16], ((0, 10),)),
        m.FreeClaimed((0, 7)),
        m.ReleaseName(unknown[:24]),
        m.AskNode(1, "no such topic"),
        m.KillWorker(unknown[:16], "nobody"),
    ]
    for target in victims.targets:
        target.say(hello, sequence=0)
        for sequence, message in enumerate(nonsense, 1):
            target.say(message, sequence=sequence)
    victims.work()
    victims.work()


def test_a_flood_of_strangers_does_not_grow_the_log(
    victims: Victims, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zfut.actors.mailbox.COMPLAINTS_MAX", 50)
    target = victims.target(victims.driver.uid)
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 4096)
    dealers = []
    for n in range(200):
        dealers.append(dealer := context.socket(zmq.DEALER))
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.ROUTING_ID, EVE[:8] + n.to_bytes(8, "big"))
        dealer.connect(f"ipc://{target.path}")
        dealer.send(b"let me in")
    mailbox = victims.driver.loop.mailbox
    until(lambda: mailbox.dropped.total() >= 200, "all were dropped")
    assert len(mailbox._complained) == 50  # noqa: SLF001
    victims.work()
    for dealer in dealers:
        dealer.close()
    context.term()


@pytest.mark.usefixtures("session")
def test_sockets_and_keys_are_for_their_user_only(base: Path) -> None:
    directory = Processes(base).directory
    for path in (base, directory, directory / "s"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert (directory / "session.json").stat().st_mode & 0o777 == 0o600
