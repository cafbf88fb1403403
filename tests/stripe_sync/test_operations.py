"""Operations through the outbox: done once whatever happens on the way, in order, and answered also with a no."""

from __future__ import annotations

import random
from typing import Any

import pytest

from nbilling.engine.outbox import Outbox
from nbilling.engine.outbox_worker import Worker
from nbilling.model.clock import HOUR, MINUTE
from nbilling.stripe_sync.failures import Declined, Missing, Rejected
from nbilling.stripe_sync.offline.faults import KINDS as FAULTS
from nbilling.stripe_sync.offline.faults import Fault, in_turn
from nbilling.stripe_sync.operations import KINDS, handlers, result_of


class Sent:
    """An outbox on the offline Stripe's own ledger, and a worker with our handlers."""

    def __init__(self, offline: Any) -> None:
        self.offline = offline
        self.outbox = Outbox(offline.core)
        self.worker = Worker(offline.core, handlers(lambda: offline.gateway), draw=lambda n: 0)
        self.count = 0

    def queue(self, kind: str, **payload: Any) -> str:
        self.count += 1
        name = f"sent-{self.count}"
        self.offline.core.write(lambda db: self.outbox.enqueue(db, f"stripe.{kind}", 0, payload, name))
        return name

    def now(self, kind: str, **payload: Any) -> Any:
        """Queued and sent at once, as the commands do it."""
        name = self.queue(kind, **payload)
        self.worker.send_now(name)
        shown = self.outbox.show(name)
        assert shown["state"] == "done", shown
        return result_of(shown["result"])

    def until_done(self) -> None:
        while True:
            self.worker.run()
            status = self.outbox.status()
            if not status["pending"] + status["unknown"] + status["leased"]:
                assert not status["dead"]
                return
            self.offline.clock.at += MINUTE


@pytest.fixture
def sent(new_offline: Any) -> Sent:
    return Sent(new_offline())


def test_the_calls_of_the_contract_go_through_in_their_order(sent: Sent) -> None:
    g = sent.offline.gateway
    customer = sent.now("customer_create", fields={"email": "test@example.com", "name": "Test User"})["id"]
    sent.now("customer_update", customer=customer, fields={"name": "Updated Name"})
    method = sent.now("payment_method_attach", customer=customer, method="pm_card_visa")["id"]
    assert g.customer(customer)["invoice_settings"]["default_payment_method"] == method
    other = sent.now("payment_method_attach", customer=customer, method="pm_card_mastercard")["id"]
    assert g.customer(customer)["invoice_settings"]["default_payment_method"] == method != other
    subscription = sent.now("subscription_create", customer=customer, price="price_pro_monthly")["id"]
    sent.now("subscription_update", subscription=subscription, price="price_enterprise_monthly")
    sent.now("subscription_update", subscription=subscription, price="price_enterprise_monthly")
    assert len(list(g.invoice_items(customer=customer))) == 2
    for _ in range(2):
        assert sent.now("subscription_cancel", subscription=subscription, when="at_period_end")["cancel_at_period_end"]
    draft = sent.now("invoice_create", customer=customer)["id"]
    sent.now("invoice_item_add", customer=customer, amount=1000, currency="USD", description="Overage", invoice=draft)
    for _ in range(2):
        assert sent.now("invoice_finalize", invoice=draft)["status"] == "open"
    for _ in range(2):
        # The item, and what waited: the proration of the change of price.
        assert sent.now("invoice_pay", invoice=draft)["amount_paid"] == 28000
    assert sent.offline.events().count("payment_intent.succeeded") == 2  # the subscription's first invoice, and this
    for _ in range(2):
        assert sent.now("subscription_cancel", subscription=subscription, when="now")["status"] == "canceled"
    for _ in range(2):
        assert sent.now("customer_delete", customer=customer)["deleted"]


def test_a_no_is_an_answer_and_holds_nothing_up(sent: Sent) -> None:
    with pytest.raises(Missing):
        sent.now("subscription_cancel", subscription="sub_unknown", when="now")
    with pytest.raises(Declined) as declined:
        sent.now("payment_method_attach", customer="cus_test_1", method="pm_card_visa_chargeDeclined")
    assert declined.value.stripe_code == "generic_decline"
    with pytest.raises(Missing):
        sent.now("subscription_create", customer="cus_test_1", price="price_unknown")
    customer = sent.offline.payer()
    subscription = sent.now("subscription_create", customer=customer, price="price_pro_monthly")["id"]
    sent.now("subscription_cancel", subscription=subscription, when="now")
    with pytest.raises(Rejected, match="ended"):
        sent.now("subscription_update", subscription=subscription, price="price_enterprise_monthly")
    draft = sent.now("invoice_create", customer=customer)["id"]
    sent.now("invoice_item_add", customer=customer, amount=5, currency="usd", description="x", invoice=draft)
    sent.offline.gateway.invoice_finalize(sent.offline.op(), draft)
    sent.offline.gateway.invoice_void(sent.offline.op(), draft)
    for kind in ("invoice_finalize", "invoice_pay"):
        with pytest.raises(Rejected, match="void"):
            sent.now(kind, invoice=draft)
    assert sent.outbox.status()["dead"] == 0


def test_a_declined_payment_is_told_as_declined(sent: Sent) -> None:
    customer = sent.offline.payer("pm_card_chargeCustomerFail")
    draft = sent.now("invoice_create", customer=customer)["id"]
    sent.now("invoice_item_add", customer=customer, amount=5, currency="usd", description="x", invoice=draft)
    with pytest.raises(Declined):
        sent.now("invoice_pay", invoice=draft)
    assert sent.offline.gateway.invoice(draft)["attempt_count"] == 1


EVENTS = {
    "customer_create": "customer.created",
    "customer_update": "customer.updated",
    "customer_delete": "customer.deleted",
    "payment_method_attach": "payment_method.attached",
    "subscription_create": "customer.subscription.created",
    "subscription_update": "customer.subscription.updated",
    "subscription_cancel": "customer.subscription.deleted",
    "invoice_create": "invoice.created",
    "invoice_item_add": "invoiceitem.created",
    "invoice_finalize": "invoice.finalized",
    "invoice_pay": "payment_intent.succeeded",
}


def payload_of(sent: Sent, kind: str) -> dict[str, Any]:
    """What an operation needs, on objects of its own."""
    g, op, customer = sent.offline.gateway, sent.offline.op, sent.offline.payer()
    if kind == "customer_create":
        return {"fields": {"name": "New"}}
    if kind == "customer_update":
        return {"customer": customer, "fields": {"name": "New"}}
    if kind == "payment_method_attach":
        return {"customer": customer, "method": "pm_card_mastercard"}
    if kind == "subscription_create":
        return {"customer": customer, "price": "price_enterprise_monthly"}
    if kind in ("subscription_update", "subscription_cancel"):
        subscription = g.subscription_create(op(), customer, "price_pro_monthly")["id"]
        more = {"price": "price_enterprise_monthly"} if kind == "subscription_update" else {"when": "now"}
        return {"subscription": subscription, **more}
    if kind in ("invoice_finalize", "invoice_pay"):
        draft = g.invoice_create(op(), customer)["id"]
        g.invoice_item_create(op(), customer, 700, "usd", "x", draft)
        return {"invoice": draft}
    if kind == "invoice_item_add":
        # In the currency that the customer has anyway, so that nothing else changes with it.
        return {"customer": customer, "amount": 7, "currency": "usd", "description": "x"}
    return {"customer": customer}


@pytest.mark.parametrize("kind", EVENTS)
def test_each_operation_takes_effect_once_through_each_fault(sent: Sent, kind: str) -> None:
    """The fault strikes the first change that the operation makes, before its effect and after it."""
    assert {f"stripe.{one}" for one in EVENTS} == KINDS.keys()
    for fault in ("timeout", "html", "rate_limit", "lock_timeout", "error"):
        for after in (False, True):
            payload = payload_of(sent, kind)
            sent.offline.clock.at += MINUTE  # what was attached a moment ago is not what the message asks for
            newest = next(sent.offline.gateway.events())["id"]
            faults = iter([Fault(fault, after)])
            sent.offline.plan(lambda method, path, faults=faults: next(faults, None) if method != "GET" else None)
            sent.queue(kind, **payload)
            sent.until_done()
            sent.offline.plan()
            told = [one["type"] for one in sent.offline.gateway.events(ending_before=newest)]
            assert told.count(EVENTS[kind]) == 1, (fault, after, told)


@pytest.mark.parametrize("seed", range(2))
def test_a_day_of_faults_loses_nothing_and_does_nothing_twice(new_offline: Any, seed: int) -> None:
    sent, draw = Sent(new_offline()), random.Random(seed)
    customer = sent.offline.payer()
    faults = 0

    def plan(method: str, path: str) -> Fault | None:
        nonlocal faults
        if draw.random() < 0.7:
            faults += 1
            return Fault(draw.choice(FAULTS), draw.random() < 0.5)
        return None

    sent.offline.plan(plan)
    wanted = 40
    for _ in range(wanted):
        sent.queue("invoice_item_add", customer=customer, amount=1, currency="usd", description="x")
    sent.until_done()
    sent.offline.plan()
    done = [item["metadata"]["nb_op"] for item in sent.offline.gateway.invoice_items(customer=customer)]
    # Nothing twice, nothing lost, and in the order in which it was asked for.
    assert done == [f"sent-{number}" for number in range(wanted, 0, -1)]
    assert faults > 100


def test_a_key_that_stripe_has_forgotten_is_not_used_before_looking(new_offline: Any) -> None:
    sent = Sent(new_offline())
    customer = sent.offline.payer()
    sent.offline.plan(in_turn([Fault("rate_limit", after=True)]))
    sent.queue("invoice_item_add", customer=customer, amount=1, currency="usd", description="x")
    sent.worker.run()
    sent.offline.clock.at += 25 * HOUR
    sent.until_done()
    assert sent.offline.count("invoiceitem") == 1


def test_outside_fixtures_what_is_not_there_yet_is_not_taken_for_not_done(new_offline: Any) -> None:
    """The first request may still be at work at Stripe when it is looked for."""
    from nbilling.stripe_sync.keys import Key

    offline = new_offline(mode="test")
    offline.gateway = offline.gateway_with(Key("sk_test_abc"))
    sent = Sent(offline)
    sent.offline.plan(in_turn([Fault("timeout")]))
    name = sent.queue("customer_create", fields={"name": "x"})
    sent.worker.run()
    offline.clock.at += MINUTE
    sent.worker.run()
    found = sent.outbox.show(name)
    assert (found["state"], found["reason"], offline.count("customer")) == ("unknown", "it is too early to tell", 0)
    offline.clock.at += 3 * MINUTE
    sent.until_done()
    assert (offline.count("customer"), sent.outbox.show(name)["generation"]) == (1, 2)


def test_without_a_key_nothing_is_tried_and_nothing_is_lost(sent: Sent) -> None:
    from nbilling.model.errors import BadInput

    def none() -> Any:
        raise BadInput("STRIPE_SECRET_KEY is not set", hint="set it")

    name = sent.queue("customer_create", fields={"name": "x"})
    Worker(sent.offline.core, handlers(none)).run()
    found = sent.outbox.show(name)
    assert (found["state"], found["reason"], found["result"]) == ("pending", "STRIPE_SECRET_KEY is not set", {})
    sent.until_done()
    assert sent.offline.count("customer") == 1


def test_what_an_outcome_changes_here_commits_with_it(new_offline: Any) -> None:
    from nbilling.store import customers

    offline = new_offline()
    outbox = Outbox(offline.core)
    kind = "stripe.customer_create"

    def applied(db: Any, message: Any, outcome: Any) -> None:
        customers.set_fact(db, "linked", outcome.result["id"])

    worker = Worker(offline.core, handlers(lambda: offline.gateway, {kind: applied}))
    offline.core.write(lambda db: outbox.enqueue(db, kind, 0, {"fields": {}}, "op"))
    worker.send_now("op")
    assert customers.fact(offline.ledger.read(), "linked") == outbox.show("op")["result"]["id"]
