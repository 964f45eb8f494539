"""Messages to frames and back. One decoder for each mailbox: it accepts nothing else.

    route    25 bytes: version (1) | receiver's ProcUid (16) | sequence number (8, big endian)
    header   msgpack array, see zfut.wire.messages
    payload  the users' bytes, left out when there are none

The sender's ProcUid is the routing id of its socket, so ZeroMQ puts it before the route.  The route
can be read without the header: a gateway may pass a message on without decoding it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from zfut.wire import mailboxes
from zfut.wire import messages as m

ROUTE_VERSION = b"\x01"
ROUTE_BYTES = 25

encode: Callable[[m.Message], bytes] = msgspec.msgpack.Encoder().encode
decode_to_owner: Callable[[bytes | memoryview], mailboxes.ToOwner] = msgspec.msgpack.Decoder(
    mailboxes.ToOwner
).decode
decode_to_worker: Callable[[bytes | memoryview], mailboxes.ToWorker] = msgspec.msgpack.Decoder(
    mailboxes.ToWorker
).decode
decode_to_node: Callable[[bytes | memoryview], mailboxes.ToNode] = msgspec.msgpack.Decoder(
    mailboxes.ToNode
).decode


def route_prefix(receiver: bytes) -> bytes:
    """Return the part of the route that is the same for every message to one process."""
    return ROUTE_VERSION + receiver


def route(prefix: bytes, sequence: int) -> bytes:
    """Return the route frame of the ``sequence``-th message on a connection."""
    return prefix + sequence.to_bytes(8, "big")


def join(parts: Sequence[bytes]) -> bytes:
    """Return the payload frame."""
    return parts[0] if len(parts) == 1 else b"".join(parts)


def type_name(message: m.Message) -> str:
    """Return the name of a message's class, as logs and transcripts show it."""
    return type(message).__name__
