"""Every message that crosses a process boundary, defined once.

A message's first line says who sends it to whom; what follows says how it is answered and why
it may come twice.  ``zfut.wire.mailboxes`` says which of them each mailbox may receive.

On the wire a message is one frame with its route (see ``zfut.wire.codec``) and its header, which
is one of these classes as a msgpack array that starts with its number, and a second frame, left
out when empty, with the payload: the users' bytes that the header measures.
"""

from __future__ import annotations

from msgspec import Struct

from zfut.wire.specs import Address, Demand, FunctionDef, TaskResult, TaskSpec, Value

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

    ``bind`` tells the worker this lease from an older one.  Safe to repeat.
    """

    lease_id: int
    worker: bytes
    bind: int


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
    """executor -> node: my task waits in get or wait; its CPU may be used meanwhile.

    Safe to repeat: a state, not a change.
    """


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
    """node -> owner: this process is gone, for certain; ``why`` says how. Safe to repeat."""

    uid: bytes
    why: str


class KillWorker(Message, frozen=True, tag=22):
    """owner -> node: kill the process of this actor. Safe to repeat: names do not recur."""

    uid: bytes
    why: str


class Exit(Message, frozen=True, tag=23):
    """node -> executor: end in peace, if your table is empty. Safe to repeat."""

    why: str


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

    Safe to repeat.
    """

    size_bytes: int


class ReturnMemory(Message, frozen=True, tag=34):
    """owner -> node: I do not use these (offset, size) pieces any more.

    Sent once for each piece: the connection drops repeats.
    """

    pieces: tuple[tuple[int, int], ...]


class FreeMemory(Message, frozen=True, tag=35):
    """owner -> owner: the values at these offsets, which you wrote for me, are not needed.

    Goes to the process that wrote them, whose memory stays warm; if it died, its node gets a
    FreeClaimed instead.  Sent once for each value.
    """

    offsets: tuple[int, ...]


class ClaimMemory(Message, frozen=True, tag=36):
    """owner -> node: after ``uid`` died, I still need these (offset, size) pieces it wrote.

    The answer to ProcessDied, also when empty; what nobody claims is free.  Safe to repeat.
    """

    uid: bytes
    pieces: tuple[tuple[int, int], ...]


class FreeClaimed(Message, frozen=True, tag=37):
    """owner -> node: I need these claimed offsets no more. Sent once for each claim."""

    offsets: tuple[int, ...]


# ------------------------------------------------------------------ tasks: owner <-> executor


class PushTasks(Message, frozen=True, tag=40):
    """owner -> executor: run these. The node that lent you never hears of them.

    Each is answered in a TasksFinished or a TasksPushedBack.  Sent once for each attempt of a
    task.  Payload: the functions' code, then each task's bytes.
    """

    owner: Address
    lease_id: int
    bind: int
    functions: tuple[FunctionDef, ...]
    tasks: tuple[TaskSpec, ...]


class CreateActor(Message, frozen=True, tag=41):
    """owner -> executor: become this actor: run its constructor, then its calls.

    Answered in a TasksFinished.  Sent once for each life.  Payload: the class, then the
    constructor's bytes.
    """

    owner: Address
    lease_id: int
    bind: int
    actor_id: bytes
    incarnation: int
    max_concurrency: int
    name: str
    functions: tuple[FunctionDef, ...]
    task: TaskSpec


class PushCalls(Message, frozen=True, tag=42):
    """owner -> executor: call these methods, in this order.

    Each is answered in a TasksFinished; a call for another actor, or for one that ends, with a
    failure.  Sent once for each call.  Payload: each call's bytes.
    """

    owner: Address
    actor_id: bytes
    incarnation: int
    calls: tuple[TaskSpec, ...]


class TasksFinished(Message, frozen=True, tag=43):
    """executor -> owner: these calls ended. Payload: their values, in order.

    Safe to repeat: an answer that nobody waits for is dropped, and what it carries is let go.
    ``credit_bytes`` is how much more the executor wants queued here; 0 sets no limit.
    """

    results: tuple[TaskResult, ...]
    credit_bytes: int = 0


class RecallTasks(Message, frozen=True, tag=44):
    """owner -> executor: give back those of these that have not started.

    Answered in a TasksPushedBack for each that had not.  Safe to repeat.
    """

    tasks: tuple[bytes, ...]
    cancel: bool = False


class TasksPushedBack(Message, frozen=True, tag=45):
    """executor -> owner: these (task, attempt) were queued here and will not run here.

    Safe to repeat: an attempt that is not the current one is ignored.
    """

    tasks: tuple[tuple[bytes, int], ...]
    why: str = ""


class ExitActor(Message, frozen=True, tag=46):
    """owner -> executor: nobody can call you any more; finish what is queued and end.

    Safe to repeat.
    """

    actor_id: bytes
    why: str


# ------------------------------------------------------- references: borrower <-> owner


class LocateObjects(Message, frozen=True, tag=50):
    """owner -> owner: a borrower asks for these objects' values once they exist.

    Each is answered in an ObjectReady.  Safe to repeat: asked again, answered again.
    """

    object_ids: tuple[bytes, ...]


class ObjectReady(Message, frozen=True, tag=51):
    """owner -> owner: the value (payload) or place of an object; ``value`` nil: it is gone.

    Safe to repeat: values do not change.
    """

    object_id: bytes
    version: int
    value: Value | None


class RegisterBorrows(Message, frozen=True, tag=52):
    """owner -> owner: ``borrower`` uses these objects of yours beyond a call: (object, token).

    Answered in a BorrowsRegistered before the call that delivered them ends.  Safe to repeat.
    """

    borrower: bytes
    items: tuple[tuple[bytes, bytes], ...]


class BorrowsRegistered(Message, frozen=True, tag=53):
    """owner -> owner: these tokens are held; those in ``gone`` name nothing. Safe to repeat."""

    tokens: tuple[bytes, ...]
    gone: tuple[bytes, ...]


class ReleaseBorrows(Message, frozen=True, tag=54):
    """owner -> owner: I use these objects of yours no more: (object, token).

    Safe to repeat: tokens are used once.
    """

    items: tuple[tuple[bytes, bytes], ...]


class LocateActor(Message, frozen=True, tag=55):
    """owner -> owner: tell me where this actor of yours lives, now and when it changes.

    Safe to repeat.
    """

    actor_id: bytes


class ActorMoved(Message, frozen=True, tag=56):
    """owner -> owner: where the actor lives, or why it does not; ``state`` is alive or dead.

    Safe to repeat: a state, not a change, and the dead stay dead.
    """

    actor_id: bytes
    incarnation: int
    state: str
    worker: bytes
    reason: str = ""
    detail: str = ""
    failure: bytes = b""


class KillActor(Message, frozen=True, tag=57):
    """owner -> owner: end this actor of yours at once. Safe to repeat."""

    actor_id: bytes


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
