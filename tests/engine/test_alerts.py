"""Alerts fire once a billing period, when a threshold is reached, through the outbox."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbilling.engine.accounts import Accounts
from nbilling.engine.alerts import Alerts
from nbilling.engine.outbox import Outbox
from nbilling.engine.quota import Quota
from nbilling.engine.recorder import UsageRecorder
from nbilling.model.errors import BadInput, NotFound
from nbilling.store import customers


def alerts_of(world: Any) -> Alerts:
    core = world.billing._core
    accounts = Accounts(core)
    quota = Quota(core, accounts, UsageRecorder(core, accounts))
    return Alerts(core, accounts, Outbox(core), quota.usages)


@pytest.fixture
def alerts(world: Any) -> Alerts:
    return alerts_of(world)


def fired(alerts: Alerts, customer: str = "acme") -> list[tuple[str, Any, Any]]:
    return [(one["metric"], one["threshold"], one["usage"]) for one in alerts.alert_check(customer)]


# --- Setting --------------------------------------------------------------------------------------------------------


def test_an_alert_is_set_and_set_again_with_another_type(world: Any, alerts: Alerts) -> None:
    alerts.alert_set("acme", "api_requests", "10000", "email")
    alerts.alert_set("acme", "api_requests", 20_000, "log")
    alerts.alert_set("acme", "storage_gb", "0.5", "webhook")
    alerts.alert_set("acme", "storage_bytes", 536_870_912, "log")
    alerts.alert_set_percentage("acme", "api_requests", "80%", "log")
    alerts.alert_set("acme", "compute_seconds", "0.5", "log")
    listed = [(a["metric"], a["basis"], a["threshold"], a["unit"], a["type"]) for a in alerts.alert_list("acme")]
    assert listed == [
        ("api_requests", "amount", 10_000, "requests", "email"),
        ("api_requests", "amount", 20_000, "requests", "log"),
        ("api_requests", "percent", 80, "%", "log"),
        ("storage", "amount", 536_870_912, "bytes", "log"),
        ("compute", "amount", Decimal("0.5"), "seconds", "log"),
    ]
    assert world.rows("SELECT count(*) FROM audit WHERE action = 'alert.set'") == [(6,)]


@pytest.mark.parametrize(
    "metric,threshold,type",
    [
        ("nothing", 1, "log"),
        ("", 1, "log"),
        ("api_requests\n", 1, "log"),
        ("api_requests", 0, "log"),
        ("api_requests", -1, "log"),
        ("api_requests", "1e3", "log"),
        ("api_requests", 1.5, "log"),
        ("api_requests", "ten", "log"),
        ("api_requests", 2**63, "log"),
        ("api_requests", 1, "fax"),
        ("api_requests", 1, ""),
        ("api_requests", 1, None),
    ],
)
def test_what_is_no_alert_is_refused(world: Any, alerts: Alerts, metric: Any, threshold: Any, type: Any) -> None:
    with world.refuses(BadInput):
        alerts.alert_set("acme", metric, threshold, type)


@pytest.mark.parametrize("customer", ["", "a\0b", None, "a" * 256])
def test_a_customer_that_cannot_be_is_refused(world: Any, alerts: Alerts, customer: Any) -> None:
    with world.refuses(BadInput):
        alerts.alert_set(customer, "api_requests", 1, "log")
    with world.refuses(BadInput):
        alerts.alert_check(customer)


def test_an_alert_that_is_removed_does_not_fire_and_can_be_set_again(world: Any, alerts: Alerts) -> None:
    alerts.alert_set("acme", "storage_gb", 1, "log")
    alerts.alert_set_percentage("acme", "storage", 50, "log")
    world.usage.track_storage("acme", 2**30)
    alerts.alert_remove("acme", "storage", 2**30)
    alerts.alert_remove("acme", "storage", 50, percent=True)
    assert alerts.alert_list("acme") == fired(alerts) == []
    with world.refuses(NotFound, "no such alert"):
        alerts.alert_remove("acme", "storage", 2**30)
    with world.refuses(NotFound):
        alerts.alert_remove("zeta", "storage", 1)
    alerts.alert_set("acme", "storage_gb", 1, "log")
    assert fired(alerts) == [("storage", 2**30, 2**30)]


# --- Firing ---------------------------------------------------------------------------------------------------------


def test_an_unknown_customer_and_one_without_alerts_fire_nothing_and_write_nothing(world: Any, alerts: Alerts) -> None:
    world.usage.track("acme", "api_requests", 5)
    with world.unchanged():
        assert fired(alerts) == fired(alerts, "zeta") == alerts.alert_list("zeta") == []


def test_an_alert_fires_when_its_threshold_is_reached_and_once_a_period(world: Any, alerts: Alerts) -> None:
    alerts.alert_set("acme", "api_requests", 100, "log")
    world.usage.track("acme", "api_requests", 99)
    with world.unchanged():
        assert fired(alerts) == []
    world.usage.track("acme", "api_requests", 1)
    assert fired(alerts) == [("api_requests", 100, 100)]
    world.usage.track("acme", "api_requests", 1000)
    with world.unchanged():
        assert fired(alerts) == []
    world.to("2026-02-01T00:00:00Z")
    assert fired(alerts) == []
    world.usage.track("acme", "api_requests", 100)
    assert fired(alerts) == [("api_requests", 100, 100)]
    assert world.rows("SELECT count(*) FROM outbox") == [(2,)]


def test_several_thresholds_fire_each_for_itself_lowest_first(world: Any, alerts: Alerts) -> None:
    for threshold in (300, 100, 200):
        alerts.alert_set("acme", "api_requests", threshold, "log")
    world.usage.track("acme", "api_requests", 250)
    assert [threshold for _, threshold, _ in fired(alerts)] == [100, 200]
    world.usage.track("acme", "api_requests", 250)
    assert [threshold for _, threshold, _ in fired(alerts)] == [300]


def test_a_gauge_is_compared_by_its_level_and_fires_in_each_period_that_it_lies_above(
    world: Any, alerts: Alerts
) -> None:
    alerts.alert_set("acme", "storage_gb", 1, "log")
    world.usage.track_storage("acme", 2**30)
    world.usage.track_storage("acme", 0)
    assert fired(alerts) == []
    world.usage.track_storage("acme", 2**30)
    assert len(fired(alerts)) == 1
    world.to("2026-02-10T00:00:00Z")
    assert len(fired(alerts)) == 1
    assert fired(alerts) == []


def test_a_percentage_is_of_the_fullest_quota(world: Any, alerts: Alerts) -> None:
    world.quota.set_limit("acme", "api_requests", 1000, "per_month")
    world.quota.set_limit("acme", "api_requests", 100, "per_day")
    for percent in (80, 100):
        alerts.alert_set_percentage("acme", "api_requests", percent, "log")
    world.usage.track("acme", "api_requests", 79)
    assert fired(alerts) == []
    world.usage.track("acme", "api_requests", 1)
    [told] = alerts.alert_check("acme")
    assert (told["threshold"], told["percentage"], told["usage"], told["limit"]) == (80, 80, 80, 100)
    assert "80 % of its quota on api_requests: 80 requests of 100 requests" in told["summary"]
    world.usage.track("acme", "api_requests", 20)
    assert fired(alerts) == [("api_requests", 100, 100)]


def test_without_a_limit_or_without_usage_no_percentage_is_reached(world: Any, alerts: Alerts) -> None:
    world.quota.set_limit("acme", "api_requests", "unlimited", "per_month")
    world.quota.set_limit("acme", "functions", 0, "per_month")
    for meter in ("api_requests", "functions"):
        alerts.alert_set_percentage("acme", meter, 1, "log")
    world.usage.track("acme", "api_requests", 10**9)
    assert fired(alerts) == []
    world.usage.track("acme", "functions", 1)
    assert fired(alerts) == [("functions", 1, 1)]


def test_a_reset_counts_anew_and_does_not_arm_an_alert_again(world: Any, alerts: Alerts) -> None:
    alerts.alert_set("acme", "api_requests", 100, "log")
    alerts.alert_set("acme", "api_requests", 150, "log")
    world.usage.track("acme", "api_requests", 100)
    assert len(fired(alerts)) == 1
    world.usage.reset("acme", "monthly")
    world.usage.track("acme", "api_requests", 100)
    assert fired(alerts) == [], "100 fired already, and 150 is not reached since the reset"
    world.usage.track("acme", "api_requests", 50)
    assert fired(alerts) == [("api_requests", 150, 150)]


def test_a_plan_that_starts_a_new_billing_period_arms_again(world: Any, alerts: Alerts) -> None:
    alerts.alert_set("acme", "api_requests", 10, "log")
    world.usage.track("acme", "api_requests", 10)
    assert len(fired(alerts)) == 1
    world.to("2026-01-20T12:00:00Z")
    world.plans.upgrade("acme", "pro")
    assert fired(alerts) == []
    world.usage.track("acme", "api_requests", 10)
    assert len(fired(alerts)) == 1


def test_the_type_that_holds_when_it_fires_says_how_it_is_told(world: Any, alerts: Alerts) -> None:
    alerts.alert_set("acme", "api_requests", 1, "log")
    alerts.alert_set("acme", "api_requests", 1, "webhook")
    world.usage.track("acme", "api_requests", 1)
    assert alerts.alert_check("acme")[0]["type"] == "webhook"
    assert world.rows("SELECT kind, state FROM outbox") == [("alert_webhook", "pending")]
    alerts.alert_set("acme", "api_requests", 1, "email")
    assert fired(alerts) == []


def test_what_is_told_names_who_what_how_much_and_which_period(world: Any, alerts: Alerts) -> None:
    alerts.alert_set("acme", "storage_gb", "0.5", "log")
    world.usage.track_storage("acme", 2**30)
    [told] = alerts.alert_check("acme")
    assert told.pop("operation_id").startswith("alert_")
    assert told == {
        "customer_id": "acme",
        "metric": "storage",
        "basis": "amount",
        "threshold": 2**29,
        "unit": "bytes",
        "usage": 2**30,
        "limit": None,
        "percentage": None,
        "type": "log",
        "period_start": "2026-01-01T00:00:00Z",
        "period_end": "2026-02-01T00:00:00Z",
        "fired_at": "2026-01-10T12:00:00Z",
        "summary": "acme has reached 1.00 GB on storage, the alert is set at 0.50 GB",
    }
    assert alerts._outbox.show(1)["payload"] == told
    assert alerts.alert_list("acme")[0]["fired_at"] == "2026-01-10T12:00:00Z"


def test_an_alert_in_a_customers_zone_fires_by_its_local_month(world: Any, alerts: Alerts) -> None:
    world.customers.create("acme", zone="Asia/Kolkata")
    alerts.alert_set("acme", "api_requests", 1, "log")
    world.to("2026-01-31T18:29:00Z")
    world.usage.track("acme", "api_requests", 1)
    assert len(fired(alerts)) == 1
    world.to("2026-01-31T18:30:00Z")
    world.usage.track("acme", "api_requests", 1)
    assert len(fired(alerts)) == 1


def test_many_checks_at_once_fire_once(world: Any, alerts: Alerts) -> None:
    for threshold in (1, 2, 3):
        alerts.alert_set("acme", "api_requests", threshold, "log")
    world.usage.track("acme", "api_requests", 5)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.extend(fired(alerts))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(threshold for _, threshold, _ in found) == [1, 2, 3]
    assert world.rows("SELECT count(*) FROM outbox") == [(3,)]


def test_a_copy_of_the_ledger_fires_under_the_same_id_and_another_ledger_does_not(
    new_world: Any, world: Any, alerts: Alerts
) -> None:
    other = new_world()
    other.billing.ledger.write(lambda db: customers.set_fact(db, "created_at", "1"))
    ids = []
    for here in (world, world, other):
        room = alerts_of(here)
        room.alert_set("acme", "api_requests", 1, "log")
        here.usage.track("acme", "api_requests", 1)
        row = customers.find(here.billing.ledger.read(), "acme")
        ids.append(Alerts._operation(here.billing.ledger.read(), row, room_alert(here)))
    assert ids[0] == ids[1] != ids[2]


def room_alert(world: Any) -> Any:
    from nbilling.store import alerts as table

    row = customers.find(world.billing.ledger.read(), "acme")
    assert row is not None
    return table.of_customer(world.billing.ledger.read(), row.id, row.start_at)[0][0]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    thresholds=st.sets(st.integers(1, 60), max_size=4),
    steps=st.lists(st.tuples(st.integers(0, 20), st.booleans(), st.integers(0, 20)), max_size=8),
)
def test_in_every_period_just_the_thresholds_that_were_reached_have_fired(
    new_world: Any, thresholds: set[int], steps: list[tuple[int, bool, int]]
) -> None:
    world = new_world()
    alerts = alerts_of(world)
    for threshold in thresholds:
        alerts.alert_set("acme", "api_requests", threshold, "log")
    used: dict[str, int] = {}
    told: dict[str, list[int]] = {}
    for amount, check, days in steps:
        if amount:
            world.usage.track("acme", "api_requests", amount)
        period, _ = world.period("acme")
        used[period] = used.get(period, 0) + amount
        if check:
            told.setdefault(period, []).extend(threshold for _, threshold, _ in fired(alerts))
            assert sorted(told[period]) == sorted(t for t in thresholds if t <= used[period])
        world.clock.at += days * 86_400_000_000
