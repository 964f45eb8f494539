"""The head: the one party of a cluster that every node knows. It names actors; no objects, no tasks.

On one node it lives in the node manager's process.
"""

from __future__ import annotations

from zfut.core.effects import Outbox
from zfut.core.head.actor_directory import ActorDirectory, Entry
from zfut.wire import messages as m


class HeadMachine:
    """Pure: answers by way of the outbox of the process it lives in."""

    def __init__(self, out: Outbox) -> None:
        self._out = out
        self.directory = ActorDirectory()

    def handle(
        self, sender: bytes, message: m.RegisterName | m.FindName | m.ReleaseName
    ) -> None:
        """Take a question about names."""
        match message:
            case m.RegisterName(request, namespace, name):
                entry = Entry(message.actor_id, message.owner.uid, message.handle)
                has = self.directory.register((namespace, name), entry)
                self._say(sender, request, has, taken=has.actor_id != message.actor_id)
            case m.FindName(request, namespace, name):
                found = self.directory.find((namespace, name))
                self._say(sender, request, found, taken=found is not None)
            case m.ReleaseName(actor_id):
                self.directory.release(actor_id)

    def _say(self, to: bytes, request: int, entry: Entry | None, *, taken: bool) -> None:
        actor_id, handle = (entry.actor_id, entry.handle) if entry else (b"", b"")
        self._out.send(to, m.NameAnswer(request, taken, actor_id, handle))

    def on_process_died(self, uid: bytes) -> None:
        """A process is gone: so are the names of the actors it owned."""
        self.directory.owner_died(uid)
