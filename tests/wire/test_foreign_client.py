"""A client written from docs/protocol.md alone, as one in another language would be.

It uses a ZeroMQ library, a msgpack library without schemas, and the numbers on the page; of
zfut it uses nothing but the session it joins.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

import zfut
from tests.cluster.leftovers import new_base

HELLO, REQUEST_LEASE, RETURN_LEASE, LEASE_GRANTED = 1, 10, 12, 13
PUSH_TASKS, TASKS_FINISHED, FAREWELL = 40, 43, 67
RAW, MSGPACK, ERROR_STATUS = 3, 4, 1
DEADLINE_S = 30.0

pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode


class Client:
    """A driver with one ROUTER, and a DEALER for each process it speaks to."""

    def __init__(self, directory: Path) -> None:
        session = json.loads((directory / "session.json").read_text())
        self.sockets = directory / "s"
        self.key = bytes.fromhex(session["key"])
        self.protocol = session["protocol"]
        self.manager = bytes.fromhex(session["manager"])
        spawn = (0x80000000 | secrets.randbits(31)).to_bytes(4, "big")
        self.uid = self.manager[:8] + spawn + secrets.token_bytes(4)
        self.context = zmq.Context[zmq.Socket[bytes]]()
        self.router = self.context.socket(zmq.ROUTER)
        self.router.bind(self.address(self.uid))
        self.peers: dict[bytes, tuple[zmq.Socket[bytes], int]] = {}

    def address(self, uid: bytes) -> str:
        return f"ipc://{self.sockets}/{uid[8:].hex()}"

    def send(self, to: bytes, *array: object, payload: bytes = b"") -> None:
        if to not in self.peers:
            dealer = self.context.socket(zmq.DEALER)
            dealer.setsockopt(zmq.ROUTING_ID, self.uid)
            dealer.setsockopt(zmq.SNDHWM, 0)
            dealer.connect(self.address(to))
            self.peers[to] = dealer, -1
            self.send(to, HELLO, self.protocol, self.key, self.uid, "driver", os.getpid())
        dealer, number = self.peers[to]
        self.peers[to] = dealer, number + 1
        head = b"\x01" + to + (number + 1).to_bytes(8, "big") + pack(array)
        dealer.send_multipart([head, payload] if payload else [head])

    def receive(self, wanted: int) -> tuple[bytes, list[Any], bytes]:
        """Return sender, array and payload of the next message with this number."""
        deadline = time.monotonic() + DEADLINE_S
        while self.router.poll(max(0, int((deadline - time.monotonic()) * 1000))):
            sender, head, *payload = self.router.recv_multipart()
            assert head[:1] == b"\x01"
            assert head[1:17] == self.uid
            array = unpack(head[25:])
            if array[0] == wanted:
                return sender, array, payload[0] if payload else b""
        pytest.fail(f"message {wanted} did not come within {DEADLINE_S:g} s")

    def call(self, code: bytes, arguments: list[Any], number: int) -> tuple[list[Any], bytes]:
        """Have one task run under a lease of its own; return its result and payload."""
        self.send(self.manager, REQUEST_LEASE, number, [["CPU", 10_000]], 0, 1, "foreign")
        _, (_, lease_id, worker, bind, *_), _ = self.receive(LEASE_GRANTED)
        assert lease_id == number
        packed = pack([arguments, {}])
        function_id = secrets.token_bytes(16)
        function = [function_id, "foreign", len(code)]
        task_id = self.uid + number.to_bytes(8, "big")
        task = [task_id, 0, function_id, len(packed), MSGPACK, 1]
        self.send(
            worker,
            PUSH_TASKS,
            [self.uid, 0],
            number,
            bind,
            [function],
            [task],
            payload=code + packed,
        )
        sender, (_, [result], *_), payload = self.receive(TASKS_FINISHED)
        assert sender == worker
        assert result[0] == task_id
        self.send(self.manager, RETURN_LEASE, number, "done")
        return result, payload

    def close(self) -> None:
        self.send(self.manager, FAREWELL)
        for dealer, _ in self.peers.values():
            dealer.close(1000)
        self.router.close(0)
        self.context.term()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    base = new_base()
    monkeypatch.setenv("ZFUT_SESSION_DIR", str(base))
    with zfut.init(num_cpus=1):
        (directory,) = base.iterdir()
        foreign = Client(directory)
        yield foreign
        foreign.close()
    shutil.rmtree(base)


@pytest.mark.cluster
def test_a_task_runs_and_answers(client: Client) -> None:
    result, payload = client.call(b"cbinascii\nhexlify\n.", [b"\x00\xff"], 1)
    _, attempt, status, [value], *_ = result
    assert (attempt, status) == (0, 0)
    assert value[:3] == [0, len(payload), RAW]
    assert payload == b"00ff"


@pytest.mark.cluster
def test_a_task_that_raises_tells_in_msgpack_what_happened(client: Client) -> None:
    result, payload = client.call(b"cmath\nsqrt\n.", [-1], 1)
    assert result[2] == ERROR_STATUS
    with pytest.raises(ValueError) as here:  # noqa: PT011  the text is Python's
        math.sqrt(-1)
    failure = unpack(payload)
    assert failure["type_name"] == "ValueError"
    assert failure["message"] == str(here.value)


@pytest.mark.cluster
def test_a_lease_that_was_returned_can_be_had_again(client: Client) -> None:
    for number in (1, 2, 3):
        _, payload = client.call(b"cbinascii\nhexlify\n.", [bytes([number])], number)
        assert payload == b"0%d" % number
