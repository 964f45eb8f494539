"""One session of 2 CPUs for each test module, in a directory of its own, and a check for leaks.

A module without the mark ``cluster`` starts nothing.  After each test every resource is free, every
actor has ended and this process owns no object any more; after the module, nothing is left at all.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import zfut
from tests.cluster.leftovers import Footprint, assert_unchanged, new_base, until
from zfut.session import current

Start = Callable[..., zfut.Session]


def start_plain() -> zfut.Session:
    """Start the session that a module's tests share."""
    return zfut.init(num_cpus=2, object_store_memory=256 * 2**20)


@pytest.fixture(scope="module", autouse=True)
def base(request: pytest.FixtureRequest) -> Iterator[Path | None]:
    """Run the tests that are marked so in a session that is theirs alone."""
    if not request.node.get_closest_marker("cluster"):
        yield None
        return
    made = new_base()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZFUT_SESSION_DIR", str(made))
        cloudpickle.register_pickle_by_value(request.module)
        before = Footprint.take(made)
        start_plain()
        yield made
        zfut.shutdown()
        assert_unchanged(before, made)
        cloudpickle.unregister_pickle_by_value(request.module)
    shutil.rmtree(made)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start another session than the module's; that one is started anew after the test."""
    zfut.shutdown()
    yield zfut.init
    gc.collect()
    check_nothing_is_held()
    zfut.shutdown()
    start_plain()


@pytest.fixture(autouse=True)
def everything_given_back(base: Path | None) -> Iterator[None]:
    """Fail a test that leaves resources taken, actors alive or objects held."""
    yield
    gc.collect()  # a caught exception and the frame that caught it hold each other
    if base is not None:
        check_nothing_is_held()


def check_nothing_is_held() -> None:
    """Assert that the session, if there is one, is as if it had just started."""
    if not zfut.is_initialized():
        return
    total = zfut.cluster_resources()
    until(lambda: zfut.available_resources() == total, "every resource is free again")
    until(lambda: not actors(), "every actor has ended")
    until(lambda: not owned(), "this process owns nothing any more")
    until(lambda: not zfut.nodes()[0]["waiting"], "nothing is queued")


def actors() -> list[int]:
    """Return the pids of the processes that live actors."""
    return [worker["pid"] for worker in zfut.nodes()[0]["workers"] if worker["actor"]]


def owned() -> dict[bytes, Any]:
    """Return the rows of the objects that this process owns or borrows."""
    zfut.nodes()  # what was dropped is handled before the answer comes
    return dict(current().owner.rows)
