"""The messages between owners and node managers, and the first of every connection.

See ``zfut.wire.messages``, where all of them are found.
"""

from __future__ import annotations

from msgspec import Struct

from zfut.wire.specs import Address, Demand

PROTOCOL_VERSION = 1


class Message(Struct, frozen=True, array_like=True):
    """Base class of every message: immutable, an array that starts with its number."""


class Hello(Message, frozen=True, tag=1):
    """any -> any: the first message on every connection; nothing is decoded before it.

    A wrong key or version: the connection is ignored, counted and logged.  Safe to repeat.
    """

    protocol: int
    key: bytes
    uid: bytes
    kind: str
    pid: int
    credit_bytes: int = 0


# ------------------------------------------------------------------ leases: owner <-> node


class RequestLease(Message, frozen=True, tag=10):
    """owner -> node: lend me a worker for ``demand``.

    Answered by exactly one of LeaseGranted and LeaseFailed, unless CancelLease comes first.
    Safe to repeat: a node answers the same ``lease_id`` the same way.  ``actor_id`` asks for a
    worker of its own, for life.  Deeper calls go first: their parents hold workers and wait.
    """

    lease_id: int
    demand: Demand
    depth: int
    backlog: int
    label: str
    actor_id: bytes = b""


class CancelLease(Message, frozen=True, tag=11):
    """owner -> node: I need no worker for this request any more.

    If the grant is on its way the owner returns it.  Safe to repeat: keyed by ``lease_id``.
    """

    lease_id: int


class ReturnLease(Message, frozen=True, tag=12):
    """owner -> node: I have no more work for this worker.

    Safe to repeat: keyed by ``lease_id``, so it can never end somebody else's lease.
    """

    lease_id: int
    reason: str


class LeaseGranted(Message, frozen=True, tag=13):
    """node -> owner: ``worker`` is yours until you return it or one of us dies.

    ``bind`` tells the worker this lease from an older one.  ``nested``: it is the owner itself,
    to run on top of its call that waits.  Safe to repeat.
    """

    lease_id: int
    worker: bytes
    bind: int
    nested: bool = False


class LeaseFailed(Message, frozen=True, tag=14):
    """node -> owner: this demand cannot be met. ``why`` is for the user. Safe to repeat."""

    lease_id: int
    why: str


class LeaseWaits(Message, frozen=True, tag=15):
    """node -> owner: nothing here can ever fit ``demand``; it waits for a node that can.

    A notice for the user; the request stays queued.  Safe to repeat.
    """

    lease_id: int
    why: str


class LeaseRevoked(Message, frozen=True, tag=16):
    """node -> owner: others wait; send nothing more to this worker and return it soon.

    Safe to repeat: the owner drains a lease once.
    """

    lease_id: int


class Blocked(Message, frozen=True, tag=17):
    """executor -> node: my call waits in get or wait; its CPU may be used meanwhile.

    ``nested_lease_id`` is a request of mine for what the call waits for: granted to myself, I can
    run that on top of the call.  ``runs``: something does.  Safe to repeat: a state, not a change.
    """

    nested_lease_id: int = 0
    runs: bool = False


class Unblocked(Message, frozen=True, tag=18):
    """executor -> node: my task goes on; its CPU is taken back at once. Safe to repeat."""


class Bind(Message, frozen=True, tag=19):
    """node -> executor: you are lent to ``owner``; tasks with another number are not for you.

    Safe to repeat: the newest number counts.
    """

    bind: int
    lease_id: int
    owner: bytes
    demand: Demand


class Watch(Message, frozen=True, tag=20):
    """owner -> node: tell me when one of these dies. Answered at once for the dead and unknown.

    Safe to repeat.
    """

    uids: tuple[bytes, ...]


class ProcessDied(Message, frozen=True, tag=21):
    """node -> owner: this process is gone, for certain; ``why`` says how. Safe to repeat.

    ``fence`` is not 0 if an owner asked by FenceProcess: the answer, ClaimMemory, repeats it.
    """

    uid: bytes
    why: str
    fence: int = 0


class FenceProcess(Message, frozen=True, tag=24):
    """owner -> node: this process died; tell me when all have registered what it protected.

    Answered by ProcessFenced, once everybody has answered ProcessDied.  Safe to repeat.
    """

    uid: bytes


class ProcessFenced(Message, frozen=True, tag=25):
    """node -> owner: whoever still uses what ``uid`` protected is registered. Safe to repeat."""

    uid: bytes


class KillWorker(Message, frozen=True, tag=22):
    """owner -> node: kill this process. Safe to repeat: names do not recur.

    With a ``lease_id``: only while the sender holds that lease on it.
    """

    uid: bytes
    why: str
    lease_id: int = 0


class Exit(Message, frozen=True, tag=23):
    """node -> executor: end in peace, once your table is empty. Safe to repeat.

    If ``why`` is "owner died", stop what runs at once; an executor that stays nevertheless,
    because others use what it owns, says so with Retire, or it is killed.
    """

    why: str


class Retire(Message, frozen=True, tag=26):
    """executor -> node: lend me to nobody any more; I end when nobody uses what I own.

    Once its lease has ended it is told so with Exit, and ends; until then it sends back what
    it is pushed.  ``lingers``: nothing runs in it any more, and it stays because others use what
    it owns; its lease, if it has one, ends, and its devices may be lent.  Safe to repeat.
    """

    lingers: bool = False


# ------------------------------------------------------------------ memory: owner <-> node


class BorrowMemory(Message, frozen=True, tag=30):
    """owner -> node: lend me at least ``size_bytes`` of the arena, contiguous.

    Answered by exactly one of MemoryLent and MemoryRefused, perhaps late: a full store waits.
    Safe to repeat: a node answers the same ``request`` the same way while it is pending.
    """

    request: int
    size_bytes: int
    wish_bytes: int


class MemoryLent(Message, frozen=True, tag=31):
    """node -> owner: these bytes are yours to write. Sent once for each BorrowMemory."""

    request: int
    offset: int
    size_bytes: int


class MemoryRefused(Message, frozen=True, tag=32):
    """node -> owner: no room came free in time, or can ever come; ``why`` has the figures.

    Safe to repeat: a request that was answered is forgotten.
    """

    request: int
    why: str


class ReclaimMemory(Message, frozen=True, tag=33):
    """node -> owner: others wait for memory; give back what you hold and do not use.

    Whoever has been lent some is asked at once.  When a request has waited for a while everybody is,
    with ``garbage``: views in reference cycles hold memory until a collector finds them.
    Safe to repeat.
    """

    size_bytes: int
    garbage: bool = False


class ReturnMemory(Message, frozen=True, tag=34):
    """owner -> node: I do not use these (offset, size) pieces any more.

    ``withdrawn``: my requests of these numbers are void, as room came free here.
    Sent once for each piece: the connection drops repeats.
    """

    pieces: tuple[tuple[int, int], ...]
    withdrawn: tuple[int, ...] = ()


class FreeMemory(Message, frozen=True, tag=35):
    """owner -> owner: the values at these offsets, which you wrote for me, are not needed.

    Goes to the process that wrote them, whose memory stays warm; if it died, its node gets a
    FreeClaimed instead.  Sent once for each value.
    """

    offsets: tuple[int, ...]


class ClaimMemory(Message, frozen=True, tag=36):
    """owner -> node: after ``uid`` died, I still need these (offset, size) pieces it wrote.

    Or that it owned, or had claimed itself.  The answer to ProcessDied, also when empty; what nobody
    claims is free.  With a ``number`` it is a claim besides, answered by MemoryClaimed: somebody
    who had claimed it handed it to me.  Safe to repeat.
    """

    uid: bytes
    pieces: tuple[tuple[int, int], ...]
    fence: int = 0
    number: int = 0


class MemoryClaimed(Message, frozen=True, tag=38):
    """node -> owner: your claim of this number counts; who gave you the memory may let it go.

    Safe to repeat.
    """

    number: int


class CedeMemory(Message, frozen=True, tag=39):
    """executor -> node: I wrote this for ``uid``, which is dead; it is no longer mine.

    Everybody is asked what they need of it, as of what a dead process wrote itself.
    Safe to repeat: what is not the sender's is not taken.
    """

    uid: bytes
    pieces: tuple[tuple[int, int], ...]


class FreeClaimed(Message, frozen=True, tag=37):
    """owner -> node: I need these claimed offsets no more. Sent once for each claim."""

    offsets: tuple[int, ...]


# ---------------------------------------------------------- names and questions: -> node


class RegisterName(Message, frozen=True, tag=60):
    """owner -> node: this actor of mine wants this name; answered by NameAnswer.

    Safe to repeat: the same actor may take its name again.
    """

    request: int
    namespace: str
    name: str
    actor_id: bytes
    owner: Address
    handle: bytes


class FindName(Message, frozen=True, tag=61):
    """owner -> node: who has this name? Answered by NameAnswer. Safe to repeat."""

    request: int
    namespace: str
    name: str


class ReleaseName(Message, frozen=True, tag=62):
    """owner -> node: this actor needs its name no more. Safe to repeat."""

    actor_id: bytes


class NameAnswer(Message, frozen=True, tag=63):
    """node -> owner: the answer to RegisterName or FindName; ``handle`` is empty: not there.

    ``taken``: another actor has the name.  Safe to repeat: a question is answered once.
    """

    request: int
    taken: bool
    actor_id: bytes
    handle: bytes


class AskNode(Message, frozen=True, tag=64):
    """owner -> node: what do you know about ``topic``? Answered by NodeSays. Safe to repeat."""

    request: int
    topic: str


class NodeSays(Message, frozen=True, tag=65):
    """node -> owner: the answer to AskNode: JSON. Safe to repeat."""

    request: int
    answer: bytes


class Stop(Message, frozen=True, tag=66):
    """owner -> node: end this session: all its workers, then yourself. Safe to repeat.

    ``drain``: what runs may end first, within the configured time, and programs get nothing new.
    """

    why: str
    drain: bool = False


class Farewell(Message, frozen=True, tag=67):
    """owner -> node: I leave in peace; nobody needs to mourn. Safe to repeat."""


class NodeStops(Message, frozen=True, tag=68):
    """node -> owner: the session ends; every wait fails with ``why``. Safe to repeat."""

    why: str
