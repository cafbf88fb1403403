"""Faults before and after the effect: the gateway calls each by its name, and what is unknown can be found out."""

from __future__ import annotations

import random
from typing import Any

import pytest

from nbilling.stripe_sync.failures import TryAgain, Unconfirmed
from nbilling.stripe_sync.gateway import Operation, done_by
from nbilling.stripe_sync.offline.faults import BROKEN, KINDS, Fault, in_turn

CERTAIN = {"refused", "conflict", "rate_limit"}
"""After these the same key is simply used again."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_each_fault_is_either_certain_or_unknown_and_the_effect_is_there_or_not(
    new_offline: Any, kind: str, after: bool
) -> None:
    offline = new_offline()
    offline.plan(in_turn([Fault(kind, after)]))
    expected = TryAgain if kind in CERTAIN else Unconfirmed
    with pytest.raises(expected):
        offline.gateway.customer_create(Operation("op", "op:0"), name="x")
    assert offline.count("customer") == after
    found = done_by("op", offline.gateway.customers())
    assert (found is not None) == after


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "refused"])
def test_the_same_faults_over_real_http(new_offline: Any, kind: str, after: bool) -> None:
    offline = new_offline(wire="loopback")
    offline.plan(in_turn([Fault(kind, after)]))
    expected = TryAgain if kind in CERTAIN else Unconfirmed
    gateway = offline.gateway_with(offline.gateway._key, timeout=0.2)
    with pytest.raises(expected):
        gateway.customer_create(Operation("op", "op:0"), name="x")
    assert offline.count("customer") == after


@pytest.mark.parametrize("kind", KINDS)
def test_a_read_that_fails_is_tried_again(new_offline: Any, kind: str) -> None:
    offline = new_offline()
    customer = offline.gateway.customer_create(offline.op())["id"]
    offline.plan(in_turn([Fault(kind), Fault(kind, after=True)]))
    for _ in range(2):
        with pytest.raises(TryAgain):
            offline.gateway.customer(customer)
    assert offline.gateway.customer(customer)["id"] == customer


@pytest.mark.parametrize("seed", range(4))
def test_hundreds_of_faults_lose_nothing_and_do_nothing_twice(new_offline: Any, seed: int) -> None:
    """Every operation is sent as the outbox sends it: the same key while it is certain, else found out about first."""
    offline = new_offline()
    draw = random.Random(seed)
    faults = 0

    def plan(method: str, path: str) -> Fault | None:
        nonlocal faults
        if draw.random() < 0.75:
            faults += 1
            return Fault(draw.choice(KINDS), draw.random() < 0.5)
        return None

    offline.plan(plan)
    customer_of: dict[str, str] = {}
    operations = [f"op-{number}" for number in range(70)]
    for name in operations:
        generation = 0
        while name not in customer_of:
            try:
                made = offline.gateway.customer_create(Operation(name, f"{name}:{generation}"), name=name)
                customer_of[name] = made["id"]
            except TryAgain:
                continue
            except Unconfirmed:
                while True:
                    try:
                        found = done_by(name, offline.gateway.customers())
                        break
                    except TryAgain:
                        continue
                if found is not None:
                    customer_of[name] = found["id"]
                else:
                    generation += 1
    assert faults >= 200
    assert offline.count("customer") == len(operations)
    assert len(set(customer_of.values())) == len(operations)


def test_an_answer_that_never_comes_is_given_up(new_offline: Any) -> None:
    offline = new_offline(wire="loopback")
    offline.plan(in_turn([Fault("timeout", after=True)]))
    with pytest.raises(Unconfirmed):
        offline.gateway_with(offline.gateway._key, timeout=0.1).customer_create(Operation("op", "op:0"))
    assert offline.gateway.customer_create(Operation("op", "op:0"))["metadata"] == {"nb_op": "op"}
    assert offline.count("customer") == 1


def test_a_payment_that_went_through_unheard_is_not_made_again(new_offline: Any) -> None:
    offline = new_offline()
    g, customer = offline.gateway, offline.payer()
    draft = g.invoice_create(offline.op(), customer)["id"]
    g.invoice_item_create(offline.op(), customer, 1000, "usd", "x", draft)
    for kind in (*BROKEN[1:], "truncated", "html", "null"):
        offline.plan(in_turn([Fault(kind, after=True)]))
        with pytest.raises(Unconfirmed):
            g.invoice_pay(Operation("pay", "pay:0"), draft)
    assert g.invoice_pay(Operation("pay", "pay:0"), draft)["status"] == "paid"
    assert offline.events().count("payment_intent.succeeded") == 1
