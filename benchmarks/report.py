"""Writes what a run showed: a Markdown page with tables and ratios, and the picture.

    python -m benchmarks.report outputs/benchmarks/micro.json

A cell says what a system showed and how zfut compares: beside a peer, how many times better
zfut is; beside the bare loop, how many times the floor zfut costs. A dash is no figure.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.model import BARE, RUNNERS, ZFUT, Against, Metric, Workload
from benchmarks.picture import draw
from benchmarks.results import Note, Results
from benchmarks.verdicts import Verdict, judge_all

DASH = "\N{EN DASH}"
_LEGEND = (
    "Medians over the repeats, in brackets the lowest and highest. Beside a peer's figure: "
    "how many times better zfut is. Beside the bare loop's: how many times the floor zfut "
    "costs. Ratios are medians of the ratios within each repeat."
)
_US_PER_MS, _MS_PER_S = 1e3, 1e3
_MANY = 1e3
_SMALL = 1e-3


def quantity(value: float, unit: str) -> str:
    """A value and its unit, to three digits, in the unit that reads best."""
    if unit == "us" and value >= _US_PER_MS:
        value, unit = value / _US_PER_MS, "ms"
    if unit == "ms" and value >= _MS_PER_S:
        value, unit = value / _MS_PER_S, "s"
    if unit in ("count", "of 1"):
        return number(value)
    joined = unit in ("/s", "%", "x")
    return number(value) + ("" if joined else " ") + unit


def number(value: float) -> str:
    """Three digits, thousands separated."""
    if abs(value) >= _MANY:
        digits = len(str(int(abs(value)))) - 3
        return f"{round(value, -digits):,.0f}"
    return "0" if abs(value) < _SMALL else f"{value:.3g}"


def times_better(
    results: Results, workload: Workload, metric: Metric, peer: str
) -> float | None:
    """How many times better zfut is than that peer."""
    ratio = results.ratio(ZFUT, workload.name, metric.name, Against(peer))
    if not ratio:
        return None
    return 1 / ratio if metric.better == "lower" else ratio


def markdown(results: Results) -> str:
    """The whole page."""
    verdicts = judge_all(results)
    missed = sum(v.met is False and v.budget.level == "must" for v in verdicts)
    parts = [
        "# zfut micro benchmark",
        _about(results),
        _LEGEND,
        _figures_table(results, verdicts),
        "## Budgets",
        f"{_said(verdicts, 'must')} {_said(verdicts, 'aim')}",
        _budgets_table(verdicts) if verdicts else "",
    ]
    if missed:
        parts.insert(-1, "Missed: " + "; ".join(_missed(verdicts)) + ".")
    if results.notes:
        parts += ["## Without a figure", _notes(results.notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def write(results: Results, directory: Path) -> str | None:
    """Write page and picture beside the JSON; why there is no picture, if there is none."""
    (directory / "micro.md").write_text(markdown(results))
    return draw(results, times_better, directory / "micro.png")


def _about(results: Results) -> str:
    about = results.about
    machine, versions = about.get("machine", {}), about.get("versions", {})
    peers = about.get("peer_versions", {})
    names = {**peers, **{name: text for name, text in versions.items() if text}}
    where = [f"{machine.get('cpu', '?')}, {machine.get('cores', '?')} cores"]
    where.append(f"Linux {machine.get('kernel', '?')}")
    where.append(f"load {machine.get('load_1min', '?')} to {about.get('load_after', '?')}")
    lines = [
        f"{'; '.join(where)}; {about.get('date', '')}.",
        ", ".join(f"{name} {text}" for name, text in names.items() if text) + ".",
        f"{about.get('repeats', '?')} repeats, interleaved; two workers.",
    ]
    if about.get("quick"):
        lines.append("**A quick run: small counts, figures not for quoting.**")
    return "  \n".join(lines)


def _figures_table(results: Results, verdicts: list[Verdict]) -> str:
    shown = [runner for runner in RUNNERS if runner in results.runners()]
    others = [runner for runner in shown if runner != ZFUT]
    rows = [["workload", ZFUT, *others, "must"], ["---"] * (len(others) + 3)]
    for workload in results.workloads():
        for metric in workload.metrics:
            title = workload.title
            if len(workload.metrics) > 1:
                title += f": {metric.name}"
            cells = [_ours(results, workload, metric)]
            cells += [_other(results, workload, metric, runner) for runner in others]
            verdict = _verdict_of(verdicts, workload, metric)
            if verdict or set(cells) != {DASH}:
                rows.append([title, *cells, verdict])
    return _table(rows)


def _ours(results: Results, workload: Workload, metric: Metric) -> str:
    spread = results.spread(ZFUT, workload.name, metric.name)
    if spread is None:
        return DASH
    text = f"**{quantity(spread.median, metric.unit)}**"
    if spread.low == spread.high:
        return text
    return f"{text} [{number_span(spread.low, spread.high, metric.unit)}]"


def number_span(low: float, high: float, unit: str) -> str:
    """Both ends, as ``quantity`` writes them."""
    return f"{quantity(low, unit)} … {quantity(high, unit)}"


def _other(results: Results, workload: Workload, metric: Metric, runner: str) -> str:
    spread = results.spread(runner, workload.name, metric.name)
    if spread is None:
        return DASH
    text = quantity(spread.median, metric.unit)
    better = times_better(results, workload, metric, runner)
    if better is None:
        return text
    return f"{text} ({number(1 / better if runner == BARE else better)}x)"


def _verdict_of(verdicts: list[Verdict], workload: Workload, metric: Metric) -> str:
    musts = [
        verdict
        for verdict in verdicts
        if verdict.workload is workload
        and verdict.budget.metric == metric.name
        and verdict.budget.level == "must"
    ]
    if not musts:
        return ""
    missed = [verdict for verdict in musts if verdict.met is False]
    if missed:
        return "missed: " + ", ".join(verdict.budget.text for verdict in missed)
    unknown = sum(verdict.met is None for verdict in musts)
    if unknown == len(musts):
        return "not measured"
    return "met" + (f" ({unknown} of {len(musts)} not measured)" if unknown else "")


def _said(verdicts: list[Verdict], level: str) -> str:
    of_level = [verdict for verdict in verdicts if verdict.budget.level == level]
    met, missed = (sum(verdict.met is word for verdict in of_level) for word in (True, False))
    unknown = len(of_level) - met - missed
    return f"*{level}*: {met} met, {missed} missed, {unknown} not measured."


def _missed(verdicts: list[Verdict]) -> list[str]:
    return [
        f"{verdict.workload.title} ({verdict.budget.text}: {_shown(verdict)})"
        for verdict in verdicts
        if verdict.met is False and verdict.budget.level == "must"
    ]


def _budgets_table(verdicts: list[Verdict]) -> str:
    words = {True: "met", False: "missed", None: "not measured"}
    rows = [["workload", "level", "budget", "shown", "verdict"], ["---"] * 5]
    for verdict in verdicts:
        budget = verdict.budget
        cells = [verdict.workload.title, budget.level, budget.text, _shown(verdict)]
        word = words[verdict.met]
        rows.append([*cells, f"**{word}**" if verdict.met is False else word])
    return _table(rows)


def _shown(verdict: Verdict) -> str:
    """The figure in the budget's own terms: a factor is turned so that it reads like it."""
    shown, budget = verdict.shown, verdict.budget
    if shown is None:
        return DASH
    metric = verdict.workload.metric(budget.metric)
    if budget.against is None:
        return quantity(shown, metric.unit)
    a_peer = budget.against.runner not in (BARE, ZFUT)
    if metric.better == "lower" and a_peer and shown > 0:
        return f"{number(1 / shown)}x faster"
    return f"{number(shown)}x"


def _notes(notes: list[Note]) -> str:
    """Each distinct reason once, with the workloads it concerns."""
    concerned: dict[tuple[str, str, str], list[str]] = {}
    for note in notes:
        names = concerned.setdefault((note.runner, note.kind, note.text), [])
        if note.workload and note.workload not in names:
            names.append(note.workload)
    lines = []
    for (runner, kind, text), names in concerned.items():
        where = f" ({', '.join(names)})" if names else ""
        word = "" if kind == "cannot" else f"{kind}: "
        lines.append(f"- {runner}{where}: {word}{text}")
    return "\n".join(lines)


def _table(rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Write the page and the picture again from a run's JSON file."""
    parser = argparse.ArgumentParser(description="Write tables and picture from a JSON file.")
    parser.add_argument("json", type=Path, help="the micro.json of a run")
    path: Path = parser.parse_args().json
    results = Results.read(path)
    no_picture = write(results, path.parent)
    sys.stdout.write(markdown(results))
    if no_picture:
        sys.stderr.write(no_picture + "\n")


if __name__ == "__main__":
    main()
