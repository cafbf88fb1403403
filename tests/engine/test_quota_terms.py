"""Soft limits, thresholds, giving back what was reserved, features; and plans from a file, in their versions."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import Any

import pytest

from nbilling.engine.verify import Verification
from nbilling.model.errors import BadInput, Conflict, NotFound

PRO = """
[plans.pro]
name = "Pro"
price = "29.00"
limits = [{ meter = "api_requests", period = "per_month", amount = 100, mode = "soft", threshold = 50 }]
[plans.pro.features]
sso = true
audit = false
seats = 5
ratio = 0.5
support = "email"
[plans.pro.prices.api_requests]
model = "per_unit"
unit_price = "0.10"
unit = "request"
"""


def apply(world: Any, text: str, **how: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.billing.catalogue.apply(tomllib.loads(text, parse_float=Decimal), **how)
    return found


def verified(world: Any) -> None:
    assert Verification(world.billing.parts()[0]).run().findings == ()


# --- Soft limits ----------------------------------------------------------------------------------------------------


def test_a_soft_limit_warns_lets_pass_and_charges_what_lies_above(world: Any) -> None:
    apply(world, PRO)
    world.plans.upgrade("acme", "pro")
    assert world.quota.enforce("acme", "api_requests", 40).warning is None
    assert world.quota.enforce("acme", "api_requests", 10).warning == "50 % of 100 requests per_month are used"
    decision = world.quota.enforce("acme", "api_requests", 80)
    assert (decision.allowed, decision.used, decision.remaining) == (True, 130, 0)
    assert decision.warning == "the soft limit of 100 requests per_month is exceeded: 130 are used"
    assert world.quota.calculate_overage("acme", "api_requests")["cost"] == "3.00"
    assert world.quota.soft_limit_check("acme", "api_requests")["threshold"] == 50
    world.to("2026-02-10T00:00:00Z")
    [made] = world.billing.invoices.run("acme")["made"]
    assert made["total"] == "32.00"
    verified(world)


def test_a_hard_limit_refuses_beside_a_soft_one(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", 5, "per_day", mode="soft")
    world.quota.set_limit("acme", "api_requests", 8, "per_month")
    assert world.quota.enforce("acme", "api_requests", 7).allowed
    refused = world.quota.enforce("acme", "api_requests", 2)
    assert (refused.allowed, refused.period, refused.used) == (False, "per_month", 7)


def test_the_warning_of_a_limit_begins_at_its_own_threshold(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", 100, "per_month", threshold=95)
    assert world.quota.enforce("acme", "api_requests", 94).warning is None
    assert world.quota.soft_limit_check("acme", "api_requests")["warning"] is False
    assert world.quota.enforce("acme", "api_requests", 1).warning == "95 % of 100 requests per_month are used"
    assert world.quota.soft_limit_check("acme", "api_requests")["warning"] is True


@pytest.mark.parametrize(
    "terms", [{"mode": "weak"}, {"mode": None}, {"mode": ""}, {"threshold": 0}, {"threshold": 101}, {"threshold": "x"}]
)
def test_terms_are_those_that_there_are(world: Any, terms: dict[str, Any]) -> None:
    with world.refuses(BadInput):
        world.quota.set_limit("acme", "api_requests", 5, "per_month", **terms)


def test_without_a_limit_of_its_own_the_plans_holds_again(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", 5, "per_month")
    world.quota.remove_limit("acme", "api_requests", "per_month")
    assert world.quota.soft_limit_check("acme", "api_requests")["limit"] == 1000
    with world.unchanged():
        world.quota.remove_limit("acme", "api_requests", "per_month")
    with world.refuses(NotFound):
        world.quota.remove_limit("nobody", "api_requests", "per_month")


# --- Giving back ----------------------------------------------------------------------------------------------------


def test_what_was_reserved_and_not_used_is_given_back_to_every_limit_once(world: Any) -> None:
    for period in ("per_minute", "per_hour", "per_day", "per_month", "absolute"):
        world.quota.set_limit("acme", "bandwidth", 10, period)
    assert world.quota.enforce("acme", "bandwidth", 10, dimension="egress", id="job").allowed
    assert world.quota.release("acme", "bandwidth", "job", 4).remaining == 4
    with world.unchanged():
        assert world.quota.release("acme", "bandwidth", "job", 4).remaining == 4
    with world.refuses(Conflict, "another amount"):
        world.quota.release("acme", "bandwidth", "job", 5)
    with world.refuses(Conflict, "another amount"):
        world.quota.release("acme", "bandwidth", "job")
    assert [row["usage"] for row in world.quota.limits("acme") if row["resource"] == "bandwidth"] == [6] * 5
    assert world.rows("SELECT amount, dimension FROM usage_events") == [("10", "egress"), ("-4", "egress")]
    assert world.quota.enforce("acme", "bandwidth", 4).allowed
    verified(world)


def test_given_back_a_day_later_it_is_given_back_to_the_day_of_the_reservation(world: Any) -> None:
    world.quota.set_limit("acme", "api_requests", 10, "per_day")
    world.quota.enforce("acme", "api_requests", 10, id="job")
    world.to("2026-01-11T12:00:00Z")
    world.quota.enforce("acme", "api_requests", 3)
    assert world.quota.release("acme", "api_requests", "job").used == 3
    assert [entry["api_requests"] for entry in world.usage.get_history("acme", 2)] == [0, 3]


def test_a_level_is_given_back_now(world: Any) -> None:
    world.quota.enforce("acme", "storage", 100, id="upload")
    world.to("2026-01-12T12:00:00Z")
    world.quota.release("acme", "storage", "upload", 30)
    assert world.current("acme", "storage_bytes") == 70
    verified(world)


def test_only_what_was_reserved_can_be_given_back(world: Any) -> None:
    world.usage.create_meter("calls", aggregation="count")
    world.quota.enforce("acme", "api_requests", 5, id="job")
    for call, error in (
        (lambda: world.quota.release("acme", "api_requests", "other"), NotFound),
        (lambda: world.quota.release("acme", "bandwidth", "job"), NotFound),
        (lambda: world.quota.release("nobody", "api_requests", "job"), NotFound),
        (lambda: world.quota.release("acme", "api_requests", "job", 6), Conflict),
        (lambda: world.quota.release("acme", "api_requests", "job", -1), BadInput),
        (lambda: world.quota.release("acme", "api_requests", ""), BadInput),
        (lambda: world.quota.release("acme", "calls", "job"), BadInput),
        (lambda: world.quota.release("acme", "nosuch", "job"), BadInput),
    ):
        with world.refuses(error):
            call()


# --- Features -------------------------------------------------------------------------------------------------------


def test_a_feature_is_what_the_plan_in_force_says(world: Any) -> None:
    apply(world, PRO)
    assert world.quota.entitled("nobody", "sso") is False
    assert world.quota.entitled("nobody", "support") == "community"
    world.plans.upgrade("acme", "pro")
    with world.unchanged():
        found = [
            world.quota.entitled("acme", name) for name in ("sso", "audit", "seats", "ratio", "support", "nothing")
        ]
    assert found == [True, False, 5, Decimal("0.5"), "email", False]
    world.billing.subscriptions.pause("acme")
    assert world.quota.entitled("acme", "sso") is False
    with world.refuses(BadInput):
        world.quota.entitled("acme", "")


# --- Plans from a file ----------------------------------------------------------------------------------------------


def test_what_is_exported_and_applied_again_changes_nothing(world: Any) -> None:
    apply(world, PRO)
    text = world.billing.catalogue.export()
    with world.unchanged():
        assert apply(world, text) == []


def test_a_dry_run_tells_the_difference_and_writes_nothing(world: Any) -> None:
    with world.unchanged():
        changes = apply(world, PRO, dry_run=True)
    assert {"plan": "pro", "version": 2, "field": "features.sso", "before": "", "after": "true"} in changes
    assert apply(world, PRO) == changes


def test_a_subscription_keeps_the_version_it_bought_until_it_is_moved(world: Any) -> None:
    world.plans.upgrade("acme", "pro")
    apply(world, PRO)
    assert world.quota.soft_limit_check("acme", "api_requests")["limit"] == 10_000
    world.plans.upgrade("globex", "pro")
    assert world.quota.soft_limit_check("globex", "api_requests")["limit"] == 100
    assert world.billing.catalogue.move("pro") == 1
    with world.unchanged():
        assert world.billing.catalogue.move("pro") == 0
    assert world.quota.soft_limit_check("acme", "api_requests")["limit"] == 10_000
    world.to("2026-02-10T00:00:00Z")
    assert world.quota.soft_limit_check("acme", "api_requests")["limit"] == 100
    assert world.billing.subscriptions.show("acme")["plan_version"] == 2
    verified(world)


def test_moved_now_it_is_moved_now(world: Any) -> None:
    world.plans.upgrade("acme", "pro")
    apply(world, PRO)
    assert world.billing.catalogue.move("pro", "acme", now=True) == 1
    assert world.quota.soft_limit_check("acme", "api_requests")["limit"] == 100
    verified(world)


def test_those_on_the_default_plan_can_be_moved_too(world: Any) -> None:
    world.customers.create("acme")
    apply(world, '[plans.free]\nprice = "0"\nlimits = [{ meter = "api_requests", period = "per_month", amount = 5 }]')
    assert world.quota.soft_limit_check("nobody", "api_requests")["limit"] == 5
    assert world.quota.soft_limit_check("acme", "api_requests")["limit"] == 1000
    assert world.billing.catalogue.move("free") == 1
    world.to("2026-02-01T00:00:00Z")
    assert world.quota.soft_limit_check("acme", "api_requests")["limit"] == 5
    assert world.period("acme") == ("2026-02-01", "2026-03-01")
    world.plans.upgrade("acme", "pro")
    world.billing.subscriptions.cancel("acme", "now")
    assert world.quota.soft_limit_check("acme", "api_requests")["limit"] == 5
    verified(world)


def test_a_file_that_is_wrong_anywhere_changes_nothing(world: Any) -> None:
    for wrong in (
        '[plans.x]\nprice = "1"\nlimits = [{ meter = "nosuch", period = "per_month", amount = 5 }]',
        '[plans.x]\nprice = "1"\nlimits = [{ meter = "api_requests", period = "per_month", amount = 0.5 }]',
        '[plans.x]\nprice = "1"\nlimits = [{ meter = "compute", period = "per_day", amount = 5, per_seat = true }]',
        '[plans.x]\nprice = "1"\n[plans.x.prices.nosuch]\nmodel = "flat"\namount = "5"',
    ):
        with world.refuses(BadInput):
            apply(world, PRO + wrong)


def test_a_plan_of_ones_own_stays_ones_own(world: Any) -> None:
    own = '[plans.special]\nprice = "5"\ncustomer = "acme"'
    apply(world, own)
    assert "special" in [plan["id"] for plan in world.plans.list("acme")]
    assert "special" not in [plan["id"] for plan in world.plans.list()]
    with world.refuses(Conflict, "belongs to acme"):
        apply(world, '[plans.special]\nprice = "5"')
    assert 'customer = "acme"' in world.billing.catalogue.export("acme")
