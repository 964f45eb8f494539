"""What ``zfut memory`` says of every live object."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from math import inf
from typing import Any

import pytest

import zfut
from cli.memory import lines
from cli.table import WIDTH
from tests.cluster.leftovers import until
from zfut.inventory import Held, join

pytestmark = pytest.mark.cluster

WAIT_S = 20
MANY = 100_000


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  this very interpreter
        [sys.executable, "-m", "cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def zfut_cli(*arguments: str) -> str:
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def made_at() -> dict[str, str]:
    """Return where each object was made, by its whole id."""
    return {
        one["id"]: one["site"] for one in json.loads(zfut_cli("memory", "--json"))["objects"]
    }


@zfut.remote
class Idle:
    def keep(self, refs: list[Any]) -> None:
        self.refs = refs

    def ready(self) -> bool:
        return True


@zfut.remote(num_returns=3)
def three() -> tuple[int, int, int]:
    return 1, 2, 3


def test_the_line_that_made_each_object_is_shown_if_it_is_recorded(start: Any) -> None:
    start(num_cpus=1, record_call_sites=True)
    put = zfut.put(b"x" * 200_000)
    refs = three.remote()
    actor = Idle.remote()
    call = actor.ready.remote()
    assert zfut.get([call, *refs], timeout=WAIT_S) == [True, 1, 2, 3]
    sites = made_at()
    (handle,) = sites.keys() - {ref.binary().hex() for ref in (put, *refs, call)}
    names = [put.binary().hex(), *(ref.binary().hex() for ref in refs), handle]
    lines = [sites[name].removeprefix("test_memory.py:") for name in names]
    first = int(lines[0])
    assert [int(line) - first for line in lines] == [0, 1, 1, 1, 2]
    assert sites[call.binary().hex()] == f"test_memory.py:{first + 3}"
    assert "record_call_sites" not in zfut_cli("memory")


def test_how_to_record_the_lines_is_said_if_they_are_not() -> None:
    refs = three.remote()
    assert zfut.get(refs, timeout=WAIT_S) == [1, 2, 3]
    shown = zfut_cli("memory").splitlines()
    assert "MADE AT" not in shown[0]
    assert "zfut.init(record_call_sites=True)" in shown[-1]


def test_what_holds_an_object_is_told_in_full_where_no_terminal_is() -> None:
    put = zfut.put(b"x" * 200_000)
    holders = [Idle.options(num_cpus=0).remote() for _ in range(4)]
    zfut.get([holder.keep.remote([put]) for holder in holders], timeout=WAIT_S)
    shown = zfut_cli("memory")
    assert "…" not in shown
    line = next(line for line in shown.splitlines() if "195 KiB" in line)
    assert line.count("borrowed by actor Idle") == len(holders)
    assert len(line) > WIDTH


def test_a_table_is_cut_for_a_terminal_only() -> None:
    held = Held("00", "00", "put", "stored", 1, "program 1", holds=["borrowed by " + "x" * 200])
    assert max(map(len, lines([held])[:2])) == WIDTH
    assert "x" * 200 in lines([held], inf)[1]


def test_who_does_not_answer_is_named_and_not_passed_over() -> None:
    holder = Idle.remote()
    zfut.get(holder.keep.remote([]), timeout=WAIT_S)
    (worker,) = [one for one in zfut.nodes()[0]["workers"] if one["actor"]]
    silent = f"actor Idle {bytes.fromhex(worker['uid'])[10:14].hex()}"
    os.kill(worker["pid"], signal.SIGSTOP)
    try:
        for arguments in (["memory"], ["memory", "--cycles"]):
            assert f"{silent} did not answer" in run(*arguments).stderr
        assert json.loads(run("memory", "--json").stdout)["silent"] == [silent]
        assert f"did not answer: {silent}" in run("why", "deadbeef").stderr
    finally:
        os.kill(worker["pid"], signal.SIGCONT)
    until(lambda: not run("memory").stderr, "it answers again")


def test_a_program_with_very_many_objects_shows_them_all() -> None:
    """They are told of in parts."""
    refs = [zfut.put(number) for number in range(MANY)]
    assert f"{len(refs)} objects" in zfut_cli("memory")


def test_what_holds_an_object_is_told_in_words() -> None:
    row: dict[str, Any] = {
        "id": "a" * 56,
        "handles": 3,
        "views": 1,
        "calls": 1,
        "contained_in": 1,
        "contains": [],
        "borrowers": ["b"],
        "lineage": 2,
        "owned": True,
        "short": "aaaaaaaa",
        "kind": "put",
        "state": "stored",
        "bytes": 1,
    }
    outer = {**row, "id": "c" * 56, "short": "cccccccc", "contains": [row["id"]], "bytes": 0}
    held, _ = join({"p": [row, outer]}, {"p": "program 1", "b": "actor Box"})
    assert held.owner == "program 1"
    assert held.holds == [
        "2 references in its owner",
        "1 view in its owner",
        "1 call under way",
        "inside cccccccc",
        "borrowed by actor Box",
        "the lineage of 2 calls",
    ]


@zfut.remote
def broken() -> None:
    message = "no good\n" + "more of it"
    raise ValueError(message)


@zfut.remote
def after(value: Any) -> Any:
    return value


@zfut.remote(max_retries=0)
def crash() -> None:
    os._exit(3)


def test_why_says_how_a_reference_failed() -> None:
    failed = broken.remote()
    behind = after.remote(failed)
    crashed = crash.remote()
    cancelled = after.options(resources={"unicorn": 1}).remote(1)
    zfut.cancel(cancelled)
    refs = [failed, behind, crashed, cancelled]
    zfut.wait(refs, num_returns=len(refs), timeout=WAIT_S)
    said = [ref.explain() for ref in refs]
    for text, what in zip(
        said,
        [
            r"\w+ has failed: broken\(\) failed in pid \d+ on node \w+: ValueError: no good",
            r"\w+ has failed: broken\(\) failed in pid \d+ on node \w+: ValueError: no good",
            r"\w+ has failed: The worker that ran crash\(\) died: it exited with code 3\.",
            r"\w+ has failed: after\(\) was cancelled\.",
        ],
        strict=True,
    ):
        assert re.fullmatch(what, text), text
    name = repr(failed).split()[0].removeprefix("ObjectRef(")
    assert said[0] in zfut_cli("why", name)


def test_why_of_a_freed_object_says_so_and_nothing_wrong() -> None:
    ref = zfut.put(b"x" * 200_000)
    zfut.free([ref])
    first, second = zfut_cli(
        "why", repr(ref).split()[0].removeprefix("ObjectRef(")
    ).splitlines()
    assert re.fullmatch(r"\w+ belongs to process \w+", first)
    assert second.endswith("is freed by zfut.free()")
