"""References that come inside values: counted once, whatever user code does meanwhile."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

import zfut
from tests.api.conftest import Start, owned
from tests.cluster.leftovers import until

pytestmark = pytest.mark.cluster

WAIT_S = 60


class Opens:
    """Calls ``function`` with what it was made of when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *given: Any) -> None:
        self.made_of = function, given

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.made_of


def read_first(refs: list[Any]) -> Any:
    return zfut.get(refs[0])


def forget(refs: list[Any]) -> int:
    count = len(refs)
    refs.clear()
    gc.collect()
    return count


def refuse(refs: list[Any]) -> None:
    message = f"not with {len(refs)}"
    raise ValueError(message)


@zfut.remote
def hand_over(value: Any) -> Any:
    return value


def nothing_is_left() -> bool:
    gc.collect()
    zfut.wait([zfut.put(None)])
    return not owned()


@pytest.mark.parametrize("there", [False, True], ids=["put", "returned"])
def test_user_code_in_the_unpickler(start: Start, *, there: bool) -> None:
    start(num_cpus=1)
    inner = [zfut.put(number) for number in range(3)]

    def made(value: Any) -> Any:
        return zfut.get(hand_over.remote([value]))[0] if there else zfut.get(zfut.put(value))

    assert made(Opens(read_first, inner)) == 0
    assert made(Opens(forget, inner)) == 3
    with pytest.raises(ValueError, match="not with 3"):
        made(Opens(refuse, inner))
    assert zfut.get(inner) == [0, 1, 2]
    inner.clear()
    until(nothing_is_left, "every reference is counted down")


def test_many_references_in_many_values(start: Start) -> None:
    start(num_cpus=1)
    inner = [zfut.put(number) for number in range(50)]
    outer = [zfut.put(inner) for _ in range(40)]
    values = zfut.get(outer)
    del inner, outer
    assert [zfut.get(refs[7]) for refs in values] == [7] * 40
    values.clear()
    until(nothing_is_left, "every reference is counted down")
