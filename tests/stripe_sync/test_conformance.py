"""What Stripe does, asked of the offline one through the official library: over our transport, and over real HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from nbilling.stripe_sync.failures import BadRequest, Declined, KeyRejected, Missing, Rejected
from nbilling.stripe_sync.keys import Key


def status(error: Any) -> tuple[int, str]:
    return error.http_status, error.code or ""


# -- the account, customers


def test_the_account_answers_to_a_test_key_and_not_to_a_live_one(offline: Any) -> None:
    assert offline.gateway.account()["object"] == "account"
    assert offline.gateway_with(Key("sk_test_abc")).account()["object"] == "account"
    with pytest.raises(KeyRejected):
        offline.gateway_with(Key("sk_live_abc")).account()


def test_a_customer_is_created_read_changed_and_deleted(offline: Any) -> None:
    g = offline.gateway
    made = g.customer_create(offline.op(), email="a@example.com", name="Ada", metadata={"plan": "pro"})
    assert made["metadata"] == {"plan": "pro", "nb_op": "op-1"}
    assert g.customer(made["id"]) == made
    changed = g.customer_update(offline.op(), made["id"], name="Ada L.", phone="+1", metadata={"plan": ""})
    assert (changed["name"], changed["phone"], changed["metadata"]) == ("Ada L.", "+1", {"nb_op": "op-2"})
    assert g.customer_update(offline.op(), made["id"], phone="")["phone"] is None
    gone = {"id": made["id"], "object": "customer", "deleted": True}
    assert g.customer_delete(offline.op(), made["id"]) == gone
    assert g.customer(made["id"]) == gone
    with pytest.raises(Missing):
        g.customer_delete(offline.op(), made["id"])
    with pytest.raises(Missing):
        g.customer_update(offline.op(), made["id"], name="x")
    assert list(g.customers()) == []


def test_deleting_a_customer_ends_its_subscriptions(offline: Any) -> None:
    customer = offline.payer()
    subscription = offline.gateway.subscription_create(offline.op(), customer, "price_pro_monthly")["id"]
    offline.gateway.customer_delete(offline.op(), customer)
    assert offline.gateway.subscription(subscription)["status"] == "canceled"
    assert offline.events()[-3:] == ["customer.subscription.deleted", "payment_method.detached", "customer.deleted"]


@pytest.mark.parametrize("email", ["nonsense", "@", "a b@c.d"])
def test_what_is_no_address_is_refused(offline: Any, email: str) -> None:
    with pytest.raises(BadRequest) as caught:
        offline.gateway.customer_create(offline.op(), email=email)
    assert caught.value.stripe_code == "email_invalid"


def test_an_unknown_customer_is_missing(offline: Any) -> None:
    with pytest.raises(Missing, match="No such customer: 'cus_unknown'"):
        offline.gateway.customer("cus_unknown")


# -- lists


def test_a_list_comes_in_pages_newest_first(offline: Any) -> None:
    g, client = offline.gateway, offline.client()
    made = [g.customer_create(offline.op(), email=f"c{n}@example.com")["id"] for n in range(5)][::-1]
    assert [one["id"] for one in g.customers()] == made
    page = client.customers.list({"limit": 2}).to_dict()
    assert ([one["id"] for one in page["data"]], page["has_more"], page["url"]) == (made[:2], True, "/v1/customers")
    page = client.customers.list({"limit": 2, "starting_after": made[2]}).to_dict()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (made[3:], False)
    page = client.customers.list({"limit": 2, "ending_before": made[4]}).to_dict()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (made[2:4], True)
    assert [one["id"] for one in client.customers.list({"limit": 2}).auto_paging_iter()] == made
    assert [one["email"] for one in g.customers(email="c3@example.com")] == ["c3@example.com"]


def test_the_gateway_reads_every_page_once(offline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbilling.stripe_sync import gateway as module

    monkeypatch.setattr(module, "PAGE", 2)
    made = [offline.gateway.customer_create(offline.op())["id"] for _ in range(7)][::-1]
    assert [one["id"] for one in offline.gateway.customers()] == made


@pytest.mark.parametrize("limit", [0, 101, -1])
def test_a_page_has_1_to_100_objects(offline: Any, limit: int) -> None:
    import stripe

    with pytest.raises(stripe.InvalidRequestError):
        offline.client().customers.list({"limit": limit})


def test_an_unknown_place_in_a_list_is_an_error(offline: Any) -> None:
    import stripe

    with pytest.raises(stripe.InvalidRequestError) as caught:
        offline.client().customers.list({"starting_after": "cus_unknown"})
    assert status(caught.value) == (400, "resource_missing")


def test_lists_are_cut_by_time(offline: Any) -> None:
    g = offline.gateway
    early = g.customer_create(offline.op())
    offline.at("2026-02-01T00:00:00Z")
    late = g.customer_create(offline.op())
    assert [one["id"] for one in g.customers(created={"gt": early["created"]})] == [late["id"]]
    assert [one["id"] for one in g.customers(created={"lte": early["created"]})] == [early["id"]]
    assert [one["id"] for one in g.customers(created=late["created"])] == [late["id"]]


# -- payment methods


def test_each_attach_of_a_test_card_is_a_new_payment_method(offline: Any) -> None:
    g = offline.gateway
    customer = g.customer_create(offline.op())["id"]
    first = g.payment_method_attach(offline.op(), customer, "pm_card_visa")
    second = g.payment_method_attach(offline.op(), customer, "pm_card_mastercard")
    assert first["id"] != "pm_card_visa"
    assert (first["customer"], first["card"]["last4"], second["card"]["brand"]) == (customer, "4242", "mastercard")
    assert [one["id"] for one in g.payment_methods(customer)] == [second["id"], first["id"]]
    assert g.payment_method(first["id"]) == first
    assert not any(key.startswith("_") for key in first)
    # Attaching what is attached changes nothing.
    assert g.payment_method_attach(offline.op(), customer, first["id"])["id"] == first["id"]


def test_a_payment_method_of_somebody_else_cannot_be_taken(offline: Any) -> None:
    g = offline.gateway
    one, other = (g.customer_create(offline.op())["id"] for _ in range(2))
    method = g.payment_method_attach(offline.op(), one, "pm_card_visa")["id"]
    with pytest.raises(Rejected) as caught:
        g.payment_method_attach(offline.op(), other, method)
    assert caught.value.stripe_code == "payment_method_unexpected_state"
    with pytest.raises(Rejected):
        g.default_payment_method_set(offline.op(), other, method)


@pytest.mark.parametrize(
    "card,code",
    [
        ("pm_card_visa_chargeDeclined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc"),
    ],
)
def test_a_declined_card_cannot_be_attached(offline: Any, card: str, code: str) -> None:
    customer = offline.gateway.customer_create(offline.op())["id"]
    with pytest.raises(Declined) as caught:
        offline.gateway.payment_method_attach(offline.op(), customer, card)
    assert caught.value.stripe_code == code
    assert list(offline.gateway.payment_methods(customer)) == []


def test_a_detached_method_is_nobodys_and_is_not_attached_again(offline: Any) -> None:
    g, customer = offline.gateway, offline.payer()
    [method] = g.payment_methods(customer)
    detached = offline.client().payment_methods.detach(method["id"]).to_dict()
    assert detached["customer"] is None
    assert list(g.payment_methods(customer)) == []
    assert g.customer(customer)["invoice_settings"]["default_payment_method"] is None
    with pytest.raises(Rejected):
        g.payment_method_attach(offline.op(), customer, method["id"])


# -- products and prices


def test_products_and_prices_are_made_and_found(offline: Any) -> None:
    g = offline.gateway
    product = g.product_create(offline.op(), id="prod_team", name="Team")
    price = g.price_create(
        offline.op(), product="prod_team", currency="eur", unit_amount=4900, recurring={"interval": "month"},
        lookup_key="team",
    )  # fmt: skip
    assert g.product("prod_team") == product
    assert g.price(price["id"]) == price
    assert (price["type"], price["unit_amount"], price["recurring"]["interval_count"]) == ("recurring", 4900, 1)
    assert [one["id"] for one in g.prices(lookup_keys=["team"])] == [price["id"]]
    with pytest.raises(Rejected):
        g.product_create(offline.op(), id="prod_team", name="Again")
    with pytest.raises(Rejected):
        g.price_create(offline.op(), product="prod_team", currency="eur", unit_amount=1, lookup_key="team")
    with pytest.raises(Missing, match="No such product"):
        g.price_create(offline.op(), product="prod_unknown", currency="eur", unit_amount=1)


def test_the_prices_of_the_plans_are_there_from_the_start(offline: Any) -> None:
    prices = {one["id"]: one["unit_amount"] for one in offline.gateway.prices()}
    assert prices == {"price_pro_monthly": 2900, "price_enterprise_monthly": 29_900}
    assert offline.gateway.product("prod_pro")["name"] == "Pro"


# -- events, expansion, what is unknown


def test_events_tell_what_changed(offline: Any) -> None:
    g = offline.gateway
    customer = g.customer_create(offline.op(), name="Ada")["id"]
    op = offline.op()
    g.customer_update(op, customer, name="Eve")
    event = next(g.events())
    assert (event["type"], event["data"]["object"]["name"]) == ("customer.updated", "Eve")
    assert event["data"]["previous_attributes"] == {"name": "Ada", "metadata": {"nb_op": "op-1"}}
    assert event["request"]["idempotency_key"] == op.key
    assert g.event(event["id"]) == event
    assert [one["type"] for one in g.events(types=["customer.*"])] == ["customer.updated", "customer.created"]
    assert [one["type"] for one in g.events(type="customer.created")] == ["customer.created"]


def test_ids_are_expanded_into_objects(offline: Any) -> None:
    import stripe

    customer = offline.payer()
    made = offline.gateway.subscription_create(
        offline.op(), customer, "price_pro_monthly", expand=["latest_invoice", "customer"]
    )
    assert made["latest_invoice"]["status"] == "paid"
    assert made["customer"]["email"] == "payer@example.com"
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        offline.client().customers.retrieve(customer, {"expand": ["nonsense"]})


def test_what_the_offline_stripe_does_not_know_is_an_error(offline: Any) -> None:
    import stripe

    with pytest.raises(stripe.InvalidRequestError) as caught:
        offline.client().coupons.create({"percent_off": 20})
    assert status(caught.value) == (404, "")
    with pytest.raises(BadRequest) as refused:
        offline.gateway.customer_create(offline.op(), tax={"ip_address": "1.2.3.4"})
    assert refused.value.param == "tax"


def test_another_version_of_the_api_is_refused(offline: Any) -> None:
    import stripe

    with pytest.raises(stripe.InvalidRequestError, match="API version"):
        offline.client(stripe_version="2020-08-27").customers.list()


# -- what fixtures bring


def test_ids_of_the_fixtures_come_to_life_as_real_objects(offline: Any) -> None:
    g = offline.gateway
    customer = g.customer("cus_test_1706")
    assert (customer["email"], customer["name"]) == ("cus_test_1706@example.com", "Test Customer 1706")
    assert g.customer("cus_test_1706") == customer
    subscription = g.subscription("sub_test_1")
    assert (subscription["status"], subscription["customer"]) == ("active", "cus_fixture")
    assert g.invoice(subscription["latest_invoice"])["status"] == "paid"
    draft = g.invoice("inv_test_1")
    assert (draft["status"], draft["customer"], draft["total"]) == ("draft", "cus_fixture", 1000)
    g.invoice_finalize(offline.op(), "inv_test_1")
    assert g.invoice_pay(offline.op(), "inv_test_1")["status"] == "paid"
    for other in ("cus_test_", "cus_other", "cus_testing"):
        with pytest.raises(Missing):
            g.customer(other)


def test_outside_fixtures_no_object_comes_to_life(new_offline: Any) -> None:
    offline = new_offline(mode="test")
    for read, object_id in (("customer", "cus_test_1"), ("subscription", "sub_test_1"), ("invoice", "inv_test_1")):
        with pytest.raises(Missing):
            getattr(offline.gateway, read)(object_id)
