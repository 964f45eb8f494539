"""Where in the user's code something was made: for ``zfut memory``, if a session records it."""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE = str(Path(__file__).parent)


def call_site() -> str:
    """Return the file and line of the innermost frame that is not zfut's."""
    frame = sys._getframe(1)  # noqa: SLF001  the only way to a frame without a traceback
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
