"""Functions and classes to bytes and back, and the plain data that describes them.

Code is pickled by value where the worker could not import it, with all that it refers to: a
lambda, what is nested or interactive, what lives in ``__main__``.
"""

from __future__ import annotations

import importlib
import io
import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from zfut.errors import FunctionTooLargeError, ZfutError
from zfut.pickles import exported, write
from zfut.wire.context import Noted, packing

FUNCTION_MAX_BYTES = 100 * 1000 * 1000
"""What a function or class may weigh with all that it drags along."""


class Code(NamedTuple):
    """What an executor needs of a function or class."""

    function: Any
    retried: tuple[type[BaseException], ...] = ()
    """Exceptions after which its task may be tried again."""
    serializers: bytes = b""
    """What its driver has registered, see ``zfut.pickles``."""
    max_calls: int = 0
    """After so many calls the worker ends; 0: never."""


class _Limited(io.BytesIO):
    """A file that refuses to grow beyond what a function may weigh."""

    def write(self, data: Any, /) -> int:
        if self.tell() + memoryview(data).nbytes > FUNCTION_MAX_BYTES:
            raise _TooLargeError
        return super().write(data)


class _TooLargeError(Exception):
    """The function is too large; not for users."""


def dump_function(
    function: object,
    what: str,
    retried: Sequence[type[BaseException]] = (),
    max_calls: int = 0,
) -> tuple[bytes, list[object]]:
    """Return a function's or class's code, and the references and handles it captures.

    These must be kept as long as the code may run.  With it go the exceptions after which it is
    ``retried``, the serializers that are registered here, and ``max_calls``.

    Raises SerializationError, or FunctionTooLargeError (a ValueError) for a closure of more than
    100 MB.
    """
    file = _Limited()
    sink: list[Noted] = []
    registered = exported()
    plain = not (retried or registered or max_calls)
    try:
        with packing(sink):
            code = Code(function, tuple(retried), registered, max_calls)
            write(function if plain else code, file)
    except (ZfutError, MemoryError):
        raise
    except _TooLargeError:
        diagnose = importlib.import_module("zfut.wire.diagnose")
        largest = diagnose.largest(function)
        raise FunctionTooLargeError(what, FUNCTION_MAX_BYTES, largest) from None
    except Exception as error:
        diagnose = importlib.import_module("zfut.wire.diagnose")
        raise diagnose.refusal(function, error, what, "") from error
    return file.getvalue(), [noted.holder for noted in sink]


def load_code(code: bytes) -> Code:
    """Return what ``dump_function`` wrote; raises what its import raises."""
    loaded = pickle.loads(code)  # noqa: S301  from a process of this session
    return loaded if type(loaded) is Code else Code(loaded)


def load_function(code: bytes) -> Any:
    """Return the function or class alone."""
    return load_code(code).function


def dump_plain(data: object) -> bytes:
    """Return msgpack for data that is no code: numbers, text, bytes, lists, maps."""
    return msgspec.msgpack.encode(data)


def load_plain(data: bytes) -> Any:
    """Return what ``dump_plain`` wrote; tuples come back as lists."""
    return msgspec.msgpack.decode(data)
