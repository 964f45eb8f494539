"""A store on this process's heap: for one process, the simulator and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from pickle import PickleBuffer
from typing import TYPE_CHECKING

from zfut.store.backend import ArenaInfo, check_capacity, check_range
from zfut.store.views import reader

if TYPE_CHECKING:
    from typing_extensions import Buffer


class HeapStore:
    """The same as ``Arena``, on memory that only this process has; what is unused costs nothing."""

    def __init__(self, capacity_bytes: int) -> None:
        check_capacity(capacity_bytes)
        self.info = ArenaInfo(kind="heap", path="", capacity_bytes=capacity_bytes)
        self._bytes = mmap(-1, capacity_bytes, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        self._end = capacity_bytes  # close
        self._read = reader(self._bytes, capacity_bytes)

    @classmethod
    def create(cls, capacity_bytes: int, fallback_dir: str = "") -> HeapStore:
        """Return a store of this size; ``fallback_dir`` is not used."""
        del fallback_dir
        return cls(capacity_bytes)

    def write(self, offset: int, parts: Sequence[Buffer], offsets: Sequence[int]) -> None:
        """Copy each part to ``offset`` plus its own of ``offsets``."""
        views = [PickleBuffer(part).raw() for part in parts]
        for view, after in zip(views, offsets, strict=True):
            check_range(offset + after, len(view), self._end)
        for view, after in zip(views, offsets, strict=True):
            self._bytes[offset + after : offset + after + len(view)] = view

    def read(self, offset: int, size_bytes: int, on_release: Callable[[], None]) -> memoryview:
        """Return a read-only view; ``on_release`` is called when all made from it is gone."""
        check_range(offset, size_bytes, self._end)
        return self._read(offset, size_bytes, on_release)

    def punch(self, offset: int, size_bytes: int) -> None:
        """Clear these bytes, so that a reader of freed memory finds nothing."""
        check_range(offset, size_bytes, self._end)
        self._bytes[offset : offset + size_bytes] = bytes(size_bytes)

    def close(self) -> None:
        """Let go of the memory; views that are still out stay valid."""
        if self._end >= 0:
            self._end = -1
            del self._bytes, self._read
