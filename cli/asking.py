"""Asking every process of a session what it owns and waits for."""

from __future__ import annotations

from typing import Any, Self

import msgspec

from zfut.actors.driver import Driver
from zfut.explain import inventory
from zfut.ids import short
from zfut.session import Session
from zfut.wire import messages as m

from .control import ANSWER_S
from .failures import NOT_REACHED, CommandError
from .sessions import Found


class Asking:
    """A session that is joined for as long as questions are asked."""

    def __init__(self, found: Found) -> None:
        from zfut.errors import SessionError  # noqa: PLC0415

        try:
            self._driver = Driver(found.file, found.directory)
            self.session: Session = self._driver.session
            said = self.session.ask(lambda request: m.AskNode(request, "status"), ANSWER_S)
        except (SessionError, OSError) as error:
            raise CommandError(
                f"{found.title()} cannot be reached: {error}", NOT_REACHED
            ) from None
        self.status: dict[str, Any] = msgspec.json.decode(said.answer)
        me = self.session.uid.hex()
        programs = [one for one in self.status["drivers"] if one["uid"] != me]
        self.names = {one["uid"]: f"program {one['pid']}" for one in programs}
        for worker in self.status["workers"]:
            what = f"actor {worker['runs']}" if worker["actor"] else "worker"
            self.names[worker["uid"]] = f"{what} {short(bytes.fromhex(worker['uid']))}"
        self.lives_in = {
            worker["actor_id"]: worker["uid"]
            for worker in self.status["workers"]
            if worker["actor_id"]
        }
        self._reports: dict[str, list[dict[str, Any]]] | None = None
        self.silent: list[str] = []
        """Who did not answer when all were asked for ``reports``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.close()

    @property
    def reports(self) -> dict[str, list[dict[str, Any]]]:
        """What each process that answers says about its objects; asked once."""
        if self._reports is None:
            self._reports = {}
            for uid, name in self.names.items():
                said = inventory(self.session, bytes.fromhex(uid))
                if said is None:
                    self.silent.append(name)
                else:
                    self._reports[uid] = said
        return self._reports

    def objects(self, name: str) -> set[str]:
        """Return the whole ids of the objects that ``name`` may mean."""
        return {
            row["id"]
            for rows in self.reports.values()
            for row in rows
            if row["short"] == name or row["id"].startswith(name)
        }
