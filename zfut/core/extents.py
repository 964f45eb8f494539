"""Extents: which bytes of a memory are free, which are allocated, and where the next go.

It knows offsets and sizes and nothing of the memory behind them.  The node manager keeps one
for the whole arena and lends extents of it; each process keeps one for what it was lent.

Writing to pages that were touched before is about ten times faster than first touches, so every
free range remembers its warm span: the part that was freed last.

    start        warm_start    warm_end         end
      |   cold       |  freed last  |    cold    |

Policy of ``allocate``: among the ranges freed last, the first whose warm span is filled at
least by half; else the smallest range that is large enough.  Inside a range, the warm span
comes first.

What must hold, checked by ``check``:
  - free ranges and allocations are disjoint and multiples of ALIGN;
  - two free ranges never touch: neighbours are merged;
  - free bytes plus allocated bytes are the bytes added minus the bytes taken.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass

ALIGN = 64
"""Allocations begin at multiples of this and are multiples of it: a cache line, and what SIMD
readers of arrays and Arrow buffers ask for."""

PAGE_BYTES = 4096
"""Memory is given back in whole pages of this size."""

_RECENT_LOOKED_AT = 12
"""How many recently freed ranges ``allocate`` looks at before it takes the best fit."""


@dataclass(slots=True, eq=False)
class _Range:
    """A free range; never changed except for ``live``, always replaced."""

    start: int
    end: int
    warm_start: int
    warm_end: int
    freed_at: int  # when its warm span was freed, counted in frees; 0: never
    live: bool = True  # _remove

    def part(self, start: int, end: int) -> _Range:
        """Return the range of what is left of this one between ``start`` and ``end``."""
        warm_start, warm_end = max(self.warm_start, start), min(self.warm_end, end)
        if warm_start < warm_end:
            return _Range(start, end, warm_start, warm_end, self.freed_at)
        return _Range(start, end, start, start, 0)


class Extents:
    """A memory of byte ranges that are free or allocated."""

    def __init__(self) -> None:
        self.allocated: dict[int, int] = {}  # allocate, free, free_part
        self.free_bytes = 0  # _insert, _remove
        self.total_bytes = 0  # add, take
        self._frees = 0  # _release
        self._ranges: dict[int, _Range] = {}  # by start; _insert, _remove
        self._start_by_end: dict[int, int] = {}  # _insert, _remove
        self._by_size: list[tuple[int, int]] = []  # sorted (size, start); _insert, _remove
        self._recent: list[_Range] = []  # with a warm span, last freed last; some not live

    @property
    def largest_bytes(self) -> int:
        """Size of the largest free range: what one allocation can get at most."""
        return self._by_size[-1][0] if self._by_size else 0

    def add(self, offset: int, size: int) -> None:
        """Take ``size`` bytes of cold memory at ``offset`` into the free ranges."""
        end = offset + size
        assert offset >= 0, f"negative offset {offset}"
        assert size > 0, f"nothing to add at {offset}: size {size}"
        assert offset % ALIGN == 0 == size % ALIGN, f"not aligned: {offset}+{size}"
        assert not self._overlaps(offset, end), f"{offset}+{size} is here already"
        self.total_bytes += size
        left, right = self._neighbours(offset, end)
        warmest = max(left, right, key=lambda one: one.freed_at if one else 0)
        start, end = left.start if left else offset, right.end if right else end
        self._remove(left)
        self._remove(right)
        if warmest:
            merged = _Range(start, end, warmest.warm_start, warmest.warm_end, warmest.freed_at)
        else:
            merged = _Range(start, end, start, start, 0)
        self._insert(merged)

    def allocate(self, size: int) -> int | None:
        """Return the offset of ``size`` bytes, rounded up to ALIGN; None without room."""
        assert size >= 0, f"negative size {size}"
        need = max(ALIGN, (size + ALIGN - 1) // ALIGN * ALIGN)
        chosen = self._recent_fit(need) or self._best_fit(need)
        if chosen is None:
            return None
        offset = min(chosen.warm_start, chosen.end - need)
        self._cut(chosen, offset, offset + need)
        self.allocated[offset] = need
        return offset

    def free(self, offset: int) -> int:
        """Free the allocation that begins at ``offset``; return its size."""
        size = self.allocated.pop(offset, 0)
        assert size, f"nothing is allocated at {offset}"
        self._release(offset, offset + size)
        return size

    def cede(self, offset: int) -> int:
        """Let the allocation that begins at ``offset`` belong to somebody else; return its size."""
        size = self.allocated.pop(offset, 0)
        assert size, f"nothing is allocated at {offset}"
        self.total_bytes -= size
        return size

    def free_part(self, offset: int, size: int) -> None:
        """Free these bytes wherever allocations begin; what is left of them stays allocated.

        For a node manager that gets back a part of an extent it lent, or a piece of two that
        touch.  Looks at every allocation: extents are few.
        """
        end = offset + size
        assert size > 0, f"nothing to free at {offset}: size {size}"
        assert offset % ALIGN == 0 == size % ALIGN, f"not aligned: {offset}+{size}"
        held = [(s, s + n) for s, n in self.allocated.items() if s < end and offset < s + n]
        covered = sum(min(end, e) - max(offset, s) for s, e in held)
        assert covered == size, f"{offset}+{size} is not all allocated"
        for held_start, held_end in held:
            del self.allocated[held_start]
            if held_start < offset:
                self.allocated[held_start] = offset - held_start
            if end < held_end:
                self.allocated[end] = held_end - end
        self._release(offset, end)

    def take(self, size_bytes: int, align: int = PAGE_BYTES) -> list[tuple[int, int]]:
        """Remove up to ``size_bytes`` of free memory; return it as (offset, size), in order.

        Offsets and sizes are multiples of ``align``.  Memory that was never freed goes first,
        largest pieces first; then what was freed longest ago.
        """
        assert align > 0, f"not an alignment: {align}"
        assert align % ALIGN == 0, f"not a multiple of {ALIGN}: {align}"
        pieces: list[tuple[int, int]] = []
        left = size_bytes
        for cold in (True, False):
            for one in self._coldest_first(cold=cold):
                if left < align:
                    break
                start, end = _piece(one, left, align, cold=cold)
                if start < end:
                    self._cut(one, start, end)
                    pieces.append((start, end))
                    left -= end - start
        self.total_bytes -= size_bytes - left
        return _merged(pieces)

    def check(self) -> None:
        """Assert every invariant."""
        spans = [(one.start, one.end, True) for one in self._ranges.values()]
        spans += [(start, start + size, False) for start, size in self.allocated.items()]
        spans.sort()
        last_end, last_free = -1, False
        for start, end, free in spans:
            assert 0 <= start < end, f"not a range: {start}..{end}"
            assert start % ALIGN == 0 == end % ALIGN, f"not aligned: {start}..{end}"
            assert start >= last_end, f"{start}..{end} overlaps what ends at {last_end}"
            assert not (free and last_free and start == last_end), f"not merged at {start}"
            last_end, last_free = end, free
        free_bytes = sum(one.end - one.start for one in self._ranges.values())
        assert free_bytes == self.free_bytes, "free bytes miscounted"
        allocated_bytes = sum(self.allocated.values())
        assert free_bytes + allocated_bytes == self.total_bytes, "bytes lost or made"
        sizes = sorted((one.end - one.start, one.start) for one in self._ranges.values())
        assert sizes == self._by_size, "index of sizes is stale"
        ends = {one.end: one.start for one in self._ranges.values()}
        assert ends == self._start_by_end, "index of ends is stale"
        for start, one in self._ranges.items():
            assert one.live, f"dead range at {start}"
            assert start == one.start <= one.warm_start <= one.warm_end <= one.end
            assert (one.freed_at > 0) == (one.warm_end > one.warm_start)
            assert one.freed_at or one.warm_start == one.start
            assert one.freed_at == 0 or any(one is other for other in self._recent)

    def _release(self, start: int, end: int) -> None:
        """Make these allocated bytes a free range, warm, and merge it with its neighbours."""
        self._frees += 1
        left, right = self._neighbours(start, end)
        warm_start = left.warm_start if left and left.warm_end == start else start
        warm_end = right.warm_end if right and right.warm_start == end else end
        self._remove(left)
        self._remove(right)
        start, end = left.start if left else start, right.end if right else end
        self._insert(_Range(start, end, warm_start, warm_end, self._frees))

    def _recent_fit(self, need: int) -> _Range | None:
        """Return the range freed last whose warm span ``need`` fills at least by half."""
        recent = self._recent
        while recent and not recent[-1].live:
            recent.pop()
        for one in recent[: -_RECENT_LOOKED_AT - 1 : -1]:
            if one.live and need <= one.warm_end - one.warm_start <= 2 * need:
                return one
        return None

    def _best_fit(self, need: int) -> _Range | None:
        """Return the smallest range of at least ``need`` bytes."""
        at = bisect_left(self._by_size, (need, 0))
        return self._ranges[self._by_size[at][1]] if at < len(self._by_size) else None

    def _coldest_first(self, *, cold: bool) -> list[_Range]:
        """Return all free ranges in the order in which ``take`` uses them."""
        if cold:
            return sorted(self._ranges.values(), key=lambda one: (-_cold_bytes(one), one.start))
        return sorted(self._ranges.values(), key=lambda one: (one.freed_at, one.start))

    def _overlaps(self, start: int, end: int) -> bool:
        """Whether any of these bytes is free or allocated here; looks at everything."""
        return any(one.start < end and start < one.end for one in self._ranges.values()) or any(
            offset < end and start < offset + size for offset, size in self.allocated.items()
        )

    def _neighbours(self, start: int, end: int) -> tuple[_Range | None, _Range | None]:
        """Return the free ranges that end at ``start`` and begin at ``end``."""
        left_start = self._start_by_end.get(start)
        left = None if left_start is None else self._ranges[left_start]
        return left, self._ranges.get(end)

    def _cut(self, one: _Range, start: int, end: int) -> None:
        """Remove ``start`` to ``end`` from a free range; what is left of it stays free."""
        self._remove(one)
        if one.start < start:
            self._insert(one.part(one.start, start))
        if end < one.end:
            self._insert(one.part(end, one.end))

    def _insert(self, one: _Range) -> None:
        size = one.end - one.start
        self.free_bytes += size
        self._ranges[one.start] = one
        self._start_by_end[one.end] = one.start
        insort(self._by_size, (size, one.start))
        if one.freed_at:
            self._recent.append(one)
            if len(self._recent) > 2 * len(self._ranges) + _RECENT_LOOKED_AT:
                self._recent = [other for other in self._recent if other.live]

    def _remove(self, one: _Range | None) -> None:
        if one is None:
            return
        size = one.end - one.start
        one.live = False
        self.free_bytes -= size
        del self._ranges[one.start]
        del self._start_by_end[one.end]
        del self._by_size[bisect_left(self._by_size, (size, one.start))]


def _cold_bytes(one: _Range) -> int:
    """Size of the larger cold end of a range."""
    return max(one.warm_start - one.start, one.end - one.warm_end)


def _piece(one: _Range, size: int, align: int, *, cold: bool) -> tuple[int, int]:
    """Return at most ``size`` aligned bytes of a range, of its larger cold end if ``cold``."""
    start, end = one.start, one.end
    from_left = cold and one.warm_start - start > end - one.warm_end
    if from_left:
        end = one.warm_start
    elif cold:
        start = one.warm_end
    start, end = (start + align - 1) // align * align, end // align * align
    most = size // align * align
    return (start, min(end, start + most)) if from_left else (max(start, end - most), end)


def _merged(pieces: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return (start, end) pairs as (offset, size), in order, neighbours joined."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(pieces):
        if joined and sum(joined[-1]) == start:
            joined[-1] = (joined[-1][0], joined[-1][1] + end - start)
        else:
            joined.append((start, end - start))
    return joined
