"""Tax rates that the seller has set up."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple


class RateRow(NamedTuple):
    """A rate. ``customer`` 0: for everybody in its country and region."""

    id: int
    label: str
    percent: str
    category: str
    country: str
    region: str
    inclusive: int
    replaces: int
    note: str
    customer: int
    created_at: int


_COLUMNS = ", ".join(RateRow._fields)


def insert(db: sqlite3.Connection, row: RateRow) -> int | None:
    """Adds a rate and returns the number it is given; None where that place has one of that label."""
    fields = RateRow._fields[1:]
    found = db.execute(
        f"""INSERT INTO tax_rates ({", ".join(fields)}) VALUES ({", ".join("?" * len(fields))})
        ON CONFLICT DO NOTHING RETURNING id""",
        row[1:],
    ).fetchone()
    return found[0] if found else None


def remove(db: sqlite3.Connection, number: int) -> bool:
    """Takes a rate out of force. Invoices keep what they say."""
    return db.execute("DELETE FROM tax_rates WHERE id = ? RETURNING id", (number,)).fetchone() is not None


def rates(db: sqlite3.Connection, customer: int) -> list[RateRow]:
    """The rates for everybody, and those of one customer, in the order in which they were set up."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM tax_rates WHERE customer IN (0, ?) ORDER BY id", (customer,)).fetchall()
    return [RateRow(*row) for row in rows]


def listing(db: sqlite3.Connection) -> list[tuple[RateRow, str]]:
    """Every rate, with the customer's id where it is for one."""
    rows = db.execute(
        f"""SELECT {", ".join("t." + field for field in RateRow._fields)}, coalesce(c.customer_id, '')
        FROM tax_rates t LEFT JOIN customers c ON c.id = t.customer ORDER BY t.id"""
    ).fetchall()
    return [(RateRow(*row[:-1]), row[-1]) for row in rows]
