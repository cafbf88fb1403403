"""Plans and their versions, limits and prices."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple


class PlanRow(NamedTuple):
    """One version of a plan. ``owner`` 0: for everybody, else the one customer it belongs to.

    ``anchor_day`` is a day of the month, 0 for the day of signup. ``per_seat`` 1: the price is for each seat.
    """

    id: int
    plan_id: str
    version: int
    name: str
    currency: str
    price_minor: int
    interval_unit: str
    interval_count: int
    proration: str
    owner: int
    features: str
    created_at: int
    anchor_day: int = 0
    trial_days: int = 0
    fee_timing: str = "arrears"
    per_seat: int = 0


class PlanLimitRow(NamedTuple):
    """A limit of a plan. ``amount`` None is unlimited; ``threshold`` None is as configured; ``per_seat`` multiplies."""

    meter: int
    period: str
    amount: int | None
    mode: str = "hard"
    threshold: int | None = None
    per_seat: int = 0


class PriceRow(NamedTuple):
    """What usage costs. ``model``: JSON of a price model; ``unit``: its priced unit; ``allowance``: limit or none."""

    meter: int
    model: str
    unit: str
    allowance: str


_COLUMNS = ", ".join(PlanRow._fields)


def newest(db: sqlite3.Connection, plan_id: str, owner: int) -> PlanRow | None:
    """The newest version of a plan that a customer may see (``owner`` 0: only the plans for everybody)."""
    row = db.execute(
        f"""SELECT {_COLUMNS} FROM plan_versions WHERE plan_id = ? AND owner IN (0, ?)
        ORDER BY version DESC LIMIT 1""",
        (plan_id, owner),
    ).fetchone()
    return PlanRow(*row) if row else None


def any_owner(db: sqlite3.Connection, plan_id: str) -> PlanRow | None:
    """The newest version of a plan, whoever it belongs to."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM plan_versions WHERE plan_id = ? ORDER BY version DESC LIMIT 1", (plan_id,)
    ).fetchone()
    return PlanRow(*row) if row else None


def version(db: sqlite3.Connection, number: int) -> PlanRow:
    """A version by its internal number."""
    return PlanRow(*db.execute(f"SELECT {_COLUMNS} FROM plan_versions WHERE id = ?", (number,)).fetchone())


def listing(db: sqlite3.Connection, owner: int) -> list[PlanRow]:
    """The newest version of every plan that a customer may see, cheapest first."""
    rows = db.execute(
        f"""SELECT {_COLUMNS} FROM plan_versions p WHERE owner IN (0, ?)
        AND version = (SELECT max(version) FROM plan_versions n WHERE n.plan_id = p.plan_id)
        ORDER BY price_minor, plan_id""",
        (owner,),
    ).fetchall()
    return [PlanRow(*row) for row in rows]


def insert(db: sqlite3.Connection, plan: PlanRow) -> int:
    """Adds a version (its ``id`` is given here) and returns its number. The store refuses a version twice."""
    row = db.execute(
        f"""INSERT INTO plan_versions ({", ".join(PlanRow._fields[1:])})
        VALUES ({", ".join("?" * (len(PlanRow._fields) - 1))}) RETURNING id""",
        plan[1:],
    ).fetchone()
    return int(row[0])


def named(db: sqlite3.Connection, owner: int, name: str) -> str | None:
    """The id of the customer's own plan of that name."""
    row = db.execute("SELECT plan_id FROM plan_versions WHERE owner = ? AND name = ?", (owner, name)).fetchone()
    return row[0] if row else None


def limits(db: sqlite3.Connection, plan: int) -> list[PlanLimitRow]:
    """The limits of a plan version, in order of meter and period."""
    rows = db.execute(
        f"SELECT {', '.join(PlanLimitRow._fields)} FROM plan_limits WHERE plan = ? ORDER BY meter, period", (plan,)
    ).fetchall()
    return [PlanLimitRow(*row) for row in rows]


def add_limit(db: sqlite3.Connection, plan: int, limit: PlanLimitRow) -> None:
    """A limit of a plan version."""
    db.execute("INSERT INTO plan_limits VALUES (?, ?, ?, ?, ?, ?, ?)", (plan, *limit))


def add_price(db: sqlite3.Connection, plan: int, price: PriceRow) -> None:
    """A price of a plan version."""
    db.execute("INSERT INTO plan_prices VALUES (?, ?, ?, ?, ?)", (plan, *price))


def prices(db: sqlite3.Connection, plan: int) -> dict[int, PriceRow]:
    """Prices by meter."""
    rows = db.execute(
        "SELECT meter, model, unit, allowance FROM plan_prices WHERE plan = ? ORDER BY meter", (plan,)
    ).fetchall()
    return {row[0]: PriceRow(*row) for row in rows}
