"""Copying into mapped memory without the interpreter lock, and preparing pages for it.

Plain system calls and addresses: no bounds are checked here.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from typing_extensions import Buffer

MADV_REMOVE = 9
MADV_DONTDUMP = 16
MADV_POPULATE_READ = 22
MADV_POPULATE_WRITE = 23
"""Linux's numbers; a kernel before 5.14 refuses the last two, which costs time and nothing
else."""

_PYBUF_SIMPLE = 0


class _PyBuffer(ctypes.Structure):
    """Py_buffer, part of the stable interface of Python since 3.11."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int)
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = (ctypes.POINTER(_PyBuffer),)
_release_buffer.restype = None

memmove = cast("Callable[[int, int, int], int]", ctypes.memmove)
"""``memmove(to, from, size_bytes)``; other threads run meanwhile."""

_madvise = ctypes.CDLL(None).madvise if sys.platform == "linux" else None
if _madvise is not None:
    _madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def madvise(address: int, size_bytes: int, advice: int) -> bool:
    """Advise the kernel about whole pages; return whether it did. Other threads may run."""
    return _madvise is not None and _madvise(address, size_bytes, advice) == 0


_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2


def make_private(address: int, size_bytes: int) -> None:
    """Replace whole mapped pages by private ones with the same bytes, in one step for readers.

    Raises OSError if the system does not let it.
    """
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "pages cannot be replaced on this system")
    libc = ctypes.CDLL(None, use_errno=True)
    number, size, place = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
    libc.mmap.restype = libc.mremap.restype = place
    libc.mmap.argtypes = (place, size, number, number, number, ctypes.c_long)
    libc.mremap.argtypes = (place, size, size, number, place)
    libc.munmap.argtypes = (place, size)
    access, kind = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    copy = libc.mmap(None, size_bytes, access, kind, -1, 0)
    if copy == _FAILED:
        _raise_errno()
    memmove(copy, address, size_bytes)
    flags = _MREMAP_MAYMOVE | _MREMAP_FIXED
    if libc.mremap(copy, size_bytes, size_bytes, flags, address) == _FAILED:
        error = ctypes.get_errno()
        libc.munmap(copy, size_bytes)
        ctypes.set_errno(error)
        _raise_errno()


_FAILED = ctypes.c_void_p(-1).value


def _raise_errno() -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


@contextmanager
def address_of(source: Buffer) -> Iterator[int]:
    """Hold on to a buffer, also a read-only one, and yield where its bytes are."""
    view = _PyBuffer()
    _get_buffer(source, view, _PYBUF_SIMPLE)
    try:
        yield view.buf
    finally:
        _release_buffer(view)
