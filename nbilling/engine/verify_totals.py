"""Verifies what is summed up further: billing periods from their days, lifetimes from all days."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from nbilling.engine.verify_context import NO_ROW, Context, date, period_name
from nbilling.rules.verify import Tally, combine, matched
from nbilling.store import verify as store
from nbilling.store.subscriptions import PeriodRow
from nbilling.store.usage import DAILY, HOURLY, LIFETIME, PERIOD
from nbilling.store.verify import Series

_GRAINS = {LIFETIME: "lifetime", PERIOD: "period", 4: "window"}


class TotalsCheck:
    """Sums of sums. Different values are counted in their own table."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.db
        self._has_values = store.has_values(context.db)

    def run(self) -> None:
        """Everything but the periods, which are looked at one by one."""
        self._lifetimes()
        self._strays()

    def _lifetimes(self) -> None:
        """Lifetimes are the sums of all days, and with ``since``, which leaves hours unread, of all hours too."""
        context = self._context
        numbers = store.value_counts(self._db, LIFETIME, 0) if self._has_values else {}
        for grain, name in ((DAILY, "days"), (HOURLY, "hours")) if context.since else ((DAILY, "days"),):
            context.tell(f"lifetimes from {name}")
            kept = ((series, row) for series, _, row in store.rollups_by_series(self._db, LIFETIME, context.maxima))
            for series, right, found in matched(self._sums(grain, numbers), kept):
                context.counted("rollups", int(grain == DAILY))
                if right != found:
                    key = f"{context.series(*series)}, lifetime from {name}"
                    context.wrong("rollups", key, right or NO_ROW, Tally(*found) if found else NO_ROW)
        if self._has_values:
            for customer, meter, lacking, strange in store.lifetime_values(self._db):
                self._values_differ(f"{context.series(customer, meter)}, lifetime", lacking, strange)

    def _sums(self, grain: int, numbers: dict[tuple[int, int], int]) -> Iterator[tuple[Series, Tally]]:
        """Each series' rollups of a grain as one."""
        for series, rows in groupby(store.rollups_by_series(self._db, grain, self._context.maxima), itemgetter(0)):
            total: Tally | None = None
            aggregation = self._aggregation(series[1])
            for _, _, kept in rows:
                total = combine(aggregation, total, Tally(*kept))
            assert total is not None  # a group has a row
            yield series, self._of_values(series[1], total, numbers.get(series[:2], 0))

    def _aggregation(self, meter: int) -> str:
        return self._context.meters[meter].aggregation if meter in self._context.meters else "sum"

    def _of_values(self, meter: int, total: Tally, number: int) -> Tally:
        return total._replace(amount=number) if self._aggregation(meter) == "unique" else total

    def period(self, row: PeriodRow) -> None:
        """A period is the sum of its days."""
        context = self._context
        right: dict[tuple[int, int], Tally] = {}
        for _, meter, dimension, kept in store.days_of(
            self._db, row.customer, row.start_day, row.end_day, context.maxima
        ):
            series = meter, dimension
            right[series] = combine(self._aggregation(meter), right.get(series), Tally(*kept))
        name = f"{context.customer(row.customer)}, {period_name(row)}"
        if self._has_values:
            numbers = store.value_counts(self._db, PERIOD, row.id)
            for meter, dimension in right:
                number = numbers.get((row.customer, meter), 0)
                right[meter, dimension] = self._of_values(meter, right[meter, dimension], number)
            for meter, lacking, strange in store.period_values(self._db, row):
                self._values_differ(f"{name}, {context.meter(meter)}", lacking, strange)
        rows = store.rollups(self._db, PERIOD, row.id, row.id + 1, context.maxima)
        found = {key[2:]: kept for key, kept in rows.items() if key[1] == row.customer}
        context.counted("rollups", len(found))
        if right == found:
            return
        for series in sorted(right.keys() | found.keys()):
            if right.get(series) != found.get(series):
                kept_one = found.get(series)
                context.wrong(
                    "rollups",
                    f"{name}, {context.metered(*series)}",
                    right.get(series, NO_ROW),
                    Tally(*kept_one) if kept_one else NO_ROW,
                )

    def _values_differ(self, key: str, lacking: int, strange: int) -> None:
        self._context.wrong(
            "unique_values", key, "the values of its days", f"{lacking} are missing, {strange} are of no day"
        )

    def _strays(self) -> None:
        """Rollups and values of no grain, and of periods and windows that their customer does not have."""
        context = self._context
        for grain, bucket, customer, meter, dimension, kept in store.stray_rollups(self._db):
            key = f"{context.series(customer, meter, dimension)}, {_place(grain, bucket)}"
            context.wrong("rollups", key, NO_ROW, Tally(*kept))
        for grain, bucket, customer, meter in store.stray_values(self._db):
            context.wrong(
                "unique_values", f"{context.series(customer, meter)}, {_place(grain, bucket)}", NO_ROW, "rows"
            )


def _place(grain: int, bucket: int) -> str:
    if grain == DAILY:
        return f"day {date(bucket)}"
    return f"{_GRAINS.get(grain, f'grain {grain}')} {bucket}"
