"""Several programs on one node: they share it, find each other by name, and end on their own."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import zfut
from tests.cli.commands import Running, node
from tests.cluster.leftovers import ended, until
from tests.cluster.programs import Processes, Program

pytestmark = pytest.mark.cluster

Run = Callable[[str], Program]

JOIN = """
    zfut.init(address="auto")

    @zfut.remote
    class Counter:
        def __init__(self):
            self.count = 0
        def next(self):
            self.count += 1
            return self.count
        def pid(self):
            return os.getpid()
        def box(self, value):
            return [zfut.put(value)]

    @zfut.remote
    def square(n):
        return n * n
"""


@pytest.fixture
def served(base: Path) -> Iterator[Running]:
    """A node in the foreground, of two CPUs."""
    with node(base) as running:
        yield running
        running.signal(signal.SIGTERM)
        assert running.code() == 128 + signal.SIGTERM


@pytest.fixture
def small(base: Path) -> Iterator[Running]:
    """A node whose store is soon full."""
    with node(base, "--object-store-memory=64MiB") as running:
        yield running
        running.signal(signal.SIGTERM)
        assert running.code() == 128 + signal.SIGTERM


@pytest.mark.usefixtures("small")
def test_arrays_keep_their_values_when_their_program_leaves_and_another_writes(
    run: Run,
) -> None:
    """What a program got lives on after ``shutdown``, on a node that outlives its part."""
    leaver = run(
        f"""{JOIN}
    import numpy as np
    @zfut.remote
    def make(value):
        return np.full(1 << 17, value)
    arrays = zfut.get([make.remote(7), zfut.put(np.full((1 << 17) + 3, 8))])
    zfut.shutdown()
    say("left")
    hear()
    say(*[int(n) for array in arrays for n in (array.min(), array.max())])
    """
    )
    assert leaver.line() == "left"
    writer = run(
        f"""{JOIN}
    import numpy as np
    kept = [zfut.put(np.full(1 << 17, 1000)) for _ in range(50)]
    say("written")
    hear()
    """
    )
    assert writer.line() == "written"
    leaver.tell()
    assert leaver.line() == "7 7 8 8"
    writer.tell()


@pytest.mark.usefixtures("served")
def test_programs_work_side_by_side_and_leave_the_node_as_it_was(run: Run) -> None:
    source = f"""{JOIN}
    counter = Counter.remote()
    hear()
    total = sum(zfut.get([square.remote(n) for n in range(300)]))
    say(total, zfut.get([counter.next.remote() for _ in range(300)])[-1])
    """
    programs = [run(source) for _ in range(4)]
    for program in programs:
        program.tell()
    for program in programs:
        assert program.line() == f"{sum(n * n for n in range(300))} 300"
        assert program.wait() == 0
    with zfut.init(address="auto"):
        free = zfut.cluster_resources()
        until(lambda: zfut.available_resources() == free, "every resource is free")
        until(lambda: len(zfut.nodes()[0]["drivers"]) == 1, "the others have left")
        until(
            lambda: not any(worker["actor"] for worker in zfut.nodes()[0]["workers"]),
            "their actors have ended",
        )


@pytest.mark.usefixtures("served")
def test_one_of_many_programs_makes_a_shared_actor(run: Run) -> None:
    source = f"""{JOIN}
    say("joined")
    hear()
    counter = Counter.options(name="shared", get_if_exists=True).remote()
    say(zfut.get(counter.next.remote()))
    hear()
    """
    programs = [run(source) for _ in range(4)]
    for program in programs:
        assert program.line() == "joined"
    for program in programs:
        program.tell()
    assert sorted(program.line() for program in programs) == ["1", "2", "3", "4"]
    for program in programs:
        program.tell()
        assert program.wait() == 0


@pytest.mark.usefixtures("served")
def test_namespaces_keep_programs_apart(run: Run) -> None:
    programs = [
        run(
            JOIN.replace('address="auto"', f'address="auto", namespace="{name}"')
            + f"""
    counter = Counter.options(name="mine").remote()
    for _ in range({n}):
        zfut.get(counter.next.remote())
    say("made")
    hear()
    say(zfut.get(zfut.get_actor("mine").next.remote()))
    other = zfut.get_actor("mine", "{"b" if name == "a" else "a"}")
    say(other == counter)
    hear()
    """
        )
        for n, name in enumerate("ab", 1)
    ]
    for program in programs:
        assert program.line() == "made"
    for n, program in enumerate(programs, 1):
        program.tell()
        assert program.lines(2) == [str(n + 1), "False"]
    for program in programs:
        program.tell()
        assert program.wait() == 0


SERIALIZERS = """
    class Client:
        def __init__(self, url):
            self.url = url
            self.lock = threading.Lock()

    REGISTER
    zfut.init(address="auto")

    @zfut.remote(num_returns=2, num_cpus=2)
    def make(url):
        return os.getpid(), Client(url)

    @zfut.remote(num_cpus=2)
    def pid():
        return os.getpid()

    say("joined")
    while hear():
        try:
            say(zfut.get(pid.remote()), zfut.get(make.remote("made")[1]).url)
        except TypeError as error:
            refused = isinstance(error, zfut.errors.SerializationError)
            say(zfut.get(pid.remote()), "refused", refused, "lock" in str(error))
"""


@pytest.mark.usefixtures("served")
def test_the_serializers_of_one_program_are_not_those_of_another(run: Run) -> None:
    """Behaviour 17: whoever's turn it is, in workers that the others used before."""
    register = (
        "zfut.register_serializer(Client, serializer=lambda client: client.url,"
        " deserializer=lambda url: Client(url + {!r}))"
    )
    calls = [register.format(" by a"), register.format(" by b"), ""]
    programs = [run(SERIALIZERS.replace("REGISTER", call)) for call in calls]
    for program in programs:
        assert program.line() == "joined"
    pids: list[set[str]] = [set(), set(), set()]
    for _ in range(8):
        said = ["made by a", "made by b", "refused True True"]
        for program, text, used in zip(programs, said, pids, strict=True):
            program.tell("go")
            pid, _, line = program.line().partition(" ")
            assert line == text
            used.add(pid)
    assert set.intersection(*pids), "no worker served them all"
    for program in programs:
        program.tell()
        assert program.wait() == 0


@pytest.mark.parametrize("end", ["kill", "exit"])
@pytest.mark.usefixtures("served")
def test_what_a_program_owned_ends_with_it_and_the_others_are_told(run: Run, end: str) -> None:
    owner = run(f"""{JOIN}
    counter = Counter.options(name="owned").remote()
    say(zfut.get(counter.pid.remote()))
    hear()
    """)
    actor = int(owner.line())
    guest = run(f"""{JOIN}
    counter = zfut.get_actor("owned")
    zfut.get(counter.next.remote())
    boxed = zfut.get(counter.box.remote(bytes(500_000)))[0]
    mine = Counter.options(name="guest").remote()
    say(len(zfut.get(boxed)))
    hear()
    for ask in (counter.next.remote, lambda: zfut.get_actor("owned").next.remote()):
        try:
            while True:
                zfut.get(ask(), timeout=20)
        except Exception as error:
            say(type(error).__name__, getattr(error, "reason", ""))
    say(zfut.get(mine.next.remote()), sum(zfut.get([square.remote(n) for n in range(10)])))
    """)
    assert guest.line() == "500000"
    if end == "kill":
        owner.kill()
    else:
        owner.tell()
    owner.wait()
    assert ended(actor)
    guest.tell()
    assert guest.line() == "ActorDiedError owner died"
    assert guest.line().startswith(("NoSuchActorError", "ActorDiedError"))
    assert guest.line() == "1 285"
    assert guest.wait() == 0


def test_programs_of_a_node_that_is_stopped_are_told(run: Run, base: Path) -> None:
    with node(base, "--grace-period=0.2s") as running:
        program = run(f"""{JOIN}
    @zfut.remote
    def busy():
        threading.Event().wait()

    ref = busy.remote()
    say("joined")
    for use in (lambda: zfut.get(ref), lambda: zfut.get(square.remote(1)), zfut.nodes):
        try:
            use()
        except Exception as error:
            say(type(error).__name__, str(error).replace(chr(10), " "))
    zfut.shutdown()
    say("left")
    """)
        assert program.line() == "joined"
        processes = Processes(base)
        running.signal(signal.SIGTERM)
        for line in program.lines(3):
            assert line.startswith("SessionError"), line
        assert program.line() == "left"
        assert program.wait() == 0
        running.code()
        assert processes.all_ended()
