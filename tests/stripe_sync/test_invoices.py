"""Invoices, asked of the offline Stripe through the official library: over our transport, and over real HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from nbilling.stripe_sync.failures import Declined, Missing, Rejected


def test_an_invoice_goes_from_draft_to_open_to_paid(offline: Any) -> None:
    g, customer = offline.gateway, offline.payer()
    draft = g.invoice_create(offline.op(), customer)
    assert (draft["status"], draft["number"], draft["total"]) == ("draft", None, 0)
    item = g.invoice_item_create(offline.op(), customer, 1000, "USD", "Overage charges", draft["id"])
    assert (item["invoice"], item["currency"]) == (draft["id"], "usd")
    final = g.invoice_finalize(offline.op(), draft["id"])
    assert (final["status"], final["amount_due"], final["amount_remaining"]) == ("open", 1000, 1000)
    assert final["number"].endswith("-0001")
    with pytest.raises(Rejected, match="already finalized"):
        g.invoice_finalize(offline.op(), draft["id"])
    with pytest.raises(Rejected) as caught:
        g.invoice_item_create(offline.op(), customer, 1, "usd", "late", draft["id"])
    assert caught.value.stripe_code == "invoice_not_editable"
    paid = g.invoice_pay(offline.op(), draft["id"])
    assert (paid["status"], paid["amount_paid"], paid["amount_remaining"]) == ("paid", 1000, 0)
    with pytest.raises(Rejected, match="already paid"):
        g.invoice_pay(offline.op(), draft["id"])
    [payment] = offline.client().invoice_payments.list({"invoice": draft["id"]}).to_dict()["data"]
    intent = offline.client().payment_intents.retrieve(payment["payment"]["payment_intent"]).to_dict()
    assert (payment["status"], intent["status"], intent["amount_received"]) == ("paid", "succeeded", 1000)


def test_paying_a_draft_finalises_it(offline: Any) -> None:
    g, customer = offline.gateway, offline.payer()
    g.invoice_item_create(offline.op(), customer, 500, "usd", "x")
    draft = g.invoice_create(offline.op(), customer, pending_invoice_items_behavior="include")["id"]
    assert g.invoice_pay(offline.op(), draft)["status"] == "paid"


@pytest.mark.parametrize(
    "card,code",
    [
        ("pm_card_chargeCustomerFail", "generic_decline"),
        ("pm_card_authenticationRequired", "invoice_payment_intent_requires_action"),
    ],
)
def test_a_payment_that_fails_leaves_the_invoice_open_and_its_traces(offline: Any, card: str, code: str) -> None:
    g, customer = offline.gateway, offline.payer(card)
    draft = g.invoice_create(offline.op(), customer)["id"]
    g.invoice_item_create(offline.op(), customer, 1000, "usd", "x", draft)
    with pytest.raises(Declined) as caught:
        g.invoice_pay(offline.op(), draft)
    assert caught.value.stripe_code == code
    found = g.invoice(draft)
    assert (found["status"], found["attempt_count"], found["amount_paid"]) == ("open", 1, 0)
    good = g.payment_method_attach(offline.op(), customer, "pm_card_visa")["id"]
    g.default_payment_method_set(offline.op(), customer, good)
    assert g.invoice_pay(offline.op(), draft)["status"] == "paid"


def test_without_a_card_an_invoice_is_not_paid(offline: Any) -> None:
    g = offline.gateway
    customer = g.customer_create(offline.op())["id"]
    draft = g.invoice_create(offline.op(), customer)["id"]
    g.invoice_item_create(offline.op(), customer, 1000, "usd", "x", draft)
    with pytest.raises(Rejected, match="no attached payment source"):
        g.invoice_pay(offline.op(), draft)
    assert g.invoice(draft)["status"] == "draft"


def test_an_invoice_of_nothing_is_paid_when_final(offline: Any) -> None:
    g = offline.gateway
    customer = g.customer_create(offline.op())["id"]
    draft = g.invoice_create(offline.op(), customer)["id"]
    assert g.invoice_finalize(offline.op(), draft)["status"] == "paid"


def test_an_open_invoice_is_voided_and_then_not_paid(offline: Any) -> None:
    g, customer = offline.gateway, offline.payer()
    draft = g.invoice_create(offline.op(), customer)["id"]
    g.invoice_item_create(offline.op(), customer, 1000, "usd", "x", draft)
    with pytest.raises(Rejected):
        g.invoice_void(offline.op(), draft)
    g.invoice_finalize(offline.op(), draft)
    assert g.invoice_void(offline.op(), draft)["status"] == "void"
    with pytest.raises(Rejected, match="status void"):
        g.invoice_pay(offline.op(), draft)


def test_a_deleted_draft_gives_its_items_back(offline: Any) -> None:
    g, customer, client = offline.gateway, offline.payer(), offline.client()
    draft = g.invoice_create(offline.op(), customer)["id"]
    item = g.invoice_item_create(offline.op(), customer, 1000, "usd", "x", draft)["id"]
    assert client.invoices.delete(draft).to_dict() == {"id": draft, "object": "invoice", "deleted": True}
    with pytest.raises(Missing):
        g.invoice(draft)
    assert [one["id"] for one in g.invoice_items(customer=customer, pending=True)] == [item]
    client.invoice_items.delete(item)
    assert list(g.invoice_items(customer=customer)) == []


def test_all_lines_of_a_long_invoice_are_read(offline: Any) -> None:
    g, customer = offline.gateway, offline.payer()
    draft = g.invoice_create(offline.op(), customer)["id"]
    for n in range(12):
        g.invoice_item_create(offline.op(), customer, n + 1, "usd", f"line {n}", draft)
    shown = g.invoice(draft)
    assert (len(shown["lines"]["data"]), shown["lines"]["has_more"], shown["total"]) == (10, True, 78)
    assert [one["amount"] for one in g.invoice_lines(draft)] == list(range(1, 13))
