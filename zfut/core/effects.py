"""What a machine can ask of the world. It never does any of it itself."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from zfut.wire.messages import Message

ITEMS_AT_ONCE = 1000
"""So many objects are in one message, or let go in one step: others are answered in between."""


class Send(Struct, gc=False):
    """Put ``message`` and its ``payload`` parts in the mailbox of process ``to``."""

    to: bytes
    message: Message
    payload: Sequence[bytes] = ()


class Complete(Struct, gc=False):
    """Wake whoever waits on ``call_id``; ``outcome`` is what the call was for."""

    call_id: int
    outcome: object = None


class Forget(Struct, gc=False):
    """Close the connection to a process that is dead or has left."""

    uid: bytes


class Note(Struct, gc=False):
    """Tell the user: ``level`` is a logging level's name."""

    level: str
    text: str


class StartWorker(Struct, gc=False):
    """Fork a worker that will call itself ``uid``."""

    uid: bytes


class KillProcess(Struct, gc=False):
    """End this worker at once."""

    uid: bytes


class WatchProcess(Struct, gc=False):
    """A program joined: its end must be noticed at once."""

    uid: bytes
    pid: int


class CollectGarbage(Struct, gc=False):
    """Run the garbage collector here, where finalisers may run: garbage may hold shared memory."""


class InterruptCall(Struct, gc=False):
    """Interrupt this call, which runs: user code sees KeyboardInterrupt, or CancelledError."""

    task_id: bytes


class ConfirmOpened(Struct, gc=False):
    """Hand in ArgumentsOpened for this call, which runs: now, or once its arguments are open."""

    task_id: bytes


class EndProcess(Struct, gc=False):
    """End the process this machine lives in, with this exit code, when user code has returned."""

    code: int
    why: str


class Interrupt(Struct, gc=False):
    """The session is over: every wait in this process ends with ``why``."""

    why: str


class Close(Struct, gc=False):
    """User code that still runs in this process submits nothing more; it is told ``why``."""

    why: str


class ReleaseInstance(Struct, gc=False):
    """The actor has ended, and its process stays: say farewell to it, and let its state go."""


Effect: TypeAlias = (
    Send
    | Complete
    | Forget
    | Note
    | StartWorker
    | KillProcess
    | WatchProcess
    | CollectGarbage
    | InterruptCall
    | ConfirmOpened
    | EndProcess
    | Interrupt
    | Close
    | ReleaseInstance
)


class Outbox:
    """Collects one machine's effects until they are taken."""

    def __init__(self) -> None:
        self._effects: list[Effect] = []
        self.add = self._effects.append

    def send(self, to: bytes, message: Message, payload: Sequence[bytes] = ()) -> None:
        """Ask for a message to be sent."""
        self.add(Send(to, message, payload))

    def send_in_parts(
        self, to: bytes, items: Sequence[Any], message: Callable[[tuple[Any, ...]], Message]
    ) -> None:
        """Ask for messages to be sent, each with at most so many of the items, in their order."""
        for at in range(0, len(items), ITEMS_AT_ONCE):
            self.send(to, message(tuple(items[at : at + ITEMS_AT_ONCE])))

    def send_each(
        self,
        gathered: dict[bytes, list[Any]],
        message: Callable[[tuple[Any, ...]], Message],
        dead: Container[bytes],
    ) -> None:
        """Ask for what was gathered for each process to be sent to it, but not to the dead."""
        for uid, items in gathered.items():
            if uid not in dead:
                self.send_in_parts(uid, items, message)

    def take(self) -> list[Effect]:
        """Hand out what has been asked for, in order."""
        if not self._effects:
            return []
        effects = self._effects[:]
        self._effects.clear()
        return effects
