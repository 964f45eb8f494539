"""Draining: a node that was told to stop gives programs nothing new and lets what runs end.

    serving -- begin --> draining -- no lease out --> lingering -- no program left --> over
                            |                             '------- time is up -------^
                            '------------- the grace period is over -----------------^

It lingers because a result goes straight from its worker to its owner: a program whose last
task has ended still has to take what it came for.  Whoever asked for the end waits for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from zfut.config import Config

REFUSAL = "the node is draining: it takes no new work and stops soon"


class Draining:
    """Facts only: the machine beside it refuses, revokes and stops."""

    def __init__(self, config: Config) -> None:
        self._grace_ns = config.drain_grace_ns
        self._linger_ns = config.drain_linger_ns
        self.why = ""
        self._askers: dict[bytes, None] = {}
        self._deadline = 0
        self._idle_since: int | None = None

    def begin(self, why: str, asker: bytes, now: int) -> bool:
        """The node was told to drain. Returns False if it was before."""
        self._askers[asker] = None
        if self.why:
            return False
        self.why = why or "it was told to stop"
        self._deadline = now + self._grace_ns
        return True

    def over(self, leases_out: int, programs: Iterable[bytes], now: int) -> str:
        """Say why the node can stop; nothing if it cannot yet."""
        if not self.why:
            return ""
        if now >= self._deadline:
            late = f"; {leases_out} leases were out when its grace period ended"
            return self.why + (late if leases_out else "")
        if leases_out:
            self._idle_since = None
            return ""
        if self._idle_since is None:
            self._idle_since = now
        if now >= self._idle_since + self._linger_ns:
            return self.why
        return "" if any(uid not in self._askers for uid in programs) else self.why

    def wake_at(self) -> int | None:
        """When the grace period ends, or the time to linger."""
        if not self.why:
            return None
        if self._idle_since is None:
            return self._deadline
        return min(self._deadline, self._idle_since + self._linger_ns)
