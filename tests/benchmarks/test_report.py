"""The benchmark's tables: medians, ratios within a repeat, budgets, what is said of gaps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import machine, picture, report
from benchmarks.model import BARE, RUNNERS, ZFUT, Against, Better, Budget, Metric, Workload
from benchmarks.results import Note, Results, Sample
from benchmarks.runners.main import STARTED, UNSTARTED
from benchmarks.verdicts import judge, judge_all
from benchmarks.workloads import WORKLOADS

LATENCY = WORKLOADS["task_latency"]


def results_of(workload: str, metric: str, **values: list[float | None]) -> Results:
    """Samples of one metric: for each runner, one value (or none) for each repeat."""
    results = Results()
    for runner, repeats in values.items():
        for repeat, value in enumerate(repeats):
            if value is not None:
                sample = Sample(workload, runner, repeat, metric, value, "us")
                results.samples.append(sample)
    return results


def row_of(page: str, title: str) -> list[str]:
    """The cells of the first table row that begins with this title."""
    line = next(line for line in page.splitlines() if line.startswith(f"| {title}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def lines_after(page: str, heading: str) -> list[str]:
    return page.partition(heading)[2].strip().splitlines()


def test_a_ratio_pairs_the_repeats_and_takes_their_median() -> None:
    """The machine got three times slower in the last repeat: no ratio saw it."""
    results = results_of("task_latency", "p50", zfut=[10, 10, 30], bare=[5, 5, 15])
    assert results.ratio(ZFUT, "task_latency", "p50", Against(BARE)) == 2


def test_a_repeat_that_one_side_lacks_counts_for_neither() -> None:
    results = results_of("task_latency", "p50", zfut=[10, 99, 12], bare=[10, None, 4])
    assert results.ratio(ZFUT, "task_latency", "p50", Against(BARE)) == 2


def test_no_common_repeat_or_a_zero_beside_us_is_no_ratio() -> None:
    results = results_of("idle", "cpu", zfut=[0.1, None], ray=[None, 2], futures=[0, 0])
    assert results.ratio(ZFUT, "idle", "cpu", Against("ray")) is None
    assert results.ratio(ZFUT, "idle", "cpu", Against("futures")) is None


def test_the_spread_is_over_repeats_and_several_samples_of_one_are_their_median() -> None:
    results = results_of("task_latency", "p50", zfut=[1, 3, 20])
    results.samples.append(Sample("task_latency", ZFUT, 2, "p50", 4, "us"))
    spread = results.spread(ZFUT, "task_latency", "p50")
    assert spread is not None
    assert (spread.median, spread.low, spread.high) == (3, 1, 12)


@pytest.mark.parametrize(
    ("better", "value", "met"),
    [
        ("lower", 9, True),
        ("lower", 10, True),
        ("lower", 11, False),
        ("higher", 9, False),
        ("higher", 10, True),
        ("higher", 11, True),
    ],
)
def test_a_budget_holds_the_figure_against_its_bound(
    better: Better, value: float, *, met: bool
) -> None:
    workload = Workload("w", "w", (Metric("m", "us", better),), 1, 1)
    verdict = judge(results_of("w", "m", zfut=[value]), workload, Budget("m", 10, "10"))
    assert verdict.met is met
    assert verdict.shown == value


@pytest.mark.parametrize(("bare", "met"), [(40, True), (39, False)])
def test_a_factor_on_the_bare_loop(bare: float, *, met: bool) -> None:
    results = results_of("task_latency", "p50", zfut=[100], bare=[bare])
    assert judge(results, LATENCY, LATENCY.budgets[0]).met is met


@pytest.mark.parametrize(("ray", "met"), [(601, True), (599, False)])
def test_a_factor_on_a_peer_that_must_be_slower(ray: float, *, met: bool) -> None:
    results = results_of("task_latency", "p50", zfut=[100], ray=[ray])
    assert judge(results, LATENCY, LATENCY.budgets[1]).met is met


def test_a_budget_against_another_workload_of_our_own() -> None:
    results = results_of("million", "rate", zfut=[60_000])
    results.samples += results_of("tasks_pipelined", "rate", zfut=[100_000]).samples
    million = WORKLOADS["million"]
    budget = next(budget for budget in million.budgets if budget.against)
    verdict = judge(results, million, budget)
    assert verdict.shown == pytest.approx(0.6)
    assert verdict.met is False


def test_without_the_other_side_a_budget_is_neither_met_nor_missed() -> None:
    results = results_of("task_latency", "p50", zfut=[100])
    assert {verdict.met for verdict in judge_all(results)} == {None}


def test_a_row_compares_with_the_floor_and_with_each_peer() -> None:
    results = results_of(
        "task_latency", "p50", zfut=[90, 100, 110], bare=[50] * 3, ray=[1_000] * 3
    )
    title, ours, bare, ray, must = row_of(report.markdown(results), "task, one at a time: p50")
    assert title == "task, one at a time: p50"
    assert ours == "**100 us** [90 us … 110 us]"
    assert bare == "50 us (2x)"
    assert ray == "1 ms (10x)"
    assert must == "met (1 of 3 not measured)"


def test_a_rate_beside_a_peer_is_better_when_it_is_higher() -> None:
    results = results_of("tasks_pipelined", "rate", zfut=[80_000], ray=[4_000], bare=[160_000])
    row = row_of(report.markdown(results), "10,000 tasks")
    assert row[1:4] == ["**80,000/s**", "160,000/s (2x)", "4,000/s (20x)"]


def test_a_missed_must_is_named_with_what_was_shown() -> None:
    results = results_of("task_latency", "p50", zfut=[300], bare=[100], ray=[900])
    page = report.markdown(results)
    assert row_of(page, "task, one at a time: p50")[-1] == (
        "missed: ≤ 2.5x the bare echo, ≥ 6x faster than ray"
    )
    said = "\n".join(lines_after(page, "## Budgets"))
    assert "*must*: 0 met, 2 missed, 1 not measured." in said
    assert "(≤ 2.5x the bare echo: 3x)" in said
    assert "(≥ 6x faster than ray: 3x faster)" in said


def test_what_was_not_measured_is_a_dash_and_its_reason_stands_below() -> None:
    results = results_of("task_latency", "p50", zfut=[100], ray=[900])
    results.samples += results_of("chain", "link", zfut=[100]).samples
    reason = "takes minutes"
    results.notes = [Note(name, "ray", "cannot", reason) for name in ("chain", "million")]
    results.notes.append(Note("idle", "dask", "failed", "exit 1: boom"))
    page = report.markdown(results)
    assert row_of(page, "chain of 1,000")[2] == report.DASH
    assert lines_after(page, "## Without a figure") == [
        "- ray (chain, million): takes minutes",
        "- dask (idle): failed: exit 1: boom",
    ]


def test_the_rows_stand_in_the_catalogue_s_order_whatever_was_measured_first() -> None:
    results = results_of("idle", "pss", zfut=[50])
    results.notes = [Note("million", "ray", "cannot", "takes minutes")]
    results.samples += results_of("chain", "link", zfut=[100]).samples
    page = report.markdown(results)
    starts = [page.index(f"| {title}") for title in ("chain", "1,000,000 tasks", "idle")]
    assert starts == sorted(starts)


def test_a_quick_run_says_so() -> None:
    results = results_of("task_latency", "p50", zfut=[100])
    assert "quick run" not in report.markdown(results)
    results.about["quick"] = True
    assert "quick run" in report.markdown(results)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (35.21, "us", "35.2 us"),
        (10_640, "us", "10.6 ms"),
        (1_169, "ms", "1.17 s"),
        (432_345, "/s", "432,000/s"),
        (0.0000012, "s", "0 s"),
        (3, "count", "3"),
    ],
)
def test_quantities_read_well(value: float, unit: str, text: str) -> None:
    assert report.quantity(value, unit) == text


def test_the_json_file_holds_everything(tmp_path: Path) -> None:
    results = results_of("task_latency", "p50", zfut=[1, 2], ray=[3])
    results.about = {"repeats": 2, "machine": {"cores": 2}}
    results.notes = [Note("chain", "ray", "failed", "exit 1")]
    results.write(tmp_path / "micro.json")
    assert Results.read(tmp_path / "micro.json") == results


def test_every_workload_is_whole() -> None:
    """Each can be run, and each budget speaks of metrics and runners that exist."""
    assert set(WORKLOADS) == set(STARTED) | set(UNSTARTED)
    for workload in WORKLOADS.values():
        for budget in workload.budgets:
            assert workload.metric(budget.metric)
            if budget.against:
                assert budget.against.runner in RUNNERS
                other = WORKLOADS[budget.against.workload or workload.name]
                assert other.metric(budget.against.metric or budget.metric)


def test_without_matplotlib_only_the_picture_is_missing_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    results = results_of("task_latency", "p50", zfut=[100], ray=[900])
    assert report.write(results, tmp_path) == picture.NO_PICTURE
    assert [path.name for path in tmp_path.iterdir()] == ["micro.md"]


def test_a_run_measures_in_turn_and_writes_its_files(tmp_path: Path) -> None:
    """The whole command, on what is quickest: the process pool's start and stop."""
    command = [sys.executable, "-m", "benchmarks.micro", "--quick", "--repeats", "2"]
    options = ["--only", "start_stop", "--peers", "futures", "--out", str(tmp_path)]
    done = subprocess.run(  # noqa: S603 - our own module
        command + options,
        cwd=machine.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    held = json.loads((tmp_path / "micro.json").read_text())
    shown = {(s["repeat"], s["metric"]) for s in held["samples"] if s["runner"] == "futures"}
    assert shown == {(0, "start"), (0, "stop"), (1, "start"), (1, "stop")}, done.stderr
    assert (tmp_path / "micro.md").read_text() == done.stdout
    assert not [note for note in held["notes"] if note["kind"] == "left behind"]
