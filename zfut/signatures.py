"""Argument checks at the call: a wrong call fails where it is written, not in a worker.

A signature is reduced to what a call can violate, so that the common check (right number of
positional arguments, no keywords) is two comparisons.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


class Checker:
    """Checks one function's calls. Raises TypeError as the interpreter would."""

    __slots__ = ("_keywords", "_known", "_most", "_needed", "_open", "name", "names", "shape")

    def __init__(  # noqa: PLR0913, PLR0917  a shape that is sent as a tuple
        self,
        name: str,
        needed: int,
        most: int,
        names: tuple[str, ...] | list[str],
        open_kwargs: bool = False,  # noqa: FBT001, FBT002  sent as a plain tuple
        keywords: dict[str, bool] | None = None,
    ) -> None:
        self.name = name
        self._needed = needed
        self._most = most
        self.names = tuple(names)
        self._open = open_kwargs
        self._keywords = keywords or {}
        self._known = any(self._keywords.values())
        self.shape = (needed, most, self.names, open_kwargs, self._keywords)

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        count = len(args)
        enough = count >= self._needed and (count <= self._most or self._most < 0)
        if enough and not kwargs and not self._known:
            return
        self._check(count, kwargs)

    def _check(self, count: int, kwargs: dict[str, Any]) -> None:  # noqa: C901  one rule after the other
        if 0 <= self._most < count:
            self._fail(f"takes {self._most} positional arguments but {count} were given")
        for index, name in enumerate(self.names):
            if name in kwargs:
                if index < count:
                    self._fail(f"got multiple values for argument {name!r}")
            elif count <= index < self._needed:
                self._fail(f"missing a required argument: {name!r}")
        if len(self.names) < self._needed and count < self._needed:
            self._fail(f"missing {self._needed - count} required positional arguments")
        for name, required in self._keywords.items():
            if required and name not in kwargs:
                self._fail(f"missing a required keyword-only argument: {name!r}")
        if self._open:
            return
        for name in kwargs:
            if name not in self.names and name not in self._keywords:
                self._fail(f"got an unexpected keyword argument {name!r}")

    def _fail(self, why: str) -> None:
        message = f"{self.name}() {why}"
        raise TypeError(message)


def checker_of(function: Callable[..., Any], name: str, *, skip_first: bool) -> Checker:
    """Read a signature; ``skip_first`` leaves out self."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return Checker(name, 0, -1, (), open_kwargs=True)
    if function is object.__init__:
        return Checker(name, 0, 0, ())
    if skip_first:
        parameters = (
            parameters[1:] if parameters and parameters[0].kind != _STAR else parameters
        )
    needed, most, names = 0, 0, []
    keywords: dict[str, bool] = {}
    open_kwargs = False
    for parameter in parameters:
        required = parameter.default is inspect.Parameter.empty
        match parameter.kind:
            case inspect.Parameter.POSITIONAL_ONLY | inspect.Parameter.POSITIONAL_OR_KEYWORD:
                most += 1
                needed = most if required else needed
                names.append(parameter.name)
            case inspect.Parameter.VAR_POSITIONAL:
                most = -(10**9)
            case inspect.Parameter.KEYWORD_ONLY:
                keywords[parameter.name] = required
            case inspect.Parameter.VAR_KEYWORD:
                open_kwargs = True
    return Checker(name, needed, max(most, -1), names, open_kwargs, keywords)


def has_coroutines(cls: type) -> bool:
    """Whether a class has any coroutine method: its actors run an event loop."""
    return any(
        inspect.iscoroutinefunction(inspect.getattr_static(cls, name, None))
        for name in dir(cls)
        if not name.startswith("__")
    )


_STAR = inspect.Parameter.VAR_POSITIONAL
