"""Commands about customers."""

from __future__ import annotations

from typing import Any


def test_a_customer_is_made_shown_changed_and_listed(shell: Any) -> None:
    made = shell.data(
        "customer", "create", "acme", "--company", "Acme Ltd", "--email", "ada@example.com", "--country", "GB",
        "--address-line1", "12 St James's Square", "--vat-number", "GB123456789", "--currency", "gbp",
        "--locale", "en-GB", "--zone", "Europe/London",
    )  # fmt: skip
    assert made["created_at"] == "2026-01-10T12:00:00Z"
    assert (made["currency"], made["locale"], made["zone"]) == ("GBP", "en_GB", "Europe/London")
    assert shell.data("customer", "show", "acme") == made
    changed = shell.data("customer", "update", "acme", "--email", "", "--city", "London")
    assert (changed["email"], changed["city"], changed["company"]) == ("", "London", "Acme Ltd")
    assert shell.data("customer", "list") == [changed]


def test_lists_go_on_after_the_last_id(shell: Any) -> None:
    for name in ("a", "b", "c"):
        shell("customer", "create", name)
    first = shell.data("customer", "list", "--limit", "2")
    assert [row["customer_id"] for row in first] == ["a", "b"]
    rest = shell.data("customer", "list", "--limit", "2", "--after", "b")
    assert [row["customer_id"] for row in rest] == ["c"]


def test_options_that_look_like_options_are_values_after_an_equals_sign(shell: Any) -> None:
    assert shell.data("customer", "create", "acme", "--company=--help", "--name=-1")["company"] == "--help"
