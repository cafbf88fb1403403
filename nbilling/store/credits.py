"""Credit notes, and the balance that customers have to their credit."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple


class CreditNoteRow(NamedTuple):
    """A credit note. Amounts in minor units of its invoice's currency."""

    id: int
    credit_note_id: str
    invoice: int
    number: str
    reason: str
    net_minor: int
    tax_minor: int
    total_minor: int
    to_balance_minor: int
    refund_minor: int
    refund_method: str
    issued_at: int


class CreditLineRow(NamedTuple):
    """What a credit note takes back of the invoice's line at ``position``, in the line's own terms: before tax, or
    with it where prices contain it."""

    position: int
    description: str
    amount_minor: int


_COLUMNS = ", ".join(CreditNoteRow._fields)


def insert(db: sqlite3.Connection, row: CreditNoteRow, lines: Sequence[CreditLineRow]) -> int:
    """Adds a credit note (its ``id`` is given here) with its lines."""
    fields = CreditNoteRow._fields[1:]
    number = db.execute(
        f"INSERT INTO credit_notes ({', '.join(fields)}) VALUES ({', '.join('?' * len(fields))}) RETURNING id", row[1:]
    ).fetchone()[0]
    db.executemany("INSERT INTO credit_note_lines VALUES (?, ?, ?, ?)", [(number, *line) for line in lines])
    return int(number)


def find(db: sqlite3.Connection, credit_note_id: str) -> CreditNoteRow | None:
    """By id or number."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM credit_notes WHERE credit_note_id = ?1 OR number = ?1", (credit_note_id,)
    ).fetchone()
    return CreditNoteRow(*row) if row else None


def of_invoice(db: sqlite3.Connection, invoice: int) -> list[CreditNoteRow]:
    """The credit notes of an invoice in order."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM credit_notes WHERE invoice = ? ORDER BY id", (invoice,)).fetchall()
    return [CreditNoteRow(*row) for row in rows]


def lines(db: sqlite3.Connection, credit_note: int) -> list[CreditLineRow]:
    """The lines of a credit note."""
    rows = db.execute(
        "SELECT position, description, amount_minor FROM credit_note_lines WHERE credit_note = ? ORDER BY position",
        (credit_note,),
    ).fetchall()
    return [CreditLineRow(*row) for row in rows]


def credited_lines(db: sqlite3.Connection, invoice: int) -> dict[int, int]:
    """What was credited of each line of an invoice so far, in the line's own terms."""
    return dict(
        db.execute(
            """SELECT l.position, sum(l.amount_minor) FROM credit_note_lines l
            JOIN credit_notes n ON n.id = l.credit_note WHERE n.invoice = ? GROUP BY l.position""",
            (invoice,),
        ).fetchall()
    )


def balance(db: sqlite3.Connection, customer: int, currency: str) -> int:
    """What the customer has to its credit."""
    row = db.execute(
        "SELECT coalesce(sum(amount_minor), 0) FROM balance_movements WHERE customer = ? AND currency = ?",
        (customer, currency),
    ).fetchone()
    return int(row[0])


def move(
    db: sqlite3.Connection,
    customer: int,
    currency: str,
    amount: int,
    reason: str,
    now: int,
    *,
    invoice: int = 0,
    credit_note: int = 0,
) -> None:
    """A movement of the balance."""
    db.execute(
        """INSERT INTO balance_movements (customer, currency, amount_minor, reason, invoice, credit_note, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)""",
        (customer, currency, amount, reason, invoice, credit_note, now),
    )


def movements(db: sqlite3.Connection, customer: int) -> list[tuple[str, int, str, int]]:
    """``(currency, amount_minor, reason, created_at)`` in order."""
    return db.execute(
        "SELECT currency, amount_minor, reason, created_at FROM balance_movements WHERE customer = ? ORDER BY id",
        (customer,),
    ).fetchall()
