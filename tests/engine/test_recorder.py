"""Where an event counts: its own hour, day and period, the levels after it, and the windows since a reset."""

from __future__ import annotations

from typing import Any

import pytest

from nbilling.model.clock import HOUR, parse_time
from nbilling.model.errors import BadInput

# --- At its own time ------------------------------------------------------------------------------------------------


def test_a_late_event_counts_in_its_own_day_month_and_period(world: Any) -> None:
    world.usage.track("acme", "api_requests", 1)
    world.usage.track("acme", "api_requests", 10, at="2026-01-09T23:59:59.999999Z")
    world.usage.track("acme", "api_requests", 100, at="2025-12-31T23:59:59.999999Z")
    world.usage.track("acme", "api_requests", 1000, at="1970-01-01T00:00:00Z")
    assert world.current("acme") == 11
    history = {day["date"]: day["api_requests"] for day in world.usage.get_history("acme", 30)}
    assert {day: amount for day, amount in history.items() if amount} == {
        "2025-12-31": 100,
        "2026-01-09": 10,
        "2026-01-10": 1,
    }
    world.check()


@pytest.mark.parametrize(
    "zone,at,day,in_period",
    [
        ("UTC", "2026-01-01T00:00:00Z", "2026-01-01", True),
        ("UTC", "2025-12-31T23:59:59.999999Z", "2025-12-31", False),
        ("Asia/Kathmandu", "2025-12-31T18:15:00Z", "2026-01-01", True),
        ("Asia/Kathmandu", "2025-12-31T18:14:59.999999Z", "2025-12-31", False),
        ("America/New_York", "2026-01-01T05:00:00Z", "2026-01-01", True),
        ("America/New_York", "2026-01-01T04:59:59Z", "2025-12-31", False),
        ("Pacific/Kiritimati", "2025-12-31T10:00:00Z", "2026-01-01", True),
        ("Pacific/Kiritimati", "2025-12-31T09:59:59Z", "2025-12-31", False),
    ],
)
def test_days_and_periods_begin_at_the_customers_midnight(
    world: Any, zone: str, at: str, day: str, in_period: bool
) -> None:
    world.customers.create("acme", zone=zone)
    world.usage.track("acme", "api_requests", 7, at=at)
    assert world.current("acme") == (7 if in_period else 0)
    assert [entry["date"] for entry in world.usage.get_history("acme", 60) if entry["api_requests"]] == [day]


def test_the_first_instant_of_1970_lies_in_1969_west_of_greenwich(world: Any) -> None:
    world.customers.create("acme", zone="America/New_York")
    world.usage.track("acme", "api_requests", 7, at=0)
    world.check()
    assert world.usage.aggregate("acme", "month", since="1970-01-01")[0]["period_start"] == "1969-12-01T05:00:00Z"


def test_an_event_of_the_next_period_counts_in_it_before_it_has_begun(world: Any) -> None:
    world.to("2026-01-31T23:30:00Z")
    world.usage.track("acme", "api_requests", 7, at="2026-02-01T00:15:00Z")
    assert world.current("acme") == 0
    world.to("2026-02-01T00:30:00Z")
    assert world.current("acme") == 7


def test_time_passes_between_calls_without_anything_being_run(world: Any) -> None:
    world.usage.track("acme", "api_requests", 5)
    world.to("2026-07-04T00:00:00Z")
    assert world.current("acme") == 0
    assert world.period("acme") == ("2026-07-01", "2026-08-01")
    world.to("2026-01-10T12:00:00Z")
    assert world.current("acme") == 5


# --- Levels in the order of their own time --------------------------------------------------------------------------


def test_a_late_level_is_put_into_its_place(world: Any) -> None:
    world.usage.track_storage("acme", 100, at="2026-01-05")
    world.usage.track_storage("acme", 300, at="2026-01-09")
    world.usage.track_storage("acme", 200, at="2026-01-07")
    levels = {day["date"][-2:]: day["storage_bytes"] for day in world.usage.get_history("acme", 7)}
    assert levels == {"04": 0, "05": 100, "06": 100, "07": 200, "08": 200, "09": 300, "10": 300}


def test_what_is_added_late_is_carried_on_until_the_level_is_set(world: Any) -> None:
    world.usage.track("acme", "storage", 100, at="2026-01-04")
    world.usage.track("acme", "storage", 10, at="2026-01-06")
    world.usage.track_storage("acme", 500, at="2026-01-08")
    world.usage.track("acme", "storage", 1, at="2026-01-09")
    world.usage.track("acme", "storage", 1000, at="2026-01-05")
    levels = [day["storage_bytes"] for day in world.usage.get_history("acme", 7)]
    assert levels == [100, 1100, 1110, 1110, 500, 501, 501]


def test_a_late_sample_that_would_take_a_later_level_below_nothing_is_refused(world: Any) -> None:
    world.usage.track("acme", "storage", 100, at="2026-01-04")
    world.usage.track("acme", "storage", -80, at="2026-01-06")
    with world.refuses(BadInput, "below zero"):
        world.usage.track("acme", "storage", -30, at="2026-01-05")
    with world.refuses(BadInput, "below zero"):
        world.usage.track_storage("acme", 70, at="2026-01-05")


def test_samples_of_one_instant_count_in_the_order_of_their_arrival(world: Any) -> None:
    world.usage.track_storage("acme", 5)
    world.usage.track("acme", "storage", 3)
    world.usage.track_storage("acme", 7)
    world.usage.track("acme", "storage", 1)
    assert world.current("acme", "storage_bytes") == 8


def test_a_late_level_leaves_a_mark_on_every_period_it_reaches_into(world: Any) -> None:
    for time in ("2026-01-10T12:00:00Z", "2026-02-10T12:00:00Z", "2026-03-10T12:00:00Z", "2026-04-10T12:00:00Z"):
        world.to(time)
        world.usage.track("acme", "api_requests", 1)
    world.usage.track_storage("acme", 1, at="2026-04-02")
    late = "SELECT date(start_at / 1000000, 'unixepoch') FROM periods WHERE late = 1 ORDER BY 1"
    assert world.rows(late) == []
    world.usage.track_storage("acme", 5, at="2026-03-05")
    assert world.rows(late) == [("2026-03-01",)]
    world.usage.track_storage("acme", 5, at="2026-01-05")
    assert world.rows(late) == [("2026-01-01",), ("2026-02-01",), ("2026-03-01",)]


# --- Resets ---------------------------------------------------------------------------------------------------------


def test_a_monthly_reset_starts_counting_anew_and_deletes_nothing(world: Any) -> None:
    world.usage.track("acme", "api_requests", 5)
    world.usage.track_storage("acme", 100)
    before = world.contents()
    world.usage.reset("acme", "monthly")
    assert world.current("acme") == 0
    assert world.current("acme", "storage_bytes") == 100
    assert world.quota.soft_limit_check("acme", "api_requests")["usage"] == 0
    assert world.usage.get_history("acme", 1)[0]["api_requests"] == 5
    after = world.contents()
    assert {name for name in after if after[name] != before[name]} == {"windows", "audit"}
    world.usage.track("acme", "api_requests", 2)
    assert world.current("acme") == 2
    assert world.usage.get_history("acme", 1)[0]["api_requests"] == 7


def test_a_daily_reset_leaves_the_month(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", 100, "per_day")
    world.usage.track("acme", "api_requests", 5)
    world.usage.reset("acme", "daily")
    assert world.current("acme") == 5
    assert {row["period"]: row["usage"] for row in world.quota.limits("acme") if row["resource"] == "api_requests"} == {
        "per_day": 0,
        "per_month": 5,
    }


def test_a_monthly_reset_includes_the_day(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", 100, "per_day")
    world.usage.track("acme", "api_requests", 5)
    world.usage.reset("acme", "monthly")
    assert {row["usage"] for row in world.quota.limits("acme") if row["resource"] == "api_requests"} == {0}


def test_events_of_the_same_instant_count_by_whether_they_came_before_the_reset_or_after(world: Any) -> None:
    for amount in (1, 10, 100):
        world.usage.track("acme", "api_requests", amount)
        world.usage.reset("acme", "monthly")
        assert world.current("acme") == 0
    world.usage.track("acme", "api_requests", 1000)
    assert world.current("acme") == 1000


def test_a_late_event_from_before_the_reset_does_not_count_after_it(world: Any) -> None:
    world.usage.reset("acme", "monthly")
    world.usage.track("acme", "api_requests", 5, at="2026-01-10T11:59:59.999999Z")
    assert world.current("acme") == 0
    world.usage.track("acme", "api_requests", 7, at="2026-01-10T12:00:00.000001Z")
    assert world.current("acme") == 7


def test_a_late_event_between_two_resets_counts_after_neither(world: Any) -> None:
    world.to("2026-01-09T12:00:00Z")
    world.usage.reset("acme", "monthly")
    world.usage.track("acme", "api_requests", 1)
    world.to("2026-01-10T12:00:00Z")
    world.usage.reset("acme", "monthly")
    world.usage.track("acme", "api_requests", 5, at="2026-01-10T00:00:00Z")
    assert world.current("acme") == 0
    assert [day["api_requests"] for day in world.usage.get_history("acme", 2)] == [1, 5]


def test_a_reset_ends_with_its_period_and_its_day(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", 100, "per_day")
    world.usage.reset("acme", "monthly")
    world.usage.track("acme", "api_requests", 5)
    world.to("2026-01-11T12:00:00Z")
    world.usage.track("acme", "api_requests", 7)
    assert {row["period"]: row["usage"] for row in world.quota.limits("acme") if row["resource"] == "api_requests"} == {
        "per_day": 7,
        "per_month": 12,
    }
    world.to("2026-02-01T00:00:00Z")
    world.usage.track("acme", "api_requests", 9)
    assert world.current("acme") == 9


def test_a_reset_of_quotas_alone_leaves_what_is_current(world: Any) -> None:
    world.usage.track("acme", "api_requests", 5)
    world.quota.reset("acme", "monthly")
    assert world.current("acme") == 5
    assert world.quota.soft_limit_check("acme", "api_requests")["usage"] == 0


@pytest.mark.parametrize("period", ["", "Monthly", "weekly", "yearly", "hourly", None, 5, "x" * 100_000])
def test_only_months_and_days_are_reset(world: Any, period: Any) -> None:
    for room in (world.usage, world.quota):
        with world.refuses(BadInput, "is not known; use monthly"):
            room.reset("acme", period)


def test_a_reset_is_noted_with_who_did_it(world: Any) -> None:
    world.usage.reset("acme", "daily")
    world.quota.reset("acme", "monthly")
    assert world.rows("SELECT actor, action, subject, detail FROM audit") == [
        ("api", "usage.reset", "acme", '{"period": "daily"}'),
        ("api", "quota.reset", "acme", '{"period": "monthly"}'),
    ]


def test_the_hour_and_the_day_of_an_event_are_those_of_its_own_time(world: Any) -> None:
    at = parse_time("2026-01-09T23:15:00Z")
    world.usage.track("acme", "api_requests", 3, at=at)
    assert world.rows("SELECT bucket, amount FROM rollups WHERE grain = 1") == [(at // HOUR, 3)]
    assert world.rows("SELECT bucket, amount FROM rollups WHERE grain = 2") == [(at // HOUR // 24, 3)]
