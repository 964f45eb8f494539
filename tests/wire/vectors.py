"""Messages of a small conversation, encoded.

    python -m tests.wire.vectors > tests/wire/golden.json

They are for programs in other languages, and for us: what a released version sends must be read
by the next one.  A change of the file is a change of the protocol.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec

from zfut import ids
from zfut.wire import codec
from zfut.wire import messages as m
from zfut.wire import specs as s

NODE = ids.NodeUid(b"\x01" * 8)
MANAGER = ids.proc_uid(NODE, ids.MANAGER_SPAWN, b"mana")
WORKER = ids.proc_uid(NODE, 1, b"work")
DRIVER = ids.proc_uid(NODE, 0x80000001, b"driv")
TASK = ids.TaskID(DRIVER + (1).to_bytes(8, "big"))
ACTOR = DRIVER + (2).to_bytes(8, "big")
PUT = DRIVER + (3).to_bytes(8, "big") + ids.PUT_INDEX
FUNCTION = bytes(range(16))
TOKEN = WORKER + (1).to_bytes(8, "big")
ADDRESS = s.Address(DRIVER)
ONE_CPU = (("CPU", ids.TASK_UNITS),)
CODE = b"cmath\nsqrt\n."
ARGUMENTS = b"\x92\x91\x02\x80"
STORED = s.Stored(PUT, ADDRESS, 0, NODE, DRIVER, 1 << 40, 1 << 20, 3)
CALL = s.TaskSpec(TASK, 0, FUNCTION, len(ARGUMENTS), 4, 1)
CALL_BY_REFERENCE = s.TaskSpec(
    TASK, 2, FUNCTION, 0, 0, 2, (s.Dep(0, s.Inline(3, 3)), s.Dep("where", STORED)), 1
)
RESULT = s.TaskResult(
    TASK, 0, s.OK, (s.Inline(4, 3, (s.RefInfo(PUT, ADDRESS, TOKEN),)), STORED), 250_000
)
RAISED = s.TaskResult(TASK, 1, s.RAISED, (s.Failed(5),), 1, ((PUT, TOKEN),))

Vector = tuple[bytes, bytes, m.Message, bytes]
"""Sender, receiver, message, payload."""

VECTORS: tuple[Vector, ...] = (
    (DRIVER, MANAGER, m.Hello(m.PROTOCOL_VERSION, b"k" * 32, DRIVER, "driver", 4711), b""),
    (DRIVER, MANAGER, m.RequestLease(1, ONE_CPU, 0, 3, "sqrt"), b""),
    (MANAGER, WORKER, m.Bind(1, 1, DRIVER, ONE_CPU), b""),
    (MANAGER, DRIVER, m.LeaseGranted(1, WORKER, 1), b""),
    (
        DRIVER,
        WORKER,
        m.PushTasks(
            ADDRESS,
            1,
            1,
            (s.FunctionDef(FUNCTION, "sqrt", len(CODE)),),
            (CALL, CALL_BY_REFERENCE),
        ),
        CODE + ARGUMENTS + b"raw",
    ),
    (WORKER, DRIVER, m.TasksFinished((RESULT, RAISED)), b"\x00\x01\x02\xffwrong"),
    (DRIVER, WORKER, m.RecallTasks((TASK,), cancel=True), b""),
    (WORKER, DRIVER, m.TasksPushedBack(((TASK, 0),)), b""),
    (
        DRIVER,
        WORKER,
        m.CreateActor(
            ADDRESS,
            2,
            2,
            ACTOR,
            0,
            1,
            "Counter",
            (s.FunctionDef(FUNCTION, "Counter", len(CODE)),),
            s.TaskSpec(ACTOR, 0, FUNCTION, 0, 0, 0),
        ),
        CODE,
    ),
    (
        DRIVER,
        WORKER,
        m.PushCalls(ADDRESS, ACTOR, 0, (s.TaskSpec(TASK, 0, b"add", len(ARGUMENTS), 4, 1),)),
        ARGUMENTS,
    ),
    (DRIVER, MANAGER, m.BorrowMemory(7, 4096, 1 << 25), b""),
    (MANAGER, DRIVER, m.MemoryLent(7, 0, 1 << 25), b""),
    (WORKER, DRIVER, m.LocateObjects((PUT,), 1), b""),
    (DRIVER, WORKER, m.ObjectReady(PUT, 1, STORED), b""),
    (DRIVER, WORKER, m.ObjectReady(PUT, 1, None), b""),
    (WORKER, DRIVER, m.RegisterBorrows(WORKER, ((PUT, TOKEN),)), b""),
    (DRIVER, WORKER, m.BorrowsRegistered((TOKEN,), ()), b""),
    (WORKER, DRIVER, m.ReleaseBorrows(((PUT, TOKEN),)), b""),
    (MANAGER, DRIVER, m.ProcessDied(WORKER, "killed by signal 9 (SIGKILL)"), b""),
    (DRIVER, MANAGER, m.ClaimMemory(WORKER, ((1 << 40, 1 << 20),)), b""),
    (WORKER, MANAGER, m.ClaimMemory(DRIVER, ((0, 200_000),), 0, 3), b""),
    (MANAGER, WORKER, m.MemoryClaimed(3), b""),
    (WORKER, MANAGER, m.CedeMemory(DRIVER, ((0, 200_000),)), b""),
    (DRIVER, MANAGER, m.ReturnLease(1, "done"), b""),
    (DRIVER, MANAGER, m.Farewell(), b""),
)


def frames(vectors: tuple[Vector, ...]) -> list[list[bytes]]:
    """Return the frames of each message, numbered as each connection numbers them."""
    numbers: dict[tuple[bytes, bytes], int] = {}
    encoded: list[list[bytes]] = []
    for sender, receiver, message, payload in vectors:
        first = 0 if isinstance(message, m.Hello) else 1
        number = numbers.get((sender, receiver), first - 1) + 1
        numbers[sender, receiver] = number
        head = codec.route(codec.route_prefix(receiver), number) + codec.encode(message)
        encoded.append([head, payload] if payload else [head])
    return encoded


def readable(value: object) -> object:
    """Return what msgpack holds, with bytes as {"hex": ...}, for any JSON reader."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list):
        return [readable(item) for item in value]
    return value


def entry(vector: Vector, encoded: list[bytes]) -> dict[str, Any]:
    """Return what the file says of one message."""
    sender, receiver, message, _ = vector
    array = msgspec.msgpack.decode(encoded[0][codec.ROUTE_BYTES :])
    return {
        "message": type(message).__name__,
        "sender": sender.hex(),
        "receiver": receiver.hex(),
        "frames": [frame.hex() for frame in encoded],
        "header": readable(array),
    }


def golden() -> dict[str, Any]:
    """Return the content of golden.json."""
    entries = [entry(*pair) for pair in zip(VECTORS, frames(VECTORS), strict=True)]
    return {"protocol": m.PROTOCOL_VERSION, "vectors": entries}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(golden(), indent=1) + "\n")
