"""Verifies rollups against the events themselves: hours and local days, both directions, a day of events at a time."""

from __future__ import annotations

from typing import Any, TypeVar

from nbilling.engine.verify_context import NO_ROW, Context, date, hour
from nbilling.model.clock import HOUR
from nbilling.rules.verify import Tally, combine, value_hash
from nbilling.store import verify as store
from nbilling.store.usage import DAILY, HOURLY
from nbilling.store.verify import Kept, Series, Single

_HOURS = 24
_LATEST = 2**63 - 1
K = TypeVar("K", bound=tuple[Any, ...])
V = TypeVar("V")
Key = tuple[int, int, int, int]
"""``(bucket, customer, meter, dimension)``."""
Value = tuple[int, int, int, bytes]
"""``(bucket, customer, meter, value)``."""


class _Day:
    """What the events of one local day come to, of all customers."""

    __slots__ = ("kept", "seqs", "sums", "values")

    def __init__(self) -> None:
        self.sums: dict[Series, list[int]] = {}  # amount and events
        self.kept: dict[Series, Tally] = {}
        self.values: set[tuple[int, int, bytes]] = set()
        self.seqs: dict[int, int] = {}


class UsageCheck:
    """Walks through the events in order of their hours, and through hourly and daily rollups beside them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.db
        self._days: dict[int, _Day] = {}  # those of all zones lie within three of UTC: no more are held
        self._flushed = -_LATEST
        self._has_values = bool(context.unique) or store.has_values(context.db)
        # The meters that add up: whether their events are counted, not summed.
        self._adding = {
            number: meter.aggregation == "count"
            for number, meter in context.meters.items()
            if number not in context.gauges | context.kept
        }

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
            h = store.next_hour(self._db, end) if end < _LATEST else None
        self._flush(_LATEST)
        context.counted("events", done)

    def _utc_day(self, start: int, end: int) -> int:
        """The hours of one day of UTC. Returns how many events they have."""
        expected: dict[Key, Kept] = {}
        events = self._hours(start, end, expected)
        values = self._singles(start, end, expected)
        self._compare(HOURLY, expected, store.rollups(self._db, HOURLY, start, end, self._context.maxima))
        if self._has_values:
            self._compare_values(HOURLY, values, store.values(self._db, HOURLY, start, end))
        return events

    def _hours(self, start: int, end: int, expected: dict[Key, Kept]) -> int:
        """What adds up, hour by hour and for the days; the loop that most of the time goes into."""
        adding, zone_of = self._adding, self._context.zone
        split: set[tuple[int, int]] = set()
        days: dict[str, _Day | None] = {}
        zones: dict[int, str] = {}
        events, last = 0, -_LATEST
        for h, customer, meter, dimension, high, low, number, seq in store.hourly_sums(
            self._db, start, end, self._context.counters
        ):
            events += number
            if h != last:
                days, last = {}, h
            zone = zones.get(customer)
            if zone is None:
                zone = zones[customer] = zone_of(customer)
            if zone not in days:
                days[zone] = self._whole_day(customer, h)
            day = days[zone]
            counts = adding.get(meter)
            if counts is not None:
                amount = number if counts else (high << 32) + low
                expected[h, customer, meter, dimension] = amount, number, 0
            if day is None:
                split.add((h, customer))
                continue
            if seq > day.seqs.get(customer, 0):
                day.seqs[customer] = seq
            if counts is not None:
                series = customer, meter, dimension
                total = day.sums.get(series)
                if total is None:
                    day.sums[series] = [amount, number]
                else:
                    total[0] += amount
                    total[1] += number
        for h, customer in sorted(split):
            self._split(h, customer)
        return events

    def _whole_day(self, customer: int, h: int) -> _Day | None:
        """The local day that a whole hour lies in; None where it lies in two. The zones' days begin at quarters."""
        first = self._context.day(customer, h * HOUR)
        if first is None or first != self._context.day(customer, (h + 1) * HOUR - store.SLOT):
            return None
        return self._day(first)

    def _day(self, day: int) -> _Day:
        return self._days.get(day) or self._days.setdefault(day, _Day())

    def _split(self, h: int, customer: int) -> None:
        """An hour in which a local day begins: its quarters lie in one day each."""
        for slot, _, meter, dimension, high, low, number, seq in store.slot_sums(
            self._db, h, customer, self._context.counters
        ):
            place = self._context.day(customer, slot * store.SLOT)
            if place is None:
                continue
            day = self._day(place)
            day.seqs[customer] = max(seq, day.seqs.get(customer, 0))
            counts = self._adding.get(meter)
            if counts is not None:
                total = day.sums.setdefault((customer, meter, dimension), [0, 0])
                total[0] += number if counts else (high << 32) + low
                total[1] += number

    def _singles(self, start: int, end: int, expected: dict[Key, Kept]) -> set[Value]:
        """Maxima, last values and different values, event by event. Returns the values seen in each hour."""
        context = self._context
        seen: set[Value] = set()
        if not context.kept:
            return seen
        for event in store.single_events(self._db, start, end, context.kept):
            aggregation = context.meters[event.meter].aggregation
            series = event.customer, event.meter, event.dimension
            place = context.day(event.customer, event.at)
            day = _Day() if place is None else self._day(place)  # a day that no calendar holds is looked at by none
            in_hour = in_day = Tally(event.amount, 1, event.at if aggregation == "last" else 0)
            if aggregation == "unique":
                value = unique_value(context, event)
                if value is None:
                    continue
                in_hour = _new(seen, (event.h, event.customer, event.meter, value))
                in_day = _new(day.values, (event.customer, event.meter, value))
            key = event.h, *series
            before = expected.get(key)
            expected[key] = combine(aggregation, Tally(*before) if before else None, in_hour)
            day.kept[series] = combine(aggregation, day.kept.get(series), in_day)
        return seen

    def _flush(self, before: int) -> None:
        """Compares the local days before one, which no further event can be of: their rollups, and that a stored period
        holds each of them."""
        if before <= self._flushed:
            return
        context = self._context
        days = [(day, self._days.pop(day)) for day in sorted(self._days) if day < before]
        expected: dict[Key, Kept] = {}
        for number, day in days:
            for series, (amount, events) in day.sums.items():
                expected[number, *series] = amount, events, 0
            for series, tally in day.kept.items():
                expected[number, *series] = tally
        self._compare(
            DAILY,
            self._covered(expected),
            self._covered(store.rollups(self._db, DAILY, self._flushed, before, context.maxima)),
        )
        if self._has_values:
            seen = {(number, *value) for number, day in days for value in day.values}
            found = store.values(self._db, DAILY, self._flushed, before)
            self._compare_values(
                DAILY, set(self._covered(dict.fromkeys(seen))), set(self._covered(dict.fromkeys(found)))
            )
        for number, day in days:
            self._place(number, day)
        self._flushed = before

    def _covered(self, keyed: dict[K, V]) -> dict[K, V]:
        """With ``since``, what is of days whose events are all read."""
        if not self._context.since:
            return keyed
        return {key: value for key, value in keyed.items() if self._context.is_covered(key[1], key[0])}

    def _place(self, number: int, day: _Day) -> None:
        """Every day with usage lies in a stored period of its customer."""
        context = self._context
        for customer, seq in day.seqs.items():
            period = context.period_of(customer, number)
            if period is None:
                name = f"{context.customer(customer)}, {date(number)}"
                context.wrong("periods", name, "a period that holds it", NO_ROW)
            else:
                context.last_seq[period[2]] = max(seq, context.last_seq.get(period[2], 0))

    def _compare(self, grain: int, expected: dict[Key, Kept], found: dict[Key, Kept]) -> None:
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
                    Tally(*right) if right else NO_ROW,
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
