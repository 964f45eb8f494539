"""Errors about the call itself, and about who is speaking: raised before anything runs.

Public through ``zfut.errors``; the same rules hold as there.
"""

from __future__ import annotations

from zfut.causes import ZfutError, because, sentence, size_text


class UsageError(ZfutError):
    """zfut was called in a way that cannot work.  Whoever raises it words the text."""

    advice = ""

    def __init__(self, text: str, next_step: str = "") -> None:
        super().__init__(text, next_step)
        self.text, self._next_step = text, next_step

    def fact(self) -> str:
        return sentence(self.text)

    def next_step(self) -> str:
        return sentence(self._next_step)


class SessionError(UsageError, ValueError):
    """A session, or something of one, cannot be used: it has ended, or it is another's.

    With ``why``, ``what`` names the thing; alone, it is the whole text.
    """

    advice = "Make it again in a session that is open: zfut.init()."

    def __init__(self, what: str, why: str = "") -> None:
        super().__init__(what, why)
        self.what, self.why = what, why

    def fact(self) -> str:
        return sentence(
            f"{self.what} cannot be used{because(self.why)}" if self.why else self.what
        )

    def next_step(self) -> str:
        return self.advice if self.why else ""


class FunctionTooLargeError(UsageError, ValueError):
    """A function or class drags more data along than may travel with code."""

    advice = "Put the data once, ref = zfut.put(data), and pass the ref as an argument."

    def __init__(self, what: str, limit_bytes: int, largest: str = "") -> None:
        super().__init__(what, str(limit_bytes))
        self.args = (what, limit_bytes, largest)
        self.what, self.limit_bytes, self.largest = what, limit_bytes, largest

    def fact(self) -> str:
        over = f"{self.what} is over {size_text(self.limit_bytes)} when pickled"
        return f"{over}{because(self.largest)}."

    def next_step(self) -> str:
        return self.advice


class SerializationError(ZfutError, TypeError):
    """Something cannot be pickled.  ``path`` leads to the culprit."""

    advice = "Create it inside the task, or keep it in an actor."

    def __init__(self, what: str, path: str = "", next_step: str = "") -> None:
        super().__init__(what, path, next_step)
        self.what, self.path = what, path

    def fact(self) -> str:
        return f"Cannot send {self.what}{because(self.path)}."

    def next_step(self) -> str:
        return str(self.args[2]) or self.advice


class UnpicklableExceptionError(SerializationError):
    """A task raised something that cannot travel; its type, message and traceback can."""

    advice = "Raise an exception whose fields pickle, or give its class a __reduce__."

    def __init__(
        self, type_name: str, message: str = "", why: str = "", remote_traceback: str = ""
    ) -> None:
        super().__init__(type_name, why)
        self.args = (type_name, message, why, remote_traceback)
        self.type_name, self.message = type_name, message
        self.why, self.remote_traceback = why, remote_traceback

    def fact(self) -> str:
        raised = f"{self.type_name}: {self.message}" if self.message else self.type_name
        return f"The exception {raised!r} cannot be sent as it is{because(self.why)}."

    def next_step(self) -> str:
        return f"{self.advice}\n{self.remote_traceback}".rstrip()


class AuthenticationError(ZfutError, PermissionError):
    """The other side did not prove that it belongs to this session."""

    advice = "Use the key that the session printed, as the user who started it."

    def __init__(self, peer: str, why: str = "") -> None:
        super().__init__(peer, why)
        self.peer, self.why = peer, why

    def fact(self) -> str:
        return f"{self.peer} refused us{because(self.why)}."


class VersionMismatchError(ZfutError):
    """Two processes speak different versions of the protocol."""

    advice = "Install the same version of zfut on both sides."

    def __init__(self, peer: str, theirs: int, ours: int) -> None:
        super().__init__(peer, theirs, ours)
        self.peer, self.theirs, self.ours = peer, theirs, ours

    def fact(self) -> str:
        return f"{self.peer} speaks protocol {self.theirs}, this process speaks {self.ours}."


class ProtocolError(ZfutError):
    """A message or a value breaks the rules of the wire."""

    advice = "Compare the versions of zfut on both sides with 'zfut doctor'."

    def __init__(self, what: str, peer: str = "") -> None:
        super().__init__(what, peer)
        self.what, self.peer = what, peer

    def fact(self) -> str:
        sender = f" from {self.peer}" if self.peer else ""
        return f"Malformed data{sender}{because(self.what)}."


class LocalProtocolError(ProtocolError):
    """We were about to send what the protocol forbids: a bug of zfut."""

    advice = "Report it with the recorder's dump."

    def fact(self) -> str:
        receiver = f" to {self.peer}" if self.peer else ""
        return f"Refused to send malformed data{receiver}{because(self.what)}."


class RemoteProtocolError(ProtocolError):
    """Another process sent what the protocol forbids; it was dropped."""


class InternalError(ZfutError):
    """Something that must always hold did not: a bug of zfut.  ``record`` is what led there."""

    advice = "Report it with this text and the session's log."

    def __init__(self, what: str, record: str = "") -> None:
        super().__init__(what, record)
        self.what, self.told = what, record

    def fact(self) -> str:
        return f"zfut broke a rule of its own{because(self.what)}."
