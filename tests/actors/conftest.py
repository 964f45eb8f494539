"""One session for each test module, in a directory of its own, that leaves nothing."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator

import cloudpickle
import pytest

import zfut
from tests.cluster.leftovers import Footprint, assert_unchanged, new_base, until


@pytest.fixture(scope="module", autouse=True)
def node(request: pytest.FixtureRequest) -> Iterator[zfut.Session | None]:
    """A session of 4 CPUs if the module has tests that start processes."""
    if not request.node.get_closest_marker("cluster"):
        yield None
        return
    base = new_base()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZFUT_SESSION_DIR", str(base))
        cloudpickle.register_pickle_by_value(request.module)
        before = Footprint.take(base)
        yield zfut.init(num_cpus=4)
        zfut.shutdown()
        assert_unchanged(before, base)
        cloudpickle.unregister_pickle_by_value(request.module)
    shutil.rmtree(base)


@pytest.fixture(autouse=True)
def everything_given_back(node: zfut.Session | None) -> Iterator[None]:
    """After each test every resource is free again and no actor is left."""
    yield
    gc.collect()  # a caught exception and the frame that caught it hold each other
    if node is not None and zfut.is_initialized():
        total = zfut.cluster_resources()
        until(lambda: zfut.available_resources() == total, "every resource is free again")
        until(lambda: not actors(), "every actor has ended")


def actors() -> list[int]:
    """Return the pids of the processes that live actors."""
    return [worker["pid"] for worker in zfut.nodes()[0]["workers"] if worker["actor"]]
