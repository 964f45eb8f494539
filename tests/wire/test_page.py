"""docs/protocol.md is what the messages say, and it says everything."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import msgspec
import pytest

from zfut.actors import mailbox, places
from zfut.store import ArenaInfo
from zfut.wire import meanings, page

ROOT = Path(__file__).parent.parent.parent
CLASSES: list[type[msgspec.Struct]] = [*page.NOUNS, *page.all_messages()]


def test_the_page_is_fresh() -> None:
    """If this fails: ``make pages``."""
    assert (ROOT / "docs" / "protocol.md").read_text() == page.page()


def test_every_noun_of_a_message_is_explained() -> None:
    kinds = [kind for cls in CLASSES for kind in typing.get_type_hints(cls).values()]
    shown = " ".join(page.type_text(kind) for kind in kinds)
    assert set(re.findall(r"[A-Z]\w+", shown)) == {cls.__name__ for cls in page.NOUNS}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_field_has_a_meaning(cls: type[msgspec.Struct]) -> None:
    for field in cls.__struct_fields__:
        assert meanings.meaning(cls.__name__, field)


def test_every_meaning_has_a_field() -> None:
    names = {field for cls in CLASSES for field in cls.__struct_fields__}
    own = {f"{cls.__name__}.{field}" for cls in CLASSES for field in cls.__struct_fields__}
    assert set(meanings.MEANINGS) <= names | own


def test_every_message_is_taken_by_somebody() -> None:
    for cls in page.all_messages():
        assert page.accepted_by(cls), cls.__name__


def test_numbers_are_used_once() -> None:
    numbers = [cls.__struct_config__.tag for cls in page.all_messages()]
    assert len(set(numbers)) == len(numbers)


def test_what_the_page_says_of_the_session_file_is_there() -> None:
    connections = page.INTRODUCTION.partition("## Connections")[2].partition("- A process")[0]
    named = set(re.findall(r"`(\w+)`", connections)) - {"s"}
    there = {*places.SessionFile.__struct_fields__, *ArenaInfo.__struct_fields__}
    assert named
    assert named <= there


def test_what_the_page_says_of_sockets_is_so() -> None:
    uid = bytes(range(16))
    assert mailbox.socket_path("/directory/s", uid) == f"/directory/s/{uid[-8:].hex()}"


def test_the_example_is_one_message_byte_by_byte() -> None:
    shown = re.findall(r"^((?:[0-9a-f]{2} ?)+) {2,}", page.example(), re.MULTILINE)
    assert len(bytes.fromhex("".join(shown))) == 25 + 3 + len("done") + 1
