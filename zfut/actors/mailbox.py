"""The mailbox: a ROUTER that receives, and a DEALER for each process that is sent to.

Each ordered pair of processes has one connection and so one order.  Sockets are files in the
session's private directory: who cannot enter it cannot connect.  The first message on a
connection is Hello with the session's key; anything else is dropped unread until then.

What is dropped is counted by reason and logged once for each peer and reason: a stranger can
neither stop this process nor fill its log.  A frame beyond the bound ends its connection before
it is read; a payload beyond it travels in several frames.

The socket options are chosen, not inherited (ZeroMQ's defaults drop silently and hang at exit):
no high-water mark, because flow is limited by what was asked for; no linger, because a closed
connection's peer is dead or has said good-bye; mandatory routing; a bound on a frame's size.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import zmq

from zfut.actors.places import IPC_PATH_MAX
from zfut.core.events import Received
from zfut.errors import SessionError
from zfut.wire import messages as m
from zfut.wire.codec import ROUTE_BYTES, encode, join, route_prefix

log = logging.getLogger("zfut.mailbox")

HELLO_FRAMES = 2
COUNT_BYTES, LONG_FRAMES = 4, 4
MESSAGE_FRAMES = 3
"""The sender's name, the header, and the payload if there is one."""

HELLO_MAX_BYTES = 1024
"""The first message of a connection is smaller than this."""

COMPLAINTS_MAX = 1000
"""Peers and reasons that are remembered as logged; beyond them nothing is logged any more."""

FAREWELL_MS = 200
"""A process that ends in peace waits this long for its last messages to leave."""


def socket_path(directory: str, uid: bytes) -> str:
    """Return where the process ``uid`` of this session receives."""
    return f"{directory}/{uid[8:].hex()}"


class MailboxError(Exception):
    """A message could not be handed to ZeroMQ: nothing that depends on it can go on."""


class _Peer:
    """One outgoing connection."""

    __slots__ = ("prefix", "sequence", "socket")

    def __init__(self, socket: zmq.Socket[bytes], uid: bytes) -> None:
        self.socket = socket
        self.prefix = route_prefix(uid)
        self.sequence = 0


class Mailbox:
    """Frames in, frames out. Used by one thread at a time, under the loop's lock."""

    def __init__(
        self,
        directory: str,
        hello: m.Hello,
        decode: Callable[[bytes | memoryview], m.Message],
        frame_max_bytes: int,
    ) -> None:
        self._directory = directory
        self._hello = hello
        self._decode = decode
        self._pid = os.getpid()
        self._route = route_prefix(hello.uid)
        self._peers: dict[bytes, _Peer] = {}
        self._trusted: dict[bytes, int] = {}
        self._complained: dict[tuple[bytes, str], None] = {}
        self._frame_max_bytes = frame_max_bytes
        self._path = socket_path(directory, hello.uid)
        if len(self._path) > IPC_PATH_MAX:
            raise SessionError(
                f"the socket path {self._path} is {len(self._path)} bytes long; the system allows "
                f"{IPC_PATH_MAX}. Set ZFUT_SESSION_DIR to a shorter directory"
            )
        self.dropped: Counter[str] = Counter()
        self.unreachable: Callable[[bytes], None] = _nothing
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._context.set(zmq.MAX_SOCKETS, 16_384)
        self._router = self._context.socket(zmq.ROUTER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.RCVHWM, 0),
            (zmq.SNDHWM, 0),
            (zmq.ROUTER_MANDATORY, 1),
            (zmq.MAXMSGSIZE, frame_max_bytes),
        ):
            self._router.setsockopt(option, value)
        try:
            self._router.bind("ipc://" + self._path)
        except zmq.ZMQError as error:
            self._context.destroy(0)
            raise SessionError(
                f"the session in {directory}",
                f"a process cannot make its socket there ({error.strerror})",
            ) from None
        self.fd = int(self._router.getsockopt(zmq.FD))

    # ---------------------------------------------------------------- sending

    def send(self, to: bytes, message: m.Message, payload: Sequence[bytes] = ()) -> None:
        """Send a message; it leaves in the order of calls, without waiting."""
        peer = self._peers.get(to)
        if peer is None:
            peer = self._connect(to)
        peer.sequence += 1
        head = peer.prefix + peer.sequence.to_bytes(8, "big") + encode(message)
        socket = peer.socket
        if len(head) > self._frame_max_bytes:
            head = self._send_route(socket, head)
        if payload:
            _send(socket, head, _MORE_COMES)
            data = join(payload)
            if len(data) > self._frame_max_bytes:
                data = self._send_all_but_last(socket, data)
            _send(socket, data, _AT_ONCE)
        else:
            _send(socket, head, _AT_ONCE)

    def _send_route(self, socket: zmq.Socket[bytes], head: bytes) -> bytes:
        """Send the route alone, and a long header in frames that may pass. Returns the last."""
        header = head[ROUTE_BYTES:]
        count = -(-len(header) // self._frame_max_bytes)
        _send(socket, head[:ROUTE_BYTES], _MORE_COMES)
        _send(socket, count.to_bytes(COUNT_BYTES, "big"), _MORE_COMES)
        return self._send_all_but_last(socket, header)

    def _send_all_but_last(self, socket: zmq.Socket[bytes], data: bytes) -> bytes:
        """Send a long payload in frames that may pass. Returns the last one."""
        size = self._frame_max_bytes
        last = (len(data) - 1) // size * size
        for at in range(0, last, size):
            _send(socket, data[at : at + size], _MORE_COMES)
        return data[last:]

    def _connect(self, to: bytes) -> _Peer:
        path = socket_path(self._directory, to)
        if not Path(path).exists() and not Path(self._directory).is_dir():
            self.unreachable(to)
        try:
            socket = self._new_socket()
        except (OSError, zmq.ZMQError) as error:
            text = (
                f"it can open no connection to process {to[8:].hex()} ({error.strerror}) beside "
                f"the {len(self._peers)} that it has. Close files that it has open, or raise "
                "their limit: ulimit -n"
            )
            raise MailboxError(text) from None
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.ROUTING_ID, self._hello.uid)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        socket.connect("ipc://" + path)
        peer = self._peers[to] = _Peer(socket, to)
        socket.send(peer.prefix + bytes(8) + encode(self._hello), zmq.DONTWAIT)
        return peer

    def _new_socket(self) -> zmq.Socket[bytes]:
        """Make a socket, and sure that it can connect: that takes a second descriptor, later."""
        spare = os.eventfd(0)
        try:
            return self._context.socket(zmq.DEALER)
        finally:
            os.close(spare)

    def greet(self, to: bytes) -> None:
        """Connect to a process and say who we are, before there is anything to send."""
        if to not in self._peers:
            self._connect(to)

    def forget(self, uid: bytes) -> None:
        """The process is gone: close the connection, trust its name no more."""
        peer = self._peers.pop(uid, None)
        if peer is not None:
            peer.socket.close(0)
        self._trusted.pop(uid, None)

    # ---------------------------------------------------------------- receiving

    def readable(self) -> bool:
        """Whether a message has arrived."""
        return bool(_get(self._router, _EVENTS) & 1)

    def receive(self) -> Iterator[Received]:
        """Yield every message that has arrived."""
        router = self._router
        while _get(router, _EVENTS) & 1:
            frames = [_recv(router, _AT_ONCE)]
            while _get(router, _MORE):
                frame = _recv(router, _AT_ONCE)
                if len(frames) <= MESSAGE_FRAMES or frames[0] in self._trusted:
                    frames.append(frame)
            received = self._open(frames)
            if received is not None:
                yield received

    def _open(self, frames: list[bytes]) -> Received | None:  # noqa: PLR0911  one for each reason
        sender = frames[0]
        count = len(frames)
        if count < HELLO_FRAMES or len(frames[1]) <= ROUTE_BYTES:
            whole = join_header(frames) if sender in self._trusted else None
            if whole is None:
                self._drop(sender, "wrong number or size of frames")
                return None
            frames, count = whole, len(whole)
        head = frames[1]
        if not head.startswith(self._route):
            self._drop(sender, "addressed to another process or protocol")
            return None
        trusted = sender in self._trusted
        if not trusted:
            return self._greet(sender, frames)
        sequence = int.from_bytes(head[17:ROUTE_BYTES], "big")
        if sequence <= self._trusted[sender]:
            self._drop(sender, "repeated")
            return None
        self._trusted[sender] = sequence
        try:
            message = self._decode(memoryview(head)[ROUTE_BYTES:])
        except (msgspec.DecodeError, msgspec.ValidationError):
            self._drop(sender, "not a message for this mailbox")
            return None
        if count <= MESSAGE_FRAMES:
            return Received(sender, message, frames[2] if count == MESSAGE_FRAMES else b"")
        return Received(sender, message, b"".join(frames[2:]))

    def _greet(self, sender: bytes, frames: list[bytes]) -> Received | None:
        head = frames[1]
        if len(frames) != HELLO_FRAMES or len(head) > HELLO_MAX_BYTES:
            self._drop(sender, "larger than a hello")
            return None
        try:
            hello = _decode_hello(memoryview(head)[ROUTE_BYTES:])
        except (msgspec.DecodeError, msgspec.ValidationError):
            self._drop(sender, "it has not said hello")
            return None
        if hello.protocol != m.PROTOCOL_VERSION:
            self._drop(sender, "it speaks another version of the protocol")
            return None
        if hello.uid != sender or not hmac.compare_digest(hello.key, self._hello.key):
            self._drop(sender, "wrong key")
            return None
        self._trusted[sender] = 0
        return Received(sender, hello)

    def _drop(self, sender: bytes, why: str) -> None:
        self.dropped[why] += 1
        if (sender, why) not in self._complained and len(self._complained) < COMPLAINTS_MAX:
            self._complained[sender, why] = None
            log.warning("dropped a message of peer %s: %s", sender[:16].hex(), why)

    # ---------------------------------------------------------------- the end

    def close(self, *, linger_ms: int = 0) -> None:
        """Close every socket. In a forked child nothing is touched: the parent owns them."""
        if os.getpid() != self._pid:
            return
        for peer in self._peers.values():
            peer.socket.close(linger_ms)
        self._peers.clear()
        self._router.close(0)
        self._context.term()
        Path(self._path).unlink(missing_ok=True)


def _nothing(_: bytes) -> None:
    return


def join_header(frames: list[bytes]) -> list[bytes] | None:
    """Return the frames as if the header had fitted into one; None: they say something else."""
    if len(frames) < LONG_FRAMES or len(frames[1]) != ROUTE_BYTES:
        return None
    count = int.from_bytes(frames[2], "big") if len(frames[2]) == COUNT_BYTES else 0
    if not 0 < count <= len(frames) - LONG_FRAMES + 1:
        return None
    end = LONG_FRAMES - 1 + count
    return [frames[0], b"".join([frames[1], *frames[3:end]]), *frames[end:]]


_decode_hello: Callable[[memoryview], m.Hello] = msgspec.msgpack.Decoder(m.Hello).decode

# The C methods and plain numbers: the convenient ones cost more than the call itself.
_send: Callable[[Any, bytes, int], Any] = zmq.backend.Socket.send
_recv: Callable[[Any, int], bytes] = zmq.backend.Socket.recv
_get: Callable[[Any, int], int] = zmq.backend.Socket.get  # type: ignore[assignment]
_EVENTS, _MORE = int(zmq.EVENTS), int(zmq.RCVMORE)
_AT_ONCE, _MORE_COMES = int(zmq.DONTWAIT), int(zmq.DONTWAIT) | int(zmq.SNDMORE)
