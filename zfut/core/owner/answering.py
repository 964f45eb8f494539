"""Asking owners for values, and answering those who ask.

Who borrows an object asks its owner once; the owner answers when the value is known, and says at
once what is known already.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec.structs import replace

from zfut.core.owner.ledger import Ledger
from zfut.core.owner.records import FREED, INLINE, PENDING, STORED, ObjectRow
from zfut.wire import messages as m
from zfut.wire.specs import Failed, Inline, RefInfo, Stored

Asker: TypeAlias = tuple[bytes, int]
"""Who asks, and its number for the question."""


def on_locate(ledger: Ledger, sender: bytes, message: m.LocateObjects) -> None:
    """A borrower asks for values: answer what is known, remember the rest."""
    question = message.question
    asker = sender, question
    for object_id in message.object_ids:
        row = ledger.objects.rows.get(object_id)
        if row is None:
            ledger.out.send(sender, m.ObjectReady(object_id, question, None))
        elif ledger.is_gone(object_id, row):
            say_freed(ledger, asker, object_id)
        elif row.state in (PENDING, FREED):
            ledger.watch(sender)
            row.askers = [*(row.askers or ()), asker]
        else:
            _answer(ledger, asker, object_id, row)


def answer_askers(ledger: Ledger, object_id: bytes, row: ObjectRow) -> None:
    """The value is known: tell the borrowers who asked."""
    askers, row.askers = row.askers, None
    for asker in askers or ():
        if asker[0] not in ledger.dead:
            _answer(ledger, asker, object_id, row)


def _answer(ledger: Ledger, asker: Asker, object_id: bytes, row: ObjectRow) -> None:
    to, question = asker
    if row.state == STORED:
        ledger.out.send(to, m.ObjectReady(object_id, question, stored_value(ledger, row)))
        return
    data = row.value if isinstance(row.value, bytes) else b""
    refs = _refs_in(ledger, row)
    inline = row.state == INLINE
    value = Inline(len(data), row.encoding, refs) if inline else Failed(len(data), refs)
    ledger.out.send(to, m.ObjectReady(object_id, question, value), (data,))


def stored_value(ledger: Ledger, row: ObjectRow) -> Stored:
    """Return a value as it is sent: whoever reads it in place learns what is in it.

    If we die, that is what it must protect by itself.
    """
    assert isinstance(row.value, Stored)
    if not row.contains:
        return row.value
    return replace(row.value, refs=_refs_in(ledger, row))


def _refs_in(ledger: Ledger, row: ObjectRow) -> tuple[RefInfo, ...]:
    return tuple([RefInfo(inner, ledger.owner_of(inner)) for inner, _ in row.contains])


def say_freed(ledger: Ledger, asker: Asker, object_id: bytes) -> None:
    """Tell a borrower that asks that user code freed the object."""
    to, question = asker
    data = ledger.was_freed(object_id)
    ledger.out.send(to, m.ObjectReady(object_id, question, Failed(len(data))), (data,))


def on_ready(ledger: Ledger, message: m.ObjectReady, payload: bytes) -> None:
    """The owner of a borrowed object answered."""
    row = ledger.objects.rows.get(message.object_id)
    if row is None or row.owner is None or row.state != PENDING:
        return
    if message.question != row.question:
        return  # it says where the value was when we used it before
    value = message.value
    if value is None:
        ledger.fail_row(row, ledger.failures.system("ReferenceVoidError", message.object_id))
    elif isinstance(value, Failed):
        ledger.fail_row(row, payload)
    elif isinstance(value, Stored):
        ledger.watch(value.creator)
        ledger.set_value(row, value.encoding, value)
        ledger.value_came(message.object_id, row)
    else:
        if value.refs:
            ledger.inner[message.object_id] = value.refs
        ledger.set_value(row, value.encoding, payload)
        ledger.value_came(message.object_id, row)
