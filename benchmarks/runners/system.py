"""What a runner must offer so that the common workloads can measure its system.

The workloads ask once for a callable (``remote``, ``method``) and time calls of that very
object, so that this layer costs a measured loop nothing.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Ref: TypeAlias = Any  # a future, a reference, a coroutine: each system has its own
Actor: TypeAlias = Any
Value: TypeAlias = Any
Submit: TypeAlias = Callable[..., Ref]
Figures: TypeAlias = dict[str, float]
Measure: TypeAlias = Callable[["System", int], Figures]

WORKERS = 2


class System(ABC):
    """A measured system, on one node with two workers."""

    name: str
    import_statement: str
    share = 1.0  # of a workload's count, for a slow system, where the figure does not mind
    cannot: Mapping[str, str] = {}  # workload -> why it is not measured here
    own: Mapping[str, Measure] = {}  # workloads that this system measures in its own way

    @abstractmethod
    def start(self) -> None:
        """Start the node and its two workers."""

    @abstractmethod
    def stop(self) -> None:
        """Stop all that ``start`` started."""

    @abstractmethod
    def first_result(self) -> None:
        """Make one call and have its answer: the system works."""

    def idle(self, seconds: float) -> None:
        """Do nothing for so long."""
        time.sleep(seconds)


class TaskSystem(System):
    """A system that runs tasks, and perhaps actors and puts."""

    def first_result(self) -> None:
        """Run the empty task."""
        from benchmarks.runners import functions  # noqa: PLC0415 - bare systems need none

        self.get(self.remote(functions.nothing)())

    @abstractmethod
    def remote(self, function: Callable[..., object]) -> Submit:
        """What submits ``function`` and returns its reference at once."""

    @abstractmethod
    def get(self, refs: Ref) -> Value:
        """The value of a reference, or the values of a list of them."""

    def put(self, value: Value) -> Ref:
        """Store a value."""
        raise NotImplementedError

    def wait_one(self, refs: list[Ref]) -> list[Ref]:
        """Wait until one is ready; the others."""
        raise NotImplementedError

    def create(self, actor_class: type) -> Actor:
        """A new actor."""
        raise NotImplementedError

    def method(self, actor: Actor, name: str) -> Submit:
        """What calls that method and returns a reference at once."""
        raise NotImplementedError

    def kill(self, actor: Actor) -> None:
        """End an actor."""
        raise NotImplementedError
