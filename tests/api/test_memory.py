"""What ``zfut memory`` says of every live object."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import zfut

pytestmark = pytest.mark.cluster

WAIT_S = 20


def zfut_cli(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603  this very interpreter
        [sys.executable, "-m", "cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def made_at() -> dict[str, str]:
    """Return where each object was made, by its whole id."""
    return {
        one["id"]: one["site"] for one in json.loads(zfut_cli("memory", "--json"))["objects"]
    }


@zfut.remote
class Idle:
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
