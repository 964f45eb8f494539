"""The mailbox on real sockets, in one process: who is heard, what is dropped, what is left."""

# ruff: noqa: SLF001  the sockets are looked at
from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.cluster.leftovers import Footprint, assert_unchanged, new_base, until
from zfut.actors.mailbox import HELLO_MAX_BYTES, Mailbox, join_header, socket_path
from zfut.actors.places import IPC_PATH_MAX
from zfut.core.events import Received
from zfut.errors import SessionError
from zfut.wire import messages as m
from zfut.wire.codec import (
    ROUTE_BYTES,
    decode_to_node,
    decode_to_owner,
    encode,
    route,
    route_prefix,
)

KEY = b"k" * 32
FRAME_MAX = 1 << 20
ALICE, BOB, EVE = (bytes(8) + name.ljust(8, b"_") for name in (b"alice", b"bob", b"eve"))

Make = Callable[..., Mailbox]


def hello(uid: bytes, *, key: bytes = KEY, protocol: int = m.PROTOCOL_VERSION) -> m.Hello:
    return m.Hello(protocol, key, uid, "driver", os.getpid())


@pytest.fixture
def base() -> Iterator[Path]:
    made = new_base()
    before = Footprint.take(made)
    yield made
    assert_unchanged(before, made)
    shutil.rmtree(made)


@pytest.fixture
def make(base: Path) -> Iterator[Make]:
    made: list[Mailbox] = []

    def make_one(uid: bytes, decode: Any = decode_to_owner, key: bytes = KEY) -> Mailbox:
        made.append(Mailbox(str(base), hello(uid, key=key), decode, FRAME_MAX))
        return made[-1]

    yield make_one
    for mailbox in made:
        mailbox.close()


class Stranger:
    """A plain DEALER that has found the socket."""

    def __init__(self, base: Path, target: bytes, name: bytes = EVE) -> None:
        self.target = target
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.ROUTING_ID, name)
        self._socket.connect("ipc://" + socket_path(str(base), target))

    def send(self, *frames: bytes) -> None:
        self._socket.send_multipart(frames)

    def say(self, message: m.Message, sequence: int = 0, *payload: bytes) -> None:
        self.send(route(route_prefix(self.target), sequence) + encode(message), *payload)

    def close(self) -> None:
        self._context.destroy(0)


@pytest.fixture
def stranger(base: Path) -> Iterator[Callable[..., Stranger]]:
    made: list[Stranger] = []

    def make_one(target: bytes, name: bytes = EVE) -> Stranger:
        made.append(Stranger(base, target, name))
        return made[-1]

    yield make_one
    for one in made:
        one.close()


def take(mailbox: Mailbox, count: int) -> list[Received]:
    """Wait for ``count`` messages."""
    got: list[Received] = []

    def enough() -> bool:
        got.extend(mailbox.receive())
        return len(got) >= count

    until(enough, f"{count} messages")
    assert len(got) == count
    return got


def drops(mailbox: Mailbox, count: int) -> dict[str, int]:
    """Wait until ``count`` messages were dropped; nothing else may arrive."""

    def enough() -> bool:
        assert not list(mailbox.receive())
        return mailbox.dropped.total() >= count

    until(enough, f"{count} drops")
    return dict(mailbox.dropped)


# ------------------------------------------------------------------ what arrives


def test_messages_arrive_in_order_after_a_hello(make: Make) -> None:
    alice, bob = make(ALICE), make(BOB)
    for n in range(1000):
        alice.send(BOB, m.NodeStops(str(n)))
    got = take(bob, 1001)
    assert [received.sender for received in got] == [ALICE] * 1001
    assert got[0].message == hello(ALICE)
    assert [received.message.why for received in got[1:]] == [str(n) for n in range(1000)]
    assert not bob.dropped


def test_a_payload_is_joined_and_one_beyond_the_bound_comes_whole(make: Make) -> None:
    alice, bob = make(ALICE), make(BOB)
    alice.send(BOB, m.NodeStops("small"), [b"ab", b"", b"c"])
    sizes = (FRAME_MAX - 1, FRAME_MAX, FRAME_MAX + 1, 3 * FRAME_MAX, 5 * FRAME_MAX // 2)
    for size in sizes:
        alice.send(
            BOB, m.NodeStops("large"), [bytes(range(256)) * (size // 256), b"x" * (size % 256)]
        )
    got = take(bob, 2 + len(sizes))
    assert got[1].payload == b"abc"
    for received, size in zip(got[2:], sizes, strict=True):
        assert len(received.payload) == size
        assert received.payload[: 1 << 16] == bytes(range(256)) * 256
        assert received.payload[-(size % 256) :] == b"x" * (size % 256) or size % 256 == 0


def test_both_directions_and_greeting_without_a_message(make: Make) -> None:
    alice, bob = make(ALICE), make(BOB)
    alice.greet(BOB)
    alice.greet(BOB)
    assert [received.message for received in take(bob, 1)] == [hello(ALICE)]
    bob.send(ALICE, m.NodeStops("back"))
    assert [type(received.message) for received in take(alice, 2)] == [m.Hello, m.NodeStops]


def test_who_sends_first_need_not_wait_for_the_other_to_be_there(make: Make) -> None:
    alice = make(ALICE)
    alice.send(BOB, m.NodeStops("early"))
    bob = make(BOB)
    assert take(bob, 2)[1].message == m.NodeStops("early")


# ------------------------------------------------------------------ what is dropped


def test_nothing_is_decoded_before_a_hello_with_the_key(
    make: Make, stranger: Callable[..., Stranger], caplog: pytest.LogCaptureFixture
) -> None:
    bob, eve = make(BOB), stranger(BOB)
    with caplog.at_level(logging.WARNING, "zfut"):
        for n in range(5):
            eve.say(m.NodeStops("lies"), n)
        assert drops(bob, 5) == {"it has not said hello": 5}
        eve.say(hello(EVE, key=b"x" * 32))
        eve.say(hello(EVE, key=b""))
        eve.say(hello(ALICE))
        assert drops(bob, 8)["wrong key"] == 3
        eve.say(hello(EVE, protocol=m.PROTOCOL_VERSION + 1))
        eve.say(hello(EVE, protocol=0))
        assert drops(bob, 10)["it speaks another version of the protocol"] == 2
    assert len(caplog.records) == 3
    assert all(EVE.hex() in record.getMessage() for record in caplog.records)
    eve.say(hello(EVE))
    eve.say(m.NodeStops("truth"), 1)
    assert take(bob, 2)[1].message == m.NodeStops("truth")


def test_each_peer_and_reason_is_logged_once_and_only_so_many(
    make: Make,
    stranger: Callable[..., Stranger],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zfut.actors.mailbox.COMPLAINTS_MAX", 3)
    bob = make(BOB)
    with caplog.at_level(logging.WARNING, "zfut"):
        for n in range(5):
            one = stranger(BOB, EVE[:-1] + bytes([n]))
            one.send(b"junk")
            one.send(b"more junk")
        drops(bob, 10)
    assert len(caplog.records) == 3


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ((b"",), "wrong number or size of frames"),
        ((b"\x01",), "wrong number or size of frames"),
        ((route(route_prefix(BOB), 1),), "wrong number or size of frames"),
        ((b"\x00" * 100,), "addressed to another process or protocol"),
        ((b"\x02" + BOB + bytes(8) + b"\xc0",), "addressed to another process or protocol"),
        (
            (route(route_prefix(ALICE), 1) + encode(hello(EVE)),),
            "addressed to another process or protocol",
        ),
        ((route(route_prefix(BOB), 1) + b"\xc1garbage",), "it has not said hello"),
        ((route(route_prefix(BOB), 1) + encode(hello(EVE))[:-1],), "it has not said hello"),
        ((route(route_prefix(BOB), 1) + encode(hello(EVE)) + b"x",), "it has not said hello"),
        ((route(route_prefix(BOB), 1) + encode(hello(EVE)), b"payload"), "larger than a hello"),
        ((route(route_prefix(BOB), 1) + bytes(HELLO_MAX_BYTES),), "larger than a hello"),
        ((route(route_prefix(BOB), 1) + bytes(FRAME_MAX // 2),), "larger than a hello"),
        (
            (route(route_prefix(BOB), 1) + encode(hello(EVE)), *[b""] * 500),
            "larger than a hello",
        ),
    ],
)
def test_garbage_of_every_shape(
    make: Make, stranger: Callable[..., Stranger], frames: tuple[bytes, ...], why: str
) -> None:
    alice, bob, eve = make(ALICE), make(BOB), stranger(BOB)
    eve.send(*frames)
    eve.send(*frames)
    assert drops(bob, 2) == {why: 2}
    alice.send(BOB, m.NodeStops("still here"))
    assert take(bob, 2)[1].message == m.NodeStops("still here")


def test_a_mailbox_hears_only_what_its_party_may_receive(
    make: Make, stranger: Callable[..., Stranger]
) -> None:
    owner, node = make(ALICE), make(BOB, decode_to_node)
    to_owner, to_node = stranger(ALICE), stranger(BOB)
    for one in (to_owner, to_node):
        one.say(hello(EVE))
    take(owner, 1)
    take(node, 1)
    to_owner.say(m.Stop("no node here"), 1)
    to_node.say(m.NodeStops("no owner here"), 1)
    to_owner.send(route(route_prefix(ALICE), 2) + b"\x91\xcd\x27\x0f")
    to_owner.send(route(route_prefix(ALICE), 3) + b"\x92\x44\x01")
    assert drops(owner, 3) == {"not a message for this mailbox": 3}
    assert drops(node, 1) == {"not a message for this mailbox": 1}
    to_owner.say(m.NodeStops("understood"), 4)
    assert take(owner, 1)[0].message == m.NodeStops("understood")


def test_a_repeated_message_is_dropped(make: Make, stranger: Callable[..., Stranger]) -> None:
    bob, eve = make(BOB), stranger(BOB)
    eve.say(hello(EVE))
    for sequence in (1, 2, 2, 1, 3):
        eve.say(m.NodeStops(str(sequence)), sequence)
    got = [received.message for received in take(bob, 4)]
    assert got[1:] == [m.NodeStops("1"), m.NodeStops("2"), m.NodeStops("3")]
    assert bob.dropped == {"repeated": 2}


def test_a_frame_beyond_the_bound_ends_its_connection_and_nothing_else(
    make: Make, stranger: Callable[..., Stranger]
) -> None:
    alice, bob, eve = make(ALICE), make(BOB), stranger(BOB)
    alice.send(BOB, m.NodeStops("before"))
    take(bob, 2)
    eve.send(route(route_prefix(BOB), 1) + bytes(2 * FRAME_MAX))
    eve.send(b"after")
    assert drops(bob, 1) == {"wrong number or size of frames": 1}
    alice.send(BOB, m.NodeStops("after"))
    assert take(bob, 1)[0].message == m.NodeStops("after")


# ------------------------------------------------------------------ two that live stay connected

PAUSED = """
import sys
from tests.actors.test_mailbox import BOB, FRAME_MAX, decode_to_owner, hello, take
from zfut.actors.mailbox import Mailbox
bob = Mailbox(sys.argv[1], hello(BOB), decode_to_owner, FRAME_MAX)
take(bob, 2)
print("here", flush=True)
got = take(bob, int(sys.argv[2]))
print([int(one.message.why) for one in got] == list(range(len(got))), flush=True)
sys.stdin.read()
bob.close()
"""
"""Says when it has heard something, and whether the rest came whole and in order; then stays."""


@contextlib.contextmanager
def running(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", program, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.kill()


def test_a_peer_that_is_stopped_and_goes_on_has_lost_nothing(make: Make, base: Path) -> None:
    """No message is dropped however many wait, and no silence is taken for an end."""
    count = 4000
    alice = make(ALICE)
    alice.send(BOB, m.NodeStops("first"))
    watch = alice._peers[BOB].socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    with contextlib.closing(watch), running(PAUSED, str(base), str(count)) as bob:
        assert bob.stdout is not None
        assert bob.stdout.readline() == "here\n"
        bob.send_signal(signal.SIGSTOP)
        for n in range(count):  # far more than the kernel keeps for a socket
            alice.send(BOB, m.NodeStops(str(n)), [bytes(10_000)])
        assert not watch.poll(0)
        bob.send_signal(signal.SIGCONT)
        assert bob.stdout.readline() == "True\n"
        assert not watch.poll(0), "the connection is the one that was made first"
        assert bob.stdin is not None
        bob.stdin.close()
        assert bob.stdout.read() == ""


def test_nothing_in_zeromq_ends_a_connection_by_itself(make: Make) -> None:
    """No heartbeat, no bound on a queue, no keep-alive: only an end of a process is an end."""
    alice, bob = make(ALICE), make(BOB)
    alice.greet(BOB)
    take(bob, 1)
    for one in (alice._peers[BOB].socket, bob._router):
        for option in (zmq.HEARTBEAT_IVL, zmq.IMMEDIATE):
            assert one.getsockopt(option) == 0
    assert alice._peers[BOB].socket.getsockopt(zmq.SNDHWM) == 0
    assert bob._router.getsockopt(zmq.RCVHWM) == 0


@pytest.mark.parametrize("payload", [b"", b"p", b"q" * (FRAME_MAX + 1)])
def test_a_header_beyond_the_bound_travels_in_several_frames(
    make: Make, payload: bytes
) -> None:
    alice, bob = make(ALICE), make(BOB)
    words = ("1", "2", "x" * (2 * FRAME_MAX), "y" * FRAME_MAX, "5")
    for why in words:
        alice.send(BOB, m.NodeStops(why), (payload,) if payload else ())
    got = take(bob, 1 + len(words))[1:]
    assert [received.message for received in got] == [m.NodeStops(why) for why in words]
    assert {received.payload for received in got} == {payload}


@pytest.mark.parametrize(
    "rest",
    [[], [b""], [b"\0\0\0\1"], [b"\0\0\0\2", b"x"], [b"\xff" * 4, b"x"], [b"\0\0\0\0", b"x"]],
)
def test_a_long_header_that_is_not_whole_is_no_message(rest: list[bytes]) -> None:
    assert join_header([ALICE, bytes(ROUTE_BYTES), *rest]) is None


def test_bytes_that_are_no_zeromq(make: Make, base: Path) -> None:
    alice, bob = make(ALICE), make(BOB)
    for data in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"\xff" + bytes(8) + b"\x7f"):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(socket_path(str(base), BOB))
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
    alice.send(BOB, m.NodeStops("still here"))
    assert take(bob, 2)[1].message == m.NodeStops("still here")


def test_who_takes_a_living_peers_name_is_not_heard(
    make: Make, stranger: Callable[..., Stranger]
) -> None:
    alice, bob = make(ALICE), make(BOB)
    alice.send(BOB, m.NodeStops("1"))
    take(bob, 2)
    thief = stranger(BOB, ALICE)
    for n in range(100, 110):
        thief.say(m.NodeStops("stolen"), n)
    alice.send(BOB, m.NodeStops("2"))
    assert take(bob, 1)[0].message == m.NodeStops("2")


# ------------------------------------------------------------------ ends


def test_a_forgotten_peer_must_greet_again(
    make: Make, stranger: Callable[..., Stranger]
) -> None:
    bob, eve = make(BOB), stranger(BOB)
    eve.say(hello(EVE))
    take(bob, 1)
    bob.forget(EVE)
    bob.forget(ALICE)
    eve.say(m.NodeStops("ghost"), 7)
    assert drops(bob, 1) == {"it has not said hello": 1}


def test_what_was_sent_to_a_forgotten_peer_opens_a_new_connection(make: Make) -> None:
    alice, bob = make(ALICE), make(BOB)
    alice.send(BOB, m.NodeStops("one"))
    take(bob, 2)
    alice.forget(BOB)
    bob.forget(ALICE)
    bob.close()
    bob = make(BOB)
    alice.send(BOB, m.NodeStops("two"))
    assert take(bob, 2)[1].message == m.NodeStops("two")


def test_closing_leaves_no_file_and_waits_for_the_last_messages(make: Make, base: Path) -> None:
    alice, bob = make(ALICE), make(BOB)
    alice.send(BOB, m.NodeStops("last words"), [bytes(FRAME_MAX)])
    alice.close(linger_ms=2000)
    assert not Path(socket_path(str(base), ALICE)).exists()
    assert take(bob, 2)[1].message == m.NodeStops("last words")


def test_a_message_to_nobody_holds_up_no_end(make: Make) -> None:
    alice = make(ALICE)
    for n in range(100):
        alice.send(BOB, m.NodeStops(str(n)))
    alice.close()


def test_a_path_that_is_too_long_is_refused_with_advice(base: Path) -> None:
    deep = base / ("d" * IPC_PATH_MAX)
    with pytest.raises(SessionError, match="ZFUT_SESSION_DIR"):
        Mailbox(str(deep), hello(ALICE), decode_to_owner, FRAME_MAX)
