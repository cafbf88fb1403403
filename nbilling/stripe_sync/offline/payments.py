"""Paying an invoice: the outcome is the card's. What a failed try changed stays changed."""

from __future__ import annotations

import copy

from nbilling.stripe_sync.offline import invoice_shapes, shapes
from nbilling.stripe_sync.offline.people import decline
from nbilling.stripe_sync.offline.states import set_status, store_invoice, subscription_of
from nbilling.stripe_sync.offline.wire import ApiError
from nbilling.stripe_sync.offline.world import Object, World, new_id

_NO_METHOD = (
    "This customer has no attached payment source or default payment method. Please consider adding a default payment "
    "method. For more information, visit https://stripe.com/docs/billing/subscriptions/payment-methods-setting"
)
_NEEDS_ACTION = (
    "This payment requires additional user action before it can be completed successfully. Payment can be completed "
    "using the PaymentIntent associated with this invoice."
)


def no_method() -> ApiError:
    """Nothing to pay with."""
    return ApiError(400, _NO_METHOD, code="resource_missing")


def method_for(world: World, invoice: Object, given: str | None = None) -> Object | None:
    """What an invoice is paid with: the method given, else its own, its subscription's, its customer's."""
    customer = world.get("customer", invoice["customer"], "customer")
    subscription = world.find("subscription", subscription_of(invoice))
    choices = (
        given,
        invoice["default_payment_method"],
        subscription["default_payment_method"] if subscription else None,
        customer["invoice_settings"]["default_payment_method"],
    )
    for choice in choices:
        if choice:
            method = world.refer("payment_method", choice, "payment_method")
            if method["customer"] != customer["id"]:
                raise ApiError(400, "The customer does not have a payment method with the ID " + choice,
                               code="resource_missing", param="payment_method")  # fmt: skip
            return method
    return None


def intent_of(world: World, invoice: Object) -> tuple[Object, Object]:
    """The payment intent of an open invoice, and what ties it to the invoice."""
    payment = next(world.all("invoice_payment", invoice["id"]))
    return world.get("payment_intent", payment["payment"]["payment_intent"]), payment


def open_intent(world: World, invoice: Object) -> None:
    """An open invoice with something to pay gets its payment intent."""
    intent = invoice_shapes.payment_intent(
        new_id("pi", 24), world.now, invoice["amount_due"], invoice["currency"], invoice["customer"]
    )
    world.add(intent, "payment_intent.created")
    payment = invoice_shapes.invoice_payment(
        new_id("inpay", 24), world.now, invoice["id"], invoice["amount_due"], invoice["currency"], intent["id"]
    )
    payment["_owner"] = invoice["id"]
    world.add(payment)


def charge(world: World, invoice: Object, method: Object) -> ApiError | None:
    """Tries to pay an open invoice. Returns the error of a try that failed; its traces are kept."""
    intent, payment = intent_of(world, invoice)
    before, invoice_before = copy.deepcopy(intent), copy.deepcopy(invoice)
    intent["payment_method"] = method["id"]
    invoice["attempt_count"] += 1
    invoice["attempted"] = True
    outcome = method["_charge"]
    if outcome == "ok":
        intent |= {
            "status": "succeeded", "amount_received": intent["amount"], "latest_charge": new_id("ch", 24),
            "last_payment_error": None, "next_action": None,
        }  # fmt: skip
        world.save(intent, "payment_intent.succeeded", before)
        payment |= {"status": "paid", "amount_paid": intent["amount"]}
        payment["status_transitions"]["paid_at"] = world.now
        world.save(payment, "invoice_payment.paid")
        mark_paid(world, invoice, invoice_before)
        return None
    if outcome == "authenticate":
        intent |= {"status": "requires_action", "next_action": {"type": "use_stripe_sdk", "use_stripe_sdk": {}}}
        world.save(intent, "payment_intent.requires_action", before)
        world.save(invoice, "invoice.payment_action_required")
        return ApiError(
            402, _NEEDS_ACTION, code="invoice_payment_intent_requires_action", kind="card_error", undo=False
        )
    error = decline(*outcome, undo=False, payment_intent=shapes.public(intent))
    told = error.body["error"]
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "last_payment_error": {key: told[key] for key in ("code", "decline_code", "message", "type") if key in told},
    }
    world.save(intent, "payment_intent.payment_failed", before)
    world.save(invoice, "invoice.payment_failed")
    return error


def mark_paid(world: World, invoice: Object, before: Object) -> None:
    """An invoice becomes paid, and a subscription that waited for it active."""
    invoice |= {
        "status": "paid", "amount_paid": invoice["amount_due"], "amount_remaining": 0, "attempted": True,
        "next_payment_attempt": None, "auto_advance": False,
    }  # fmt: skip
    invoice["status_transitions"]["paid_at"] = world.now
    store_invoice(world, invoice, "invoice.updated", before)
    world.tell("invoice.paid", invoice)
    world.tell("invoice.payment_succeeded", invoice)
    subscription = world.find("subscription", subscription_of(invoice))
    if subscription is not None and subscription["status"] in ("incomplete", "past_due"):
        set_status(world, subscription, "active")


def intent_retrieve(world: World, params: Object, intent_id: str) -> Object:
    """GET /v1/payment_intents/{id}"""
    return world.get("payment_intent", intent_id, "intent")


def payment_list(world: World, params: Object) -> Object:
    """GET /v1/invoice_payments"""
    status = params.get("status")
    return world.page(
        "invoice_payment",
        params,
        "/v1/invoice_payments",
        lambda one: status in (None, one["status"]),
        params.get("invoice", ""),
    )
