"""Where bytes lie: write, read in place, give back; knows no owners."""

from __future__ import annotations

from collections.abc import Callable

from zfut.store.backend import ArenaInfo, Store
from zfut.store.capacity import default_capacity_bytes
from zfut.store.heap import HeapStore
from zfut.store.shared_memory import Arena

STORES: dict[str, Callable[[int, str], Store]] = {
    "shared_memory": Arena.create,
    "heap": HeapStore.create,
}
"""Every store by its name; made from a capacity in bytes and a directory for fallback files."""

__all__ = ["STORES", "Arena", "ArenaInfo", "HeapStore", "Store", "default_capacity_bytes"]
