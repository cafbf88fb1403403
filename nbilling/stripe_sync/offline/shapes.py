"""Objects as the pinned version of the API shapes them. Keys that begin with ``_`` are the offline Stripe's own."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

ACCOUNT = "acct_offline"
NO_ADDRESS = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))


LINES_SHOWN = 10


def public(value: Any) -> Any:
    """The object as it is sent: an invoice carries its first lines only, the rest is a list of its own."""
    if isinstance(value, dict):
        shown = {key: public(item) for key, item in value.items() if not key.startswith("_")}
        if value.get("object") == "invoice" and "lines" in value and len(value["lines"]["data"]) > LINES_SHOWN:
            shown["lines"] = {**shown["lines"], "data": shown["lines"]["data"][:LINES_SHOWN], "has_more": True}
        return shown
    if isinstance(value, list):
        return [public(item) for item in value]
    return value


def listed(data: list[Any], url: str, has_more: bool = False) -> Object:
    """A page of a list."""
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def account(now: int) -> Object:
    """The account that the offline Stripe belongs to."""
    return {
        "id": ACCOUNT,
        "object": "account",
        "business_profile": {"name": "Offline", "url": None, "mcc": None, "support_email": None},
        "business_type": None,
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "controller": {"type": "account"},
        "country": "US",
        "created": now,
        "default_currency": "usd",
        "details_submitted": True,
        "email": "offline@example.com",
        "metadata": {},
        "payouts_enabled": True,
        "type": "standard",
    }


def customer(object_id: str, now: int, invoice_prefix: str) -> Object:
    """A customer without anything."""
    return {
        "id": object_id,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": now,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": invoice_prefix,
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


def card_method(object_id: str, now: int, card: Object, customer_id: str | None) -> Object:
    """A payment method of type card. ``card`` is a test card of the fixtures."""
    return {
        "id": object_id,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {"address": dict(NO_ADDRESS), "email": None, "name": None, "phone": None, "tax_id": None},
        "card": {
            "brand": card["brand"],
            "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
            "country": "US",
            "display_brand": card["brand"],
            "exp_month": card["exp_month"],
            "exp_year": card["exp_year"],
            "fingerprint": f"offline{card['last4']}",
            "funding": card["funding"],
            "generated_from": None,
            "last4": card["last4"],
            "networks": {"available": [card["brand"]], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        },
        "created": now,
        "customer": customer_id,
        "livemode": False,
        "metadata": {},
        "type": "card",
        "_charge": card["charge"],
    }


def product(object_id: str, now: int, name: str) -> Object:
    """A product."""
    return {
        "id": object_id,
        "object": "product",
        "active": True,
        "created": now,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": {},
        "name": name,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": now,
        "url": None,
    }


def price(
    object_id: str, now: int, product_id: str, currency: str, unit_amount: int, recurring: Object | None
) -> Object:
    """A price per unit. ``recurring``: ``{"interval", "interval_count"}``, None for a price that is paid once."""
    return {
        "id": object_id,
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "created": now,
        "currency": currency,
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": None,
        "metadata": {},
        "nickname": None,
        "product": product_id,
        "recurring": None
        if recurring is None
        else {"meter": None, "trial_period_days": None, "usage_type": "licensed", **recurring},
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "one_time" if recurring is None else "recurring",
        "unit_amount": unit_amount,
        "unit_amount_decimal": str(unit_amount),
    }


def plan_of(of_price: Object) -> Object:
    """The older form of a price, which items still carry beside it."""
    recurring = of_price["recurring"]
    return {
        "id": of_price["id"],
        "object": "plan",
        "active": of_price["active"],
        "amount": of_price["unit_amount"],
        "amount_decimal": of_price["unit_amount_decimal"],
        "billing_scheme": "per_unit",
        "created": of_price["created"],
        "currency": of_price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": of_price["metadata"],
        "meter": None,
        "nickname": None,
        "product": of_price["product"],
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }


def subscription(object_id: str, now: int, customer_id: str, currency: str) -> Object:
    """An active subscription without items; its periods are theirs."""
    return {
        "id": object_id,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": now,
        "billing_cycle_anchor_config": None,
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible", "updated_at": now},
        "billing_schedules": [],
        "billing_thresholds": None,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": now,
        "currency": currency,
        "customer": customer_id,
        "days_until_due": None,
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": listed([], f"/v1/subscription_items?subscription={object_id}"),
        "latest_invoice": None,
        "livemode": False,
        "metadata": {},
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": now,
        "status": "active",
        "test_clock": None,
        "transfer_data": None,
        "trial_end": None,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": None,
    }


def subscription_item(
    object_id: str, now: int, subscription_id: str, of_price: Object, quantity: int, start: int, end: int
) -> Object:
    """An item of a subscription with its present period."""
    return {
        "id": object_id,
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": now,
        "current_period_end": end,
        "current_period_start": start,
        "discounts": [],
        "metadata": {},
        "plan": plan_of(of_price),
        "price": of_price,
        "quantity": quantity,
        "subscription": subscription_id,
        "tax_rates": [],
    }


def event(
    object_id: str,
    now: int,
    kind: str,
    subject: Object,
    previous: Object | None,
    request: tuple[str | None, str | None],
    api_version: str,
) -> Object:
    """Something that happened to an object. ``request``: its id and its idempotency key."""
    data: Object = {"object": subject}
    if previous is not None:
        data["previous_attributes"] = previous
    return {
        "id": object_id,
        "object": "event",
        "api_version": api_version,
        "created": now,
        "data": data,
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": request[0], "idempotency_key": request[1]},
        "type": kind,
    }
