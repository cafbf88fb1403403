"""Customers, and what belongs to the ledger as a whole: its mode, its test clock, its audit trail."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

FIELDS = (
    "name", "company", "email", "phone", "address_line1", "address_line2", "postal_code", "city", "region", "country",
    "vat_number", "tax_exempt", "buyer_reference", "currency", "locale", "zone",
)  # fmt: skip
"""The columns of a customer that people set."""


class CustomerRow(NamedTuple):
    """What every use case needs of a customer. Times in microseconds, ``period`` 0 where there is none yet."""

    id: int
    customer_id: str
    zone: str
    period: int
    start_at: int
    end_at: int
    subscription: int


_FIND = """SELECT c.id, c.customer_id, c.zone, c.period, coalesce(p.start_at, 0), coalesce(p.end_at, 0),
  coalesce(p.subscription, 0)
FROM customers c LEFT JOIN periods p ON p.id = c.period WHERE """


def find(db: sqlite3.Connection, customer_id: str) -> CustomerRow | None:
    """The customer of that id."""
    row = db.execute(_FIND + "c.customer_id = ?", (customer_id,)).fetchone()
    return CustomerRow(*row) if row else None


def find_many(db: sqlite3.Connection, customer_ids: Sequence[str]) -> dict[str, CustomerRow]:
    """Those of the customers that exist, by id: one statement for a batch."""
    rows = db.execute(
        """SELECT c.id, c.customer_id, c.zone, c.period, coalesce(p.start_at, 0), coalesce(p.end_at, 0),
          coalesce(p.subscription, 0)
        FROM json_each(?) j CROSS JOIN customers c ON c.customer_id = j.value LEFT JOIN periods p ON p.id = c.period""",
        (json.dumps(customer_ids),),
    ).fetchall()
    return {row[1]: CustomerRow(*row) for row in rows}


def get(db: sqlite3.Connection, customer: int) -> CustomerRow:
    """The customer of that internal number."""
    return CustomerRow(*db.execute(_FIND + "c.id = ?", (customer,)).fetchone())


def insert_with(db: sqlite3.Connection, customer_id: str, values: dict[str, str], now: int) -> int:
    """A new customer with some of :data:`FIELDS`; returns its internal number."""
    row = db.execute(
        "INSERT INTO customers (customer_id, created_at, updated_at) VALUES (?, ?, ?) RETURNING id",
        (customer_id, now, now),
    ).fetchone()
    if values:
        update(db, row[0], values, now)
    return int(row[0])


def is_bound(db: sqlite3.Connection, customer: int) -> bool:
    """Whether an invoice or a bought subscription rests on the customer's zone and currency."""
    return bool(
        db.execute(
            """SELECT EXISTS (SELECT 1 FROM invoice_records WHERE customer = ?1)
            OR EXISTS (SELECT 1 FROM subscription_records WHERE customer = ?1 AND is_default = 0)""",
            (customer,),
        ).fetchone()[0]
    )


def update(db: sqlite3.Connection, customer: int, values: dict[str, str], now: int) -> None:
    """Sets some of :data:`FIELDS`."""
    for column in values:
        if column not in FIELDS:
            raise LookupError(column)
    assignments = ", ".join(f"{column} = ?" for column in values)
    db.execute(f"UPDATE customers SET {assignments}, updated_at = ? WHERE id = ?", (*values.values(), now, customer))


def set_period(db: sqlite3.Connection, customer: int, period: int) -> None:
    """Makes a period the customer's present one."""
    db.execute("UPDATE customers SET period = ? WHERE id = ?", (period, customer))


def profile(db: sqlite3.Connection, customer: int) -> dict[str, Any]:
    """All of :data:`FIELDS`, ``customer_id``, ``created_at`` and ``updated_at``."""
    columns = ("customer_id", *FIELDS, "created_at", "updated_at")
    row = db.execute(f"SELECT {', '.join(columns)} FROM customers WHERE id = ?", (customer,)).fetchone()
    return dict(zip(columns, row, strict=True))


def page(db: sqlite3.Connection, limit: int, after: str) -> list[dict[str, Any]]:
    """Profiles in the order of their ids, from the one after ``after`` on."""
    rows = db.execute(
        "SELECT id FROM customers WHERE customer_id > ? ORDER BY customer_id LIMIT ?", (after, limit)
    ).fetchall()
    return [profile(db, row[0]) for row in rows]


def fact(db: sqlite3.Connection, key: str) -> str | None:
    """A fact about the ledger."""
    row = db.execute("SELECT value FROM ledger WHERE key = ?", (key,)).fetchone()
    return row[0] if row else None


def set_fact(db: sqlite3.Connection, key: str, value: str) -> None:
    """Writes a fact about the ledger."""
    db.execute("INSERT INTO ledger VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value))


def add_audit(db: sqlite3.Connection, at: int, actor: str, action: str, subject: str, detail: str) -> None:
    """One row of the audit trail. ``detail`` is JSON."""
    db.execute(
        "INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)",
        (at, actor, action, subject, detail),
    )
