"""How large an arena is made, from control group files of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from zfut.store.capacity import default_capacity_bytes, memory_limit_bytes

MIB = 1 << 20


def limit(tmp_path: Path, membership: str, files: dict[str, str]) -> int | None:
    (tmp_path / "cgroup").write_text(membership)
    for name, text in files.items():
        file = tmp_path / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return memory_limit_bytes(str(tmp_path / "cgroup"), str(tmp_path / "fs"))


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "5000\n", "a/memory.max": "9000\n"}, 5000),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "9000\n"}, 9000),
        ("0::/a/b\n", {"a/b/memory.max": "max\n"}, None),
        ("0::/host/path\n", {"memory.max": "7000\n"}, 7000),
        ("0::/\n", {}, None),
        ("9:memory:/a\n", {"memory/a/memory.limit_in_bytes": "6000\n"}, 6000),
        (
            "8:cpu,cpuacct:/b\n9:memory,other:/a\n0::/\n",
            {
                "memory/a/memory.limit_in_bytes": "9223372036854771712\n",
                "memory/memory.limit_in_bytes": "8000\n",
            },
            8000,
        ),
        ("3:memory:/a\n", {"memory/a/memory.limit_in_bytes": "-1\n"}, None),
        ("3:name=a:b:/c\n", {"memory.max": "1\n"}, None),
        ("0::/a:b\n", {"a:b/memory.max": "4000\n"}, 4000),
    ],
)
def test_the_least_limit_of_all_groups_counts(
    tmp_path: Path, membership: str, files: dict[str, str], expected: int | None
) -> None:
    assert limit(tmp_path, membership, files) == expected


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert memory_limit_bytes(str(tmp_path / "none"), str(tmp_path)) is None


def test_the_default_is_a_part_of_the_memory_but_not_too_little() -> None:
    bound = memory_limit_bytes()
    memory = min(1000 * MIB, bound or 1000 * MIB)
    assert default_capacity_bytes(1000 * MIB) == max(64 * MIB, memory * 30 // 100)
    assert default_capacity_bytes(100 * MIB) == 64 * MIB
    assert default_capacity_bytes(1 << 62) <= (bound or 1 << 62)
