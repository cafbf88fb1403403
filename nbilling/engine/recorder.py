"""The one way by which usage enters the ledger: event, rollups and counting windows in the same commit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.model.clock import HOUR, MINUTE
from nbilling.model.periods import local_day
from nbilling.store import customers, gauges, subscriptions, usage
from nbilling.store.customers import CustomerRow
from nbilling.store.usage import DAILY, HOURLY, LIFETIME, PERIOD, WINDOW, Recorded, UsageRow

if TYPE_CHECKING:
    import sqlite3

_SLOT = 15 * MINUTE
_WINDOW_IS_DAILY = {"usage_month": False, "quota_month": False, "quota_day": True}


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
            job = _Counting(db, self._core, self._accounts, known)
            job.count(inserted.added)
        return Recorded(len(inserted.added), inserted.duplicates, inserted.conflicts)


class _Counting:
    """One job's view of the customers it counts for."""

    def __init__(self, db: sqlite3.Connection, core: Core, accounts: Accounts, known: Iterable[CustomerRow]) -> None:
        self._db = db
        self._core = core
        self._accounts = accounts
        self._customers = {row.id: row for row in known}
        self._periods: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._windows: dict[int, list[tuple[int, str, int]]] = {}

    def count(self, added: Iterable[tuple[int, UsageRow]]) -> None:
        """Adds events to rollups and windows, and samples of gauges to their levels."""
        sums: dict[tuple[int, int, int, int], list[int]] = {}
        deltas: list[tuple[int, int, int, int, int, int, int]] = []
        for seq, row in added:
            meter = self._core.meter_by_id(self._db, row.meter)
            if meter.kind == "gauge":
                gauges.insert_sample(self._db, seq, row)
                self._period(row.customer, self._day(row.customer, row.at))
                continue
            amount = 1 if meter.aggregation == "count" else row.amount
            group = row.customer, row.meter, row.dimension, row.at // _SLOT
            total = sums.get(group)
            if total is None:
                sums[group] = [amount, 1]
            else:
                total[0] += amount
                total[1] += 1
            if self._windows_of(row.customer):
                deltas += self._window_deltas(row, amount)
        usage.add_to_rollups(self._db, sorted(self._merged(sums, deltas)))
        self._mark_late()

    def _merged(
        self,
        sums: dict[tuple[int, int, int, int], list[int]],
        deltas: list[tuple[int, int, int, int, int, int, int]],
    ) -> list[tuple[int, int, int, int, int, int, int]]:
        totals: dict[tuple[int, int, int, int, int], list[int]] = {}

        def add(key: tuple[int, int, int, int, int], amount: int, events: int) -> None:
            total = totals.setdefault(key, [0, 0])
            total[0] += amount
            total[1] += events

        for (customer, meter, dimension, slot), (amount, events) in sums.items():
            day = self._day(customer, slot * _SLOT)
            series = customer, meter, dimension
            add((LIFETIME, 0, *series), amount, events)
            add((HOURLY, slot * _SLOT // HOUR, *series), amount, events)
            add((DAILY, day, *series), amount, events)
            add((PERIOD, self._period(customer, day)[0], *series), amount, events)
        for grain, bucket, customer, meter, dimension, amount, events in deltas:
            add((grain, bucket, customer, meter, dimension), amount, events)
        return [(*key, *total) for key, total in totals.items()]  # type: ignore[misc]

    def _window_deltas(self, row: UsageRow, amount: int) -> list[tuple[int, int, int, int, int, int, int]]:
        day = self._day(row.customer, row.at)
        _, start_at, end_at = self._period(row.customer, day)
        newest: dict[str, int] = {}
        for number, scope, opened_at in self._windows_of(row.customer):
            if opened_at > row.at:
                continue
            if _WINDOW_IS_DAILY[scope]:
                if self._day(row.customer, opened_at) == day:
                    newest[scope] = number
            elif start_at <= opened_at < end_at:
                newest[scope] = number
        return [
            (WINDOW, number, row.customer, row.meter, row.dimension, amount, 1) for number in newest.values()
        ]  # fmt: skip

    def _mark_late(self) -> None:
        """Usage of another period than the present one may come after that period's invoice."""
        late = {
            period
            for (customer, _), (period, _, _) in self._periods.items()
            if period != self._customer(customer).period
        }
        if late:
            subscriptions.mark_late(self._db, sorted(late))

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
            period = self._accounts.period_of_day(self._db, self._customer(customer), day)
            found = self._periods[customer, day] = period.id, period.start_at, period.end_at
        return found

    def _windows_of(self, customer: int) -> list[tuple[int, str, int]]:
        found = self._windows.get(customer)
        if found is None:
            found = self._windows[customer] = usage.windows(self._db, customer)
        return found
