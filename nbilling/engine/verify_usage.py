"""Verifies rollups against the events themselves: hours and local days, both directions, a day of events at a time."""

from __future__ import annotations

from typing import TypeVar

from nbilling.engine.verify_context import NO_ROW, Context, date, hour
from nbilling.model.clock import HOUR
from nbilling.rules.verify import Tally, combine, value_hash
from nbilling.store import verify as store
from nbilling.store.usage import DAILY, HOURLY
from nbilling.store.verify import Single, Sum

_HOURS = 24
_LATEST = 2**63 - 1
V = TypeVar("V")
Key = tuple[int, int, int, int]
"""``(bucket, customer, meter, dimension)``."""
Value = tuple[int, int, int, bytes]
"""``(bucket, customer, meter, value)``."""


class _Days:
    """What the events of local days come to. Days of all zones lie within three of UTC: no more are held."""

    def __init__(self) -> None:
        self.tallies: dict[int, dict[tuple[int, int, int], Tally]] = {}
        self.values: dict[int, set[tuple[int, int, bytes]]] = {}
        self.seqs: dict[int, dict[int, int]] = {}

    def add(self, day: int, aggregation: str, series: tuple[int, int, int], tally: Tally) -> None:
        tallies = self.tallies.setdefault(day, {})
        tallies[series] = combine(aggregation, tallies.get(series), tally)

    def see(self, day: int, customer: int, seq: int) -> None:
        seqs = self.seqs.setdefault(day, {})
        if seq > seqs.get(customer, 0):
            seqs[customer] = seq

    def pop(self, before: int) -> list[int]:
        """The days before one, which no further event can be of."""
        return sorted(day for day in self.seqs.keys() | self.tallies.keys() if day < before)


class UsageCheck:
    """Walks through the events in order of their hours, and through hourly and daily rollups beside them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.db
        self._days = _Days()
        self._flushed = -_LATEST
        self._has_values = bool(context.unique) or store.has_values(context.db)
        self._unknown: set[tuple[int, int]] = set()

    def run(self) -> None:
        """Compares everything. Leaves the newest event of each period in ``context.last_seq``."""
        context, total = self._context, store.count(self._db, "events")
        done = 0
        h = store.next_hour(self._db, context.since_h)
        if context.since:
            self._flushed = context.since_h // _HOURS - 2
        while h is not None:
            day = h // _HOURS
            self._flush(day - 1)
            end = min(day * _HOURS + _HOURS, _LATEST)
            done += self._utc_day(max(day * _HOURS, context.since_h), end)
            context.tell("usage", done, total)
            h = (
                store.next_hour(self._db, min(day * _HOURS + _HOURS, _LATEST))
                if day * _HOURS + _HOURS < _LATEST
                else None
            )
        self._flush(_LATEST)
        context.counted("events", done)

    def _utc_day(self, start: int, end: int) -> int:
        """The hours of one day of UTC. Returns how many events they have."""
        expected: dict[Key, Tally] = {}
        split: set[tuple[int, int]] = set()
        days: dict[tuple[str, int], int | None] = {}
        events = 0
        context = self._context
        for found in store.hourly_sums(self._db, start, end, context.counters):
            events += found.events
            h, customer = found.bucket, found.customer
            zone = context.zone(customer)
            if (zone, h) not in days:
                days[zone, h] = self._whole_day(customer, h)
            day = days[zone, h]
            if day is None:
                split.add((h, customer))
            else:
                self._days.see(day, customer, found.seq)
            tally = self._tally(found)
            if tally is not None:
                expected[found[:4]] = tally
                if day is not None:
                    self._days.add(day, "sum", found[1:4], tally)
        for h, customer in sorted(split):
            self._split(h, customer)
        values = self._singles(start, end, expected)
        self._compare(HOURLY, expected, store.rollups(self._db, HOURLY, start, end, context.maxima))
        if self._has_values:
            self._compare_values(HOURLY, values, store.values(self._db, HOURLY, start, end))
        return events

    def _whole_day(self, customer: int, h: int) -> int | None:
        """The local day that a whole hour lies in; None where it lies in two. The zones' days begin at quarters."""
        first = self._context.day(customer, h * HOUR)
        return first if first == self._context.day(customer, (h + 1) * HOUR - store.SLOT) else None

    def _tally(self, found: Sum) -> Tally | None:
        """What an hour's events of a series add up to; None for meters that do not add up and for gauges."""
        meter = self._context.meters.get(found.meter)
        if meter is None or meter.kind == "gauge" or found.meter in self._context.kept:
            return None
        return Tally(found.events if meter.aggregation == "count" else found.amount, found.events)

    def _split(self, h: int, customer: int) -> None:
        """An hour in which a local day begins: its quarters lie in one day each."""
        for found in store.slot_sums(self._db, h, customer, self._context.counters):
            day = self._context.day(customer, found.bucket * store.SLOT)
            if day is None:
                continue
            self._days.see(day, customer, found.seq)
            tally = self._tally(found)
            if tally is not None:
                self._days.add(day, "sum", found[1:4], tally)

    def _singles(self, start: int, end: int, expected: dict[Key, Tally]) -> set[Value]:
        """Maxima, last values and different values, event by event. Returns the values seen in each hour."""
        context = self._context
        seen: set[Value] = set()
        if not context.kept:
            return seen
        for event in store.single_events(self._db, start, end, context.kept):
            aggregation = context.meters[event.meter].aggregation
            series = event.customer, event.meter, event.dimension
            day = context.day(event.customer, event.at)
            in_hour = in_day = Tally(event.amount, 1, event.at if aggregation == "last" else 0)
            if aggregation == "unique":
                value = unique_value(context, event)
                if value is None:
                    continue
                in_hour = _new(seen, (event.h, event.customer, event.meter, value))
                if day is not None:
                    in_day = _new(self._days.values.setdefault(day, set()), (event.customer, event.meter, value))
            key = event.h, *series
            expected[key] = combine(aggregation, expected.get(key), in_hour)
            if day is not None:
                self._days.add(day, aggregation, series, in_day)
        return seen

    def _flush(self, before: int) -> None:
        """Compares the local days before one: their rollups, and that a stored period holds each of them."""
        if before <= self._flushed:
            return
        context = self._context
        days = self._days.pop(before)
        expected = {
            (day, *series): tally
            for day in days
            for series, tally in self._days.tallies.get(day, {}).items()
            if context.is_covered(series[0], day)
        }
        found = store.rollups(self._db, DAILY, self._flushed, before, context.maxima)
        if context.since:
            found = {key: kept for key, kept in found.items() if context.is_covered(key[1], key[0])}
        self._compare(DAILY, expected, found)
        if self._has_values:
            self._compare_days_values(days, before)
        for day in days:
            self._place(day)
            for held in (self._days.tallies, self._days.values, self._days.seqs):
                held.pop(day, None)
        self._flushed = before

    def _compare_days_values(self, days: list[int], before: int) -> None:
        covered = self._context.is_covered
        expected = {(day, *seen) for day in days for seen in self._days.values.get(day, ()) if covered(seen[0], day)}
        found = {seen for seen in store.values(self._db, DAILY, self._flushed, before) if covered(seen[1], seen[0])}
        self._compare_values(DAILY, expected, found)

    def _place(self, day: int) -> None:
        """Every day with usage lies in a stored period of its customer."""
        context = self._context
        for customer, seq in self._days.seqs.get(day, {}).items():
            period = context.period_of(customer, day)
            if period is None:
                context.wrong("periods", f"{context.customer(customer)}, {date(day)}", "a period that holds it", NO_ROW)
            else:
                context.last_seq[period[2]] = max(seq, context.last_seq.get(period[2], 0))

    def _compare(self, grain: int, expected: dict[Key, Tally], found: dict[Key, tuple[int, int, int]]) -> None:
        self._context.counted("rollups", len(found))
        if expected == found:
            return
        for key in sorted(expected.keys() | found.keys()):
            right, kept = expected.get(key), found.get(key)
            if right != kept:
                bucket, *series = key
                place = hour(bucket) if grain == HOURLY else f"day {date(bucket)}"
                self._context.wrong(
                    "rollups",
                    f"{self._context.series(*series)}, {place}",
                    right or NO_ROW,
                    Tally(*kept) if kept else NO_ROW,
                )

    def _compare_values(self, grain: int, expected: set[Value], found: set[Value]) -> None:
        for bucket, customer, meter, value in sorted(expected ^ found):
            place = hour(bucket) if grain == HOURLY else f"day {date(bucket)}"
            there = (bucket, customer, meter, value) in found
            self._context.wrong(
                "unique_values",
                f"{self._context.series(customer, meter)}, {place}, value {value.hex()}",
                NO_ROW if there else "a row",
                "a row" if there else NO_ROW,
            )


def _new(seen: set[V], value: V) -> Tally:
    """One event with a value: it counts where its bucket had not seen that."""
    known = value in seen
    seen.add(value)
    return Tally(0 if known else 1, 1)


def unique_value(context: Context, event: Single) -> bytes | None:
    """What an event of a unique meter counts; a finding where it says nothing."""
    try:
        return value_hash(event.metadata)
    except ValueError as error:
        series = context.series(event.customer, event.meter)
        context.wrong("events", f"{series}, number {event.seq}", "a value in its metadata", error)
        return None
