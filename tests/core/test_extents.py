"""Extents: the policy by example, and everything else against a list with one entry a cell."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zfut.core.extents import ALIGN, PAGE_BYTES, Extents

KIB = 1024
MIB = 1024 * KIB


def extents(*ranges: tuple[int, int]) -> Extents:
    made = Extents()
    for offset, size in ranges:
        made.add(offset, size)
    made.check()
    return made


def allocate(memory: Extents, size: int) -> int:
    offset = memory.allocate(size)
    memory.check()
    assert offset is not None
    return offset


def free(memory: Extents, offset: int) -> int:
    size = memory.free(offset)
    memory.check()
    return size


def test_sizes_are_rounded_up_to_the_alignment() -> None:
    memory = extents((0, 1024))
    assert [allocate(memory, size) for size in (1, 64, 65, 0)] == [0, 64, 128, 256]
    assert memory.allocated == {0: 64, 64: 64, 128: 128, 256: 64}
    assert memory.free_bytes == memory.largest_bytes == 1024 - 320


def test_no_room_is_none_and_changes_nothing() -> None:
    memory = extents((0, 128), (256, 128))
    assert memory.allocate(129) is None
    assert memory.free_bytes == 256
    assert memory.largest_bytes == 128
    assert memory.allocated == {}
    memory.check()
    assert Extents().allocate(1) is None
    assert Extents().largest_bytes == 0


def test_neighbours_merge_whichever_comes_last() -> None:
    for order in ((0, 1, 2), (2, 1, 0), (0, 2, 1)):
        memory = extents(*((index * 64, 64) for index in order))
        assert memory.largest_bytes == 192
    memory = extents((0, 192))
    offsets = [allocate(memory, 64) for _ in range(3)]
    for index in (0, 2, 1):
        free(memory, offsets[index])
    assert memory.largest_bytes == 192


def test_the_smallest_range_that_fits_is_used() -> None:
    memory = extents((0, 10 * KIB), (20 * KIB, 2 * KIB), (40 * KIB, 4 * KIB))
    assert allocate(memory, 3 * KIB) == 40 * KIB
    assert allocate(memory, 2 * KIB) == 20 * KIB
    assert allocate(memory, 5 * KIB) == 0


def test_what_was_freed_last_is_used_first() -> None:
    memory = extents((0, 8 * MIB))
    offsets = [allocate(memory, MIB) for _ in range(8)]
    free(memory, offsets[1])
    free(memory, offsets[6])
    free(memory, offsets[3])
    assert [allocate(memory, MIB - 100) for _ in range(3)] == [
        offsets[3],
        offsets[6],
        offsets[1],
    ]


def test_a_better_fit_that_is_cold_does_not_beat_a_warm_range() -> None:
    memory = extents((0, 3 * MIB), (16 * MIB, 2 * MIB))
    warm = allocate(memory, 3 * MIB)
    free(memory, warm)
    assert allocate(memory, 2 * MIB) == warm


def test_a_much_larger_warm_range_is_not_broken_up_for_a_small_one() -> None:
    memory = extents((0, 100 * MIB), (200 * MIB, 2 * MIB))
    warm = allocate(memory, 100 * MIB)
    free(memory, warm)
    assert allocate(memory, MIB) == 200 * MIB
    assert allocate(memory, 100 * MIB) == warm


def warm_at_the_end() -> Extents:
    """A free range of 5 MiB of which only the last was ever used."""
    memory = extents((4 * MIB, MIB))
    warm = allocate(memory, MIB)
    memory.add(0, 4 * MIB)
    assert free(memory, warm) == MIB
    assert memory.largest_bytes == 5 * MIB
    return memory


@pytest.mark.parametrize(
    ("size", "offset"), [(MIB, 4 * MIB), (MIB // 2, 4 * MIB), (2 * MIB, 3 * MIB)]
)
def test_the_warm_part_of_a_range_is_used_first(size: int, offset: int) -> None:
    assert allocate(warm_at_the_end(), size) == offset


def test_the_rest_of_a_warm_part_stays_warm() -> None:
    memory = warm_at_the_end()
    first = allocate(memory, MIB // 2)
    assert allocate(memory, MIB // 2) == first + MIB // 2


def test_memory_that_is_added_leaves_its_neighbour_warm() -> None:
    memory = warm_at_the_end()
    memory.add(5 * MIB, 5 * MIB)
    memory.check()
    assert allocate(memory, MIB) == 4 * MIB


def test_warm_parts_that_touch_become_one() -> None:
    memory = extents((0, MIB), (MIB, 3 * MIB), (4 * MIB, MIB))
    held = [allocate(memory, MIB) for _ in range(5)]
    for index in (0, 1, 4, 3):
        free(memory, held[index])
    assert allocate(memory, 2 * MIB) == held[3]


def test_free_returns_the_size_and_refuses_what_is_not_an_allocation() -> None:
    memory = extents((0, 4096))
    offset = allocate(memory, 100)
    assert free(memory, offset) == 128
    for wrong in (offset, 64, 8192):
        with pytest.raises(AssertionError, match=f"nothing is allocated at {wrong}"):
            memory.free(wrong)
    memory.check()


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, 0), (-64, 64), (1, 64), (0, 65), (0, 64), (64, 128), (4096, 64), (0, 1 << 20)],
)
def test_add_refuses_what_is_odd_or_here_already(offset: int, size: int) -> None:
    memory = extents((0, 4096), (4096, 64))
    allocate(memory, 64)
    with pytest.raises(AssertionError):
        memory.add(offset, size)
    memory.check()
    assert memory.total_bytes == 4160


def test_take_gives_whole_pages_and_cold_ones_first() -> None:
    memory = extents((0, 10 * PAGE_BYTES))
    warm = allocate(memory, 3 * PAGE_BYTES)
    kept = allocate(memory, 64)
    free(memory, warm)
    assert memory.take(PAGE_BYTES + 5, PAGE_BYTES) == [(9 * PAGE_BYTES, PAGE_BYTES)]
    memory.check()
    assert memory.take(7 * PAGE_BYTES, PAGE_BYTES) == [
        (PAGE_BYTES, 2 * PAGE_BYTES),
        (4 * PAGE_BYTES, 5 * PAGE_BYTES),
    ]
    memory.check()
    assert memory.allocated == {kept: 64}


def test_take_spares_the_warm_part_of_a_range() -> None:
    memory = warm_at_the_end()
    assert memory.take(MIB) == [(0, MIB)]
    assert memory.take(3 * MIB) == [(MIB, 3 * MIB)]
    assert memory.take(MIB) == [(4 * MIB, MIB)]
    memory.check()


def test_take_leaves_what_is_no_whole_page() -> None:
    memory = extents((64, 3 * PAGE_BYTES))
    assert memory.take(100 * PAGE_BYTES) == [(PAGE_BYTES, 2 * PAGE_BYTES)]
    memory.check()
    assert memory.free_bytes == memory.total_bytes == PAGE_BYTES
    assert memory.take(PAGE_BYTES) == []
    assert memory.take(0) == []


def test_take_of_warm_memory_begins_with_what_was_freed_longest_ago() -> None:
    memory = extents(*((index * 2 * PAGE_BYTES, PAGE_BYTES) for index in range(3)))
    offsets = [allocate(memory, PAGE_BYTES) for _ in range(3)]
    for index in (2, 0, 1):
        free(memory, offsets[index])
    assert memory.take(PAGE_BYTES) == [(offsets[2], PAGE_BYTES)]
    assert memory.take(PAGE_BYTES) == [(offsets[0], PAGE_BYTES)]


def test_a_part_that_spans_two_allocations_is_freed() -> None:
    memory = extents((0, 4 * PAGE_BYTES))
    assert [allocate(memory, 2 * PAGE_BYTES) for _ in range(2)] == [0, 2 * PAGE_BYTES]
    memory.free_part(PAGE_BYTES, 2 * PAGE_BYTES)
    memory.check()
    assert memory.allocated == {0: PAGE_BYTES, 3 * PAGE_BYTES: PAGE_BYTES}
    assert memory.largest_bytes == 2 * PAGE_BYTES
    with pytest.raises(AssertionError, match="not all allocated"):
        memory.free_part(0, 2 * PAGE_BYTES)
    memory.check()


def test_a_thousand_holes_are_refilled_exactly() -> None:
    memory = extents((0, 64 * KIB * 2000))
    offsets = [allocate_fast(memory, 64 * KIB) for _ in range(2000)]
    for offset in offsets[::2]:
        memory.free(offset)
    memory.check()
    again = [allocate_fast(memory, 64 * KIB) for _ in range(1000)]
    assert sorted(again) == offsets[::2]
    assert again[0] == offsets[-2]
    assert memory.free_bytes == 0


def allocate_fast(memory: Extents, size: int) -> int:
    return cast("int", memory.allocate(size))


CELLS = 96
FREE, ABSENT = 0, -1


class AgainstCells(RuleBasedStateMachine):
    """The same operations on a list that says for each 64 bytes who has them."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = Extents()
        self.cells = [ABSENT] * CELLS  # else FREE or the number of an allocation
        self.offsets: dict[int, int] = {}
        self.count = 0

    def runs(self) -> list[int]:
        """Sizes in cells of all free runs."""
        text = "".join("f" if cell == FREE else "." for cell in self.cells)
        return [len(run) for run in text.split(".") if run]

    @rule(at=st.integers(0, CELLS - 1), cells=st.integers(1, 40))
    def add(self, at: int, cells: int) -> None:
        cells = min(cells, CELLS - at)
        if any(cell != ABSENT for cell in self.cells[at : at + cells]):
            with pytest.raises(AssertionError):
                self.memory.add(at * ALIGN, cells * ALIGN)
            return
        self.memory.add(at * ALIGN, cells * ALIGN)
        self.cells[at : at + cells] = [FREE] * cells

    @rule(size=st.integers(0, 20 * ALIGN))
    def allocate(self, size: int) -> None:
        cells = max(1, -(-size // ALIGN))
        offset = self.memory.allocate(size)
        if offset is None:
            assert cells > max(self.runs(), default=0)
            return
        assert offset % ALIGN == 0
        at = offset // ALIGN
        assert self.cells[at : at + cells] == [FREE] * cells
        self.count += 1
        self.cells[at : at + cells] = [self.count] * cells
        self.offsets[self.count] = offset

    @precondition(lambda self: bool(self.offsets))
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.offsets)))
        size = self.memory.free(self.offsets.pop(number))
        assert size == self.cells.count(number) * ALIGN
        self.cells = [FREE if cell == number else cell for cell in self.cells]

    @rule(at=st.integers(0, CELLS - 1), cells=st.integers(1, 30))
    def free_part(self, at: int, cells: int) -> None:
        part = self.cells[at : at + cells]
        if len(part) < cells or min(part) <= FREE:
            with pytest.raises(AssertionError):
                self.memory.free_part(at * ALIGN, cells * ALIGN)
            return
        self.memory.free_part(at * ALIGN, cells * ALIGN)
        for number in sorted(set(part)):
            self._split(number, at, at + cells)
        self.cells[at : at + cells] = [FREE] * cells

    def _split(self, number: int, start: int, end: int) -> None:
        """What ``number`` keeps on the right of the freed part gets a number of its own."""
        held = [at for at, cell in enumerate(self.cells) if cell == number]
        right = [at for at in held if at >= end]
        if right:
            self.count += 1
            self.offsets[self.count] = right[0] * ALIGN
            for at in right:
                self.cells[at] = self.count
        if held[0] >= start:
            del self.offsets[number]

    @rule(size=st.integers(0, CELLS * ALIGN), align=st.sampled_from([64, 128, 256, 512]))
    def take(self, size: int, align: int) -> None:
        whole = align // ALIGN
        aligned = sum(
            self.cells[at : at + whole] == [FREE] * whole for at in range(0, CELLS, whole)
        )
        pieces = self.memory.take(size, align)
        assert sum(size for _, size in pieces) == min(aligned, size // align) * align
        for offset, piece in pieces:
            assert offset % align == piece % align == 0
            at, cells = offset // ALIGN, piece // ALIGN
            assert self.cells[at : at + cells] == [FREE] * cells
            self.cells[at : at + cells] = [ABSENT] * cells
        ends = [offset + piece for offset, piece in pieces]
        assert all(end < after for end, (after, _) in zip(ends, pieces[1:], strict=False))

    @invariant()
    def same(self) -> None:
        self.memory.check()
        assert self.memory.free_bytes == self.cells.count(FREE) * ALIGN
        assert self.memory.largest_bytes == max(self.runs(), default=0) * ALIGN
        assert sorted(self.memory.allocated) == sorted(self.offsets.values())
        present = CELLS - self.cells.count(ABSENT)
        assert self.memory.total_bytes == present * ALIGN


TestAgainstCells = AgainstCells.TestCase
TestAgainstCells.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
