"""Arrow tables and record batches, as the IPC stream that every Arrow library reads.

No column is copied: writing yields the columns' own buffers, reading gives columns that lie
in the block.  A record batch is told from a table by eight bytes after the end of the stream,
where other readers do not look.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from zfut.wire.frames import LARGE_BYTES

BATCH_MARK = b"zfutbat\x01"


def is_arrow(value: object) -> bool:
    """Whether ``value`` is a Table or a RecordBatch; imports nothing."""
    arrow = sys.modules.get("pyarrow")
    return arrow is not None and isinstance(value, (arrow.Table, arrow.RecordBatch))


def errors() -> tuple[type[Exception], ...]:
    """Return what Arrow raises for a column that has no form in a stream."""
    arrow = importlib.import_module("pyarrow")
    return (arrow.ArrowException, NotImplementedError)


class _Parts:
    """A file that keeps what is written: large buffers as they are, small ones joined."""

    closed = False

    def __init__(self) -> None:
        self.size_bytes = 0
        self.parts: list[bytes | memoryview] = []
        self.offsets: list[int] = []
        self._small: list[memoryview] = []

    def write(self, piece: Any) -> int:
        view = memoryview(piece).cast("B")
        if view.nbytes < LARGE_BYTES:
            self._small.append(view)
        else:
            self.flush()
            self._keep(view)
        return view.nbytes

    def flush(self) -> None:
        joined = b"".join(self._small)
        self._small.clear()
        if joined:
            self._keep(joined)

    def close(self) -> None:
        self.closed = True

    def _keep(self, part: bytes | memoryview) -> None:
        self.parts.append(part)
        self.offsets.append(self.size_bytes)
        self.size_bytes += len(part)


def lay_out(value: Any) -> tuple[int, list[bytes | memoryview], list[int]]:
    """Return the stream's size, and its parts with the offset of each."""
    arrow = importlib.import_module("pyarrow")
    file = _Parts()
    with arrow.ipc.new_stream(file, value.schema) as writer:
        writer.write(value)
    if isinstance(value, arrow.RecordBatch):
        file.write(BATCH_MARK)
    file.flush()
    return file.size_bytes, file.parts, file.offsets


def load(block: memoryview) -> object:
    """Return the table or record batch that lies in the block."""
    ipc = importlib.import_module("pyarrow").ipc
    reader = ipc.open_stream(block)
    if block[-len(BATCH_MARK) :] == BATCH_MARK:
        batch: object = reader.read_next_batch()
        return batch
    table: object = reader.read_all()
    return table
