"""What tells this process to end, and whom it tells how it is: signals, and systemd."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from types import FrameType
from typing import Self


class Told(BaseException):
    """A signal came where nothing but the end makes sense."""


class Signals:
    """Counts the signals that mean "end"; ``fd`` is readable after each.

    Afterwards they mean nothing: all that is left to do is to exit with the right code.
    """

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.count = 0
        self.first = 0
        self.fd = -1
        self._raising = False
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.fd, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._undo.callback(os.close, self.fd)
        self._undo.callback(os.close, write)
        before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self._undo.callback(signal.set_wakeup_fd, before)
        for number in self.NUMBERS:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup and a shell's & ignore some
                self._undo.callback(signal.signal, number, signal.SIG_IGN)
                signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.count += 1
        self.first = self.first or number
        if self._raising:
            self._raising = False
            raise Told

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Raise Told for a signal that has come, or comes inside."""
        self._raising = True
        try:
            if self.count:
                raise Told
            yield
        finally:
            self._raising = False

    def clear(self) -> None:
        """Take note of what made ``fd`` readable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 512)


def report(*states: str) -> None:
    """Tell the service manager, if one listens: the protocol of sd_notify."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
    ):
        out.sendto("\n".join(states).encode(), address)
