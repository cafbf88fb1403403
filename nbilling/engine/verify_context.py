"""What the checks of a verification share: the snapshot they read, the names of things, and what they found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nbilling.model.clock import HOUR, format_time
from nbilling.model.periods import day_start, local_day, to_date
from nbilling.model.verification import Finding, VerifyProgress
from nbilling.store import subscriptions, usage
from nbilling.store import verify_billing as billing_store
from nbilling.store.subscriptions import PeriodRow

if TYPE_CHECKING:
    import sqlite3

KEPT_FINDINGS = 1000
"""So many findings are named; a ledger that is wrong everywhere would fill the memory with them."""

UNREADABLE = (ValueError, ArithmeticError, LookupError, TypeError)
"""What rules raise for stored values that make no sense: fractions that are none, days beyond the calendar."""

_NAMES = 50_000
_FIRST_HOUR = -(2**62)


class Context:
    """One verification. ``since``: usage before that instant and invoices finalised before it are not read again."""

    def __init__(self, db: sqlite3.Connection, since: int, progress: Callable[[VerifyProgress], None] | None) -> None:
        self.db = db
        self.since = since
        self.since_h = since // HOUR if since else _FIRST_HOUR
        self._progress = progress
        self.meters = {meter.id: meter for meter in usage.meters(db)}
        self.gauges = self._meters_of(lambda meter: meter.kind == "gauge")
        self.counters = self._meters_of(lambda meter: meter.kind == "counter")
        self.maxima = self._meters_of(lambda meter: meter.kind == "event" and meter.aggregation == "max")
        self.kept = self._meters_of(lambda meter: meter.kind == "event" and meter.aggregation not in ("sum", "count"))
        self.unique = self._meters_of(lambda meter: meter.aggregation == "unique")
        self.findings: list[Finding] = []
        self.more = 0
        self.counts: dict[str, int] = {}
        self.not_checked: list[str] = []
        self.last_seq: dict[int, int] = {}
        """By period, the newest event in it; whole periods only."""
        self._customers: dict[int, tuple[str, str]] = {}
        self._periods: dict[int, tuple[int, int, int]] = {}

    def _meters_of(self, wanted: Callable[[usage.MeterRow], bool]) -> frozenset[int]:
        return frozenset(number for number, meter in self.meters.items() if wanted(meter))

    def tell(self, step: str, done: int = 0, total: int = 0) -> None:
        """Says how far the verification is."""
        if self._progress is not None:
            self._progress(VerifyProgress(step, done, total))

    def counted(self, what: str, number: int = 1) -> None:
        """Adds to the rows that were looked at."""
        self.counts[what] = self.counts.get(what, 0) + number

    def wrong(self, table: str, key: str, expected: object, found: object) -> None:
        """Notes a finding."""
        if len(self.findings) >= KEPT_FINDINGS:
            self.more += 1
            return
        self.findings.append(Finding(table, key, _text(expected), _text(found)))

    def equal(self, table: str, key: str, expected: object, found: object) -> bool:
        """Notes a finding where two values differ."""
        if expected == found:
            return True
        self.wrong(table, key, expected, found)
        return False

    @contextmanager
    def unit(self, table: str, key: str) -> Iterator[None]:
        """Values that cannot even be read are a finding, and the check goes on with the next row."""
        try:
            yield
        except UNREADABLE as error:
            self.wrong(table, key, "values that can be read", f"{type(error).__name__}: {error!s:.200}")

    # --- Names ----------------------------------------------------------------------------------------------------

    def customer(self, number: int) -> str:
        """The host's id of a customer."""
        return self._customer(number)[0]

    def zone(self, number: int) -> str:
        """The zone of a customer."""
        return self._customer(number)[1]

    def _customer(self, number: int) -> tuple[str, str]:
        found = self._customers.get(number)
        if found is None:
            if len(self._customers) >= _NAMES:
                self._customers.clear()
            found = self._customers[number] = billing_store.customer(self.db, number) or (f"customer {number}", "UTC")
        return found

    def meter(self, number: int) -> str:
        """The name of a meter."""
        return self.meters[number].name if number in self.meters else f"meter {number}"

    def series(self, customer: int, meter: int, dimension: int = 0) -> str:
        """``acme, bandwidth, egress``."""
        return f"{self.customer(customer)}, {self.metered(meter, dimension)}"

    def metered(self, meter: int, dimension: int) -> str:
        """``bandwidth, egress``."""
        name = self.meter(meter)
        return f"{name}, {billing_store.dimension(self.db, dimension)}" if dimension else name

    def named(self, column: str, number: int) -> str:
        """What a number in a column of that name stands for."""
        if column == "customer":
            return self.customer(number)
        if column == "meter":
            return self.meter(number)
        name = billing_store.name_of(self.db, column, number)
        return f"{column} {number if name is None else name}"

    # --- Time -----------------------------------------------------------------------------------------------------

    def day(self, customer: int, at: int) -> int | None:
        """The local day of an instant; None for one that no calendar holds, or in a zone that there is not."""
        try:
            return local_day(self.zone(customer), at)
        except UNREADABLE:
            return None

    def is_covered(self, customer: int, day: int) -> bool:
        """Whether all of a local day is verified from its events."""
        if not self.since:
            return True
        try:
            return day_start(self.zone(customer), day) >= self.since
        except UNREADABLE:
            return True

    def period_of(self, customer: int, day: int) -> tuple[int, int, int] | None:
        """``(start_day, end_day, id)`` of the stored period that holds a day."""
        known = self._periods.get(customer)
        if known is None or not known[0] <= day < known[1]:
            if len(self._periods) >= _NAMES:
                self._periods.clear()
            row = subscriptions.period_holding(self.db, customer, day)
            if row is None:
                return None
            known = self._periods[customer] = row.start_day, row.end_day, row.id
        return known


def moment(at: int) -> str:
    """An instant, or its number where no calendar holds it."""
    try:
        return format_time(at)
    except UNREADABLE:
        return str(at)


def hour(h: int) -> str:
    """``hour 2026-01-05T10:00:00Z``."""
    return f"hour {moment(h * HOUR)}"


def date(day: int) -> str:
    """A day as a date, or its number where no calendar holds it."""
    try:
        return to_date(day).isoformat()
    except UNREADABLE:
        return str(day)


def span(start_day: int, end_day: int) -> str:
    """``2026-01-01 to 2026-01-31``: both days are in it."""
    return f"{date(start_day)} to {date(end_day - 1)}"


def period_name(row: PeriodRow) -> str:
    """``period 2026-01-01 to 2026-01-31``."""
    return f"period {span(row.start_day, row.end_day)}"


def _text(value: object) -> str:
    if value is None:
        return "nothing"
    return value if isinstance(value, str) else str(value)


NO_ROW = "no row"
