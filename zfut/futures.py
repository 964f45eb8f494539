"""A real ``concurrent.futures.Future`` of a reference's value."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any

from zfut import errors
from zfut.core import events as e
from zfut.core.owner.records import READY
from zfut.refs import ObjectRef

if TYPE_CHECKING:
    from zfut.session import Session


class RefFuture(concurrent.futures.Future[Any]):
    """A real future of a reference's value."""

    def __init__(self, session: Session, ref: ObjectRef[Any]) -> None:
        super().__init__()
        self._ref = ref
        self._zfut = session
        self._await()

    def _await(self) -> None:
        call_id, _ = self._zfut.new_call(self._finish)
        self._zfut.loop.post(e.AwaitObjects(call_id, (self._ref.binary(),), 1, fail_fast=True))

    def _finish(self) -> None:
        object_id = self._ref.binary()
        row = self._zfut.owner.row(object_id)
        if row is not None and row.state < READY and not self._zfut.loop.closed:
            self._await()  # it was lost meanwhile, and is being made again
            return
        if not self.set_running_or_notify_cancel():
            return
        try:
            if row is None or row.state < READY:
                raise errors.SessionError("this session", self._zfut.loop.closed)  # noqa: TRY301
            value = self._zfut.value_of(object_id, row)
        except BaseException as error:  # noqa: BLE001  it belongs to whoever asks the future
            self.set_exception(error)
        else:
            self.set_result(value)

    def cancel(self) -> bool:
        """Cancel the future, and the task if it has not started."""
        if not super().cancel():
            return False
        self._zfut.loop.post(e.Cancelled(self._ref.binary()))
        return True
