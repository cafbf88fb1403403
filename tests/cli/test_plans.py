"""Commands of the room plan."""

from __future__ import annotations

from typing import Any


def test_plans_are_listed_cheapest_first_and_ones_own_for_its_customer(shell: Any) -> None:
    assert [plan["id"] for plan in shell.data("plan", "list")] == ["free", "pro", "enterprise"]
    assert shell("plan", "create-custom", "acme", "Acme special", "99.5", '{"api_requests": 5}') == (
        0,
        "acme_special\n",
        "",
    )
    assert [plan["id"] for plan in shell.data("plan", "list")] == ["free", "pro", "enterprise"]
    assert [plan["id"] for plan in shell.data("plan", "list", "--customer", "acme")] == [
        "free", "pro", "acme_special", "enterprise",
    ]  # fmt: skip


def test_details_are_those_of_the_contract(shell: Any) -> None:
    found = shell.data("plan", "get-details", "pro")
    shown = ("id", "name", "price", "currency", "interval", "limits", "features")
    assert {key: found[key] for key in shown} == {
        "id": "pro", "name": "Pro", "price": "29.00", "currency": "USD", "interval": "month",
        "limits": {"api_requests": 10_000, "storage": 10_737_418_240}, "features": {"support": "email"},
    }  # fmt: skip


def test_a_comparison_has_both_plans_and_rows(shell: Any) -> None:
    found = shell.data("plan", "compare", "free", "pro")
    assert found["plans"] == ["free", "pro"]
    assert found["rows"][0] == {"name": "price", "free": "0.00", "pro": "29.00"}
    table = shell("plan", "compare", "free", "pro", "--format", "table").out
    assert table.splitlines()[0].split() == ["name", "free", "pro"]


def test_changes_are_quiet_and_seen_in_the_present_plan(shell: Any) -> None:
    assert shell("plan", "upgrade", "acme", "pro") == (0, "", "")
    assert shell("plan", "upgrade", "acme", "pro") == (0, "", "")
    assert shell("plan", "downgrade", "acme", "free") == (0, "", "")
    found = shell.data("plan", "get-current", "acme")
    assert found["id"] == "pro"
    assert {key: value for key, value in found["subscription"].items() if key != "id"} == {
        "status": "active",
        "current_period_start": "2026-01-10T00:00:00Z",
        "current_period_end": "2026-02-10T00:00:00Z",
        "pending_plan": "free",
        "pending_at": "2026-02-10T00:00:00Z",
    }
    shell.environment.setenv("NBILLING_NOW", "2026-02-10T00:00:00Z")
    assert shell.data("plan", "get-current", "acme")["id"] == "free"


def test_a_customer_that_is_not_there_is_on_free(shell: Any) -> None:
    with shell.unchanged():
        found = shell.data("plan", "get-current", "nobody")
    assert (found["id"], found["subscription"]["status"]) == ("free", "active")
