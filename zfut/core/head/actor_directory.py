"""The actor directory: which actor has which name.

A name is unique in its namespace and free again when its actor ends.  Handles found by name do not
keep an actor alive: the handle that is stored here is a description, not a reference.
"""

from __future__ import annotations

from msgspec import Struct

Key = tuple[str, str]
"""Namespace and name."""


class Entry(Struct, gc=False):
    """Who has a name."""

    actor_id: bytes
    owner: bytes
    handle: bytes


class ActorDirectory:
    """Facts only: the machine beside it answers."""

    def __init__(self) -> None:
        self.names: dict[Key, Entry] = {}

    def register(self, key: Key, entry: Entry) -> Entry:
        """Take a name if it is free. Returns who has it now."""
        return self.names.setdefault(key, entry)

    def find(self, key: Key) -> Entry | None:
        """Return who has the name."""
        return self.names.get(key)

    def release(self, actor_id: bytes) -> None:
        """The actor ended, or needs its name no more."""
        for key in [key for key, entry in self.names.items() if entry.actor_id == actor_id]:
            del self.names[key]

    def owner_died(self, owner: bytes) -> None:
        """The owner of actors is gone, and they with it."""
        for key in [key for key, entry in self.names.items() if entry.owner == owner]:
            del self.names[key]
