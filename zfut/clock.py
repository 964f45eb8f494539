"""Time, as the core sees it: a number it is handed, never one it fetches."""

from __future__ import annotations

from typing import NewType

Instant = NewType("Instant", int)
"""Nanoseconds since some moment in the past, the same for one process's whole life."""

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
