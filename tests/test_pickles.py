"""Which pickler a value needs, and the serializers that users register."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import cloudpickle
import numpy as np
import pytest

from zfut import errors
from zfut.wire import serialize
from zfut.wire.serialize import Encoding, pack, unpack


class Plain:
    pass


MAIN = """
import enum, sys
from zfut.wire.serialize import pack
sys.path.insert(0, 'no such directory')
THREE = 3
class Point:
    def __init__(self, x): self.x = x
    def plus(self, y): return self.x + y + THREE
class Kind(enum.Enum):
    A = 1
def double(x):
    return 2 * x + THREE
value = {'point': Point(1), 'bound': Point(2).plus, 'double': double, 'kind': Kind.A,
         'class': Point}
packed = pack(value)
sys.stdout.buffer.write(bytes([packed.encoding]) + packed.to_bytes())
"""


def run(program: str, sent: bytes = b"") -> bytes:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], input=sent, capture_output=True, check=False
    )
    assert not done.returncode, done.stderr.decode()
    return done.stdout


def test_what_lives_in_the_main_module_is_sent_by_value() -> None:
    """Plain pickle would take it by reference without a sound."""
    sent = run(MAIN)
    got = unpack(sent[0], sent[1:])
    assert got["point"].plus(1) == 5
    assert got["bound"](1) == 6
    assert got["double"](4) == 11
    assert got["class"](9).x == 9
    assert got["kind"].name == "A"
    again = unpack(Encoding.PICKLE, pack(got["point"]).to_bytes())
    assert type(again) is got["class"]


def test_a_module_can_be_sent_by_value() -> None:
    module = sys.modules[Plain.__module__]
    assert b"__main__" not in pack(Plain).to_bytes()
    by_reference = pack(Plain).size_bytes
    cloudpickle.register_pickle_by_value(module)
    try:
        assert pack(Plain).size_bytes > 4 * by_reference
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert pack(Plain).size_bytes == by_reference


class Client:
    """Cannot be pickled as it is."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lock = threading.Lock()


class SubClient(Client):
    pass


@pytest.fixture
def registered() -> Iterator[None]:
    serialize.register_serializer(
        Client, serializer=lambda client: client.url, deserializer=Client
    )
    yield
    serialize.install(b"")


@pytest.mark.usefixtures("registered")
def test_a_registered_serializer_is_used_everywhere() -> None:
    """Behaviour 17."""
    for value in ([Client("a")], [Client("a"), lambda: 1], [Client("a"), np.arange(3)]):
        packed = pack(value)
        sent = packed.to_bytes()
        got = unpack(packed.encoding, sent)
        assert type(got[0]) is Client
        assert got[0].url == "a"
    with pytest.raises(errors.SerializationError, match=r"SubClient.lock -> _thread.lock"):
        pack(SubClient("a"))
    serialize.deregister_serializer(Client)
    serialize.deregister_serializer(Client)
    assert unpack(packed.encoding, sent)[0].url == "a"
    with pytest.raises(errors.SerializationError):
        pack(Client("a"))


@pytest.mark.usefixtures("registered")
def test_what_is_registered_can_be_taken_to_a_worker_and_replaced() -> None:
    program = (
        "import sys\n"
        "from zfut.wire.serialize import install, pack, unpack, exported\n"
        "install(sys.stdin.buffer.read())\n"
        "from zfut import pickles\n"
        "(cls, (serializer, _)), = pickles._serializers.items()\n"
        "client = cls.__new__(cls); client.url = 'from afar'\n"
        "client.lock = sys.modules['threading'].Lock()\n"
        "sys.stdout.buffer.write(pack(client).to_bytes())\n"
    )

    class Local(Client):
        pass

    serialize.install(b"")
    serialize.register_serializer(
        Local, serializer=lambda client: client.url, deserializer=lambda url: url.upper()
    )
    sent = run(
        program.replace("import sys\n", "import sys, threading\n", 1), serialize.exported()
    )
    serialize.install(b"")
    assert serialize.exported() == b""
    assert unpack(Encoding.PICKLE, sent) == "FROM AFAR"
    with pytest.raises(errors.SerializationError):
        pack(Local("a"))


def test_registering_nonsense_is_refused() -> None:
    register: Callable[..., None] = serialize.register_serializer
    for cls in (3, "Client", int, dict, np.ndarray.__class__):
        with pytest.raises(errors.UsageError):
            register(cls, serializer=str, deserializer=str)
    with pytest.raises(errors.UsageError, match="deserializer is 3"):
        register(Client, serializer=str, deserializer=3)
    assert serialize.exported() == b""
