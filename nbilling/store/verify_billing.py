"""What a verification reads of accounts and invoices: customer by customer, invoice by invoice."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nbilling.store.invoices import InvoiceRow, LineRow
from nbilling.store.plans import PlanRow
from nbilling.store.subscriptions import PeriodRow, SubscriptionRow


def customers(db: sqlite3.Connection) -> Iterator[tuple[int, str, str, int]]:
    """``(id, customer_id, zone, period)`` of every customer."""
    return db.execute("SELECT id, customer_id, zone, period FROM customers ORDER BY id")


def customer(db: sqlite3.Connection, number: int) -> tuple[str, str] | None:
    """``(customer_id, zone)``."""
    row = db.execute("SELECT customer_id, zone FROM customers WHERE id = ?", (number,)).fetchone()
    return (row[0], row[1]) if row else None


def dimension(db: sqlite3.Connection, number: int) -> str:
    """The value of a dimension."""
    row = db.execute("SELECT value FROM dimensions WHERE id = ?", (number,)).fetchone()
    return str(row[0]) if row else f"dimension {number}"


_NAMES = {
    "invoice": "SELECT coalesce(nullif(number, ''), invoice_id) FROM invoice_records WHERE id = ?",
    "credit_note": "SELECT number FROM credit_notes WHERE id = ?",
    "plan": "SELECT plan_id FROM plan_versions WHERE id = ?",
    "subscription": """SELECT c.customer_id || ' ' || s.subscription_id FROM subscription_records s
      JOIN customers c ON c.id = s.customer WHERE s.id = ?""",
}


def name_of(db: sqlite3.Connection, column: str, number: int) -> str | None:
    """What people call the row that a column of that name leads to; None where there is none."""
    row = db.execute(_NAMES[column], (number,)).fetchone() if column in _NAMES else None
    return str(row[0]) if row else None


_PERIOD = ", ".join(PeriodRow._fields)
_SUBSCRIPTION = ", ".join(SubscriptionRow._fields)


def periods_of(db: sqlite3.Connection, customer: int) -> list[tuple[PeriodRow, int]]:
    """A customer's periods in order, each with its ``late``."""
    rows = db.execute(
        f"SELECT {_PERIOD}, late FROM periods WHERE customer = ? ORDER BY start_day", (customer,)
    ).fetchall()
    return [(PeriodRow(*row[:-1]), row[-1]) for row in rows]


def period(db: sqlite3.Connection, number: int) -> tuple[PeriodRow, int] | None:
    """A period with its ``late``."""
    row = db.execute(f"SELECT {_PERIOD}, late FROM periods WHERE id = ?", (number,)).fetchone()
    return (PeriodRow(*row[:-1]), row[-1]) if row else None


def plan(db: sqlite3.Connection, number: int) -> PlanRow | None:
    """A version of a plan."""
    row = db.execute(f"SELECT {', '.join(PlanRow._fields)} FROM plan_versions WHERE id = ?", (number,)).fetchone()
    return PlanRow(*row) if row else None


def subscription(db: sqlite3.Connection, number: int) -> SubscriptionRow | None:
    """A subscription by its number."""
    row = db.execute(f"SELECT {_SUBSCRIPTION} FROM subscription_records WHERE id = ?", (number,)).fetchone()
    return SubscriptionRow(*row) if row else None


def subscriptions_of(db: sqlite3.Connection, customer: int) -> list[SubscriptionRow]:
    """A customer's subscriptions in the order in which they were made."""
    rows = db.execute(
        f"SELECT {_SUBSCRIPTION} FROM subscription_records WHERE customer = ? ORDER BY id", (customer,)
    ).fetchall()
    return [SubscriptionRow(*row) for row in rows]


class Phase(NamedTuple):
    """A phase of a subscription. ``seq``: they are numbered from 0 on."""

    seq: int
    start_day: int
    plan: int
    changed_at: int
    quantity: int


def phases_of(db: sqlite3.Connection, subscription: int) -> list[Phase]:
    """A subscription's phases in the order in which they were made."""
    rows = db.execute(
        f"SELECT {', '.join(Phase._fields)} FROM subscription_phases WHERE subscription = ? ORDER BY seq",
        (subscription,),
    ).fetchall()
    return [Phase(*row) for row in rows]


def is_cut(db: sqlite3.Connection, customer: int, day: int) -> bool:
    """Whether a bought subscription begins or ends on a day: a period that ends there may have been longer once."""
    return bool(
        db.execute(
            """SELECT EXISTS (SELECT 1 FROM subscription_records WHERE customer = ? AND is_default = 0
            AND (start_day = ? OR end_day = ?))""",
            (customer, day, day),
        ).fetchone()[0]
    )


def all_windows(db: sqlite3.Connection) -> Iterator[tuple[int, int, str, int, int]]:
    """``(customer, id, scope, opened_at, opened_seq)``, customer by customer, in the order in which they were made."""
    return db.execute("SELECT customer, id, scope, opened_at, opened_seq FROM windows ORDER BY customer, id")


def resets(db: sqlite3.Connection) -> set[tuple[str, int]]:
    """``(customer_id, at)`` of the resets in the audit trail."""
    return set(db.execute("SELECT subject, at FROM audit WHERE action IN ('usage.reset', 'quota.reset')"))


# --- Invoices -------------------------------------------------------------------------------------------------------

_INVOICE = ", ".join(InvoiceRow._fields)
_LINE = ", ".join("l." + field for field in LineRow._fields)


def invoices(db: sqlite3.Connection, since: int) -> Iterator[InvoiceRow]:
    """The drafts, and every invoice that was finalised since an instant."""
    rows = db.execute(
        f"SELECT {_INVOICE} FROM invoice_records WHERE finalized_at >= ? OR status = 'draft' ORDER BY id", (since,)
    )
    return (InvoiceRow(*row) for row in rows)


def positions(db: sqlite3.Connection, table: str, invoice: int) -> list[int]:
    """The positions of an invoice's rows in a table."""
    rows = db.execute(f"SELECT position FROM {table} WHERE invoice = ? ORDER BY position", (invoice,)).fetchall()
    return [row[0] for row in rows]


def lines_of_series(
    db: sqlite3.Connection, period: int, meter: int, plan: int, start_day: int
) -> list[tuple[str, LineRow]]:
    """``(invoice_id, line)`` of all usage lines of one part of a period, drafts left out."""
    rows = db.execute(
        f"""SELECT i.invoice_id, {_LINE} FROM invoice_lines l JOIN invoice_records i ON i.id = l.invoice
        WHERE l.period = ? AND l.meter = ? AND l.plan = ? AND l.start_day = ? AND l.kind IN ('usage', 'late_usage')
        AND i.status <> 'draft'""",
        (period, meter, plan, start_day),
    ).fetchall()
    return [(row[0], LineRow(*row[1:])) for row in rows]


def fees_of(db: sqlite3.Connection, period: int) -> list[tuple[str, LineRow]]:
    """``(invoice_id, line)`` of all fees of a period and their changes, drafts left out."""
    rows = db.execute(
        f"""SELECT i.invoice_id, {_LINE} FROM invoice_lines l JOIN invoice_records i ON i.id = l.invoice
        WHERE l.period = ? AND l.kind IN ('fee', 'fee_change') AND i.status <> 'draft'""",
        (period,),
    ).fetchall()
    return [(row[0], LineRow(*row[1:])) for row in rows]


def numbers(db: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """``(number, id)`` of every numbered invoice and credit note."""
    return db.execute(
        """SELECT number, invoice_id FROM invoice_records WHERE number <> ''
        UNION ALL SELECT number, credit_note_id FROM credit_notes"""
    )


def number_series(db: sqlite3.Connection) -> dict[tuple[str, int], int]:
    """The last number of every series and year."""
    rows = db.execute("SELECT series, year, last FROM number_series")
    return {(series, year): last for series, year, last in rows}


class Trail(NamedTuple):
    """A row of the audit trail. ``detail`` is JSON."""

    seq: int
    at: int
    action: str
    subject: str
    detail: str


def invoice_trail(db: sqlite3.Connection) -> Iterator[Trail]:
    """When invoices were finalised, paid, credited and voided, in order."""
    rows = db.execute(
        """SELECT seq, at, action, subject, detail FROM audit
        WHERE action IN ('invoice.finalize', 'invoice.payment', 'invoice.credit', 'invoice.void') ORDER BY seq"""
    )
    return (Trail(*row) for row in rows)


def movements(db: sqlite3.Connection) -> Iterator[tuple[int, str, int, int, int, int]]:
    """``(customer, currency, amount_minor, invoice, credit_note, created_at)``, each balance in order."""
    return db.execute(
        """SELECT customer, currency, amount_minor, invoice, credit_note, created_at FROM balance_movements
        ORDER BY customer, currency, id"""
    )


def redemptions_elsewhere(db: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """``(customer_id, code, invoice)`` of codes taken on an invoice of another customer, or that is without them, and
    of codes on invoices whose customer has never taken them."""
    return db.execute(
        """SELECT c.customer_id, d.code, coalesce(nullif(i.number, ''), i.invoice_id) FROM redemptions r
        JOIN customers c ON c.id = r.customer JOIN discount_codes d ON d.id = r.discount
        JOIN invoice_records i ON i.id = r.invoice
        WHERE i.customer <> r.customer OR NOT EXISTS (
          SELECT 1 FROM invoice_discounts x WHERE x.invoice = r.invoice AND x.discount = r.discount)
        UNION ALL SELECT c.customer_id, x.label, coalesce(nullif(i.number, ''), i.invoice_id) FROM invoice_discounts x
        JOIN invoice_records i ON i.id = x.invoice JOIN customers c ON c.id = i.customer
        WHERE x.discount <> 0 AND NOT EXISTS (
          SELECT 1 FROM redemptions r WHERE r.customer = i.customer AND r.discount = x.discount)"""
    ).fetchall()


def changed_discounts(db: sqlite3.Connection) -> list[tuple[str, int, str, str]]:
    """``(invoice, position, code and definition, those on the invoice)`` where these differ."""
    return db.execute(
        """SELECT coalesce(nullif(i.number, ''), i.invoice_id), x.position,
          coalesce(d.code || ' ' || d.definition, 'no such code'), x.label || ' ' || x.definition
        FROM invoice_discounts x JOIN invoice_records i ON i.id = x.invoice
        LEFT JOIN discount_codes d ON d.id = x.discount
        WHERE x.discount <> 0 AND (d.definition, d.code) IS NOT (x.definition, x.label)"""
    ).fetchall()


# --- What was set up, and what the audit trail says of it -----------------------------------------------------------


def set_up_trail(db: sqlite3.Connection) -> Iterator[Trail]:
    """When meters, tax rates, discount codes and custom plans were made, and taken out of force, in order."""
    rows = db.execute(
        """SELECT seq, at, action, subject, detail FROM audit
        WHERE action IN ('meter.create', 'tax.add', 'tax.remove', 'discount.create', 'plan.create_custom')
        ORDER BY seq"""
    )
    return (Trail(*row) for row in rows)


def custom_plan(db: sqlite3.Connection, plan_id: str) -> dict[str, str | int] | None:
    """What a custom plan was when it was made: its name, price and whose it is."""
    row = db.execute(
        """SELECT p.name, p.price_minor, p.currency, coalesce(c.customer_id, 'everybody') FROM plan_versions p
        LEFT JOIN customers c ON c.id = p.owner WHERE p.plan_id = ? AND p.version = 1""",
        (plan_id,),
    ).fetchone()
    return dict(zip(("name", "price_minor", "currency", "customer_id"), row, strict=True)) if row else None


def discount_definitions(db: sqlite3.Connection) -> dict[str, str]:
    """The definition of every code."""
    return dict(db.execute("SELECT code, definition FROM discount_codes"))


def unknown_limit_periods(db: sqlite3.Connection, known: Sequence[str]) -> list[tuple[str, str, int, str]]:
    """``(table, plan, meter, period)`` of limits that no check looks at."""
    marks = ", ".join("?" * len(known))
    return db.execute(
        f"""SELECT 'plan_limits', p.plan_id, l.meter, l.period FROM plan_limits l JOIN plan_versions p ON p.id = l.plan
        WHERE l.period NOT IN ({marks})
        UNION ALL SELECT 'default_limits', 'defaults', meter, period FROM default_limits
        WHERE period NOT IN ({marks})""",
        (*known, *known),
    ).fetchall()
