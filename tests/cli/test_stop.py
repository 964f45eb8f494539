"""Stopping sessions: the right ones, in peace or by force, and nobody else's processes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from cli import main
from cli.sessions import Found, Held, hold, runs
from tests.cli.commands import Gate, fabricate, node, program, session_file, sessions, zfut
from tests.cluster.leftovers import alive, ended
from zfut.actors import places

EMBEDDED = """
import zfut
zfut.init(num_cpus=1)
print("ready", flush=True)
open({gate!r}).read()
try:
    zfut.cluster_resources()
except zfut.errors.SessionError as error:
    print("told", error)
"""


# ------------------------------------------------------------------ whom it touches


@pytest.mark.cluster
def test_a_pid_that_was_given_away_is_not_touched(base: Path, bystander: int) -> None:
    directory = fabricate(base, "0badcafe", bystander, places.started(bystander) - 1)
    done = zfut(base, "stop", "--session=0badcafe", "--force")
    assert done.returncode == 6
    done = zfut(base, "stop", "--all", "--force")
    assert done.returncode == 0
    assert f"removed {directory}: its session is dead" in done.stderr
    assert alive(bystander)
    assert not sessions(base)


def test_a_process_is_held_only_if_it_is_the_recorded_one(bystander: int) -> None:
    started = places.started(bystander)
    fd = hold(bystander, started)
    assert fd is not None
    os.close(fd)
    assert hold(bystander, started + 1) is None
    assert hold(bystander, 0.0) is None
    assert hold(0, 1.0) is None


def test_what_is_held_is_killed_and_nothing_else(bystander: int) -> None:
    wrong = Held(Found(Path(), session_file("0badcafe", bystander, 1.0)))
    wrong.kill()
    wrong.terminate()
    assert wrong.wait(0), "there is nothing to wait for"
    assert alive(bystander)
    right = Held(Found(Path(), session_file("0badcafe", bystander, places.started(bystander))))
    assert not right.wait(0)
    right.kill()
    assert right.wait(30)
    assert not runs(bystander, places.started(bystander)), "what waits to be reaped has ended"
    wrong.close()
    right.close()


# ------------------------------------------------------------------ what it ends


@pytest.mark.cluster
def test_the_only_node_needs_no_name(base: Path) -> None:
    with node(base) as run:
        (session,) = sessions(base)
        done = zfut(base, "stop")
        assert done.returncode == 0
        assert f"session {session}: draining" in done.stderr
        assert f"session {session}: stopped" in done.stderr
        assert not done.stdout
        assert run.code() == 0
        assert "was told to stop" in run.err.rest()[-1]
        assert not sessions(base)


@pytest.mark.cluster
def test_one_of_several_by_the_beginning_of_its_id_or_by_name(base: Path) -> None:
    with node(base, "--name=one") as first:
        (one,) = sessions(base)
        with node(base, "--name=two") as second:
            (two,) = set(sessions(base)) - {one}
            unclear = zfut(base, "stop")
            assert unclear.returncode == 2
            assert one in unclear.stderr
            assert two in unclear.stderr
            assert zfut(base, "stop", "--session=two").returncode == 0
            assert second.code() == 0
            assert sessions(base) == [one]
        assert zfut(base, "stop", "--session", one[:5]).returncode == 0
        assert first.code() == 0


@pytest.mark.cluster
def test_all_means_sessions_inside_programs_too(base: Path) -> None:
    gate = Gate(base)
    with node(base) as run, program(base, EMBEDDED.format(gate=str(gate.path))) as user:
        user.out.until("ready")
        assert len(sessions(base)) == 2
        assert zfut(base, "stop", "--all").returncode == 0
        assert run.code() == 0
        gate.open()
        assert "`zfut stop` was called" in user.out.until("told")
        assert user.code() == 0


@pytest.mark.cluster
def test_without_options_sessions_inside_programs_go_on(base: Path) -> None:
    gate = Gate(base)
    with program(base, EMBEDDED.format(gate=str(gate.path))) as user:
        user.out.until("ready")
        done = zfut(base, "stop")
        assert (done.returncode, done.stderr) == (0, "zfut: no node of yours runs")
        gate.open()
        assert user.code() == 0
        assert "told" not in user.out.rest()


@pytest.mark.cluster
@pytest.mark.parametrize("wanted", ["0123abcd", "web", "/no/such"])
def test_a_session_that_is_not_there_is_not_found(base: Path, wanted: str) -> None:
    done = zfut(base, "stop", "--session", wanted)
    assert done.returncode == 6
    assert f"no session {wanted!r} of yours runs" in done.stderr


@pytest.mark.cluster
def test_force_kills_a_node_that_does_not_react(base: Path) -> None:
    with node(base) as run:
        (session,) = sessions(base)
        file = json.loads((base / session / "session.json").read_bytes())
        os.kill(file["manager_pid"], signal.SIGSTOP)
        os.kill(file["root_pid"], signal.SIGSTOP)
        done = zfut(base, "stop", "--force")
        assert done.returncode == 0
        assert "killed: it did not react" in done.stderr
        assert run.code() == 1
        assert ended(file["manager_pid"])
        assert ended(file["root_pid"])


@pytest.mark.cluster
def test_a_node_that_does_not_react_is_reported(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZFUT_SESSION_DIR", str(base))
    monkeypatch.setattr("cli.control.ANSWER_S", 0.1)
    monkeypatch.setattr("cli.stop.MARGIN_S", 0.1)
    with node(base, "--grace-period=0") as run:
        (session,) = sessions(base)
        file = json.loads((base / session / "session.json").read_bytes())
        os.kill(file["manager_pid"], signal.SIGSTOP)
        assert main.run(["status"]) == 7
        assert f"zfut stop --force --session {session}" in capsys.readouterr().err
        assert main.run(["stop"]) == 1
        assert "`zfut stop --force` kills it" in capsys.readouterr().err
        os.kill(file["manager_pid"], signal.SIGCONT)
        assert zfut(base, "stop").returncode == 0
        assert run.code() == 0


@pytest.mark.cluster
def test_session_and_all_exclude_each_other(base: Path) -> None:
    done = zfut(base, "stop", "--all", "--session=x")
    assert done.returncode == 2
    assert "exclude each other" in done.stderr
