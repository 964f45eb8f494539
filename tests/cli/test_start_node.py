"""A node in the foreground, with real processes: ready, used, drained, ended, killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from pathlib import Path

import pytest

from tests.cli.commands import COMMAND, Gate, Running, node, program, sessions, zfut
from tests.cluster.leftovers import ended, until

pytestmark = pytest.mark.cluster

USES_NODE = """
import zfut
with zfut.init(address={address!r}):
    @zfut.remote
    def double(x):
        return 2 * x
    print("got", zfut.get([double.remote(i) for i in range(5)]))
    print("cpus", zfut.cluster_resources()["CPU"])
"""

WAITS_AT_GATE = """
import zfut
from zfut import errors
zfut.init(address="auto")

@zfut.remote
def child(x):
    return x + 1

@zfut.remote
def task(gate):
    print("started", flush=True)
    open(gate).read()
    return zfut.get(child.remote(41))

ref = task.remote({gate!r})
zfut.wait([ref], timeout=0)
print("submitted")
open({again!r}).read()
try:
    zfut.get(child.remote(1))
except errors.ZfutError as error:
    print("refused", type(error).__name__, error)
try:
    print("got", zfut.get(ref))
except errors.ZfutError as error:
    print(type(error).__name__, error)
"""


def waiting(base: Path) -> tuple[str, Gate, Gate]:
    """Return a program whose task waits at a gate, and which waits at another itself."""
    gate, again = Gate(base, "gate"), Gate(base, "again")
    return WAITS_AT_GATE.format(gate=str(gate.path), again=str(again.path)), gate, again


# ------------------------------------------------------------------ ready and used


def test_it_says_what_it_is_and_how_to_use_it(base: Path) -> None:
    options = ("--resource=accel=1.5", "--memory=2GiB", "--object-store-memory=128MiB")
    with node(base, *options) as run:
        first, use, also, ready = run.out.seen
        (session,) = sessions(base)
        assert re.fullmatch(
            rf"zfut \S+  session {session}  CPU 2  memory 2 GiB  accel 1\.5  "
            r"store 128 MiB \(\w+\)",
            first,
        )
        assert f"ZFUT_ADDRESS={session} python app.py" in use
        assert f"ZFUT_SESSION_DIR={base} " in use
        assert 'zfut.init(address="auto")' in also
        assert ready == "ready."


@pytest.mark.parametrize("how", ["auto", "name", "id", "directory"])
def test_a_program_of_the_same_user_finds_it(base: Path, how: str) -> None:
    with node(base, "--name=web"):
        (session,) = sessions(base)
        address = {"auto": "auto", "name": "web", "id": session}.get(how, str(base / session))
        with program(base, USES_NODE.format(address=address)) as run:
            assert run.out.rest() == ["got [0, 2, 4, 6, 8]", "cpus 2.0"]
            assert run.code() == 0


def test_the_environment_names_it_to_a_program_and_gives_options(base: Path) -> None:
    variables = {"ZFUT_NAME": "web", "ZFUT_RESOURCE": "a=1 b=2", "ZFUT_GRACE_PERIOD": "3s"}
    with node(base, **variables) as run:
        assert "(web)" in run.out.seen[0]
        assert "a 1  b 2" in run.out.seen[0]
        with program(base, USES_NODE.format(address=None), ZFUT_ADDRESS="web") as user:
            user.out.until("got [0, 2, 4, 6, 8]")
            assert user.code() == 0
        run.signal(signal.SIGTERM)
        run.err.until("at most 3 s")


def test_functions_are_looked_for_where_the_node_was_started(base: Path) -> None:
    (base / "helpers.py").write_text("def triple(x):\n    return 3 * x\n")
    code = (
        "import sys, zfut; sys.path.insert(0, '.'); import helpers\n"
        "zfut.init(address='auto')\n"
        "print('got', zfut.get(zfut.remote(helpers.triple).remote(4)))"
    )
    with node(base), program(base, code) as run:
        assert run.out.rest() == ["got 12"]


def test_the_ready_file_is_there_while_it_serves(base: Path) -> None:
    file = base / "ready"
    file.write_text("of a node that was killed")
    with node(base, f"--ready-file={file}") as run:
        until(lambda: file.exists() and file.read_text() == f"{sessions(base)[0]}\n", "ready")
        run.signal(signal.SIGTERM)
        assert run.code() == 128 + signal.SIGTERM
        assert not file.exists()


def test_a_service_manager_is_told(base: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(base / "notify"))
        manager.settimeout(30)
        with node(base, NOTIFY_SOCKET=str(base / "notify")) as run:
            assert manager.recv(4096).startswith(b"READY=1\n")
            run.signal(signal.SIGTERM)
            assert manager.recv(4096) == b"STOPPING=1"


def test_two_nodes_cannot_have_one_name(base: Path) -> None:
    with node(base, "--name=web"):
        done = zfut(base, "start-node", "--name=web")
        assert done.returncode == 2
        assert "a session named 'web' runs already" in done.stderr
        assert len(sessions(base)) == 1


# ------------------------------------------------------------------ signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_an_idle_node(base: Path, number: int) -> None:
    with node(base) as run:
        run.signal(number)
        assert run.code() == 128 + number
        assert not sessions(base)
        assert run.err.rest()[-1] == "zfut: stopped"


def test_sigterm_lets_running_work_end_and_refuses_new(base: Path) -> None:
    with node(base) as run:
        code, gate, again = waiting(base)
        with program(base, code) as user:
            run.out.until("started")
            run.signal(signal.SIGTERM)
            run.err.until("draining")
            until(lambda: "DRAINING" in zfut(base, "status").stdout, "the node drains")
            again.open()
            refused = user.out.until("refused")
            assert "TaskUnschedulableError" in refused
            assert "the node is draining" in refused
            gate.open()
            user.out.until("got 42")
            assert user.code() == 0
        assert run.code() == 128 + signal.SIGTERM
        assert not sessions(base)


def test_a_second_signal_stops_at_once(base: Path) -> None:
    with node(base) as run:
        code, _, again = waiting(base)
        with program(base, code) as user:
            run.out.until("started")
            run.signal(signal.SIGINT)
            run.err.until("draining")
            run.signal(signal.SIGINT)
            assert run.code() == 128 + signal.SIGINT
            assert not sessions(base)
            again.open()
            user.out.until("SessionError")


def test_after_the_grace_period_programs_are_told(base: Path) -> None:
    with node(base, "--grace-period=50ms") as run:
        code, _, again = waiting(base)
        with program(base, code) as user:
            run.out.until("started")
            run.signal(signal.SIGTERM)
            assert run.code() == 128 + signal.SIGTERM
            again.open()
            assert "grace period ended" in user.out.until("SessionError")


def test_a_signal_while_it_starts(base: Path) -> None:
    run = Running([*COMMAND, "start-node", "--num-cpus=2"], base)
    try:
        until(lambda: sessions(base), "the start has begun")
        run.signal(signal.SIGTERM)
        assert run.code() == 128 + signal.SIGTERM
        run.gone()
        assert not sessions(base)
    finally:
        run.close()


# ------------------------------------------------------------------ deaths


def test_kill_9_of_the_command_leaves_nothing(base: Path) -> None:
    with node(base) as run:
        code, _, _ = waiting(base)
        with program(base, code) as user:
            run.out.until("started")
            run.signal(signal.SIGKILL)
            run.gone()
            until(lambda: not sessions(base), "the directory is removed")
            user.signal(signal.SIGKILL)


@pytest.mark.parametrize(
    ("party", "who"), [("root", "root process"), ("manager", "node manager")]
)
def test_a_node_that_dies_by_itself_is_a_failure(base: Path, party: str, who: str) -> None:
    with node(base) as run:
        pid = pids(base)[party]
        os.kill(pid, signal.SIGKILL)
        assert f"ended by itself: its {who}: killed by signal 9" in run.err.until("by itself")
        assert run.code() == 1
        run.gone()
        assert ended(pid)
        assert not sessions(base)


def pids(base: Path) -> dict[str, int]:
    """Return the pids of a session's root and node manager."""
    import json

    (session,) = sessions(base)
    file = json.loads((base / session / "session.json").read_bytes())
    return {"root": file["root_pid"], "manager": file["manager_pid"]}


def test_it_ends_though_its_directory_is_gone(base: Path) -> None:
    with node(base) as run:
        (session,) = sessions(base)
        moved = base / "gone"
        (base / session).rename(moved)
        run.signal(signal.SIGTERM)
        run.err.until("cannot be asked")
        assert run.code() == 128 + signal.SIGTERM
        run.gone()
        shutil.rmtree(moved)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--num-cpus=-1"], "num_cpus=-1.0 makes no sense"),
        (["--num-cpus=many"], "is not a valid float"),
        (["--num-cpus=nan"], "num_cpus=nan makes no sense"),
        (["--num-gpus=1.5"], "whole above one"),
        (["--memory=lots"], "'lots' is no size"),
        (["--memory=0"], "'0' is no size"),
        (["--object-store-memory=101%"], "'101%' is no size"),
        (["--object-store-memory=900TiB"], "this machine or control group has"),
        (["--resource=accel"], "'accel' is no pair"),
        (["--resource=accel=some"], "the amount is no number"),
        (["--resource=CPU=3"], "CPU, GPU and memory apart"),
        (["--name=auto"], "neither 'auto' nor 'local'"),
        (["--name=deadbeef"], "nor like an id"),
        (["--name=a/b"], "a name has letters"),
        (["--grace-period=soon"], "'soon' is no time"),
        (["--log-level=loud"], "is not one of"),
        (["--config=lease_linger=1"], "Did you mean 'lease_linger_ns'?"),
        (["--config=batch_max=x"], "configuration:"),
        (["--ready-file=/no/such/directory/file"], "no file can be written there"),
        (["--nmae=x"], "--name"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(
    base: Path, options: list[str], said: str
) -> None:
    done = zfut(base, "start-node", *options)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert not done.stdout
    assert not list(base.iterdir())
