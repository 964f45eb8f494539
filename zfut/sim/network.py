"""The network: one queue for each ordered pair of processes, and chance between the pairs.

What one process sends another arrives once and in order while both live.  Messages of
different pairs overtake each other as the seed says.  Of what a dead process had under way to
one receiver, some beginning arrives and the rest is lost.
"""

from __future__ import annotations

from random import Random

from msgspec import Struct

NEVER = 1 << 60

Letter = tuple[bytes, bytes, bytes]
"""Sender, header and payload, as they cross."""


class Latency(Struct, frozen=True):
    """How long things take: usually ``usual_ns`` at most, at times ``spike_ns`` at most."""

    usual_ns: int
    spike_ns: int
    spikes: float

    def draw(self, rng: Random) -> int:
        """Return one delay."""
        if self.spikes and rng.random() < self.spikes:
            return 1 + int(rng.random() * self.spike_ns)
        return 1 + int(rng.random() * self.usual_ns)


class Link:
    """What one process has under way to another."""

    __slots__ = ("arrives_at", "held_until", "letters", "receiver", "sender")

    def __init__(self, sender: bytes, receiver: bytes) -> None:
        self.sender = sender
        self.receiver = receiver
        self.letters: list[tuple[int, Letter]] = []
        self.arrives_at = 0
        self.held_until = 0


class Network:
    """All links. The cluster asks when a message arrives and takes it out then."""

    def __init__(self, rng: Random, latency: Latency) -> None:
        self._rng = rng
        self._latency = latency
        self._links: dict[tuple[bytes, bytes], Link] = {}
        self.under_way = 0

    def send(self, sender: bytes, to: bytes, letter: Letter, now: int) -> tuple[int, Link]:
        """Put a message under way. Returns when it arrives, and on which link."""
        link = self._link(sender, to)
        at = now + self._latency.draw(self._rng)
        link.arrives_at = at = max(at, link.arrives_at + 1, link.held_until)
        link.letters.append((at, letter))
        self.under_way += 1
        return at, link

    def _link(self, sender: bytes, to: bytes) -> Link:
        link = self._links.get((sender, to))
        if link is None:
            link = self._links[sender, to] = Link(sender, to)
        return link

    def hold(self, sender: bytes, to: bytes) -> None:
        """Let nothing of this pair arrive until ``let_go``."""
        self._link(sender, to).held_until = NEVER

    def let_go(self, sender: bytes, to: bytes, now: int) -> list[tuple[int, Link]]:
        """Return when what was held up arrives."""
        link = self._link(sender, to)
        link.held_until = 0
        link.letters = [(now + 1 + i, letter) for i, (_, letter) in enumerate(link.letters)]
        link.arrives_at = now + 1 + len(link.letters)
        return [(at, link) for at, _ in link.letters]

    def arrived(self, link: Link, now: int) -> list[Letter]:
        """Take out what has arrived by now."""
        letters = link.letters
        count = 0
        while count < len(letters) and letters[count][0] <= now:
            count += 1
        taken = [letter for _, letter in letters[:count]]
        del letters[:count]
        self.under_way -= count
        return taken

    def lose(self, dead: bytes, *, peaceful: bool) -> None:
        """The process is dead: nothing more reaches it, and not all it sent arrives."""
        for (sender, to), link in self._links.items():
            if to == dead:
                self._cut(link, 0)
            elif sender == dead and not peaceful and link.letters:
                self._cut(link, self._rng.randrange(len(link.letters) + 1))

    def _cut(self, link: Link, keep: int) -> None:
        self.under_way -= len(link.letters) - keep
        del link.letters[keep:]
