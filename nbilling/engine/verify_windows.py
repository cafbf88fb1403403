"""Verifies counting windows: what was recorded since each reset, counted again from the events."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from nbilling.engine.verify_context import NO_ROW, Context, moment
from nbilling.engine.verify_usage import unique_value
from nbilling.model.clock import DAY, HOUR
from nbilling.model.periods import MONTH, day_start, local_day, period_of
from nbilling.rules.verify import Tally, Window, combine, counting
from nbilling.store import subscriptions
from nbilling.store import verify as store
from nbilling.store import verify_billing as billing_store
from nbilling.store.usage import WINDOW
from nbilling.store.verify import Single

_DAILY = "quota_day"
Counted = dict[tuple[int, int], Tally]
"""By meter and dimension."""


class WindowCheck:
    """Customer by customer, the stretches of time that its windows cover, one after the other."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.db

    def run(self) -> None:
        """Compares everything."""
        context = self._context
        resets = billing_store.resets(self._db)
        newest = store.count(self._db, "events")
        for customer, rows in groupby(billing_store.all_windows(self._db), itemgetter(0)):
            context.tell("windows")
            windows, before = [], 0
            for _, number, scope, opened_at, opened_seq in rows:
                key = self._key(customer, scope, opened_at)
                context.counted("windows")
                if not before <= opened_seq <= newest:
                    context.wrong("windows", key, f"opened after event {before} to {newest}", f"after {opened_seq}")
                before = opened_seq
                if (context.customer(customer), opened_at) not in resets:
                    context.wrong("windows", key, "a reset at that time in the audit trail", "none")
                with context.unit("windows", key):
                    end_at = self._end(customer, scope, opened_at)
                    windows.append(Window(number, scope, opened_at, opened_seq, end_at))
            for stretch in _stretches(windows):
                if not context.since or max(window.end_at for window in stretch) > context.since:
                    self._check(customer, stretch, windows)

    def _key(self, customer: int, scope: str, opened_at: int) -> str:
        return f"{self._context.customer(customer)}, {scope} opened {moment(opened_at)}"

    def _end(self, customer: int, scope: str, opened_at: int) -> int:
        """The end of the local day or of the billing period that holds the reset; 0 where no period does."""
        zone = self._context.zone(customer)
        day = local_day(zone, opened_at)
        if scope == _DAILY:
            return day_start(zone, day + 1)
        period = subscriptions.period_holding(self._db, customer, day)
        if period is None or scope != "quota_month":
            return period.end_at if period else 0
        held = subscriptions.get(self._db, period.subscription)
        if held.is_default or (held.interval_unit, held.interval_count) == ("month", 1):
            return period.end_at
        return day_start(zone, min(period_of(held.anchor_day, MONTH, day)[1], held.end_day))

    def _check(self, customer: int, windows: list[Window], others: list[Window]) -> None:
        """Windows that follow one another without a gap. ``others``: all that the customer has."""
        start, end = min(window.opened_at for window in windows), max(window.end_at for window in windows)
        counted: dict[int, Counted] = {}
        values: dict[int, set[tuple[int, bytes]]] = {}
        for event in self._events(customer, start, end):
            for window in counting(windows, event.at, event.seq):
                self._count(event, counted.setdefault(window.id, {}), values.setdefault(window.id, set()))
        for window in windows:
            found, seen = self._stored(window)
            right, known = counted.get(window.id, {}), values.get(window.id, set())
            if (right, known) == (found, seen) or self._was_longer(customer, window, others, right, known):
                continue
            key = self._key(customer, window.scope, window.opened_at)
            for series in sorted(right.keys() | found.keys()):
                if right.get(series) != found.get(series):
                    name = f"{key}, {self._context.metered(*series)}"
                    self._context.wrong("rollups", name, right.get(series, NO_ROW), found.get(series, NO_ROW))
            if known != seen:
                self._context.wrong("unique_values", key, f"{len(known)} values", f"{len(seen)}, others among them")

    def _events(self, customer: int, start: int, end: int) -> Iterator[Single]:
        context = self._context
        events = store.events_of(self._db, customer, start // HOUR, -(-end // HOUR), context.counters)
        return (event for event in events if event.meter not in context.gauges and event.meter in context.meters)

    def _count(self, event: Single, counted: Counted, values: set[tuple[int, bytes]]) -> None:
        aggregation = self._context.meters[event.meter].aggregation
        amount, mark = event.amount, 0
        if aggregation == "count":
            amount = 1
        elif aggregation == "last":
            mark = event.at
        elif aggregation == "unique":
            value = unique_value(self._context, event)
            if value is None:
                return
            amount = int((event.meter, value) not in values)
            values.add((event.meter, value))
        series = event.meter, event.dimension
        counted[series] = combine(aggregation, counted.get(series), Tally(amount, 1, mark))

    def _stored(self, window: Window) -> tuple[Counted, set[tuple[int, bytes]]]:
        rows = store.rollups(self._db, WINDOW, window.id, window.id + 1, self._context.maxima)
        seen = store.values(self._db, WINDOW, window.id, window.id + 1)
        self._context.counted("rollups", len(rows))
        return {key[2:]: Tally(*kept) for key, kept in rows.items()}, {value[2:] for value in seen}

    def _was_longer(
        self, customer: int, window: Window, others: list[Window], right: Counted, known: set[tuple[int, bytes]]
    ) -> bool:
        """Whether the window holds what it did before a change of plan cut its period short.

        Until that change, events after the present end of the period counted in it: the first so many that were
        recorded. Nobody reads that window any more.
        """
        context = self._context
        day = context.day(customer, window.end_at)
        if window.scope == _DAILY or day is None or not billing_store.is_cut(self._db, customer, day):
            return False
        stored = self._stored(window)
        newer = [other for other in others if other.scope == window.scope and other.id > window.id]
        after = sorted(self._events(customer, window.end_at, window.end_at + 2 * DAY), key=lambda event: event.seq)
        counted, values = dict(right), set(known)
        for event in after:
            if window.may_count(event.at, event.seq) and not any(w.may_count(event.at, event.seq) for w in newer):
                self._count(event, counted, values)
                if (counted, values) == stored:
                    return True
        return False


def _stretches(windows: list[Window]) -> Iterator[list[Window]]:
    """Windows in groups that have no time in common; each group in the order in which they were opened."""
    group: list[Window] = []
    end = 0
    for window in sorted(windows, key=lambda window: window.opened_at):
        if group and window.opened_at >= end:
            yield sorted(group, key=lambda window: window.id)
            group = []
            end = 0
        group.append(window)
        end = max(end, window.end_at)
    if group:
        yield sorted(group, key=lambda window: window.id)
