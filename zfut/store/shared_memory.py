"""The arena: one piece of shared memory that every process of a node maps whole.

Where a copy goes decides what it costs.  100 MiB, on a virtual machine with two cores:

    warm    this process has touched the pages       6 ms  memmove
    known   another process has, this one has not   18 ms  populate, memmove (alone: 42)
    hole    nobody has: the kernel makes the pages  46 ms  pwrite, populate (memmove alone: 79)
            the same while a second core idles      30 ms  and a helper thread

``pwrite`` fills a new page with the data itself, where a page fault would clear it first; then
MADV_POPULATE_READ maps many pages at once.  ``pwrite`` locks the file and page faults do not,
so the helper, which takes chunks from the same list, makes its pages by faults.

What must hold:
  - ``_warm`` has a 1 for pages that this process has touched, and only for those; a child made
    by fork begins with none: the kernel does not copy page tables of shared memory;
  - a page of a "shm" arena comes to be by ``pwrite`` alone, which fails with ENOSPC where a
    touch would be a SIGBUS, and is never punched, so a page that is warm anywhere exists.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from ctypes import addressof, c_char
from pathlib import Path
from pickle import PickleBuffer
from threading import Thread
from typing import TYPE_CHECKING
from weakref import WeakSet

from zfut.store.backend import ArenaInfo, check_range
from zfut.store.backing import KINDS, Backing, open_again, open_backing, size_text
from zfut.store.copying import (
    MADV_DONTDUMP,
    MADV_POPULATE_READ,
    MADV_POPULATE_WRITE,
    MADV_REMOVE,
    address_of,
    madvise,
    make_private,
    memmove,
)
from zfut.store.views import reader

if TYPE_CHECKING:
    from typing_extensions import Buffer

PAGE = mmap.PAGESIZE

LOCKED_COPY_BYTES = 1 << 20
"""Up to here a warm copy keeps the interpreter lock: it takes less time than getting the lock
back from a thread that computes."""

CHUNK_BYTES = 1 << 20
"""What one thread fills at a time of a hole."""

HELPER_FROM_BYTES = 16 << 20
"""From here on a helper thread is worth its start."""

_arenas: WeakSet[Arena] = WeakSet()


class Arena:
    """One piece of shared memory, mapped whole by this process."""

    def __init__(self, backing: Backing) -> None:
        """Map ``backing``, which is closed if that fails. Use ``create`` or ``attach``."""
        self.info = backing.info
        self._maker_pid = os.getpid()
        self._name = backing.name
        self._fd = backing.fd
        self._end = backing.info.capacity_bytes  # -1 when closed
        self._touch_by_call = backing.info.kind == "shm"
        # What is mapped for reading can be written too, except on a disk, which notes writes.
        on_disk = backing.info.kind == "file"
        self._map_advice = MADV_POPULATE_WRITE if on_disk else MADV_POPULATE_READ
        try:
            self._map = _mapped(self._fd, self._end)
            self._origin = c_char.from_buffer(self._map)
            self._base = addressof(self._origin)
            self._read = reader(self._map, self._end)
            self.forget_warmth()
        except BaseException:
            self._unlink()
            os.close(self._fd)
            raise
        madvise(self._base, self._end, MADV_DONTDUMP)
        _arenas.add(self)

    @classmethod
    def create(
        cls, capacity_bytes: int, fallback_dir: str, kinds: Sequence[str] = tuple(KINDS)
    ) -> Arena:
        """Make an arena of the first of ``kinds`` that this machine has.

        Raises ValueError for a size that is not positive, OSError if there is no memory at all.
        """
        return cls(open_backing(capacity_bytes, fallback_dir, tuple(kinds)))

    @classmethod
    def attach(cls, info: ArenaInfo) -> Arena:
        """Map an arena that another process of this user made and has not closed.

        Raises OSError if it is gone.
        """
        return cls(open_again(info))

    def write(self, offset: int, parts: Sequence[Buffer], offsets: Sequence[int]) -> None:
        """Copy each part to ``offset`` plus its own of ``offsets``."""
        views = [part if type(part) is bytes else PickleBuffer(part).raw() for part in parts]
        for view, after in zip(views, offsets, strict=True):
            check_range(offset + after, len(view), self._end)
        for view, after in zip(views, offsets, strict=True):
            start = offset + after
            end = start + len(view)
            first, last = start // PAGE, (end + PAGE - 1) // PAGE
            warm = self._warm[first:last]
            cold = warm.find(b"\0")
            if cold < 0:
                self._copy_warm(start, view)
            else:
                cold_start = max(start, (first + cold) * PAGE)
                cold_end = min(end, (first + warm.rfind(b"\0") + 1) * PAGE)
                self._copy_partly_cold(start, view, cold_start, cold_end)
                self._warm[first:last] = b"\1" * (last - first)

    def read(self, offset: int, size_bytes: int, on_release: Callable[[], None]) -> memoryview:
        """Return a read-only view; ``on_release`` is called when all made from it is gone."""
        check_range(offset, size_bytes, self._end)
        return self._read(offset, size_bytes, on_release)

    def punch(self, offset: int, size_bytes: int) -> None:
        """Give the whole pages in this range back to the kernel, where that is safe.

        Only a memfd is punched: the other kinds keep their pages, because a process that knows
        them as warm would get a SIGBUS if the file system had no room for them again.
        """
        check_range(offset, size_bytes, self._end)
        first, last = (offset + PAGE - 1) // PAGE, (offset + size_bytes) // PAGE
        if first < last and self.info.kind == "memfd":
            madvise(self._base + first * PAGE, (last - first) * PAGE, MADV_REMOVE)
            self._warm[first:last] = bytes(last - first)

    def keep(self, pieces: Iterable[tuple[int, int]]) -> None:
        """Make these (offset, size) private here: what others write there is not seen any more.

        For views that outlive this process's part in the session; nothing is written after it.
        Raises OSError if there is no memory for the copies.
        """
        done = 0
        for offset, size_bytes in sorted(pieces):
            check_range(offset, size_bytes, self._end)
            start = max(done, offset // PAGE * PAGE)
            done = max(done, -(-(offset + size_bytes) // PAGE) * PAGE)
            if start < done:
                make_private(self._base + start, done - start)

    def close(self) -> None:
        """Unmap the memory, or leave that to the last view that is still out."""
        if self._end < 0:
            return
        self._end = -1
        _arenas.discard(self)
        del self._origin, self._read, self._warm
        with suppress(BufferError):
            self._map.close()
        del self._map
        os.close(self._fd)
        self._unlink()

    @property
    def warm_bytes(self) -> int:
        """How much of the arena this process has written to, in whole pages."""
        return self._warm[:].count(b"\1") * PAGE if self._end >= 0 else 0

    def forget_warmth(self) -> None:
        """Take every page for untouched, as they are in a child made by fork."""
        pages = self._end // PAGE
        self._warm = mmap.mmap(-1, pages, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def _copy_warm(self, start: int, view: bytes | memoryview) -> None:
        """Copy to pages that are mapped."""
        size = len(view)
        if size <= LOCKED_COPY_BYTES:
            self._map[start : start + size] = view
        else:
            with address_of(view) as source:
                memmove(self._base + start, source, size)

    def _copy_partly_cold(
        self, start: int, view: bytes | memoryview, cold_start: int, cold_end: int
    ) -> None:
        """Copy to pages of which those from ``cold_start`` to ``cold_end`` are not mapped."""
        whole = memoryview(view)
        before, after = cold_start - start, cold_end - start
        if self._has_holes(cold_start, cold_end):
            self._copy_to_holes(cold_start, whole[before:after])
        else:
            self._map_pages(cold_start, cold_end)
            self._copy_warm(cold_start, whole[before:after])
        self._copy_warm(start, whole[:before])
        self._copy_warm(cold_end, whole[after:])

    def _has_holes(self, start: int, end: int) -> bool:
        """Whether the file lacks some of these pages, as far as the system can tell."""
        try:
            return os.lseek(self._fd, start, os.SEEK_HOLE) < end
        except OSError:
            return True

    def _map_pages(self, start: int, end: int) -> None:
        """Have the kernel map the pages of this range, which exist, all at once."""
        page = start // PAGE * PAGE
        madvise(self._base + page, end - page, self._map_advice)

    def _copy_to_holes(self, start: int, view: memoryview) -> None:
        """Copy to pages that do not exist, in chunks, with a helper if that pays."""
        chunks = iter(list(_chunks(start, start + len(view))))
        helper = None
        if len(view) >= HELPER_FROM_BYTES and not self._touch_by_call and _cores() > 1:
            helper = Thread(target=self._fault_in, args=(start, view, chunks), daemon=True)
            try:
                helper.start()
            except RuntimeError:  # This process may have no more threads.
                helper = None
        try:
            for at, end in chunks:
                self._write_by_call(at, view[at - start : end - start])
                self._map_pages(at, end)
        finally:
            if helper:
                helper.join()

    def _fault_in(
        self, start: int, view: memoryview, chunks: Iterator[tuple[int, int]]
    ) -> None:
        """Copy chunks as page faults make their pages."""
        with address_of(view) as source:
            for at, end in chunks:
                page = at // PAGE * PAGE
                madvise(self._base + page, end - page, MADV_POPULATE_WRITE)
                memmove(self._base + at, source + at - start, end - at)

    def _write_by_call(self, at: int, view: memoryview) -> None:
        """Write to the file; raise OSError, and touch nothing, where it has no room."""
        try:
            while view:
                written = os.pwrite(self._fd, view, at)
                at += written
                view = view[written:]
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(
                errno.ENOSPC,
                f"no room for {len(view)} bytes of the object store: other programs have "
                "filled the file system it is in. Make room there, or enlarge it",
                self.info.path,
            ) from None

    def _unlink(self) -> None:
        """Remove the file's name, where it has one; only its maker does."""
        if self._name is not None and os.getpid() == self._maker_pid:
            Path(self._name).unlink(missing_ok=True)
            self._name = None


def _mapped(fd: int, size_bytes: int) -> mmap.mmap:
    """Map a file whole, shared, to read and write."""
    try:
        return mmap.mmap(fd, size_bytes)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot map an object store of {size_text(size_bytes)} ({error.strerror}): the "
            "address space of this process is limited (ulimit -v). Ask for a smaller one, or "
            "raise the limit",
        ) from error


def _chunks(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut a range where CHUNK_BYTES divides the offset, so that no two share a page."""
    while start < end:
        cut = min(end, (start // CHUNK_BYTES + 1) * CHUNK_BYTES)
        yield start, cut
        start = cut


def _cores() -> int:
    """How many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _begin_cold() -> None:
    """Forget, in a child made by fork, what its parent had touched."""
    for arena in _arenas:
        arena.forget_warmth()


os.register_at_fork(after_in_child=_begin_cold)
