"""The golden vectors: what is sent is, byte for byte, what the file says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from tests.wire import vectors
from zfut.wire import codec, mailboxes
from zfut.wire import messages as m

FILE = json.loads((Path(__file__).parent / "golden.json").read_text())
DECODERS: dict[bytes, tuple[object, Callable[[bytes], Any]]] = {
    vectors.DRIVER: (mailboxes.ToOwner, codec.decode_to_owner),
    vectors.WORKER: (mailboxes.ToWorker, codec.decode_to_worker),
    vectors.MANAGER: (mailboxes.ToNode, codec.decode_to_node),
}
PAIRS = list(zip(vectors.VECTORS, FILE["vectors"], strict=True))
NAMES = [f"{number}-{entry['message']}" for number, (_, entry) in enumerate(PAIRS)]


def test_the_file_is_of_this_protocol() -> None:
    assert FILE["protocol"] == m.PROTOCOL_VERSION


def test_messages_encode_as_the_file_says() -> None:
    """If this fails the protocol has changed: raise PROTOCOL_VERSION, print the file again."""
    assert vectors.golden() == FILE


@pytest.mark.parametrize(("vector", "entry"), PAIRS, ids=NAMES)
def test_the_bytes_decode_to_the_message(vector: vectors.Vector, entry: dict[str, Any]) -> None:
    _, receiver, message, payload = vector
    frames = [bytes.fromhex(frame) for frame in entry["frames"]]
    _, decode = DECODERS[receiver]
    assert decode(frames[0][codec.ROUTE_BYTES :]) == message
    assert b"".join(frames[1:]) == payload


@pytest.mark.parametrize(("vector", "entry"), PAIRS, ids=NAMES)
def test_a_mailbox_takes_nothing_else(vector: vectors.Vector, entry: dict[str, Any]) -> None:
    header = bytes.fromhex(entry["frames"][0])[codec.ROUTE_BYTES :]
    for union, decode in DECODERS.values():
        if type(vector[2]) not in get_args(union):
            with pytest.raises(msgspec.ValidationError):
                decode(header)


def test_the_route_can_be_read_without_the_header() -> None:
    for entry in FILE["vectors"]:
        route = bytes.fromhex(entry["frames"][0])[: codec.ROUTE_BYTES]
        assert route[:1] == codec.ROUTE_VERSION
        assert route[1:17].hex() == entry["receiver"]


def test_connections_number_their_messages() -> None:
    numbers: dict[tuple[str, str], list[int]] = {}
    for entry in FILE["vectors"]:
        number = int.from_bytes(
            bytes.fromhex(entry["frames"][0])[17 : codec.ROUTE_BYTES], "big"
        )
        numbers.setdefault((entry["sender"], entry["receiver"]), []).append(number)
    for (sender, receiver), seen in numbers.items():
        first = 0 if (sender, receiver) == (vectors.DRIVER.hex(), vectors.MANAGER.hex()) else 1
        assert seen == list(range(first, first + len(seen)))


def test_fields_at_the_end_may_be_left_out_and_new_ones_are_ignored() -> None:
    array = msgspec.msgpack.decode(codec.encode(m.RequestLease(1, (), 0, 1, "f")))
    short = msgspec.msgpack.encode(array[:-1])
    assert codec.decode_to_node(short) == m.RequestLease(1, (), 0, 1, "f")
    longer = msgspec.msgpack.encode([*array, "from a later version"])
    assert codec.decode_to_node(longer) == m.RequestLease(1, (), 0, 1, "f")


def test_a_broken_header_is_refused() -> None:
    for header in (b"", b"\xc1", b"\x90", b"\x91\xcc\xff", codec.encode(m.Farewell()) + b"\0"):
        with pytest.raises((msgspec.DecodeError, msgspec.ValidationError)):
            codec.decode_to_node(header)
