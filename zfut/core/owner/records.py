"""The rows of the owner's tables: objects, tasks, actors, leases and waits.

Plain mutable records.  They hold no collector's header (``gc=False``), so a million of them cost a
garbage collection nothing; the few cycles among them (a task and its lease) are cut when the task
ends.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct, field

from zfut.wire.specs import Address, Demand, Stored

PENDING, FREED, INLINE, STORED, FAILED, ACTOR = 0, 1, 2, 3, 4, 5
"""States of an object; see ``zfut.core.owner.objects``."""

READY = INLINE
"""From here on the value, or the error, is known."""

STATE_NAMES = ("PENDING", "FREED", "INLINE", "STORED", "FAILED", "ACTOR")


class Template(Struct, gc=False):
    """What all calls of one remote function with the same options share."""

    function_id: bytes
    name: str
    code: bytes
    demand: Demand
    num_returns: int = 1
    max_retries: int = 3
    schedule_timeout_ns: int = 0
    parameters: tuple[str, ...] = ()
    captured: object = None  # references in the code, held until a worker has loaded it
    function_name: str = ""  # set if ``name`` is another one, given by the option


class Task(Struct, gc=False):
    """A call that was submitted; itself the event that it was.

    ``deps`` are references given as arguments: position or keyword, object, owner.  ``nested`` are
    references inside the arguments.  Beside each field that changes, who writes it.
    """

    task_id: bytes
    template: Template
    args: bytes | Stored
    encoding: int
    num_returns: int
    deps: tuple[tuple[int | str, bytes, Address], ...] = ()
    nested: tuple[tuple[bytes, Address], ...] = ()
    depth: int = 0
    actor_id: bytes = b""
    actor_owner: Address | None = None
    creation: Creation | None = None
    method: bytes = b""
    weak: bool = False
    trace: bytes = b""
    site: str = ""  # where user code submitted it, if the session records that
    parent: bytes = b""  # the call that submitted it
    hold: object = (
        None  # keeps what was put, or made, to pack its arguments until it is handed in
    )
    attempt: int = 0  # retry
    retries_left: int = 0  # OwnerMachine, when submitted; retry
    waiting_on: int = 0  # OwnerMachine: dependencies that are not ready
    lease: Lease | None = None  # Submission.push, finish
    cost_ns: int = 0  # Submission.push: what it was thought to take
    alone: bool = False  # retry: its worker died with others in flight
    cancelled: bool = False  # cancel
    over: bool = False  # OwnerMachine, Calls: its last attempt failed unsent
    again: bool = False  # Recovery: it runs to make a lost value again
    counted_bytes: int = -1  # Backlog: its arguments, where they are in its row; -1: it is over

    def result_ids(self) -> list[bytes]:
        """Name what the call returns."""
        count = self.num_returns
        return [self.task_id + (i + 1).to_bytes(4, "big") for i in range(count)]

    def given_up(self) -> bool:
        """Whether it does not matter any more what becomes of its arguments."""
        return self.cancelled or self.over


class Creation(Struct, gc=False):
    """What a creation task asks for beside a constructor call."""

    max_concurrency: int
    name: str
    namespace: str
    class_name: str
    max_restarts: int = 0


class Lease(Struct, gc=False):
    """A request at a node, later a worker of ours."""

    lease_id: int
    key: Key | None
    actor_id: bytes = b""
    worker: bytes = b""  # grant
    bind: int = 0  # grant
    in_flight: dict[bytes, Task] = field(default_factory=dict)  # push, finish
    load_ns: int = 0  # push, finish
    progress_at: int = 0  # push, finish
    idle_at: int = 0  # grant, finish
    draining: bool = False  # revoke
    recalled: bool = False  # recall, finish: it works on something long
    killed: bool = False  # cancel: its worker is being killed for one of its tasks
    nested: bool = False  # grant: on this process, on top of a call that waits
    why: str = ""  # why the node says it waits


class Key(Struct, gc=False):
    """A scheduling key: tasks of one demand and depth share leases."""

    demand: Demand
    depth: int
    queue: deque[Task] = field(default_factory=deque)
    leases: dict[int, Lease] = field(default_factory=dict)  # granted
    requests: dict[int, Lease] = field(default_factory=dict)  # asked for
    dirty: bool = False
    why: str = ""  # why the node says it waits


class Wait(Struct, gc=False):
    """Somebody waits for objects."""

    call_id: int
    remaining: int
    fail_fast: bool
    object_ids: tuple[bytes, ...]
    partial: bool = False  # it needs fewer than all of its objects
    done: bool = False
    known: int = 0  # Stack: so many of its objects, from the first, are known
    submitter: bytes = b""  # a wait for no object: this call waits to submit more; Backlog
    caller: bytes | None = None  # the call that waits; empty: not known; None: nobody does


class ObjectRow(Struct, gc=False):
    """What this process knows about one object, as its owner or as a borrower of it.

    In use while local + submitted + contained_in > 0 or somebody borrows it.
    """

    state: int = PENDING  # Objects.set_value, fail
    local: int = 0  # handles and mapped views in this process
    views: int = 0  # mapped views alone
    submitted: int = 0  # unfinished calls of ours that carry it
    contained_in: int = 0  # values of ours that hold it
    encoding: int = 0  # set_value
    value: bytes | Stored | None = None  # set_value
    owner: Address | None = None  # None: this process is the owner
    task: Task | None = None  # the call that makes it, while that is unfinished
    waiters: list[Wait | Task] | None = None  # watch
    askers: list[tuple[bytes, int]] | None = (
        None  # borrowers that want the value, and their questions
    )
    borrowers: dict[bytes, bytes] | None = None  # owner side: token -> borrower
    contains: tuple[tuple[bytes, bytes], ...] = ()  # objects inside the value, and tokens
    tokens: list[bytes] | None = None  # borrower side: our registrations
    question: int = 0  # borrower side: what we asked its owner last, if anything
    lineage: int = 0  # retained calls that name it: Lineage
    made_by: Task | None = None  # the retained call that can make it again: Lineage
    why_once: str = ""  # why no call can make it again, if it is no put: Ledger
    lineage_tokens: dict[bytes, bytes] | None = None  # owner side: token -> borrower's lineage
    site: str = ""  # where user code made it, if the session records that
    downgraded: bool = False  # borrower side: our tokens stand for lineage only
    freed: bool = False  # owner side: user code freed it
    spent: bytes | Stored | None = None  # its value, while somebody may read it: Freeing

    def in_use(self) -> bool:
        """Whether any hold on the value is left."""
        return bool(self.local or self.submitted or self.contained_in or self.borrowers)

    def used_elsewhere(self) -> bool:
        """Whether anything but a handle in this process needs it."""
        others = self.borrowers or self.lineage_tokens
        return bool(others or self.submitted or self.contained_in or self.lineage)

    def is_lent_to(self, uid: bytes) -> bool:
        """Owner side: whether it is registered; what it needs as lineage it has lent to nobody."""
        return bool(self.borrowers) and uid in (self.borrowers or {}).values()

    def registered(self) -> bool:
        """Borrower side: whether the owner keeps the value for us."""
        return bool(self.tokens) and not self.downgraded

    def lacks_token(self) -> bool:
        """Borrower side: whether we need the object, or its value, beyond our registrations."""
        if self.owner is None:
            return False
        return self.in_use() and self.downgraded if self.tokens else self.needed()

    def place(self) -> Stored | None:
        """Where the value lies, if it is in the arena, or was and somebody may read it."""
        value = self.spent or self.value
        return value if isinstance(value, Stored) else None

    def add_waiter(self, waiter: Wait | Task) -> None:
        """Somebody waits for the value."""
        if self.waiters is None:
            self.waiters = [waiter]
        else:
            self.waiters.append(waiter)

    def needed(self) -> bool:
        """Whether anything needs the row: a use, or the lineage of something else."""
        return self.in_use() or bool(self.lineage or self.lineage_tokens)


class Actor(Struct, gc=False):
    """An actor as one caller sees it; its owner also keeps what it needs to end it."""

    actor_id: bytes
    owner: Address
    state: str = "pending"  # pending, alive, restarting, dead
    worker: bytes = b""
    incarnation: int = 0
    sequence: int = 0
    queue: deque[Task] = field(default_factory=deque)  # in the order of submission
    sent: dict[bytes, Task] = field(default_factory=dict)
    dirty: bool = False
    reason: str = ""
    detail: str = ""
    failure: bytes = b""
    between: bool = False  # its owner restarts it: the next life has not begun
    creation: Task | None = None  # owner side
    lease: Lease | None = None  # owner side
    creation_held: bool = True  # owner side: the constructor's arguments are
    restarts_left: int = 0  # owner side; -1: any number
    created: bool = False  # owner side: the constructor has returned
    ending: str = ""  # owner side: we asked for its end, for this reason
    followers: dict[bytes, None] = field(default_factory=dict)  # owner side
    watched: bool = False


def take_from(queue: deque[Task], task: Task) -> bool:
    """Take this very task out of a queue. Returns whether it was there.

    Looked for from both ends: calls are cancelled in the order of submission, or against it.
    """
    last = len(queue) - 1
    for index in range(len(queue)):
        for place in (index, last - index):
            if queue[place] is task:
                del queue[place]
                return True
    return False
