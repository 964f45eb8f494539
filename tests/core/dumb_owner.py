"""The owner's tables a second time, without a single count: who holds what is looked up anew.

It keeps the plain facts (handles, unfinished calls, what is inside a value, registrations, which
calls can run again) and after each of them walks from everything that holds something to all that
is held so.  What the walk does not reach is gone, and its memory is freed.

It knows nothing of the machine.  One thing is left to the machine's choice: where a call runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

PENDING, FREED, INLINE, STORED, FAILED = "PENDING", "FREED", "INLINE", "STORED", "FAILED"
CALL_BYTES, ARGUMENT_BYTES = 600, 64
"""What a call that is kept is counted for, beside its packed arguments."""


@dataclass(eq=False)
class Call:
    """A call of ours; ``open`` while it has not ended."""

    name: bytes
    deps: tuple[bytes, ...]
    nested: tuple[bytes, ...]
    results: tuple[bytes, ...]
    tries: int
    packed_bytes: int
    attempt: int = 0
    open: bool = True
    cancelled: bool = False

    @property
    def arguments(self) -> tuple[bytes, ...]:
        """Everything that it names."""
        return self.deps + self.nested

    @property
    def counted_bytes(self) -> int:
        """What lineage counts it for."""
        return CALL_BYTES + self.packed_bytes + ARGUMENT_BYTES * len(self.arguments)


class Ref(NamedTuple):
    """A reference in a value, and the registration that came with it."""

    name: bytes
    owner: bytes
    token: bytes = b""


class Returned(NamedTuple):
    """A value: how it came, what is inside, and where it lies if it is stored."""

    state: str
    inside: tuple[Ref, ...] = ()
    creator: bytes = b""
    offset: int = 0


NO_VALUE = Returned(PENDING)


@dataclass(eq=False)
class Thing:
    """An object of ours, or of somebody else whom we have a reference from."""

    name: bytes
    owner: bytes
    maker: Call | None = None
    state: str = PENDING
    value: Returned = NO_VALUE
    attempt: int = 0
    again: bool = False  # its call can make it again
    asked: bool = False  # its owner was asked for it, and what that says counts

    @property
    def there(self) -> bool:
        """Whether it has a value."""
        return self.state in (INLINE, STORED)

    @property
    def inside(self) -> list[bytes]:
        """What its value holds."""
        return [ref.name for ref in self.value.inside] if self.there else []


@dataclass(eq=False)
class DumbOwner:
    """Facts, and what follows from them."""

    me: bytes
    limit_bytes: int = 1 << 30
    handles: Counter[bytes] = field(default_factory=Counter)
    things: dict[bytes, Thing] = field(default_factory=dict)
    calls: dict[bytes, Call] = field(default_factory=dict)
    kept: list[Call] = field(default_factory=list)
    users: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    remakers: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    dead: set[bytes] = field(default_factory=set)
    fenced: dict[bytes, list[bytes]] = field(default_factory=dict)
    freed: list[int] = field(default_factory=list)
    rerun: list[bytes] = field(default_factory=list)

    # ---------------------------------------------------------------- facts

    def thing_of(self, name: bytes, owner: bytes) -> Thing:
        """Return what a reference names; of ours that is gone only an error is left."""
        thing = self.things.get(name)
        if thing is None:
            thing = self.things[name] = Thing(name, owner)
            if owner == self.me or owner in self.dead:
                thing.state = FAILED
        return thing

    def put(self, name: bytes, value: Returned) -> None:
        """A value that no call has made."""
        self.things[name] = Thing(name, self.me, None, value.state, value)
        self.handles[name] += 1
        self.sweep()

    def submit(self, call: Call, owners: dict[bytes, bytes]) -> None:
        """A call, and one handle of each result."""
        self.calls[call.name] = call
        for name in call.results:
            self.things[name] = Thing(name, self.me, call)
            self.handles[name] += 1
        for name in call.arguments:
            self.thing_of(name, owners[name])
        for name in call.deps:
            self.need(name)
        self.sweep()

    def finish(self, call: Call, returned: list[Returned]) -> None:
        """The call has returned; what nobody waits for is let go."""
        for name, value in zip(call.results, returned, strict=True):
            thing = self.things.get(name)
            if thing is None or thing.state != PENDING:
                if value.state == STORED:
                    self.freed.append(value.offset)
                continue
            for ref in value.inside:
                self.thing_of(ref.name, ref.owner)
            thing.state, thing.value, thing.attempt = value.state, value, call.attempt
            if value.state == STORED:
                thing.again = bool(call.tries)
                if call.tries and call not in self.kept:
                    self.kept.append(call)
        call.open = False
        self.sweep()

    def fail(self, call: Call) -> None:
        """The call will not return."""
        for name in call.results:
            thing = self.things.get(name)
            if thing is not None and thing.state == PENDING:
                thing.state = FAILED
        call.open = False

    def forget(self, name: bytes) -> None:
        """The value of one of ours is in its store no more."""
        self._let_value_go(self.things[name])
        self.things[name].state = FREED
        self.sweep()

    def lose(self, name: bytes) -> None:
        """A value is lost: who uses it wants it again."""
        used, _ = self.marks()
        self.forget(name)
        if name in used:
            self.need(name)
        self.sweep()

    def need(self, name: bytes) -> None:
        """Somebody wants the value: what is missing runs again."""
        if name in self.things and not self.can_be_had(name):
            self.things[name].state = FAILED
        if name in self.things:
            self._ask(self.things[name])
        todo = [name]
        while todo:
            thing = self.things.get(todo.pop())
            if thing is None or thing.state != FREED:
                continue
            call = thing.maker
            if thing.owner != self.me:
                thing.state = FAILED if thing.owner in self.dead else PENDING
                self._ask(thing)
            elif call is None or not thing.again:
                thing.state = FAILED
            elif call.open:
                thing.state = PENDING
            elif call.cancelled or not call.tries:
                thing.state = FAILED
            else:
                self._run_again(call)
                todo.extend(call.deps)

    def _ask(self, thing: Thing) -> None:
        thing.asked = thing.asked or (thing.owner != self.me and thing.state == PENDING)

    def can_be_had(self, name: bytes) -> bool:
        """Whether the value is there, is on its way, or can be made again from what is."""
        thing = self.things[name]
        if thing.state != FREED:
            return thing.state != FAILED
        call = thing.maker
        if thing.owner != self.me:
            return thing.owner not in self.dead
        if call is None or not thing.again:
            return False
        able = bool(call.tries) and not call.cancelled
        return call.open or (able and all(map(self.can_be_had, call.deps)))

    def _run_again(self, call: Call) -> None:
        call.open = True
        call.attempt += 1
        call.tries -= call.tries > 0
        self.rerun.append(call.name)
        for name in call.results:
            thing = self.things.get(name)
            if thing is not None and thing.again and thing.state == FREED:
                thing.state = PENDING

    def die(self, uid: bytes, running: list[Call]) -> None:
        """A process is gone, what it owned, what was registered for it, and what ran there.

        What it was lent it may have passed on: that is held until its fence is complete.  What it
        needs as lineage alone it passes on only once we know that it needs more.
        """
        lent = dict.fromkeys(name for name, holder in self.users.values() if holder == uid)
        lent_on = [*lent, *(name for call in running for name in call.arguments)]
        if lent_on:
            self.fenced[uid] = lent_on
        for call in running:
            if call.cancelled or not call.tries:
                self.fail(call)
            else:
                call.attempt += 1
                call.tries -= call.tries > 0
        self.dead.add(uid)
        for tokens in (self.users, self.remakers):
            for token in [token for token, (_, holder) in tokens.items() if holder == uid]:
                del tokens[token]
        for thing in self.things.values():
            if thing.owner == uid and thing.state == PENDING:
                thing.state = FAILED
        self.sweep()

    def fence(self, uid: bytes) -> None:
        """Everybody has registered what the dead process had passed on."""
        del self.fenced[uid]
        self.sweep()

    # ---------------------------------------------------------------- what follows

    def marks(self) -> tuple[set[bytes], set[bytes]]:
        """Return what is used, and what only lineage names."""
        used: set[bytes] = set()
        named: set[bytes] = set()
        things = self.things
        todo = [(name, True) for name, count in self.handles.items() if count > 0]
        todo += [(name, True) for name, _ in self.users.values()]
        todo += [(name, True) for lent in self.fenced.values() for name in lent]
        todo += [(name, False) for name, _ in self.remakers.values()]
        for call in self.calls.values():
            if call.open:
                todo += [(name, True) for name in call.arguments]
        while todo:
            name, is_used = todo.pop()
            if name in used or (not is_used and name in named) or name not in things:
                continue
            thing = things[name]
            (used if is_used else named).add(name)
            if thing.value.inside and (is_used or self._stays(thing)):
                todo += [(inner, True) for inner in thing.inside]
            if thing.again and thing.maker is not None:
                todo += [(argument, False) for argument in thing.maker.arguments]
        return used, named - used

    def _stays(self, thing: Thing) -> bool:
        """Whether its value outlives its last user, if lineage names it."""
        return thing.owner == self.me and not thing.again

    def _let_value_go(self, thing: Thing) -> None:
        value = thing.value
        ended = thing.owner in self.dead or value.creator in self.dead
        if thing.state == STORED and (thing.owner == self.me or ended):
            self.freed.append(value.offset)

    def sweep(self) -> None:
        """Forget what nothing holds."""
        used, named = self.marks()
        for name, thing in list(self.things.items()):
            if name in used:
                continue
            if name not in named:
                self._let_value_go(thing)
                del self.things[name]
                continue
            thing.asked = (
                False  # what its owner says meanwhile may be over when it is used again
            )
            if thing.there and not self._stays(thing):
                self._let_value_go(thing)
                thing.state = FREED
        self.kept = [call for call in self.kept if self.remade_by(call)]

    def remade_by(self, call: Call) -> list[Thing]:
        """Return those of its results that it can make again."""
        found = [self.things[name] for name in call.results if name in self.things]
        return [thing for thing in found if thing.again]

    def settle(self, dispatched: set[bytes]) -> None:
        """Calls whose arguments failed fail; the oldest go that lineage has no room for."""
        failed = True
        while failed:
            failed = False
            for call in self.calls.values():
                if not call.open or call.name in dispatched:
                    continue
                if any(self.things[name].state == FAILED for name in call.deps):
                    self.fail(call)
                    failed = True
        self.sweep()
        if self.kept_bytes() > self.limit_bytes:
            surplus = self.kept_bytes() - self.limit_bytes // 2
            for call in self.kept:
                if surplus <= 0:
                    break
                surplus -= call.counted_bytes
                for thing in self.remade_by(call):
                    thing.again = False
            self.sweep()

    def kept_bytes(self) -> int:
        """What lineage counts."""
        return sum(call.counted_bytes for call in self.kept)

    # ---------------------------------------------------------------- counts, looked up

    def counts(self) -> dict[str, dict[bytes, object]]:
        """Return who holds each object, and how often, by the columns of the rows."""
        unfinished = [call for call in self.calls.values() if call.open]
        found: dict[str, dict[bytes, object]] = {
            "local": dict(self.handles),
            "submitted": _how_often(
                [*(call.arguments for call in unfinished), *self.fenced.values()]
            ),
            "contained_in": _how_often(thing.inside for thing in self.things.values()),
            "lineage": _how_often(call.arguments for call in self.kept),
            "borrowers": {},
            "lineage_tokens": {},
        }
        for column, tokens in (("borrowers", self.users), ("lineage_tokens", self.remakers)):
            for token, (name, holder) in tokens.items():
                held = found[column].setdefault(name, {})
                assert isinstance(held, dict)
                held[token] = holder
        return found


def _how_often(lists: Iterable[Iterable[bytes]]) -> dict[bytes, object]:
    return dict(Counter(name for names in lists for name in names))
