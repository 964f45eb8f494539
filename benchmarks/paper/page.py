"""Writes what a run showed: a table and the verdicts of each experiment, and the picture.

The page's prose is written by hand; between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->`` stands
what was measured. An experiment that was not run keeps what the page has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from benchmarks.paper import recovery
from benchmarks.paper.experiment import Experiment, Must
from benchmarks.paper.plot import Line, Panel, Picture
from benchmarks.results import Results

PICTURE = "pictures/recovery.svg"
COLOURS = {"undisturbed": "#4878cf", "killed": "#d65f5f", "lost": "#b47cc7"}
LABELS = {
    "undisturbed": "undisturbed",
    "killed": "all workers killed at half time",
    "lost": "killed, and the newest stored value lost",
}
_WORDS = {True: "met", False: "**missed**", None: "not measured"}


def markdown(experiment: Experiment, results: Results) -> str:
    """What stands between the markers of one experiment."""
    verdicts = [["must", "shown", ""], ["---"] * 3]
    verdicts += [
        [must.text, must.shown, _WORDS[must.met]] for must in experiment.musts(results)
    ]
    head, *rows = experiment.table(results)
    parts = [
        _about(experiment, results),
        _table([head, ["---"] * len(head), *rows]),
        _table(verdicts),
    ]
    return "\n\n".join(parts)


def missed(experiments: Iterable[Experiment], results: Results) -> list[Must]:
    """What did not hold."""
    found = [must for each in experiments for must in each.musts(results)]
    return [must for must in found if must.met is False]


def write(page: Path, experiments: Iterable[Experiment], results: Results) -> None:
    """Put the tables between their markers in the page, and the picture beside it.

    Raises LookupError, and leaves the page as it is, if a pair of markers is not there.
    """
    text = page.read_text()
    for experiment in experiments:
        text = _between(text, experiment.name, markdown(experiment, results))
    page.write_text(text)
    drawn = picture(results)
    if drawn is not None:
        (page.parent / PICTURE).parent.mkdir(exist_ok=True)
        (page.parent / PICTURE).write_text(drawn.svg())


def picture(results: Results) -> Picture | None:
    """Links done over time: a row for each size of values, a column for each delay."""
    lines = results.about.get(recovery.LINES)
    if not lines:
        return None
    rows = [
        [_panel(size, delay_ms, lines, results) for delay_ms in recovery.DELAYS_MS]
        for size in recovery.SIZES
    ]
    title = "A chain of dependent tasks, its workers killed at half time"
    return Picture(title, "seconds since the first submission", "newest link done", rows)


def _panel(
    size: str, delay_ms: int, lines: dict[str, list[tuple[float, int]]], results: Results
) -> Panel:
    what = "an int each" if size == "small" else "10 MiB each"
    panel = Panel(f"{delay_ms} ms a link, {what}")
    for variant in recovery.VARIANTS[size]:
        case = recovery.Chain(size, delay_ms, variant).case
        if case not in lines:
            continue
        points = [(float(at), float(number)) for at, number in lines[case]]
        panel.lines.append(Line(LABELS[variant], COLOURS[variant], points))
        at_s = results.about.get(recovery.KILLED, {}).get(case)
        if at_s is not None:
            panel.marks.append((at_s, COLOURS[variant]))
    return panel


def _between(text: str, name: str, new: str) -> str:
    pattern = re.compile(f"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
    text, times = pattern.subn(lambda found: f"{found[1]}{new}\n{found[2]}", text)
    if times != 1:
        raise LookupError(
            f"the page has {times} places <!-- {name}:begin --> ... :end -->, not 1"
        )
    return text


def _about(experiment: Experiment, results: Results) -> str:
    about = results.about
    machine = about.get("machine", {})
    of_this = [sample for sample in results.samples if sample.workload == experiment.name]
    trials = len({sample.repeat for sample in of_this})
    words = [
        f"{machine.get('cpu', '?')}, {machine.get('cores', '?')} cores",
        f"load {machine.get('load_1min', '?')} at the start",
        str(about.get("date", "")),
        f"{trials} trial{'' if trials == 1 else 's'}: medians, and the ends in brackets",
    ]
    scale = about.get("scale", 1)
    if scale != 1:
        words.append(f"**scaled by {scale:g}: not for quoting**")
    return "; ".join(words) + "."


def _table(rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
