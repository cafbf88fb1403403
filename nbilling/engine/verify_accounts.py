"""Verifies accounts: subscriptions and their phases, billing periods, limits in force."""

from __future__ import annotations

from nbilling.engine.accounts import cycle, limits_of
from nbilling.engine.verify_context import NO_ROW, Context, date, moment, period_name, span
from nbilling.engine.verify_plans import PlanBook
from nbilling.engine.verify_totals import TotalsCheck
from nbilling.model.periods import day_start, zone_info
from nbilling.rules.quota import effective_limits
from nbilling.store import quota
from nbilling.store import verify as store
from nbilling.store import verify_billing as billing_store
from nbilling.store.quota import LimitRow
from nbilling.store.subscriptions import NEVER, PeriodRow, SubscriptionRow

_STEP = 1_000
"""Customers between two reports of progress."""


class AccountsCheck:
    """Customer by customer."""

    def __init__(self, context: Context, book: PlanBook) -> None:
        self._context = context
        self._db = context.db
        self._book = book
        self._totals = TotalsCheck(context)

    def run(self) -> None:
        """Compares everything, periods with the sums of their days too."""
        context, total = self._context, store.count(self._db, "customers")
        for done, (number, name, zone, present) in enumerate(billing_store.customers(self._db)):
            if done % _STEP == 0:
                context.tell("accounts", done, total)
            context.counted("customers")
            with context.unit("customers", name):
                zone_info(zone)
                held = billing_store.subscriptions_of(self._db, number)
                rows = billing_store.periods_of(self._db, number)
                self._subscriptions(name, number, held, rows)
                self._periods(name, zone, held, rows)
                self._present(name, present, held, rows)

    # --- Subscriptions --------------------------------------------------------------------------------------------

    def _subscriptions(
        self, name: str, customer: int, held: list[SubscriptionRow], periods: list[tuple[PeriodRow, int]]
    ) -> None:
        table = "subscription_records"
        self._context.equal(table, f"{name}, free defaults", 1, sum(row.is_default for row in held))
        ends = {row.end_day for row, _ in periods}
        for row in held:
            key = f"{name}, {row.subscription_id}"
            with self._context.unit(table, key):
                self._phases(key, row)
                ended = row.end_day != NEVER
                if (row.status == "canceled") != ended or (row.is_default and ended):
                    end = f"ended on {date(row.end_day)}" if ended else "never ended"
                    self._context.wrong(table, f"{key}, status", "canceled if it has ended, and only then",
                                        f"{row.status}, {end}")  # fmt: skip
                if self._book.plan(row.plan).owner not in (0, customer):
                    self._context.wrong(table, f"{key}, plan", "a plan for this customer", "another customer's")
                self._terms(key, row)
                self._pending(key, row, ends)

    def _terms(self, key: str, row: SubscriptionRow) -> None:
        """The free default goes by calendar months; any other has its plan's interval, and may have had a trial."""
        plan = self._book.plan(row.bought_plan)
        right = ("month", 1, "arrears")
        if not row.is_default:
            right = plan.interval_unit, plan.interval_count, plan.fee_timing
        table = "subscription_records"
        found_terms = row.interval_unit, row.interval_count, row.fee_timing
        self._context.equal(table, f"{key}, interval and time of the fee", right, found_terms)
        if row.is_default and row.anchor_day:
            self._context.wrong(table, f"{key}, anchor", "none, for calendar months", date(row.anchor_day))
        if row.trial_end_day and (row.is_default or row.trial_end_day < row.start_day):
            self._context.wrong(table, f"{key}, trial", "none, or one that ends later", date(row.trial_end_day))
        if row.status == "trialing" and not row.trial_end_day:
            self._context.wrong(table, f"{key}, trial", "an end, while it is trialing", "none")
        if row.status != "canceled" and bool(row.paused_plan) != (row.status == "paused"):
            kept = f"{row.status}, {plan.plan_id if row.paused_plan else 'nothing'}"
            self._context.wrong(table, f"{key}, paused plan", "one while it is paused, else none", kept)

    def _phases(self, key: str, row: SubscriptionRow) -> None:
        """They are in order from the subscription's first day on, and the last one is what it is now."""
        phases = billing_store.phases_of(self._db, row.id)
        table = "subscription_phases"
        numbers, days = [phase.seq for phase in phases], [phase.start_day for phase in phases]
        if not self._context.equal(table, f"{key}, numbers", list(range(len(phases))), numbers):
            return
        if not days or days[0] != row.start_day or days != sorted(days):
            shown = ", ".join(map(date, days)) or "none"
            self._context.wrong(table, f"{key}, days", f"{date(row.start_day)} first, in order", shown)
            return
        last = phases[-1]
        plans = self._book.plan(last.plan).plan_id, self._book.plan(row.plan).plan_id
        if (last.plan, last.quantity) != (row.plan, row.quantity):
            expected, found = f"{plans[0]}, {last.quantity} seats", f"{plans[1]}, {row.quantity} seats"
            self._context.wrong("subscription_records", f"{key}, plan", f"{expected}, as its last phase", found)

    def _pending(self, key: str, row: SubscriptionRow, ends: set[int]) -> None:
        if (row.pending_plan, row.pending_day) == (0, 0):
            return
        plan = self._book.plan(row.pending_plan)
        if row.pending_day not in ends:
            self._context.wrong(
                "subscription_records", f"{key}, pending day", "the end of a period", date(row.pending_day)
            )
        if plan.owner not in (0, row.customer):
            self._context.wrong("subscription_records", f"{key}, pending plan", "for this customer", plan.plan_id)

    # --- Periods --------------------------------------------------------------------------------------------------

    def _periods(self, name: str, zone: str, held: list[SubscriptionRow], periods: list[tuple[PeriodRow, int]]) -> None:
        context = self._context
        advance = {row.id for row in held if row.fee_timing == "advance"}
        before: PeriodRow | None = None
        for row, late in periods:
            key = f"{name}, {period_name(row)}"
            if row.end_at <= context.since:
                before = row
                continue
            context.counted("periods")
            if late not in (0, 1) or (not late and row.subscription in advance):
                context.wrong("periods", f"{key}, late", "0 or 1, and 1 where the fee is in advance", late)
            if before is not None and before.end_day > row.start_day:
                context.wrong("periods", key, f"a start after {period_name(before)}", date(row.start_day))
            before = row
            with context.unit("periods", key):
                if self._is_right(key, zone, held, row):
                    self._totals.period(row)

    def _is_right(self, key: str, zone: str, held: list[SubscriptionRow], row: PeriodRow) -> bool:
        """Whether a period's bounds and subscription are those that its subscription gives."""
        context = self._context
        right = context.equal("periods", f"{key}, start", moment(day_start(zone, row.start_day)), moment(row.start_at))
        right &= context.equal("periods", f"{key}, end", moment(day_start(zone, row.end_day)), moment(row.end_at))
        owner = self._in_force(held, row.start_day)
        if owner is None or owner.id != row.subscription:
            expected = owner.subscription_id if owner else "none"
            found = next((other.subscription_id for other in held if other.id == row.subscription), "another's")
            context.wrong("periods", f"{key}, subscription", expected, found)
            return False
        bounds = self._bounds(owner, held, row.start_day)
        return context.equal("periods", key, span(*bounds), span(row.start_day, row.end_day)) and right

    @staticmethod
    def _in_force(held: list[SubscriptionRow], day: int) -> SubscriptionRow | None:
        """The subscription of a day: the one that was bought, else the free default."""
        there = [row for row in held if row.start_day <= day < row.end_day]
        return min(there, key=lambda row: (row.is_default, -row.id), default=None)

    def _bounds(self, owner: SubscriptionRow, held: list[SubscriptionRow], day: int) -> tuple[int, int]:
        """The period of a day. A bought subscription cuts the months before and after it, also one of no length."""
        if not owner.is_default:
            return cycle(owner).period(day)
        start, end = self._book.full_span(owner, day)
        cuts = [cut for row in held if not row.is_default for cut in (row.start_day, row.end_day)]
        return max([start, *(cut for cut in cuts if cut <= day)]), min([end, *(cut for cut in cuts if cut > day)])

    # --- The present ----------------------------------------------------------------------------------------------

    def _present(
        self, name: str, present: int, held: list[SubscriptionRow], periods: list[tuple[PeriodRow, int]]
    ) -> None:
        """The present period is one of the customer's, and the limits in force are those of its subscription."""
        period = next((row for row, _ in periods if row.id == present), None)
        owner = next((row for row in held if period is not None and row.id == period.subscription), None)
        if period is None:
            self._context.wrong("customers", f"{name}, present period", "one of its own", f"number {present}")
        elif owner is not None:
            self._limits(name, owner)

    def _limits(self, name: str, owner: SubscriptionRow) -> None:
        db, context = self._db, self._context
        right = effective_limits(
            quota.own(db, owner.customer),
            limits_of(self._book.limits(owner.plan), owner.quantity),
            self._book.defaults,
            set(context.gauges),
        )
        found = quota.all_effective(db, owner.customer)
        context.counted("limits", len(found))
        monthly = owner.is_default or (owner.interval_unit, owner.interval_count) == ("month", 1)
        expected = {limit[:2]: LimitRow(*limit, int(not monthly)) for limit in right}
        kept = {row[:2]: row for row in found}
        for meter, period in sorted(expected.keys() | kept.keys()):
            limits = expected.get((meter, period)), kept.get((meter, period))
            if limits[0] != limits[1]:
                key = f"{name}, {context.meter(meter)}, {period}"
                context.wrong("effective_limits", key, _limit(limits[0]), _limit(limits[1]))


def _limit(limit: LimitRow | None) -> str:
    if limit is None:
        return NO_ROW
    terms = f"{'unlimited' if limit.amount is None else limit.amount} of the {limit.source}"
    if limit.mode == "hard" and limit.threshold is None and not limit.own_months:
        return terms
    return f"{terms}, {limit.mode}, warning at {limit.threshold}, months of their own: {limit.own_months}"
