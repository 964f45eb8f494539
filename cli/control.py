"""Speaking to a node as one of its programs: asking what it does, telling it to stop."""

from __future__ import annotations

from typing import Any

import msgspec

from zfut import errors
from zfut.actors.driver import Driver
from zfut.wire import messages as m

from .failures import TIMED_OUT, CommandError, note
from .sessions import Found, Held

ANSWER_S = 5.0
"""A node manager that serves answers in a millisecond."""


def ask(session: Found, topic: str) -> dict[str, Any]:
    """Return what the session's node says about ``topic``.

    Raises CommandError if it does not answer, SessionError and its kin if it cannot be joined.
    """
    driver = Driver(session.file, session.directory)
    try:
        said = driver.session.ask(lambda request: m.AskNode(request, topic), ANSWER_S)
    except errors.GetTimeoutError:
        pid = session.file.manager_pid
        text = (
            f"{session.title()}: its node manager (pid {pid}) did not answer within "
            f"{ANSWER_S:g} s. `zfut stop --force --session {session.id}` ends it"
        )
        raise CommandError(text, TIMED_OUT) from None
    finally:
        driver.close()
    answer: dict[str, Any] = msgspec.json.decode(said.answer)
    return answer


class Ending:
    """A session that is told to stop.  It stays joined until ``close``: messages need time."""

    def __init__(self, session: Found) -> None:
        self.session = session
        self.held = Held(session)
        self._driver: Driver | None = None

    def tell(self, why: str, *, drain: bool) -> None:
        """Tell the node; one that cannot be spoken to gets a signal, which does not drain."""
        try:
            self._driver = Driver(self.session.file, self.session.directory)
            with self._driver.loop.lock:
                self._driver.loop.mailbox.send(self._driver.manager, m.Stop(why, drain))
        except Exception as error:  # noqa: BLE001  its directory may be gone, anything may be
            if not self.held.wait(0):
                note(f"{self.session.title()} cannot be asked ({error}); it gets SIGTERM")
                self.held.terminate()

    def close(self) -> None:
        """Leave the session."""
        if self._driver is not None:
            self._driver.close()
        self.held.close()
