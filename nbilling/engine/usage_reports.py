"""Usage read back: what is current, history by day, rollups, and every event for an export."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.model.clock import DAY, FUTURE_TOLERANCE, HOUR, LATEST, format_time, parse_time
from nbilling.model.errors import BadInput
from nbilling.model.periods import add_months, day_start, local_day, month_of, to_date, to_day
from nbilling.model.text import choice, whole
from nbilling.model.text import customer_id as valid_customer_id
from nbilling.rules.usage import merged, report_keys, unit_amount
from nbilling.store import customers, gauges, usage
from nbilling.store.usage import DAILY, HOURLY, PERIOD, WINDOW, MeterRow

if TYPE_CHECKING:
    import sqlite3

GIB = 2**30
GRAINS = ("hour", "day", "month")
_EXACT = Context(prec=60)


class UsageReports:
    """Read-only. An unknown customer is answered as a new one."""

    def __init__(self, core: Core, accounts: Accounts) -> None:
        self._core = core
        self._accounts = accounts

    def get_current(self, customer_id: str) -> dict[str, Any]:
        """Usage of the present billing period, or since the last monthly reset in it; gauges show their level.

        Bytes are whole numbers, ``…_gb`` are exact (2^30 bytes), other amounts are in the meter's unit.
        """
        db, row, now = self._accounts.view(customer_id)
        if row is None:
            start, end = month_of(local_day("UTC", now))
            bounds, found = (start * DAY, end * DAY), {}
        else:
            bounds = row.start_at, row.end_at
            window = usage.window(db, row.id, "usage_month", row.start_at, row.end_at)
            grain, bucket = (WINDOW, window) if window else (PERIOD, row.period)
            found = usage.amounts(db, grain, bucket, row.id)
        result: dict[str, Any] = {
            "customer_id": customer_id,
            "period_start": format_time(bounds[0]),
            "period_end": format_time(bounds[1]),
        }
        for meter in usage.meters(db):
            amount = found.get(meter.id, 0)
            if meter.kind == "gauge" and row is not None:
                amount = gauges.level_at(db, row.id, meter.id, LATEST)
            _put(result, meter, amount, gb=True)
        return result

    def get_history(self, customer_id: str, days: int | str = 30) -> list[dict[str, Any]]:
        """One entry a day in the customer's zone, oldest first, the last one today; quiet days are zeros."""
        count = whole(days, "days", minimum=1, maximum=3660)
        db, row, now = self._accounts.view(customer_id)
        zone = row.zone if row else "UTC"
        today = local_day(zone, now)
        meters = usage.meters(db)
        start = today - count + 1
        found: dict[tuple[int, int], int] = {}
        if row is not None:
            rows = usage.series(db, DAILY, start, today + 1, row.id)
            found = {(day, meter): amount for day, meter, amount, _ in rows}
            for meter in meters:
                if meter.kind == "gauge":
                    for day, level in self._daily_levels(db, row, meter.id, start, today, now):
                        found[day, meter.id] = level
        history = []
        for day in range(start, today + 1):
            entry: dict[str, Any] = {"date": to_date(day).isoformat()}
            for meter in meters:
                _put(entry, meter, found.get((day, meter.id), 0), gb=False)
            history.append(entry)
        return history

    @staticmethod
    def _daily_levels(
        db: sqlite3.Connection, row: customers.CustomerRow, meter: int, start: int, today: int, now: int
    ) -> Iterator[tuple[int, int]]:
        """The level that each day ends with; of today the present one."""
        begin, end = day_start(row.zone, start), max(now + 1, day_start(row.zone, today + 1))
        series = gauges.samples(db, row.id, meter, begin, end)
        levels, moving = {}, []
        for dimension, changes in series.items():
            levels[dimension] = changes[0][1]
            moving += [(at, dimension, level) for at, level in changes[1:]]
        moving.sort(key=lambda change: change[0])
        position = 0
        for day in range(start, today + 1):
            ends = day_start(row.zone, day + 1)
            while position < len(moving) and moving[position][0] < ends:
                _, dimension, level = moving[position]
                levels[dimension] = level
                position += 1
            yield day, sum(levels.values())

    def aggregate(
        self, customer_id: str, period: str, *, since: str | None = None, until: str | None = None
    ) -> list[dict[str, Any]]:
        """Rollups as ``[{period_start, resource_type, amount, events}]``, oldest first, without empty ones.

        Hours are of UTC, days and months of the customer's zone. Without bounds: the last 48 hours, 31 days or 12
        months, the present one included. ``since`` and ``until`` (exclusive) are RFC 3339; what they cut into is shown
        whole. Gauges show the level that the span ended with.
        """
        choice(period, "period", GRAINS)
        db, row, now = self._accounts.view(customer_id)
        end = parse_time(until, "until") if until is not None else now + 1
        start = parse_time(since, "since") if since is not None else None
        if start is not None and start >= end:
            raise BadInput("since is not before until", hint="give the earlier time first")
        if row is None:
            return []
        end = min(end, now + FUTURE_TOLERANCE + 1)  # nothing lies later, and buckets are looked at one by one
        spans = self._spans(db, row, period, _span_start(row.zone, period, end) if start is None else start, end)
        return [
            {
                "period_start": format_time(at),
                "resource_type": meter.name,
                "amount": unit_amount(amount, meter.scale),
                "events": events,
            }
            for (at, _), (meter, amount, events) in sorted(spans.items())
        ]

    def _spans(
        self, db: sqlite3.Connection, row: customers.CustomerRow, period: str, start: int, end: int
    ) -> dict[tuple[int, int], tuple[MeterRow, int, int]]:
        """By (start of the span, meter): meter, amount, events."""
        meters = {meter.id: meter for meter in usage.meters(db)}
        result: dict[tuple[int, int], tuple[MeterRow, int, int]] = {}

        def at_of(day: int) -> int:
            return day_start(row.zone, month_of(day)[0] if period == "month" else day)

        if period == "hour":
            start, end = start // HOUR * HOUR, -(-end // HOUR) * HOUR
            found = usage.series(db, HOURLY, start // HOUR, end // HOUR, row.id)
            buckets = [(hour * HOUR, meter, amount, events) for hour, meter, amount, events in found]
        else:
            first, last = local_day(row.zone, start), local_day(row.zone, end - 1)
            if period == "month":
                first, last = month_of(first)[0], month_of(last)[1] - 1
            start, end = day_start(row.zone, first), day_start(row.zone, last + 1)
            found = usage.series(db, DAILY, first, last + 1, row.id)
            buckets = [(at_of(day), meter, amount, events) for day, meter, amount, events in found]
        together: dict[tuple[int, int], tuple[list[int], int]] = {}
        for at, meter, amount, events in buckets:
            amounts, count = together.get((at, meter), ([], 0))
            together[at, meter] = [*amounts, amount], count + events
        for (at, number), (amounts, events) in together.items():
            meter_row = meters[number]
            if meter_row.aggregation == "unique" and period == "month":
                day = local_day(row.zone, at)
                amount = usage.unique_values(db, *month_of(day), row.id, number)
            else:
                amount = merged(meter_row.aggregation, amounts)
            result[at, number] = meter_row, amount, events
        for gauge in meters.values():
            if gauge.kind == "gauge":
                for at, level, events in self._gauge_spans(db, row, gauge.id, period, start, end):
                    result[at, gauge.id] = gauge, level, events
        return result

    @staticmethod
    def _gauge_spans(
        db: sqlite3.Connection, row: customers.CustomerRow, meter: int, period: str, start: int, end: int
    ) -> list[tuple[int, int, int]]:
        spans: dict[int, tuple[int, int]] = {}
        series = gauges.samples(db, row.id, meter, start, end)
        levels = {dimension: changes[0][1] for dimension, changes in series.items()}
        moving = [(at, dimension, level) for dimension, changes in series.items() for at, level in changes[1:]]
        for at, dimension, level in sorted(moving, key=lambda change: change[0]):
            levels[dimension] = level
            if period == "hour":
                bucket = at // HOUR * HOUR
            else:
                day = local_day(row.zone, at)
                bucket = day_start(row.zone, month_of(day)[0] if period == "month" else day)
            spans[bucket] = sum(levels.values()), spans.get(bucket, (0, 0))[1] + 1
        return [(at, level, events) for at, (level, events) in spans.items()]

    def events(self, customer_id: str) -> Iterator[tuple[str, str, str, str, str, str]]:
        """Every event as ``(id, customer_id, resource_type, amount, metadata, created_at)``, in order of arrival."""
        valid_customer_id(customer_id)
        db = self._core.read()
        row = customers.find(db, customer_id)
        if row is None:
            return iter(())
        return usage.export_rows(db, row.id)


def _span_start(zone: str, period: str, end: int) -> int:
    """Where the last 48 hours, 31 days or 12 months begin."""
    if period == "hour":
        return max(0, (end - 1) // HOUR - 47) * HOUR
    today = local_day(zone, end - 1)
    first = to_day(add_months(to_date(month_of(today)[0]), -11)) if period == "month" else today - 30
    return max(0, day_start(zone, first))


def _put(result: dict[str, Any], meter: MeterRow, amount: int, *, gb: bool) -> None:
    name, *gigabytes = report_keys(meter.name, meter.unit)
    result[name] = unit_amount(amount, meter.scale)
    if gb and gigabytes:
        exact = _EXACT.divide(Decimal(amount), Decimal(GIB * 10**meter.scale)).normalize(_EXACT)
        result[gigabytes[0]] = int(exact) if exact == exact.to_integral_value() else exact
