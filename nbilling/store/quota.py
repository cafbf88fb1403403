"""Limits: a customer's own, the defaults, and those in force."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple


class LimitRow(NamedTuple):
    """A limit in force. ``amount`` in base units, None is unlimited; ``source`` says where it comes from."""

    meter: int
    period: str
    amount: int | None
    source: str


def effective(db: sqlite3.Connection, customer: int, meter: int) -> list[LimitRow]:
    """The limits in force on one meter."""
    return [
        LimitRow(meter, *row)
        for row in db.execute(
            """SELECT period, amount, source FROM effective_limits WHERE customer = ? AND meter = ? ORDER BY period""",
            (customer, meter),
        ).fetchall()
    ]


def all_effective(db: sqlite3.Connection, customer: int) -> list[LimitRow]:
    """The limits in force on every meter."""
    return [
        LimitRow(*row)
        for row in db.execute(
            "SELECT meter, period, amount, source FROM effective_limits WHERE customer = ? ORDER BY meter, period",
            (customer,),
        ).fetchall()
    ]


def own(db: sqlite3.Connection, customer: int) -> list[tuple[int, str, int | None]]:
    """``(meter, period, amount)`` of the customer's own limits."""
    return db.execute(
        "SELECT meter, period, amount FROM customer_limits WHERE customer = ? ORDER BY meter, period", (customer,)
    ).fetchall()


def defaults(db: sqlite3.Connection) -> list[tuple[int, str, int | None]]:
    """``(meter, period, amount)`` of what holds where nobody says anything."""
    return db.execute("SELECT meter, period, amount FROM default_limits ORDER BY meter, period").fetchall()


def set_own(db: sqlite3.Connection, customer: int, meter: int, period: str, amount: int | None, now: int) -> None:
    """Sets or replaces a customer's own limit."""
    db.execute(
        """INSERT INTO customer_limits VALUES (?, ?, ?, ?, ?) ON CONFLICT (customer, meter, period)
        DO UPDATE SET amount = excluded.amount, updated_at = excluded.updated_at""",
        (customer, meter, period, amount, now),
    )


def write_effective(db: sqlite3.Connection, customer: int, rows: list[LimitRow]) -> None:
    """Replaces the limits in force of a customer."""
    db.execute("DELETE FROM effective_limits WHERE customer = ?", (customer,))
    db.executemany("INSERT INTO effective_limits VALUES (?, ?, ?, ?, ?)", [(customer, *row) for row in rows])
