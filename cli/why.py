"""``zfut why``: the chain of causes for which something is pending."""

from __future__ import annotations

import click

from .failures import NOT_FOUND, CommandError
from .options import SETTINGS


@click.command("why", context_settings=SETTINGS, short_help="Show why a result is pending.")
@click.argument("name", metavar="ID")
@click.option(
    "--address",
    metavar="ID",
    help="Id, beginning of an id, name, or directory. Default: the newest node, or session.",
)
def command(name: str, address: str | None) -> None:
    """Follow the causes of a pending object from process to process, a line each.

    ID is what an error, a log line or `zfut memory` calls the object: 8 digits, or the beginning
    of the whole id.
    """
    from zfut.explain import explain  # noqa: PLC0415

    from .asking import Asking  # noqa: PLC0415  imports ZeroMQ
    from .status import find  # noqa: PLC0415

    with Asking(find(address)) as asking:
        found = asking.objects(name.lower())
        if not found:
            text = f"no process knows an object {name!r}. `zfut memory` lists them all"
            if asking.silent:
                text += f"; these did not answer: {', '.join(asking.silent)}"
            raise CommandError(text, NOT_FOUND)
        if len(found) > 1:
            ids = ", ".join(sorted(found)[:5])
            raise CommandError(f"{name!r} may mean {ids}. Write more of it", NOT_FOUND)
        click.echo(explain(asking.session, bytes.fromhex(found.pop())))
