"""References that exist only because a value was packed: its ``__reduce__`` makes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import zfut

pytestmark = pytest.mark.cluster
WAIT_S = 60


class Lazy:
    """Puts what it stands for when it is packed, and keeps no reference to that."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __reduce__(self) -> tuple[Any, ...]:
        return list, ([zfut.put(self.n)],)


@zfut.remote
def lazy(n: int) -> Any:
    return Lazy(n)


@zfut.remote(num_returns=2)
def several(n: int) -> Iterator[Any]:
    return map(lambda i: [zfut.put(n + i)], range(2))  # noqa: C417  it keeps nothing


@zfut.remote
def opened(refs: Any) -> int:
    return zfut.get(refs[0])


@zfut.remote
class Maker:
    """Makes them in a method, or a coroutine, and is given one."""

    def __init__(self, refs: Any) -> None:
        self.refs = refs

    def given(self) -> int:
        return zfut.get(self.refs[0])

    def plain(self, n: int) -> Any:
        return Lazy(n)

    async def awaited(self, n: int) -> Any:
        return Lazy(n)


def inside(ref: Any) -> int:
    return zfut.get(zfut.get(ref, timeout=WAIT_S)[0], timeout=WAIT_S)


def test_in_a_result() -> None:
    assert inside(lazy.remote(1)) == 1
    assert [inside(ref) for ref in several.remote(2)] == [2, 3]


def test_in_a_method_s_result() -> None:
    maker = Maker.remote(Lazy(4))
    assert inside(maker.plain.remote(5)) == 5
    assert inside(maker.awaited.remote(6)) == 6


def test_in_an_argument() -> None:
    assert zfut.get(opened.remote(Lazy(7)), timeout=WAIT_S) == 7
    maker = Maker.remote(Lazy(8))
    assert zfut.get(maker.given.remote(), timeout=WAIT_S) == 8


def test_in_a_put() -> None:
    assert inside(zfut.put(Lazy(9))) == 9
