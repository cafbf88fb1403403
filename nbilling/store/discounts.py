"""Discount codes, who has taken them, and what they take from an invoice. Manual lines too."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple


class CodeRow(NamedTuple):
    """A discount code. ``definition`` is JSON."""

    id: int
    code: str
    definition: str
    created_at: int


class InvoiceDiscountRow(NamedTuple):
    """A discount on an invoice. ``discount`` 0: given by hand."""

    position: int
    discount: int
    label: str
    definition: str
    amount_minor: int


def find(db: sqlite3.Connection, code: str) -> CodeRow | None:
    """The code, which is in capitals."""
    row = db.execute("SELECT id, code, definition, created_at FROM discount_codes WHERE code = ?", (code,)).fetchone()
    return CodeRow(*row) if row else None


def listing(db: sqlite3.Connection) -> list[tuple[CodeRow, int]]:
    """Every code with how often it was taken."""
    rows = db.execute(
        """SELECT id, code, definition, created_at, (SELECT count(*) FROM redemptions r WHERE r.discount = d.id)
        FROM discount_codes d ORDER BY code"""
    ).fetchall()
    return [(CodeRow(*row[:4]), row[4]) for row in rows]


def insert(db: sqlite3.Connection, code: str, definition: str, now: int) -> bool:
    """Adds a code; False where it is taken."""
    row = db.execute(
        """INSERT INTO discount_codes (code, definition, created_at) VALUES (?, ?, ?)
        ON CONFLICT DO NOTHING RETURNING id""",
        (code, definition, now),
    ).fetchone()
    return row is not None


def uses(db: sqlite3.Connection, discount: int, customer: int) -> tuple[int, int]:
    """How often a code was taken, by all and by one customer. Voided invoices give it back."""
    row = db.execute(
        """SELECT count(*), count(*) FILTER (WHERE r.customer = ?) FROM redemptions r
        JOIN invoice_records i ON i.id = r.invoice WHERE r.discount = ? AND i.status <> 'void'""",
        (customer, discount),
    ).fetchone()
    return row[0], row[1]


def redeem(db: sqlite3.Connection, customer: int, discount: int, invoice: int, now: int) -> None:
    """Notes that a customer takes a code on an invoice."""
    db.execute(
        "INSERT INTO redemptions (customer, discount, invoice, created_at) VALUES (?, ?, ?, ?)",
        (customer, discount, invoice, now),
    )


def taken(db: sqlite3.Connection, customer: int) -> list[tuple[CodeRow, int]]:
    """The codes that a customer has taken, oldest first, and on how many of its invoices each counted so far."""
    rows = db.execute(
        """SELECT d.id, d.code, d.definition, d.created_at, (
          SELECT count(*) FROM invoice_discounts x JOIN invoice_records i ON i.id = x.invoice
          WHERE x.discount = d.id AND i.customer = r.customer AND i.status <> 'void')
        FROM redemptions r JOIN discount_codes d ON d.id = r.discount
        JOIN invoice_records taken ON taken.id = r.invoice
        WHERE r.customer = ? AND taken.status <> 'void' GROUP BY d.id ORDER BY min(r.id)""",
        (customer,),
    ).fetchall()
    return [(CodeRow(*row[:4]), row[4]) for row in rows]


def on_invoice(db: sqlite3.Connection, invoice: int) -> list[InvoiceDiscountRow]:
    """The discounts of an invoice in the order in which they count."""
    rows = db.execute(
        """SELECT position, discount, label, definition, amount_minor FROM invoice_discounts
        WHERE invoice = ? ORDER BY position""",
        (invoice,),
    ).fetchall()
    return [InvoiceDiscountRow(*row) for row in rows]


def put_on_invoice(db: sqlite3.Connection, invoice: int, discount: int, label: str, definition: str) -> None:
    """Adds a discount after those that are there."""
    db.execute(
        """INSERT INTO invoice_discounts (invoice, position, discount, label, definition)
        SELECT ?1, count(*) + 1, ?2, ?3, ?4 FROM invoice_discounts WHERE invoice = ?1""",
        (invoice, discount, label, definition),
    )


def set_amounts(db: sqlite3.Connection, invoice: int, amounts: list[int]) -> None:
    """What each discount of a draft takes, in order."""
    db.executemany(
        "UPDATE invoice_discounts SET amount_minor = ? WHERE invoice = ? AND position = ?",
        [(amount, invoice, position) for position, amount in enumerate(amounts, 1)],
    )


def paid_before(db: sqlite3.Connection, customer: int) -> bool:
    """Whether the customer has a finalised invoice above zero."""
    return bool(
        db.execute(
            """SELECT EXISTS (SELECT 1 FROM invoice_records WHERE customer = ? AND total_minor > 0
            AND status NOT IN ('draft', 'void'))""",
            (customer,),
        ).fetchone()[0]
    )


def add_manual_line(
    db: sqlite3.Connection, invoice: int, description: str, quantity: str, unit_price: str, amount: int, now: int
) -> None:
    """Writes a line onto a draft."""
    db.execute(
        """INSERT INTO manual_lines (invoice, description, quantity, unit_price, amount_minor, created_at)
        VALUES (?, ?, ?, ?, ?, ?)""",
        (invoice, description, quantity, unit_price, amount, now),
    )


def manual_lines(db: sqlite3.Connection, invoice: int) -> list[tuple[str, str, str, int]]:
    """``(description, quantity, unit_price, amount_minor)`` in the order in which they were written."""
    return db.execute(
        "SELECT description, quantity, unit_price, amount_minor FROM manual_lines WHERE invoice = ? ORDER BY id",
        (invoice,),
    ).fetchall()
