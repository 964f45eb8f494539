"""Speaking to a node as one of its programs: asking what it does, telling it to stop."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import msgspec

from zfut import errors
from zfut.actors.driver import Driver
from zfut.wire import messages as m

from .failures import TIMED_OUT, CommandError, note
from .sessions import Found, Held

ANSWER_S = 5.0
"""A node manager that serves answers in a millisecond."""

FORCED_S = 2.0
"""What a node takes at most to end when it does not drain."""

MARGIN_S = 5.0
"""Beyond the grace period: for the end itself, on a machine with other work."""


@contextlib.contextmanager
def joined(session: Found) -> Iterator[Driver]:
    """Be a program of the session for a moment. Raises what the join raises."""
    driver = Driver(session.file, session.directory)
    try:
        yield driver
    finally:
        driver.close()


def ask(driver: Driver, session: Found, topic: str) -> dict[str, Any]:
    """Return what the node says about ``topic``. Raises CommandError if it does not answer."""
    try:
        said = driver.session.ask(lambda request: m.AskNode(request, topic), ANSWER_S)
    except errors.GetTimeoutError:
        pid = session.file.manager_pid
        text = (
            f"{session.title()}: its node manager (pid {pid}) did not answer within "
            f"{ANSWER_S:g} s. `zfut stop --force --session {session.id}` ends it"
        )
        raise CommandError(text, TIMED_OUT) from None
    return msgspec.json.decode(said.answer, type=dict[str, Any])


def tell_to_stop(driver: Driver, why: str, *, drain: bool) -> None:
    """Tell the node to stop, without waiting for anything."""
    with driver.loop.lock:
        driver.loop.mailbox.send(driver.manager, m.Stop(why, drain))


def grace_s(session: Found) -> float:
    """Return how long the session's node lets running work go on when it is told to stop."""
    return float(session.file.config.get("drain_grace_ns", 0)) / 1e9


def stop(session: Found, held: Held, *, force: bool) -> None:
    """Tell a session to stop; one that cannot be spoken to gets a signal, which does not drain."""
    try:
        with joined(session) as driver:
            tell_to_stop(driver, "`zfut stop` was called", drain=not force)
            ask(driver, session, "resources")
    except CommandError:
        held.signal(signal.SIGTERM)
    except (errors.ZfutError, OSError) as error:
        if held.wait(0):
            return
        note(f"{session.title()} cannot be spoken to ({error}); it gets SIGTERM")
        held.signal(signal.SIGTERM)
