"""Plans as a verification needs them: read once, with their limits, prices and what they include."""

from __future__ import annotations

from typing import NamedTuple

from nbilling.engine.accounts import cycle, limits_of
from nbilling.engine.verify_context import Context
from nbilling.model.periods import month_of
from nbilling.rules.quota import effective_limits, included
from nbilling.store import plans, quota
from nbilling.store import verify_billing as billing_store
from nbilling.store.plans import PlanLimitRow, PlanRow, PriceRow
from nbilling.store.subscriptions import SubscriptionRow

_PLANS = 10_000


class _Plan(NamedTuple):
    row: PlanRow
    limits: list[PlanLimitRow]
    prices: dict[int, PriceRow]


class PlanBook:
    """Versions of plans by their number. LookupError where there is none."""

    def __init__(self, context: Context) -> None:
        self._db = context.db
        self._gauges = set(context.gauges)
        self.defaults = quota.defaults(context.db)
        self._plans: dict[int, _Plan] = {}

    def plan(self, number: int) -> PlanRow:
        """The plan itself."""
        return self._read(number).row

    def limits(self, number: int) -> list[PlanLimitRow]:
        """Its limits."""
        return self._read(number).limits

    def prices(self, number: int) -> dict[int, PriceRow]:
        """Its prices by meter."""
        return self._read(number).prices

    def included(self, number: int, held: SubscriptionRow, seats: int) -> dict[int, int | None]:
        """By meter, what a whole period includes for a customer without limits of its own; None: unlimited."""
        limits = effective_limits([], limits_of(self.limits(number), seats or 1), self.defaults, self._gauges)
        monthly = held.is_default or (held.interval_unit, held.interval_count) == ("month", 1)
        return included(limits, self._gauges, bool(monthly))

    def _read(self, number: int) -> _Plan:
        if number not in self._plans:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            row = billing_store.plan(self._db, number)
            if row is None:
                raise LookupError(f"there is no plan version {number}")
            limits = plans.limits(self._db, number)
            self._plans[number] = _Plan(row, limits, plans.prices(self._db, number))
        return self._plans[number]

    def full_span(self, held: SubscriptionRow, day: int) -> tuple[int, int]:
        """The whole period of a subscription that a day lies in, if nothing cuts it short."""
        if held.is_default:
            return month_of(day)
        return cycle(held).whole(day)
