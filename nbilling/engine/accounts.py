"""Customers as accounts: they come into being at their first write, and their billing periods follow one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nbilling.engine.core import Core
from nbilling.model.identity import new_id
from nbilling.model.periods import MONTH, Interval, day_start, local_day, month_of, period_of
from nbilling.model.text import customer_id as valid_customer_id
from nbilling.rules.quota import effective_limits
from nbilling.store import customers, plans, quota, subscriptions
from nbilling.store.customers import CustomerRow
from nbilling.store.plans import PlanRow
from nbilling.store.subscriptions import NEVER, PeriodRow, SubscriptionRow

if TYPE_CHECKING:
    import sqlite3

DEFAULT_PLAN = "free"
_BEGINNING = -31
"""1 December 1969: where the first instants of 1970 still lie in the year before, their month begins there."""


class Accounts:
    """Finds or makes a customer with its present period, and rolls periods over when their time has come."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def ensure(self, db: sqlite3.Connection, customer_id: str, now: int) -> CustomerRow:
        """The customer with its present period; a new one where the id is new. For writing jobs only."""
        row = customers.find(db, valid_customer_id(customer_id))
        if row is None:
            row = self._create(db, customer_id, now)
        if not row.start_at <= now < row.end_at:
            row = self._roll(db, row, now)
        return row

    def ensure_many(self, db: sqlite3.Connection, customer_ids: Sequence[str], now: int) -> dict[str, CustomerRow]:
        """:meth:`ensure` for a batch."""
        found = customers.find_many(db, customer_ids)
        for customer_id in customer_ids:
            row = found.get(customer_id)
            if row is None or not row.start_at <= now < row.end_at:
                found[customer_id] = self.ensure(db, customer_id, now)
        return found

    def view(self, customer_id: str) -> tuple[sqlite3.Connection, CustomerRow | None, int]:
        """A reader, the customer (None where there is none yet) and now. Rolls the period over if it has ended."""
        valid_customer_id(customer_id)
        db = self._core.read()
        row, now = customers.find(db, customer_id), self._core.now(db)
        if row is not None and not row.start_at <= now < row.end_at:
            row = self._core.write(lambda job: self.ensure(job, customer_id, self._core.now(job)))
        return db, row, now

    def _create(self, db: sqlite3.Connection, customer_id: str, now: int) -> CustomerRow:
        number = customers.insert_with(db, customer_id, {}, now)
        return self.open(db, number, now)

    def open(self, db: sqlite3.Connection, number: int, now: int) -> CustomerRow:
        """Puts a new customer on the default plan."""
        plan = self.plan_of(db, None)
        subscriptions.insert(
            db,
            SubscriptionRow(
                0, new_id("sub", now), number, "active", 1, plan.id, 0, _BEGINNING, NEVER, 0, 0, now, now
            ),
            "default plan",
        )  # fmt: skip
        self.write_limits(db, number, plan.id)
        return self._roll(db, customers.get(db, number), now)

    def reopen(self, db: sqlite3.Connection, number: int, now: int) -> None:
        """Computes the present period anew, after the zone of a customer without usage has changed."""
        subscriptions.forget_periods(db, number)
        customers.set_period(db, number, 0)
        self._roll(db, customers.get(db, number), now)

    def _roll(self, db: sqlite3.Connection, row: CustomerRow, now: int) -> CustomerRow:
        today = local_day(row.zone, now)
        held = subscriptions.in_force(db, row.id, today)
        if held.pending_plan and held.pending_day <= today:
            self.change_plan(
                db, row, held, plans.version(db, held.pending_plan), held.pending_day, now, "pending change"
            )
        period = self.period_at(db, row, now)
        customers.set_period(db, row.id, period.id)
        held = subscriptions.get(db, period.subscription)
        self.write_limits(db, row.id, held.plan)
        return customers.get(db, row.id)

    def period_at(self, db: sqlite3.Connection, row: CustomerRow, at: int) -> PeriodRow:
        """The period that holds an instant, made where it has not been yet."""
        return self.period_of_day(db, row, local_day(row.zone, at))

    def period_of_day(self, db: sqlite3.Connection, row: CustomerRow, day: int) -> PeriodRow:
        """The period that holds a local day, made where it has not been yet."""
        period = subscriptions.period_holding(db, row.id, day)
        return period or subscriptions.insert_period(db, self.derive_period(db, row, day))

    def derive_period(self, db: sqlite3.Connection, row: CustomerRow, day: int) -> PeriodRow:
        """What the period of a day is by the subscriptions: from the anchor, or the calendar month between them."""
        held = subscriptions.in_force(db, row.id, day)
        if held.is_default:
            start, end = month_of(day)
            before, after = subscriptions.neighbours(db, row.id, day)
            start, end = max(start, before), min(end, after)
        else:
            start, end = period_of(held.anchor_day, self.interval(db, held), day)
            end = min(end, held.end_day)
        return PeriodRow(
            0, row.id, held.id, start, end, day_start(row.zone, start), day_start(row.zone, end)
        )  # fmt: skip

    def full_span(self, db: sqlite3.Connection, period: PeriodRow) -> tuple[int, int]:
        """``(start_day, end_day)`` that the period would have if nothing had cut it short: fees are prorated by it."""
        held = subscriptions.get(db, period.subscription)
        if held.is_default:
            return month_of(period.start_day)
        return period_of(held.anchor_day, self.interval(db, held), period.start_day)

    @staticmethod
    def interval(db: sqlite3.Connection, held: SubscriptionRow) -> Interval:
        """How long a subscription's periods are."""
        if held.is_default:
            return MONTH
        plan = plans.version(db, held.plan)
        return Interval(plan.interval_unit, plan.interval_count)

    def change_plan(
        self,
        db: sqlite3.Connection,
        row: CustomerRow,
        held: SubscriptionRow,
        plan: PlanRow,
        day: int,
        now: int,
        why: str,
    ) -> None:
        """Puts a plan in force from a local day on, and gives the periods from that day on their new shape.

        The first plan that is paid for starts a subscription anchored on that day; the default plan ends it; any other
        plan is a further phase of the subscription and keeps its anchor.
        """
        if plan.plan_id == DEFAULT_PLAN and not held.is_default:
            subscriptions.end(db, held.id, max(day, held.start_day), now)
        elif held.is_default:
            subscriptions.set_pending(db, held.id, 0, 0, now)
            subscriptions.insert(
                db,
                SubscriptionRow(
                    0, new_id("sub", now), row.id, "active", 0, plan.id, day, day, NEVER, 0, 0, now, now
                ),
                why,
            )  # fmt: skip
        else:
            subscriptions.add_phase(db, held.id, day, plan.id, why, now)
            subscriptions.set_plan(db, held.id, plan.id, now)
        self._reshape(db, row, day)
        self.write_limits(db, row.id, plan.id)

    def _reshape(self, db: sqlite3.Connection, row: CustomerRow, day: int) -> None:
        period = subscriptions.period_holding(db, row.id, day)
        if period is None:
            return
        derived = self.derive_period(db, row, day)
        if derived.start_day == period.start_day:
            subscriptions.reshape_period(db, derived._replace(id=period.id))
        else:
            cut = period._replace(end_day=derived.start_day, end_at=derived.start_at)
            subscriptions.reshape_period(db, cut)
            added = subscriptions.insert_period(db, derived)
            subscriptions.reshape_period(db, added)
            if row.period == period.id:
                customers.set_period(db, row.id, added.id)

    def write_limits(self, db: sqlite3.Connection, customer: int, plan: int) -> None:
        """Writes down the limits in force: the customer's own, else its plan's, else the defaults."""
        gauges = {meter for meter, _, _ in plans.limits(db, plan) if self._core.meter_by_id(db, meter).kind == "gauge"}
        gauges |= {
            meter for meter, _, _ in quota.own(db, customer) if self._core.meter_by_id(db, meter).kind == "gauge"
        }
        rows = effective_limits(quota.own(db, customer), plans.limits(db, plan), quota.defaults(db), gauges)
        quota.write_effective(db, customer, [quota.LimitRow(*limit) for limit in rows])

    def refresh_limits(self, db: sqlite3.Connection, row: CustomerRow) -> None:
        """Writes the limits in force down again, after the customer's own have changed."""
        self.write_limits(db, row.id, subscriptions.get(db, row.subscription).plan)

    def plan_of(self, db: sqlite3.Connection, row: CustomerRow | None) -> PlanRow:
        """The plan in force; the default plan where there is no customer yet."""
        if row is not None:
            return plans.version(db, subscriptions.get(db, row.subscription).plan)
        plan = plans.newest(db, DEFAULT_PLAN, 0)
        assert plan is not None  # seeded by the first migration, and plans are never deleted
        return plan
