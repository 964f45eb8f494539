"""What the owner needs of whoever words failures: it passes them on as bytes and reads none."""

from __future__ import annotations

from typing import Protocol


class Failures(Protocol):
    """How the machine words what went wrong; the words are not its business."""

    def dependency(self, failure: bytes, task_name: str) -> bytes:
        """Return the failure of a task whose argument failed."""

    def system(self, kind: str, *fields: object) -> bytes:
        """Return the failure that raises the zfut error of class ``kind`` with these fields."""

    def brief(self, failure: bytes) -> str:
        """Say in one line what went wrong."""
