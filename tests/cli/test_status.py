"""What ``zfut status`` tells: the document, the page, and whom it asks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.status import lines, reason
from cli.table import WIDTH, table
from tests.cli.commands import Gate, node, program, sessions, zfut

BUSY = """
import os
import zfut
zfut.init({address!r}, ignore_reinit_error=True)

@zfut.remote
class Store:
    def ready(self):
        return True

@zfut.remote
def compute(gate):
    os.write(1, b"computes" + bytes([10]))
    open(gate).read()

@zfut.remote(num_gpus=1)
def see():
    pass

store = Store.options(name="store", num_cpus=0).remote()
assert zfut.get(store.ready.remote())
refs = [compute.remote({gate!r}) for _ in range(3)] + [see.remote()]
zfut.wait(refs, timeout=0)
print("submitted", flush=True)
zfut.wait(refs[:1])
"""

SCHEMA: dict[str, object] = {
    "schema": int,
    "session": {
        "id": str,
        "name": str,
        "directory": str,
        "zfut": str,
        "protocol": int,
        "embedded": bool,
        "program_pid": int,
        "root_pid": int,
        "draining": str,
    },
    "nodes": [{"id": str, "alive": bool, "pid": int}],
    "resources": {"total": {str: float}, "available": {str: float}},
    "workers": [
        {
            "id": str,
            "uid": str,
            "pid": int,
            "state": str,
            "actor": str,
            "actor_id": str,
            "runs": str,
            "owner": str,
            "lent_s": float,
            "holds": {str: float},
            "node": str,
        },
    ],
    "waiting": [
        {
            "task": str,
            "demand": {str: float},
            "backlog": int,
            "owner": str,
            "infeasible": bool,
            "reason": str,
        }
    ],
    "memory": [
        {
            "node": str,
            "kind": str,
            "capacity": int,
            "lent": int,
            "claimed": int,
            "free": int,
            "largest": int,
            "waiting": int,
            "waiting_bytes": int,
            "waiters": [{"process": str, "bytes": int}],
        }
    ],
    "names": [{"namespace": str, "name": str, "actor": str}],
    "drivers": [{"id": str, "uid": str, "pid": int}],
}


def fits(value: object, schema: object, where: str = "") -> None:
    """Assert that a document has exactly these fields, of these kinds."""
    if isinstance(schema, list):
        assert isinstance(value, list), where
        for index, item in enumerate(value):
            fits(item, schema[0], f"{where}[{index}]")
    elif isinstance(schema, dict) and str in schema:
        assert isinstance(value, dict), where
        assert all(isinstance(amount, schema[str]) for amount in value.values()), where
    elif isinstance(schema, dict):
        assert isinstance(value, dict), where
        assert set(value) == set(schema), where
        for name, inner in schema.items():
            fits(value[name], inner, f"{where}.{name}")
    else:
        assert type(value) is schema, f"{where} is {value!r}"


# ------------------------------------------------------------------ real sessions


@pytest.mark.cluster
def test_the_document_has_all_there_is(base: Path) -> None:
    gate = Gate(base)
    code = BUSY.format(address="auto", gate=str(gate.path))
    with node(base, "--name=web") as run, program(base, code) as user:
        run.out.until("computes")
        run.out.until("computes")
        user.out.until("submitted")
        done = zfut(base, "status", "--json")
        assert done.returncode == 0
        found = json.loads(done.stdout)
        fits(found, SCHEMA)
        assert found["schema"] == 1
        assert found["session"]["id"] == sessions(base)[0]
        assert found["session"]["name"] == "web"
        assert found["resources"]["total"]["CPU"] == 2
        assert "CPU" not in found["resources"]["available"], "two tasks run"
        assert [driver["pid"] for driver in found["drivers"]] == [user.pid]
        (actor,) = [worker for worker in found["workers"] if worker["actor"]]
        (name,) = found["names"]
        assert (name["name"], name["actor"]) == ("store", actor["actor"])
        assert [worker["runs"] for worker in found["workers"]].count("compute") == 2
        why = {request["task"]: request["reason"] for request in found["waiting"]}
        assert why["see"] == "never fits: GPU:1 wanted, node has 0"
        assert why["compute"] == "CPU:1 wanted, 0 free"
        page = zfut(base, "status", "--address=we").stderr
        assert "no session 'we'" in page, "the beginning of an id is enough, of a name not"
        page = zfut(base, "status", "--address=web").stdout
        for text in ("(web)", "compute", "store", "never fits", str(user.pid), "RESOURCE"):
            assert text in page


@pytest.mark.cluster
def test_without_an_address_a_node_comes_first_and_others_are_named(base: Path) -> None:
    gate = Gate(base)
    with node(base):
        (standing,) = sessions(base)
        with program(base, BUSY.format(address="local", gate=str(gate.path))) as user:
            user.out.until("submitted")
            (embedded,) = set(sessions(base)) - {standing}
            done = zfut(base, "status")
            assert f"session {standing}, a node" in done.stdout
            assert f"other sessions of yours: {embedded}" in done.stderr
            done = zfut(base, "status", ZFUT_ADDRESS=embedded[:6])
            assert f"session {embedded}, inside program {user.pid}" in done.stdout


@pytest.mark.cluster
@pytest.mark.parametrize("address", [[], ["--address=0123abcd"], ["--address=auto"]])
def test_without_a_session_the_exit_code_is_3(base: Path, address: list[str]) -> None:
    done = zfut(base, "status", *address)
    assert done.returncode == 3
    assert not done.stdout
    assert "zfut start-node" in done.stderr


@pytest.mark.cluster
def test_a_session_of_another_protocol_is_incompatible(base: Path) -> None:
    with node(base):
        file = base / sessions(base)[0] / "session.json"
        known = json.loads(file.read_bytes())
        file.write_text(json.dumps({**known, "protocol": 999}))
        done = zfut(base, "status")
        assert done.returncode == 5
        assert "speaks protocol 999" in done.stderr
        assert zfut(base, "stop").returncode == 0, "it can still be stopped"


# ------------------------------------------------------------------ words and columns


@pytest.mark.parametrize(
    ("demand", "why"),
    [
        ({"CPU": 1.0}, "a worker process starts, or all are in use"),
        ({"CPU": 4.0}, "CPU:4 wanted, 2 free"),
        ({"CPU": 9.0}, "never fits: CPU:9 wanted, node has 8"),
        ({"CPU": 4.0, "GPU": 0.5}, "never fits: GPU:0.5 wanted, node has 0"),
        ({"memory": 2.0**31}, "memory:2 GiB wanted, 1 GiB free"),
    ],
)
def test_a_request_that_waits_says_for_what(demand: dict[str, float], why: str) -> None:
    total = {"CPU": 8.0, "memory": 2.0**32}
    assert reason({"demand": demand}, total, {"CPU": 2.0, "memory": 2.0**30}) == why


def test_the_page_fits_100_columns_whatever_the_names_are() -> None:
    long = "a_name_that_goes_on_" * 20
    page = lines(
        {
            "session": {
                "id": "0123abcd",
                "name": long,
                "directory": f"/{long}",
                "zfut": "0.1.0",
                "embedded": False,
                "program_pid": 0,
                "draining": long,
            },
            "nodes": [{"id": "00", "pid": 1}],
            "resources": {"total": {"CPU": 2.0, long: 1e12}, "available": {long: 0.5}},
            "workers": [
                {"id": "01", "pid": 4194304, "state": "lent", "actor": "ab", "runs": long}
            ],
            "waiting": [{"task": long, "backlog": 10**9, "owner": "01", "reason": long}],
            "memory": [
                {
                    "capacity": 1,
                    "lent": 0,
                    "free": 1,
                    "largest": 1,
                    "kind": "memfd",
                    "waiters": [],
                }
            ],
            "names": [{"name": long, "namespace": long, "actor": "ab"}],
            "drivers": [{"id": "01", "pid": 1}],
        }
    )
    assert max(map(len, page)) == WIDTH
    assert any("CPU" in line for line in page)


def test_requests_of_one_kind_are_one_line() -> None:
    from cli.status import _waiting

    request = {"task": "f", "owner": "01", "reason": "CPU:1 wanted, 0 free"}
    rows = _waiting([{**request, "backlog": n} for n in (3, 10, 7)])
    assert rows[1:] == ["f         10  01     CPU:1 wanted, 0 free"]


def test_a_table_puts_numbers_to_the_right_and_text_to_the_left() -> None:
    assert table(["A", "COUNT"], [["x", 5], ["long", 1234]]) == [
        "A     COUNT",
        "x         5",
        "long   1234",
    ]
    assert table(["A"], []) == ["A"]
    assert table(["A"], [["two\nlines"]])[1] == "two lines"
    wide = table(["A", "B"], [["x" * 300, "y" * 80]])
    assert len(wide[1]) == WIDTH
    assert wide[1].count("…") == 2
