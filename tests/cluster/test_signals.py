"""Signal handlers of a program: they may raise, and they may use zfut, at any moment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.leftovers import Footprint, assert_unchanged, new_base

pytestmark = pytest.mark.cluster

HEAD = """
import contextlib, os, random, signal, sys
import zfut

zfut.init(num_cpus=2)

@zfut.remote
def same(value):
    return value
"""

RAISES = (
    HEAD
    + """
class TooLongError(Exception):
    pass

def give_up(number, frame):
    raise TooLongError

sys.unraisablehook = lambda _: None  # a handler may run in a finaliser; nobody can catch that
signal.signal(signal.SIGALRM, give_up)
chance, raised = random.Random(1), 0
for _ in range(1500):
    try:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00005, 0.003))
        with contextlib.suppress(zfut.errors.SerializationError):  # raised inside of pickle
            assert zfut.get([same.remote(n) for n in range(30)], timeout=20)[-1] == 29
        signal.setitimer(signal.ITIMER_REAL, 0)
    except TooLongError:
        raised += 1
with contextlib.suppress(TooLongError):
    signal.setitimer(signal.ITIMER_REAL, 0)
assert raised > 50, raised
assert zfut.get([same.remote(n) for n in range(1000)], timeout=20) == list(range(1000))
print("whole")
"""
)

ASKS = (
    HEAD
    + """
@zfut.remote
def until(path):
    return open(path).read()

def ask(number, frame):
    print(zfut.get(same.remote("asked"), timeout=20))
    with open(sys.argv[1], "w") as gate:
        gate.write("opened")

os.mkfifo(sys.argv[1])
signal.signal(signal.SIGALRM, ask)
ref = until.remote(sys.argv[1])
signal.setitimer(signal.ITIMER_REAL, 0.05)
print(zfut.get(ref, timeout=20))
"""
)


@pytest.mark.parametrize(
    ("program", "says"), [(RAISES, ["whole"]), (ASKS, ["asked", "opened"])]
)
def test_a_handler_leaves_the_session_whole(
    program: str, says: list[str], tmp_path: Path
) -> None:
    base = new_base()
    before = Footprint.take(base)
    done = subprocess.run(  # noqa: S603  this very interpreter
        [sys.executable, "-c", program, str(tmp_path / "gate")],
        env={**os.environ, "ZFUT_SESSION_DIR": str(base)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout.split() == says, done.stderr[-2000:]
    assert_unchanged(before, base)
    base.rmdir()
