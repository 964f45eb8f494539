"""Options of remote functions and classes: names, kinds, defaults, and what is wrong with them."""

from __future__ import annotations

import math
from typing import Any

from msgspec import Struct

from zfut import errors
from zfut.errors import did_you_mean
from zfut.ids import TASK_UNITS
from zfut.wire.specs import Demand

COMMON = ("num_cpus", "num_gpus", "memory", "resources", "name")
TASK_OPTIONS = (
    *COMMON,
    "num_returns",
    "max_retries",
    "retry_exceptions",
    "schedule_timeout",
    "max_calls",
)
ACTOR_OPTIONS = (
    *COMMON,
    "namespace",
    "get_if_exists",
    "max_concurrency",
    "max_restarts",
    "max_task_retries",
    "lifetime",
)
METHOD_OPTIONS = ("num_returns", "name", "max_task_retries")
WHOLE = (
    "num_returns",
    "max_retries",
    "max_concurrency",
    "max_restarts",
    "max_task_retries",
    "max_calls",
)
RETURNS_MAX = 10_000
AMOUNT_MAX = 1e15
SECONDS_MAX = 1e9


class Options(Struct, frozen=True):
    """What a decorator, ``options`` or ``method`` asked for, checked."""

    num_cpus: float | None = None
    num_gpus: float = 0
    memory: float = 0
    resources: dict[str, float] = {}
    name: str | None = None
    num_returns: int = 1
    max_retries: int = 3
    retry_exceptions: bool | tuple[type[BaseException], ...] = False
    schedule_timeout: float | None = None
    max_calls: int | None = None
    namespace: str | None = None
    get_if_exists: bool = False
    max_concurrency: int | None = None
    max_restarts: int = 0
    max_task_retries: int = 0
    lifetime: str | None = None

    def retried(self) -> tuple[type[BaseException], ...]:
        """Return the exceptions after which a task may be tried again."""
        if isinstance(self.retry_exceptions, tuple):
            return self.retry_exceptions
        return (Exception,) if self.retry_exceptions else ()

    def calls_max(self) -> int:
        """After so many calls of the function its worker ends; 0: never.

        What runs on a GPU leaves memory there that only the end of its process gives back.
        """
        return (1 if self.num_gpus else 0) if self.max_calls is None else self.max_calls

    def demand(self, default_cpus: float) -> Demand:
        """Return the resources in ten-thousandths, sorted by name."""
        cpus = default_cpus if self.num_cpus is None else self.num_cpus
        wanted = {"CPU": cpus, "GPU": self.num_gpus, "memory": self.memory, **self.resources}
        units = {kind: round(amount * TASK_UNITS) for kind, amount in wanted.items()}
        return tuple(sorted((kind, amount) for kind, amount in units.items() if amount))


def merge(
    known: Options, given: dict[str, Any], allowed: tuple[str, ...], what: str
) -> Options:
    """Return ``known`` with ``given`` laid over it.

    Raises UsageError for a name that is no option (it says which was meant) and for a value that
    makes no sense.
    """
    values = {name: getattr(known, name) for name in known.__struct_fields__}
    for name, value in given.items():
        if name not in allowed:
            raise errors.UsageError(
                f"{what} has no option {name!r}.{did_you_mean(name, allowed)}",
                f"Options are: {', '.join(sorted(allowed))}",
            )
        values[name] = _checked(name, value, what)
    if values["num_gpus"] > 1 and values["num_gpus"] != int(values["num_gpus"]):
        raise errors.OptionError(what, "num_gpus", values["num_gpus"], "whole above one")
    return Options(**values)


def _checked(name: str, value: Any, what: str) -> Any:  # noqa: PLR0911  one line an option
    if name in ("num_cpus", "num_gpus", "memory"):
        return _amount(name, value, what)
    if name == "resources":
        return _custom(value, what)
    if name in WHOLE:
        return _whole(name, value, what)
    if name in ("name", "namespace"):
        return _text(name, value, what)
    if name == "retry_exceptions" and not isinstance(value, bool):
        return _kinds(value, what)
    if name in ("get_if_exists", "retry_exceptions"):
        if not isinstance(value, bool):
            raise errors.OptionError(what, name, quoted(value), "True or False")
        return value
    if name == "schedule_timeout" and value is not None:
        return _seconds(name, value, what)
    if name == "lifetime" and value is not None:
        raise errors.OptionError(
            what, name, quoted(value), "None: actors end with their last handle"
        )
    return value


def quoted(value: Any) -> Any:
    """Return what an error shows of a value: text in quotes."""
    return repr(value) if isinstance(value, str) else value


def _amount(name: str, value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise errors.OptionTypeError(what, name, quoted(value), "a number")
    if not math.isfinite(value) or value < 0 or value > AMOUNT_MAX:
        raise errors.OptionError(what, name, quoted(value), "a number from 0 to 1e15")
    scaled = value * TASK_UNITS
    if abs(scaled - round(scaled)) > 1e-6 * max(1.0, scaled):
        raise errors.OptionError(what, name, quoted(value), "a multiple of 0.0001")
    return value


def _seconds(name: str, value: Any, what: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= SECONDS_MAX:
        raise errors.OptionError(
            what, name, quoted(value), "None, or a number of seconds above 0"
        )
    return float(value)


def _kinds(value: Any, what: str) -> tuple[type[BaseException], ...]:
    wants = "True, False or a list of exception classes"
    if not isinstance(value, list | tuple):
        raise errors.OptionError(what, "retry_exceptions", value, wants)
    for kind in value:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise errors.OptionError(what, "retry_exceptions", value, wants)
    return tuple(value)


def _custom(value: Any, what: str) -> dict[str, float]:
    if not isinstance(value, dict):
        raise errors.OptionError(what, "resources", value, "a dict of names and amounts")
    for kind, amount in value.items():
        if not isinstance(kind, str) or not kind or kind in ("CPU", "GPU", "memory"):
            raise errors.OptionError(
                what, "resources", kind, "named by non-empty text, CPU, GPU and memory apart"
            )
        _amount(f"resources[{kind!r}]", amount, what)
        if kind == "TPU" and amount != int(amount):  # cannot be shared
            raise errors.OptionError(what, f"resources[{kind!r}]", amount, "whole")
    return dict(value)


def _whole(name: str, value: Any, what: str) -> int | None:
    least = {"num_returns": 0, "max_concurrency": 1, "max_calls": 0}.get(name, -1)
    if value is None and name in ("max_concurrency", "max_calls"):
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise errors.OptionError(what, name, quoted(value), f"a whole number from {least}")
    if name == "num_returns" and value > RETURNS_MAX:
        raise errors.OptionError(what, name, quoted(value), f"at most {RETURNS_MAX}")
    return value


def _text(name: str, value: Any, what: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise errors.OptionTypeError(what, name, quoted(value), "text")
    if not value:
        raise errors.OptionError(what, name, quoted(value), "at least one letter long")
    return value
