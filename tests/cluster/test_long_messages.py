"""Messages whose headers are larger than a frame: values with very many references in them."""

from __future__ import annotations

from typing import Any

import pytest

import zfut

pytestmark = pytest.mark.cluster

COUNT = 5_000


@zfut.remote
class Owner:
    """Owns what it returns references to."""

    def make(self) -> list[Any]:
        self.refs = [zfut.put(number) for number in range(COUNT)]
        return self.refs


@zfut.remote
def total(refs: list[Any]) -> int:
    return sum(zfut.get(refs))


def test_answers_and_calls_with_more_references_than_a_frame_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZFUT_MESSAGE_MAX_BYTES", "65536")
    zfut.init(num_cpus=1)
    try:
        refs = zfut.get(Owner.remote().make.remote(), timeout=60)
        assert len(refs) == COUNT
        assert zfut.get(total.remote(refs), timeout=60) == sum(range(COUNT))
        box = zfut.put(refs)
        assert len(zfut.get(box, timeout=60)) == COUNT
    finally:
        del refs
        zfut.shutdown()
