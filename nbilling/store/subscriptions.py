"""Subscriptions, their phases, and billing periods."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from nbilling.store import usage

NEVER = 2**63 - 1
"""``end_day`` of a subscription that has no end."""


class SubscriptionRow(NamedTuple):
    """A subscription. Plans are numbers of plan versions, days are day numbers.

    ``trial_end_day`` 0: no trial. While it is paused, ``plan`` is the default one and ``paused_plan`` what it goes on
    with; else that is 0.
    """

    id: int
    subscription_id: str
    customer: int
    status: str
    is_default: int
    plan: int
    anchor_day: int
    start_day: int
    end_day: int
    pending_plan: int
    pending_day: int
    created_at: int
    updated_at: int
    quantity: int = 1
    interval_unit: str = "month"
    interval_count: int = 1
    trial_end_day: int = 0
    paused_plan: int = 0
    fee_timing: str = "arrears"

    @property
    def bought_plan(self) -> int:
        """The plan that it is for, also while it is paused."""
        return self.paused_plan or self.plan


class PeriodRow(NamedTuple):
    """A billing period, half-open, in day numbers and in microseconds."""

    id: int
    customer: int
    subscription: int
    start_day: int
    end_day: int
    start_at: int
    end_at: int


class PhaseRow(NamedTuple):
    """From which day a plan version was in force, for how many seats."""

    start_day: int
    plan: int
    reason: str
    changed_at: int
    quantity: int = 1


_SUBSCRIPTION = ", ".join(SubscriptionRow._fields)
_PERIOD = ", ".join(PeriodRow._fields)


def insert(db: sqlite3.Connection, row: SubscriptionRow, reason: str) -> int:
    """Adds a subscription (its ``id`` is given here) with its first phase."""
    number = db.execute(
        f"""INSERT INTO subscription_records ({", ".join(SubscriptionRow._fields[1:])})
        VALUES ({", ".join("?" * (len(SubscriptionRow._fields) - 1))}) RETURNING id""",
        row[1:],
    ).fetchone()[0]
    add_phase(db, number, row.start_day, row.plan, row.quantity, reason, row.created_at)
    return int(number)


def get(db: sqlite3.Connection, number: int) -> SubscriptionRow:
    """By internal number."""
    return SubscriptionRow(
        *db.execute(f"SELECT {_SUBSCRIPTION} FROM subscription_records WHERE id = ?", (number,)).fetchone()
    )


def in_force(db: sqlite3.Connection, customer: int, day: int) -> SubscriptionRow:
    """The subscription of a day: the one that was bought, else the free default."""
    row = db.execute(
        f"""SELECT {_SUBSCRIPTION} FROM subscription_records
        WHERE customer = ? AND start_day <= ? AND end_day > ? ORDER BY is_default, id DESC LIMIT 1""",
        (customer, day, day),
    ).fetchone()
    return SubscriptionRow(*row)


def neighbours(db: sqlite3.Connection, customer: int, day: int) -> tuple[int, int]:
    """Where the last bought subscription before a free day ended, and where the next one starts."""
    row = db.execute(
        """SELECT coalesce(max(end_day) FILTER (WHERE end_day <= ?1), -9223372036854775808),
          coalesce(min(start_day) FILTER (WHERE start_day > ?1 AND end_day > start_day), 9223372036854775807)
        FROM subscription_records WHERE customer = ?2 AND is_default = 0""",
        (day, customer),
    ).fetchone()
    return row[0], row[1]


def save(db: sqlite3.Connection, row: SubscriptionRow, now: int) -> None:
    """Writes a subscription back whole."""
    fields = SubscriptionRow._fields[1:]
    db.execute(
        f"UPDATE subscription_records SET {', '.join(f'{field} = ?' for field in fields)} WHERE id = ?",
        (*row._replace(updated_at=now)[1:], row.id),
    )


def set_pending(db: sqlite3.Connection, number: int, plan: int, day: int, now: int) -> None:
    """Notes a plan that comes into force on a day."""
    db.execute(
        "UPDATE subscription_records SET pending_plan = ?, pending_day = ?, updated_at = ? WHERE id = ?",
        (plan, day, now, number),
    )


def end(db: sqlite3.Connection, number: int, day: int, now: int) -> None:
    """Ends a subscription: ``day`` is the first that it does not hold for."""
    db.execute(
        """UPDATE subscription_records SET status = 'canceled', end_day = ?, pending_plan = 0, pending_day = 0,
        updated_at = ? WHERE id = ?""",
        (day, now, number),
    )


def add_phase(db: sqlite3.Connection, number: int, day: int, plan: int, quantity: int, reason: str, now: int) -> None:
    """Notes that a plan is in force for so many seats from a day on."""
    db.execute(
        """INSERT INTO subscription_phases (subscription, start_day, seq, plan, reason, changed_at, quantity)
        SELECT ?1, ?2, count(*), ?3, ?4, ?5, ?6 FROM subscription_phases WHERE subscription = ?1""",
        (number, day, plan, reason, now, quantity),
    )


_PHASE = ", ".join(PhaseRow._fields)


def phases(db: sqlite3.Connection, number: int) -> list[PhaseRow]:
    """The phases in order; of several on one day only the last, for it rates the day."""
    rows = db.execute(
        f"""SELECT {_PHASE} FROM subscription_phases p WHERE subscription = ?
        AND seq = (SELECT max(seq) FROM subscription_phases n
          WHERE n.subscription = p.subscription AND n.start_day = p.start_day)
        ORDER BY start_day""",
        (number,),
    ).fetchall()
    return [PhaseRow(*row) for row in rows]


def last_bought(db: sqlite3.Connection, customer: int) -> SubscriptionRow | None:
    """The subscription that was bought last, whatever became of it."""
    row = db.execute(
        f"""SELECT {_SUBSCRIPTION} FROM subscription_records WHERE customer = ? AND is_default = 0
        ORDER BY id DESC LIMIT 1""",
        (customer,),
    ).fetchone()
    return SubscriptionRow(*row) if row else None


def changes(db: sqlite3.Connection, customer_id: str) -> list[tuple[int, str, str, str]]:
    """``(at, actor, action, detail)`` of what the audit trail says of a customer's subscriptions, in order."""
    return db.execute(
        """SELECT at, actor, action, detail FROM audit WHERE subject = ? AND (action LIKE 'subscription.%'
        OR action IN ('plan.upgrade', 'plan.downgrade')) ORDER BY seq""",
        (customer_id,),
    ).fetchall()


def is_overdue(db: sqlite3.Connection, customer: int, now: int) -> bool:
    """Whether a finalised invoice is still open after its due day."""
    found = db.execute(
        """SELECT EXISTS (SELECT 1 FROM invoice_records WHERE customer = ? AND status IN ('open', 'part_paid')
        AND due_at <= ?)""",
        (customer, now),
    ).fetchone()
    return bool(found[0])


def to_roll(db: sqlite3.Connection, now: int) -> list[str]:
    """Customers whose present period has ended."""
    rows = db.execute(
        """SELECT c.customer_id FROM customers c LEFT JOIN periods p ON p.id = c.period
        WHERE p.end_at IS NULL OR p.end_at <= ? ORDER BY c.id""",
        (now,),
    ).fetchall()
    return [row[0] for row in rows]


def to_settle(db: sqlite3.Connection, now: int) -> list[str]:
    """Customers whose subscription is past due, or may be: an invoice is open after its due day."""
    rows = db.execute(
        """SELECT DISTINCT c.customer_id FROM subscription_records s JOIN customers c ON c.id = s.customer
        WHERE s.is_default = 0 AND (s.status = 'past_due' OR (s.status = 'active' AND EXISTS (
          SELECT 1 FROM invoice_records i WHERE i.customer = s.customer AND i.status IN ('open', 'part_paid')
          AND i.due_at <= ?))) ORDER BY c.id""",
        (now,),
    ).fetchall()
    return [row[0] for row in rows]


def holders_of_older(db: sqlite3.Connection, plan_id: str) -> list[str]:
    """Customers whose present subscription holds an older version of a plan than its newest."""
    rows = db.execute(
        """SELECT c.customer_id FROM customers c JOIN periods p ON p.id = c.period
        JOIN subscription_records s ON s.id = p.subscription
        JOIN plan_versions v ON v.id = iif(s.paused_plan, s.paused_plan, s.plan)
        WHERE v.plan_id = ?1 AND v.version < (SELECT max(version) FROM plan_versions WHERE plan_id = ?1)
        ORDER BY c.id""",
        (plan_id,),
    ).fetchall()
    return [row[0] for row in rows]


def with_alerts(db: sqlite3.Connection) -> list[str]:
    """Customers that have an alert in use."""
    rows = db.execute(
        """SELECT DISTINCT c.customer_id FROM alerts a JOIN customers c ON c.id = a.customer WHERE a.active = 1
        ORDER BY c.id"""
    ).fetchall()
    return [row[0] for row in rows]


def had_trial(db: sqlite3.Connection, customer: int) -> bool:
    """Whether a customer has been on trial already, on whatever plan."""
    found = db.execute(
        "SELECT EXISTS (SELECT 1 FROM subscription_records WHERE customer = ? AND trial_end_day > 0)", (customer,)
    ).fetchone()
    return bool(found[0])


def period_holding(db: sqlite3.Connection, customer: int, day: int) -> PeriodRow | None:
    """The period that holds a day, where it has been made."""
    row = db.execute(
        f"SELECT {_PERIOD} FROM periods WHERE customer = ? AND start_day <= ? ORDER BY start_day DESC LIMIT 1",
        (customer, day),
    ).fetchone()
    return PeriodRow(*row) if row and row[4] > day else None


def period(db: sqlite3.Connection, number: int) -> PeriodRow:
    """By number."""
    return PeriodRow(*db.execute(f"SELECT {_PERIOD} FROM periods WHERE id = ?", (number,)).fetchone())


def insert_period(db: sqlite3.Connection, row: PeriodRow) -> PeriodRow:
    """Adds a period (its ``id`` is given here)."""
    number = db.execute(
        """INSERT INTO periods (customer, subscription, start_day, end_day, start_at, end_at, late)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6,
          (SELECT fee_timing = 'advance' FROM subscription_records WHERE id = ?2)) RETURNING id""",
        row[1:],
    ).fetchone()[0]
    return row._replace(id=number)


def forget_periods(db: sqlite3.Connection, customer: int) -> None:
    """Removes the periods of a customer that has neither usage nor invoices."""
    db.execute("DELETE FROM periods WHERE customer = ?", (customer,))


def reshape_period(db: sqlite3.Connection, row: PeriodRow) -> None:
    """Gives a period other bounds or another subscription, and sums its usage again from its days.

    Its draft invoice, if there is one, follows it.
    """
    db.execute(
        """UPDATE periods SET subscription = ?1, start_day = ?2, end_day = ?3, start_at = ?4, end_at = ?5, late =
          max(late, (SELECT fee_timing = 'advance' FROM subscription_records WHERE id = ?1)) WHERE id = ?6""",
        (row.subscription, row.start_day, row.end_day, row.start_at, row.end_at, row.id),
    )
    db.execute(
        "UPDATE invoice_records SET subscription = ? WHERE period = ? AND status = 'draft'", (row.subscription, row.id)
    )
    usage.rebuild_period(db, row.id, row.customer, row.start_day, row.end_day)


def drop_periods_from(db: sqlite3.Connection, customer: int, day: int) -> list[int]:
    """Removes the periods that begin on a day or later, with their sums, and returns their first days.

    For those that an event running ahead of the clock has made, when a change gives them another shape.
    """
    rows = db.execute(
        "SELECT id, start_day FROM periods WHERE customer = ? AND start_day >= ?", (customer, day)
    ).fetchall()
    for number, _ in rows:
        usage.forget_period(db, number, customer)
        db.execute("DELETE FROM periods WHERE id = ?", (number,))
    return [start for _, start in rows]


def mark_late(db: sqlite3.Connection, periods: list[int]) -> None:
    """Notes that usage came into periods that may have been billed already."""
    db.executemany("UPDATE periods SET late = 1 WHERE id = ? AND late = 0", [(number,) for number in periods])


def periods_within(db: sqlite3.Connection, customer: int, start_at: int, end_at: int) -> list[int]:
    """The periods that begin in ``[start_at, end_at)``."""
    rows = db.execute(
        "SELECT id FROM periods WHERE customer = ? AND start_at >= ? AND start_at < ?", (customer, start_at, end_at)
    ).fetchall()
    return [row[0] for row in rows]


def late_periods(db: sqlite3.Connection, customer: int, before_day: int) -> list[PeriodRow]:
    """The periods before a day into which usage came late, oldest first."""
    rows = db.execute(
        f"""SELECT {_PERIOD} FROM periods WHERE customer = ? AND start_day < ? AND late = 1 ORDER BY start_day""",
        (customer, before_day),
    ).fetchall()
    return [PeriodRow(*row) for row in rows]


_BILLABLE = """NOT EXISTS (SELECT 1 FROM invoice_records i
  WHERE i.period = p.id AND i.subscription = p.subscription AND i.reason = 'period'
  AND i.status NOT IN ('draft', 'void'))
AND EXISTS (SELECT 1 FROM subscription_records s WHERE s.id = p.subscription AND s.stripe_subscription_id = '')
AND (EXISTS (SELECT 1 FROM subscription_records s WHERE s.id = p.subscription AND s.is_default = 0)
  OR EXISTS (SELECT 1 FROM subscription_records s WHERE s.customer = p.customer AND s.end_day = p.start_day
    AND s.fee_timing = 'advance')
  OR EXISTS (SELECT 1 FROM rollups r WHERE r.grain = 3 AND r.bucket = p.id AND r.customer = p.customer)
  OR EXISTS (SELECT 1 FROM gauge_levels g WHERE g.customer = p.customer AND g.at >= p.start_at AND g.at < p.end_at))"""
"""A period p without a finalised invoice that stands. Of the free default only those in which something was used, and
the one after a subscription whose last usage is still to be billed, for its fee was in advance."""

_ADVANCE = """EXISTS (SELECT 1 FROM subscription_records s WHERE s.id = p.subscription AND s.fee_timing = 'advance')"""


def due_periods(db: sqlite3.Connection, customer: int, by_at: int) -> list[PeriodRow]:
    """The periods that are to be billed by an instant, oldest first: those that have ended, and where fees are in
    advance those that have begun."""
    rows = db.execute(
        f"""SELECT {_PERIOD} FROM periods p WHERE customer = ?1 AND start_at <= ?2 AND (end_at <= ?2 OR {_ADVANCE})
        AND {_BILLABLE} ORDER BY start_day""",
        (customer, by_at),
    ).fetchall()
    return [PeriodRow(*row) for row in rows]


def due_customers(db: sqlite3.Connection, by_at: int) -> list[str]:
    """Customers with a period that is to be billed by an instant, or that must roll over first."""
    rows = db.execute(
        f"""SELECT c.customer_id FROM customers c LEFT JOIN periods now ON now.id = c.period
        WHERE now.end_at <= ?1
          OR EXISTS (SELECT 1 FROM periods p WHERE p.customer = c.id AND p.end_at <= ?1 AND {_BILLABLE})
          OR EXISTS (SELECT 1 FROM periods p WHERE p.id = c.period AND p.start_at <= ?1 AND {_ADVANCE} AND {_BILLABLE})
        ORDER BY c.id""",
        (by_at,),
    ).fetchall()
    return [row[0] for row in rows]


def bought(db: sqlite3.Connection, customer: int) -> list[SubscriptionRow]:
    """The subscriptions that a customer has bought, oldest first."""
    rows = db.execute(
        f"""SELECT {_SUBSCRIPTION} FROM subscription_records WHERE customer = ? AND is_default = 0
        AND end_day > start_day ORDER BY start_day, id""",
        (customer,),
    ).fetchall()
    return [SubscriptionRow(*row) for row in rows]


def period_starts(db: sqlite3.Connection, subscription: int) -> dict[int, int]:
    """The periods that were made for a subscription: the day after the last by the first."""
    return dict(db.execute("SELECT start_day, end_day FROM periods WHERE subscription = ?", (subscription,)).fetchall())
