"""The command line: which experiments, how often, how large, and where what they show goes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from benchmarks import machine
from benchmarks.paper import borrowing, drops, latency, nested, page, recovery
from benchmarks.paper.experiment import Experiment, Trial
from benchmarks.results import Results

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (borrowing, latency, nested, drops, recovery)
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(EXPERIMENTS)), metavar="[NAME]...")
@click.option("--trials", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--scale",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="How much of each experiment's size.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("outputs/benchmarks/paper.json"),
    show_default=True,
    help="Where the samples go, as JSON.",
)
@click.option(
    "--page",
    "to_page",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Write the tables between the page's markers, and the picture beside it.",
)
@click.option(
    "--again",
    is_flag=True,
    help="Measure nothing: show what --out holds.",
)
def main(  # noqa: PLR0913  one for each option
    *,
    names: tuple[str, ...],
    trials: int,
    scale: float,
    out: Path,
    to_page: Path | None,
    again: bool,
) -> None:
    """Run the paper's experiments: NAME of borrowing, latency, nested, drops, recovery; default all.

    Exit code 1 if something that must hold did not.
    """
    chosen = [EXPERIMENTS[name] for name in names or EXPERIMENTS]
    results = Results.read(out) if again else run(chosen, trials, scale, out)
    for experiment in chosen:
        click.echo(f"\n## {experiment.title}\n\n{page.markdown(experiment, results)}")
    if to_page is not None:
        page.write(to_page, chosen, results)
    if page.missed(chosen, results):
        raise SystemExit(1)


def run(chosen: list[Experiment], trials: int, scale: float, out: Path) -> Results:
    """Run all experiments once, then all again; write the samples after each."""
    results = Results()
    results.about = {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "scale": scale,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    for repeat in range(trials):
        for experiment in chosen:
            click.echo(f"{experiment.name} {repeat + 1}/{trials}", err=True)
            experiment.measure(Trial(experiment.name, repeat, scale, results))
            results.write(out)
    return results


if __name__ == "__main__":
    main()
