"""The words for what went wrong, as the machines ask for them."""

from __future__ import annotations

from zfut import errors, task_errors


class WordedFailures:
    """Makes failures that raise zfut's errors; see ``zfut.core.owner.failures.Failures``."""

    def dependency(self, failure: bytes, task_name: str) -> bytes:
        """Return the failure of a task whose argument failed."""
        return task_errors.dependency_failed(failure, task_name)

    def system(self, kind: str, *fields: object) -> bytes:
        """Return the failure that raises the zfut error of class ``kind``."""
        error = errors.ZfutError.by_name[kind](*fields)
        return task_errors.encode_error(error)

    def brief(self, failure: bytes) -> str:
        """Say in one line what went wrong."""
        return task_errors.brief_failure(failure)
