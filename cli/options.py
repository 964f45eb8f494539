"""What options are made of: sizes, times, pairs; and the settings all commands share.

Every option is also a variable of the environment: ``--num-cpus`` is ``ZFUT_NUM_CPUS``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

SETTINGS: dict[str, Any] = {
    "auto_envvar_prefix": "ZFUT",
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}

_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", 1):
    _UNITS[_letter] = _UNITS[_letter + "ib"] = 1024**_power
    _UNITS[_letter + "b"] = 1000**_power

_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

_NUMBER = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z%]*)\s*")


class Size:
    """A number of bytes, or a part of something that is not known yet."""

    def __init__(self, size_bytes: int = 0, percent: float = 0.0) -> None:
        self._size_bytes = size_bytes
        self._percent = percent

    def of(self, whole_bytes: float) -> int:
        """Return the number of bytes."""
        return self._size_bytes or int(whole_bytes * self._percent / 100)


def size(text: str) -> Size:
    """Read 2GiB, 500MB, 1073741824, or 50%. Raises BadParameter."""
    found = _NUMBER.fullmatch(text)
    unit = found[2].lower() if found else "?"
    if found and unit == "%" and 0 < float(found[1]) <= 100:  # noqa: PLR2004  percent
        return Size(percent=float(found[1]))
    if found and unit in _UNITS and float(found[1]) * _UNITS[unit] >= 1:
        return Size(size_bytes=int(float(found[1]) * _UNITS[unit]))
    message = f"{text!r} is no size. Write 2GiB, 500MB, a number of bytes, or 50%."
    raise click.BadParameter(message)


def seconds(text: str) -> float:
    """Read 15s, 500ms, 2m, 1h, or a number of seconds. Raises BadParameter."""
    found = _NUMBER.fullmatch(text)
    if found and found[2].lower() in _SECONDS:
        return float(found[1]) * _SECONDS[found[2].lower()]
    message = f"{text!r} is no time. Write 15s, 500ms, 2m, 1h, or a number of seconds."
    raise click.BadParameter(message)


def pair(text: str) -> tuple[str, str]:
    """Split NAME=VALUE. Raises BadParameter."""
    name, _, value = text.partition("=")
    if not (name.strip() and value.strip()):
        message = f"{text!r} is no pair. Write NAME=VALUE."
        raise click.BadParameter(message)
    return name.strip(), value.strip()


def by(read: Callable[[str], object]) -> Callable[..., Any]:
    """Return the callback of an option whose text, or texts, ``read`` reads."""

    def convert(ctx: click.Context, param: click.Parameter, given: object) -> object:
        del ctx, param
        if given is None:
            return None
        if isinstance(given, tuple):
            return tuple(read(text) for text in given)
        return read(str(given))

    return convert


def size_text(size_bytes: float) -> str:
    """Write a number of bytes for a person: three digits and a unit."""
    amount, unit = float(size_bytes), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if abs(amount) < 1000:  # noqa: PLR2004  digits
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.3g} {unit}"


def amount_text(kind: str, amount: float) -> str:
    """Write an amount of a resource."""
    return size_text(amount) if kind == "memory" else f"{amount:g}"
