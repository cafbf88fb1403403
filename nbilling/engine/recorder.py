"""The one way by which usage enters the ledger: event, rollups and counting windows in the same commit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.model.clock import HOUR, MINUTE
from nbilling.model.errors import BadInput
from nbilling.model.periods import day_start, local_day
from nbilling.store import counters, customers, gauges, subscriptions, usage
from nbilling.store.customers import CustomerRow
from nbilling.store.usage import DAILY, HOURLY, LIFETIME, PERIOD, WINDOW, Delta, MeterRow, Recorded, UsageRow

if TYPE_CHECKING:
    import sqlite3

_SLOT = 15 * MINUTE
_DAILY_WINDOW = "quota_day"
Place = tuple[int, int]
"""A grain and a bucket: one of the rollups that an event counts in."""


class UsageRecorder:
    """Records batches of events inside a write job. Usable by every thread: all state is in the job."""

    def __init__(self, core: Core, accounts: Accounts) -> None:
        self._core = core
        self._accounts = accounts

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
        return Recorded(len(inserted.added), inserted.duplicates, inserted.conflicts)


class _Counting:
    """One job's view of the customers it counts for."""

    def __init__(self, db: sqlite3.Connection, core: Core, accounts: Accounts, known: Iterable[CustomerRow]) -> None:
        self._db = db
        self._core = core
        self._accounts = accounts
        self._customers = {row.id: row for row in known}
        self._periods: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._windows: dict[int, list[tuple[int, str, int, int]]] = {}
        self._late: set[int] = set()
        # By (customer, meter, dimension, quarter of an hour), and by whole rollup key: amount and events.
        self._slots: dict[tuple[int, int, int, int], list[int]] = {}
        self._sums: dict[tuple[int, int, int, int, int], list[int]] = {}

    def count(self, added: Sequence[tuple[int, UsageRow]]) -> None:
        """Adds events to rollups and windows, and samples of gauges and counters to their series."""
        self._windows = usage.windows(self._db, {row.customer for _, row in added})
        for seq, row in added:
            meter = self._core.meter_by_id(self._db, row.meter)
            if meter.kind == "gauge":
                self._note_levels(row, gauges.insert_sample(self._db, seq, row))
            elif meter.kind == "counter":
                for place, (at, number, change) in enumerate(counters.insert_sample(self._db, seq, row)):
                    self._add(number, row._replace(at=at), change, events=int(place == 0))
            elif meter.aggregation in ("sum", "count"):
                self._add(seq, row, 1 if meter.aggregation == "count" else row.amount)
            else:
                self._keep(seq, row, meter)
        self._spread()
        if self._sums:
            deltas = ((*key, amount, events, 0) for key, (amount, events) in sorted(self._sums.items()))
            usage.add_to_rollups(self._db, "sum", deltas)
        if self._late:
            # Usage of another period than the present one may come after that period's invoice.
            subscriptions.mark_late(self._db, sorted(self._late))

    def _note_levels(self, row: UsageRow, until: int) -> None:
        """A late sample of a gauge changes what later periods cost too, up to the next one that sets the level."""
        _, _, end_at = self._period(row.customer, self._day(row.customer, row.at))
        present_at = self._customer(row.customer).start_at
        if end_at <= present_at:
            self._late.update(subscriptions.periods_within(self._db, row.customer, end_at, min(until, present_at)))

    def _add(self, seq: int, row: UsageRow, amount: int, events: int = 1) -> None:
        slot = self._slots.setdefault((row.customer, row.meter, row.dimension, row.at // _SLOT), [0, 0])
        slot[0] += amount
        slot[1] += events
        if row.customer in self._windows:
            for grain, bucket in self._open_windows(seq, row):
                self._total((grain, bucket, row.customer, row.meter, row.dimension), amount, events)

    def _total(self, key: tuple[int, int, int, int, int], amount: int, events: int) -> None:
        total = self._sums.setdefault(key, [0, 0])
        total[0] += amount
        total[1] += events

    def _spread(self) -> None:
        """Each quarter of an hour's sum into every rollup that it lies in: far fewer than there are events."""
        for (customer, meter, dimension, slot), (amount, events) in self._slots.items():
            for place in self._places(customer, slot * _SLOT):
                self._total((*place, customer, meter, dimension), amount, events)

    def _places(self, customer: int, at: int) -> list[Place]:
        day = self._day(customer, at)
        return [(LIFETIME, 0), (HOURLY, at // HOUR), (DAILY, day), (PERIOD, self._period(customer, day)[0])]

    def _keep(self, seq: int, row: UsageRow, meter: MeterRow) -> None:
        """A maximum, a last value, or one more different value."""
        places = [*self._places(row.customer, row.at), *self._open_windows(seq, row)]
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
