"""``zfut start-node``: the options of a node, checked before anything is started."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .failures import USAGE, CommandError
from .options import SETTINGS, Size, by, pair, seconds, size, size_text

if TYPE_CHECKING:
    from zfut.actors.start import NodePlan
    from zfut.config import Config

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_TAKEN = ("auto", "local")

LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class Wanted:
    """What the options say; None is what nothing was said of."""

    num_cpus: float | None
    num_gpus: float
    memory: Size | None
    object_store_memory: Size | None
    resource: tuple[tuple[str, str], ...]
    name: str | None
    ready_file: str | None
    grace_period: float | None
    log_level: str
    config: tuple[tuple[str, str], ...]


@click.command(
    "start-node", context_settings=SETTINGS, short_help="Run a node in the foreground."
)
@click.option("--num-cpus", type=float, metavar="N", help="Default: what this process may use.")
@click.option("--num-gpus", type=float, metavar="N", default=0, help="Default: 0.")
@click.option(
    "--memory", metavar="SIZE", callback=by(size), help="For demands of tasks. Default: 100%."
)
@click.option(
    "--object-store-memory",
    metavar="SIZE",
    callback=by(size),
    help="Room for large values. Default: 30%.",
)
@click.option(
    "--resource",
    multiple=True,
    metavar="NAME=N",
    callback=by(pair),
    help="A resource of your own; repeat for more.",
)
@click.option("--name", metavar="NAME", help="Another name for ZFUT_ADDRESS and --session.")
@click.option("--ready-file", metavar="PATH", help="Holds the session's id while it serves.")
@click.option(
    "--grace-period",
    metavar="TIME",
    callback=by(seconds),
    help="When told to stop, what runs may go on for this long. Default: 15s.",
)
@click.option("--log-level", type=click.Choice(LEVELS), default="info", help="For node.log.")
@click.option(
    "--config",
    multiple=True,
    metavar="NAME=VALUE",
    callback=by(pair),
    allow_from_autoenv=False,
    help="Any other limit (zfut.config.Config); repeat for more.",
)
@click.pass_context
def command(ctx: click.Context, /, **given: object) -> None:
    """Run a node in the foreground, for this user's programs on this machine.

    It prints how to use it, and `ready.`. Ctrl-C or SIGTERM drains it: programs get nothing
    new, and what runs may end first, for at most the grace period. A second signal stops it at
    once.

    SIZE is 2GiB, 500MB, or 50% of the memory this process may use; TIME is 15s, 500ms, 2m.
    """
    from .foreground import Foreground  # noqa: PLC0415  not for the help page

    wanted = Wanted(**given)  # type: ignore[arg-type]  # the options above
    ready_file = _ready_file(wanted.ready_file)
    _check_name(wanted.name)
    resources = _resources(wanted)
    config = _config(wanted)

    def plan() -> NodePlan:
        return _plan(wanted, resources, config)

    ctx.exit(Foreground(plan, ready_file).run())


def _ready_file(path: str | None) -> Path | None:
    if path is None:
        return None
    file = Path(path).absolute()
    if file.is_dir() or not os.access(file.parent, os.W_OK | os.X_OK):
        message = f"--ready-file {path}: no file can be written there. Name one that can be."
        raise click.UsageError(message)
    return file


def _check_name(name: str | None) -> None:
    if name is None:
        return
    if not _NAME.fullmatch(name) or name in _TAKEN or re.fullmatch(r"[0-9a-f]{1,8}", name):
        message = (
            f"--name {name}: a name has letters, digits, '.', '_' and '-', begins with a "
            "letter, and is neither 'auto' nor 'local' nor like an id."
        )
        raise click.UsageError(message)
    from . import sessions  # noqa: PLC0415  not for the help page

    if any(session.file.name == name for session in sessions.running()):
        text = f"a session named {name!r} runs already. Choose another name, or stop that one"
        raise CommandError(text, USAGE)


def _resources(given: Wanted) -> dict[str, float]:
    """Return what the node has, checked as demands are. Raises UsageError."""
    from zfut.actors import start  # noqa: PLC0415
    from zfut.options import Options, merge  # noqa: PLC0415

    whole = start.memory_available()
    wanted: dict[str, Any] = {
        "num_gpus": given.num_gpus,
        "memory": given.memory.of(whole) if given.memory else int(whole),
        "resources": {name: _amount(name, text) for name, text in given.resource},
    }
    if given.num_cpus is not None:
        wanted["num_cpus"] = given.num_cpus
    checked = merge(Options(), wanted, (*wanted, "num_cpus"), "zfut start-node")
    cpus = start.cpus_available() if checked.num_cpus is None else checked.num_cpus
    total = {"CPU": float(cpus), "GPU": checked.num_gpus, "memory": checked.memory}
    total.update(checked.resources)
    return {kind: amount for kind, amount in total.items() if amount}


def _amount(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        message = f"--resource {name}={text}: the amount is no number."
        raise click.UsageError(message) from None


def _config(given: Wanted) -> Config:
    """Return the limits of the session. Raises UsageError."""
    from zfut import config  # noqa: PLC0415

    limits: dict[str, object] = dict(given.config)
    if given.object_store_memory is not None:
        limits["object_store_memory"] = _store_bytes(given.object_store_memory)
    if given.grace_period is not None:
        limits["drain_grace_ns"] = int(given.grace_period * 1e9)
    return config.load(**limits)


def _store_bytes(wanted: Size) -> int:
    from zfut.actors import start  # noqa: PLC0415

    whole = start.memory_available()
    size_bytes = wanted.of(whole)
    if size_bytes > whole:
        message = (
            f"--object-store-memory of {size_text(size_bytes)}: this machine or control group "
            f"has {size_text(whole)}. Ask for less; 30% is the default."
        )
        raise click.UsageError(message)
    return size_bytes


def _plan(given: Wanted, resources: dict[str, float], config: Config) -> NodePlan:
    import msgspec  # noqa: PLC0415

    from zfut.actors import start  # noqa: PLC0415

    # Functions that programs name by their module are looked for where the node was started.
    sys_path = [str(Path.cwd()), *(entry for entry in sys.path if entry)]
    plan = start.make_plan(resources, config, embedded=False, sys_path=sys_path)
    return msgspec.structs.replace(
        plan,
        name=given.name or "",
        log_level=given.log_level.upper(),
        preload=[*plan.preload, "numpy"],
    )
