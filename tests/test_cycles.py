"""Cycles found from what processes report: actors and values that nobody else reaches."""

from __future__ import annotations

from typing import Any

from zfut.cycles import cycles

DRIVER, ONE, TWO, WORKER = ("d" * 32, "1" * 32, "2" * 32, "e" * 32)
A, B = "a" * 48, "b" * 48
LIVES_IN = {A: ONE, B: TWO}


def row(name: str, *, owned: bool = True, **given: Any) -> dict[str, Any]:
    kind = "actor" if name.endswith("00000000") else "put"
    plain = {"handles": 0, "calls": 0, "contained_in": 0, "contains": [], "borrowers": []}
    return {"id": name, "kind": kind, "owned": owned, **plain, **given}


def handle(actor: str) -> str:
    return actor + "00000000"


def value(letter: str) -> str:
    return letter * 56


def test_nothing_and_what_a_program_holds_is_no_cycle() -> None:
    assert cycles({}, {}) == []
    assert cycles({DRIVER: [row(value("v"), handles=1)]}, {}) == []
    holds_itself = row(value("v"), handles=1, contained_in=1, contains=[value("v")])
    assert cycles({DRIVER: [holds_itself]}, {}) == []


def test_a_value_that_holds_itself() -> None:
    alone = row(value("v"), contained_in=1, contains=[value("v")])
    assert cycles({DRIVER: [alone]}, {}) == [[value("v")]]


def test_two_values_and_what_hangs_on_them() -> None:
    rows = [
        row(value("v"), contained_in=1, contains=[value("w")]),
        row(value("w"), contained_in=1, contains=[value("v"), value("x")]),
        row(value("x"), contained_in=1),
    ]
    assert cycles({WORKER: rows}, {}) == [[value("v"), value("w")]]
    rows[1]["calls"] = 1
    assert cycles({WORKER: rows}, {}) == []


def test_actors_that_hold_each_other() -> None:
    a, b = handle(A), handle(B)
    reports = {
        DRIVER: [row(a, borrowers=[TWO]), row(b, borrowers=[ONE])],
        ONE: [row(b, owned=False, handles=1), row(a, owned=False, handles=1)],
        TWO: [row(a, owned=False, handles=1)],
    }
    assert cycles(reports, LIVES_IN) == [[A, B]]
    reports[DRIVER][0]["handles"] = 1
    assert cycles(reports, LIVES_IN) == []


def test_an_actors_handle_of_itself_is_weak() -> None:
    reports = {DRIVER: [row(handle(A))], ONE: [row(handle(A), owned=False, handles=1)]}
    assert cycles(reports, LIVES_IN) == []


def test_an_actor_and_a_value_that_holds_its_handle() -> None:
    a, v = handle(A), value("v")
    reports = {
        DRIVER: [row(a, contained_in=1), row(v, contains=[a], borrowers=[ONE])],
        ONE: [row(v, owned=False, handles=1)],
    }
    assert cycles(reports, LIVES_IN) == [[A, v]]


def test_who_does_not_answer_may_hold_anything() -> None:
    a, v = handle(A), value("v")
    reports = {
        DRIVER: [row(a, contained_in=1), row(v, contains=[a], borrowers=[ONE, WORKER])],
        ONE: [row(v, owned=False, handles=1)],
    }
    assert cycles(reports, LIVES_IN) == []
