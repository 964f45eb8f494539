"""Fate sharing: what the death of an owner means for those who hold its references."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import zfut
from tests.cluster.leftovers import until
from zfut.errors import ActorDiedError, OwnerDiedError, UsageError

pytestmark = pytest.mark.cluster

WAIT_S = 20


@zfut.remote
class Holder:
    def keep(self, refs: list[Any]) -> None:
        self.refs = refs

    def look(self) -> Any:
        return zfut.get(self.refs[0])


@zfut.remote
class Maker:
    def give(self, holder: Any) -> int:
        zfut.get(holder.keep.remote([zfut.put("mine")]))
        return os.getpid()


def kill_the_owner(holder: Any) -> None:
    maker = Maker.remote()
    pid = zfut.get(maker.give.remote(holder), timeout=WAIT_S)
    assert zfut.get(holder.look.remote(), timeout=WAIT_S) == "mine"
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ActorDiedError):
        zfut.get(maker.give.remote(holder), timeout=WAIT_S)


def test_a_holder_gets_an_error_and_lives_on() -> None:
    holder = Holder.remote()
    zfut.get(holder.keep.remote([]))
    kill_the_owner(holder)
    fresh = Holder.remote()
    zfut.get(fresh.keep.remote([]))
    assert zfut.get(holder.keep.remote([zfut.put(1)]), timeout=WAIT_S) is None
    assert zfut.get(holder.look.remote(), timeout=WAIT_S) == 1


def test_a_value_that_was_not_seen_before_is_lost_with_its_owner() -> None:
    @zfut.remote
    class Slow:
        def give(self) -> list[Any]:
            return [zfut.put("mine")]

        def pid(self) -> int:
            return os.getpid()

    slow = Slow.remote()
    inner = zfut.get(slow.give.remote(), timeout=WAIT_S)[0]
    os.kill(zfut.get(slow.pid.remote()), signal.SIGKILL)
    with pytest.raises(ActorDiedError):
        zfut.get(slow.pid.remote(), timeout=WAIT_S)
    with pytest.raises(OwnerDiedError, match="it was actor Slow, killed by signal 9"):
        zfut.get(inner, timeout=WAIT_S)


def test_the_papers_rule_ends_the_holder_too(start: Any) -> None:
    start(num_cpus=2, fate_share="kill")
    holder = Holder.remote()
    kill_the_owner(holder)
    with pytest.raises(ActorDiedError, match="shared the fate"):
        until(lambda: zfut.get(holder.look.remote(), timeout=WAIT_S) != "mine", "it ends")


@zfut.remote(num_cpus=0)
def owns_and_says_who() -> list[Any]:
    return [zfut.put("mine"), os.getpid()]


@zfut.remote(num_cpus=0)
def outlives_an_owner(tries: Path) -> Any:
    """Meet the death of a child that owns something, in the first run only."""
    with tries.open("a") as file:
        file.write("x")
    ref, pid = zfut.get(owns_and_says_who.remote())
    if tries.stat().st_size == 1:
        os.kill(pid, signal.SIGKILL)
        until(lambda: failed(ref), "its owner is dead")
    return zfut.get(ref)


def failed(ref: Any) -> bool:
    try:
        zfut.get(ref)
    except OwnerDiedError:
        return True
    return False


@pytest.mark.parametrize(
    ("fate", "options", "runs"),
    [
        ("error", {}, (2,)),
        ("error", {"max_retries": 0}, (1,)),
        ("kill", {}, (2, 3)),  # its worker is killed as well, maybe with the next try in it
    ],
)
def test_a_task_that_lets_its_childs_death_pass(
    start: Any, tmp_path: Path, fate: str, options: dict[str, Any], runs: tuple[int, ...]
) -> None:
    """It is run again, and has another child, while it has tries, as by the paper's rule."""
    start(num_cpus=2, fate_share=fate)
    tries = tmp_path / "tries"
    ref = outlives_an_owner.options(**options).remote(tries)
    if runs == (1,):
        with pytest.raises(OwnerDiedError, match="killed by signal 9"):
            zfut.get(ref, timeout=WAIT_S)
    else:
        assert zfut.get(ref, timeout=WAIT_S) == "mine"
    assert len(tries.read_text()) in runs


def test_another_word_is_refused(start: Any) -> None:
    with pytest.raises(UsageError, match="fate_share"):
        start(num_cpus=1, fate_share="sometimes")
