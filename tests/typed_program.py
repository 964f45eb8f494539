"""A program that type checkers read: every line has the type that it says. Nobody runs it."""

from __future__ import annotations

from typing import assert_type

import zfut
from zfut import ObjectRef


@zfut.remote
def length(text: str, *, times: int = 1) -> int:
    return len(text) * times


@zfut.remote(num_cpus=2)
def upper(text: str) -> str:
    return text.upper()


@zfut.remote
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.count = start


assert_type(length.remote("a", times=2), ObjectRef[int])
assert_type(zfut.get(length.remote("a")), int)
assert_type(zfut.get([length.remote("a"), length.remote("b")]), list[int])
assert_type(zfut.get(upper.remote("a"), timeout=1.0), str)
assert_type(zfut.put("x"), ObjectRef[str])
assert_type(length.local("a", times=3), int)
zfut.free(length.remote("a"))
zfut.free([upper.remote("a"), length.remote("b")])
ready, rest = zfut.wait([zfut.put(1)], num_returns=1)
assert_type(ready, list[ObjectRef[int]])


async def main() -> None:
    assert_type(await length.remote("a"), int)


WRONG = """
length.remote(1)
length.remote("a", time=2)
upper.remote()
Counter.remote("no number")
zfut.get(1)
"""
