"""An exception on its way between processes: plain data that any language can show.

    type_name   the exception's class          message   its text
    hops        the tasks it went through, the one that was asked for first; each is an array:
                function, pid (0: never ran), node, actor, traceback without zfut's frames
    pickled     the exception for Python, or nil, and then ``why`` says why not
    system      the name of a zfut error that is raised as itself, with its ``fields``

On the wire it is a msgpack map with these names; what is empty is left out.  What must hold:
anything can be encoded, since a failure that cannot be told is worse than one told badly.
"""

from __future__ import annotations

from typing import Any

import msgspec

from zfut.causes import Hop

TEXT_MAX_CHARS = 64 * 1024
"""Longer messages and tracebacks lose their middle."""

INT_MAX = (1 << 63) - 1


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """An exception and the way it took."""

    type_name: str = ""
    message: str = ""
    hops: tuple[Hop, ...] = ()
    pickled: bytes | None = None
    why: str = ""
    system: str = ""
    fields: tuple[Any, ...] = ()

    def through(self, hop: Hop) -> Failure:
        """Return this failure as it leaves one more task."""
        return msgspec.structs.replace(self, hops=(hop, *self.hops))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Failure).decode


def encode_failure(failure: Failure) -> bytes:
    """Return a failure's bytes."""
    return _encode(failure)


def read_failure(data: bytes) -> Failure:
    """Return the failure; raises ``msgspec.DecodeError`` if ``data`` is something else."""
    failure = _decode(data)
    return msgspec.structs.replace(
        failure, fields=tuple(_thaw(field) for field in failure.fields)
    )


def tellable(field: object) -> object:
    """Return a field as msgpack can carry it."""
    if isinstance(field, tuple | list):
        return [tellable(item) for item in field]
    if isinstance(field, str):
        return clip(field)
    if isinstance(field, int) and abs(field) > INT_MAX:
        return str(field)
    if field is None or isinstance(field, bool | int | float | bytes):
        return field
    return clip(repr(field))


def clip(text: str) -> str:
    """Return text that UTF-8 can say (no lone surrogates) and that is not too long."""
    text = str.__str__(text)  # a subclass's methods are a user's code
    if len(text) > TEXT_MAX_CHARS:
        half = TEXT_MAX_CHARS // 2
        text = (
            f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
        )
    return text.encode("utf-8", "backslashreplace").decode()


def _thaw(field: object) -> object:
    return tuple(_thaw(item) for item in field) if isinstance(field, list) else field
