"""A private place for one benchmark run: its temporary and session directories, its mark.

Whatever the run leaves in them can be counted, and goes with them; no session of the user is
found or touched. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator

from benchmarks.machine import ROOT
from benchmarks.processes import MARK

DIRECTORIES = ("TMPDIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "RAY_TMPDIR")


@contextlib.contextmanager
def sandbox() -> Iterator[dict[str, str]]:
    """Environment variables for one run; removes its directory at the end.

    The path is short, since sockets below it have at most 107 bytes for their name, and
    private, as a runtime directory has to be.
    """
    place = tempfile.mkdtemp(prefix="zb-")
    try:
        yield {
            **dict.fromkeys(DIRECTORIES, place),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.getenv("PYTHONPATH")))),
            MARK: uuid.uuid4().hex,
            "PYTHONDONTWRITEBYTECODE": "",  # imports are measured compiled, as installed
            "RAY_USAGE_STATS_ENABLED": "0",
        }
    finally:
        shutil.rmtree(place, ignore_errors=True)
