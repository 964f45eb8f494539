"""The mailbox: a ROUTER that receives, and a DEALER for each process that is sent to.

Each ordered pair of processes has one connection and so one order.  Sockets are files in the
session's private directory: who cannot enter it cannot connect.  The first message on a
connection is Hello with the session's key; anything else is dropped unread until then.

What is dropped is counted by reason and logged once for each peer and reason: a stranger can
neither stop this process nor fill its log.

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

import msgspec
import zmq

from zfut.core.events import Received
from zfut.errors import SessionError
from zfut.wire import messages as m
from zfut.wire.codec import ROUTE_BYTES, encode, join, route_prefix

log = logging.getLogger("zfut.mailbox")

IPC_PATH_MAX = 107
"""A Unix socket's path has at most this many bytes."""

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
        self.dropped: Counter[str] = Counter()
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
        self._path = socket_path(directory, hello.uid)
        if len(self._path) > IPC_PATH_MAX:
            raise SessionError(
                f"the socket path {self._path} is {len(self._path)} bytes long; the system allows "
                f"{IPC_PATH_MAX}. Set ZFUT_SESSION_DIR to a shorter directory"
            )
        self._router.bind("ipc://" + self._path)
        self.fd: int = self._router.getsockopt(zmq.FD)

    # ---------------------------------------------------------------- sending

    def send(self, to: bytes, message: m.Message, payload: Sequence[bytes] = ()) -> None:
        """Send a message; it leaves in the order of calls, without waiting."""
        peer = self._peers.get(to)
        if peer is None:
            peer = self._connect(to)
        peer.sequence += 1
        head = peer.prefix + peer.sequence.to_bytes(8, "big") + encode(message)
        socket = peer.socket
        if payload:
            _send(socket, head, _MORE_COMES)
            _send(socket, join(payload), _AT_ONCE)
        else:
            _send(socket, head, _AT_ONCE)

    def _connect(self, to: bytes) -> _Peer:
        try:
            socket = self._context.socket(zmq.DEALER)
        except zmq.ZMQError as error:
            text = (
                f"no connection to process {to[8:].hex()} can be opened ({error}); it has "
                f"{len(self._peers)} already. Raise the limit of open files: ulimit -n"
            )
            raise MailboxError(text) from None
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.ROUTING_ID, self._hello.uid)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        socket.connect("ipc://" + socket_path(self._directory, to))
        peer = self._peers[to] = _Peer(socket, to)
        socket.send(peer.prefix + bytes(8) + encode(self._hello), zmq.DONTWAIT)
        return peer

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
                frames.append(_recv(router, _AT_ONCE))
            received = self._open(frames)
            if received is not None:
                yield received

    def _open(self, frames: list[bytes]) -> Received | None:
        sender = frames[0]
        count = len(frames)
        if not 2 <= count <= 3 or len(frames[1]) <= ROUTE_BYTES:
            return self._drop(sender, "wrong number or size of frames")
        head = frames[1]
        if not head.startswith(self._route):
            return self._drop(sender, "addressed to another process or protocol")
        trusted = sender in self._trusted
        if not trusted:
            return self._greet(sender, head)
        sequence = int.from_bytes(head[17:ROUTE_BYTES], "big")
        if sequence <= self._trusted[sender]:
            return self._drop(sender, "repeated")
        self._trusted[sender] = sequence
        try:
            message = self._decode(memoryview(head)[ROUTE_BYTES:])
        except (msgspec.DecodeError, msgspec.ValidationError):
            return self._drop(sender, "not a message for this mailbox")
        return Received(sender, message, frames[2] if count == 3 else b"")

    def _greet(self, sender: bytes, head: bytes) -> Received | None:
        try:
            hello = _decode_hello(memoryview(head)[ROUTE_BYTES:])
        except (msgspec.DecodeError, msgspec.ValidationError):
            return self._drop(sender, "it has not said hello")
        if hello.protocol != m.PROTOCOL_VERSION:
            return self._drop(sender, f"it speaks protocol {hello.protocol}")
        if hello.uid != sender or not hmac.compare_digest(hello.key, self._hello.key):
            return self._drop(sender, "wrong key")
        self._trusted[sender] = 0
        return Received(sender, hello)

    def _drop(self, sender: bytes, why: str) -> None:
        self.dropped[why] += 1
        if (sender, why) not in self._complained and len(self._complained) < 1000:
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


_decode_hello: Callable[[memoryview], m.Hello] = msgspec.msgpack.Decoder(m.Hello).decode

# The C methods and plain numbers: the convenient ones cost more than the call itself.
_send = zmq.backend.Socket.send
_recv = zmq.backend.Socket.recv
_get = zmq.backend.Socket.get
_EVENTS, _MORE = int(zmq.EVENTS), int(zmq.RCVMORE)
_AT_ONCE, _MORE_COMES = int(zmq.DONTWAIT), int(zmq.DONTWAIT) | int(zmq.SNDMORE)
