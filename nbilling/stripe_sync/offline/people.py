"""Customers and their payment methods."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

from nbilling.stripe_sync.offline import shapes
from nbilling.stripe_sync.offline.wire import ApiError, invalid, missing
from nbilling.stripe_sync.offline.world import Object, World, fixtures, metadata_of, new_id

_PLAIN = ("description", "email", "name", "phone", "tax_exempt", "preferred_locales", "shipping")


def customer_create(world: World, params: Object) -> Object:
    """POST /v1/customers"""
    customer_id = new_id("cus")
    customer = shapes.customer(customer_id, world.now, customer_id[-8:].upper())
    _set(world, customer, params, new=True)
    return world.add(customer, "customer.created")


def customer_retrieve(world: World, params: Object, customer_id: str) -> Object:
    """GET /v1/customers/{id}: a deleted one is still answered."""
    customer = world.find("customer", customer_id)
    if customer is None:
        raise missing("customer", customer_id)
    return customer


def customer_update(world: World, params: Object, customer_id: str) -> Object:
    """POST /v1/customers/{id}"""
    customer = world.get("customer", customer_id)
    before = copy.deepcopy(customer)
    _set(world, customer, params, new=False)
    return world.save(customer, "customer.updated", before)


def customer_list(world: World, params: Object) -> Object:
    """GET /v1/customers"""
    email = params.get("email")
    return world.page("customer", params, "/v1/customers", lambda one: email is None or one["email"] == email)


def _set(world: World, customer: Object, params: Object, *, new: bool) -> None:
    email = params.get("email")
    if email and ("@" not in email.strip("@") or " " in email):
        raise ApiError(400, f"Invalid email address: {email}", code="email_invalid", param="email", kept=False)
    settings = params.get("invoice_settings") or {}
    default = settings.get("default_payment_method")
    if default:
        method = world.refer("payment_method", default, "invoice_settings[default_payment_method]")
        if method["customer"] != customer["id"]:
            raise ApiError(
                400,
                "The customer does not have a payment method with the ID " + default,
                code="resource_missing",
                param="invoice_settings[default_payment_method]",
            )
    for name in _PLAIN:
        if name in params:
            customer[name] = params[name] if params[name] != "" else None
    if "address" in params:
        given = params["address"]
        customer["address"] = None if given == "" else {**shapes.NO_ADDRESS, **given}
    for name, value in settings.items():
        customer["invoice_settings"][name] = value if value != "" else None
    customer["metadata"] = metadata_of(customer, params)


# -- payment methods


def method_attach(world: World, params: Object, method_id: str) -> Object:
    """POST /v1/payment_methods/{id}/attach: a test card makes a new payment method each time."""
    customer = world.refer("customer", params.get("customer"), "customer")
    card = fixtures("cards")["cards"].get(method_id)
    if card is None:
        method = world.get("payment_method", method_id, "payment_method")
        if method["customer"] == customer["id"]:
            return method
        if method["customer"] is not None:
            raise ApiError(
                400, "The payment method you provided has already been attached to a customer.",
                code="payment_method_unexpected_state",
            )  # fmt: skip
        raise ApiError(
            400,
            "This PaymentMethod was previously used without being attached to a Customer or was detached from a "
            "Customer, and may not be used again.",
            code="payment_method_unexpected_state",
        )
    if "attach" in card:
        raise decline(*card["attach"])
    return attached(world, method_id, customer["id"])


def attached(world: World, test_card: str, customer_id: str) -> Object:
    """A new payment method of a test card, attached to a customer."""
    card = fixtures("cards")["cards"][test_card]
    year = datetime.fromtimestamp(world.now, UTC).year + 8
    card = {"charge": "ok", "exp_month": 8, "exp_year": year, **card}
    method = shapes.card_method(new_id("pm", 24), world.now, card, customer_id)
    return world.add(method, "payment_method.attached")


def method_retrieve(world: World, params: Object, method_id: str) -> Object:
    """GET /v1/payment_methods/{id}"""
    return world.get("payment_method", method_id, "payment_method")


def method_detach(world: World, params: Object, method_id: str) -> Object:
    """POST /v1/payment_methods/{id}/detach"""
    method = world.get("payment_method", method_id, "payment_method")
    if method["customer"] is None:
        raise ApiError(
            400, "The payment method you provided is not attached to a customer so detachment is impossible."
        )
    customer = world.find("customer", method["customer"])
    if customer and not customer.get("deleted") and _default(customer) == method_id:
        before = copy.deepcopy(customer)
        customer["invoice_settings"]["default_payment_method"] = None
        world.save(customer, "customer.updated", before)
    return detach(world, method)


def detach(world: World, method: Object) -> Object:
    """Makes a payment method nobody's."""
    before = copy.deepcopy(method)
    method["customer"] = None
    return world.save(method, "payment_method.detached", before)


def _default(customer: Object) -> Any:
    return customer["invoice_settings"]["default_payment_method"]


def methods_of_customer(world: World, params: Object, customer_id: str) -> Object:
    """GET /v1/customers/{id}/payment_methods"""
    world.get("customer", customer_id, "customer")
    return _methods(world, params, customer_id, f"/v1/customers/{customer_id}/payment_methods")


def method_list(world: World, params: Object) -> Object:
    """GET /v1/payment_methods: of a customer."""
    if "customer" not in params:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = world.refer("customer", params["customer"], "customer")
    return _methods(world, params, customer["id"], "/v1/payment_methods")


def _methods(world: World, params: Object, customer_id: str, url: str) -> Object:
    kind = params.get("type")
    return world.page("payment_method", params, url, lambda one: kind in (None, one["type"]), customer_id)


def decline(code: str, decline_code: str, **more: Any) -> ApiError:
    """The error of a declined card."""
    messages = fixtures("cards")["messages"]
    message = messages.get(decline_code) or messages[code]
    detail = "" if code == decline_code else decline_code
    return ApiError(402, message, code=code, decline_code=detail, kind="card_error", **more)
