"""``python -m zfut_cli`` is the same as ``zfut``."""

from __future__ import annotations

from .main import main

main()
