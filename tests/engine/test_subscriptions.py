"""Subscriptions: trials, fixed days, other intervals, cancelling and coming back, pausing, seats, and their history."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import Any

import pytest

from nbilling.engine.verify import Verification
from nbilling.model.errors import BadInput, Conflict, NotFound

PLANS = """
[plans.trial]
price = "31.00"
trial_days = 10
[plans.longer]
price = "62.00"
trial_days = 13
[plans.first]
price = "31.00"
anchor_day = 1
[plans.year]
price = "365.00"
interval = "year"
[plans.weekly]
price = "7.00"
interval = "week"
limits = [{ meter = "api_requests", period = "per_month", amount = 100 },
          { meter = "bandwidth", period = "per_period", amount = 10 }]
[plans.team]
price = "10.00"
per_seat = true
limits = [{ meter = "api_requests", period = "per_month", amount = 100, per_seat = true }]
[plans.team.prices.api_requests]
model = "per_unit"
unit_price = "1"
unit = "request"
"""


@pytest.fixture
def shop(world: Any) -> Any:
    """A ledger on 10 January 2026 with some more plans."""
    world.billing.catalogue.apply(tomllib.loads(PLANS, parse_float=Decimal))
    world.held = world.billing.subscriptions
    world.invoices = world.billing.invoices
    return world


def verified(world: Any) -> None:
    report = Verification(world.billing.parts()[0]).run()
    assert report.findings == ()


def billed(world: Any, customer: str = "acme") -> list[tuple[str, str, str]]:
    """Every invoice of a run: first day, day after the last, total."""
    made = world.invoices.run(customer)["made"]
    shown = [world.invoices.show(one["id"]) for one in made]
    return [(one["period_start"][:10], one["period_end"][:10], one["total"]) for one in shown]


def events(world: Any, customer: str = "acme") -> list[tuple[str, str | None, str | None]]:
    return [(one["event"], one["from"], one["to"]) for one in world.held.history(customer)]


# --- Trials ---------------------------------------------------------------------------------------------------------


def test_a_trial_is_a_period_without_fee_and_the_paid_ones_begin_where_it_ends(shop: Any) -> None:
    shop.plans.upgrade("acme", "trial")
    found = shop.held.show("acme")
    assert (found["status"], found["trial_end"]) == ("trialing", "2026-01-20T00:00:00Z")
    assert shop.period("acme") == ("2026-01-10", "2026-01-20")
    shop.to("2026-01-20T00:00:00Z")
    assert shop.held.show("acme")["status"] == "active"
    assert shop.period("acme") == ("2026-01-20", "2026-02-20")
    shop.to("2026-02-20T00:00:00Z")
    assert billed(shop) == [("2026-01-10", "2026-01-20", "0.00"), ("2026-01-20", "2026-02-20", "31.00")]
    assert ("trial_ended", "trialing", "active") in events(shop)
    verified(shop)


def test_a_trial_that_ended_months_ago_ended_on_its_day(shop: Any) -> None:
    shop.plans.upgrade("acme", "trial")
    shop.to("2026-05-01T00:00:00Z")
    assert [total for _, _, total in billed(shop)] == ["0.00", "31.00", "31.00", "31.00"]
    [ended] = [one for one in shop.held.history("acme") if one["event"] == "trial_ended"]
    assert ended["day"] == "2026-01-20"
    verified(shop)


def test_another_plan_within_the_trial_has_its_own_trial_counted_from_the_first(shop: Any) -> None:
    shop.plans.upgrade("acme", "trial")
    shop.to("2026-01-15T12:00:00Z")
    shop.plans.upgrade("acme", "longer")
    assert shop.held.show("acme")["trial_end"] == "2026-01-23T00:00:00Z"
    assert shop.period("acme") == ("2026-01-10", "2026-01-23")
    verified(shop)


def test_another_plan_without_trial_ends_it_today(shop: Any) -> None:
    shop.plans.upgrade("acme", "trial")
    shop.to("2026-01-15T12:00:00Z")
    shop.usage.track("acme", "api_requests", 3)
    shop.plans.upgrade("acme", "first")
    assert shop.held.show("acme")["status"] == "active"
    assert shop.period("acme") == ("2026-01-15", "2026-02-01")
    shop.to("2026-03-01T00:00:00Z")
    assert billed(shop)[1:] == [("2026-01-15", "2026-02-01", "17.00"), ("2026-02-01", "2026-03-01", "31.00")]
    verified(shop)


def test_whoever_cancels_and_comes_back_has_no_second_trial(shop: Any) -> None:
    shop.plans.upgrade("acme", "trial")
    shop.held.cancel("acme", "now")
    assert shop.held.reactivate("acme")["status"] == "active"
    shop.held.cancel("acme", "now")
    shop.to("2026-03-05T12:00:00Z")
    shop.plans.upgrade("acme", "longer")
    assert shop.held.show("acme")["status"] == "active"
    verified(shop)


def test_a_trial_that_is_cancelled_ends_without_a_fee(shop: Any) -> None:
    shop.plans.upgrade("acme", "trial")
    assert shop.held.cancel("acme")["pending_at"] == "2026-01-20T00:00:00Z"
    shop.to("2026-03-01T00:00:00Z")
    assert shop.held.show("acme")["plan"] == "free"
    assert billed(shop) == [("2026-01-10", "2026-01-20", "0.00")]
    verified(shop)


# --- Intervals and anchors ------------------------------------------------------------------------------------------


def test_a_fixed_day_begins_with_a_shorter_period_at_its_share_of_the_price(shop: Any) -> None:
    shop.plans.upgrade("acme", "first")
    assert shop.period("acme") == ("2026-01-10", "2026-02-01")
    shop.to("2026-03-01T00:00:00Z")
    assert billed(shop) == [("2026-01-10", "2026-02-01", "22.00"), ("2026-02-01", "2026-03-01", "31.00")]
    verified(shop)


def test_a_plan_with_another_interval_is_a_subscription_of_its_own_from_that_day(shop: Any) -> None:
    shop.plans.upgrade("acme", "trial")
    shop.to("2026-01-25T12:00:00Z")
    shop.usage.track("acme", "api_requests", 1, at="2026-01-21T00:00:00Z")
    shop.plans.downgrade("acme", "year", "now")
    assert shop.period("acme") == ("2026-01-25", "2027-01-25")
    shop.to("2027-01-25T00:00:00Z")
    assert billed(shop)[1:] == [("2026-01-20", "2026-01-25", "5.00"), ("2026-01-25", "2027-01-25", "365.00")]
    verified(shop)


def test_a_limit_per_month_of_a_weekly_plan_counts_by_months_from_the_anchor(shop: Any) -> None:
    shop.plans.upgrade("acme", "weekly")
    for time, requests in (("2026-01-12", 30), ("2026-01-20", 40), ("2026-02-09", 20)):
        shop.to(f"{time}T12:00:00Z")
        assert shop.quota.enforce("acme", "api_requests", requests).allowed
    assert shop.quota.check("acme", "api_requests", 10).allowed
    refused = shop.quota.check("acme", "api_requests", 11)
    assert (refused.allowed, refused.resets_at) == (False, "2026-02-10T00:00:00Z")
    shop.to("2026-02-10T00:00:00Z")
    assert shop.quota.check("acme", "api_requests", 100).allowed
    verified(shop)


def test_a_limit_per_period_counts_by_the_billing_period(shop: Any) -> None:
    shop.plans.upgrade("acme", "weekly")
    assert shop.quota.enforce("acme", "bandwidth", 10).allowed
    refused = shop.quota.check("acme", "bandwidth", 1)
    assert (refused.period, refused.resets_at) == ("per_period", "2026-01-17T00:00:00Z")
    shop.quota.reset("acme", "monthly")
    assert not shop.quota.check("acme", "bandwidth", 1).allowed
    shop.quota.reset("acme", "period")
    assert shop.quota.enforce("acme", "bandwidth", 10).allowed
    shop.to("2026-01-17T00:00:00Z")
    assert shop.quota.check("acme", "bandwidth", 10).allowed
    verified(shop)


def test_a_reset_of_the_month_holds_for_the_whole_month_of_a_weekly_plan(shop: Any) -> None:
    shop.plans.upgrade("acme", "weekly")
    assert shop.quota.enforce("acme", "api_requests", 100).allowed
    shop.quota.reset("acme", "monthly")
    assert shop.quota.enforce("acme", "api_requests", 60).allowed
    shop.to("2026-01-30T12:00:00Z")
    assert shop.quota.enforce("acme", "api_requests", 40).allowed
    assert not shop.quota.check("acme", "api_requests", 1).allowed
    verified(shop)


# --- Cancelling and coming back -------------------------------------------------------------------------------------


def test_a_cancellation_waits_for_the_end_of_the_period_and_can_be_taken_back(shop: Any) -> None:
    shop.plans.upgrade("acme", "pro")
    found = shop.held.cancel("acme", reason="too expensive")
    assert (found["status"], found["cancel_at_period_end"], found["pending_at"]) == (
        "active", True, "2026-02-10T00:00:00Z",
    )  # fmt: skip
    with shop.unchanged():
        shop.held.cancel("acme")
    assert shop.held.reactivate("acme")["cancel_at_period_end"] is False
    with shop.unchanged():
        shop.held.reactivate("acme")
    shop.to("2026-03-01T00:00:00Z")
    assert shop.held.show("acme")["plan"] == "pro"
    assert [one["reason"] for one in shop.held.history("acme") if one["event"] == "cancel_at_period_end"] == [
        "too expensive"
    ]
    verified(shop)


def test_cancelled_now_it_is_charged_by_the_day_and_can_be_bought_again(shop: Any) -> None:
    shop.plans.upgrade("acme", "pro")
    shop.to("2026-01-20T12:00:00Z")
    shop.held.cancel("acme", "now")
    with shop.unchanged():
        shop.held.cancel("acme", "now")
    assert shop.held.show("acme")["plan"] == "free"
    shop.to("2026-02-03T12:00:00Z")
    found = shop.held.reactivate("acme")
    assert (found["plan"], found["status"], found["current_period_start"]) == ("pro", "active", "2026-02-03T00:00:00Z")
    shop.to("2026-03-03T00:00:00Z")
    assert billed(shop) == [("2026-01-10", "2026-01-20", "9.35"), ("2026-02-03", "2026-03-03", "29.00")]
    assert [one for one in events(shop) if one[0] in ("start", "cancel")] == [
        ("start", "", "active"), ("cancel", "active", "canceled"), ("start", "", "active"),
    ]  # fmt: skip
    verified(shop)


def test_who_has_no_subscription_has_nothing_to_bring_back_or_to_pause(shop: Any) -> None:
    shop.customers.create("acme")
    for call in (shop.held.reactivate, shop.held.pause, shop.held.resume):
        with shop.refuses(Conflict):
            call("acme")
    with shop.unchanged():
        shop.held.cancel("acme")
    for call in (shop.held.reactivate, shop.held.pause, shop.held.resume, shop.held.cancel):
        with shop.refuses(NotFound):
            call("nobody")
    with shop.unchanged():
        assert shop.held.show("nobody")["plan"] == "free"
        assert shop.held.history("nobody") == []


# --- Pausing --------------------------------------------------------------------------------------------------------


def test_while_it_is_paused_no_fee_runs_and_the_free_limits_hold(shop: Any) -> None:
    shop.plans.upgrade("acme", "pro")
    shop.to("2026-01-15T12:00:00Z")
    assert shop.held.pause("acme", "season is over")["status"] == "paused"
    with shop.unchanged():
        shop.held.pause("acme")
    assert shop.plans.get_current("acme")["id"] == "pro"
    assert shop.quota.soft_limit_check("acme", "api_requests")["limit"] == 1000
    for refused in (lambda: shop.plans.upgrade("acme", "enterprise"), lambda: shop.held.set_quantity("acme", 2)):
        with shop.refuses(Conflict):
            refused()
    shop.to("2026-03-20T12:00:00Z")
    assert shop.period("acme") == ("2026-03-10", "2026-04-10")
    assert shop.held.resume("acme")["status"] == "active"
    with shop.unchanged():
        shop.held.resume("acme")
    assert shop.quota.soft_limit_check("acme", "api_requests")["limit"] == 10_000
    shop.to("2026-04-10T00:00:00Z")
    # 5 of 31 days, none, 21 of 31 days of 29.00
    assert [total for _, _, total in billed(shop)] == ["4.68", "0.00", "19.65"]
    verified(shop)


def test_a_paused_subscription_can_be_cancelled(shop: Any) -> None:
    shop.plans.upgrade("acme", "pro")
    shop.held.pause("acme")
    shop.held.cancel("acme")
    shop.to("2026-02-10T00:00:00Z")
    assert shop.held.show("acme") | {"id": ""} == shop.held.show("acme") | {
        "id": "",
        "plan": "free",
        "status": "active",
    }
    verified(shop)


# --- Seats ----------------------------------------------------------------------------------------------------------


def test_fee_and_limits_follow_the_number_of_seats(shop: Any) -> None:
    shop.plans.upgrade("acme", "team")
    assert shop.quota.soft_limit_check("acme", "api_requests")["limit"] == 100
    shop.held.set_quantity("acme", 3)
    assert shop.quota.soft_limit_check("acme", "api_requests")["limit"] == 300
    with shop.unchanged():
        shop.held.set_quantity("acme", "3")
    shop.usage.track("acme", "api_requests", 301)
    shop.to("2026-01-20T00:00:00Z")
    shop.held.set_quantity("acme", 5)
    shop.to("2026-02-10T00:00:00Z")
    made = shop.invoices.run("acme")["made"]
    lines = shop.invoices.show(made[-1]["id"])["lines"]
    assert [(line["detail"], line["amount"]) for line in lines] == [
        ("3 seats, 10 of 31 days", "9.68"),
        ("301 requests used, 96.774 requests included", "204.23"),
        ("5 seats, 21 of 31 days", "33.87"),
    ]
    verified(shop)


@pytest.mark.parametrize("quantity", ["0", "-1", "1.5", "", "many", 0, None, True, "1000001"])
def test_seats_are_a_whole_number(shop: Any, quantity: Any) -> None:
    shop.plans.upgrade("acme", "team")
    with shop.refuses(BadInput):
        shop.held.set_quantity("acme", quantity)


def test_what_is_not_sold_by_the_seat_has_none(shop: Any) -> None:
    shop.plans.upgrade("acme", "pro")
    with shop.refuses(Conflict, "not sold by the seat"):
        shop.held.set_quantity("acme", 2)


# --- Due work -------------------------------------------------------------------------------------------------------


def test_a_run_rolls_bills_and_marks_what_is_overdue_and_a_second_one_does_nothing(shop: Any) -> None:
    shop.plans.upgrade("acme", "pro")
    shop.usage.track("other", "api_requests", 1)
    shop.to("2026-02-10T00:00:00Z")
    first = shop.billing.run()
    assert (first["rolled"], first["invoices"], first["standing_changed"]) == (2, 2, 0)
    before = shop.contents()
    again = shop.billing.run()
    assert {name: rows for name, rows in shop.contents().items() if not name.startswith("sqlite_stat")} == {
        name: rows for name, rows in before.items() if not name.startswith("sqlite_stat")
    }
    assert (again["rolled"], again["invoices"], again["standing_changed"], again["alerts_fired"]) == (0, 0, 0, 0)
    shop.to("2026-03-01T00:00:00Z")
    assert shop.billing.run()["standing_changed"] == 1
    assert shop.held.show("acme")["status"] == "past_due"
    [invoice] = [one for one in shop.invoices.list("acme") if one["status"] == "open"]
    shop.invoices.mark_paid(invoice["id"], "bank")
    assert shop.billing.run()["standing_changed"] == 1
    assert shop.held.show("acme")["status"] == "active"
    verified(shop)


def test_an_event_ahead_of_the_clock_does_not_stand_in_the_way_of_a_change(shop: Any) -> None:
    shop.plans.upgrade("acme", "pro")
    shop.to("2026-02-09T23:30:00Z")
    shop.usage.track("acme", "api_requests", 5, at="2026-02-10T00:15:00Z")
    shop.held.cancel("acme", "now")
    assert shop.period("acme") == ("2026-02-09", "2026-03-01")
    assert shop.current("acme") == 5
    shop.check()
    verified(shop)


@pytest.mark.parametrize("when", ["", "later", None, 5])
def test_a_cancellation_is_now_or_at_period_end(shop: Any, when: Any) -> None:
    with shop.refuses(BadInput, "now or at_period_end"):
        shop.held.cancel("acme", when)


@pytest.mark.parametrize("reason", ["a\nb", "\ud800", "x" * 201, None, 5])
def test_a_reason_is_one_line_of_text(shop: Any, reason: Any) -> None:
    shop.plans.upgrade("acme", "pro")
    for call in (lambda: shop.held.cancel("acme", "now", reason), lambda: shop.held.pause("acme", reason)):
        with shop.refuses(BadInput):
            call()


# --- Fees in advance ------------------------------------------------------------------------------------------------

ADVANCE = """
[plans.ahead]
price = "31.00"
fee = "advance"
limits = [{ meter = "api_requests", period = "per_month", amount = 100 }]
[plans.ahead.prices.api_requests]
model = "per_unit"
unit_price = "1"
unit = "request"
[plans.further]
price = "62.00"
fee = "advance"
"""


def lines(world: Any, customer: str = "acme") -> list[list[tuple[str, str]]]:
    """The lines of every invoice of a run."""
    made = world.billing.run()["made"]
    shown = [world.invoices.show(one["id"])["lines"] for one in made if one["customer_id"] == customer]
    return [[(line["description"], line["amount"]) for line in found] for found in shown]


@pytest.fixture
def ahead(shop: Any) -> Any:
    shop.billing.catalogue.apply(tomllib.loads(ADVANCE, parse_float=Decimal))
    return shop


def test_a_fee_in_advance_is_billed_at_the_start_and_usage_on_the_next_invoice(ahead: Any) -> None:
    ahead.plans.upgrade("acme", "ahead")
    ahead.usage.track("acme", "api_requests", 103)
    assert lines(ahead) == [[("ahead plan", "31.00")]]
    assert lines(ahead) == []
    ahead.usage.track("acme", "api_requests", 4)
    ahead.to("2026-02-10T00:00:00Z")
    assert lines(ahead) == [[("ahead plan", "31.00"), ("API requests, 2026-01-10 to 2026-02-09", "7.00")]]
    ahead.to("2026-05-10T00:00:00Z")
    assert lines(ahead) == [[("ahead plan", "31.00")]] * 3
    verified(ahead)


def test_a_change_gives_back_what_was_not_used_and_charges_the_rest(ahead: Any) -> None:
    ahead.plans.upgrade("acme", "ahead")
    lines(ahead)
    ahead.to("2026-01-20T12:00:00Z")
    ahead.plans.upgrade("acme", "further")
    ahead.to("2026-02-10T00:00:00Z")
    assert lines(ahead) == [
        [("further plan", "62.00"), ("ahead plan, not used", "-21.00"), ("further plan, changed", "42.00")]
    ]
    ahead.to("2026-03-10T00:00:00Z")
    assert lines(ahead) == [[("further plan", "62.00")]]
    verified(ahead)


def test_the_last_usage_and_what_was_not_used_come_after_the_end(ahead: Any) -> None:
    ahead.plans.upgrade("acme", "ahead")
    ahead.usage.track("acme", "api_requests", 103)
    lines(ahead)
    ahead.to("2026-01-20T12:00:00Z")
    ahead.held.cancel("acme", "now")
    ahead.to("2026-02-01T00:00:00Z")
    # 10 of 31 days are used; of the 100 requests that a whole period includes, as many of the same share.
    assert lines(ahead) == [
        [("Free plan", "0.00"), ("API requests, 2026-01-10 to 2026-01-19", "70.74"), ("ahead plan, not used", "-21.00")]
    ]
    ahead.to("2026-04-01T00:00:00Z")
    assert lines(ahead) == []
    verified(ahead)


def test_months_late_every_fee_in_advance_and_all_usage_is_billed_once(ahead: Any) -> None:
    ahead.plans.upgrade("acme", "ahead")
    ahead.usage.track("acme", "api_requests", 103)
    ahead.held.cancel("acme")
    ahead.to("2026-06-15T00:00:00Z")
    assert lines(ahead) == [
        [("ahead plan", "31.00")],
        [("Free plan", "0.00"), ("API requests, 2026-01-10 to 2026-02-09", "3.00")],
    ]
    verified(ahead)


def test_a_pause_gives_back_the_days_that_it_lasts(ahead: Any) -> None:
    ahead.plans.upgrade("acme", "ahead")
    lines(ahead)
    ahead.to("2026-01-15T12:00:00Z")
    ahead.held.pause("acme")
    ahead.to("2026-01-25T12:00:00Z")
    ahead.held.resume("acme")
    ahead.to("2026-02-10T00:00:00Z")
    assert lines(ahead) == [
        [("ahead plan", "31.00"), ("ahead plan, not used", "-26.00"), ("ahead plan, changed", "16.00")]
    ]
    verified(ahead)


def test_a_fee_that_was_billed_is_given_back_whole_when_the_plan_is_given_up_that_day(ahead: Any) -> None:
    ahead.plans.upgrade("acme", "ahead")
    assert lines(ahead) == [[("ahead plan", "31.00")]]
    ahead.held.cancel("acme", "now")
    ahead.to("2026-02-01T00:00:00Z")
    assert lines(ahead) == [[("Free plan", "0.00"), ("ahead plan, not used", "-31.00")]]
    ahead.to("2026-04-01T00:00:00Z")
    assert lines(ahead) == []
    verified(ahead)


def test_from_a_fee_in_advance_to_one_in_arrears_and_back_nothing_is_charged_twice(ahead: Any) -> None:
    ahead.plans.upgrade("acme", "ahead")
    found = lines(ahead)
    ahead.to("2026-01-20T12:00:00Z")
    ahead.plans.downgrade("acme", "pro", "now")
    ahead.to("2026-02-20T12:00:00Z")
    found += lines(ahead)
    ahead.plans.upgrade("acme", "further")
    found += lines(ahead)
    assert found == [
        [("ahead plan", "31.00")],
        [("Pro plan", "29.00"), ("ahead plan, not used", "-21.00")],
        [("further plan", "62.00")],
    ]
    verified(ahead)
