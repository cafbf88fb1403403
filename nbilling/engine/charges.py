"""What a customer owes for a period, computed from the ledger by the rules. Reads only."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.engine.prices import price_model
from nbilling.model.periods import day_start
from nbilling.rules.gauges import over_period
from nbilling.rules.invoices import Line, Metered, Part, charges, late_lines
from nbilling.rules.quota import effective_limits
from nbilling.rules.usage import merged
from nbilling.store import gauges, invoices, plans, quota, subscriptions, usage
from nbilling.store.customers import CustomerRow
from nbilling.store.invoices import LineRow
from nbilling.store.plans import PlanRow
from nbilling.store.subscriptions import PeriodRow
from nbilling.store.usage import DAILY, PERIOD, MeterRow

if TYPE_CHECKING:
    import sqlite3


class Charged(NamedTuple):
    """The lines of a period with their currency, and the period each line is of."""

    currency: str
    lines: list[tuple[int, Line]]


class Charges:
    """Reads usage, limits, plans and phases, and applies the rules of ``rules.invoices``."""

    def __init__(self, core: Core, accounts: Accounts) -> None:
        self._core = core
        self._accounts = accounts

    def of_period(self, db: sqlite3.Connection, row: CustomerRow, period: PeriodRow, through_at: int) -> Charged:
        """The period's own lines, then what came late to periods billed before. Gauges count up to ``through_at``."""
        currency, own = self._own(db, row, period, through_at)
        lines = [(period.id, line) for line in own]
        names = {meter.id: meter.name for meter in usage.meters(db)}
        for earlier in subscriptions.late_periods(db, row.id, period.start_day):
            billed = invoices.billed_lines(db, earlier.id)
            if invoices.billed_of_period(db, earlier.id):
                _, now = self._own(db, row, earlier, through_at)
                before = [_line(found, names[found.meter]) for found in billed]
                lines += [(earlier.id, line) for line in late_lines(now, before)]
        return Charged(currency, lines)

    @staticmethod
    def of_nobody(plan: PlanRow, start_day: int, end_day: int) -> list[Line]:
        """What a customer that does not exist yet would be billed: its plan's fee."""
        part = Part(
            plan=plan.id,
            plan_name=plan.name,
            price_minor=plan.price_minor,
            interval=plan.interval_unit,
            start_day=start_day,
            end_day=end_day,
            share=Fraction(1),
            metered=(),
        )
        return charges([part], plan.currency)

    def _own(
        self, db: sqlite3.Connection, row: CustomerRow, period: PeriodRow, through_at: int
    ) -> tuple[str, list[Line]]:
        spans = self._spans(db, period)
        full = self._accounts.full_span(db, period)
        whole = len(spans) == 1
        parts = []
        for start, end, plan in spans:
            share = Fraction(1) if plan.proration == "none" else Fraction(end - start, full[1] - full[0])
            parts.append(
                Part(
                    plan=plan.id,
                    plan_name=plan.name,
                    price_minor=plan.price_minor,
                    interval=plan.interval_unit,
                    start_day=start,
                    end_day=end,
                    share=share,
                    metered=tuple(self._metered(db, row, period, plan, (start, end), full, whole, through_at)),
                )
            )
        currency = spans[-1][2].currency
        return currency, charges(parts, currency)

    @staticmethod
    def _spans(db: sqlite3.Connection, period: PeriodRow) -> list[tuple[int, int, PlanRow]]:
        """``(start_day, end_day, plan)`` of the parts. A plan without proration rates the whole that it ends."""
        phases = subscriptions.phases(db, period.subscription)
        spans = []
        for position, phase in enumerate(phases):
            until = phases[position + 1].start_day if position + 1 < len(phases) else period.end_day
            start, end = max(phase.start_day, period.start_day), min(until, period.end_day)
            if start < end:
                spans.append((start, end, plans.version(db, phase.plan)))
        if spans[-1][2].proration == "none":
            return [(period.start_day, period.end_day, spans[-1][2])]
        return spans

    def _metered(
        self,
        db: sqlite3.Connection,
        row: CustomerRow,
        period: PeriodRow,
        plan: PlanRow,
        span: tuple[int, int],
        full: tuple[int, int],
        whole: bool,
        through_at: int,
    ) -> list[Metered]:
        limits = self._included(db, row, plan)
        prices = plans.prices(db, plan.id)
        found = usage.amounts(db, PERIOD, period.id, row.id) if whole else self._days(db, row, *span)
        result = []
        for meter in usage.meters(db):
            price = prices.get(meter.id)
            amount = (
                self._level(db, row, meter, span, full, through_at)
                if meter.kind == "gauge"
                else Fraction(found.get(meter.id, 0))
            )
            result.append(
                Metered(
                    meter=meter.id,
                    name=meter.name,
                    unit=meter.unit,
                    scale=meter.scale,
                    gauge=meter.kind == "gauge",
                    usage=amount,
                    limit=limits.get(meter.id),
                    model=price_model(price),
                    priced_unit=price.unit if price else meter.unit,
                    allowance=price.allowance if price else "limit",
                )
            )
        return result

    @staticmethod
    def _days(db: sqlite3.Connection, row: CustomerRow, start: int, end: int) -> dict[int, int]:
        """Amount by meter of some days of a period."""
        meters = {meter.id: meter for meter in usage.meters(db)}
        found: dict[int, list[int]] = {}
        for _, number, amount, _ in usage.series(db, DAILY, start, end, row.id):
            found.setdefault(number, []).append(amount)
        return {
            number: usage.unique_values(db, start, end, row.id, number)
            if meters[number].aggregation == "unique"
            else merged(meters[number].aggregation, amounts)
            for number, amounts in found.items()
        }

    @staticmethod
    def _level(
        db: sqlite3.Connection,
        row: CustomerRow,
        meter: MeterRow,
        span: tuple[int, int],
        full: tuple[int, int],
        through_at: int,
    ) -> Fraction:
        """The gauge's level weighted by time over the full period: what a GB-month is a multiple of. Or its highest,
        or its last level, as the meter says."""
        start_at = day_start(row.zone, span[0])
        end_at = min(day_start(row.zone, span[1]), through_at)
        if end_at <= start_at:
            return Fraction(0)
        series = gauges.samples(db, row.id, meter.id, start_at, end_at)
        if meter.aggregation != "time_weighted":
            spans = [over_period(changes, start_at, end_at) for changes in series.values()]
            return Fraction(sum(span.maximum if meter.aggregation == "max" else span.last for span in spans))
        part = Fraction(end_at - start_at, day_start(row.zone, full[1]) - day_start(row.zone, full[0]))
        return sum((over_period(changes, start_at, end_at).average * part for changes in series.values()), Fraction(0))

    def _included(self, db: sqlite3.Connection, row: CustomerRow, plan: PlanRow) -> dict[int, int | None]:
        """By meter, what the limits of the billing month include: the month's own, of a gauge the lowest."""
        own, listed = quota.own(db, row.id), plans.limits(db, plan.id)
        gauge_meters = {meter.id for meter in usage.meters(db) if meter.kind == "gauge"}
        result: dict[int, int | None] = {}
        for meter, period, amount, _ in effective_limits(own, listed, quota.defaults(db), gauge_meters):
            if meter in gauge_meters:
                known = result.get(meter)
                result[meter] = amount if known is None else known if amount is None else min(known, amount)
            elif period == "per_month":
                result[meter] = amount
        return result


def _line(row: LineRow, meter_name: str) -> Line:
    return Line(
        kind=row.kind,
        description=row.description,
        detail=row.detail,
        meter=row.meter,
        meter_name=meter_name,
        plan=row.plan,
        start_day=row.start_day,
        end_day=row.end_day,
        usage=Fraction(row.usage or 0),
        included=Fraction(row.included) if row.included else None,
        quantity=Fraction(row.quantity),
        unit=row.unit,
        unit_price=row.unit_price,
        amount_minor=row.amount_minor,
    )
