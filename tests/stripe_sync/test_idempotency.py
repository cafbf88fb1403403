"""Idempotency keys: the first answer is the answer, whatever it was."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from nbilling.stripe_sync.failures import BadRequest, Declined, Missing, TryAgain, Unconfirmed
from nbilling.stripe_sync.gateway import Operation
from nbilling.stripe_sync.offline.faults import Fault, in_turn

OP = Operation("op", "op:0")


def test_the_same_request_under_its_key_is_done_once_and_answered_the_same(offline: Any) -> None:
    first = offline.gateway.customer_create(OP, email="a@example.com")
    offline.at("2026-02-01T09:00:00Z")
    assert offline.gateway.customer_create(OP, email="a@example.com") == first
    assert (offline.count("customer"), offline.events()) == (1, ["customer.created"])


def test_a_replay_says_that_it_is_one(offline: Any) -> None:
    client = offline.client()
    answers = [client.customers.create({"name": "x"}, {"idempotency_key": "k"}) for _ in range(2)]
    replayed = [answer.last_response.headers.get("Idempotent-Replayed") for answer in answers]
    assert replayed == [None, "true"]


def test_other_parameters_or_another_endpoint_under_a_key_are_an_error(offline: Any) -> None:
    g = offline.gateway
    customer = g.customer_create(OP, email="a@example.com")["id"]
    with pytest.raises(BadRequest, match="same parameters"):
        g.customer_create(OP, email="b@example.com")
    with pytest.raises(BadRequest, match="same parameters"):
        g.customer_update(OP, customer, email="a@example.com")
    assert g.customer(customer)["email"] == "a@example.com"
    assert offline.count("customer") == 1


def test_the_order_of_parameters_does_not_matter(offline: Any) -> None:
    client = offline.client()
    one = client.customers.create({"name": "x", "email": "a@example.com"}, {"idempotency_key": "k"})
    other = client.customers.create({"email": "a@example.com", "name": "x"}, {"idempotency_key": "k"})
    assert one.id == other.id


def test_a_decline_is_kept_under_its_key_and_a_new_key_tries_again(offline: Any) -> None:
    g, customer = offline.gateway, offline.payer("pm_card_chargeCustomerFail")
    draft = g.invoice_create(offline.op(), customer)["id"]
    g.invoice_item_create(offline.op(), customer, 1000, "usd", "x", draft)
    pay = Operation("pay", "pay:0")
    for _ in range(3):
        with pytest.raises(Declined):
            g.invoice_pay(pay, draft)
    assert g.invoice(draft)["attempt_count"] == 1
    with pytest.raises(Declined):
        g.invoice_pay(Operation("pay", "pay:1"), draft)
    assert g.invoice(draft)["attempt_count"] == 2


def test_an_error_about_an_object_is_kept_and_one_about_a_parameter_is_not(offline: Any) -> None:
    import stripe

    g, client = offline.gateway, offline.client()
    for _ in range(2):
        with pytest.raises(Missing):
            g.subscription_create(OP, "cus_test_1", "price_unknown")
    # The customer has a card now; the answer stays.
    with pytest.raises(Missing, match="No such price"):
        g.subscription_create(OP, "cus_test_1", "price_unknown")
    with pytest.raises(stripe.InvalidRequestError):
        client.customers.create({"balance": "x"}, {"idempotency_key": "other"})
    assert client.customers.create({"name": "x"}, {"idempotency_key": "other"}).name == "x"


def test_a_failure_of_stripe_is_pinned_to_its_key(offline: Any) -> None:
    offline.plan(in_turn([Fault("error", after=True)]))
    for _ in range(3):
        with pytest.raises(Unconfirmed):
            offline.gateway.customer_create(OP)
    assert offline.count("customer") == 1
    offline.plan(in_turn([Fault("error")]))
    other = Operation("other", "other:0")
    for _ in range(3):
        with pytest.raises(Unconfirmed):
            offline.gateway.customer_create(other)
    assert offline.count("customer") == 1
    assert offline.gateway.customer_create(Operation("other", "other:1"))["metadata"] == {"nb_op": "other"}


def test_a_lock_timeout_is_pinned_and_a_rate_limit_is_not(offline: Any) -> None:
    g = offline.gateway
    offline.plan(in_turn([Fault("rate_limit", retry_after="3"), None, Fault("lock_timeout")]))
    with pytest.raises(TryAgain) as caught:
        g.customer_create(OP)
    assert caught.value.after == "3"
    g.customer_create(OP)
    for _ in range(2):
        with pytest.raises(Unconfirmed, match="lock"):
            g.customer_create(Operation("b", "b:0"))


def test_a_key_is_forgotten_after_a_day(offline: Any) -> None:
    first = offline.gateway.customer_create(OP)
    offline.at("2026-02-01T10:00:00Z")
    assert offline.gateway.customer_create(OP)["id"] == first["id"]
    offline.at("2026-02-01T10:00:01Z")
    assert offline.gateway.customer_create(OP)["id"] != first["id"]


def test_two_requests_at_once_under_one_key_conflict(offline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[TryAgain] = []
    run = offline.server._run

    def meanwhile() -> None:
        with pytest.raises(TryAgain) as conflict:
            offline.gateway_with(offline.gateway._key).customer_create(OP)
        caught.append(conflict.value)

    def run_while_another_comes(*given: Any) -> Any:
        second = threading.Thread(target=meanwhile)
        second.start()
        second.join()
        return run(*given)

    monkeypatch.setattr(offline.server, "_run", run_while_another_comes)
    made = offline.gateway.customer_create(OP)
    monkeypatch.undo()
    assert "in-progress request" in caught[0].message
    assert offline.gateway.customer_create(OP) == made
    assert offline.count("customer") == 1


def test_a_key_has_255_characters_at_most(offline: Any) -> None:
    import stripe

    with pytest.raises(stripe.IdempotencyError):
        offline.client().customers.create({}, {"idempotency_key": "k" * 256})


def test_many_threads_under_one_key_make_one_object(offline: Any) -> None:
    made: list[str] = []

    def create() -> None:
        gateway = offline.gateway_with(offline.gateway._key)
        while True:
            try:
                made.append(gateway.customer_create(OP, name="x")["id"])
                return
            except TryAgain:
                continue

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(set(made)), offline.count("customer")) == (8, 1, 1)
