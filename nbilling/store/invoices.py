"""Invoices, their lines and taxes, numbers and payments."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple


class InvoiceRow(NamedTuple):
    """An invoice. Amounts in minor units of ``currency``; ``start_day`` and ``end_day`` as printed, half-open."""

    id: int
    invoice_id: str
    customer: int
    subscription: int
    period: int
    reason: str
    status: str
    number: str
    currency: str
    subtotal_minor: int
    discount_minor: int
    tax_minor: int
    total_minor: int
    paid_minor: int
    start_day: int
    end_day: int
    start_at: int
    end_at: int
    through_seq: int
    through_at: int
    seller: str
    buyer: str
    notes: str
    created_at: int
    updated_at: int
    finalized_at: int
    due_at: int
    credited_minor: int = 0
    applied_minor: int = 0

    @property
    def open_minor(self) -> int:
        """What is still to be paid."""
        return max(0, self.total_minor - self.paid_minor - self.credited_minor - self.applied_minor)


class LineRow(NamedTuple):
    """A line. ``usage`` and ``included`` are exact base units, ``quantity`` exact price units, as fractions in text."""

    kind: str
    description: str
    detail: str
    meter: int
    period: int
    plan: int
    start_day: int
    end_day: int
    usage: str
    included: str
    quantity: str
    unit: str
    unit_price: str
    amount_minor: int
    discount_minor: int = 0
    seats: int = 0


class TaxRow(NamedTuple):
    """A tax of an invoice, rounded on the sum of the lines at its rate. ``rate`` in percent."""

    label: str
    rate: str
    category: str
    reason: str
    taxable_minor: int
    tax_minor: int
    inclusive: int = 0
    note: str = ""


_COLUMNS = ", ".join(InvoiceRow._fields)


def insert(db: sqlite3.Connection, row: InvoiceRow) -> int:
    """Adds an invoice (its ``id`` is given here) and returns its number in the ledger."""
    fields = InvoiceRow._fields[1:]
    marks = ", ".join("?" * len(fields))
    found = db.execute(
        f"INSERT INTO invoice_records ({', '.join(fields)}) VALUES ({marks}) RETURNING id", row[1:]
    ).fetchone()
    return int(found[0])


def save(db: sqlite3.Connection, row: InvoiceRow) -> None:
    """Writes an invoice back whole. The engine only changes drafts, and the payment and status of others."""
    fields = InvoiceRow._fields[1:]
    db.execute(
        f"UPDATE invoice_records SET {', '.join(f'{field} = ?' for field in fields)} WHERE id = ?", (*row[1:], row.id)
    )


def find(db: sqlite3.Connection, invoice_id: str) -> InvoiceRow | None:
    """By public id, or by the number that it was finalised with."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM invoice_records WHERE invoice_id = ?1 OR (number = ?1 AND number <> '')", (invoice_id,)
    ).fetchone()
    return InvoiceRow(*row) if row else None


def get(db: sqlite3.Connection, number: int) -> InvoiceRow:
    """By internal number."""
    return InvoiceRow(*db.execute(f"SELECT {_COLUMNS} FROM invoice_records WHERE id = ?", (number,)).fetchone())


def of_period(db: sqlite3.Connection, subscription: int, period: int, reason: str) -> InvoiceRow | None:
    """The living invoice of a subscription's period."""
    row = db.execute(
        f"""SELECT {_COLUMNS} FROM invoice_records
        WHERE subscription = ? AND period = ? AND reason = ? AND status <> 'void'""",
        (subscription, period, reason),
    ).fetchone()
    return InvoiceRow(*row) if row else None


def of_customer(db: sqlite3.Connection, customer: int, since: int) -> list[InvoiceRow]:
    """Invoices made since an instant, newest first."""
    rows = db.execute(
        f"""SELECT {_COLUMNS} FROM invoice_records WHERE customer = ? AND created_at >= ?
        ORDER BY created_at DESC, id DESC""",
        (customer, since),
    ).fetchall()
    return [InvoiceRow(*row) for row in rows]


def page(db: sqlite3.Connection, customer: int, status: str, limit: int, before: int) -> list[InvoiceRow]:
    """Invoices newest first, of one customer (0: all) and one status (empty: all), older than number ``before``."""
    rows = db.execute(
        f"""SELECT {_COLUMNS} FROM invoice_records WHERE (?1 = 0 OR customer = ?1) AND (?2 = '' OR status = ?2)
        AND id < ?3 ORDER BY id DESC LIMIT ?4""",
        (customer, status, before, limit),
    ).fetchall()
    return [InvoiceRow(*row) for row in rows]


def write_lines(db: sqlite3.Connection, invoice: int, lines: Sequence[LineRow], taxes: Sequence[TaxRow]) -> None:
    """Replaces the lines and taxes of a draft."""
    db.execute("DELETE FROM invoice_lines WHERE invoice = ?", (invoice,))
    db.execute("DELETE FROM invoice_taxes WHERE invoice = ?", (invoice,))
    db.executemany(
        "INSERT INTO invoice_lines VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(invoice, position, *line) for position, line in enumerate(lines, 1)],
    )
    db.executemany(
        "INSERT INTO invoice_taxes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(invoice, position, *tax) for position, tax in enumerate(taxes, 1)],
    )


def lines(db: sqlite3.Connection, invoice: int) -> list[LineRow]:
    """The lines in order."""
    rows = db.execute(
        f"SELECT {', '.join(LineRow._fields)} FROM invoice_lines WHERE invoice = ? ORDER BY position", (invoice,)
    ).fetchall()
    return [LineRow(*row) for row in rows]


def taxes(db: sqlite3.Connection, invoice: int) -> list[TaxRow]:
    """The taxes in order."""
    rows = db.execute(
        f"SELECT {', '.join(TaxRow._fields)} FROM invoice_taxes WHERE invoice = ? ORDER BY position", (invoice,)
    ).fetchall()
    return [TaxRow(*row) for row in rows]


def is_billed(db: sqlite3.Connection, subscription: int, period: int) -> bool:
    """Whether a subscription's period has an invoice of its own that is finalised and stands."""
    row = db.execute(
        """SELECT EXISTS (SELECT 1 FROM invoice_records WHERE subscription = ? AND period = ? AND reason = 'period'
        AND status NOT IN ('draft', 'void'))""",
        (subscription, period),
    ).fetchone()
    return bool(row[0])


def billed_of_period(db: sqlite3.Connection, period: int) -> list[InvoiceRow]:
    """The finalised invoices that stand and hold lines of a period, in the order they were issued."""
    rows = db.execute(
        f"""SELECT {_COLUMNS} FROM invoice_records i WHERE status NOT IN ('draft', 'void')
        AND id IN (SELECT invoice FROM invoice_lines WHERE period = ?) ORDER BY finalized_at, id""",
        (period,),
    ).fetchall()
    return [InvoiceRow(*row) for row in rows]


def usage_line(db: sqlite3.Connection, invoice: int, period: int, meter: int) -> tuple[int, LineRow] | None:
    """``(position, line)`` of what an invoice says of a meter in a period: the one that charges, if one does."""
    row = db.execute(
        f"""SELECT position, {", ".join(LineRow._fields)} FROM invoice_lines
        WHERE invoice = ? AND period = ? AND meter = ? ORDER BY quantity = '0', position LIMIT 1""",
        (invoice, period, meter),
    ).fetchone()
    return (row[0], LineRow(*row[1:])) if row else None


def billed_lines(db: sqlite3.Connection, period: int) -> list[LineRow]:
    """The usage lines of a period on finalised invoices that stand, in the order they were issued."""
    rows = db.execute(
        f"""SELECT {", ".join("l." + field for field in LineRow._fields)}
        FROM invoice_lines l JOIN invoice_records i ON i.id = l.invoice
        WHERE l.period = ? AND l.kind IN ('usage', 'late_usage') AND i.status NOT IN ('draft', 'void')
        ORDER BY i.finalized_at, i.id, l.position""",
        (period,),
    ).fetchall()
    return [LineRow(*row) for row in rows]


def billed_fees(db: sqlite3.Connection, period: int) -> list[LineRow]:
    """The fees of a period, and the changes of these, on finalised invoices that stand, in the order of issue."""
    rows = db.execute(
        f"""SELECT {", ".join("l." + field for field in LineRow._fields)}
        FROM invoice_lines l JOIN invoice_records i ON i.id = l.invoice
        WHERE l.period = ? AND l.kind IN ('fee', 'fee_change') AND i.status NOT IN ('draft', 'void')
        ORDER BY i.id, l.position""",
        (period,),
    ).fetchall()
    return [LineRow(*row) for row in rows]


def next_number(db: sqlite3.Connection, series: str, year: int) -> int:
    """The next number of a series, given in this commit or not at all: no gaps."""
    row = db.execute(
        """INSERT INTO number_series VALUES (?, ?, 1) ON CONFLICT (series, year) DO UPDATE SET last = last + 1
        RETURNING last""",
        (series, year),
    ).fetchone()
    return int(row[0])


def add_payment(db: sqlite3.Connection, invoice: int, amount_minor: int, currency: str, method: str, at: int) -> None:
    """Records a payment."""
    db.execute(
        "INSERT INTO payments (invoice, amount_minor, currency, method, paid_at) VALUES (?, ?, ?, ?, ?)",
        (invoice, amount_minor, currency, method, at),
    )


def payments(db: sqlite3.Connection, invoice: int) -> list[tuple[int, str, str, int]]:
    """``(amount_minor, currency, method, paid_at)`` in order."""
    return db.execute(
        "SELECT amount_minor, currency, method, paid_at FROM payments WHERE invoice = ? ORDER BY id", (invoice,)
    ).fetchall()
