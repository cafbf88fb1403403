"""Credit notes: whole and in parts, tax follows, never more than the invoice, balances. Amounts by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nbilling
from nbilling.model.errors import BadInput, Conflict, NotFound
from nbilling.rules.credits import amount_credit, whole_credit

from .conftest import SELLER, HandClock


@pytest.fixture
def issued(open_billing: Callable[..., nbilling.Billing]) -> tuple[nbilling.Billing, str]:
    """30.80 and 5.85 tax (19 %): 36.65."""
    billing = open_billing(**SELLER)
    billing.plans.upgrade("acme", "pro")
    billing.usage.track("acme", "api_requests", 28_021)
    invoice = billing.invoices.generate("acme", "monthly")
    billing.invoices.finalize(invoice)
    return billing, invoice


def test_a_whole_credit_of_an_unpaid_invoice_leaves_nothing_owed(issued: tuple[nbilling.Billing, str]) -> None:
    billing, invoice = issued
    note = billing.credits.credit(invoice, reason="never used")
    assert (note["number"], note["net"], note["tax"], note["total"]) == ("CN-2026-000001", "30.80", "5.85", "36.65")
    shown = billing.invoices.show(invoice)
    assert (shown["status"], shown["open"], shown["total"]) == ("paid", "0.00", "36.65")
    with pytest.raises(Conflict):
        billing.credits.credit(invoice)


def test_parts_add_up_to_the_whole_to_the_cent(issued: tuple[nbilling.Billing, str]) -> None:
    billing, invoice = issued
    taxes = []
    for amount in ("10.27", "10.27"):
        taxes.append(billing.credits.credit(invoice, amount=amount)["tax"])
    taxes.append(billing.credits.credit(invoice)["tax"])
    assert taxes == ["1.95", "1.95", "1.95"]  # 1.95066, 3.90132 and all: 5.85
    assert billing.invoices.show(invoice)["open"] == "0.00"


def test_what_was_paid_goes_to_the_balance_and_from_there_to_the_next_invoice(
    issued: tuple[nbilling.Billing, str], clock: HandClock
) -> None:
    billing, invoice = issued
    billing.invoices.mark_paid(invoice, "bank transfer")
    note = billing.credits.credit(invoice, lines={1: "20.00"})
    assert (note["total"], note["to_balance"]) == ("23.80", "23.80")
    assert billing.credits.balance("acme")["balances"] == {"USD": "23.80"}
    clock.to("2026-02-10T12:00:00Z")
    following = billing.invoices.finalize(billing.invoices.generate("acme", "monthly"))
    assert (following["total"], following["applied"], following["open"]) == ("34.51", "23.80", "10.71")
    assert billing.credits.balance("acme")["balances"] == {"USD": "0.00"}
    billing.invoices.void(following["id"])
    assert billing.credits.balance("acme")["balances"] == {"USD": "23.80"}


def test_a_refund_is_noted_and_does_not_touch_the_balance(issued: tuple[nbilling.Billing, str]) -> None:
    billing, invoice = issued
    billing.invoices.record_payment(invoice, "30.00", "cash")
    note = billing.credits.credit(invoice, refund="cash")
    assert (note["refund"], note["to_balance"]) == ("30.00", "0.00")  # 6.65 was still open
    assert billing.credits.balance("acme")["balances"] == {}


def test_part_payments_add_up(issued: tuple[nbilling.Billing, str]) -> None:
    billing, invoice = issued
    assert billing.invoices.record_payment(invoice, "6.65", "cash")["status"] == "part_paid"
    for wrong, error in (("30.01", Conflict), ("0", BadInput), ("-1", BadInput), ("1.001", BadInput)):
        with pytest.raises(error):
            billing.invoices.record_payment(invoice, wrong, "cash")
    shown = billing.invoices.record_payment(invoice, "30.00", "card")
    assert (shown["status"], shown["open"], len(shown["payments"])) == ("paid", "0.00", 2)


def test_a_credit_is_never_above_its_invoice(issued: tuple[nbilling.Billing, str]) -> None:
    billing, invoice = issued
    for wrong, error in (
        ({"amount": "30.81"}, Conflict),
        ({"lines": {1: "29.01"}}, Conflict),
        ({"lines": {9: "1"}}, BadInput),
        ({"amount": "0"}, BadInput),
        ({"amount": "-1"}, BadInput),
        ({"amount": "1", "lines": {1: "1"}}, BadInput),
    ):
        with pytest.raises(error):
            billing.credits.credit(invoice, **wrong)  # type: ignore[arg-type]
    assert billing.credits.list(invoice) == []


def test_drafts_and_void_invoices_are_not_credited(billing: nbilling.Billing) -> None:
    billing.plans.upgrade("acme", "pro")
    invoice = billing.invoices.generate("acme", "monthly")
    with pytest.raises(Conflict):
        billing.credits.credit(invoice)
    billing.invoices.finalize(invoice)
    billing.invoices.void(invoice)
    with pytest.raises(Conflict):
        billing.credits.credit(invoice)
    with pytest.raises(NotFound):
        billing.credits.credit("inv_nothing")
    with pytest.raises(NotFound):
        billing.credits.show("cn_nothing")


@given(
    st.lists(st.integers(-500, 5000), min_size=1, max_size=6).filter(lambda nets: sum(nets) > 0),
    st.integers(0, 2000),
    st.lists(st.integers(1, 3000), max_size=5),
)
def test_any_parts_and_the_rest_take_back_exactly_the_invoice(nets: list[int], tax: int, parts: list[int]) -> None:
    before: dict[int, int] = {}
    net = taxes = 0

    def take(credited: object) -> None:
        nonlocal net, taxes
        for place, amount in credited.lines:  # type: ignore[attr-defined]
            assert amount > 0
            before[place] = before.get(place, 0) + amount
            assert before[place] <= nets[place - 1]
        net += credited.net_minor  # type: ignore[attr-defined]
        taxes += credited.tax_minor  # type: ignore[attr-defined]

    for part in parts:
        if part < sum(nets) - net:
            take(amount_credit(nets, before, tax, part))
    take(whole_credit(nets, before, tax))
    assert (net, taxes) == (sum(nets), tax)
