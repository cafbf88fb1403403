"""Discounts on invoices: codes, percentages given by hand, how long they run. Amounts by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import nbilling
from nbilling.model.errors import BadInput, Conflict, NotFound

from .conftest import SELLER, HandClock


@pytest.fixture
def draft(open_billing: Callable[..., nbilling.Billing]) -> tuple[nbilling.Billing, str]:
    """A pro month: 29.00 and 1.80 of requests, before 19 % tax."""
    billing = open_billing(**SELLER)
    billing.plans.upgrade("acme", "pro")
    billing.usage.track("acme", "api_requests", 28_021)
    return billing, billing.invoices.generate("acme", "monthly")


def test_a_code_and_a_percentage_come_before_tax_in_order(draft: tuple[nbilling.Billing, str]) -> None:
    billing, invoice = draft
    billing.discounts.create("save20", percent=20)
    billing.invoices.apply_discount(invoice, "SAVE20")
    shown = billing.invoices.apply_discount_percentage(invoice, "15")
    # 30.80 less 20 % is 24.64; 15 % of that is 3.696: 20.94 left, 19 % of it is 3.9786
    assert shown["discounts"] == [{"label": "SAVE20", "amount": "6.16"}, {"label": "15 %", "amount": "3.70"}]
    assert (shown["subtotal"], shown["discount"], shown["tax"], shown["total"]) == ("30.80", "9.86", "3.98", "24.92")
    billing.usage.track("acme", "api_requests", 10_000)
    billing.invoices.generate("acme", "monthly")  # the draft keeps its discounts: 31.80, 25.44, 21.62 (3.816 off)
    assert billing.invoices.show(invoice)["total"] == "25.73"


def test_a_code_is_taken_once_an_invoice_and_only_on_drafts(draft: tuple[nbilling.Billing, str]) -> None:
    billing, invoice = draft
    billing.discounts.create("SAVE20", percent="20")
    billing.invoices.apply_discount(invoice, "save20")
    with pytest.raises(Conflict):
        billing.invoices.apply_discount(invoice, "SAVE20")
    billing.invoices.finalize(invoice)
    for call in (
        lambda: billing.invoices.apply_discount(invoice, "SAVE20"),
        lambda: billing.invoices.apply_discount_percentage(invoice, 5),
        lambda: billing.invoices.add_line(invoice, "x", "1"),
    ):
        with pytest.raises(Conflict):
            call()


def test_a_code_of_two_periods_runs_for_two_invoices(draft: tuple[nbilling.Billing, str], clock: HandClock) -> None:
    billing, invoice = draft
    billing.discounts.create("TWO", percent=50, periods=2)
    billing.invoices.apply_discount(invoice, "TWO")
    billing.invoices.finalize(invoice)
    discounts = []
    for month in ("2026-02-12", "2026-03-12"):
        clock.to(f"{month}T00:00:00Z")
        next_one = billing.invoices.generate("acme", "monthly")
        discounts.append(billing.invoices.finalize(next_one)["discount"])
    assert discounts == ["14.50", "0.00"]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"percent": 10, "expires": "2026-01-10T12:00:00Z"}, "expired"),
        ({"percent": 10, "starts": "2026-02-01"}, "not valid yet"),
        ({"amount": "5", "currency": "EUR"}, "EUR"),
        ({"percent": 10, "plans": ("enterprise",)}, "not for plan"),
        ({"percent": 10, "max_uses": 1}, "used up"),
        ({"percent": 10, "stackable": False}, "combined"),
    ],
)
def test_a_code_that_cannot_be_taken_says_why(
    draft: tuple[nbilling.Billing, str], settings: dict[str, Any], why: str
) -> None:
    billing, invoice = draft
    billing.discounts.create("X", **settings)
    if "max_uses" in settings or "stackable" in settings:
        billing.plans.upgrade("other", "pro")
        other = billing.invoices.generate("other", "monthly")
        billing.invoices.apply_discount(other, "X")
        if "stackable" in settings:
            billing.invoices.apply_discount_percentage(invoice, 5)
    with pytest.raises(Conflict, match=why):
        billing.invoices.apply_discount(invoice, "X")


def test_an_amount_never_takes_more_than_there_is(draft: tuple[nbilling.Billing, str]) -> None:
    billing, invoice = draft
    billing.discounts.create("GIFT", amount="100.00")
    shown = billing.invoices.apply_discount(invoice, "GIFT")
    assert (shown["discount"], shown["tax"], shown["total"]) == ("30.80", "0.00", "0.00")


def test_a_code_for_one_meter_leaves_the_other_lines(draft: tuple[nbilling.Billing, str]) -> None:
    billing, invoice = draft
    billing.discounts.create("API", percent=50, meters=("api_requests",))
    assert billing.invoices.apply_discount(invoice, "API")["discount"] == "0.90"


def test_one_off_invoices_and_lines_by_hand(open_billing: Callable[..., nbilling.Billing]) -> None:
    billing = open_billing(**SELLER)
    invoice = billing.invoices.create("acme")
    billing.invoices.add_line(invoice, "Set-up", "150.00")
    shown = billing.invoices.add_line(invoice, "Hours", "99.99", "1.5")  # 149.985
    assert [line["amount"] for line in shown["lines"]] == ["150.00", "149.99"]
    assert billing.invoices.create("acme") != invoice
    assert billing.invoices.finalize(invoice)["total"] == "356.99"  # 299.99 and 56.9981


@pytest.mark.parametrize("percentage", ["-1", "101", "NaN", "1e1", "", "１５", 5.5, True])
def test_a_percentage_that_is_none_is_refused(draft: tuple[nbilling.Billing, str], percentage: object) -> None:
    billing, invoice = draft
    with pytest.raises(BadInput):
        billing.invoices.apply_discount_percentage(invoice, percentage)
    assert billing.invoices.show(invoice)["discounts"] == []


@pytest.mark.parametrize("given", [{}, {"percent": "5", "amount": "5"}])
def test_a_code_is_a_percentage_or_an_amount(billing: nbilling.Billing, given: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="a percentage or an amount"):
        billing.discounts.create("NONE", **given)  # type: ignore[arg-type]
    assert billing.discounts.list() == []


@pytest.mark.parametrize("amount", ["0", "-5"])
def test_an_amount_that_takes_nothing_off_is_refused(billing: nbilling.Billing, amount: str) -> None:
    with pytest.raises(BadInput, match="takes nothing off"):
        billing.discounts.create("NONE", amount=amount)
    assert billing.discounts.list() == []


def test_unknown_codes_and_plans_are_not_found(draft: tuple[nbilling.Billing, str]) -> None:
    billing, invoice = draft
    with pytest.raises(NotFound):
        billing.invoices.apply_discount(invoice, "NOPE")
    with pytest.raises(NotFound):
        billing.invoices.apply_discount("inv_nothing", "NOPE")
    with pytest.raises(NotFound):
        billing.discounts.create("X", percent=5, plans=("gold",))
    with pytest.raises(BadInput):
        billing.discounts.create("X", percent=5, amount="1")
    with pytest.raises(BadInput):
        billing.discounts.create("X")
    assert billing.discounts.list() == []
