"""The one way by which usage enters the ledger: event, rollups and counting windows in the same commit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.model.clock import HOUR, MINUTE
from nbilling.model.errors import BadInput
from nbilling.model.periods import day_start, local_day
from nbilling.store import alerts, counters, customers, gauges, subscriptions, usage
from nbilling.store.customers import CustomerRow
from nbilling.store.usage import DAILY, HOURLY, LIFETIME, PERIOD, WINDOW, Delta, MeterRow, Recorded, UsageRow

if TYPE_CHECKING:
    import sqlite3

_SLOT = 15 * MINUTE
_DAILY_WINDOW, _MONTHLY_WINDOW = "quota_day", "quota_month"
Place = tuple[int, int]
"""A grain and a bucket: one of the rollups that an event counts in."""


Watch = Callable[["sqlite3.Connection", CustomerRow, int], object]
"""Looks at a customer's alerts after usage was counted, in the same job."""


class UsageRecorder:
    """Records batches of events inside a write job. Usable by every thread: all state is in the job."""

    def __init__(self, core: Core, accounts: Accounts, watch: Watch | None = None) -> None:
        self._core = core
        self._accounts = accounts
        self._watch = watch

    def customer_id(self, db: sqlite3.Connection, customer_id: str) -> int:
        """The customer's number; made in this job where it is new."""
        return self._accounts.ensure(db, customer_id, self._core.now(db)).id

    def meter_id(self, db: sqlite3.Connection, name: str) -> int:
        """The meter's number."""
        return self._core.meter(db, name).id

    def dimension_id(self, db: sqlite3.Connection, value: str) -> int:
        """The number of a dimension's value; made in this job where it is new."""
        return usage.dimension_id(db, value)

    def record(self, db: sqlite3.Connection, rows: Sequence[UsageRow], known: Iterable[CustomerRow] = ()) -> Recorded:
        """Inserts what is new and counts it. ``known``: customers just read in this job, to save a look."""
        inserted = usage.insert_events(db, rows)
        if inserted.added:
            _Counting(db, self._core, self._accounts, known).count(inserted.added)
            if self._watch is not None and alerts.in_use(db) and self._core.config.alerts_while_tracking:
                self._check_alerts(db, self._watch, {row.customer for _, row in inserted.added})
        return Recorded(len(inserted.added), inserted.duplicates, inserted.conflicts)

    def _check_alerts(self, db: sqlite3.Connection, watch: Watch, numbers: Iterable[int]) -> None:
        """Fires the alerts that this usage crosses, in the same commit: where the settings wish it."""
        now = self._core.now(db)
        for number in sorted(numbers):
            row = customers.get(db, number)
            if alerts.armed(db, number, row.start_at):
                watch(db, row, now)


class _Counting:
    """One job's view of the customers it counts for."""

    def __init__(self, db: sqlite3.Connection, core: Core, accounts: Accounts, known: Iterable[CustomerRow]) -> None:
        self._db = db
        self._core = core
        self._accounts = accounts
        self._customers = {row.id: row for row in known}
        self._periods: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._windows: dict[int, list[tuple[int, str, int, int]]] = {}
        self._months: dict[tuple[int, int], tuple[int, int]] = {}
        self._late: set[int] = set()
        # By (customer, meter, dimension, quarter of an hour): amount and events.
        self._slots: dict[tuple[int, int, int, int], list[int]] = {}
        self._deltas: list[Delta] = []
        self._added_up: dict[int, str] = {}

    def count(self, added: Sequence[tuple[int, UsageRow]]) -> None:
        """Adds events to rollups and windows, and samples of gauges and counters to their series."""
        windows = self._windows = usage.windows(self._db, list({row[0] for _, row in added}))
        slots, added_up = self._slots, self._added_up
        for seq, row in added:
            customer, number, dimension, at, amount, _, _, _, _ = row
            weight = added_up.get(number)
            if weight is None:
                meter = self._core.meter_by_id(self._db, number)
                if meter.kind != "event" or meter.aggregation not in ("sum", "count"):
                    self._count_one(seq, row, meter)
                    continue
                weight = added_up[number] = meter.aggregation
            if weight == "count":
                amount = 1
            # The way of most events, so it is written out; otherwise it is that of _add.
            key = customer, number, dimension, at // _SLOT
            total = slots.get(key)
            if total is None:
                slots[key] = [amount, 1]
            else:
                total[0] += amount
                total[1] += 1
            if customer in windows:
                self._add_to_windows(seq, row, amount, 1)
        self._spread()
        if self._deltas:
            usage.add_to_rollups(self._db, "sum", self._deltas)
        if self._late:
            # Usage of another period than the present one may come after that period's invoice.
            subscriptions.mark_late(self._db, sorted(self._late))

    def _count_one(self, seq: int, row: UsageRow, meter: MeterRow) -> None:
        if meter.kind == "gauge":
            self._note_levels(row, gauges.insert_sample(self._db, seq, row))
        elif meter.kind == "counter":
            for place, (at, number, change) in enumerate(counters.insert_sample(self._db, seq, row)):
                self._add(number, row._replace(at=at), change, events=int(place == 0))
        else:
            self._keep(seq, row, meter)

    def _note_levels(self, row: UsageRow, until: int) -> None:
        """A late sample of a gauge changes what later periods cost too, up to the next one that sets the level."""
        _, _, end_at = self._period(row.customer, self._day(row.customer, row.at))
        present_at = self._customer(row.customer).start_at
        if end_at <= present_at:
            self._late.update(subscriptions.periods_within(self._db, row.customer, end_at, min(until, present_at)))

    def _add(self, seq: int, row: UsageRow, amount: int, events: int) -> None:
        slot = self._slots.setdefault((row.customer, row.meter, row.dimension, row.at // _SLOT), [0, 0])
        slot[0] += amount
        slot[1] += events
        if row.customer in self._windows:
            self._add_to_windows(seq, row, amount, events)

    def _add_to_windows(self, seq: int, row: UsageRow, amount: int, events: int) -> None:
        self._deltas += [
            (grain, bucket, row.customer, row.meter, row.dimension, amount, events, 0)
            for grain, bucket in self._open_windows(seq, row)
        ]

    def _spread(self) -> None:
        """Each quarter of an hour's sum into every rollup that it lies in: far fewer than there are events. In order,
        for rows that are neighbours then lie on pages just seen."""
        shares = [
            (customer, meter, dimension, amount, events, *self._buckets(customer, slot * _SLOT))
            for (customer, meter, dimension, slot), (amount, events) in sorted(self._slots.items())
        ]
        if shares:
            usage.add_up(self._db, shares)

    def _buckets(self, customer: int, at: int) -> tuple[int, int, int]:
        """The hour, the local day and the billing period of an instant."""
        row = self._customers.get(customer) or self._customer(customer)
        day = local_day(row.zone, at)
        # Periods begin and end where days do, so the present one can be told by the instant.
        if row.start_at <= at < row.end_at:
            return at // HOUR, day, row.period
        return at // HOUR, day, self._period(customer, day)[0]

    def _keep(self, seq: int, row: UsageRow, meter: MeterRow) -> None:
        """A maximum, a last value, or one more different value."""
        hour, day, period = self._buckets(row.customer, row.at)
        places = [(LIFETIME, 0), (HOURLY, hour), (DAILY, day), (PERIOD, period), *self._open_windows(seq, row)]
        if meter.aggregation == "unique":
            value = _value(row)
            deltas: list[Delta] = [
                (grain, bucket, row.customer, row.meter, row.dimension,
                 int(usage.see_value(self._db, grain, bucket, row.customer, row.meter, value)), 1, 0)
                for grain, bucket in places
            ]  # fmt: skip
            usage.add_to_rollups(self._db, "sum", deltas)
        else:
            deltas = [(*place, row.customer, row.meter, row.dimension, row.amount, 1, row.at) for place in places]
            usage.add_to_rollups(self._db, meter.aggregation, deltas)

    def _open_windows(self, seq: int, row: UsageRow) -> Iterator[Place]:
        """The newest window of each scope that an event falls into: recorded after it was opened, and not before it
        by its own time, in the same period or day."""
        windows = self._windows.get(row.customer)
        if not windows:
            return
        day = self._day(row.customer, row.at)
        _, start_at, end_at = self._period(row.customer, day)
        newest: dict[str, int] = {}
        for number, scope, opened_at, opened_seq in windows:
            if opened_at > row.at or opened_seq >= seq:
                continue
            if scope == _DAILY_WINDOW:
                if self._day(row.customer, opened_at) == day:
                    newest[scope] = number
            elif scope == _MONTHLY_WINDOW:
                first, last = self._month(row.customer, day)
                if first <= opened_at < last:
                    newest[scope] = number
            elif start_at <= opened_at < end_at:
                newest[scope] = number
        for number in newest.values():
            yield WINDOW, number

    def _customer(self, customer: int) -> CustomerRow:
        row = self._customers.get(customer)
        if row is None:
            row = self._customers[customer] = customers.get(self._db, customer)
        return row

    def _day(self, customer: int, at: int) -> int:
        return local_day(self._customer(customer).zone, at)

    def _month(self, customer: int, day: int) -> tuple[int, int]:
        """When the month begins and ends by which limits per month count on a day."""
        found = self._months.get((customer, day))
        if found is None:
            row = self._customer(customer)
            start, end = self._accounts.billing_month(self._db, row, day)
            found = self._months[customer, day] = day_start(row.zone, start), day_start(row.zone, end)
        return found

    def _period(self, customer: int, day: int) -> tuple[int, int, int]:
        found = self._periods.get((customer, day))
        if found is None:
            row = self._customer(customer)
            if row.start_at <= day_start(row.zone, day) < row.end_at:
                found = row.period, row.start_at, row.end_at
            else:
                period = self._accounts.period_of_day(self._db, row, day)
                found = period.id, period.start_at, period.end_at
                self._late.add(period.id)
            self._periods[customer, day] = found
        return found


def _value(row: UsageRow) -> bytes:
    """What an event of a unique meter counts: ``value`` in its metadata."""
    found = json.loads(row.metadata).get("value") if row.metadata else None
    if not isinstance(found, (str, int)) or isinstance(found, bool) or found == "":
        raise BadInput("an event of a unique meter needs a value", hint='send it as metadata {"value": "user-17"}')
    return blake2b(f"{type(found).__name__}:{found}".encode(), digest_size=16).digest()
