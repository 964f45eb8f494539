"""Two processes that call each other over ZeroMQ and do nothing else: the floor of a call.

    caller                                   echo
    DEALER ---- [kind, header, body] ------> ROUTER
    ROUTER <--- [kind, header, body] ------- DEALER

The same work as a runtime cannot avoid: a typed header encoded and decoded on both sides, a
pickled body of about 200 bytes, an entry for each pending call in the caller's table. The
thread that calls sends and receives by itself. Packed, header and body are those of many calls.

    python -m benchmarks.runners.bare_echo DIRECTORY     is the other process
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq

PACKED = 64
BODY_BYTES = 200
_FILLER = b"\1" * (BODY_BYTES - 24)  # pickled with a number, about BODY_BYTES
_CALL, _PACKED, _STOP = b"c", b"p", b"s"
_ORPHAN_CHECK_MS = 1_000
_ANSWER_MS = 30_000


class Header(msgspec.Struct, array_like=True, tag=True):
    """What a call says of itself: ten fields, as many as a task's message needs."""

    call_id: int
    attempt: int
    owner: bytes
    epoch: int
    trace_id: int
    function: bytes
    arguments: int
    returns: int
    credit_bytes: int
    flags: int


class Answer(msgspec.Struct, array_like=True, tag=True):
    """What an answer says of itself."""

    call_id: int
    attempt: int
    size_bytes: int
    flags: int


class Mailbox:
    """A ROUTER to receive by, and a DEALER to the other side's ROUTER."""

    def __init__(self, directory: Path, own: str, other: str) -> None:
        self._context = zmq.Context()
        self.receiver = self._context.socket(zmq.ROUTER)
        self.sender = self._context.socket(zmq.DEALER)
        for socket in (self.receiver, self.sender):
            socket.set_hwm(0)
            socket.linger = 0
        self.sender.setsockopt(zmq.IDENTITY, own.encode())
        self.receiver.bind(f"ipc://{directory}/{own}")
        self.sender.connect(f"ipc://{directory}/{other}")

    def close(self) -> None:
        """Close both sockets."""
        self._context.destroy(linger=0)


class Caller:
    """The calling side; starts the echo process and ends it."""

    def __init__(self, directory: Path) -> None:
        self._mailbox = Mailbox(directory, "caller", "echo")
        self._mailbox.receiver.rcvtimeo = _ANSWER_MS
        self._table: dict[int, Header] = {}
        self._next_id = 0
        self._encode = msgspec.msgpack.Encoder().encode
        self._answer = msgspec.msgpack.Decoder(Answer).decode
        self._answers = msgspec.msgpack.Decoder(list[Answer]).decode
        self._bodies = msgspec.msgpack.Decoder(list[bytes]).decode
        command = [sys.executable, "-m", "benchmarks.runners.bare_echo", str(directory)]
        self._echo = subprocess.Popen(command)  # noqa: S603 - our own module

    def call(self, value: int) -> int:
        """One call, one answer."""
        header = self._new_header()
        body = pickle.dumps((value, _FILLER), 5)
        self._mailbox.sender.send_multipart((_CALL, self._encode(header), body))
        _, _, head, result = self._mailbox.receiver.recv_multipart()
        del self._table[self._answer(head).call_id]
        answer: int = pickle.loads(result)  # noqa: S301 - from our own process
        return answer

    def call_many(self, count: int) -> list[int]:
        """Submit so many calls, packed; then take all the answers."""
        for start in range(0, count, PACKED):
            numbers = range(start, min(start + PACKED, count))
            headers = [self._new_header() for _ in numbers]
            bodies = [pickle.dumps((number, _FILLER), 5) for number in numbers]
            frames = (_PACKED, self._encode(headers), self._encode(bodies))
            self._mailbox.sender.send_multipart(frames)
        results: list[int] = []
        while self._table:
            _, _, head, packed = self._mailbox.receiver.recv_multipart()
            for answer, body in zip(self._answers(head), self._bodies(packed), strict=True):
                del self._table[answer.call_id]
                results.append(pickle.loads(body))  # noqa: S301 - from our own process
        return results

    def close(self) -> None:
        """End the echo process, and the sockets."""
        self._mailbox.sender.send_multipart((_STOP, b"", b""))
        try:
            self._echo.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._echo.kill()
            self._echo.wait()
        self._mailbox.close()

    def _new_header(self) -> Header:
        self._next_id += 1
        owner, function = b"caller-1", b"0123456789abcdef"
        header = Header(self._next_id, 0, owner, 1, 77, function, 1, 1, 1 << 20, 0)
        self._table[header.call_id] = header
        return header


def echo(directory: Path) -> None:
    """Answer calls until told to stop, or until the caller is gone."""
    mailbox = Mailbox(directory, "echo", "caller")
    mailbox.receiver.rcvtimeo = _ORPHAN_CHECK_MS
    answer_one, answer_many = _one_answer(), _many_answers()
    parent = os.getppid()
    while os.getppid() == parent:
        try:
            _, kind, head, body = mailbox.receiver.recv_multipart()
        except zmq.Again:
            continue
        if kind == _STOP:
            break
        answer = answer_many if kind == _PACKED else answer_one
        mailbox.sender.send_multipart((kind, *answer(head, body)))
    mailbox.close()


def _one_answer() -> Callable[[bytes, bytes], tuple[bytes, bytes]]:
    decode = msgspec.msgpack.Decoder(Header).decode
    encode = msgspec.msgpack.Encoder().encode

    def answer(head: bytes, body: bytes) -> tuple[bytes, bytes]:
        value, _ = pickle.loads(body)  # noqa: S301 - from our caller
        called = decode(head)
        return encode(Answer(called.call_id, 0, BODY_BYTES, 0)), pickle.dumps(value + 1, 5)

    return answer


def _many_answers() -> Callable[[bytes, bytes], tuple[bytes, bytes]]:
    decode = msgspec.msgpack.Decoder(list[Header]).decode
    bodies = msgspec.msgpack.Decoder(list[bytes]).decode
    encode = msgspec.msgpack.Encoder().encode

    def answer(head: bytes, packed: bytes) -> tuple[bytes, bytes]:
        answers = [Answer(called.call_id, 0, BODY_BYTES, 0) for called in decode(head)]
        values = [pickle.loads(body)[0] for body in bodies(packed)]  # noqa: S301 - our caller
        return encode(answers), encode([pickle.dumps(value + 1, 5) for value in values])

    return answer


if __name__ == "__main__":
    echo(Path(sys.argv[1]))
