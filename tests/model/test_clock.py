"""Times as text and back, and what is no time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.clock import LATEST, SECOND, FixedClock, SystemClock, format_time, parse_time
from nbilling.model.errors import BadInput

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
instants = st.integers(0, LATEST)


@given(instants)
def test_a_time_written_out_reads_back_as_itself(at: int) -> None:
    assert parse_time(format_time(at)) == at


@given(instants)
def test_a_time_is_written_as_the_standard_library_reads_it(at: int) -> None:
    assert datetime.fromisoformat(format_time(at)) == EPOCH + timedelta(microseconds=at)


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(8999, 12, 30)),
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
    st.sampled_from(["T", "t", " "]),
    st.sampled_from(["", ":"]),
)
def test_an_offset_is_taken_off(local: datetime, minutes: int, between: str, colon: str) -> None:
    moment = local.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))
    sign, rest = ("-", -minutes) if minutes < 0 else ("+", minutes)
    text = f"{local:%Y-%m-%d}{between}{local:%H:%M:%S}{sign}{rest // 60:02}{colon}{rest % 60:02}"
    assert parse_time(text) == (moment - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    "text,expected",
    [
        ("1970-01-01", 0),
        ("1970-01-02", 86_400 * SECOND),
        ("1970-01-01T00:00", 0),
        ("1970-01-01T00:00:01", SECOND),
        ("1970-01-01 00:00:01z", SECOND),
        ("1970-01-01 00:00:01 +00:00", SECOND),
        ("1970-01-01T00:00:00.5Z", SECOND // 2),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T00:00:00.123456789Z", 123_456),
        ("2024-02-29T12:00:00Z", 1_709_208_000 * SECOND),
        ("1969-12-31T19:00:00-05:00", 0),
    ],
)
def test_the_usual_spellings_are_read(text: str, expected: int) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "now", "yesterday", "1", "1767225600", "2026", "2026-01", "26-01-01", "2026-1-1", "2026-01-01T",
        "2026-01-01T10", "2026-01-01T10:00:00Zz", "2026-01-01T10:00:00.Z", "2026-01-01T10:00:00,5Z", "20260101",
        "2026-01-01T10:00:00+1", "2026-01-01T10:00:00+1:00", " 2026-01-01", "2026-01-01 ", "2026-01-01\n",
        "2026-01-01T10:00:00\nZ", "2026-01-01T10:00:00\u00a0Z", "２０２６-01-01", "2026-01-01T10:00:00.1234567890Z",
        "2026-02-29", "2026-00-01", "2026-13-01", "2026-01-32", "2026-01-01T24:00:00Z", "2026-01-01T10:60:00Z",
        "2026-01-01T10:00:60Z", "0000-01-01", "2026-01-01T10:00:00+24:00", "2026-01-01T10:00:00+10:60",
        "1969-12-31", "1969-12-31T23:59:59.999999Z", "9000-01-01", "9999-12-31T23:59:59Z", "1970-01-01T00:00:00+00:01",
        "2026-01-01\0", "\ud800", pytest.param("x" * 100_000, id="100 kB"), None, 0, 5, True, b"2026-01-01",
        datetime(2026, 1, 1), pytest.param(10**5000, id="5,001 digits"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_in_one_line(text: object) -> None:
    with pytest.raises(BadInput) as caught:
        parse_time(text)  # type: ignore[arg-type]
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 200


def test_the_value_is_named_in_the_message() -> None:
    with pytest.raises(BadInput, match="since 'soon' is not a time"):
        parse_time("soon", "since")


def test_times_before_1970_can_be_shown_for_periods_that_began_there() -> None:
    assert format_time(-86_400 * SECOND) == "1969-12-31T00:00:00Z"
    assert format_time(-1) == "1969-12-31T23:59:59.999999Z"


def test_microseconds_are_shown_only_where_there_are_any() -> None:
    assert format_time(0) == "1970-01-01T00:00:00Z"
    assert format_time(10) == "1970-01-01T00:00:00.000010Z"


def test_the_latest_time_is_the_end_of_a_year_that_leaves_room_for_periods() -> None:
    assert format_time(LATEST) == "8999-12-31T23:59:59.999999Z"
    assert parse_time("8999-12-31T23:59:59.999999Z") == LATEST


def test_the_machines_clock_gives_microseconds_of_now() -> None:
    before = time.time_ns() // 1000
    now = SystemClock().now()
    assert before <= now <= time.time_ns() // 1000


def test_a_fixed_clock_stands_still() -> None:
    clock = FixedClock(5)
    assert (clock.now(), clock.now()) == (5, 5)
