"""Where a task may be interrupted: in user code, and where zfut waits for something.

A signal's handler runs between any two steps of the main thread.  What it raises in a finaliser is
printed and lost, and with it what the finaliser was to do; what it raises in zfut's own code comes
between two steps that belong together.  So the handler looks where it is, and if that is no place
to raise, has the signal sent again a moment later, until it is or the task has ended.
"""

from __future__ import annotations

import _thread
import _weakrefset
import signal
import sys
import threading
import time
import weakref
from types import FrameType

from zfut.actors.loop import Loop
from zfut.actors.user_code import Runner
from zfut.shield import DELIVERY
from zfut.values import Values
from zfut.waits import Waits

AGAIN_S = 0.0003
"""The time after which the signal comes again."""


class Interrupts:
    """Delivers what ``cancel`` asks for to the task whose code has the main thread."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._coming = False

    def ask(self, task_id: bytes) -> None:
        """A task that runs here is to be interrupted; any thread may ask."""
        self._runner.interrupts[task_id] = None
        self._send()

    def look(self) -> None:
        """Raise CancelInterrupt if the task on top is to be interrupted, here or a moment later."""
        runner = self._runner
        if not runner.is_interrupted():
            return
        if may_raise(sys._getframe(1)) or not self._come_again():  # noqa: SLF001
            runner.check_interrupt()

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Handle SIGINT."""
        self.look()

    def _come_again(self) -> bool:
        """Have the signal sent again. Returns False if the system refuses."""
        if not self._coming:
            self._coming = True
            try:  # the threading module's locks may be held by what was interrupted
                _thread.start_new_thread(self._send_again, ())
            except RuntimeError:
                self._coming = False
        return self._coming

    def _send_again(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        time.sleep(AGAIN_S)
        self._coming = False
        self._send()

    @staticmethod
    def _send() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def may_raise(frame: FrameType | None) -> bool:
    """Whether what is raised in ``frame`` reaches a task's code, and breaks nothing on its way."""
    frame, in_order = _below_delivery(frame)
    user_code = False
    while frame is not None and frame.f_code is not _BEGINS:
        code = frame.f_code
        if code.co_name == "__del__" or code.co_filename in _FINALISERS:
            return False
        if not (in_order or user_code) and code in _STEPS:
            return False
        user_code = user_code or not code.co_filename.startswith(_HOME)
        frame = frame.f_back
    return user_code


def _below_delivery(frame: FrameType | None) -> tuple[FrameType | None, bool]:
    """Return where a signal came or was kept waiting, and whether all is in order there."""
    kept = False
    while frame is not None and frame.f_code in (*_HANDLER, *DELIVERY):
        kept = kept or frame.f_code in DELIVERY
        frame = frame.f_back
    return frame, kept and frame is not None and frame.f_code is Loop.wait.__code__


_BEGINS = Runner._interruptible.__code__  # noqa: SLF001  above it is the task's code

_HANDLER = (Interrupts.look.__code__, Interrupts.on_signal.__code__)

_STEPS = (
    Loop.post.__code__,
    Loop.drop.__code__,
    Loop.turn.__code__,
    Values._unpack.__code__,  # noqa: SLF001
    Waits.await_objects.__code__,
    Waits.await_room.__code__,
    Waits._await.__code__,  # noqa: SLF001
)
"""They and what they call take steps that belong together, but for a wait that lets signals in."""

_HOME = may_raise.__code__.co_filename.removesuffix("actors/interrupts.py")

_FINALISERS = (
    weakref.finalize.__call__.__code__.co_filename,
    _weakrefset.WeakSet.add.__code__.co_filename,
)
"""Where the callbacks of weak references are."""
