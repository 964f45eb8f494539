"""Names for the things zfut keeps track of, and how one is derived from another.

    ProcUid   16 bytes   node (8) | spawn counter (4) | random (4)
    TaskID    24 bytes   ProcUid of the owner | counter of the owner (8)
    ObjectID  28 bytes   TaskID | index (4)

The owner of a task or an object can be read from its id, so every process knows whom to ask.
Ids are not derived from the parent task: a parent that runs a second time makes new names and
cannot meet what its first attempt left behind.  The counter has 64 bits: 32 would be spent in
eight hours at 150,000 tasks a second.
"""

from __future__ import annotations

from typing import NewType

NodeUid = NewType("NodeUid", bytes)
ProcUid = NewType("ProcUid", bytes)
TaskID = NewType("TaskID", bytes)
ObjectID = NewType("ObjectID", bytes)
ActorID = NewType("ActorID", bytes)
FunctionID = NewType("FunctionID", bytes)
LeaseID = NewType("LeaseID", int)

NODE_BYTES = 8
PROC_BYTES = 16
TASK_BYTES = 24
OBJECT_BYTES = 28

RETURNS_MAX = 1 << 30
FIRST_RETURN = b"\x00\x00\x00\x01"
PUT_INDEX = b"\x80\x00\x00\x00"
MANAGER_SPAWN = 0
PROGRAM_SPAWN = 0x80000000
"""Programs draw their own numbers from here on; a node counts those it starts from 1."""

TASK_UNITS = 10_000
"""Resources are counted in ten-thousandths, so fractions add up exactly."""


def amount_text(kind: str, units: int) -> str:
    """Write an amount of a resource for a person: memory in GiB, others as they were asked for."""
    amount = units / TASK_UNITS
    return f"{amount / (1 << 30):.3g} GiB" if kind == "memory" else f"{amount:g}"


def counted(number: int, what: str) -> str:
    """Say how many there are: 1 task, 2 tasks."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def proc_uid(node: NodeUid, spawn: int, salt: bytes) -> ProcUid:
    """Name the ``spawn``-th process of a node; ``salt`` (4 bytes) keeps old names unusable."""
    return ProcUid(node + spawn.to_bytes(4, "big") + salt)


def node_of(uid: bytes) -> NodeUid:
    """Return the node a process, task or object name begins with."""
    return NodeUid(uid[:NODE_BYTES])


def owner_of(name: bytes) -> ProcUid:
    """Return the process that minted a task or object id."""
    return ProcUid(name[:PROC_BYTES])


def task_of(object_id: bytes) -> TaskID:
    """Return the task (or put) that makes this object."""
    return TaskID(object_id[:TASK_BYTES])


def return_id(task_id: bytes, index: int) -> ObjectID:
    """Name the ``index``-th return value of a task, counted from 0."""
    return ObjectID(task_id + (index + 1).to_bytes(4, "big"))


def return_index(object_id: bytes) -> int:
    """Which return value of its task this is, counted from 0; negative for anything else."""
    index = int.from_bytes(object_id[TASK_BYTES:], "big")
    return index - 1 if index <= RETURNS_MAX else -1


def is_program(uid: bytes) -> bool:
    """Whether this process is a program that joined, not one that its node started."""
    return uid[NODE_BYTES] >= PROGRAM_SPAWN >> 24


def short(name: bytes) -> str:
    """Eight hexadecimal digits that tell two things apart for a person.

    Processes differ in their spawn counter, tasks and objects in the owner's counter.
    """
    if len(name) >= TASK_BYTES:
        return (name[12:14] + name[TASK_BYTES - 2 : TASK_BYTES]).hex()
    if len(name) == PROC_BYTES:
        return (name[10:12] + name[12:14]).hex()
    return name[:4].hex()
