"""What each mailbox may receive: the decoder rejects anything else.

The type checker insists that a machine handles all of its union.
"""

from __future__ import annotations

from typing import TypeAlias

from zfut.wire.messages import (
    ActorMoved,
    AskNode,
    AskOwner,
    AuditBorrows,
    Bind,
    Blocked,
    BorrowMemory,
    BorrowsRegistered,
    CancelLease,
    CancelObject,
    CedeMemory,
    ClaimMemory,
    CreateActor,
    DowngradeBorrows,
    Exit,
    ExitActor,
    Farewell,
    FenceProcess,
    FindName,
    FreeClaimed,
    FreeMemory,
    Hello,
    KillActor,
    KillWorker,
    LeaseFailed,
    LeaseGranted,
    LeaseRevoked,
    LeaseWaits,
    LocateActor,
    LocateObjects,
    MemoryClaimed,
    MemoryLent,
    MemoryRefused,
    NameAnswer,
    NodeSays,
    NodeStops,
    ObjectReady,
    OwnerSays,
    ProcessDied,
    ProcessFenced,
    PushCalls,
    PushTasks,
    RecallTasks,
    ReclaimMemory,
    RegisterBorrows,
    RegisterName,
    ReleaseBorrows,
    ReleaseName,
    RequestLease,
    Retire,
    ReturnLease,
    ReturnMemory,
    ReviveBorrows,
    Stop,
    TasksFinished,
    TasksPushedBack,
    Unblocked,
    Watch,
)

ToOwner: TypeAlias = (
    Hello
    | LeaseGranted
    | LeaseFailed
    | LeaseWaits
    | LeaseRevoked
    | ProcessDied
    | ProcessFenced
    | MemoryLent
    | MemoryRefused
    | MemoryClaimed
    | ReclaimMemory
    | FreeMemory
    | TasksFinished
    | TasksPushedBack
    | LocateObjects
    | ObjectReady
    | RegisterBorrows
    | BorrowsRegistered
    | ReleaseBorrows
    | LocateActor
    | ActorMoved
    | KillActor
    | CancelObject
    | AuditBorrows
    | AskOwner
    | OwnerSays
    | DowngradeBorrows
    | ReviveBorrows
    | NameAnswer
    | NodeSays
    | NodeStops
)
ToExecutor: TypeAlias = (
    Bind | Exit | PushTasks | CreateActor | PushCalls | RecallTasks | ExitActor
)
ToWorker: TypeAlias = ToOwner | ToExecutor
ToNode: TypeAlias = (
    Hello
    | RequestLease
    | CancelLease
    | ReturnLease
    | Blocked
    | Unblocked
    | Watch
    | KillWorker
    | FenceProcess
    | Retire
    | BorrowMemory
    | ReturnMemory
    | ClaimMemory
    | CedeMemory
    | FreeClaimed
    | RegisterName
    | FindName
    | ReleaseName
    | AskNode
    | Stop
    | Farewell
)
