"""A node's resources, in exact integers: ten-thousandths of a CPU, a GPU, a byte or a custom kind.

Invariant, checked by ``Resources.check``: free + what is out = total, for every kind.  Free may
be negative for CPU only: a task that waited gave its CPU away and takes it back at once.
"""

from __future__ import annotations

from zfut.ids import TASK_UNITS, amount_text
from zfut.wire.specs import Demand

CPU = "CPU"


class Resources:
    """Facts only: what there is, and what is free."""

    def __init__(self, total: dict[str, int]) -> None:
        self.total = dict(sorted(total.items()))
        self.free = dict(self.total)
        self._out = dict.fromkeys(self.total, 0)

    def feasible(self, demand: Demand) -> bool:
        """Whether the demand could ever fit here."""
        return all(self.total.get(kind, 0) >= amount for kind, amount in demand)

    def fits(self, demand: Demand) -> bool:
        """Whether the demand fits now."""
        free = self.free
        return all(free.get(kind, 0) >= amount for kind, amount in demand if amount)

    def take(self, demand: Demand) -> None:
        """Debit a granted demand; also a CPU that is taken back before it is free."""
        for kind, amount in demand:
            if amount:
                self.free[kind] -= amount
                self._out[kind] += amount

    def give(self, demand: Demand) -> None:
        """Credit a demand whose lease ended, or whose task waits."""
        for kind, amount in demand:
            if amount:
                self.free[kind] += amount
                self._out[kind] -= amount

    def lacking(self, demand: Demand) -> str:
        """Say, for a user, what of the demand is more than there is."""
        short = [
            f"{kind}:{amount_text(kind, amount)}"
            for kind, amount in demand
            if self.total.get(kind, 0) < amount
        ]
        have = ", ".join(
            f"{kind}:{amount_text(kind, amount)}" for kind, amount in self.total.items()
        )
        return f"needs {', '.join(short)}, this node has {have}"

    def as_dict(self, *, free: bool) -> dict[str, float]:
        """Return kinds and amounts in plain units; kinds that are used up are left out."""
        source = self.free if free else self.total
        return {kind: amount / TASK_UNITS for kind, amount in source.items() if amount > 0}

    def check(self) -> None:
        """Assert the invariant above."""
        for kind, total in self.total.items():
            assert self.free[kind] + self._out[kind] == total, kind
            assert kind == CPU or self.free[kind] >= 0, kind


def cpu_part(demand: Demand) -> Demand:
    """Return the part of a demand that is given back while its task waits."""
    return tuple(item for item in demand if item[0] == CPU)
