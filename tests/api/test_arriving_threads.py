"""References that arrive in one thread while others hand in events are counted once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from tests.cluster.leftovers import until
from zfut.arriving import Arriving
from zfut.core.events import RefsArrived
from zfut.wire.specs import Address

MADE = 20_000


def test_each_is_counted_by_one_thread() -> None:
    noted: list[RefsArrived] = []
    batch = Arriving(None, lambda _: None, noted.append, lambda: None, b"")  # type: ignore[arg-type]
    over = threading.Event()

    def hand_in() -> None:
        while not over.is_set():
            batch.count(noted.append)

    others = [threading.Thread(target=hand_in) for _ in range(3)]
    for thread in others:
        thread.start()
    for number in range(MADE):
        batch.make(number.to_bytes(28, "big"), b"o" * 16, 0)
    until(lambda: not batch._refs, "all are taken")  # noqa: SLF001
    over.set()
    for thread in others:
        thread.join()
    names = sorted(name for name, owner in _all(noted) if owner == Address(b"o" * 16))
    assert names == [number.to_bytes(28, "big") for number in range(MADE)]


def _all(noted: list[RefsArrived]) -> Iterator[tuple[bytes, Address]]:
    for event in noted:
        yield from event.refs
