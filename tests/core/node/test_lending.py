"""The node's arena when requests wait: who passes whom, how far, and what is said of it."""

from __future__ import annotations

import json

from zfut.config import Config
from zfut.core import effects as f
from zfut.core.events import Received, Woken
from zfut.core.node.machine import NodeMachine
from zfut.core.owner.memory import Memory
from zfut.wire import messages as m

PAGE = 4096
NODE = b"n" * 8
MANAGER = NODE + bytes(8)
FIRST, SECOND, THIRD = NODE + b"first...", NODE + b"second..", NODE + b"third..."
TIMEOUT_NS = 1000


class Bench:
    """A node with 16 pages and three programs."""

    def __init__(self) -> None:
        config = Config(store_full_timeout_ns=TIMEOUT_NS)
        self.node = NodeMachine(MANAGER, config, {"CPU": 20_000}, 16 * PAGE, lambda: b"w" * 16)
        self.now = 0
        for uid in (FIRST, SECOND, THIRD):
            self.tell(uid, m.Hello(m.PROTOCOL_VERSION, b"", uid, "driver", 1))

    def tell(self, sender: bytes, message: m.Message) -> list[tuple[bytes, m.Message]]:
        return self._sent(self.node.step(Received(sender, message), self.now))

    def wake(self, now: int) -> list[tuple[bytes, m.Message]]:
        self.now = now
        return self._sent(self.node.step(Woken(), now))

    def _sent(self, effects: list[f.Effect]) -> list[tuple[bytes, m.Message]]:
        self.node.check()
        return [(effect.to, effect.message) for effect in effects if isinstance(effect, f.Send)]

    def borrow(self, sender: bytes, request: int, pages: int) -> m.MemoryLent | None:
        """Ask for so many pages; returns what was lent at once."""
        sent = self.tell(sender, m.BorrowMemory(request, pages * PAGE, pages * PAGE))
        return next((one for _, one in sent if isinstance(one, m.MemoryLent)), None)

    def give_back(self, sender: bytes, lent: m.MemoryLent) -> list[tuple[bytes, int]]:
        """Return it all. Returns which requests of whom were served by that."""
        sent = self.tell(sender, m.ReturnMemory(((lent.offset, lent.size_bytes),)))
        return [(to, one.request) for to, one in sent if isinstance(one, m.MemoryLent)]


def test_small_requests_pass_a_large_one_that_does_not_fit() -> None:
    bench = Bench()
    assert bench.borrow(FIRST, 1, 8)
    assert bench.borrow(SECOND, 1, 10) is None
    assert bench.borrow(THIRD, 1, 1), "8 pages are free, and 10 are asked for in front"


def test_no_more_bytes_pass_a_request_than_it_wants_itself() -> None:
    bench = Bench()
    kept = bench.borrow(FIRST, 1, 12)
    assert kept
    assert bench.borrow(SECOND, 1, 6) is None
    for request in range(6):
        lent = bench.borrow(THIRD, request, 1)
        assert lent
        assert bench.give_back(THIRD, lent) == []
    assert bench.borrow(THIRD, 7, 1) is None, "the door is closed"
    assert bench.give_back(FIRST, kept) == [(SECOND, 1), (THIRD, 7)]


def with_a_closed_door() -> Bench:
    """Return a node on which 9 pages have passed the second's request for 9."""
    bench = Bench()
    assert bench.borrow(FIRST, 1, 8)
    assert bench.borrow(SECOND, 1, 9) is None
    lent = bench.borrow(THIRD, 1, 8)
    assert lent
    assert bench.borrow(THIRD, 2, 1) is None
    assert bench.give_back(THIRD, lent) == [(THIRD, 2)]
    return bench


def test_what_is_held_up_goes_on_when_the_one_in_front_gives_up() -> None:
    bench = with_a_closed_door()
    assert bench.borrow(THIRD, 3, 1) is None, "9 pages have passed 9"
    sent = bench.wake(TIMEOUT_NS)
    (refused,) = [(to, one) for to, one in sent if isinstance(one, m.MemoryRefused)]
    assert refused[0] == SECOND
    assert f"; {9 * PAGE} went meanwhile to smaller requests" in refused[1].why
    served = [(to, one.request) for to, one in sent if isinstance(one, m.MemoryLent)]
    assert served == [(THIRD, 3)], "it is late itself at this very moment, and fits"


def test_the_report_names_who_is_in_front() -> None:
    bench = with_a_closed_door()
    assert bench.borrow(THIRD, 3, 1) is None
    ((_, said),) = bench.tell(FIRST, m.AskNode(1, "status"))
    assert isinstance(said, m.NodeSays)
    large, small = json.loads(said.answer)["waiting_for_memory"]
    assert (large["bytes"], large["passed"], large["behind"]) == (9 * PAGE, 9 * PAGE, None)
    assert small["uid"] == THIRD.hex()
    assert small["behind"] == {"process": large["process"], "bytes": 9 * PAGE}


def test_everybody_is_asked_to_collect_garbage_once_for_a_request() -> None:
    bench = Bench()
    assert bench.borrow(FIRST, 1, 8)
    assert bench.borrow(SECOND, 1, 9) is None

    def asked(now: int) -> list[bytes]:
        sent = bench.wake(now)
        return [to for to, one in sent if isinstance(one, m.ReclaimMemory) and one.garbage]

    assert bench.node.wake_at() == TIMEOUT_NS // 2
    assert asked(TIMEOUT_NS // 2 - 1) == []
    assert asked(TIMEOUT_NS // 2) == [FIRST, SECOND, THIRD], "also who was lent nothing"
    assert bench.node.wake_at() == TIMEOUT_NS
    assert bench.borrow(THIRD, 1, 9) is None
    assert asked(TIMEOUT_NS - 1) == [], "another time comes later"
    assert asked(TIMEOUT_NS) == [FIRST, SECOND, THIRD]
    assert bench.node.wake_at() == TIMEOUT_NS * 3 // 2, "until it is late"


def test_what_was_lent_serves_the_request_that_was_answered() -> None:
    """A larger wait in front still has a request of its own at the node; this one has none."""
    memory = Memory(PAGE)
    memory.extents.add(0, 4 * PAGE)
    taken = memory.allocate(4 * PAGE, FIRST)
    assert taken == 0
    memory.wait(1, 5 * PAGE, FIRST)
    memory.wait(2, PAGE, FIRST)
    memory.free(taken)
    served = memory.lent(2, 4 * PAGE, PAGE)  # with what is free here, that is enough for both
    assert [call_id for call_id, _ in served] == [2]
    assert list(memory.waiting) == [1]
