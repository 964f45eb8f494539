"""The executor's inbox: calls that may run, in order, and what runs now.

Tasks pushed under a newer binding than this worker knows wait for the node's word; those under an
older one go back.  Calls to an actor that is still to be created wait for its creation.

Invariants, checked by ``Inbox.check``: a call is queued or running, never both; only calls that
have not started can be taken out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from msgspec import Struct, field

from zfut.wire.specs import Address, Dep, FunctionDef, Stored, TaskSpec

TASK, CREATE, METHOD = 0, 1, 2


class Call(Struct, gc=False):
    """One call to run: what was asked, by whom, and its bytes."""

    kind: int
    spec: TaskSpec
    owner: Address
    args: bytes
    deps: list[tuple[Dep, bytes]] = field(default_factory=list)
    opened: bool = False  # its arguments are open; its thread says so

    def method(self) -> str:
        """Return the name of an actor's method; it may be no text at all."""
        return self.spec.function.decode(errors="backslashreplace")


class Inbox:
    """Facts only: the machine beside it decides and sends."""

    def __init__(self) -> None:
        self.queue: deque[Call] = deque()
        self.nested: deque[Call] = deque()
        self.running: dict[bytes, Call] = {}
        self.functions: dict[bytes, tuple[str, bytes]] = {}

    def learn(self, functions: tuple[FunctionDef, ...], payload: bytes) -> int:
        """Keep the code of new functions. Returns how much of the payload they took."""
        offset = 0
        for function in functions:
            code = payload[offset : offset + function.size_bytes]
            self.functions[function.function_id] = (function.name, code)
            offset += function.size_bytes
        return offset

    @staticmethod
    def unpack(
        kind: int, owner: Address, specs: tuple[TaskSpec, ...], payload: bytes, offset: int
    ) -> list[Call]:
        """Cut the payload into calls."""
        calls: list[Call] = []
        for spec in specs:
            end = offset + spec.size_bytes
            call = Call(kind, spec, owner, payload[offset:end])
            offset = end
            for dep in spec.deps:
                value = dep.value
                if isinstance(value, Stored):
                    call.deps.append((dep, b""))
                    continue
                end = offset + value.size_bytes
                call.deps.append((dep, payload[offset:end]))
                offset = end
            calls.append(call)
        return calls

    def take(self) -> Call | None:
        """Start the next call."""
        if not self.queue:
            return None
        call = self.queue.popleft()
        self.running[call.spec.task_id] = call
        return call

    def take_nested(self) -> Call | None:
        """Start a call that this process submitted itself, on top of the one that waits."""
        if not self.nested:
            return None
        call = self.nested.popleft()
        self.running[call.spec.task_id] = call
        return call

    def finish(self, task_id: bytes) -> Call | None:
        """The call ended."""
        return self.running.pop(task_id, None)

    def recall(self, task_ids: tuple[bytes, ...]) -> list[Call]:
        """Take out those of these calls that have not started."""
        wanted = dict.fromkeys(task_ids)
        back = [call for call in self.queue if call.spec.task_id in wanted]
        if back:
            kept = [call for call in self.queue if call.spec.task_id not in wanted]
            self.queue = deque(kept)
        if any(call.spec.task_id in wanted for call in self.nested):
            back += [call for call in self.nested if call.spec.task_id in wanted]
            self.nested = deque(c for c in self.nested if c.spec.task_id not in wanted)
        return back

    def drop_owner(self, uid: bytes) -> None:
        """The owner died: what it asked for and has not started is moot."""
        if any(call.owner.uid == uid for call in self.queue):
            self.queue = deque(call for call in self.queue if call.owner.uid != uid)

    def named(self) -> Iterator[bytes]:
        """Yield whose calls these are, and who wrote what they read in place."""
        for call in (*self.queue, *self.nested, *self.running.values()):
            yield call.owner.uid
            for dep, _ in call.deps:
                if isinstance(dep.value, Stored):
                    yield dep.value.creator

    def check(self) -> None:
        """Assert the invariants above."""
        for call in self.queue:
            assert call.spec.task_id not in self.running
