"""Verifies the usage on finalised invoices against the ledger: what was recorded up to the event that they say."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from nbilling.engine.verify_context import Context, period_name, span
from nbilling.engine.verify_lines import LinesCheck, Span, span_of
from nbilling.engine.verify_plans import PlanBook
from nbilling.model.clock import HOUR
from nbilling.model.periods import day_start, local_day
from nbilling.rules.gauges import over_period
from nbilling.rules.verify import counter_delta, level_after, value_hash
from nbilling.store import gauges, usage
from nbilling.store import verify as store
from nbilling.store import verify_billing as billing_store
from nbilling.store.invoices import InvoiceRow, LineRow
from nbilling.store.subscriptions import PeriodRow, SubscriptionRow
from nbilling.store.verify import Single

Used = dict[int, Fraction]
"""By meter, what was used; nothing of 0."""


class _Stretch(NamedTuple):
    """Some days of a customer, in microseconds too, and how many were a whole period (for levels)."""

    customer: int
    zone: str
    start_day: int
    end_day: int
    start_at: int
    end_at: int
    whole: int


class BilledCheck:
    """Invoice by invoice. Where nothing was recorded later the rollups say what was used, else the events do."""

    def __init__(self, context: Context, book: PlanBook, lines: LinesCheck) -> None:
        self._context = context
        self._db = context.db
        self._book = book
        self._lines = lines

    def check(
        self, key: str, invoice: InvoiceRow, held: SubscriptionRow, lines: list[LineRow], parts: list[Span]
    ) -> None:
        """Usage of the invoice's own period, part by part and both ways, then what it says of earlier periods."""
        found = billing_store.period(self._db, invoice.period)
        if found is None:
            return  # its foreign key is broken, and named
        period, late = found
        changed = False
        if held.fee_timing == "advance":
            parts = []  # its usage is on later invoices
        for start_day, end_day, *_ in parts:
            name = f"{key}, {span(start_day, end_day)}"
            stored: Used = {}
            for line in lines:
                if line.kind == "usage" and (line.start_day, line.end_day) == (start_day, end_day):
                    stored[line.meter] = Fraction(line.usage)
            with self._context.unit("invoice_lines", name):
                stretch = self._stretch(invoice, held, start_day, end_day)
                changed |= self._compare(name, invoice, period, stretch, stored)
        if changed and invoice.status != "void" and late == 0:
            customer = self._context.customer(invoice.customer)
            self._context.wrong("periods", f"{customer}, {period_name(period)}, late", 1, late)
        for line in lines:
            if line.kind == "late_usage":
                self._late_line(key, invoice, line)

    def _stretch(self, invoice: InvoiceRow, held: SubscriptionRow, start_day: int, end_day: int) -> _Stretch:
        zone = self._context.zone(invoice.customer)
        first, last = self._book.full_span(held, start_day)
        whole = day_start(zone, last) - day_start(zone, first)
        bounds = day_start(zone, start_day), day_start(zone, end_day)
        return _Stretch(invoice.customer, zone, start_day, end_day, *bounds, whole)

    def _compare(self, name: str, invoice: InvoiceRow, period: PeriodRow, stretch: _Stretch, stored: Used) -> bool:
        """One part of a period. Returns whether its usage has changed since."""
        context = self._context
        levels, changed = self._levels(stretch, invoice)
        newest = context.last_seq.get(period.id, 0) if period.start_at >= context.since else None
        right = self._from_rollups(stretch) | levels
        if newest is None or newest > invoice.through_seq or right != stored:
            right, newest = self._from_events(stretch, invoice.through_seq)
            right |= levels
        for meter in sorted(right.keys() | stored.keys()):
            context.equal(
                "invoice_lines",
                f"{name}, {context.meter(meter)}, usage",
                right.get(meter, Fraction(0)),
                stored.get(meter, Fraction(0)),
            )
        context.counted("billed usages", len(stored))
        return changed or newest > invoice.through_seq

    def _late_line(self, key: str, invoice: InvoiceRow, line: LineRow) -> None:
        """What a line says of an earlier period is all that was recorded of it up to then."""
        name = f"{key}, {span(line.start_day, line.end_day)}, {self._context.meter(line.meter)}, usage recorded later"
        with self._context.unit("invoice_lines", name):
            found = billing_store.period(self._db, line.period)
            held = billing_store.subscription(self._db, found[0].subscription) if found else None
            if found is None or held is None:
                return  # named where the line was rated again
            stretch = self._stretch(invoice, held, line.start_day, line.end_day)
            if span_of(line) not in self._lines.late_parts(invoice, held, found[0]):
                right: Used = {}  # a change of plan has made other parts, and what was charged is given back
            elif line.meter in self._context.gauges:
                right, _ = self._levels(stretch, invoice)
            else:
                right, _ = self._from_events(stretch, invoice.through_seq)
            self._context.equal("invoice_lines", name, right.get(line.meter, Fraction(0)), Fraction(line.usage))
            self._context.counted("billed usages")

    # --- Usage ----------------------------------------------------------------------------------------------------

    def _from_rollups(self, stretch: _Stretch) -> Used:
        """By the days' rollups: all that has come until now."""
        context = self._context
        totals: dict[int, tuple[int, int]] = {}
        for _, meter, _, (amount, _, mark) in store.days_of(
            self._db, stretch.customer, stretch.start_day, stretch.end_day, context.maxima
        ):
            if meter in context.meters:
                aggregation = context.meters[meter].aggregation
                totals[meter] = _together(aggregation, totals.get(meter), (amount, mark))
        used = {meter: Fraction(amount) for meter, (amount, _) in totals.items() if amount}
        for meter in context.unique & used.keys():
            number = usage.unique_values(self._db, stretch.start_day, stretch.end_day, stretch.customer, meter)
            used[meter] = Fraction(number)
        return used

    def _from_events(self, stretch: _Stretch, through_seq: int) -> tuple[Used, int]:
        """By the events themselves, up to one; and the number of the newest event of these days."""
        context = self._context
        newest = 0
        series: dict[int, dict[int, list[Single]]] = {}
        end_h = -(-stretch.end_at // HOUR)
        for event in store.events_of(self._db, stretch.customer, stretch.start_at // HOUR, end_h):
            day = local_day(stretch.zone, event.at - event.at % store.SLOT)
            if stretch.start_day <= day < stretch.end_day:
                if event.meter not in context.gauges:
                    newest = max(newest, event.seq)
                if event.seq <= through_seq and event.meter in context.meters:
                    series.setdefault(event.meter, {}).setdefault(event.dimension, []).append(event)
        used = {}
        for meter, dimensions in series.items():
            if meter not in context.gauges | context.counters:
                used[meter] = _used(context.meters[meter].aggregation, dimensions)
        for meter in context.counters:
            used[meter] = self._counted(stretch, meter, through_seq)
        return {meter: Fraction(amount) for meter, amount in used.items() if amount}, newest

    def _counted(self, stretch: _Stretch, meter: int, through_seq: int) -> int:
        """What the totals of a counter add up to that were known by an event."""
        rows = store.samples_until(self._db, "counter_samples", stretch.customer, meter, stretch.end_at)
        total = 0
        for _, samples in groupby(rows, itemgetter(0)):
            before: int | None = None
            for _, at, seq, running in samples:
                if seq <= through_seq:
                    if at >= stretch.start_at:
                        total += counter_delta(before, running)
                    before = running
        return total

    def _levels(self, stretch: _Stretch, invoice: InvoiceRow) -> tuple[Used, bool]:
        """What gauges held as it was known by an event, and whether that is not what is known now."""
        used: Used = {}
        changed = False
        end_at = min(stretch.end_at, invoice.through_at)
        if end_at <= stretch.start_at:
            return used, changed
        for meter in sorted(self._context.gauges):
            now = gauges.samples(self._db, stretch.customer, meter, stretch.start_at, end_at)
            level = self._level(stretch, meter, now, end_at)
            if store.levels_changed(self._db, stretch.customer, meter, end_at, invoice.through_seq):
                then = dict(self._replayed(stretch, meter, end_at, invoice.through_seq))
                was, level = level, self._level(stretch, meter, then, end_at)
                changed |= was != level
            if level:
                used[meter] = level
        return used, changed

    def _replayed(
        self, stretch: _Stretch, meter: int, end_at: int, through_seq: int
    ) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """By dimension, the levels that samples up to an event left."""
        rows = store.samples_until(self._db, "gauge_levels", stretch.customer, meter, end_at)
        for dimension, samples in groupby(rows, itemgetter(0)):
            level, changes = 0, [(stretch.start_at, 0)]
            for _, at, seq, op, amount in samples:
                if seq > through_seq:
                    continue
                level = level_after(level, op, amount)
                if at < stretch.start_at:
                    changes[0] = stretch.start_at, level
                else:
                    changes.append((at, level))
            yield dimension, changes

    def _level(self, stretch: _Stretch, meter: int, series: dict[int, list[tuple[int, int]]], end_at: int) -> Fraction:
        """Weighted by time over a whole period, or the highest, or the last, as the meter says."""
        spans = [over_period(changes, stretch.start_at, end_at) for changes in series.values()]
        aggregation = self._context.meters[meter].aggregation
        if aggregation == "time_weighted":
            return Fraction(sum(one.area for one in spans), stretch.whole)
        return Fraction(sum(one.maximum if aggregation == "max" else one.last for one in spans))


def _together(aggregation: str, first: tuple[int, int] | None, other: tuple[int, int]) -> tuple[int, int]:
    """All dimensions and days of a meter as one: ``(amount, mark)``."""
    if first is None:
        return other
    if aggregation == "max":
        return max(first, other)
    if aggregation == "last":
        return other if other[1] > first[1] else first
    return first[0] + other[0], 0


def _used(aggregation: str, dimensions: dict[int, list[Single]]) -> int:
    """What the events of a meter come to."""
    events = [event for _, found in sorted(dimensions.items()) for event in found]
    if aggregation == "count":
        return len(events)
    if aggregation == "max":
        return max(event.amount for event in events)
    if aggregation == "unique":
        return len({value_hash(event.metadata) for event in events})
    if aggregation == "last":
        newest = [max(found, key=lambda event: (event.at, event.seq)) for _, found in sorted(dimensions.items())]
        return max(newest, key=lambda event: event.at).amount
    return sum(event.amount for event in events)
