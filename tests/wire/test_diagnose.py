"""The path from a value to what in it cannot be pickled."""

from __future__ import annotations

import collections
import dataclasses
import functools
import threading
from typing import Any, NamedTuple, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zfut import errors
from zfut.wire import diagnose, serialize
from zfut.wire.serialize import pack, pack_call

LOCK = threading.Lock()
GLOBAL_CONFIG = {"db": LOCK}


class Client:
    def __init__(self) -> None:
        self.name = "client"
        self.session = threading.Lock()


class Slotted:
    __slots__ = ("left", "right")

    def __init__(self, right: object) -> None:
        self.right = right


class Careful:
    """Leaves its lock out: it is not to blame."""

    def __init__(self, inner: object) -> None:
        self.lock = threading.Lock()
        self.inner = inner

    def __getstate__(self) -> dict[str, object]:
        return {"inner": self.inner}


class Stubborn:
    def __reduce__(self) -> NoReturn:
        text = "I stay here"
        raise LookupError(text)


class Pair(NamedTuple):
    left: object
    right: object


@dataclasses.dataclass
class Data:
    content: object


class Counting(dict[str, object]):
    pass


class Trap:
    """Looking at it closely is punished; only pickling may."""

    touched = 0

    def __init__(self) -> None:
        self.lock = threading.Lock()

    @property
    def prop(self) -> object:
        Trap.touched += 1
        return None

    def __repr__(self) -> str:
        Trap.touched += 1
        return "trap"

    def __eq__(self, other: object) -> bool:
        Trap.touched += 1
        return False

    def __hash__(self) -> int:
        return 1

    def __len__(self) -> int:
        Trap.touched += 1
        return 0


def closing_over(db: object) -> Any:
    return lambda: db


def reads_a_global() -> object:
    return GLOBAL_CONFIG


def path_of(value: object, root: str = "x") -> str:
    """Return the path that the error has."""
    with pytest.raises(errors.SerializationError) as caught:
        pack(value, "argument 'x' of f()", root)
    assert isinstance(caught.value, TypeError)
    assert str(caught.value) == (
        f"Cannot send argument 'x' of f(): {caught.value.path}. "
        "Create it inside the task, or keep it in an actor."
    )
    return caught.value.path


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (LOCK, "x -> _thread.lock"),
        ({"conn": Client()}, "x['conn'] -> Client.session -> _thread.lock"),
        ([1, (2, {"k": LOCK})], "x[1][1]['k'] -> _thread.lock"),
        ({3: {b"k": [LOCK]}}, "x[3][b'k'][0] -> _thread.lock"),
        ({Data: LOCK}, "x[<type>] -> _thread.lock"),
        ({LOCK: 1}, "x -> a lock as key -> _thread.lock"),
        ({LOCK}, "x -> a lock in the set -> _thread.lock"),
        (closing_over(Client()), "x -> closure 'db' -> Client.session -> _thread.lock"),
        ([closing_over(LOCK)], "x[0] -> closure 'db' -> _thread.lock"),
        (Slotted(LOCK), "x -> Slotted.right -> _thread.lock"),
        (Careful([LOCK]), "x -> Careful.inner[0] -> _thread.lock"),
        (Data({"k": LOCK}), "x -> Data.content['k'] -> _thread.lock"),
        (Pair(1, LOCK), "x -> Pair's contents -> _thread.lock"),
        (Counting(k=LOCK), "x['k'] -> _thread.lock"),
        (collections.deque([1, LOCK]), "x[1] -> _thread.lock"),
        (functools.partial(print, 1, LOCK), "x -> its argument 2 -> _thread.lock"),
        (functools.partial(print, end=LOCK), "x -> its argument 'end' -> _thread.lock"),
        (Client().__init__, "x -> __init__.__self__ -> Client.session -> _thread.lock"),  # type: ignore[misc]
        ((i for i in "ab"), "x -> generator"),
        (ValueError({"a": LOCK}), "x -> ValueError's contents['a'] -> _thread.lock"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_path_to_the_culprit(value: object, path: str) -> None:
    """Behaviour 18."""
    assert path_of(value) == path


def test_the_culprit_says_why_if_it_is_its_own_doing() -> None:
    name = f"{Stubborn.__module__}.Stubborn"
    assert path_of([Stubborn()]) == f"x[0] -> {name} (LookupError: I stay here)"


def test_what_a_class_leaves_out_is_not_to_blame() -> None:
    packed = pack(Careful(1))
    assert serialize.unpack(packed.encoding, packed.to_bytes()).inner == 1


def local_function() -> Any:
    config: dict[str, object] = {"a": [LOCK]}

    def inner(x: int, y: object = 1) -> object:
        return config, x, y

    return inner


def test_functions_and_classes_name_what_they_capture() -> None:
    inner = local_function()
    with_default = local_function()
    with_default.__kwdefaults__ = {"y": LOCK}
    with_default.__closure__[0].cell_contents = 1

    class Actor:
        shared = LOCK

        def method(self) -> object:
            return None

    class Child(Actor):
        pass

    class Caller:
        def method(self) -> object:
            return inner

    for function, what, path in (
        (inner, "function inner", "closure 'config'['a'][0] -> _thread.lock"),
        (with_default, "function inner", "default of 'y' -> _thread.lock"),
        (Actor, "actor class Actor", "Actor.shared -> _thread.lock"),
        (Child, "actor class Child", "base Actor -> Actor.shared -> _thread.lock"),
        (
            Caller,
            "actor class Caller",
            "Caller.method -> closure 'inner' -> closure 'config'['a'][0] -> _thread.lock",
        ),
    ):
        with pytest.raises(errors.SerializationError) as caught:
            serialize.dump_function(function, what)
        assert caught.value.path == path
        assert str(caught.value).startswith(f"Cannot send {what}: {path}.")


def test_globals_of_functions_that_travel_by_value() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__", "db": {"main": LOCK}}
    exec(  # noqa: S102  a function of a main program
        "def outer():\n    def inner():\n        return db\n    return inner()", namespace
    )
    with pytest.raises(errors.SerializationError) as caught:
        serialize.dump_function(namespace["outer"], "function outer")
    assert caught.value.path == "global 'db'['main'] -> _thread.lock"
    serialize.dump_function(reads_a_global, "by reference: its module has the lock")


def test_a_call_names_the_argument() -> None:
    for args, kwargs, parameters, what, path in (
        ((1, LOCK), {}, (), "argument 2 of f()", "value -> _thread.lock"),
        ((1, LOCK), {}, ("a", "b"), "argument 'b' of f()", "b -> _thread.lock"),
        ((1,), {"conn": Client()}, ("a",), "argument 'conn' of f()", "conn -> Client.session"),
        ((1, 2, LOCK), {}, ("a",), "argument 3 of f()", "value -> _thread.lock"),
    ):
        with pytest.raises(errors.SerializationError) as caught:
            pack_call(args, kwargs, "f", parameters)
        assert caught.value.what == what
        assert caught.value.path.startswith(path)


def test_what_is_nested_too_deeply_says_so() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(errors.SerializationError, match=r"nested too deeply\. Flatten it"):
        pack(value)
    while value:  # freeing it in one go would be as deep
        value = value.pop()  # type: ignore[assignment]


def test_cycles_and_breadth_and_depth_end() -> None:
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    cycle["list"] = [cycle, cycle]
    cycle["lock"] = LOCK
    assert path_of(cycle) == "x['lock'] -> _thread.lock"
    wide: list[object] = [Data(i) for i in range(diagnose.BREADTH_MAX - 1)]
    wide.append(LOCK)
    assert path_of(wide) == f"x[{diagnose.BREADTH_MAX - 1}] -> _thread.lock"
    deep: object = LOCK
    for _ in range(2 * diagnose.FAILING_MAX):
        deep = [deep]
    assert path_of(deep).startswith("x[0][0][0]")


def test_nothing_of_the_users_runs_but_pickling() -> None:
    Trap.touched = 0
    assert path_of({"a": [Trap()]}) == "x['a'][0] -> Trap.lock -> _thread.lock"
    assert Trap.touched == 0


def test_looking_leaves_no_sink_behind() -> None:
    path_of([LOCK])
    assert serialize.ref_sink() is None


containers = st.recursive(
    st.just(LOCK),
    lambda inner: st.one_of(
        st.tuples(st.integers(), inner),
        st.lists(st.integers(), max_size=3).flatmap(lambda xs: inner.map(lambda v: [*xs, v])),
        st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=1),
        inner.map(Data),
    ),
    max_leaves=6,
)


@given(containers)
def test_the_path_always_ends_at_the_culprit(value: object) -> None:
    assert diagnose.culprit(value, "x").endswith("_thread.lock")


def test_the_largest_part() -> None:
    small, large = b"x", b"y" * 100_000
    assert diagnose.largest(lambda: (small, large)).startswith(
        "closure 'large', a bytes, has 97.7"
    )
    assert diagnose.largest(lambda: 1) == ""
    assert diagnose.size_of(large) > 100_000
    assert diagnose.size_of(LOCK) == 0
