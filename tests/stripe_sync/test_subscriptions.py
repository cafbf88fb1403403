"""Subscriptions, asked of the offline Stripe through the official library: over our transport, and over real HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from nbilling.stripe_sync.failures import Declined, Missing, Rejected


def test_a_subscription_bills_its_first_period_in_advance(offline: Any) -> None:
    g, customer = offline.gateway, offline.payer()
    made = g.subscription_create(offline.op(), customer, "price_pro_monthly")
    [item] = made["items"]["data"]
    assert made["status"] == "active"
    assert made["billing_mode"]["type"] == "flexible"
    assert "current_period_end" not in made
    # A month from 31 January is 28 February.
    assert item["current_period_end"] - item["current_period_start"] == 28 * 86_400
    invoice = g.invoice(made["latest_invoice"])
    assert (invoice["status"], invoice["total"], invoice["amount_paid"]) == ("paid", 2900, 2900)
    assert invoice["billing_reason"] == "subscription_create"
    assert invoice["parent"]["subscription_details"]["subscription"] == made["id"]
    assert not {"subscription", "paid", "payment_intent", "charge"} & invoice.keys()
    [line] = g.invoice_lines(invoice["id"])
    assert line["parent"]["subscription_item_details"]["subscription_item"] == item["id"]
    assert line["pricing"]["price_details"]["price"] == "price_pro_monthly"
    told = offline.events()
    for event in ("customer.subscription.created", "invoice.paid", "invoice.payment_succeeded"):
        assert told.count(event) == 1


def test_without_a_card_there_is_no_subscription(offline: Any) -> None:
    customer = offline.gateway.customer_create(offline.op())["id"]
    with pytest.raises(Rejected) as caught:
        offline.gateway.subscription_create(offline.op(), customer, "price_pro_monthly")
    assert caught.value.stripe_code == "resource_missing"
    assert offline.count("subscription") == offline.count("invoice") == 0


@pytest.mark.parametrize("card", ["pm_card_chargeCustomerFail", "pm_card_authenticationRequired"])
def test_a_subscription_that_is_not_paid_is_incomplete_and_expires(offline: Any, card: str) -> None:
    g, customer = offline.gateway, offline.payer(card)
    made = g.subscription_create(offline.op(), customer, "price_pro_monthly")
    assert made["status"] == "incomplete"
    assert g.invoice(made["latest_invoice"])["status"] == "open"
    offline.at("2026-02-01T09:00:00Z")
    assert g.subscription(made["id"])["status"] == "incomplete_expired"


def test_a_subscription_that_must_not_be_incomplete_leaves_nothing(offline: Any) -> None:
    customer = offline.payer("pm_card_chargeCustomerFail")
    with pytest.raises(Declined):
        offline.gateway.subscription_create(
            offline.op(), customer, "price_pro_monthly", payment_behavior="error_if_incomplete"
        )
    assert offline.count("subscription") == offline.count("invoice") == offline.count("payment_intent") == 0


def test_paying_the_first_invoice_makes_a_subscription_active(offline: Any) -> None:
    g, customer = offline.gateway, offline.payer("pm_card_chargeCustomerFail")
    made = g.subscription_create(offline.op(), customer, "price_pro_monthly")
    good = g.payment_method_attach(offline.op(), customer, "pm_card_visa")["id"]
    g.default_payment_method_set(offline.op(), customer, good)
    assert g.invoice_pay(offline.op(), made["latest_invoice"])["status"] == "paid"
    assert g.subscription(made["id"])["status"] == "active"


def test_another_price_is_prorated_by_the_second(offline: Any) -> None:
    g, customer = offline.gateway, offline.payer()
    made = g.subscription_create(offline.op(), customer, "price_pro_monthly")
    [item] = made["items"]["data"]
    offline.at("2026-02-14T10:00:00Z")  # half of the 28 days
    changed = g.subscription_change_price(offline.op(), made["id"], item["id"], "price_enterprise_monthly")
    assert changed["items"]["data"][0]["price"]["id"] == "price_enterprise_monthly"
    assert changed["items"]["data"][0]["current_period_end"] == item["current_period_end"]
    assert [(one["amount"], one["proration"]) for one in g.invoice_items(customer=customer, pending=True)] == [
        (14_950, True),
        (-1450, True),
    ]
    again = g.subscription_change_price(offline.op(), made["id"], item["id"], "price_enterprise_monthly")
    assert again["items"] == changed["items"]
    assert offline.count("invoiceitem") == 2
    offline.at("2026-02-28T11:00:01Z")
    renewal = g.invoice(g.subscription(made["id"])["latest_invoice"])
    assert (renewal["billing_reason"], renewal["total"]) == ("subscription_cycle", 29_900 + 14_950 - 1450)


def test_a_change_can_be_billed_at_once_or_not_at_all(offline: Any) -> None:
    g, customer = offline.gateway, offline.payer()
    made = g.subscription_create(offline.op(), customer, "price_pro_monthly")
    [item] = made["items"]["data"]
    change = g.subscription_change_price
    billed = change(offline.op(), made["id"], item["id"], "price_enterprise_monthly", "always_invoice")
    invoice = g.invoice(billed["latest_invoice"])
    assert (invoice["status"], invoice["total"], invoice["billing_reason"]) == ("paid", 27_000, "subscription_update")
    change(offline.op(), made["id"], item["id"], "price_pro_monthly", "none")
    assert list(g.invoice_items(customer=customer, pending=True)) == []


def test_what_a_downgrade_gives_back_is_kept_as_the_customers_balance(offline: Any) -> None:
    g, customer = offline.gateway, offline.payer()
    made = g.subscription_create(offline.op(), customer, "price_enterprise_monthly")
    [item] = made["items"]["data"]
    change = g.subscription_change_price
    down = change(offline.op(), made["id"], item["id"], "price_pro_monthly", "always_invoice")
    invoice = g.invoice(down["latest_invoice"])
    assert (invoice["status"], invoice["total"], invoice["amount_due"]) == ("paid", -27_000, 0)
    assert g.customer(customer)["balance"] == invoice["ending_balance"] == -27_000
    offline.at("2026-02-28T12:00:00Z")
    renewal = g.invoice(g.subscription(made["id"])["latest_invoice"])
    assert (renewal["total"], renewal["amount_due"], renewal["status"]) == (2900, 0, "paid")
    assert g.customer(customer)["balance"] == -24_100


def test_another_interval_starts_a_new_period(offline: Any) -> None:
    g, customer = offline.gateway, offline.payer()
    made = g.subscription_create(offline.op(), customer, "price_pro_monthly")
    yearly = g.price_create(
        offline.op(), product="prod_pro", currency="usd", unit_amount=29_000, recurring={"interval": "year"}
    )
    offline.at("2026-02-14T10:00:00Z")
    changed = g.subscription_change_price(offline.op(), made["id"], made["items"]["data"][0]["id"], yearly["id"])
    [item] = changed["items"]["data"]
    assert item["current_period_end"] - item["current_period_start"] == 365 * 86_400
    assert g.invoice(changed["latest_invoice"])["total"] == 29_000 - 1450


def test_a_subscription_renews_in_step_with_its_anchor(offline: Any) -> None:
    g, customer = offline.gateway, offline.payer()
    made = g.subscription_create(offline.op(), customer, "price_pro_monthly")
    offline.at("2026-06-01T00:00:00Z")
    bills = [one for one in g.invoices(customer=customer) if one["billing_reason"] == "subscription_cycle"]
    days = [one["lines"]["data"][0]["period"]["start"] - made["created"] for one in reversed(bills)]
    assert [day // 86_400 for day in days] == [28, 59, 89, 120]  # 28 Feb, 31 Mar, 30 Apr, 31 May
    assert {one["status"] for one in bills} == {"paid"}


def test_a_renewal_that_fails_is_past_due_until_it_is_paid(offline: Any) -> None:
    g, customer = offline.gateway, offline.payer()
    made = g.subscription_create(offline.op(), customer, "price_pro_monthly")
    bad = g.payment_method_attach(offline.op(), customer, "pm_card_chargeCustomerFail")["id"]
    good = g.customer(customer)["invoice_settings"]["default_payment_method"]
    g.default_payment_method_set(offline.op(), customer, bad)
    offline.at("2026-02-28T12:00:00Z")
    late = g.subscription(made["id"])
    assert late["status"] == "past_due"
    assert g.invoice(late["latest_invoice"])["status"] == "open"
    g.default_payment_method_set(offline.op(), customer, good)
    g.invoice_pay(offline.op(), late["latest_invoice"])
    assert g.subscription(made["id"])["status"] == "active"


def test_a_draft_of_a_renewal_waits_an_hour_for_usage(offline: Any) -> None:
    g, customer = offline.gateway, offline.payer()
    made = g.subscription_create(offline.op(), customer, "price_pro_monthly")
    offline.at("2026-02-28T10:30:00Z")
    draft = g.invoice(g.subscription(made["id"])["latest_invoice"])
    assert (draft["status"], draft["auto_advance"]) == ("draft", True)
    g.invoice_item_create(offline.op(), customer, 150, "usd", "Usage", draft["id"])
    offline.at("2026-02-28T11:00:00Z")
    done = g.invoice(draft["id"])
    assert (done["status"], done["total"]) == ("paid", 3050)


def test_a_subscription_ends_with_its_period_or_at_once(offline: Any) -> None:
    g, customer = offline.gateway, offline.payer()
    made = g.subscription_create(offline.op(), customer, "price_pro_monthly")["id"]
    ending = g.subscription_cancel_at_period_end(offline.op(), made)
    assert ending["cancel_at_period_end"]
    assert ending["cancel_at"] == ending["items"]["data"][0]["current_period_end"]
    assert not g.subscription_cancel_at_period_end(offline.op(), made, False)["cancel_at_period_end"]
    g.subscription_cancel_at_period_end(offline.op(), made)
    offline.at("2026-02-28T10:00:00Z")
    ended = g.subscription(made)
    assert (ended["status"], ended["ended_at"]) == ("canceled", ending["cancel_at"])
    other = g.subscription_create(offline.op(), customer, "price_pro_monthly")["id"]
    assert g.subscription_cancel_now(offline.op(), other)["status"] == "canceled"
    with pytest.raises(Missing):
        g.subscription_cancel_now(offline.op(), other)
    with pytest.raises(Rejected):
        g.subscription_cancel_at_period_end(offline.op(), other)
    assert [one["id"] for one in g.subscriptions(customer=customer)] == []
    assert [one["id"] for one in g.subscriptions(customer=customer, status="all")] == [other, made]


def test_an_unknown_price_is_refused(offline: Any) -> None:
    with pytest.raises(Missing, match="No such price"):
        offline.gateway.subscription_create(offline.op(), offline.payer(), "price_unknown")
