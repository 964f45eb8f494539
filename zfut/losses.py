"""Errors about values and the nodes that hold them: late, lost, freed, or without room.

Public through ``zfut.errors``; the same rules hold as there.
"""

from __future__ import annotations

from typing import ClassVar

from zfut.causes import ZfutError, because, call_text, identity, size_text


class GetTimeoutError(ZfutError, TimeoutError):
    """Not every value that was asked for existed in time."""

    advice = "Wait longer (timeout=), take what is ready with zfut.wait, or see 'zfut status'."

    def __init__(self, missing: int, total: int, timeout_s: float, detail: str = "") -> None:
        super().__init__(missing, total, timeout_s, detail)
        self.missing, self.total = missing, total
        self.timeout_s, self.detail = timeout_s, detail

    def fact(self) -> str:
        refs = "ref is" if self.total == 1 else "refs are"
        late = f"{self.missing} of {self.total} {refs} not ready after {self.timeout_s:g} s"
        if "\n" in self.detail:  # a chain of causes, a line each
            return f"{late}{because(self.detail)}\n"
        return f"{late}{because(self.detail)}."


class ObjectLostError(ZfutError):
    """The value cannot be had any more.  Subclasses say why."""

    advice = "Make it again, or give its task max_retries so that it can be made again."
    object_id: bytes

    def __init__(self, object_id: bytes, why: str = "") -> None:
        super().__init__(object_id, why)
        self.object_id, self.why = object_id, why

    def fact(self) -> str:
        return f"The value of ref {identity(self.object_id)} is lost{because(self.why)}."


class OwnerDiedError(ObjectLostError):
    """The process that owned the value died, and the value's lineage with it."""

    advice = (
        "Return the value instead of putting it there, or put it in a process that lives on."
    )

    def __init__(self, object_id: bytes, owner: bytes = b"", why: str = "") -> None:
        super().__init__(object_id, why)
        self.args = (object_id, owner, why)
        self.owner = owner

    def fact(self) -> str:
        owner = f"its owner, process {identity(self.owner)}, died"
        return (
            f"The value of ref {identity(self.object_id)} is gone: {owner}{because(self.why)}."
        )


class ReferenceVoidError(ObjectLostError):
    """The reference names nothing any more: its value was let go when nobody held it."""

    advice = (
        "Pass the ref itself, not its id or a pickle of it, and keep one until the last use."
    )

    def fact(self) -> str:
        ref = identity(self.object_id)
        return f"Ref {ref} names nothing: its owner has let the value go{because(self.why)}."


class ReconstructionFailedError(ObjectLostError):
    """The value was lost and could not be made again.  ``reason`` is one of ``REASONS``."""

    REASONS: ClassVar[dict[str, str]] = {
        "attempts exceeded": "Its task has used all its max_retries: raise them.",
        "retries off": "Its task has max_retries=0, or its call max_task_retries=0: allow some.",
        "put": "It came from put(), which no task can repeat: return it from a task instead.",
        "lineage dropped": "Its lineage was given up to save memory: make it again.",
        "cancelled": "Its task was cancelled: submit it again.",
        "input lost": "An input of its task is lost as well: make that again first.",
        "its actor is gone": "Keep a handle of the actor for as long as its results are needed.",
        "an actor that it needs is gone": "Keep a handle of every actor that its task calls.",
    }

    def __init__(self, object_id: bytes, reason: str, why: str = "") -> None:
        super().__init__(object_id, why)
        self.args = (object_id, reason, why)
        self.reason = reason

    def fact(self) -> str:
        lost = f"The value of ref {identity(self.object_id)} is lost"
        return f"{lost} and cannot be made again ({self.reason}){because(self.why)}."

    def next_step(self) -> str:
        return self.REASONS.get(self.reason, self.advice)


class ObjectFreedError(ObjectLostError):
    """The value was freed by hand while references to it existed."""

    advice = "Call free() only after the last use, or just drop the refs."

    def fact(self) -> str:
        return f"The value of ref {identity(self.object_id)} was freed{because(self.why)}."


class ObjectStoreFullError(ZfutError, MemoryError):
    """The node's store had no room for the value, and none came free in time."""

    advice = (
        "Drop refs and arrays you no longer use, or init(object_store_memory=...) with more."
    )

    def __init__(self, size_bytes: int, why: str = "") -> None:
        super().__init__(size_bytes, why)
        self.size_bytes, self.why = size_bytes, why

    def fact(self) -> str:
        return f"No room in the store for {size_text(self.size_bytes)}{because(self.why)}."


class NodeDiedError(ZfutError):
    """The node manager, or its whole node, is gone, and this session with it."""

    advice = "Start again with zfut.init(); the node's log says what happened."

    def __init__(self, node: str, why: str = "") -> None:
        super().__init__(node, why)
        self.node, self.why = node, why

    def fact(self) -> str:
        return f"Node {self.node} died{because(self.why)}."


class OutOfMemoryError(ZfutError, MemoryError):
    """The task was ended because its node ran out of memory."""

    advice = "Give it less at a time, or demand memory for it: f.options(memory=...)."

    def __init__(self, task_name: str, used_bytes: int = 0, limit_bytes: int = 0) -> None:
        super().__init__(task_name, used_bytes, limit_bytes)
        self.task_name, self.used_bytes, self.limit_bytes = task_name, used_bytes, limit_bytes

    def fact(self) -> str:
        used, limit = size_text(self.used_bytes), size_text(self.limit_bytes)
        call = call_text(self.task_name)
        return f"{call} was ended: its node ran out of memory ({used} used of {limit})."
