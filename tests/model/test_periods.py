"""Days in zones, months, and periods computed from their anchor."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.clock import DAY, HOUR, MINUTE, SECOND
from nbilling.model.errors import BadInput
from nbilling.model.periods import (
    INTERVALS,
    Interval,
    add_months,
    boundary,
    day_start,
    hour_start,
    local_day,
    month_of,
    period_index,
    period_of,
    to_date,
    to_day,
    zone_info,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",  # skipped midnight in spring until 2018
    "America/St_Johns",  # went back at 00:01 until 2011: midnight happened twice
    "America/Havana",  # goes back from 01:00 to 00:00
    "Asia/Beirut",  # skips midnight
    "Africa/Cairo",  # skips midnight again since 2023
    "Asia/Kathmandu",  # 5:45
    "Asia/Kolkata",  # 5:30
    "Australia/Lord_Howe",  # changes by half an hour
    "Pacific/Apia",  # had no 30 December 2011
    "Pacific/Kiritimati",  # 14 hours ahead
    "Pacific/Chatham",  # 12:45 and 13:45
    "Antarctica/Casey",  # went back three hours over midnight
)
zones = st.sampled_from(ZONES)
days = st.dates(date(1970, 1, 2), date(2100, 1, 1)).map(to_day)
instants = st.integers(DAY, to_day(date(2100, 1, 1)) * DAY)
intervals = st.builds(Interval, st.sampled_from(INTERVALS), st.integers(1, 30))


def instant(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


# --- Days -----------------------------------------------------------------------------------------------------------


@given(st.dates())
def test_a_date_and_its_number_are_the_same(value: date) -> None:
    assert to_date(to_day(value)) == value


@given(zones, instants)
def test_an_instant_lies_between_the_start_of_its_day_and_the_next(zone: str, at: int) -> None:
    day = local_day(zone, at)
    assert day_start(zone, day) <= at < day_start(zone, day + 1)


@given(zones, days)
def test_the_first_instant_of_a_day_lies_in_it_and_the_one_before_does_not(zone: str, day: int) -> None:
    start = day_start(zone, day)
    if start == day_start(zone, day + 1):  # a day that never was
        assert (zone, to_date(day)) == ("Pacific/Apia", date(2011, 12, 30)) or zone == "Pacific/Kiritimati"
        return
    assert local_day(zone, start) == day
    assert local_day(zone, start - 1) < day


@given(zones, instants, instants)
def test_days_never_go_back(zone: str, one: int, other: int) -> None:
    early, late = sorted((one, other))
    assert local_day(zone, early) <= local_day(zone, late)


@given(st.sampled_from([zone for zone in ZONES if zone not in ("America/St_Johns", "Antarctica/Casey")]), instants)
def test_a_day_is_the_date_on_the_clocks_of_the_zone(zone: str, at: int) -> None:
    shown = (EPOCH + timedelta(microseconds=at)).astimezone(ZoneInfo(zone)).date()
    assert to_date(local_day(zone, at)) == shown


@pytest.mark.parametrize(
    "zone,day,start,hours",
    [
        ("UTC", "2026-03-29", "2026-03-29T00:00+00:00", 24),
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00+00:00", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00+00:00", 25),
        ("America/New_York", "2026-03-08", "2026-03-08T05:00+00:00", 23),
        ("America/New_York", "2026-11-01", "2026-11-01T04:00+00:00", 25),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00+00:00", 23),
        ("America/Sao_Paulo", "2018-02-17", "2018-02-17T02:00+00:00", 25),
        ("Asia/Beirut", "2024-03-31", "2024-03-30T22:00+00:00", 23),
        ("Africa/Cairo", "2024-04-26", "2024-04-25T22:00+00:00", 23),
        ("America/Havana", "2026-11-01", "2026-11-01T04:00+00:00", 25),
        ("Asia/Kathmandu", "2026-01-01", "2025-12-31T18:15+00:00", 24),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00+00:00", 24.5),
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-03T13:30+00:00", 23.5),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00+00:00", 0),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00+00:00", 24),
    ],
)
def test_days_begin_and_last_as_the_zone_says(zone: str, day: str, start: str, hours: float) -> None:
    number = to_day(date.fromisoformat(day))
    assert day_start(zone, number) == instant(start)
    assert day_start(zone, number + 1) - day_start(zone, number) == hours * HOUR


def test_where_clocks_go_back_over_midnight_the_repeated_hour_belongs_to_the_day_that_had_begun() -> None:
    day = to_day(date(2009, 11, 1))  # St. John's: 00:01 became 23:01 of the day before
    assert day_start("America/St_Johns", day) == instant("2009-11-01T02:30+00:00")
    for text in ("2009-11-01T02:30:59+00:00", "2009-11-01T02:31+00:00", "2009-11-01T03:29+00:00"):
        assert local_day("America/St_Johns", instant(text)) == day
    assert local_day("America/St_Johns", instant("2009-11-01T02:29+00:00")) == day - 1


def test_midnight_that_is_skipped_begins_the_day_at_the_skip() -> None:
    start = day_start("America/Sao_Paulo", to_day(date(2018, 11, 4)))
    local = (EPOCH + timedelta(microseconds=start)).astimezone(ZoneInfo("America/Sao_Paulo"))
    assert (local.hour, local.minute) == (1, 0)


@pytest.mark.parametrize("zone", ["Africa/Monrovia", "Pacific/Kiritimati"])
def test_odd_offsets_of_the_seventies_are_kept_to_the_second(zone: str) -> None:
    for number in range(1, 3700, 37):
        start = day_start(zone, number)
        assert local_day(zone, start) == number
        assert local_day(zone, start - 1) == number - 1


@pytest.mark.parametrize("zone", ZONES)
def test_every_day_of_a_zone_begins_at_a_quarter_of_an_hour_from_1980_on(zone: str) -> None:
    assert not any(
        day_start(zone, day) % (15 * MINUTE) for day in range(to_day(date(1980, 1, 1)), to_day(date(2040, 1, 1)))
    )


@given(zones, instants)
def test_an_hour_begins_when_the_clocks_of_the_zone_show_none_of_its_minutes(zone: str, at: int) -> None:
    start = hour_start(zone, at)
    assert start <= at < start + HOUR
    shown = (EPOCH + timedelta(microseconds=at)).astimezone(ZoneInfo(zone))
    assert at - start == shown.minute * MINUTE + shown.second * SECOND + shown.microsecond


# --- Zones ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Etc/GMT+12"])
def test_iana_names_are_known(name: str) -> None:
    assert str(zone_info(name)) == name


@pytest.mark.parametrize(
    "name",
    ["", " ", "Berlin", "Europe/Nowhere", "Europe", "../UTC", "/etc/passwd", "UTC\0", "UTC\n", "x" * 5000, "+01:00",
     "Europe/Berlin ", "\ud800", "Europe/../UTC", ".", "..", "Ｕtc"],
)  # fmt: skip
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(BadInput):
        zone_info(name)


# --- Months and periods ---------------------------------------------------------------------------------------------


@given(st.dates(date(1, 1, 1), date(9000, 1, 1)), st.integers(0, 900))
def test_months_are_added_as_dateutil_adds_them(anchor: date, months: int) -> None:
    assert add_months(anchor, months) == anchor + relativedelta(months=months)


@given(st.dates(date(100, 1, 1), date(9000, 1, 1)), st.integers(-900, 0))
def test_months_are_taken_off_as_dateutil_takes_them(anchor: date, months: int) -> None:
    assert add_months(anchor, months) == anchor + relativedelta(months=months)


@given(days, intervals, st.integers(-20, 20))
def test_a_boundary_is_counted_from_the_anchor_and_never_drifts(anchor: int, interval: Interval, n: int) -> None:
    step = relativedelta(months=interval.months * n, days=interval.days * n)
    assert to_date(boundary(anchor, interval, n)) == to_date(anchor) + step


@given(days, intervals, days)
def test_a_day_lies_in_exactly_the_period_that_is_named(anchor: int, interval: Interval, day: int) -> None:
    n = period_index(anchor, interval, day)
    start, end = period_of(anchor, interval, day)
    assert (start, end) == (boundary(anchor, interval, n), boundary(anchor, interval, n + 1))
    assert start <= day < end


@given(days, intervals, st.integers(-12, 12))
def test_periods_follow_one_another_without_gap_or_overlap(anchor: int, interval: Interval, n: int) -> None:
    start, end = boundary(anchor, interval, n), boundary(anchor, interval, n + 1)
    assert start < end
    for day, index in ((start, n), (end - 1, n), (end, n + 1), (start - 1, n - 1)):
        assert period_index(anchor, interval, day) == index


@given(days)
def test_a_calendar_month_holds_its_days(day: int) -> None:
    start, end = month_of(day)
    assert start <= day < end
    assert to_date(start).day == 1
    assert to_date(end) == to_date(start) + relativedelta(months=1)


def test_the_31st_comes_back_after_shorter_months() -> None:
    anchor = to_day(date(2024, 1, 31))
    starts = [to_date(boundary(anchor, Interval("month"), n)).isoformat() for n in range(6)]
    assert starts == ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31", "2024-06-30"]


def test_a_leap_day_comes_back_every_four_years() -> None:
    anchor = to_day(date(2024, 2, 29))
    starts = [to_date(boundary(anchor, Interval("year"), n)).isoformat() for n in range(5)]
    assert starts == ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]


@pytest.mark.parametrize(
    "unit,months,length",
    [("day", 0, 1), ("week", 0, 7), ("month", 1, 0), ("quarter", 3, 0), ("half_year", 6, 0), ("year", 12, 0)],
)
def test_each_interval_is_counted_in_months_or_in_days(unit: str, months: int, length: int) -> None:
    assert (Interval(unit).months, Interval(unit).days) == (months, length)
    assert (Interval(unit, 3).months, Interval(unit, 3).days) == (3 * months, 3 * length)
