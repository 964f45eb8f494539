"""Programs with known answers, made for workers that may die at any moment.

Every worker imports this module anew, so it imports little.  Whatever reads a value reads all of
it: a page that somebody else wrote over shows, wherever it is.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import zfut

KIB, MIB = 1 << 10, 1 << 20
WORD_BYTES = 8
CHUNK_WORDS = 1 << 15
KEYS = (1 << 31) - 1


def attempt() -> int:
    """How often the task that runs here had begun before and did not end."""
    return zfut.get_runtime_context().attempt


# ------------------------------------------------------------------ trees


@zfut.remote(max_retries=-1)
def leaf(number: int, tree: int = 0) -> Any:
    """Return a leaf's mark, twice in three times in an array for the store."""
    return np.full((10, 20_000, 50_000)[number % 3], mark_of(number, tree))


def mark_of(number: int, tree: int) -> int:
    """Return what a leaf's array is full of: no two leaves of a test have the same."""
    return (tree << 16) | number


def number_of(array: Any, tree: int = 0) -> int:
    """Return the number of the leaf whose array this is; it must be one of this tree."""
    number = int(array[0]) & 0xFFFF
    assert (array == mark_of(number, tree)).all(), (tree, number, array)
    assert array.shape == ((10, 20_000, 50_000)[number % 3],)
    return number


@zfut.remote(max_retries=-1)
def total(low: int, high: int) -> tuple[int, int]:
    """Return the sum of a tree of calls that wait for calls, and how many had to run again."""
    if high - low <= 4:
        leaves = zfut.get([leaf.remote(number) for number in range(low, high)])
        return sum(number_of(one) for one in leaves), attempt()
    middle = (low + high) // 2
    parts = zfut.get([total.remote(low, middle), total.remote(middle, high)])
    return sum(part[0] for part in parts), attempt() + sum(part[1] for part in parts)


@zfut.remote(max_retries=-1)
def grow(low: int, high: int, tree: int) -> list[Any]:
    """Return references to what calls of this call make: trees again, or leaves."""
    if high - low <= 3:
        return [leaf.remote(number, tree) for number in range(low, high)]
    middle = (low + high) // 2
    return [grow.remote(low, middle, tree), grow.remote(middle, high, tree)]


def walk(refs: list[Any], tree: int, timeout_s: float) -> list[int]:
    """Return the numbers of all leaves below references, reading them level by level."""
    numbers: list[int] = []
    while refs:
        found = zfut.get(refs, timeout=timeout_s)
        refs = [ref for one in found if isinstance(one, list) for ref in one]
        numbers += [number_of(one, tree) for one in found if not isinstance(one, list)]
    return numbers


@zfut.remote(max_retries=-1)
def gather(refs: list[Any], tree: int) -> list[int]:
    """Return the same; what lies inside a value is passed on to a call, as references."""
    found = zfut.get(refs)
    below = [gather.remote(one, tree) for one in found if isinstance(one, list)]
    own = [number_of(one, tree) for one in found if not isinstance(one, list)]
    return own + [number for numbers in zfut.get(below) for number in numbers]


# ------------------------------------------------------------------ a graph


@dataclass(frozen=True)
class Content:
    """What an object of the graph holds: words that say whose they are and where."""

    key: int
    size_bytes: int

    def words(self) -> Any:
        start = self.key << 32
        return np.arange(start, start + self.size_bytes // WORD_BYTES, dtype=np.int64)

    def check(self, found: Any) -> None:
        """Assert that ``found`` is this, word for word."""
        assert found.nbytes == self.size_bytes, (found.nbytes, self)
        for at in range(0, len(found), CHUNK_WORDS):
            part = found[at : at + CHUNK_WORDS]
            start = (self.key << 32) + at
            right = np.arange(start, start + len(part), dtype=np.int64)
            assert np.array_equal(part, right), (self, at, part[part != right][:4])


def key_of(number: int, parents: list[int]) -> int:
    """Return the key of an object: another for each number, and other with other parents."""
    return (31 * sum(parents) + 1_000_003 * (number + 1)) % KEYS


@zfut.remote(max_retries=-1, num_returns=2)
def join(
    number: int, size_bytes: int, contents: list[Content], nested: list[Any], *direct: Any
) -> tuple[Any, int]:
    """Read all parents, some through references of a list, and make an object from them."""
    parents = [*zfut.get(nested), *direct]
    assert len(parents) == len(contents)
    for found, content in zip(parents, contents, strict=True):
        content.check(found)
    key = key_of(number, [int(found[0]) >> 32 for found in parents])
    return Content(key, size_bytes).words(), attempt()


def sizes(seed: int) -> Iterator[int]:
    """Yield sizes from 1 KiB to 20 MiB: as many between 1 and 2 as between 10 and 20 MiB."""
    chance = random.Random(seed)  # noqa: S311
    yield from (KIB, 20 * MIB)
    while True:
        yield int(KIB * (20 * KIB) ** chance.random()) // WORD_BYTES * WORD_BYTES


# ------------------------------------------------------------------ actors


@dataclass(frozen=True)
class Answer:
    """What one life of a register knows of a caller's calls, as of one of them."""

    life: str
    told: tuple[int, ...]
    sum: int


@zfut.remote(max_restarts=-1, max_task_retries=-1)
class Register:
    """Remembers each caller's calls; a new life begins with an empty memory.

    Every execution adds a line to ``log`` first, which outlives all lives.
    """

    def __init__(self, start: int, log: str) -> None:
        self.life = zfut.get_runtime_context().worker_id
        self.start, self.log = start, log
        self.told: dict[str, list[int]] = {}
        self.sums: dict[str, int] = {}
        self.kept: dict[str, Any] = {}

    def add(self, caller: str, number: int, value: Any) -> Answer:
        """Add a number; ``value`` holds it, or is a list with a reference to it, and is kept."""
        fd = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{caller} {number}\n".encode())
        os.close(fd)
        self.kept = {caller: value}
        found = zfut.get(value[0]) if isinstance(value, list) else value
        told = self.told.setdefault(caller, [])
        told.append(number)
        self.sums[caller] = self.sums.get(caller, self.start) + number_of(found)
        return Answer(self.life, tuple(told), self.sums[caller])


def argument(number: int) -> Any:
    """Return a reference to a leaf, or one inside a list."""
    ref = leaf.remote(number)
    return [ref] if number % 2 else ref


def check_lives(answers: list[Answer], start: int) -> int:
    """Assert that each life says exactly what it was told, in order; return how many spoke.

    A life is told what no earlier one has answered, from there on each number once, in order.
    """
    lives: dict[str, int] = {}
    for number, answer in enumerate(answers):
        first = lives.setdefault(answer.life, number)
        assert answer.told == tuple(range(first, number + 1)), (number, lives, answer)
        assert answer.sum == start + sum(answer.told)
    return len(lives)


@zfut.remote(max_retries=-1)
def call_from_a_task(register: Any, name: str, count: int) -> tuple[list[Answer], int]:
    """Call somebody else's register, under a name that no other attempt has."""
    caller = f"{name}.{attempt()}.{os.getpid()}"
    calls = [register.add.remote(caller, n, argument(n)) for n in range(count)]
    return zfut.get(calls), attempt()


def executions(log: Path, caller: str) -> dict[int, int]:
    """Return how often each number of a caller was executed, in all lives."""
    found: dict[int, int] = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        name, _, number = line.rpartition(" ")
        if name == caller:
            found[int(number)] = found.get(int(number), 0) + 1
    return found
