"""What a customer owes for a period, computed from the ledger by the rules. Reads only."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from nbilling.engine.accounts import Accounts, limits_of
from nbilling.engine.core import Core
from nbilling.engine.prices import price_model
from nbilling.model.periods import MONTH, day_start
from nbilling.rules.gauges import over_period
from nbilling.rules.invoices import Line, Metered, Part, charges, fee_changes, late_lines
from nbilling.rules.quota import effective_limits, included
from nbilling.rules.usage import merged
from nbilling.store import gauges, invoices, plans, quota, subscriptions, usage
from nbilling.store.customers import CustomerRow
from nbilling.store.invoices import LineRow
from nbilling.store.plans import PlanRow
from nbilling.store.subscriptions import PeriodRow, SubscriptionRow
from nbilling.store.usage import DAILY, PERIOD, MeterRow

if TYPE_CHECKING:
    import sqlite3


class Charged(NamedTuple):
    """The lines of a period with their currency, and the period each line is of."""

    currency: str
    lines: list[tuple[int, Line]]


class _Span(NamedTuple):
    """A part of a period in days, the whole period that it is a share of, and whether it is all of this one."""

    start: int
    end: int
    full: tuple[int, int]
    whole: bool
    through_at: int


class Charges:
    """Reads usage, limits, plans and phases, and applies the rules of ``rules.invoices``."""

    def __init__(self, core: Core, accounts: Accounts) -> None:
        self._core = core
        self._accounts = accounts

    def of_period(self, db: sqlite3.Connection, row: CustomerRow, period: PeriodRow, through_at: int) -> Charged:
        """The period's own lines, then what came late to periods billed before. Gauges count up to ``through_at``."""
        currency, own = self._own(db, row, period, through_at)
        if subscriptions.get(db, period.subscription).fee_timing == "advance":
            own = [line for line in own if line.kind == "fee"]  # its usage comes on a later invoice
        # Another subscription that was given up on its first day may have billed its fee for this period.
        given_up = [_line(found, "") for found in invoices.billed_fees(db, period.id)]
        lines = [(period.id, line) for line in [*own, *fee_changes([], given_up)]]
        names = {meter.id: meter.name for meter in usage.meters(db)}
        for earlier in subscriptions.late_periods(db, row.id, period.start_day):
            # A period without an invoice of its own is still to be billed whole.
            if invoices.is_billed(db, earlier.subscription, earlier.id):
                billed = invoices.billed_lines(db, earlier.id)
                _, now = self._own(db, row, earlier, through_at)
                before = [_line(found, names[found.meter]) for found in billed]
                advance = subscriptions.get(db, earlier.subscription).fee_timing == "advance"
                lines += [(earlier.id, line) for line in late_lines(now, before, advance=advance)]
                fees = [_line(found, "") for found in invoices.billed_fees(db, earlier.id)]
                lines += [(earlier.id, line) for line in fee_changes(now, fees)]
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
        held = subscriptions.get(db, period.subscription)
        spans = self._spans(db, period)
        full = self._accounts.full_span(db, period)
        in_trial = period.start_day < held.trial_end_day
        parts = []
        for start, end, plan, quantity in spans:
            share = Fraction(1) if plan.proration == "none" else Fraction(end - start, full[1] - full[0])
            limits = self._included(db, row, held, plan, quantity)
            span = _Span(start, end, full, len(spans) == 1, through_at)
            parts.append(
                Part(
                    plan=plan.id,
                    plan_name=plan.name,
                    price_minor=0 if in_trial else plan.price_minor,
                    interval=plan.interval_unit,
                    start_day=start,
                    end_day=end,
                    share=share,
                    metered=tuple(self._metered(db, row, period, plan, limits, span)),
                    seats=quantity if plan.per_seat else 0,
                )
            )
        currency = spans[-1][2].currency
        return currency, charges(parts, currency)

    @staticmethod
    def _spans(db: sqlite3.Connection, period: PeriodRow) -> list[tuple[int, int, PlanRow, int]]:
        """``(start_day, end_day, plan, seats)`` of the parts. A plan without proration rates the whole that it ends."""
        phases = subscriptions.phases(db, period.subscription)
        spans = []
        for position, phase in enumerate(phases):
            until = phases[position + 1].start_day if position + 1 < len(phases) else period.end_day
            start, end = max(phase.start_day, period.start_day), min(until, period.end_day)
            if start < end:
                spans.append((start, end, plans.version(db, phase.plan), phase.quantity))
        if spans[-1][2].proration == "none":
            return [(period.start_day, period.end_day, *spans[-1][2:])]
        return spans

    def _metered(
        self,
        db: sqlite3.Connection,
        row: CustomerRow,
        period: PeriodRow,
        plan: PlanRow,
        limits: dict[int, int | None],
        span: _Span,
    ) -> list[Metered]:
        prices = plans.prices(db, plan.id)
        found = (
            usage.amounts(db, PERIOD, period.id, row.id) if span.whole else self._days(db, row, span.start, span.end)
        )
        result = []
        for meter in usage.meters(db):
            price = prices.get(meter.id)
            amount = self._level(db, row, meter, span) if meter.kind == "gauge" else Fraction(found.get(meter.id, 0))
            result.append(
                Metered(
                    meter=meter.id,
                    name=meter.name,
                    unit=meter.unit,
                    scale=meter.scale,
                    gauge=meter.aggregation == "time_weighted",
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
    def _level(db: sqlite3.Connection, row: CustomerRow, meter: MeterRow, span: _Span) -> Fraction:
        """The gauge's level weighted by time over the full period: what a GB-month is a multiple of. Or its highest,
        or its last level, as the meter says."""
        start_at = day_start(row.zone, span.start)
        end_at = min(day_start(row.zone, span.end), span.through_at)
        if end_at <= start_at:
            return Fraction(0)
        series = gauges.samples(db, row.id, meter.id, start_at, end_at)
        if meter.aggregation != "time_weighted":
            spans = [over_period(changes, start_at, end_at) for changes in series.values()]
            return Fraction(sum(span.maximum if meter.aggregation == "max" else span.last for span in spans))
        part = Fraction(end_at - start_at, day_start(row.zone, span.full[1]) - day_start(row.zone, span.full[0]))
        return sum((over_period(changes, start_at, end_at).average * part for changes in series.values()), Fraction(0))

    def _included(
        self, db: sqlite3.Connection, row: CustomerRow, held: SubscriptionRow, plan: PlanRow, quantity: int
    ) -> dict[int, int | None]:
        """By meter, what the limits of the billing period include, for as many seats as there are."""
        listed = limits_of(plans.limits(db, plan.id), quantity)
        gauge_meters = {meter.id for meter in usage.meters(db) if meter.kind == "gauge"}
        limits = effective_limits(quota.own(db, row.id), listed, quota.defaults(db), gauge_meters)
        return included(limits, gauge_meters, self._accounts.interval(held) == MONTH)


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
        seats=row.seats,
    )
