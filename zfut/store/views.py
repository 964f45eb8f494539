"""Views of a memory that say when the last of them is gone.

    memory <- exporter <- memoryview <- what is made of it: slices, arrays, Arrow buffers
                 |
                 '-- release, which calls back when it is deallocated

Each ``read`` has an exporter of its own, a ctypes array that spans the whole memory, so one
type serves every size and place.  Whatever is made from the view refers to the exporter,
directly or not, so the exporter is deallocated after the last of them.

The callback hangs on an object that the garbage collector does not track: a finaliser that it
tracks, say one of the exporter, would run for a view in a cycle as soon as the cycle is found,
while other finalisers of the cycle can still read the view.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from mmap import mmap
from typing import TypeAlias

from msgspec import Struct

Reader: TypeAlias = Callable[[int, int, Callable[[], None]], memoryview]


class _Release(Struct, gc=False):
    """Calls back when it is deallocated."""

    on_release: Callable[[], None]

    def __del__(self) -> None:
        on_release = self.on_release
        del self  # Else the traceback of an error would bring it back, to call a second time.
        on_release()


def reader(memory: mmap | bytearray, size_bytes: int) -> Reader:
    """Return ``read(offset, size_bytes, on_release)`` for a writable memory.

    Its caller has checked the range.
    """

    class Whole(ctypes.Array[ctypes.c_ubyte]):
        _type_ = ctypes.c_ubyte
        _length_ = size_bytes
        __slots__ = ("release",)
        release: _Release

    from_buffer = Whole.from_buffer

    def read(offset: int, size_bytes: int, on_release: Callable[[], None]) -> memoryview:
        whole = from_buffer(memory)
        whole.release = _Release(on_release)
        return memoryview(whole).cast("B")[offset : offset + size_bytes].toreadonly()

    return read
