"""Plans, and what a change of plan does to the periods, the limits and the usage of a customer."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from nbilling.model.errors import BadInput, Conflict, NotFound

GIB = 2**30
NO_TEXT = ("", " ", "a\0b", "a\nb", "a\u2028b", "\ud800", "a" * 256, None, 5)


def periods(world: Any) -> list[tuple[str, str, str]]:
    """Every period that was made: start, end, and the plan it ends with."""
    return world.rows(
        """SELECT date(p.start_day * 86400, 'unixepoch'), date(p.end_day * 86400, 'unixepoch'), v.plan_id
        FROM periods p JOIN subscription_phases f ON f.subscription = p.subscription
        JOIN plan_versions v ON v.id = f.plan
        WHERE (f.start_day, f.seq) = (SELECT n.start_day, n.seq FROM subscription_phases n
          WHERE n.subscription = p.subscription AND n.start_day < p.end_day ORDER BY 1 DESC, 2 DESC LIMIT 1)
        ORDER BY p.start_day"""
    )


def usage_of(world: Any) -> dict[str, int]:
    """Requests by the start of their period."""
    return dict(
        world.rows(
            """SELECT date(p.start_day * 86400, 'unixepoch'), r.amount FROM periods p
            JOIN rollups r ON r.grain = 3 AND r.bucket = p.id JOIN meters m ON m.id = r.meter
            WHERE m.name = 'api_requests'"""
        )
    )


def subscription(world: Any, customer: str = "acme") -> dict[str, Any]:
    found: dict[str, Any] = world.plans.get_current(customer)["subscription"]
    return found


# --- Plans ----------------------------------------------------------------------------------------------------------


def test_the_plans_of_the_seed_are_there_cheapest_first(world: Any) -> None:
    with world.unchanged():
        found = [(plan["id"], plan["price"], plan["limits"], plan["features"]) for plan in world.plans.list()]
    assert found == [
        ("free", "0.00", {"api_requests": 1000, "storage": GIB}, {"support": "community"}),
        ("pro", "29.00", {"api_requests": 10_000, "storage": 10 * GIB}, {"support": "email"}),
        ("enterprise", "299.00", {"api_requests": 100_000, "storage": 100 * GIB}, {"support": "priority"}),
    ]


def test_a_plan_is_shown_with_price_interval_limits_and_features(world: Any) -> None:
    found = world.plans.get_details("pro")
    shown = ("id", "name", "price", "price_minor", "currency", "interval", "limits", "features")
    assert {key: found[key] for key in shown} == {
        "id": "pro", "name": "Pro", "price": "29.00", "price_minor": 2900, "currency": "USD", "interval": "month",
        "limits": {"api_requests": 10_000, "storage": 10 * GIB}, "features": {"support": "email"},
    }  # fmt: skip


def test_two_plans_are_compared_row_by_row(world: Any) -> None:
    found = world.plans.compare("free", "pro")
    assert found["plans"] == ["free", "pro"]
    assert {"name": "price", "free": "0.00", "pro": "29.00"} in found["rows"]
    assert {"name": "api_requests", "free": 1000, "pro": 10_000} in found["rows"]
    assert {"name": "support", "free": "community", "pro": "email"} in found["rows"]


@pytest.mark.parametrize("plan", ["nosuch", "Pro", "$(id)", "'; DROP TABLE plans; --", "--help"])
def test_a_plan_that_does_not_exist_is_not_found(world: Any, plan: str) -> None:
    calls = (
        lambda: world.plans.get_details(plan),
        lambda: world.plans.compare(plan, "free"),
        lambda: world.plans.compare("free", plan),
        lambda: world.plans.upgrade("acme", plan),
        lambda: world.plans.downgrade("acme", plan, "now"),
    )
    for call in calls:
        with world.refuses(NotFound, "there is no plan"):
            call()


@pytest.mark.parametrize("text", NO_TEXT, ids=lambda value: f"{value!r:.12}")
def test_plans_and_customers_are_named_by_text(world: Any, text: Any) -> None:
    calls = (
        lambda: world.plans.get_details(text),
        lambda: world.plans.compare("free", text),
        lambda: world.plans.upgrade("acme", text),
        lambda: world.plans.downgrade("acme", text, "now"),
        lambda: world.plans.upgrade(text, "pro"),
        lambda: world.plans.downgrade(text, "free", "now"),
        lambda: world.plans.get_current(text),
        lambda: world.plans.create_custom(text, "x", 1, "{}"),
        lambda: world.plans.create_custom("acme", text, 1, "{}"),
    )
    for call in calls:
        with world.refuses(BadInput):
            call()


# --- The plan of a customer -----------------------------------------------------------------------------------------


def test_a_customer_that_is_not_there_yet_is_on_free_by_calendar_month(world: Any) -> None:
    with world.unchanged():
        found = world.plans.get_current("nobody")
    assert found["id"] == "free"
    assert {key: found["subscription"][key] for key in found["subscription"] if key != "id"} == {
        "status": "active",
        "current_period_start": "2026-01-01T00:00:00Z",
        "current_period_end": "2026-02-01T00:00:00Z",
        "pending_plan": None,
        "pending_at": None,
    }


def test_the_first_paid_plan_begins_at_that_days_midnight_and_the_free_days_are_a_period(world: Any) -> None:
    world.usage.track("acme", "api_requests", 5, at="2026-01-09T23:59:59Z")
    world.usage.track("acme", "api_requests", 7, at="2026-01-10T00:00:00Z")
    world.plans.upgrade("acme", "pro")
    assert periods(world) == [("2026-01-01", "2026-01-10", "free"), ("2026-01-10", "2026-02-10", "pro")]
    assert usage_of(world) == {"2026-01-01": 5, "2026-01-10": 7}
    assert world.current("acme") == 7
    assert subscription(world)["current_period_end"] == "2026-02-10T00:00:00Z"
    assert world.quota.soft_limit_check("acme", "api_requests")["limit"] == 10_000


@pytest.mark.parametrize(
    "start,later,expected",
    [
        ("2026-01-31T10:00:00Z", "2026-02-28T00:00:00Z", ("2026-02-28", "2026-03-31")),
        ("2026-01-31T10:00:00Z", "2026-02-27T23:59:59Z", ("2026-01-31", "2026-02-28")),
        ("2026-01-31T10:00:00Z", "2026-05-15T00:00:00Z", ("2026-04-30", "2026-05-31")),
        ("2024-02-29T10:00:00Z", "2024-03-28T23:00:00Z", ("2024-02-29", "2024-03-29")),
        ("2024-02-29T10:00:00Z", "2025-02-28T12:00:00Z", ("2025-02-28", "2025-03-29")),
        ("2024-01-30T10:00:00Z", "2024-02-29T00:00:00Z", ("2024-02-29", "2024-03-30")),
        ("2026-01-01T10:00:00Z", "2026-02-01T00:00:00Z", ("2026-02-01", "2026-03-01")),
        ("2025-12-31T23:59:59Z", "2026-06-30T12:00:00Z", ("2026-06-30", "2026-07-31")),
    ],
)
def test_periods_are_counted_from_the_day_of_the_first_and_never_drift(
    new_world: Any, start: str, later: str, expected: tuple[str, str]
) -> None:
    world = new_world(start)
    world.plans.upgrade("acme", "pro")
    world.to(later)
    assert world.period("acme") == expected


def test_on_the_first_of_a_month_no_free_days_are_left(new_world: Any) -> None:
    world = new_world("2026-01-01T10:00:00Z")
    world.usage.track("acme", "api_requests", 5)
    world.plans.upgrade("acme", "pro")
    assert periods(world) == [("2026-01-01", "2026-02-01", "pro")]
    assert world.current("acme") == 5


@pytest.mark.parametrize(
    "zone,start,end",
    [
        ("Asia/Kathmandu", "2026-01-09T18:15:00Z", "2026-02-09T18:15:00Z"),
        ("America/New_York", "2026-01-10T05:00:00Z", "2026-02-10T05:00:00Z"),
        ("Pacific/Kiritimati", "2026-01-10T10:00:00Z", "2026-02-10T10:00:00Z"),
    ],
)
def test_the_day_of_the_change_is_the_customers(world: Any, zone: str, start: str, end: str) -> None:
    world.customers.create("acme", zone=zone)
    world.plans.upgrade("acme", "pro")
    assert (subscription(world)["current_period_start"], subscription(world)["current_period_end"]) == (start, end)


def test_a_higher_plan_holds_at_once_and_keeps_the_anchor(world: Any) -> None:
    world.plans.upgrade("acme", "pro")
    world.to("2026-01-20T12:00:00Z")
    world.usage.track("acme", "api_requests", 3)
    world.plans.upgrade("acme", "enterprise")
    assert periods(world) == [("2026-01-01", "2026-01-10", "free"), ("2026-01-10", "2026-02-10", "enterprise")]
    assert world.plans.get_current("acme")["id"] == "enterprise"
    assert world.current("acme") == 3
    assert world.quota.check("acme", "api_requests", 90_000).allowed


def test_the_same_plan_again_is_nothing(world: Any) -> None:
    world.plans.upgrade("acme", "pro")
    with world.unchanged():
        world.plans.upgrade("acme", "pro")
        world.plans.downgrade("acme", "pro", "now")
        world.plans.downgrade("acme", "pro")


def test_several_changes_on_one_day_end_with_the_last(world: Any) -> None:
    for plan, when in (
        ("pro", ""),
        ("enterprise", ""),
        ("pro", "now"),
        ("enterprise", ""),
        ("free", "now"),
        ("pro", ""),
    ):
        if when:
            world.plans.downgrade("acme", plan, when)
        else:
            world.plans.upgrade("acme", plan)
        assert world.plans.get_current("acme")["id"] == plan
        world.usage.track("acme", "api_requests", 1)
        world.check()
    assert periods(world) == [("2026-01-01", "2026-01-10", "free"), ("2026-01-10", "2026-02-10", "pro")]
    assert world.current("acme") == 6


def test_a_downgrade_now_to_free_ends_the_subscription_with_the_day_before(world: Any) -> None:
    world.plans.upgrade("acme", "pro")
    world.usage.track("acme", "api_requests", 3)
    world.to("2026-01-20T12:00:00Z")
    world.usage.track("acme", "api_requests", 5)
    world.plans.downgrade("acme", "free", "now")
    assert periods(world) == [
        ("2026-01-01", "2026-01-10", "free"),
        ("2026-01-10", "2026-01-20", "pro"),
        ("2026-01-20", "2026-02-01", "free"),
    ]
    assert usage_of(world) == {"2026-01-10": 3, "2026-01-20": 5}
    assert world.quota.soft_limit_check("acme", "api_requests")["limit"] == 1000
    world.to("2026-03-05T00:00:00Z")
    assert world.period("acme") == ("2026-03-01", "2026-04-01")


def test_a_downgrade_at_period_end_waits_and_then_happens_by_itself(world: Any) -> None:
    world.plans.upgrade("acme", "pro")
    world.to("2026-01-20T12:00:00Z")
    world.plans.downgrade("acme", "free")
    assert world.plans.get_current("acme")["id"] == "pro"
    assert (subscription(world)["pending_plan"], subscription(world)["pending_at"]) == ("free", "2026-02-10T00:00:00Z")
    with world.unchanged():
        world.plans.downgrade("acme", "free", "at_period_end")
    world.to("2026-02-09T23:59:59Z")
    assert world.plans.get_current("acme")["id"] == "pro"
    world.to("2026-02-10T00:00:00Z")
    found = world.plans.get_current("acme")
    assert (found["id"], found["subscription"]["pending_plan"]) == ("free", None)
    assert world.period("acme") == ("2026-02-10", "2026-03-01")
    assert world.quota.soft_limit_check("acme", "api_requests")["limit"] == 1000


def test_a_change_that_was_due_months_ago_took_place_when_it_was_due(world: Any) -> None:
    world.plans.upgrade("acme", "enterprise")
    world.plans.downgrade("acme", "pro")
    world.to("2026-05-20T12:00:00Z")
    assert world.plans.get_current("acme")["id"] == "pro"
    assert world.period("acme") == ("2026-05-10", "2026-06-10")
    world.usage.track("acme", "api_requests", 1, at="2026-02-09T23:00:00Z")
    world.usage.track("acme", "api_requests", 2, at="2026-02-10T00:00:00Z")
    assert periods(world) == [
        ("2026-01-01", "2026-01-10", "free"),
        ("2026-01-10", "2026-02-10", "enterprise"),
        ("2026-02-10", "2026-03-10", "pro"),
        ("2026-05-10", "2026-06-10", "pro"),
    ]


def test_free_months_after_a_subscription_begin_where_it_ended(world: Any) -> None:
    world.plans.upgrade("acme", "pro")
    world.plans.downgrade("acme", "free")
    world.to("2026-06-05T12:00:00Z")
    world.usage.track("acme", "api_requests", 1, at="2026-02-10T00:00:00Z")
    world.usage.track("acme", "api_requests", 2, at="2026-03-31T00:00:00Z")
    assert periods(world) == [
        ("2026-01-01", "2026-01-10", "free"),
        ("2026-01-10", "2026-02-10", "pro"),
        ("2026-02-10", "2026-03-01", "free"),
        ("2026-03-01", "2026-04-01", "free"),
        ("2026-06-01", "2026-07-01", "free"),
    ]


def test_a_higher_plan_takes_the_place_of_a_change_that_was_waiting(world: Any) -> None:
    world.plans.upgrade("acme", "pro")
    world.plans.downgrade("acme", "free")
    world.plans.upgrade("acme", "enterprise")
    assert subscription(world)["pending_plan"] is None
    world.to("2026-03-05T00:00:00Z")
    assert world.plans.get_current("acme")["id"] == "enterprise"


def test_now_after_at_period_end_is_now(world: Any) -> None:
    world.plans.upgrade("acme", "pro")
    world.plans.downgrade("acme", "free", "at_period_end")
    world.to("2026-01-20T12:00:00Z")
    world.plans.downgrade("acme", "free", "now")
    assert world.period("acme") == ("2026-01-20", "2026-02-01")
    assert subscription(world)["pending_plan"] is None


def test_what_waited_on_free_does_not_come_back_after_a_subscription(world: Any) -> None:
    gift = world.plans.create_custom("acme", "Gift", 0, "{}")
    world.plans.downgrade("acme", gift, "at_period_end")
    world.plans.upgrade("acme", "pro")
    world.plans.downgrade("acme", "free", "now")
    assert subscription(world)["pending_plan"] is None
    world.to("2026-06-05T12:00:00Z")
    assert world.plans.get_current("acme")["id"] == "free"


def test_a_free_plan_of_ones_own_may_wait_for_the_end_of_the_month(world: Any) -> None:
    gift = world.plans.create_custom("acme", "Gift", 0, '{"api_requests": 5}')
    world.plans.downgrade("acme", gift, "at_period_end")
    world.to("2026-02-05T12:00:00Z")
    assert world.plans.get_current("acme")["id"] == gift
    assert world.period("acme") == ("2026-02-01", "2026-03-01")
    world.plans.downgrade("acme", "free", "at_period_end")
    world.to("2026-09-05T12:00:00Z")
    assert world.plans.get_current("acme")["id"] == "free"
    assert world.period("acme") == ("2026-09-01", "2026-10-01")


def test_plans_are_lower_or_higher_by_their_price_a_month(world: Any) -> None:
    world.plans.upgrade("acme", "pro")
    with world.refuses(Conflict, "lower plan"):
        world.plans.upgrade("acme", "free")
    for when in ("now", "at_period_end"):
        with world.refuses(Conflict, "higher plan"):
            world.plans.downgrade("acme", "enterprise", when)
    same = world.plans.create_custom("acme", "Same", 29, "{}")
    world.plans.upgrade("acme", same)
    world.plans.downgrade("acme", "pro", "now")
    assert world.plans.get_current("acme")["id"] == "pro"


@pytest.mark.parametrize("when", ["", "later", "Now", "at_period_end ", None, 5, "x" * 100_000])
def test_a_downgrade_is_now_or_at_period_end(world: Any, when: Any) -> None:
    with world.refuses(BadInput, "now or at_period_end"):
        world.plans.downgrade("acme", "free", when)


def test_a_change_of_plan_is_noted(world: Any) -> None:
    world.plans.upgrade("acme", "pro")
    world.plans.downgrade("acme", "free")
    found = world.rows("SELECT action, subject, detail FROM audit WHERE action LIKE 'plan.%'")
    assert [(action, subject, json.loads(detail)) for action, subject, detail in found] == [
        ("plan.upgrade", "acme", {"from": "free", "to": "pro", "when": "now"}),
        ("plan.downgrade", "acme", {"from": "pro", "to": "free", "when": "at_period_end"}),
    ]


def test_an_own_limit_stays_through_changes_of_plan(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", 77, "per_month")
    for plan in ("pro", "enterprise"):
        world.plans.upgrade("acme", plan)
        assert world.quota.soft_limit_check("acme", "api_requests")["limit"] == 77


# --- Plans of one's own ---------------------------------------------------------------------------------------------


def test_a_plan_of_ones_own_has_price_and_limits_and_is_for_its_customer_alone(world: Any) -> None:
    limits = '{"api_requests": 100000, "storage": 5, "compute": 1.5, "bandwidth": null, "database": "unlimited"}'
    plan = world.plans.create_custom("acme", "Enterprise Custom", "299.50", limits)
    assert plan == "enterprise_custom"
    found = world.plans.get_details(plan)
    assert (found["name"], found["price"], found["currency"]) == ("Enterprise Custom", "299.50", "USD")
    assert found["limits"] == {
        "api_requests": 100_000,
        "storage": 5,
        "bandwidth": None,
        "compute": Decimal("1.5"),
        "database": None,
    }
    assert plan in [each["id"] for each in world.plans.list("acme")]
    assert plan not in [each["id"] for each in world.plans.list()]
    world.plans.upgrade("acme", plan)
    assert world.quota.soft_limit_check("acme", "api_requests")["limit"] == 100_000
    with world.refuses(NotFound):
        world.plans.upgrade("initech", plan)


def test_the_same_name_for_the_same_customer_is_a_conflict_for_another_it_is_not(world: Any) -> None:
    first = world.plans.create_custom("acme", "Special", 10, "{}")
    with world.refuses(Conflict, "has a plan named 'Special'"):
        world.plans.create_custom("acme", "Special", 20, "{}")
    second = world.plans.create_custom("initech", "Special", 20, "{}")
    assert first != second
    assert world.plans.get_details(second)["price"] == "20.00"


@pytest.mark.parametrize("name", ["free", "pro", "計画", "$(id)", "'; DROP TABLE plans; --", "name", "😀"])
def test_a_name_never_takes_the_place_of_another_plan(world: Any, name: str) -> None:
    plan = world.plans.create_custom("acme", name, 10, "{}")
    assert world.plans.get_details(plan)["name"] == name
    assert world.plans.get_details("free")["price"] == "0.00"
    row = world.plans.compare(plan, "free")["rows"][0]
    assert (row["name"], row[plan], row["free"]) == ("price", "10.00", "0.00")


def test_the_currency_is_the_one_that_is_set(new_world: Any) -> None:
    world = new_world(BILLING_CURRENCY="JPY")
    plan = world.plans.create_custom("acme", "Yen", 4000, "{}")
    assert (world.plans.get_details(plan)["price"], world.plans.get_details(plan)["currency"]) == ("4000", "JPY")
    with world.refuses(BadInput):
        world.plans.create_custom("acme", "Sen", "4000.5", "{}")
    world.plans.upgrade("acme", plan)
    with world.refuses(Conflict, "priced in USD"):
        world.plans.upgrade("acme", "enterprise")
    world.plans.downgrade("acme", "free", "now")
    assert world.plans.get_current("acme")["id"] == "free"


@pytest.mark.parametrize(
    "price",
    [
        "",
        "abc",
        "-1",
        "-0.01",
        "1e99",
        "1e3",
        "NaN",
        "Infinity",
        "1_000",
        "１２",
        "1.234",
        "29,00",
        "$29",
        None,
        True,
        1.5,
        float("nan"),
        "9" * 30,
        pytest.param("9" * 5000, id="5,000 digits"),
    ],
)
def test_a_price_is_an_amount_of_nothing_or_more(world: Any, price: Any) -> None:
    with world.refuses(BadInput):
        world.plans.create_custom("acme", "Special", price, "{}")


@pytest.mark.parametrize(
    "limits",
    ["", "null", "[]", "5", '"text"', "{", "{'api_requests': 5}", '{"api_requests": -1}', '{"api_requests": 1.5}',
     '{"api_requests": 1e3}', '{"api_requests": NaN}', '{"api_requests": Infinity}', '{"api_requests": true}',
     '{"api_requests": "5"}', '{"api_requests": [5]}', '{"api_requests": {}}', '{"nosuch": 5}', '{"": 5}',
     '{"api_requests": 5, "api_requests": 6}', '{"api_requests": 9223372036854775808}', '{"\\ud800": 5}', None, 5, {},
     pytest.param('{"api_requests": ' + "9" * 5000 + "}", id="5,000 digits"),
     pytest.param("[" * 100_000, id="too deep"), pytest.param('{"a":' * 20_000, id="deep"),
     pytest.param('{"api_requests": 5}' + " " * 100_000, id="100 kB")],
)  # fmt: skip
def test_limits_are_a_flat_object_of_whole_amounts(world: Any, limits: Any) -> None:
    with world.refuses(BadInput):
        world.plans.create_custom("acme", "Special", 10, limits)


def test_the_plans_of_a_customer_that_is_not_there_are_not_found(world: Any) -> None:
    with world.refuses(NotFound):
        world.plans.list("nobody")
    with world.refuses(BadInput):
        world.plans.list("\ud800")
