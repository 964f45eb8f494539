"""Signal handlers of a program: they may raise, and they may use zfut, at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.leftovers import Footprint, assert_unchanged, new_base
from zfut.shield import shielded

pytestmark = pytest.mark.cluster

HEAD = """
import contextlib, os, random, signal, sys
import zfut

zfut.init(num_cpus=2)

@zfut.remote
def same(value):
    return value
"""

THREAD = """
import threading, time
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()  # blocks no signal
"""

RAISES = """
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

PUTS = """
import numpy as np

class TooLongError(Exception):
    pass

def give_up(number, frame):
    raise TooLongError

signal.signal(signal.SIGALRM, give_up)
sys.unraisablehook = lambda _: None
chance, raised = random.Random(2), 0
for n in range(1500):
    try:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00002, 0.0004))
        assert zfut.get(zfut.put(np.full(20_000, n)))[-1] == n
        signal.setitimer(signal.ITIMER_REAL, 0)
    except TooLongError:
        raised += 1
with contextlib.suppress(TooLongError):
    signal.setitimer(signal.ITIMER_REAL, 0)
assert raised > 50, raised
refs = [zfut.put(np.full(20_000, n)) for n in range(100)]
assert [zfut.get(ref)[-1] for ref in refs] == list(range(100))
print("whole")
"""

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


def run_whole(program: str, *given: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, and look for what it has left."""
    base = new_base()
    before = Footprint.take(base)
    done = subprocess.run(  # noqa: S603  this very interpreter
        [sys.executable, "-c", program, *given],
        env={**os.environ, "ZFUT_SESSION_DIR": str(base)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert_unchanged(before, base)
    base.rmdir()
    return done


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (HEAD + RAISES, ["whole"]),
        (HEAD + THREAD + RAISES, ["whole"]),
        (HEAD + PUTS, ["whole"]),
        (ASKS, ["asked", "opened"]),
    ],
    ids=["it raises", "beside another thread", "between puts", "it asks"],
)
def test_a_handler_leaves_the_session_whole(
    program: str, says: list[str], tmp_path: Path
) -> None:
    done = run_whole(program, str(tmp_path / "gate"))
    assert done.stdout.split() == says, done.stderr[-2000:]


def test_every_handler_is_back_and_every_signal_handled_though_they_raise() -> None:
    numbers = (signal.SIGUSR1, signal.SIGUSR2)
    seen: list[int] = []

    def note(number: int, _: object) -> None:
        seen.append(number)
        raise ValueError(number)

    before = [signal.signal(number, note) for number in numbers]
    try:
        with pytest.raises(ValueError, match="1"), shielded(lambda: None) as shield:  # noqa: PT012
            for number in numbers:
                signal.raise_signal(number)
            assert shield.hit
            assert not seen
        assert sorted(seen) == sorted(numbers)
        assert [signal.getsignal(number) for number in numbers] == [note, note]
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


LEAVES_ALARMS = """
import signal
import zfut

def goes_off(*_):
    raise RuntimeError("in another task's process")

zfut.init(num_cpus=1)

@zfut.remote(max_retries=0)
def leaves_an_alarm():
    signal.signal(signal.SIGALRM, goes_off)
    signal.setitimer(signal.ITIMER_REAL, 0.01)

@zfut.remote(max_retries=0)
def other():
    return signal.getitimer(signal.ITIMER_REAL)[0]

@zfut.remote(max_retries=0)
def dies():
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.pause()

for _ in range(20):
    zfut.get(leaves_an_alarm.remote(), timeout=60)
    assert zfut.get(other.remote(), timeout=60) == 0
try:
    zfut.get(dies.remote(), timeout=60)
except zfut.errors.WorkerCrashedError as error:
    print(error)
zfut.shutdown()
"""


def test_an_alarm_that_a_task_leaves_set_is_taken_back() -> None:
    done = run_whole(LEAVES_ALARMS)
    assert done.returncode == 0, done.stderr
    assert "leaves_an_alarm() left an alarm set" in done.stderr
    assert "had set an alarm (signal.alarm, signal.setitimer) and no handler" in done.stdout
