"""The arena: real memory, real processes, and nothing left behind."""

from __future__ import annotations

import gc
import mmap
import os
import random
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from ctypes import addressof, c_char
from pathlib import Path

import msgspec
import pytest

from zfut.store import Arena, ArenaInfo
from zfut.store.backing import KINDS, SHM_DIR
from zfut.store.copying import MADV_POPULATE_READ, madvise
from zfut.store.shared_memory import CHUNK_BYTES, HELPER_FROM_BYTES, LOCKED_COPY_BYTES, PAGE

MIB = 1 << 20
DEADLINE_S = 30


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def arena(kind: str, tmp_path: Path) -> Iterator[Arena]:
    made = Arena.create(64 * MIB, str(tmp_path), (kind,))
    yield made
    made.close()


def nothing() -> None:
    """For views of which nobody wants to know the end."""


def held(arena: Arena, offset: int, size: int) -> bytes:
    return bytes(arena.read(offset, size, nothing))


def test_what_is_kept_is_not_written_over(arena: Arena) -> None:
    other = Arena.attach(arena.info)
    size = 3 * PAGE
    other.write(64, [b"a" * size], [0])
    views = [other.read(64, size, nothing), other.read(PAGE + 64, 100, nothing)]
    other.keep([(64, size), (PAGE + 64, 100)])
    other.close()
    arena.write(0, [b"b" * (size + 2 * PAGE)], [0])
    assert [bytes(view) for view in views] == [b"a" * size, b"a" * 100]
    assert held(arena, 0, size) == b"b" * size


def names(directory: Path | str) -> list[str]:
    return sorted(file.name for file in Path(directory).iterdir())


def descriptors() -> list[str]:
    return names("/proc/self/fd")


def used_bytes(arena: Arena) -> int:
    return Path(arena.info.path).stat().st_blocks * 512


def run(program: str, *arguments: str) -> str:
    """Run a program in a process of its own, which imports what this one can."""
    done = subprocess.run(  # noqa: S603 (our own interpreter and text)
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_child(work: Callable[[], bool]) -> bool:
    """Run ``work`` in a child made by fork; return what it returned."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 1), f"the child failed: {code}"
    return code == 0


def test_memfd_is_the_first_choice(tmp_path: Path) -> None:
    arena = Arena.create(MIB + 1, str(tmp_path))
    assert arena.info.kind == "memfd"
    assert arena.info.capacity_bytes == MIB + PAGE
    assert arena.info.advice is None
    arena.close()


def test_what_the_machine_lacks_is_passed_over(tmp_path: Path) -> None:
    arena = Arena.create(MIB, str(tmp_path / "missing"), ("file", "memfd"))
    assert arena.info.kind == "memfd"
    arena.close()


def test_a_file_on_disk_comes_with_advice_and_memory_without(arena: Arena, kind: str) -> None:
    advice = arena.info.advice
    if kind == "file":
        assert advice is not None
        assert "64 MiB" in advice
        assert "\n" not in advice
    else:
        assert advice is None


def test_no_name_is_left_anywhere(kind: str, tmp_path: Path) -> None:
    before = names(SHM_DIR)
    arena = Arena.create(MIB, str(tmp_path), (kind,))
    assert names(tmp_path) == []
    assert [name for name in names(SHM_DIR) if name not in before] == []
    arena.close()


def test_making_and_closing_leaks_no_descriptor(kind: str, tmp_path: Path) -> None:
    gc.collect()
    before = len(descriptors())
    for _ in range(20):
        arena = Arena.create(MIB, str(tmp_path), (kind,))
        twin = Arena.attach(arena.info)
        view = twin.read(0, 10, nothing)
        twin.close()
        arena.close()
        del view
    assert len(descriptors()) == before


def test_no_memory_at_all_names_every_reason_and_leaves_nothing(tmp_path: Path) -> None:
    before = len(descriptors())
    missing = str(tmp_path / "missing")
    with pytest.raises(OSError, match=r"no memory for an object store of 1 MiB: file: No such"):
        Arena.create(MIB, missing, ("file",))
    with pytest.raises(OSError, match=r"cannot map an object store of 1 PiB"):
        Arena.create(1 << 50, str(tmp_path), ("memfd",))
    assert len(descriptors()) == before


def test_another_process_attaches_by_info(arena: Arena) -> None:
    arena.write(PAGE, [b"from the maker"], [0])
    program = """
import sys, msgspec
from zfut.store import Arena, ArenaInfo
arena = Arena.attach(msgspec.json.decode(sys.argv[1], type=ArenaInfo))
print(bytes(arena.read(4096, 14, lambda: None)).decode())
arena.write(8192, [b"back"], [0])
"""
    assert run(program, msgspec.json.encode(arena.info).decode()) == "from the maker\n"
    assert held(arena, 8192, 4) == b"back"


def test_an_arena_whose_maker_ended_cannot_be_attached() -> None:
    program = """
import msgspec
from zfut.store import Arena
print(msgspec.json.encode(Arena.create(1 << 20, "/").info).decode())
"""
    info = msgspec.json.decode(run(program), type=ArenaInfo)
    with pytest.raises(OSError, match="has ended or belongs to another user"):
        Arena.attach(info)


def test_a_path_that_is_now_another_file_is_refused(kind: str, tmp_path: Path) -> None:
    arena = Arena.create(MIB, str(tmp_path), (kind,))
    info = arena.info
    arena.close()
    other = Arena.create(MIB, str(tmp_path), (kind,))
    before = len(descriptors())
    assert other.info.path == info.path  # The descriptor's number is used again.
    with pytest.raises(FileNotFoundError, match="another file has its path"):
        Arena.attach(msgspec.structs.replace(info, inode=other.info.inode + 1))
    with pytest.raises(FileNotFoundError, match="another file has its path"):
        Arena.attach(msgspec.structs.replace(other.info, capacity_bytes=PAGE))
    assert len(descriptors()) == before
    other.close()


def test_children_made_by_fork_share_the_bytes(arena: Arena) -> None:
    arena.write(0, [b"parent"], [0])

    def child() -> bool:
        arena.write(PAGE, [b"child"], [0])
        return held(arena, 0, 6) == b"parent"

    assert in_child(child)
    assert held(arena, PAGE, 5) == b"child"


def test_a_child_that_closes_takes_nothing_from_its_parent(arena: Arena) -> None:
    arena.write(0, [b"parent"], [0])

    def child() -> bool:
        arena.close()
        return True

    assert in_child(child)
    assert held(arena, 0, 6) == b"parent"
    Arena.attach(arena.info).close()


def test_warm_is_what_this_process_has_written(arena: Arena, kind: str) -> None:
    twin = Arena.attach(arena.info)
    arena.write(PAGE - 1, [b"xx", b"y"], [0, 8 * PAGE])
    assert (arena.warm_bytes, twin.warm_bytes) == (3 * PAGE, 0)
    arena.write(0, [bytes(10 * PAGE)], [0])
    assert arena.warm_bytes == 10 * PAGE
    assert in_child(lambda: arena.warm_bytes == 0)
    arena.punch(PAGE, 4 * PAGE)
    assert arena.warm_bytes == (6 if kind == "memfd" else 10) * PAGE
    arena.close()
    assert arena.warm_bytes == 0
    twin.close()


def faults(work: Callable[[], None]) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def can_populate() -> bool:
    probe = mmap.mmap(-1, PAGE)
    return madvise(addressof(c_char.from_buffer(probe)), PAGE, MADV_POPULATE_READ)


def faults_to_map(size: int) -> int:
    """Faults that this kernel counts when a process maps so much memory that is there already."""
    descriptor = os.memfd_create("probe")
    os.truncate(descriptor, size)
    probe = mmap.mmap(descriptor, size)
    twin = mmap.mmap(descriptor, size)
    os.close(descriptor)
    probe[:] = bytes(size)
    address = addressof(c_char.from_buffer(twin))
    return faults(lambda: madvise(address, size, MADV_POPULATE_READ))


def test_warm_pages_fault_no_more_and_children_begin_cold(arena: Arena, kind: str) -> None:
    if not can_populate():
        pytest.skip("this kernel cannot populate page tables")
    size = 8 * MIB
    pages = size // PAGE
    data = bytes(size)

    def write() -> None:
        arena.write(0, [data], [0])

    write()
    assert faults(write) < pages // 10
    if kind != "file":  # One fault maps many pages of memory, but only one of a disk's.
        limit = faults_to_map(size) + pages // 10
        assert in_child(lambda: faults(write) <= limit)


SIZES = [
    1,
    PAGE,
    3 * PAGE + 17,
    LOCKED_COPY_BYTES,
    LOCKED_COPY_BYTES + 1,
    CHUNK_BYTES * 3,
    HELPER_FROM_BYTES + 12345,
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("offset", [0, 64, 5 * PAGE, 7 * MIB - 128])
def test_cold_known_partly_warm_and_warm_copies_are_right(
    arena: Arena, size: int, offset: int
) -> None:
    twin = Arena.attach(arena.info)
    source = random.Random(size)  # noqa: S311 (data that is the same in each run)
    for target in (arena, twin, arena):  # A hole, then known to the other, then warm.
        data = source.randbytes(size)
        target.write(offset, [memoryview(data)], [0])
        assert held(arena, offset, size) == data
    middle = source.randbytes(size // 2 + 1)
    fresh = Arena.attach(arena.info)
    fresh.write(offset + size // 4, [middle], [0])  # Warms the middle ...
    data = source.randbytes(size)
    fresh.write(offset, [data], [0])  # ... of what is written whole.
    assert held(arena, offset, size) == data
    assert held(arena, offset + size, 64) == bytes(64)
    fresh.close()
    twin.close()


def test_a_large_copy_lets_other_threads_run(tmp_path: Path) -> None:
    arena = Arena.create(64 * MIB, str(tmp_path))
    data = bytes(32 * MIB)
    arena.write(0, [data], [0])
    begin, ran = threading.Event(), threading.Event()

    def other() -> None:
        begin.wait()
        ran.set()

    thread = threading.Thread(target=other)
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(3600)  # Nobody runs unless this thread lets go by itself.
    try:
        begin.set()
        deadline = time.monotonic() + DEADLINE_S
        while not ran.is_set() and time.monotonic() < deadline:
            arena.write(0, [data], [0])
        assert ran.is_set()
    finally:
        sys.setswitchinterval(interval)
        thread.join(DEADLINE_S)
        arena.close()


def test_punch_gives_pages_back_unless_that_could_kill(arena: Arena, kind: str) -> None:
    arena.write(0, [b"x" * (4 * MIB)], [0])
    before = used_bytes(arena)
    arena.punch(100, 2 * MIB)
    returned = before - used_bytes(arena)
    assert returned == (2 * MIB - PAGE if kind == "memfd" else 0)
    assert held(arena, 0, 100) == b"x" * 100
    assert held(arena, 2 * MIB + 100, 100) == b"x" * 100
    data = os.urandom(3 * MIB)
    arena.write(0, [data], [0])
    assert held(arena, 0, 4 * MIB) == data + b"x" * MIB


def test_punched_pages_are_cold(tmp_path: Path) -> None:
    if not can_populate():
        pytest.skip("this kernel cannot populate page tables")
    arena = Arena.create(64 * MIB, str(tmp_path), ("memfd",))
    data = bytes(8 * MIB)
    arena.write(0, [data], [0])
    arena.punch(0, len(data))
    # Taken for warm, each page would be a fault.
    assert faults(lambda: arena.write(0, [data], [0])) < len(data) // PAGE // 10
    arena.close()


def test_memory_is_used_when_it_is_written(kind: str, tmp_path: Path) -> None:
    if kind == "file":
        pytest.skip("a file on disk is reserved at once")
    arena = Arena.create(1 << 30, str(tmp_path), (kind,))
    arena.write(512 * MIB, [b"x" * PAGE], [0])
    assert PAGE <= used_bytes(arena) < 16 * MIB
    arena.close()


FULL_SHM = """
import os, sys
from zfut.store import Arena
arena = Arena.create(1 << 30, sys.argv[1], ("shm",))
assert arena.info.capacity_bytes < 80 << 20, arena.info
assert "instead of 1 GiB" in arena.info.advice, arena.info
arena.write(0, [b"fine" * 1024], [0])
with open("/dev/shm/other", "wb", buffering=0) as other:
    try:
        while True:
            other.write(bytes(1 << 20))
    except OSError:
        pass
for size in (1, 1 << 20, 20 << 20):
    try:
        arena.write(32 << 20, [bytes(size)], [0])
    except OSError as error:
        assert error.errno == 28 and "other programs have filled" in str(error), error
    else:
        raise AssertionError("written to a full file system")
assert bytes(arena.read(0, 4, lambda: None)) == b"fine"
arena.write(0, [b"more"], [0])
try:
    Arena.create(1 << 30, sys.argv[1], ("shm",))
except OSError as error:
    assert "/dev/shm has only" in str(error), error
else:
    raise AssertionError("made an arena without memory")
print("alive")
"""


def test_a_full_file_system_is_an_error_and_no_signal(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    mount = f"mount -t tmpfs -o size=80m none {SHM_DIR}"
    prefix = [str(unshare), "--mount", "sh", "-c"]
    if not unshare or subprocess.run([*prefix, mount], check=False).returncode:  # noqa: S603
        pytest.skip("needs the right to mount a small /dev/shm of its own")
    done = subprocess.run(  # noqa: S603
        [*prefix, f'{mount} && exec "$@"', "sh", sys.executable, "-c", FULL_SHM, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("alive\n", 0), done.stderr
