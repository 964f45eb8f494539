"""Every message that crosses a process boundary, defined once.

A message's first line says who sends it to whom; what follows says how it is answered and why
it may come twice.  ``zfut.wire.mailboxes`` says which of them each mailbox may receive.

On the wire a message is one frame with its route (see ``zfut.wire.codec``) and its header, which
is one of these classes as a msgpack array that starts with its number, and a second frame, left
out when empty, with the payload: the users' bytes that the header measures.
"""

from __future__ import annotations

from zfut.wire.node_messages import (
    PROTOCOL_VERSION,
    AskNode,
    Bind,
    Blocked,
    BorrowMemory,
    CancelLease,
    CedeMemory,
    ClaimMemory,
    Exit,
    Farewell,
    FenceProcess,
    FindName,
    FreeClaimed,
    FreeMemory,
    Hello,
    KillWorker,
    LeaseFailed,
    LeaseGranted,
    LeaseRevoked,
    LeaseWaits,
    MemoryClaimed,
    MemoryLent,
    MemoryRefused,
    Message,
    NameAnswer,
    NodeSays,
    NodeStops,
    ProcessDied,
    ProcessFenced,
    ReclaimMemory,
    RegisterName,
    ReleaseName,
    RequestLease,
    Retire,
    ReturnLease,
    ReturnMemory,
    Stop,
    Unblocked,
    Watch,
)
from zfut.wire.specs import Address, FunctionDef, TaskResult, TaskSpec, Value

__all__ = [
    "PROTOCOL_VERSION",
    "ActorMoved",
    "AskNode",
    "AskOwner",
    "AuditBorrows",
    "Bind",
    "Blocked",
    "BorrowMemory",
    "BorrowsRegistered",
    "CancelLease",
    "CancelObject",
    "CedeMemory",
    "ClaimMemory",
    "CreateActor",
    "DowngradeBorrows",
    "Exit",
    "ExitActor",
    "Farewell",
    "FenceProcess",
    "FindName",
    "FreeClaimed",
    "FreeMemory",
    "Hello",
    "KillActor",
    "KillWorker",
    "LeaseFailed",
    "LeaseGranted",
    "LeaseRevoked",
    "LeaseWaits",
    "LocateActor",
    "LocateObjects",
    "MemoryClaimed",
    "MemoryLent",
    "MemoryRefused",
    "Message",
    "NameAnswer",
    "NodeSays",
    "NodeStops",
    "ObjectReady",
    "OwnerSays",
    "ProcessDied",
    "ProcessFenced",
    "PushCalls",
    "PushTasks",
    "RecallTasks",
    "ReclaimMemory",
    "RegisterBorrows",
    "RegisterName",
    "ReleaseBorrows",
    "ReleaseName",
    "RequestLease",
    "Retire",
    "ReturnLease",
    "ReturnMemory",
    "ReviveBorrows",
    "Stop",
    "TasksFinished",
    "TasksPushedBack",
    "Unblocked",
    "Watch",
]


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

    Answered in a TasksPushedBack for each that had not.  ``cancel``: interrupt those that run;
    ``recursive``: and cancel what they submitted and has not ended.  Safe to repeat.
    """

    tasks: tuple[bytes, ...]
    cancel: bool = False
    recursive: bool = False


class TasksPushedBack(Message, frozen=True, tag=45):
    """executor -> owner: these (task, attempt) were queued here and will not run here.

    ``closed``: nothing else will, return me.  Safe to repeat: an attempt that is not the current
    one is ignored.
    """

    tasks: tuple[tuple[bytes, int], ...]
    closed: bool = False


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
    question: int


class ObjectReady(Message, frozen=True, tag=51):
    """owner -> owner: the value (payload) or place of an object; ``value`` nil: it is gone.

    An answer to another question than the borrower's last says where the value was: it is dropped.
    Safe to repeat.
    """

    object_id: bytes
    question: int
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
    """owner -> owner: where the actor lives, or why it does not; ``state``: alive, restarting, dead.

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
    """owner -> owner: end this actor of yours at once, or this life of it. Safe to repeat.

    ``incarnation`` is the life that the sender knows of; -1: none. A later one goes on.
    """

    actor_id: bytes
    no_restart: bool
    incarnation: int = -1


class CancelObject(Message, frozen=True, tag=58):
    """owner -> owner: a borrower asks to cancel the task that makes this object of yours.

    Safe to repeat: what has ended stays as it is.
    """

    object_id: bytes
    force: bool
    recursive: bool


class AuditBorrows(Message, frozen=True, tag=59):
    """owner -> owner: ``dead`` registered these for you and died: say which you never heard of.

    Counts as the notice of its death.  Those that are not held come back in a ReleaseBorrows; a
    token whose answer was lost would protect its object for ever.  Safe to repeat.
    """

    dead: bytes
    why: str
    items: tuple[tuple[bytes, bytes], ...]


class DowngradeBorrows(Message, frozen=True, tag=70):
    """owner -> owner: I need these objects of yours only to make others again: (object, token).

    Their values may go, their lineage may not.  Safe to repeat: a state of the token.
    """

    items: tuple[tuple[bytes, bytes], ...]


class ReviveBorrows(Message, frozen=True, tag=71):
    """owner -> owner: I need the values of these again, made anew if they are gone.

    A LocateObjects follows.  Safe to repeat: a state of the token.
    """

    items: tuple[tuple[bytes, bytes], ...]


class AskOwner(Message, frozen=True, tag=72):
    """owner -> owner: what do you know of ``name``? Answered by OwnerSays. Safe to repeat.

    ``topic``: object, task, actor, memory.
    """

    request: int
    topic: str
    name: bytes


class OwnerSays(Message, frozen=True, tag=73):
    """owner -> owner: the answer to AskOwner: JSON. Safe to repeat."""

    request: int
    answer: bytes
