"""Prints docs/guides/errors.md: ``python -m zfut.errors_page > docs/guides/errors.md``.

What an error means is its docstring, what to do about it its advice; which errors this version
can raise is read from the code.  What stands here is only how to read the page.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from zfut.causes import ZfutError
from zfut.errors import ActorDiedError, ReconstructionFailedError

PACKAGE = Path(__file__).parent

DEFINED_IN = ("causes.py", "errors.py", "losses.py", "mistakes.py", "misuse.py")
"""Where errors are named without being raised."""

ALWAYS = (ZfutError, Exception, BaseException, object)
"""What catches every error, and is not said of each."""

INTRODUCTION = """\
# Errors

This page is printed by `python -m zfut.errors_page`. All errors are in `zfut.errors`.

An error's text says what happened, to which thing and why, and then what to do next. Every
error is a `ZfutError`. Many are also an error of Python's own, so `except TimeoutError` or
`except MemoryError` works without importing anything. Every error can be pickled.

## Errors of your own code

When a task raises a `ValueError`, `get` raises an error that is both a `ValueError` and a
`TaskError`. Catch whichever you like. `cause` is the original exception, `remote_traceback`
shows where it was raised, without zfut's own frames.

```python
try:
    zfut.get(f.remote(-1))
except ValueError as error:
    print(error.cause, error.task_name)
```

If an argument of a task failed, the task never runs, and its `get` raises the argument's error.
The text names every task on the way; its last line is the root cause.

`get` of several references raises the first error at once and does not wait for the others.

## All errors
"""


def page() -> str:
    """Return the whole page."""
    raised = raised_names()
    parts = [INTRODUCTION, f"```text\n{chr(10).join(tree(ZfutError))}\n```\n"]
    parts += [section(cls, raised) for _, cls in sorted(ZfutError.by_name.items())]
    return "\n".join(parts)


def tree(cls: type[ZfutError], depth: int = 0) -> Iterator[str]:
    """Yield the lines of the tree under a class."""
    also = ", ".join(python_bases(cls))
    yield "    " * depth + cls.__name__ + (f"  ({also})" if also else "")
    for child in sorted(children(cls), key=lambda each: each.__name__):
        yield from tree(child, depth + 1)


def children(cls: type[ZfutError]) -> list[type[ZfutError]]:
    """Return the errors of zfut whose first base is this class."""
    return [each for each in ZfutError.by_name.values() if each.__bases__[0] is cls]


def python_bases(cls: type[ZfutError]) -> list[str]:
    """Return the errors of Python that ``except`` catches this class by."""
    names = [base.__name__ for base in cls.__bases__ if not issubclass(base, ZfutError)]
    return [name for name in names if name != "Exception"]


def section(cls: type[ZfutError], raised: dict[str, None]) -> str:
    """Return what there is to say of one error."""
    doc = re.sub(r"``(.+?)``", r"`\1`", inspect.cleandoc(cls.__doc__ or "")).replace(
        ".  ", ". "
    )
    lines = [f"### {cls.__name__}\n", f"{doc}\n"]
    caught = [f"`{base.__name__}`" for base in cls.__mro__[1:] if base not in ALWAYS]
    if caught:
        lines.append(f"Also caught by: {', '.join(caught)}.\n")
    fields = list(inspect.signature(cls).parameters)
    lines.append(f"Fields: {', '.join(f'`{name}`' for name in fields)}.\n")
    if cls.advice and not told_by_reason(cls):
        lines.append(f"What to do: {cls.advice}\n")
    lines += told_by_reason(cls)
    if cls.__name__ not in raised:
        below = [child.__name__ for child in children(cls)]
        what = f"Only the errors below it are raised: {', '.join(below)}."
        lines.append(f"{what if below else 'This version has nothing that raises it.'}\n")
    return "\n".join(lines)


def told_by_reason(cls: type[ZfutError]) -> list[str]:
    """Return the table of an error that has several reasons."""
    if cls is ActorDiedError:
        rows = [f"| {why} | {what} | {do} |" for why, (what, do) in cls.ENDINGS.items()]
        return ["| `reason` | the actor | what to do |\n|---|---|---|", *rows, ""]
    if cls is ReconstructionFailedError:
        rows = [f"| {why} | {do} |" for why, do in cls.REASONS.items()]
        return ["| `reason` | what to do |\n|---|---|", *rows, ""]
    return []


def raised_names() -> dict[str, None]:
    """Return the errors that the code of this version names where it could raise them."""
    found: dict[str, None] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        if inside.parts[0] == "sim" or inside.name in (*DEFINED_IN, Path(__file__).name):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(attr=name) | ast.Name(id=name) | ast.Constant(value=name):
                    if isinstance(name, str) and name in ZfutError.by_name:
                        found[name] = None
                case _:
                    continue
    return found


def main() -> None:
    """Print the page."""
    sys.stdout.write(page())


if __name__ == "__main__":
    main()
