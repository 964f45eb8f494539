"""What ``zfut doctor`` finds, how it judges, and what it removes and leaves alone."""

from __future__ import annotations

import configparser
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import checks, leftovers
from cli.checks import BAD, OK, WARN
from tests.cli.commands import ROOT, fabricate, node, sessions, zfut
from tests.cluster.leftovers import new_base
from zfut.actors import places

DEAD_PID = 4_194_304 + 1
"""Beyond what Linux gives out."""


def report(base: Path, *options: str) -> list[dict[str, str]]:
    done = zfut(base, "doctor", "--json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == 1
    assert document["ok"] is True
    found: list[dict[str, str]] = document["checks"]
    return found


@pytest.fixture
def maker() -> Callable[[], int]:
    """Return a function that gives the pid of a process that has ended and is forgotten."""

    def ended_pid() -> int:
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        return process.pid

    return ended_pid


# ------------------------------------------------------------------ the whole


@pytest.mark.cluster
def test_a_machine_that_runs_these_tests_is_not_bad(base: Path) -> None:
    found = {check["name"]: check for check in report(base)}
    assert all(check["level"] in (OK, WARN) for check in found.values())
    expected = {"session directory", "shared memory", "object store", "memory", "processors"}
    expected |= {"open files", "sockets", "kernel", "python", "zfut", "sessions", "leftovers"}
    assert expected | set(checks.NEEDS) == set(found)
    assert str(base) in found["session directory"]["found"]
    assert "libzmq" in found["pyzmq"]["found"]
    for check in found.values():
        assert check["advice"] if check["level"] != OK else not check["advice"]


@pytest.mark.cluster
def test_the_page_has_a_line_for_each_check(base: Path) -> None:
    done = zfut(base, "doctor")
    names = [check["name"] for check in report(base)]
    told = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert [line[6:23].strip() for line in told] == names
    assert {line[:4].strip() for line in told} <= {OK, WARN}


@pytest.mark.cluster
def test_something_bad_makes_the_exit_code_1(base: Path) -> None:
    long = base / ("d" * 90)
    done = zfut(long.parent, "doctor", ZFUT_SESSION_DIR=str(long))
    assert done.returncode == 1
    assert "bad   session directory" in done.stdout
    assert "with a shorter path" in done.stdout
    long.rmdir()


def test_a_session_directory_in_which_others_write_is_bad_and_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZFUT_SESSION_DIR", str(tmp_path))
    for mode, level in ((0o777, BAD), (0o775, BAD), (0o1777, OK), (0o755, OK), (0o700, OK)):
        tmp_path.chmod(mode)
        assert checks.session_directory().level == level, oct(mode)
        assert stat.S_IMODE(tmp_path.stat().st_mode) == mode
        assert not list(tmp_path.iterdir())


def test_a_session_directory_that_is_a_file_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZFUT_SESSION_DIR", str(tmp_path / "file"))
    check = checks.session_directory()
    assert check.level == BAD
    assert check.advice


# ------------------------------------------------------------------ leftovers


@pytest.mark.cluster
def test_a_dead_session_is_found_and_removed_and_a_living_one_is_not(
    base: Path, maker: Callable[[], int]
) -> None:
    with node(base):
        (living,) = sessions(base)
        dead = fabricate(base, "0badcafe", maker(), 1.0)
        other = base / "not-a-session"
        other.mkdir()
        found = [check for check in report(base) if check["name"] == "leftovers"]
        assert [(check["level"], check["found"]) for check in found] == [(WARN, str(dead))]
        assert "--clean" in found[0]["advice"]
        assert dead.exists()
        found = [check for check in report(base, "--clean") if check["name"] == "leftovers"]
        assert [check["found"] for check in found] == [f"removed {dead}"]
        assert sessions(base) == sorted([living, other.name])
        assert zfut(base, "status").returncode == 0, "the living one serves on"
        other.rmdir()


def test_a_session_is_dead_when_both_its_processes_are(
    tmp_path: Path,
    bystander: int,
    maker: Callable[[], int],
) -> None:
    started = places.started(bystander)
    fabricate(tmp_path, "00000001", bystander, started)
    dead = [
        fabricate(tmp_path, "00000002", bystander, started + 1),
        fabricate(tmp_path, "00000003", maker(), 1.0),
    ]
    fabricate(tmp_path, "UPPERCAS", maker(), 1.0)
    unreadable = fabricate(tmp_path, "00000004", maker(), 1.0)
    (unreadable / "session.json").write_text("{")
    (tmp_path / "00000005").symlink_to(dead[0])
    (tmp_path / "00000006").write_text("a file")
    assert leftovers.dead_directories(tmp_path) == dead


def test_a_start_that_failed_is_a_leftover_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting = tmp_path / "00000001"
    (starting / "s").mkdir(parents=True)
    (tmp_path / "00000002").mkdir()
    assert leftovers.dead_directories(tmp_path) == []
    monkeypatch.setattr(leftovers, "STARTING_S", -1.0)
    assert leftovers.dead_directories(tmp_path) == [starting]


def test_shared_memory_is_stale_when_its_maker_is_dead_and_nobody_uses_it(
    tmp_path: Path, maker: Callable[[], int]
) -> None:
    suffix = "0123456789abcdef"
    stale = tmp_path / f"zfut-arena-{maker()}-{suffix}"
    mapped = tmp_path / f"zfut-arena-{DEAD_PID}-{suffix}"
    used = tmp_path / f"zfut-arena-{os.getpid()}-{suffix}"
    notes = tmp_path / "zfut-notes.txt"
    for file in (stale, mapped, used, notes):
        file.write_bytes(b"x")
    (tmp_path / f"zfut-arena-{DEAD_PID + 1}-{suffix}").symlink_to(notes)
    with mapped.open("rb"):
        assert leftovers.stale_arenas(tmp_path) == [stale]
    assert leftovers.stale_arenas(tmp_path) == sorted([stale, mapped])
    assert leftovers.remove_arenas([stale]) == [stale]
    assert leftovers.stale_arenas(tmp_path) == [mapped]


# ------------------------------------------------------------------ judgements


@pytest.mark.parametrize(
    ("soft", "hard", "cpus", "level"),
    [
        (-1, -1, 64, OK),
        (1024, 1024, 2, OK),
        (256, 1_048_576, 64, OK),
        (1024, -1, 64, OK),
        (1024, 1024, 64, WARN),
        (64, 256, 2, WARN),
        (64, 64, 2, BAD),
    ],
)
def test_open_files_are_judged_by_what_a_node_needs(
    soft: int, hard: int, cpus: int, level: str
) -> None:
    check = checks.judge_descriptors(soft, hard, cpus)
    assert check.level == level
    assert ("hard limit" in check.advice) == (level != OK)


@pytest.mark.parametrize(
    ("found", "level"),
    [("26", OK), ("26.0.1", OK), ("27.1.0b1", OK), ("25.9", BAD), ("9.9.9", BAD), ("", BAD)],
)
def test_versions_are_compared_as_numbers(found: str, level: str) -> None:
    check = checks.judge_version("pyzmq", found, "26")
    assert check.level == level
    assert check.advice == ("" if level == OK else "pip install 'pyzmq>=26'")


def test_what_is_needed_is_what_setup_cfg_says() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].split()
    assert dict(line.split(">=") for line in lines) == checks.NEEDS


def test_the_object_store_is_opened_as_a_node_opens_it() -> None:
    directory = str(new_base())
    assert checks.object_store(directory).level == OK
    none = checks.object_store(directory, kinds=())
    assert none.level == WARN
    assert f"a file in {directory}" in none.found
    Path(directory).rmdir()


def test_a_machine_without_shared_memory_is_told_so(tmp_path: Path) -> None:
    check = checks.shared_memory(str(tmp_path / "none"))
    assert check.level == WARN
    assert check.advice
