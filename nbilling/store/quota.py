"""Limits: a customer's own, the defaults, and those in force."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from nbilling.store.customers import CustomerRow


class OwnLimit(NamedTuple):
    """A limit of a customer's own, or a default. ``amount`` in base units, None is unlimited; ``threshold`` in percent,
    None is as configured."""

    meter: int
    period: str
    amount: int | None
    mode: str = "hard"
    threshold: int | None = None


class LimitRow(NamedTuple):
    """A limit in force. ``source`` says where it comes from; ``own_months`` 1: a month is not the billing period."""

    meter: int
    period: str
    amount: int | None
    source: str
    mode: str = "hard"
    threshold: int | None = None
    own_months: int = 0


_FIELDS = ", ".join(LimitRow._fields)
_OWN = ", ".join(OwnLimit._fields)


def effective(db: sqlite3.Connection, customer: int, meter: int) -> list[LimitRow]:
    """The limits in force on one meter."""
    rows = db.execute(
        f"SELECT {_FIELDS} FROM effective_limits WHERE customer = ? AND meter = ? ORDER BY period", (customer, meter)
    ).fetchall()
    return [LimitRow(*row) for row in rows]


class Look(NamedTuple):
    """What a check needs to know first, from one statement: customer, test clock (None: there is none), limits."""

    customer: CustomerRow
    clock: str | None
    limits: list[LimitRow]


def look(db: sqlite3.Connection, customer_id: str, meter: int) -> Look | None:
    """The customer with its present period and its limits on a meter; None where there is no such customer."""
    rows = db.execute(
        f"""SELECT c.id, c.customer_id, c.zone, c.period, p.start_at, p.end_at, p.subscription,
          (SELECT value FROM ledger WHERE key = 'clock'), {", ".join("l." + field for field in LimitRow._fields)}
        FROM customers c JOIN periods p ON p.id = c.period
          LEFT JOIN effective_limits l ON l.customer = c.id AND l.meter = ?
        WHERE c.customer_id = ? ORDER BY l.period""",
        (meter, customer_id),
    ).fetchall()
    if not rows:
        return None
    first = rows[0]
    limits = [LimitRow(*row[8:]) for row in rows] if first[8] is not None else []
    return Look(CustomerRow(*first[:7]), first[7], limits)


def all_effective(db: sqlite3.Connection, customer: int) -> list[LimitRow]:
    """The limits in force on every meter."""
    rows = db.execute(
        f"SELECT {_FIELDS} FROM effective_limits WHERE customer = ? ORDER BY meter, period", (customer,)
    ).fetchall()
    return [LimitRow(*row) for row in rows]


def own(db: sqlite3.Connection, customer: int) -> list[OwnLimit]:
    """The customer's own limits."""
    rows = db.execute(
        f"SELECT {_OWN} FROM customer_limits WHERE customer = ? ORDER BY meter, period", (customer,)
    ).fetchall()
    return [OwnLimit(*row) for row in rows]


def defaults(db: sqlite3.Connection) -> list[OwnLimit]:
    """What holds where nobody says anything."""
    rows = db.execute("SELECT meter, period, amount FROM default_limits ORDER BY meter, period").fetchall()
    return [OwnLimit(*row) for row in rows]


def set_own(db: sqlite3.Connection, customer: int, limit: OwnLimit, now: int) -> None:
    """Sets or replaces a customer's own limit."""
    db.execute(
        """INSERT INTO customer_limits (customer, meter, period, amount, mode, threshold, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (customer, meter, period)
        DO UPDATE SET amount = excluded.amount, mode = excluded.mode, threshold = excluded.threshold,
          updated_at = excluded.updated_at""",
        (customer, *limit, now),
    )


def remove_own(db: sqlite3.Connection, customer: int, meter: int, period: str) -> bool:
    """Removes a customer's own limit; False where there was none."""
    cursor = db.execute(
        "DELETE FROM customer_limits WHERE customer = ? AND meter = ? AND period = ?", (customer, meter, period)
    )
    return cursor.rowcount == 1


def write_effective(db: sqlite3.Connection, customer: int, rows: list[LimitRow]) -> None:
    """Replaces the limits in force of a customer."""
    db.execute("DELETE FROM effective_limits WHERE customer = ?", (customer,))
    db.executemany("INSERT INTO effective_limits VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [(customer, *row) for row in rows])
