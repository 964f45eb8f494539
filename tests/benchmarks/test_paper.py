"""The paper's experiments, small: that each shows what it says, and judges it as it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

import zfut
from benchmarks import processes
from benchmarks.paper import borrowing, drops, latency, nested, page, recovery, trial
from benchmarks.paper.__main__ import EXPERIMENTS, main
from benchmarks.paper.experiment import Experiment, Must, Trial
from benchmarks.paper.plot import Line, Panel, Picture
from benchmarks.paper.recovery import Chain, Course
from benchmarks.results import Results, Sample

cluster = pytest.mark.cluster

SVG = "{http://www.w3.org/2000/svg}"
TINY = 0.002
WAIT_S = 10.0
SMALL = Chain("small", 10, "killed")
LARGE = Chain("large", 10, "lost")


def figures(experiment: str, metric: str, **cases: list[float]) -> list[Sample]:
    """One metric: for each case, named with _ for =, one value for each trial."""
    return [
        Sample(experiment, case.replace("_", "="), repeat, metric, value, "")
        for case, values in cases.items()
        for repeat, value in enumerate(values)
    ]


def verdict(musts: list[Must], beginning: str) -> Must:
    return next(must for must in musts if must.text.startswith(beginning))


def measured(experiment: Experiment, scale: float = TINY) -> Results:
    results = Results()
    experiment.measure(Trial(experiment.name, 0, scale, results))
    return results


def shown(results: Results) -> set[tuple[str, str]]:
    assert all(sample.value > -1e-9 for sample in results.samples)
    return {(sample.runner, sample.metric) for sample in results.samples}


# ------------------------------------------------------------------ borrowing


@cluster
def test_borrowing_times_and_counts_each_number_of_borrowers() -> None:
    results = measured(borrowing.EXPERIMENT)
    cases = {case for case, metric in shown(results) if metric == "rate"}
    assert cases == {"b=0", "b=1", "b=2", "b=4"}
    counts = [must for must in borrowing.musts(results) if "registrations" in must.text]
    assert [must.met for must in counts] == [True, True], counts
    assert [row[0] for row in borrowing.table(results)[1:]] == ["0", "1", "2", "4"]


@cluster
@pytest.mark.parametrize("borrowers", [1, 4])
def test_who_keeps_a_reference_is_registered_once_and_no_leaf_is(borrowers: int) -> None:
    kept = borrowing.count(borrowers, 100, keeps=True)
    assert kept.registered == kept.borrowing
    assert 1 <= kept.borrowing <= borrowers
    assert borrowing.count(borrowers, 100, keeps=False).registered == 0


@pytest.mark.parametrize(
    ("one", "two", "four", "met"),
    [
        ([90.0], [90.0], [95.0], [True, True, True]),
        ([89.0], [88.0], [90.0], [False, False, True]),
        ([120.0], [130.0], [129.0], [True, True, False]),
        ([45.0, 95.0, 96.0], [99.0] * 3, [99.0] * 3, [True, True, True]),
    ],
)
def test_borrowing_is_held_against_none_and_against_fewer(
    one: list[float], two: list[float], four: list[float], met: list[bool]
) -> None:
    none = [100.0] * len(one)
    samples = figures("borrowing", "rate", b_0=none, b_1=one, b_2=two, b_4=four)
    musts = borrowing.musts(Results(samples=samples))
    assert [must.met for must in musts[:3]] == met
    assert [must.met for must in musts[3:]] == [None, None]


@pytest.mark.parametrize(("told", "met"), [(2, True), (3, False), (1, False)])
def test_a_registration_too_many_or_too_few_is_seen(told: int, *, met: bool) -> None:
    samples = figures("borrowing", "kept: registered", b_2=[told])
    samples += figures("borrowing", "kept: processes", b_2=[2])
    musts = borrowing.musts(Results(samples=samples))
    assert verdict(musts, "registrations: one").met is met


@pytest.mark.parametrize(("told", "met"), [(0, True), (1, False)])
def test_a_registration_of_what_was_dropped_is_seen(told: int, *, met: bool) -> None:
    samples = figures("borrowing", "dropped: registered", b_2=[told])
    samples += figures("borrowing", "dropped: processes", b_2=[2])
    musts = borrowing.musts(Results(samples=samples))
    assert verdict(musts, "registrations: none").met is met


def test_shares_are_equal_and_lose_nothing() -> None:
    assert borrowing.shares(10, 4) == [2, 3, 2, 3]
    assert borrowing.shares(100_000, 1) == [100_000]


# ------------------------------------------------------------------ latency


@cluster
def test_latency_shows_both_kinds_with_the_lease_kept_and_given_back() -> None:
    results = measured(latency.EXPERIMENT)
    cases = [f"{kind}, lease {way}" for kind in latency.KINDS for way in latency.LINGERS]
    wanted = {(case, metric) for case in cases for metric in ("pipelined", "p50", "p99")}
    assert shown(results) == wanted
    assert len(latency.table(results)) == 1 + len(cases)


@pytest.mark.parametrize(("kept", "met"), [(99.0, True), (101.0, False)])
def test_a_kept_lease_must_not_cost(kept: float, *, met: bool) -> None:
    samples = [
        Sample("latency", "tasks, lease kept", 0, "p50", kept, "us"),
        Sample("latency", "tasks, lease given back", 0, "p50", 100.0, "us"),
    ]
    assert [must.met for must in latency.musts(Results(samples=samples))] == [met]


# ------------------------------------------------------------------ references in values


@cluster
def test_nested_gets_every_reference_whoever_owns_it() -> None:
    results = measured(nested.EXPERIMENT, 0.01)
    assert shown(results) == {(case, name) for case in nested.CASES for name in ("get", "drop")}
    assert [row[0] for row in nested.table(results)[1:]] == list(nested.CASES)


@pytest.mark.parametrize(("took_s", "met"), [(1.0, True), (1.1, False)])
def test_a_second_is_the_bound_for_each_kind(took_s: float, *, met: bool) -> None:
    case = next(iter(nested.CASES))
    musts = nested.musts(Results(samples=[Sample("nested", case, 0, "get", took_s, "s")]))
    assert [must.met for must in musts] == [met, None, None, None]


@cluster
def test_drops_times_a_call_beside_each() -> None:
    results = measured(drops.EXPERIMENT)
    metrics = ("longest", "quiet", "gone")
    assert shown(results) == {(case, name) for case in drops.CASES for name in metrics}
    assert [row[0] for row in drops.table(results)[1:]] == list(drops.CASES)


@pytest.mark.parametrize(("took_s", "met"), [(0.2, True), (0.21, False)])
def test_a_fifth_of_a_second_is_the_bound_for_each(took_s: float, *, met: bool) -> None:
    case = next(iter(drops.CASES))
    musts = drops.musts(Results(samples=[Sample("drops", case, 0, "longest", took_s, "s")]))
    assert [must.met for must in musts] == [met, None, None]


# ------------------------------------------------------------------ recovery


@cluster
def test_a_chain_whose_workers_are_killed_does_again_no_more_than_what_ran(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chains = [SMALL.other("undisturbed"), SMALL]
    monkeypatch.setattr(recovery, "CHAINS", chains)
    results = measured(recovery.EXPERIMENT, 0.03)
    assert results.notes == []
    lines = results.about[recovery.LINES]
    for chain in chains:
        numbers = [number for _, number in lines[chain.case]]
        assert [number for number, _ in groupby(numbers)] == list(range(1, 10))
        most = (
            10 if chain is SMALL else 9
        )  # a link may be done when it is killed, and not answered
        assert len(numbers) <= most
    before = [
        at for at, _ in lines[SMALL.case] if at < results.about[recovery.KILLED][SMALL.case]
    ]
    assert len(before) >= 4, "more, if the killer came late"
    assert {metric for _, metric in shown(results)} == {"total", "links", "restart", "again"}
    assert len(recovery.table(results)) == 3


@cluster
def test_a_chain_whose_value_is_lost_runs_again_from_its_first_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recovery, "CHAINS", [LARGE])
    results = measured(recovery.EXPERIMENT, 0.03)
    assert results.notes == []
    links = [number for _, number in results.about[recovery.LINES][LARGE.case]]
    first = links.index(1, 1)  # later, if the loss came late
    assert first >= 4
    assert links == [*range(1, first + 1), *range(1, 10)]


def test_a_course_knows_its_restart_and_what_was_done_again() -> None:
    done = [(0.1, 0), (0.2, 1), (0.4, 0), (0.5, 1), (0.6, 2)]
    course = Course(done, killed_s=0.25, total_s=0.6)
    assert course.again() == 2
    assert course.restart_s(0.1) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("numbers", "lost", "fine"),
    [
        ([0, 1, 2, 3], False, True),
        ([0, 1, 1, 2, 3], False, True),  # its answer died with the worker
        ([0, 1, 0, 1, 2, 3], True, True),
        ([0, 1, 2, 3], True, False),  # nothing was made again
        ([0, 1, 0, 2, 1, 3], True, False),  # 2 read a value that was not there
        ([0, 1, 2], False, False),
    ],
)
def test_links_out_of_order_are_seen(
    numbers: list[int],
    lost: bool,  # noqa: FBT001
    fine: bool,  # noqa: FBT001
) -> None:
    course = Course([(at, number) for at, number in enumerate(numbers)], 1.5, 9.0)
    if fine:
        course.check(4, lost=lost)
        return
    with pytest.raises(RuntimeError):
        course.check(4, lost=lost)


def of_chain(chain: Chain, **values: float) -> list[Sample]:
    return [
        Sample("recovery", chain.case, 0, name, value, "") for name, value in values.items()
    ]


@pytest.mark.parametrize(
    ("chain", "total_s", "again", "met"),
    [
        (SMALL, 3.5, 0, True),  # 3.45 allowed, and 0.1 for the restart
        (SMALL, 3.6, 0, False),
        (LARGE, 5.0, 150, True),  # 1.5 more for half of the work
        (LARGE, 5.1, 150, False),
        (LARGE, 5.0, 100, False),
    ],
)
def test_a_kill_may_cost_the_restart_the_lost_work_and_15_percent(
    chain: Chain, total_s: float, again: float, *, met: bool
) -> None:
    samples = of_chain(chain.other("undisturbed"), total=3.0, links=300)
    samples += of_chain(chain, total=total_s, links=300, restart=0.1, again=again)
    assert verdict(recovery.musts(Results(samples=samples)), chain.case).met is met


def test_a_chain_that_fails_is_missed_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(chain: Chain, links: int) -> Course:
        if chain == SMALL:
            raise AssertionError("no value")
        delay_s = chain.delay_ms / 1e3
        killed_s = None if chain.variant == "undisturbed" else 3 * delay_s
        numbers = [0, 1, *range(links)] if chain.variant == "lost" else range(links)
        return Course([(2 * delay_s * i, n) for i, n in enumerate(numbers)], killed_s, 1.0)

    monkeypatch.setattr(recovery, "_run", run)
    results = measured(recovery.EXPERIMENT)
    missed = verdict(recovery.musts(results), SMALL.case)
    assert (missed.met, missed.shown) == (False, "failed: AssertionError: no value")
    assert {case for case, _ in shown(results)} == {
        chain.case for chain in recovery.CHAINS if chain != SMALL
    }
    drawn = page.picture(results)
    assert drawn is not None
    assert [len(panel.lines) for panel in drawn.rows[0]] == [1, 2, 2, 2]


# ------------------------------------------------------------------ sessions


def orphan() -> int:
    """A process whose parent is gone."""
    command = ["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return int(done.stdout)


@cluster
def test_what_outlives_its_session_is_named_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "LEAVE_S", 0.0)
    monkeypatch.setenv("ZFUT_ADDRESS", "somebody else's")
    with pytest.raises(trial.LeftBehindError, match="sleep 60"), trial.running():
        pid = orphan()
    assert processes.gone_within([pid], WAIT_S)
    assert os.environ["ZFUT_ADDRESS"] == "somebody else's"


@cluster
def test_a_run_that_fails_leaves_nothing() -> None:
    seen: list[str] = []

    def fail() -> None:
        with trial.running() as run:
            seen.extend((os.environ[processes.MARK], str(run.files)))
            assert processes.run_of(0, seen[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    mark, files = seen
    assert not processes.run_of(0, mark)
    assert not Path(files).exists()
    assert not zfut.is_initialized()


# ------------------------------------------------------------------ the page and the picture


def test_the_page_has_a_place_for_each_experiment_and_the_rest_stays(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text()
    copy = tmp_path / "experiments.md"
    copy.write_text(text)
    page.write(copy, EXPERIMENTS.values(), Results())
    after = copy.read_text()
    for name in EXPERIMENTS:
        assert after.count(f"<!-- {name}:begin -->") == after.count(f"<!-- {name}:end -->") == 1
    assert outside(after) == outside(text)
    assert "not measured" in after


def outside(text: str) -> str:
    """The page without what was measured."""
    parts = text.split("<!-- ")
    return "".join(part for part in parts if ":begin" not in part.partition("\n")[0])


def test_a_page_without_the_markers_is_left_as_it_is(tmp_path: Path) -> None:
    copy = tmp_path / "page.md"
    copy.write_text("# A page\n<!-- latency:begin -->\n<!-- latency:end -->\n")
    before = copy.read_text()
    with pytest.raises(LookupError, match="borrowing:begin"):
        page.write(copy, [latency.EXPERIMENT, borrowing.EXPERIMENT], Results())
    assert copy.read_text() == before


def test_a_picture_is_well_formed_and_has_a_path_for_each_line() -> None:
    line = Line("a < b", "#4878cf", [(0.5, 1), (1.0, 2), (1.5, 1)])
    panels = [Panel("one", [line], [(0.7, "#d65f5f")]), Panel("two", [line, line])]
    root = ET.fromstring(Picture("t", "x", "y", [panels]).svg())  # noqa: S314  our own
    paths = root.findall(f"{SVG}path")
    lines = [path for path in paths if "H" in path.get("d", "")]
    assert len(lines) == 3
    assert sum("stroke-dasharray" in path.attrib for path in paths) == 1
    assert "a < b" in [text.text for text in root.findall(f"{SVG}text")]


# ------------------------------------------------------------------ the command


def written(path: Path, rate: float) -> Path:
    samples = figures("borrowing", "rate", b_0=[100.0], b_1=[rate], b_2=[rate], b_4=[rate])
    Results({"scale": 0.5}, samples).write(path)
    return path


@pytest.mark.parametrize(("rate", "code", "word"), [(95.0, 0, "met"), (50.0, 1, "missed")])
def test_a_missed_must_is_the_exit_code(
    tmp_path: Path, rate: float, code: int, word: str
) -> None:
    held = written(tmp_path / "paper.json", rate)
    done = CliRunner().invoke(main, ["borrowing", "--again", "--out", str(held)])
    assert done.exit_code == code, done.output
    assert word in done.output
    assert "not for quoting" in done.output


@cluster
def test_the_command_measures_what_was_named_and_writes_it(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "paper.json"
    command = [sys.executable, "-m", "benchmarks.paper", "latency", "--trials", "2"]
    done = subprocess.run(  # noqa: S603 - our own module
        [*command, "--scale", str(TINY), "--out", str(out)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    held = json.loads(out.read_text())
    assert {sample["workload"] for sample in held["samples"]} == {"latency"}, done.stderr
    assert {sample["repeat"] for sample in held["samples"]} == {0, 1}
    assert "## Latency" in done.stdout


@pytest.mark.parametrize("words", [["speed"], ["--scale", "0"], ["--trials", "0"]])
def test_nonsense_is_refused(words: list[str]) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "Invalid value" in done.output


Check = Callable[[Results], list[Must]]


@pytest.mark.parametrize("check", [each.musts for each in EXPERIMENTS.values()])
def test_without_figures_nothing_is_met(check: Check) -> None:
    assert {must.met for must in check(Results())} == {None}
