"""Customers as accounts: they come into being at their first write, and their billing periods follow one another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from nbilling.engine.core import Core
from nbilling.model.identity import new_id
from nbilling.model.periods import MONTH, Interval, day_start, local_day, month_of, period_of
from nbilling.model.text import customer_id as valid_customer_id
from nbilling.rules.quota import effective_limits
from nbilling.rules.subscriptions import Cycle, after, first_anchor, trial_end
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
        return self._roll(db, customers.get(db, number), now)

    def reopen(self, db: sqlite3.Connection, number: int, now: int) -> None:
        """Computes the present period anew, after the zone of a customer without usage has changed."""
        subscriptions.forget_periods(db, number)
        customers.set_period(db, number, 0)
        self._roll(db, customers.get(db, number), now)

    def _roll(self, db: sqlite3.Connection, row: CustomerRow, now: int) -> CustomerRow:
        """What was due by now has happened, on the day it was due; then the present period is the one of today."""
        today = local_day(row.zone, now)
        while (due := self._due(subscriptions.in_force(db, row.id, today), today)) is not None:
            held, day = due
            if held.status == "trialing" and held.trial_end_day == day:
                held = held._replace(status=after(held.status, "trial_ended"))
                subscriptions.save(db, held, now)
                self.note(db, row, held, "trial_ended", "trialing", now, "the trial has ended", day)
            if held.pending_plan and held.pending_day == day:
                plan = plans.version(db, held.pending_plan)
                self.change_plan(db, row, held, plan, day, now, "pending change")
        period = self.period_at(db, row, now)
        customers.set_period(db, row.id, period.id)
        self.write_limits(db, row.id, subscriptions.get(db, period.subscription))
        return customers.get(db, row.id)

    @staticmethod
    def _due(held: SubscriptionRow, today: int) -> tuple[SubscriptionRow, int] | None:
        """The subscription with the first day on which something was due and has not happened yet."""
        days = [held.trial_end_day] if held.status == "trialing" else []
        days += [held.pending_day] if held.pending_plan else []
        return (held, min(days)) if days and min(days) <= today else None

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
            before, after_it = subscriptions.neighbours(db, row.id, day)
            start, end = max(start, before), min(end, after_it)
        else:
            start, end = cycle(held).period(day)
        return PeriodRow(
            0, row.id, held.id, start, end, day_start(row.zone, start), day_start(row.zone, end)
        )  # fmt: skip

    def full_span(self, db: sqlite3.Connection, period: PeriodRow) -> tuple[int, int]:
        """``(start_day, end_day)`` that the period would have if nothing had cut it short: fees are prorated by it."""
        held = subscriptions.get(db, period.subscription)
        return month_of(period.start_day) if held.is_default else cycle(held).whole(period.start_day)

    def billing_month(self, db: sqlite3.Connection, row: CustomerRow, day: int) -> tuple[int, int]:
        """``(start_day, end_day)`` of the month by which limits per month count: the billing period where that is a
        month, else the month counted from the subscription's anchor."""
        held = subscriptions.in_force(db, row.id, day)
        if self.interval(held) == MONTH:
            period = self.derive_period(db, row, day)
            return period.start_day, period.end_day
        start, end = period_of(held.anchor_day, MONTH, day)
        return max(start, held.start_day), min(end, held.end_day)

    @staticmethod
    def interval(held: SubscriptionRow) -> Interval:
        """How long a subscription's periods are."""
        return MONTH if held.is_default else Interval(held.interval_unit, held.interval_count)

    def change_plan(
        self,
        db: sqlite3.Connection,
        row: CustomerRow,
        held: SubscriptionRow,
        plan: PlanRow,
        day: int,
        now: int,
        why: str,
        quantity: int | None = None,
        *,
        trial: bool = True,
    ) -> None:
        """Puts a plan in force from a local day on, and gives the periods from that day on their new shape.

        The first plan that is paid for starts a subscription on that day; the default plan ends it. Any other plan is a
        further phase of the subscription and keeps its anchor, unless it is billed by another interval, or its fee at
        another time: then its own subscription begins.
        """
        if plan.plan_id == DEFAULT_PLAN and not held.is_default:
            subscriptions.end(db, held.id, max(day, held.start_day), now)
            self.note(db, row, held._replace(status=after(held.status, "cancel")), "cancel", held.status, now, why, day)
        elif held.is_default and plan.plan_id == DEFAULT_PLAN:  # another version of it
            self._phase(db, row, held, plan, day, now, why, 1)
        elif held.is_default:
            subscriptions.set_pending(db, held.id, 0, 0, now)
            self._begin(db, row, plan, day, now, why, quantity or 1, trial=trial)
        elif held.paused_plan:  # a change that was waiting when it was paused
            subscriptions.save(db, held._replace(paused_plan=plan.id, pending_plan=0, pending_day=0), now)
            return
        elif _billing_of(plan) != (held.interval_unit, held.interval_count, held.fee_timing):
            subscriptions.end(db, held.id, max(day, held.start_day), now)
            self.note(db, row, held._replace(status="canceled"), "cancel", held.status, now, f"{why}: replaced", day)
            seats = quantity or (held.quantity if plan.per_seat else 1)
            self._begin(db, row, plan, day, now, why, seats, trial=False)
        else:
            self._phase(db, row, held, plan, day, now, why, quantity or (held.quantity if plan.per_seat else 1))
        self._reshape(db, row, day)
        if held.fee_timing == "advance":
            self.period_of_day(db, row, day)  # its invoice carries what was used before
        self.refresh_limits(db, customers.get(db, row.id))

    def _begin(
        self, db: sqlite3.Connection, row: CustomerRow, plan: PlanRow, day: int, now: int, why: str, quantity: int,
        *, trial: bool = True,
    ) -> None:  # fmt: skip
        """Starts a subscription, with a trial if the plan gives one and the customer has never had any."""
        interval = Interval(plan.interval_unit, plan.interval_count)
        trial = trial and plan.trial_days > 0 and not subscriptions.had_trial(db, row.id)
        paid_day = trial_end(day, plan.trial_days, day) if trial else day
        held = SubscriptionRow(
            0, new_id("sub", now), row.id, "trialing" if trial else "active", 0, plan.id,
            first_anchor(paid_day, interval, plan.anchor_day), day, NEVER, 0, 0, now, now,
            quantity, interval.unit, interval.times, paid_day if trial else 0, fee_timing=plan.fee_timing,
        )  # fmt: skip
        subscriptions.insert(db, held, why)
        self.note(db, row, held, "start", "", now, why, day)

    def _phase(
        self,
        db: sqlite3.Connection,
        row: CustomerRow,
        held: SubscriptionRow,
        plan: PlanRow,
        day: int,
        now: int,
        why: str,
        quantity: int,
    ) -> None:
        """Another plan, or another number of seats, in a subscription that goes on. A trial becomes the new plan's."""
        status = after(held.status, "change_plan" if plan.id != held.plan else "change_quantity")
        fresh = held._replace(plan=plan.id, quantity=quantity, status=status)
        if plan.id != held.plan:
            fresh = fresh._replace(pending_plan=0, pending_day=0)
        if held.status == "trialing" and plan.id != held.plan:
            paid_day = trial_end(held.start_day, plan.trial_days, day)
            anchor = first_anchor(paid_day, self.interval(held), plan.anchor_day)
            fresh = fresh._replace(trial_end_day=paid_day, anchor_day=anchor)
            if paid_day == day:
                fresh = fresh._replace(status=after(status, "trial_ended"))
        subscriptions.add_phase(db, held.id, day, plan.id, quantity, why, now)
        subscriptions.save(db, fresh, now)
        if fresh.status != held.status:
            self.note(db, row, fresh, "trial_ended", held.status, now, why, day)

    def switch(
        self,
        db: sqlite3.Connection,
        row: CustomerRow,
        held: SubscriptionRow,
        fresh: SubscriptionRow,
        day: int,
        now: int,
        why: str,
    ) -> None:
        """Writes a paused or resumed subscription back: from that day on, another plan rates and limits it."""
        subscriptions.save(db, fresh, now)
        if fresh.plan != held.plan:
            subscriptions.add_phase(db, held.id, day, fresh.plan, fresh.quantity, why, now)
        self.refresh_limits(db, customers.get(db, row.id))

    def note(
        self,
        db: sqlite3.Connection,
        row: CustomerRow,
        held: SubscriptionRow,
        event: str,
        before: str,
        now: int,
        why: str,
        day: int,
    ) -> None:
        """Writes into the audit trail what has happened to a subscription."""
        detail = {
            "subscription": held.subscription_id,
            "from": before,
            "to": held.status,
            "plan": plans.version(db, held.bought_plan).plan_id,
            "quantity": held.quantity,
            "day": day,
            "reason": why,
        }
        self._core.audit(db, now, f"subscription.{event}", row.customer_id, detail)

    def _reshape(self, db: sqlite3.Connection, row: CustomerRow, day: int) -> None:
        period = subscriptions.period_holding(db, row.id, day)
        # An event may run ahead of the clock, and its period with it: that one takes its shape anew too.
        ahead = [start for start in subscriptions.drop_periods_from(db, row.id, day + 1) if start > day]
        if period is not None:
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
        for start in ahead:
            if subscriptions.period_holding(db, row.id, start) is None:
                added = subscriptions.insert_period(db, self.derive_period(db, row, start))
                subscriptions.reshape_period(db, added)

    def write_limits(self, db: sqlite3.Connection, customer: int, held: SubscriptionRow) -> None:
        """Writes down the limits in force: the customer's own, else its plan's, else the defaults."""
        own, listed = quota.own(db, customer), self.plan_limits(db, held)
        gauges = {limit.meter for limit in own if self._is_gauge(db, limit.meter)}
        gauges |= {limit.meter for limit in listed if self._is_gauge(db, limit.meter)}
        own_months = int(self.interval(held) != MONTH)
        rows = effective_limits(own, listed, quota.defaults(db), gauges)
        quota.write_effective(db, customer, [quota.LimitRow(*limit, own_months) for limit in rows])

    def _is_gauge(self, db: sqlite3.Connection, meter: int) -> bool:
        return self._core.meter_by_id(db, meter).kind == "gauge"

    def plan_limits(self, db: sqlite3.Connection, held: SubscriptionRow) -> list[quota.OwnLimit]:
        """What the plan allows for as many seats as there are."""
        return limits_of(plans.limits(db, held.plan), held.quantity)

    def refresh_limits(self, db: sqlite3.Connection, row: CustomerRow) -> None:
        """Writes the limits in force down again, after the customer's own have changed."""
        self.write_limits(db, row.id, subscriptions.get(db, row.subscription))

    def features(self, db: sqlite3.Connection, row: CustomerRow | None) -> dict[str, Any]:
        """What the plan in force entitles to: booleans, numbers, texts."""
        features: dict[str, Any] = json.loads(self.plan_of(db, row).features, parse_float=Decimal)
        return features

    def plan_of(self, db: sqlite3.Connection, row: CustomerRow | None) -> PlanRow:
        """The plan in force; the default plan where there is no customer yet."""
        if row is not None:
            return plans.version(db, subscriptions.get(db, row.subscription).plan)
        plan = plans.newest(db, DEFAULT_PLAN, 0)
        assert plan is not None  # seeded by the first migration, and plans are never deleted
        return plan


def cycle(held: SubscriptionRow) -> Cycle:
    """How the periods of a bought subscription lie."""
    interval = Interval(held.interval_unit, held.interval_count)
    return Cycle(held.start_day, held.trial_end_day or held.start_day, held.anchor_day, interval, held.end_day)


def limits_of(listed: Sequence[plans.PlanLimitRow], quantity: int) -> list[quota.OwnLimit]:
    """The limits of a plan for a number of seats."""
    return [
        quota.OwnLimit(
            limit.meter,
            limit.period,
            limit.amount * quantity if limit.per_seat and limit.amount is not None else limit.amount,
            limit.mode,
            limit.threshold,
        )
        for limit in listed
    ]


def _billing_of(plan: PlanRow) -> tuple[str, int, str]:
    """What a subscription keeps for as long as it lasts."""
    return plan.interval_unit, plan.interval_count, plan.fee_timing
