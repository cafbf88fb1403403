"""Days, months and billing periods in a customer's zone.

A *day* is an integer: days since 1970-01-01 of a local calendar date. It lasts from its first instant to the first
instant of the next day, so days never overlap: where clocks go back over midnight (St. John's until 2011), the repeated
hour belongs to the day that had begun. A *period* is half-open, ``[start, end)``, and begins and ends where days do.
Periods are computed from the anchor each time, never from the previous one, so 31 January, 29 February, 31 March follow
one another (Lago issue 1840: chaining drifts to the 29th for good).
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from nbilling.model.clock import DAY, MINUTE, SECOND
from nbilling.model.errors import BadInput

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SLOT = 15 * MINUTE
_SLOTS_HOLD_FROM = 3652 * DAY
"""From 1980 on every local day begins at a quarter of an hour UTC (Kiritimati was the last), so one lies in one day."""

INTERVALS = ("day", "week", "month", "quarter", "half_year", "year")
_MONTHS = {"month": 1, "quarter": 3, "half_year": 6, "year": 12}
_DAYS = {"day": 1, "week": 7}


class Interval(NamedTuple):
    """``times`` a unit of :data:`INTERVALS`."""

    unit: str
    times: int = 1

    @property
    def months(self) -> int:
        """Length in months; 0 for intervals counted in days."""
        return _MONTHS.get(self.unit, 0) * self.times

    @property
    def days(self) -> int:
        """Length in days; 0 for intervals counted in months."""
        return _DAYS.get(self.unit, 0) * self.times


MONTH = Interval("month")


def to_day(value: date) -> int:
    """Days since 1970-01-01."""
    return value.toordinal() - _EPOCH_ORDINAL


def to_date(day: int) -> date:
    """The calendar date of a day number."""
    return date.fromordinal(day + _EPOCH_ORDINAL)


def add_months(anchor: date, months: int) -> date:
    """The anchor's day of the month so many months on; the last day where the month is shorter."""
    index = anchor.year * 12 + anchor.month - 1 + months
    year, month = divmod(index, 12)
    return date(year, month + 1, min(anchor.day, monthrange(year, month + 1)[1]))


def boundary(anchor: int, interval: Interval, n: int) -> int:
    """The day on which period ``n`` of the anchor starts; period 0 starts at the anchor itself."""
    if interval.days:
        return anchor + n * interval.days
    return to_day(add_months(to_date(anchor), n * interval.months))


def period_index(anchor: int, interval: Interval, day: int) -> int:
    """Which period of the anchor a day lies in; negative before the anchor."""
    if interval.days:
        return (day - anchor) // interval.days
    first, here = to_date(anchor), to_date(day)
    n = ((here.year - first.year) * 12 + here.month - first.month) // interval.months
    while boundary(anchor, interval, n) > day:
        n -= 1
    while boundary(anchor, interval, n + 1) <= day:
        n += 1
    return n


def period_of(anchor: int, interval: Interval, day: int) -> tuple[int, int]:
    """``(start_day, end_day)`` of the period that holds a day."""
    n = period_index(anchor, interval, day)
    return boundary(anchor, interval, n), boundary(anchor, interval, n + 1)


def month_of(day: int) -> tuple[int, int]:
    """``(start_day, end_day)`` of the calendar month that holds a day."""
    first = to_date(day).replace(day=1)
    return to_day(first), to_day(add_months(first, 1))


@lru_cache(maxsize=64)
def zone_info(name: str) -> ZoneInfo:
    """The IANA zone of that name, or :class:`BadInput`."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadInput(f"time zone {name!r:.60} is not known", hint="use an IANA name, such as Europe/Berlin") from None


def local_day(zone: str, at: int) -> int:
    """The day of a zone that an instant (microseconds UTC) lies in."""
    if zone == "UTC":
        return at // DAY
    if at >= _SLOTS_HOLD_FROM:
        return _slot_day(zone, at // _SLOT)
    return _local_day(zone, at)


@lru_cache(maxsize=65536)
def _slot_day(zone: str, slot: int) -> int:
    return _local_day(zone, slot * _SLOT)


def _local_day(zone: str, at: int) -> int:
    day = to_day((_EPOCH + timedelta(microseconds=at)).astimezone(zone_info(zone)).date())
    return day + 1 if at >= day_start(zone, day + 1) else day


@lru_cache(maxsize=4096)
def day_start(zone: str, day: int) -> int:
    """The first instant of a local day, in microseconds UTC. Where midnight is skipped, the moment of the skip."""
    if zone == "UTC":
        return day * DAY
    local = datetime.combine(to_date(day), datetime.min.time(), tzinfo=zone_info(zone))
    return (local.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def hour_start(zone: str, at: int) -> int:
    """When the hour of a zone's clocks began that an instant lies in: not every zone's hours are those of UTC."""
    local = (_EPOCH + timedelta(microseconds=at)).astimezone(zone_info(zone))
    return at - local.minute * MINUTE - local.second * SECOND - local.microsecond
