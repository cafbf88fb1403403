"""What may happen to a subscription in which state, and how its periods lie."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.errors import Conflict
from nbilling.model.periods import INTERVALS, Interval, to_date, to_day
from nbilling.rules.subscriptions import STATUSES, TRANSITIONS, Cycle, after, first_anchor, trial_end

NEVER = 2**63 - 1


def day(text: str) -> int:
    return to_day(date.fromisoformat(text))


def cycle(start: str, interval: Interval, *, trial: int = 0, anchor: int = 0, end: int = NEVER) -> Cycle:
    paid = day(start) + trial
    return Cycle(day(start), paid, first_anchor(paid, interval, anchor), interval, end)


def periods(found: Cycle, count: int) -> list[str]:
    """The first days of the periods, one after the other."""
    first, days = found.start_day, []
    for _ in range(count):
        days.append(to_date(first).isoformat())
        first = found.period(first)[1]
    return days


# --- States ---------------------------------------------------------------------------------------------------------


def test_every_event_leads_from_known_states_to_known_states() -> None:
    for table in TRANSITIONS.values():
        assert set(table) | set(table.values()) <= set(STATUSES)


def test_nothing_happens_to_what_is_cancelled_and_everything_else_can_be() -> None:
    assert all("canceled" not in table for table in TRANSITIONS.values())
    assert [after(status, "cancel") for status in STATUSES[:-1]] == ["canceled"] * 4


@pytest.mark.parametrize(
    "status,event",
    [("paused", "change_plan"), ("paused", "change_quantity"), ("trialing", "pause"), ("paused", "pause"),
     ("active", "resume"), ("canceled", "cancel"), ("canceled", "keep"), ("trialing", "overdue"),
     ("active", "settled")],
)  # fmt: skip
def test_what_the_table_does_not_list_is_refused_with_what_to_do(status: str, event: str) -> None:
    with pytest.raises(Conflict, match=status) as caught:
        after(status, event)
    assert caught.value.hint


@given(st.lists(st.sampled_from(sorted(TRANSITIONS)), max_size=30))
def test_whatever_happens_a_status_is_one_of_five_and_cancelled_is_the_end(events: list[str]) -> None:
    status = "trialing"
    for event in events:
        try:
            changed = after(status, event)
        except Conflict:
            continue
        assert status != "canceled"
        status = changed
        assert status in STATUSES


# --- Periods --------------------------------------------------------------------------------------------------------


def test_a_period_of_months_keeps_the_wanted_day() -> None:
    found = periods(cycle("2024-01-31", Interval("month")), 5)
    assert found == ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"]


@pytest.mark.parametrize(
    "interval,expected",
    [
        (Interval("day", 10), ["2024-01-31", "2024-02-10", "2024-02-20"]),
        (Interval("week"), ["2024-01-31", "2024-02-07", "2024-02-14"]),
        (Interval("month", 2), ["2024-01-31", "2024-03-31", "2024-05-31"]),
        (Interval("quarter"), ["2024-01-31", "2024-04-30", "2024-07-31"]),
        (Interval("half_year"), ["2024-01-31", "2024-07-31", "2025-01-31"]),
        (Interval("year"), ["2024-01-31", "2025-01-31", "2026-01-31"]),
    ],
)
def test_intervals_by_hand(interval: Interval, expected: list[str]) -> None:
    assert periods(cycle("2024-01-31", interval), 3) == expected


@pytest.mark.parametrize(
    "start,anchor,interval,expected",
    [
        ("2024-01-10", 1, Interval("month"), ["2024-01-10", "2024-02-01", "2024-03-01"]),
        ("2024-01-01", 1, Interval("month"), ["2024-01-01", "2024-02-01", "2024-03-01"]),
        ("2024-02-10", 31, Interval("month"), ["2024-02-10", "2024-02-29", "2024-03-31", "2024-04-30"]),
        ("2024-02-29", 31, Interval("month"), ["2024-02-29", "2024-03-31", "2024-04-30"]),
        ("2024-02-10", 30, Interval("quarter"), ["2024-02-10", "2024-02-29", "2024-05-30", "2024-08-30"]),
        ("2024-12-20", 15, Interval("year"), ["2024-12-20", "2025-01-15", "2026-01-15"]),
    ],
)
def test_a_fixed_day_of_the_month_begins_with_a_shorter_period(
    start: str, anchor: int, interval: Interval, expected: list[str]
) -> None:
    assert periods(cycle(start, interval, anchor=anchor), len(expected)) == expected


def test_the_shorter_period_is_a_share_of_the_whole_one_that_ends_there() -> None:
    found = cycle("2024-01-10", Interval("month"), anchor=15)
    assert found.whole(day("2024-01-10")) == (day("2023-12-15"), day("2024-01-15"))
    assert found.period(day("2024-01-10")) == (day("2024-01-10"), day("2024-01-15"))


def test_a_trial_is_a_period_of_its_own_and_the_paid_ones_begin_where_it_ends() -> None:
    found = cycle("2024-01-20", Interval("month"), trial=11)
    assert periods(found, 3) == ["2024-01-20", "2024-01-31", "2024-02-29"]
    assert found.whole(day("2024-01-25")) == (day("2024-01-20"), day("2024-01-31"))


def test_a_trial_counts_from_the_first_plan_and_never_ends_before_today() -> None:
    assert trial_end(100, 14, 105) == 114
    assert trial_end(100, 3, 105) == 105


@given(
    st.integers(day("2000-01-01"), day("2060-01-01")),
    st.integers(0, 40),
    st.integers(0, 31),
    st.builds(Interval, st.sampled_from(INTERVALS), st.integers(1, 5)),
)
def test_periods_follow_one_another_without_gap_from_the_first_day_on(
    start: int, trial: int, anchor: int, interval: Interval
) -> None:
    paid = start + trial
    found = Cycle(start, paid, first_anchor(paid, interval, anchor), interval, NEVER)
    spans = [found.period(start)]
    for _ in range(8):
        spans.append(found.period(spans[-1][1]))
    assert spans[0][0] == start
    for (first, end), (following, _) in pairwise(spans):
        assert first < end == following
    for first, end in spans:
        whole = found.whole(first)
        assert whole[0] <= first
        assert end <= whole[1]
        assert found.period(end - 1) == (first, end)
    if anchor and interval.months:
        for first, _ in spans[1:]:
            if first > paid:
                wanted = to_date(first)
                assert wanted.day <= anchor
                assert wanted.day == anchor or to_date(first + 1).month != wanted.month
