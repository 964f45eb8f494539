"""Every limit and interval: one field each, unit last, with its reason.

Precedence: argument of ``init`` or option of the command line, then ``ZFUT_*`` in the environment,
then the defaults here.
"""

from __future__ import annotations

import os
from typing import Literal

from msgspec import Struct, ValidationError, convert

from zfut.errors import UsageError, did_you_mean


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The limits of one session; every process of the session has the same."""

    inline_max_bytes: int = 100 * 1024
    """A value of at most this size travels in messages; a larger one is written to the arena."""

    inline_sum_max_bytes: int = 1024 * 1024
    """Inline results of one call together; those beyond it are written to the arena."""

    message_max_bytes: int = 64 * 1024 * 1024
    """A larger frame ends its connection: nothing that zfut sends comes near it."""

    pipeline_ns: int = 1_500_000
    """Work queued at a leased worker ahead of time, as measured run time (1-2 ms)."""

    task_overhead_ns: int = 5_000
    """Added to a function's measured run time when the pipeline is filled."""

    recall_after_ns: int = 5_000_000
    """A worker silent for this long gives back what it has not started."""

    lease_linger_ns: int = 20_000_000
    """An idle lease is kept this long: loops of single calls reuse it."""

    lease_requests_max: int = 10
    """Lease requests waiting at the node for one kind of demand."""

    batch_max: int = 256
    """Calls or results in one message."""

    extent_bytes: int = 32 * 1024 * 1024
    """Arena memory lent to a process at a time, at least."""

    fate_share: Literal["error", "kill"] = "error"
    """Who holds a reference whose owner died: gets OwnerDiedError, or its process is killed.

    "kill" is the paper's rule (section 4.3), for workers; programs always get the error.
    """

    record_call_sites: bool = False
    """Remember the line of user code that made each object, for ``zfut memory``."""

    lineage_max_bytes: int = 256 * 1024 * 1024
    """Memory for calls that are kept so that lost results can be made again; see ``lineage``."""

    pending_calls_max: int = 100_000
    """Unfinished calls of one process: ``remote`` waits at so many, until 80 %. 0: no bound."""

    pending_args_max_bytes: int = 64 * 1024 * 1024
    """The same for the arguments of such calls, where they are not in the arena. 0: no bound."""

    deaths_max: int = 4096
    """Ends of processes that each process remembers, beside those of whom its tables name."""

    store_full_timeout_ns: int = 60_000_000_000
    """A put or return waits this long for room before ObjectStoreFullError."""

    object_store_memory: int = 0
    """Capacity of the arena in bytes; 0: 30 % of the memory this session may use."""

    workers_max: int = 0
    """Worker processes without actors; 0: 4 x CPUs + 16. One more starts only if all wait."""

    worker_idle_ns: int = 60_000_000_000
    """A worker beyond one for each CPU ends after this time without a lease."""

    orphan_grace_ns: int = 1_000_000_000
    """A worker whose lease was a dead owner's is killed if it has not stopped by then."""

    drain_grace_ns: int = 15_000_000_000
    """When a node is told to stop, what runs may go on for this long."""

    drain_linger_ns: int = 1_000_000_000
    """Programs have this long to take their results, after the last lease has ended."""

    starting_max: int = 4
    """Workers being forked at one time."""

    log_blocked_get_s: float = 30.0
    """A get that waits this long says so once, with what it waits for."""


def load(**given: object) -> Config:
    """Return the configuration: defaults, then the environment, then ``given``.

    Raises UsageError for a name that is not a field or a value of the wrong kind.
    """
    known = Config.__struct_fields__
    values: dict[str, object] = {}
    for name in known:
        text = os.environ.get("ZFUT_" + name.upper())
        if text is not None:
            values[name] = text
    for name, value in given.items():
        if name not in known:
            raise UsageError(f"no configuration named {name!r}.{did_you_mean(name, known)}")
        if value is not None:
            values[name] = value
    try:
        return convert(values, Config, strict=False)
    except ValidationError as error:
        raise UsageError(f"configuration: {error}") from None
