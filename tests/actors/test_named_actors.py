"""Names: unique in a namespace, found from everywhere, and free again when their actor ends."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import zfut
from tests.cluster.leftovers import alive, ended, until
from zfut.errors import ActorAlreadyExistsError, ActorDiedError, NoSuchActorError

pytestmark = pytest.mark.cluster


@zfut.remote
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.count = start

    def next(self) -> int:
        self.count += 1
        return self.count

    def pid(self) -> int:
        return os.getpid()


def names() -> set[tuple[str, str]]:
    return {(entry["namespace"], entry["name"]) for entry in zfut.nodes()[0]["names"]}


def gone(name: str, namespace: str | None = None) -> bool:
    try:
        zfut.get_actor(name, namespace)
    except ValueError:
        return True
    return False


def test_a_name_is_found_in_the_program_and_in_workers() -> None:
    @zfut.remote
    def visit() -> tuple[int, Any]:
        found = zfut.get_actor("shared")
        return zfut.get(found.next.remote()), found

    counter = Counter.options(name="shared").remote(10)
    assert zfut.get(zfut.get_actor("shared").next.remote()) == 11
    count, found = zfut.get(visit.remote())
    assert count == 12
    assert found == counter == zfut.get_actor("shared")
    assert len({found, counter, zfut.get_actor("shared")}) == 1


def test_a_name_that_nobody_has() -> None:
    with pytest.raises(NoSuchActorError, match="'nobody'") as caught:
        zfut.get_actor("nobody")
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("wrong", ["", None, 3, b"name"])
def test_names_are_text_that_is_not_empty(wrong: Any) -> None:
    kind = ValueError if wrong == "" else TypeError
    with pytest.raises(kind, match="name"):
        zfut.get_actor(wrong)
    if wrong is not None:
        with pytest.raises(kind, match="name"):
            Counter.options(name=wrong)
    if wrong not in ("", None):
        with pytest.raises(TypeError, match="namespace"):
            Counter.options(namespace=wrong)


def test_a_name_is_unique_and_says_so() -> None:
    first = Counter.options(name="one").remote()
    with pytest.raises(ActorAlreadyExistsError, match="'one'") as caught:
        Counter.options(name="one").remote()
    assert isinstance(caught.value, ValueError)
    assert zfut.get(first.next.remote()) == 1
    assert zfut.get_actor("one") == first


def test_namespaces_keep_names_apart() -> None:
    mine = Counter.options(name="same").remote(0)
    other = Counter.options(name="same", namespace="other").remote(100)
    assert mine != other
    assert zfut.get(zfut.get_actor("same").next.remote()) == 1
    assert zfut.get(zfut.get_actor("same", "other").next.remote()) == 101
    with pytest.raises(ValueError, match="namespace 'third'"):
        zfut.get_actor("same", "third")


@pytest.mark.parametrize("end", ["kill", "last handle", "crash", "exit"])
def test_a_name_is_free_again_when_its_actor_ends(end: str) -> None:
    counter = Counter.options(name="again").remote()
    pid = zfut.get(counter.pid.remote())
    if end == "kill":
        zfut.kill(counter)
    elif end == "crash":
        os.kill(pid, 9)
    elif end == "exit":
        counter.__zfut_terminate__.remote()
    del counter
    assert ended(pid)
    until(lambda: gone("again"), "the name is free")
    second = Counter.options(name="again").remote(5)
    assert zfut.get(zfut.get_actor("again").next.remote()) == 6
    del second


def test_killed_by_a_handle_that_was_found() -> None:
    counter = Counter.options(name="victim").remote()
    pid = zfut.get(counter.pid.remote())
    zfut.kill(zfut.get_actor("victim"))
    assert ended(pid)
    with pytest.raises(ActorDiedError) as caught:
        zfut.get(counter.next.remote(), timeout=20)
    assert caught.value.reason == "killed"
    until(lambda: gone("victim"), "the name is free")


def test_a_handle_that_was_found_does_not_keep_the_actor() -> None:
    counter = Counter.options(name="weak").remote()
    found = zfut.get_actor("weak")
    pid = zfut.get(found.pid.remote())
    del counter
    assert ended(pid)
    with pytest.raises(ActorDiedError) as caught:
        zfut.get(found.next.remote(), timeout=20)
    assert caught.value.reason == "out of scope"


def test_a_handle_that_was_found_and_passed_on_works_while_the_actor_lives() -> None:
    @zfut.remote
    def use(handle: Any) -> int:
        return zfut.get(handle.next.remote())

    counter = Counter.options(name="passed").remote()
    found = zfut.get_actor("passed")
    assert sorted(zfut.get([use.remote(found) for _ in range(3)])) == [1, 2, 3]
    del found
    assert alive(zfut.get(counter.pid.remote()))


def test_a_constructor_that_fails_frees_its_name() -> None:
    @zfut.remote
    class Broken:
        def __init__(self) -> None:
            message = "broken"
            raise ValueError(message)

        def call(self) -> None: ...

    broken = Broken.options(name="unlucky").remote()
    with pytest.raises(ActorDiedError, match="ValueError: broken"):
        zfut.get(broken.call.remote())
    until(lambda: gone("unlucky"), "the name is free")


def test_a_name_can_be_called_before_its_constructor_has_run() -> None:
    @zfut.remote
    def slow(handle: Any) -> int:
        zfut.get(handle.next.remote())
        return 40

    other = Counter.remote()
    pending = slow.remote(other)
    counter = Counter.options(name="early").remote(pending)
    assert zfut.get(zfut.get_actor("early").next.remote(), timeout=20) == 41
    del counter


def test_get_if_exists_makes_one_actor_for_a_hundred_threads() -> None:
    barrier = threading.Barrier(100)

    def use(name: str) -> tuple[Any, int]:
        barrier.wait(30)
        handle = Counter.options(name=name, get_if_exists=True).remote()
        return handle, zfut.get(handle.next.remote(), timeout=30)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(100) as pool:
            for name in ("first", "second", "third"):
                results = list(pool.map(use, [name] * 100))
                assert len({handle for handle, _ in results}) == 1
                assert sorted(count for _, count in results) == list(range(1, 101))
                assert names() == {("", name)}
                pid = zfut.get(results[0][0].pid.remote())
                results.clear()
                assert ended(pid)
    finally:
        sys.setswitchinterval(interval)


def test_an_actor_that_is_killed_by_name_before_it_is_made(monkeypatch: Any) -> None:
    submit = zfut.Session.submit

    def submit_late(session: zfut.Session, task: Any) -> Any:
        if task.creation is not None:
            zfut.kill(zfut.get_actor("doomed"))
        return submit(session, task)

    monkeypatch.setattr(zfut.Session, "submit", submit_late)
    counter = Counter.options(name="doomed").remote(zfut.put(1))
    with pytest.raises(ActorDiedError) as caught:
        zfut.get(counter.next.remote(), timeout=20)
    assert caught.value.reason == "killed"
    until(lambda: gone("doomed"), "the name is free")


def test_get_if_exists_makes_one_actor_for_many_workers() -> None:
    @zfut.remote
    def use(name: str) -> tuple[Any, int]:
        handle = Counter.options(name=name, get_if_exists=True).remote()
        return handle, zfut.get(handle.next.remote(), timeout=30)

    keeper = Counter.options(name="kept", get_if_exists=True).remote()
    results = zfut.get([use.remote("kept") for _ in range(20)], timeout=30)
    assert {handle for handle, _ in results} == {keeper}
    assert sorted(count for _, count in results) == list(range(1, 21))


def test_an_actor_in_a_task_is_named_in_the_programs_namespace() -> None:
    @zfut.remote
    class Maker:
        def make(self) -> None:
            self.counter = Counter.options(name="inner").remote(7)

    maker = Maker.remote()
    zfut.get(maker.make.remote())
    assert zfut.get(zfut.get_actor("inner").next.remote()) == 8
    zfut.kill(maker)
    until(lambda: gone("inner"), "the name went with its owner")
