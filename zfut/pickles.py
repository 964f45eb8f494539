"""Python's two picklers, which of them a value needs, and the serializers users registered.

Plain pickle is five times faster, and right for most values.  It fails for lambdas, nested
functions and local classes, which is easily seen; but it takes what lives in ``__main__`` by
reference, which is wrong without a sound: ``__main__`` is another module in a worker.  Under
protocol 5 a pickle that refers to a global spells out its module's name and uses the opcode
STACK_GLOBAL (0x93).  So a pickle without that byte needs nothing more, and one without the text
``__main__`` refers to nothing there; a value that merely contains the text costs a second
pickling.  The same test finds modules that the user told cloudpickle to send by value.

What must hold: a pickle can be read by plain ``pickle.loads`` in a process that registered
nothing, because it carries the deserializers it needs.
"""

from __future__ import annotations

import copyreg
import importlib
import io
import pickle
import sys
import types
from collections import ChainMap
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

from zfut.errors import UsageError, ZfutError

PROTOCOL = 5
STACK_GLOBAL = 0x93
LOADERS_MAX = 256

TakeBuffer: TypeAlias = Callable[[pickle.PickleBuffer], object]
Reducer: TypeAlias = Callable[[Any], tuple[Any, ...]]


class Writable(Protocol):
    """What a pickler needs of a file."""

    def write(self, data: Any, /) -> object:
        """Take bytes, which belong to the pickler again afterwards."""


BUILT_IN: tuple[type, ...] = (
    *(int, float, complex, bool, str, bytes, bytearray, list, tuple, dict, set, frozenset),
    *(type, type(None), types.FunctionType, types.BuiltinFunctionType, pickle.PickleBuffer),
)
"""Types the picklers know by heart: they never ask a table about them."""

_serializers: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {}
_reducers: dict[type, Reducer] = {}
_exported: bytes | None = b""

on_change: list[Callable[[], None]] = []
"""Called when other serializers are registered: code that was sent carries the earlier ones."""


# ------------------------------------------------------------------ which pickler


def plain(value: object, take_buffer: TakeBuffer | None = None) -> bytes | None:
    """Return the plain pickle of ``value``, or None if it must go through ``thorough``.

    Buffers handed to ``take_buffer`` before a None are to be forgotten.
    """
    try:
        if _reducers:
            data = _plain_with_reducers(value, take_buffer)
        else:
            data = pickle.dumps(value, PROTOCOL, buffer_callback=take_buffer)
    except (ZfutError, MemoryError):
        raise
    except Exception:  # noqa: BLE001  whatever it is, the thorough pickler meets it again
        return None
    return None if STACK_GLOBAL in data and _names_by_value(data) else data


def thorough(value: object, take_buffer: TakeBuffer | None = None) -> bytes:
    """Return the pickle of ``value`` by cloudpickle, or raise what stopped it."""
    file = io.BytesIO()
    write(value, file, take_buffer)
    return file.getvalue()


def write(value: object, file: Writable, take_buffer: TakeBuffer | None = None) -> None:
    """Write the pickle of ``value`` by cloudpickle to a file."""
    _thorough_pickler()(file, PROTOCOL, buffer_callback=take_buffer).dump(value)


def dumps(value: object) -> bytes:
    """Return a pickle in one piece, by whichever pickler ``value`` needs."""
    data = plain(value)
    return thorough(value) if data is None else data


def is_registered(cls: type) -> bool:
    """Whether a user registered a serializer for exactly this class."""
    return cls in _reducers


def reducer_of(cls: type) -> Reducer | None:
    """Return the function that a table says pickles instances of exactly ``cls``."""
    found: Reducer | None = vars(_thorough_pickler())["dispatch_table"].get(cls)
    return found


def _names_by_value(data: bytes) -> bool:
    if b"__main__" in data:
        return True
    cloudpickle = sys.modules.get("cloudpickle")
    if cloudpickle is None:
        return False
    names: set[str] = cloudpickle.list_registry_pickle_by_value()
    return any(name.encode() in data for name in names)


def _plain_with_reducers(value: object, take_buffer: TakeBuffer | None) -> bytes:
    file = io.BytesIO()
    _PlainPickler(file, PROTOCOL, buffer_callback=take_buffer).dump(value)
    return file.getvalue()


class _PlainPickler(pickle.Pickler):
    dispatch_table: Any = ChainMap[type, Any](_reducers, copyreg.dispatch_table)  # noqa: RUF012


@lru_cache(maxsize=1)
def _thorough_pickler() -> type[pickle.Pickler]:
    cloudpickle = importlib.import_module("cloudpickle")  # only values that need it pay for it
    base: type[pickle.Pickler] = cloudpickle.Pickler
    table = ChainMap[type, Any](_reducers, vars(base)["dispatch_table"])
    return type("ThoroughPickler", (base,), {"dispatch_table": table})


# ------------------------------------------------------------------ users' serializers


def register_serializer(
    cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]
) -> None:
    """Send instances of exactly ``cls`` as ``serializer(it)``, made again by ``deserializer``.

    Holds for this driver and its workers, from the next value on.
    """
    if not isinstance(cls, type):
        text = f"register_serializer() takes a class, not {cls!r}."
        raise UsageError(text, "Pass the class whose instances it is for.")
    if cls in BUILT_IN:
        text = f"{cls.__name__} has a form of its own in every pickle."
        raise UsageError(text, "Register a subclass of it and send that.")
    for name, function in (("serializer", serializer), ("deserializer", deserializer)):
        if not callable(function):
            text = f"{name} is {function!r}, not a function."
            raise UsageError(text, "Pass a function.")
    blob = dumps(deserializer)
    _serializers[cls] = serializer, deserializer
    _reducers[cls] = lambda value: (_restore, (blob, serializer(value)))
    _changed(None)


def deregister_serializer(cls: type) -> None:
    """Undo ``register_serializer``; values that were sent stay readable."""
    _serializers.pop(cls, None)
    _reducers.pop(cls, None)
    _changed(None)


def _changed(now: bytes | None) -> None:
    global _exported  # noqa: PLW0603  made when it is asked for
    _exported = now
    for tell in on_change:
        tell()


def exported() -> bytes:
    """Return what is registered here, for ``install`` in a worker."""
    global _exported  # noqa: PLW0603  made once for each change
    if _exported is None:
        _exported = thorough(list(_serializers.items())) if _serializers else b""
    return _exported


def install(registered: bytes) -> None:
    """Make what another process ``exported`` the whole of what is registered here."""
    entries = pickle.loads(registered) if registered else []  # noqa: S301  from our driver
    _serializers.clear()
    _reducers.clear()
    for cls, (serializer, deserializer) in entries:
        register_serializer(cls, serializer=serializer, deserializer=deserializer)
    _changed(registered)


def _restore(blob: bytes, state: object) -> object:
    """Rebuild an instance of a class with a registered serializer."""
    return _loader(blob)(state)


@lru_cache(maxsize=LOADERS_MAX)
def _loader(blob: bytes) -> Callable[[object], object]:
    loaded: Callable[[object], object] = pickle.loads(blob)  # noqa: S301  inside a pickle
    return loaded
