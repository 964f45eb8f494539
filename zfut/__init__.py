"""Distributed futures and actors for Python on plain ZeroMQ.

``f.remote(x)`` returns a reference at once; the caller owns the result.  See the README for a tour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from zfut.api import (
        as_completed,
        available_resources,
        cancel,
        cluster_resources,
        exit_actor,
        free,
        get,
        get_actor,
        get_runtime_context,
        init,
        is_initialized,
        kill,
        method,
        nodes,
        put,
        remote,
        shutdown,
        wait,
    )
    from zfut.handles import ActorHandle, RemoteClass, RemoteFunction
    from zfut.pickles import deregister_serializer, register_serializer
    from zfut.refs import ObjectRef
    from zfut.session import Session

__all__ = [
    "ActorHandle",
    "ObjectRef",
    "RemoteClass",
    "RemoteFunction",
    "Session",
    "__version__",
    "as_completed",
    "available_resources",
    "cancel",
    "cluster_resources",
    "deregister_serializer",
    "exit_actor",
    "free",
    "get",
    "get_actor",
    "get_runtime_context",
    "init",
    "is_initialized",
    "kill",
    "method",
    "nodes",
    "put",
    "register_serializer",
    "remote",
    "shutdown",
    "wait",
]

_HOMES = {
    "ActorHandle": "zfut.handles",
    "RemoteClass": "zfut.handles",
    "RemoteFunction": "zfut.handles",
    "ObjectRef": "zfut.refs",
    "Session": "zfut.session",
    "deregister_serializer": "zfut.pickles",
    "register_serializer": "zfut.pickles",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: ``import zfut`` itself costs next to nothing."""
    if name not in __all__:
        message = f"module 'zfut' has no attribute {name!r}"
        raise AttributeError(message)
    import importlib  # noqa: PLC0415  only on first use

    value = getattr(importlib.import_module(_HOMES.get(name, "zfut.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
