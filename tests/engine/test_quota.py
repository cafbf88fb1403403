"""Limits set, checked and enforced: what fits is recorded in the same commit, what does not leaves no trace."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest

from nbilling.model.errors import BadInput, Conflict

GIB = 2**30
NO_AMOUNT = ("", "-1", "-0", "+1", "1.5", "1e3", "1_000", "１２", "NaN", "Infinity", str(2**63), "9" * 5000, " 1",
    None, True,
             1.5, float("nan"), -1, 2**63, 10**5000)  # fmt: skip
NO_TEXT = ("", " ", "a\0b", "a\nb", "a\u2028b", "\ud800", "a" * 256, None, 5)


def used(world: Any, resource: str = "api_requests", customer: str = "acme") -> dict[str, Any]:
    """What counts against each limit of a resource, by period."""
    return {row["period"]: row["usage"] for row in world.quota.limits(customer) if row["resource"] == resource}


# --- Limits ---------------------------------------------------------------------------------------------------------


def test_a_new_customer_has_the_limits_of_the_free_plan_and_the_defaults(world: Any) -> None:
    expected = [
        ("api_requests", "per_month", 1000, "plan"),
        ("storage", "absolute", GIB, "plan"),
        ("bandwidth", "per_month", 10 * GIB, "default"),
    ]

    def found() -> list[tuple[Any, ...]]:
        columns = ("resource", "period", "limit", "source")
        return [tuple(row[name] for name in columns) for row in world.quota.limits("acme") if row["limit"]]

    with world.unchanged():
        assert found() == expected
    world.customers.create("acme")
    with world.unchanged():
        assert found() == expected
        assert {(row["usage"], row["percentage"]) for row in world.quota.limits("acme")} == {(0, 0)}


def test_an_own_limit_replaces_the_one_of_the_same_period_and_joins_those_of_others(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", "10000", "per_month")
    world.quota.set_limit("acme", "api_requests", 20, "per_day")
    world.quota.set_limit("acme", "api_requests", 30, "per_day")
    found = {row["period"]: (row["limit"], row["source"]) for row in world.quota.limits("acme")
             if row["resource"] == "api_requests"}  # fmt: skip
    assert found == {"per_month": (10_000, "customer"), "per_day": (30, "customer")}


def test_all_limits_of_a_resource_must_hold(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", 5, "per_day")
    world.usage.track("acme", "api_requests", 5, at="2026-01-09T00:00:00Z")
    assert world.quota.check("acme", "api_requests", 5).allowed
    refused = world.quota.check("acme", "api_requests", 6)
    assert (refused.allowed, refused.period, refused.limit) == (False, "per_day", 5)
    assert refused.resets_at == "2026-01-11T00:00:00Z"
    world.quota.set_limit("acme", "api_requests", 7, "per_month")
    assert world.quota.check("acme", "api_requests", 3).period == "per_month"


def test_nothing_blocks_all_and_unlimited_lifts_the_limit(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", 0, "per_month")
    assert world.quota.check("acme", "api_requests", 0).allowed
    assert not world.quota.enforce("acme", "api_requests", 1).allowed
    for limit in ("unlimited", None):
        world.quota.set_limit("acme", "api_requests", limit, "per_month")
        decision = world.quota.enforce("acme", "api_requests", 2**40)
        assert (decision.allowed, decision.limit, decision.remaining) == (True, None, None)
    assert world.quota.soft_limit_check("acme", "api_requests")["limit"] is None


def test_limits_are_in_the_unit_of_the_meter(world: Any) -> None:
    world.quota.set_limit("acme", "compute", "1.5", "per_month")
    world.usage.track_compute("acme", "x", "1.499999")
    assert world.quota.check("acme", "compute", "0.000001").allowed
    assert not world.quota.check("acme", "compute", "0.000002").allowed
    assert world.quota.check("acme", "compute", 0).remaining == Decimal("0.000001")


@pytest.mark.parametrize("period", ["per_month", "per_day", "per_hour", "per_minute", "absolute"])
def test_a_level_is_compared_whatever_the_period(world: Any, period: str) -> None:
    world.quota.set_limit("acme", "storage", 100, period)
    world.usage.track_storage("acme", 60, at="2025-06-01")
    assert used(world, "storage") == {period: 60}
    assert world.quota.check("acme", "storage", 40).allowed
    assert not world.quota.check("acme", "storage", 41).allowed
    world.quota.reset("acme", "monthly")
    assert used(world, "storage") == {period: 60}


def test_bandwidth_counts_both_directions(world: Any) -> None:
    world.quota.set_limit("acme", "bandwidth", 100, "per_month")
    world.usage.track_bandwidth("acme", 60, "egress")
    world.usage.track_bandwidth("acme", 30, "ingress")
    assert world.quota.check("acme", "bandwidth", 10).allowed
    assert not world.quota.check("acme", "bandwidth", 11).allowed


@pytest.mark.parametrize("limit", [value for value in NO_AMOUNT if value is not None],
    ids=lambda value: f"{value!r:.12}"
                         if not isinstance(value, int) else "number")  # fmt: skip
def test_a_limit_is_a_whole_number_or_unlimited(world: Any, limit: Any) -> None:
    with world.refuses(BadInput):
        world.quota.set_limit("acme", "api_requests", limit, "per_month")


@pytest.mark.parametrize("limit", ["Unlimited", "none", "null", "∞"])
def test_there_is_one_word_for_unlimited(world: Any, limit: str) -> None:
    with world.refuses(BadInput):
        world.quota.set_limit("acme", "api_requests", limit, "per_month")


@pytest.mark.parametrize("period", ["", "month", "monthly", "per_week", "per_year", "PER_DAY", None, 5, "x" * 100_000])
def test_a_limit_has_a_period_that_there_is(world: Any, period: Any) -> None:
    with world.refuses(BadInput, "per_minute, per_hour, per_day, per_month, per_period or absolute"):
        world.quota.set_limit("acme", "api_requests", 5, period)


def test_a_change_of_limits_is_noted(world: Any) -> None:
    world.quota.set_limit("acme", "compute", "0.5", "per_month")
    [(actor, action, subject, detail)] = world.rows("SELECT actor, action, subject, detail FROM audit")
    assert (actor, action, subject) == ("api", "quota.set_limit", "acme")
    assert detail == '{"resource": "compute", "limit": 500000, "period": "per_month"}'


# --- What counts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "zone,minute_ago,hour_ago,day_ago",
    [
        ("UTC", "2026-01-10T11:59:59.999999Z", "2026-01-10T11:59:59.999999Z", "2026-01-09T23:59:59.999999Z"),
        ("Asia/Kathmandu", "2026-01-10T11:59:59.999999Z", "2026-01-10T11:14:59.999999Z", "2026-01-09T18:14:59.999999Z"),
        (
            "America/New_York",
            "2026-01-10T11:59:59.999999Z",
            "2026-01-10T11:59:59.999999Z",
            "2026-01-10T04:59:59.999999Z",
        ),
    ],
)
def test_minutes_hours_and_days_are_those_of_the_customers_clock(
    world: Any, zone: str, minute_ago: str, hour_ago: str, day_ago: str
) -> None:
    world.customers.create("acme", zone=zone)
    for period in ("per_minute", "per_hour", "per_day", "per_month", "absolute"):
        world.quota.set_limit("acme", "api_requests", 100, period)
    world.usage.track("acme", "api_requests", 1)
    world.usage.track("acme", "api_requests", 10, at=minute_ago)
    assert used(world)["per_minute"] == 1
    before = used(world)["per_hour"]
    world.usage.track("acme", "api_requests", 10, at=hour_ago)
    assert used(world)["per_hour"] == before
    before = used(world)["per_day"]
    world.usage.track("acme", "api_requests", 10, at=day_ago)
    assert used(world)["per_day"] == before
    assert used(world)["per_month"] == used(world)["absolute"] == 31


def test_each_limit_starts_anew_when_its_time_is_up(world: Any) -> None:
    for period in ("per_minute", "per_hour", "per_day", "per_month", "absolute"):
        world.quota.set_limit("acme", "api_requests", 100, period)
    for time in ("2026-01-10T12:00:30Z", "2026-01-10T12:01:00Z", "2026-01-10T13:00:00Z", "2026-01-11T00:00:00Z",
                 "2026-02-01T00:00:00Z"):  # fmt: skip
        world.to(time)
        world.quota.enforce("acme", "api_requests", 1)
        assert used(world)["per_minute"] == 1
    assert used(world) == {"per_minute": 1, "per_hour": 1, "per_day": 1, "per_month": 1, "absolute": 5}
    world.to("2026-01-10T12:01:59Z")
    assert used(world) == {"per_minute": 1, "per_hour": 2, "per_day": 3, "per_month": 4, "absolute": 5}


def test_the_month_is_the_billing_month_of_the_subscription(world: Any) -> None:
    world.usage.track("acme", "api_requests", 5, at="2026-01-09T00:00:00Z")
    assert used(world) == {"per_month": 5}
    world.plans.upgrade("acme", "pro")
    assert used(world) == {"per_month": 0}
    world.usage.track("acme", "api_requests", 7)
    world.to("2026-02-09T23:59:59Z")
    assert used(world) == {"per_month": 7}
    assert world.quota.check("acme", "api_requests", 1).resets_at == "2026-02-10T00:00:00Z"
    world.to("2026-02-10T00:00:00Z")
    assert used(world) == {"per_month": 0}


def test_a_reset_of_the_month_includes_the_day_and_leaves_what_is_absolute(world: Any) -> None:
    for period in ("per_day", "per_month", "absolute"):
        world.quota.set_limit("acme", "api_requests", 100, period)
    world.usage.track("acme", "api_requests", 5)
    world.quota.reset("acme", "daily")
    assert used(world) == {"per_day": 0, "per_month": 5, "absolute": 5}
    world.usage.track("acme", "api_requests", 1)
    world.quota.reset("acme", "monthly")
    assert used(world) == {"per_day": 0, "per_month": 0, "absolute": 6}


def test_a_counting_meter_is_limited_in_events(world: Any) -> None:
    world.usage.create_meter("calls", aggregation="count")
    for period in ("per_minute", "per_hour", "per_month"):
        world.quota.set_limit("acme", "calls", 3, period)
    for _ in range(3):
        assert world.quota.enforce("acme", "calls", 10).allowed
    assert used(world, "calls") == {"per_minute": 3, "per_hour": 3, "per_month": 3}
    assert not world.quota.enforce("acme", "calls", 10).allowed


# --- Check and enforce ----------------------------------------------------------------------------------------------


def test_a_check_records_nothing(world: Any) -> None:
    world.usage.track("acme", "api_requests", 999)
    with world.unchanged():
        assert world.quota.check("acme", "api_requests").allowed
        assert world.quota.hard_limit_check("acme", "api_requests", "1").allowed
        assert not world.quota.check("acme", "api_requests", 2).allowed
        assert not world.quota.hard_limit_check("acme", "api_requests", 999_999).allowed
        assert world.quota.check("nobody", "api_requests", 1000).allowed
        assert not world.quota.check("nobody", "api_requests", 1001).allowed


def test_what_fits_is_recorded_up_to_exactly_the_limit_and_no_further(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", 10, "per_month")
    answers = [world.quota.enforce("acme", "api_requests", 3) for _ in range(4)]
    assert [answer.allowed for answer in answers] == [True, True, True, False]
    assert [(answer.used, answer.remaining) for answer in answers] == [(3, 7), (6, 4), (9, 1), (9, 1)]
    assert world.current("acme") == 9
    assert world.quota.enforce("acme", "api_requests", "1").allowed
    assert world.current("acme") == 10


def test_a_refusal_leaves_nothing_behind_not_even_the_customer(world: Any) -> None:
    with world.unchanged():
        for event_id in (None, "x", str(uuid.uuid4())):
            assert not world.quota.enforce("nobody", "api_requests", 1001, dimension="new", id=event_id).allowed


def test_a_refusal_says_what_stands_in_the_way_and_until_when(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", 10, "per_day")
    world.usage.track("acme", "api_requests", 8)
    refused = world.quota.enforce("acme", "api_requests", 3)
    assert refused._asdict() == {
        "allowed": False,
        "resource": "api_requests",
        "amount": 3,
        "period": "per_day",
        "limit": 10,
        "used": 8,
        "remaining": 2,
        "resets_at": "2026-01-11T00:00:00Z",
        "warning": "80 % of 10 requests per_day are used",
        "reason": "3 more would exceed 10 requests per_day: 8 are used until 2026-01-11T00:00:00Z",
    }


def test_on_a_level_the_amount_is_added(world: Any) -> None:
    world.usage.track_storage("acme", GIB - 10)
    assert world.quota.enforce("acme", "storage", 10).allowed
    assert world.current("acme", "storage_bytes") == GIB
    assert not world.quota.enforce("acme", "storage", 1).allowed
    world.usage.track("acme", "storage", -5)
    assert world.quota.enforce("acme", "storage", 5).allowed
    assert world.current("acme", "storage_bytes") == GIB


def test_what_is_enforced_may_say_its_dimension(world: Any) -> None:
    world.quota.enforce("acme", "bandwidth", 5, dimension="egress")
    assert world.rows("SELECT amount, dimension FROM usage_events") == [("5", "egress")]


def test_the_same_call_again_is_allowed_and_not_counted_again(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", 3, "per_month")
    first = world.quota.enforce("acme", "api_requests", 3, id="r-1")
    with world.unchanged():
        assert world.quota.enforce("acme", "api_requests", 3, id="r-1") == first
    world.to("2026-03-01T00:00:00Z")
    world.quota.set_limit("acme", "api_requests", 0, "per_month")
    with world.unchanged():
        assert world.quota.enforce("acme", "api_requests", 3, id="r-1").allowed


def test_a_call_that_was_refused_may_be_made_again_under_its_id(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", 2, "per_month")
    assert not world.quota.enforce("acme", "api_requests", 3, id="r-1").allowed
    world.quota.set_limit("acme", "api_requests", 3, "per_month")
    assert world.quota.enforce("acme", "api_requests", 3, id="r-1").allowed


@pytest.mark.parametrize(
    "change",
    [{"amount": 4}, {"resource": "api_requests", "dimension": ""}, {"dimension": "ingress"}, {"dimension": ""}],
)
def test_other_content_under_the_same_id_is_a_conflict(world: Any, change: dict[str, Any]) -> None:
    call = {"resource": "bandwidth", "amount": 3, "dimension": "egress", "id": "r-1"}
    world.quota.enforce("acme", **call)
    with world.refuses(Conflict, "already recorded with other content"):
        world.quota.enforce("acme", **(call | change))


def test_what_was_tracked_under_an_id_is_known_to_enforce(world: Any) -> None:
    world.usage.track("acme", "api_requests", 3, id="r-1")
    with world.unchanged():
        assert world.quota.enforce("acme", "api_requests", 3, id="r-1").allowed
    world.usage.track_storage("acme", 3, id="r-2")
    with world.refuses(Conflict):
        world.quota.enforce("acme", "storage", 3, id="r-2")


@pytest.mark.parametrize("amount", NO_AMOUNT, ids=lambda value: f"{value!r:.12}" if not isinstance(value, int) else "n")
def test_what_is_no_amount_is_an_error_never_an_approval(world: Any, amount: Any) -> None:
    world.quota.set_limit("acme", "api_requests", "unlimited", "per_month")
    for call in (world.quota.check, world.quota.hard_limit_check, world.quota.enforce):
        with world.refuses(BadInput):
            call("acme", "api_requests", amount)


@pytest.mark.parametrize("name", ["", "nosuch", "API_REQUESTS", "api requests", None, 5, "x" * 100_000])
def test_a_resource_that_does_not_exist_is_an_error_never_an_approval(world: Any, name: Any) -> None:
    calls = (
        lambda: world.quota.set_limit("acme", name, 5, "per_month"),
        lambda: world.quota.check("acme", name, 1),
        lambda: world.quota.hard_limit_check("acme", name, 1),
        lambda: world.quota.enforce("acme", name, 1),
        lambda: world.quota.soft_limit_check("acme", name),
        lambda: world.quota.calculate_overage("acme", name),
        lambda: world.quota.get_usage_percentage("acme", name),
    )
    for call in calls:
        with world.refuses(BadInput):
            call()


@pytest.mark.parametrize("customer", NO_TEXT, ids=lambda value: f"{value!r:.12}")
def test_a_customer_that_cannot_be_is_an_error_never_an_approval(world: Any, customer: Any) -> None:
    calls = (
        lambda: world.quota.set_limit(customer, "api_requests", 5, "per_month"),
        lambda: world.quota.check(customer, "api_requests", 1),
        lambda: world.quota.enforce(customer, "api_requests", 1),
        lambda: world.quota.enforce(customer, "api_requests", 1, id="r-1"),
        lambda: world.quota.soft_limit_check(customer, "api_requests"),
        lambda: world.quota.calculate_overage(customer, "api_requests"),
        lambda: world.quota.get_usage_percentage(customer, "api_requests"),
        lambda: world.quota.limits(customer),
        lambda: world.quota.reset(customer, "daily"),
    )
    for call in calls:
        with world.refuses(BadInput):
            call()


@pytest.mark.parametrize(
    "how", [{"dimension": "a\nb"}, {"dimension": "x" * 101}, {"id": ""}, {"id": "a\0b"}, {"id": 5}]
)
def test_what_goes_with_an_amount_is_text(world: Any, how: dict[str, Any]) -> None:
    with world.refuses(BadInput):
        world.quota.enforce("acme", "api_requests", 1, **how)


@pytest.mark.parametrize(
    "how", [{"aggregation": "max"}, {"aggregation": "last"}, {"aggregation": "unique"}, {"kind": "counter"}]
)
def test_what_does_not_add_up_cannot_be_reserved(world: Any, how: dict[str, Any]) -> None:
    world.usage.create_meter("peak", **how)
    with world.refuses(BadInput):
        world.quota.enforce("acme", "peak", 1)


def test_a_sum_beyond_64_bits_is_an_error_never_an_approval(world: Any) -> None:
    world.quota.set_limit("acme", "bandwidth", "unlimited", "per_month")
    world.quota.enforce("acme", "bandwidth", 2**63 - 1)
    with world.refuses(BadInput, r"larger than 2\^63-1"):
        world.quota.enforce("acme", "bandwidth", 1)


# --- Reports --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limit,usage,percentage,warning",
    [(1000, 799, 79, False), (1000, 800, 80, True), (1000, 2500, 250, True), ("unlimited", 10**9, 0, False),
     (0, 0, 100, True), (3, 2, 66, False)],
)  # fmt: skip
def test_from_80_percent_on_it_is_warned(world: Any, limit: Any, usage: int, percentage: int, warning: bool) -> None:
    world.quota.set_limit("acme", "api_requests", limit, "per_month")
    world.usage.track("acme", "api_requests", usage)
    with world.unchanged():
        assert world.quota.soft_limit_check("acme", "api_requests") == {
            "customer_id": "acme",
            "resource": "api_requests",
            "limit": None if limit == "unlimited" else limit,
            "usage": usage,
            "percentage": percentage,
            "threshold": 80,
            "warning": warning,
        }
        assert world.quota.get_usage_percentage("acme", "api_requests") == percentage


def test_the_threshold_can_be_set(new_world: Any) -> None:
    world = new_world(QUOTA_WARNING_THRESHOLD="50")
    world.usage.track("acme", "api_requests", 500)
    answer = world.quota.soft_limit_check("acme", "api_requests")
    assert (answer["threshold"], answer["warning"]) == (50, True)


def test_reports_show_the_limit_that_is_fullest(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", 10, "per_day")
    world.usage.track("acme", "api_requests", 4)
    assert world.quota.soft_limit_check("acme", "api_requests")["limit"] == 10
    world.usage.track("acme", "api_requests", 600, at="2026-01-02")
    assert world.quota.soft_limit_check("acme", "api_requests")["limit"] == 1000


def test_overage_costs_what_the_plan_says(world: Any) -> None:
    world.usage.track("acme", "api_requests", 1500)
    assert world.quota.calculate_overage("acme", "api_requests") == {
        "customer_id": "acme", "resource": "api_requests", "limit": 1000, "usage": 1500, "overage": 500,
        "unit_price": "0.00", "cost": "0.00", "cost_minor": 0, "currency": "USD",
    }  # fmt: skip
    world.plans.upgrade("acme", "pro")
    world.usage.track("acme", "api_requests", 23_500)  # with the 1,500: the day of the change is the new plan's
    assert world.quota.calculate_overage("acme", "api_requests") == {
        "customer_id": "acme", "resource": "api_requests", "limit": 10_000, "usage": 25_000, "overage": 15_000,
        "unit_price": "0.0001", "cost": "1.50", "cost_minor": 150, "currency": "USD",
    }  # fmt: skip


def test_an_unknown_customer_is_answered_as_a_new_one(world: Any) -> None:
    with world.unchanged():
        assert world.quota.get_usage_percentage("nobody", "storage") == 0
        assert world.quota.soft_limit_check("nobody", "api_requests")["limit"] == 1000
        assert world.quota.calculate_overage("nobody", "bandwidth")["limit"] == 10 * GIB
