"""Shapes: what the offline Stripe answers has the fields of the pinned version, and no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CLASSES = {
    "account": "Account",
    "customer": "Customer",
    "payment_method": "PaymentMethod",
    "product": "Product",
    "price": "Price",
    "plan": "Plan",
    "subscription": "Subscription",
    "subscription_item": "SubscriptionItem",
    "invoice": "Invoice",
    "invoiceitem": "InvoiceItem",
    "line_item": "InvoiceLineItem",
    "payment_intent": "PaymentIntent",
    "invoice_payment": "InvoicePayment",
    "event": "Event",
}

# In the published examples, and not in the present version.
GONE = {"invoice": {"subscription"}, "subscription": set()}

# Parts of an account that concern nobody here.
LEFT_OUT = {"account": {"external_accounts", "future_requirements", "requirements", "settings", "tos_acceptance"}}


@pytest.fixture
def objects(new_offline: Any) -> dict[str, dict[str, Any]]:
    """One object of each kind."""
    offline = new_offline()
    g, customer, client = offline.gateway, offline.payer(), offline.client()
    subscription = g.subscription_create(offline.op(), customer, "price_pro_monthly")
    item = g.invoice_item_create(offline.op(), customer, 5, "usd", "x")
    [item_of_subscription] = subscription["items"]["data"]
    invoice = g.invoice(subscription["latest_invoice"])
    [payment] = client.invoice_payments.list({"invoice": invoice["id"]}).to_dict()["data"]
    return {
        "account": g.account(),
        "customer": g.customer(customer),
        "payment_method": next(g.payment_methods(customer)),
        "product": g.product("prod_pro"),
        "price": g.price("price_pro_monthly"),
        "plan": item_of_subscription["plan"],
        "subscription": subscription,
        "subscription_item": item_of_subscription,
        "invoice": invoice,
        "invoiceitem": item,
        "line_item": invoice["lines"]["data"][0],
        "payment_intent": client.payment_intents.retrieve(payment["payment"]["payment_intent"]).to_dict(),
        "invoice_payment": payment,
        "event": next(g.events()),
    }


def test_every_field_is_one_that_the_library_knows(objects: dict[str, dict[str, Any]]) -> None:
    import stripe

    for kind, name in CLASSES.items():
        known = set(getattr(stripe, name).__annotations__)
        assert objects[kind].keys() - known == set(), kind


def test_every_field_that_is_always_there_is_there(objects: dict[str, dict[str, Any]]) -> None:
    import stripe

    for kind, name in CLASSES.items():
        always = {
            field
            for field, note in getattr(stripe, name).__annotations__.items()
            if "Optional" not in str(note) and "NoneType" not in str(note) and not field.startswith("_")
            and field != "OBJECT_NAME"
        }  # fmt: skip
        assert always - objects[kind].keys() == set(), kind


def test_the_published_examples_have_no_field_more(objects: dict[str, dict[str, Any]], shared_data: Path) -> None:
    import stripe

    examples = json.loads((shared_data / "stripe" / "fixtures3.json").read_text("utf-8"))["resources"]
    for kind, name in CLASSES.items():
        known = set(getattr(stripe, name).__annotations__)
        shown = (
            {field for field in examples[kind] if field in known} - GONE.get(kind, set()) - LEFT_OUT.get(kind, set())
        )
        assert shown - objects[kind].keys() == set(), kind


def test_no_field_of_our_own_gets_out(objects: dict[str, dict[str, Any]]) -> None:
    def names(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*(names(item) for item in value.values()))
        return set().union(*(names(item) for item in value)) if isinstance(value, list) else set()

    assert not {name for name in names(list(objects.values())) if name.startswith("_")}
