"""Subscriptions to one price or several, billed in advance, in the flexible billing mode."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from nbilling.model.money import round_half_away
from nbilling.model.periods import add_months
from nbilling.stripe_sync.offline import invoice_shapes, invoices, payments, shapes
from nbilling.stripe_sync.offline.states import (
    ENDED,
    set_status,
    store_invoice,
    store_subscription,
    subscription_of,
    use_currency,
)
from nbilling.stripe_sync.offline.wire import ApiError, invalid
from nbilling.stripe_sync.offline.world import Object, World, metadata_of, new_id

_DAY = 86_400


def subscription_create(world: World, params: Object) -> Object:
    """POST /v1/subscriptions: its first invoice is made, finalised and tried at once."""
    for name in ("customer", "items"):
        if not params.get(name):
            raise invalid(f"Missing required param: {name}.", name, "parameter_missing")
    if params.get("billing_mode", {}).get("type", "flexible") != "flexible":
        raise invalid("The offline Stripe has the flexible billing mode only.", "billing_mode", "parameter_unsupported")
    customer = world.refer("customer", params["customer"], "customer")
    wanted = []
    for n, item in enumerate(params["items"]):
        price = _recurring(world, item.get("price"), f"items[{n}][price]")
        wanted.append((price, _quantity(item, n), item.get("metadata", {})))
    first = wanted[0][0]
    if any(price["currency"] != first["currency"] or _interval(price) != _interval(first) for price, _, _ in wanted):
        raise ApiError(
            400, "Currency and interval fields must match across all prices of this subscription.", param="items"
        )
    subscription = shapes.subscription(new_id("sub", 24), world.now, customer["id"], first["currency"])
    _set(world, subscription, params)
    sends = params.get("collection_method") == "send_invoice"
    if not sends and first["unit_amount"] and not _has_method(world, subscription, customer):
        raise payments.no_method()
    use_currency(world, customer, first["currency"])
    subscription["items"]["data"] = _items(subscription, wanted, world.now, period_end(world.now, world.now, first))
    store_subscription(world, subscription)
    invoice = bill(world, subscription, "subscription_create")
    invoices.finalize(world, invoice)
    subscription["latest_invoice"] = invoice["id"]
    error = None if sends or invoice["status"] == "paid" else _try(world, invoice)
    if error is not None:
        if params.get("payment_behavior") == "error_if_incomplete":
            error.undo = True
            raise error
        subscription["status"] = "incomplete"
    store_subscription(world, subscription)
    world.tell("customer.subscription.created", subscription)
    return subscription


def _has_method(world: World, subscription: Object, customer: Object) -> bool:
    return bool(subscription["default_payment_method"] or customer["invoice_settings"]["default_payment_method"])


def _items(subscription: Object, wanted: list[tuple[Object, int, Object]], start: int, end: int) -> list[Object]:
    return [
        shapes.subscription_item(new_id("si"), start, subscription["id"], price, quantity, start, end)
        | {"metadata": metadata}
        for price, quantity, metadata in wanted
    ]


def _recurring(world: World, price_id: Any, param: str) -> Object:
    price = world.refer("price", price_id, param)
    if price["recurring"] is None:
        raise ApiError(400, f"The price specified is set to `type=one_time` but this field only accepts prices with "
                       f"`type=recurring`: {price_id}", param=param)  # fmt: skip
    if not price["active"]:
        raise ApiError(400, "The price specified is inactive. This field only accepts active prices.", param=param)
    return price


def _quantity(item: Object, n: int) -> int:
    quantity = item.get("quantity", 1)
    if quantity < 0:
        raise invalid("Invalid non-negative integer", f"items[{n}][quantity]", "parameter_invalid_integer")
    return int(quantity)


def _name(price: Object) -> str:
    return str(price["nickname"] or price["product"])


def _interval(price: Object) -> tuple[str, int]:
    return price["recurring"]["interval"], price["recurring"]["interval_count"]


def period_end(anchor: int, start: int, price: Object) -> int:
    """The first boundary after ``start``, counted from the anchor: 31 January, 28 February, 31 March."""
    interval, count = _interval(price)
    if interval in ("day", "week"):
        step = count * _DAY * (7 if interval == "week" else 1)
        return anchor + ((start - anchor) // step + 1) * step
    months = count * (12 if interval == "year" else 1)
    moment = datetime.fromtimestamp(anchor, UTC)
    n = 1
    while True:
        day = add_months(moment.date(), n * months)
        end = (datetime.combine(day, moment.time(), UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days * _DAY + anchor % _DAY
        if end > start:
            return end
        n += 1


def bill(world: World, subscription: Object, reason: str) -> Object:
    """A draft of the items' present period, in advance, and of the customer's pending items."""
    customer = world.get("customer", subscription["customer"], "customer")
    invoice = invoices.draft(world, customer, subscription["currency"])
    items = subscription["items"]["data"]
    invoice |= {
        "billing_reason": reason,
        "collection_method": subscription["collection_method"],
        "auto_advance": True,
        "parent": {
            "quote_details": None,
            "subscription_details": {"metadata": subscription["metadata"], "subscription": subscription["id"]},
            "type": "subscription_details",
        },
        "period_start": items[0]["current_period_start"] if reason == "subscription_cycle" else world.now,
        "period_end": world.now,
    }
    if subscription["days_until_due"] is not None:
        invoice["due_date"] = world.now + subscription["days_until_due"] * _DAY
    store_invoice(world, invoice)
    invoices.take_pending(world, invoice)
    for item in items:
        invoice["lines"]["data"].append(_line(invoice, subscription, item))
    world.tell("invoice.created", store_invoice(world, invoice))
    return invoice


def _line(invoice: Object, subscription: Object, item: Object) -> Object:
    price, quantity = item["price"], item["quantity"]
    period = {"end": item["current_period_end"], "start": item["current_period_start"]}
    line = invoice_shapes.line(
        new_id("il", 24),
        invoice["id"],
        price["unit_amount"] * quantity,
        price["currency"],
        f"{quantity} × {_name(price)} (at {price['unit_amount_decimal']} / {_interval(price)[0]})",
        period,
    )
    details = {"price": price["id"], "product": price["product"]}
    line |= {
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "subscription": subscription["id"],
        "metadata": subscription["metadata"],
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "pricing": {
            "price_details": details, "type": "price_details", "unit_amount_decimal": price["unit_amount_decimal"],
        },
    }  # fmt: skip
    return line


def _try(world: World, invoice: Object) -> ApiError | None:
    method = payments.method_for(world, invoice)
    if method is None:
        world.tell("invoice.payment_failed", invoice)
        return payments.no_method()
    return payments.charge(world, invoice, method)


def collect(world: World, invoice: Object) -> ApiError | None:
    """Finalises a draft of a subscription and tries to collect it; the subscription is past due if that fails."""
    invoices.finalize(world, invoice)
    if invoice["status"] == "paid" or invoice["collection_method"] == "send_invoice":
        return None
    error = _try(world, invoice)
    subscription = world.find("subscription", subscription_of(invoice))
    if error is not None and subscription is not None and subscription["status"] == "active":
        set_status(world, subscription, "past_due")
    return error


def subscription_retrieve(world: World, params: Object, subscription_id: str) -> Object:
    """GET /v1/subscriptions/{id}: an ended one too."""
    return world.get("subscription", subscription_id)


def subscription_list(world: World, params: Object) -> Object:
    """GET /v1/subscriptions: without a status, those that have not ended."""
    status, price = params.get("status"), params.get("price")

    def keep(one: Object) -> bool:
        if status in (None, ""):
            shown = one["status"] != "canceled"
        elif status == "ended":
            shown = one["status"] in ENDED
        else:
            shown = status in ("all", one["status"])
        return shown and (price is None or any(item["price"]["id"] == price for item in one["items"]["data"]))

    return world.page("subscription", params, "/v1/subscriptions", keep, params.get("customer", ""))


def subscription_update(world: World, params: Object, subscription_id: str) -> Object:
    """POST /v1/subscriptions/{id}: another price or quantity, the end with the period."""
    subscription = world.get("subscription", subscription_id)
    if subscription["status"] in ENDED and params.keys() - {"metadata", "cancellation_details"}:
        raise ApiError(400, "A canceled subscription can only update its cancellation_details and metadata.")
    changes = [_change(world, subscription, item, n) for n, item in enumerate(params.get("items", []))]
    before = copy.deepcopy(subscription)
    _set(world, subscription, params)
    behavior = params.get("proration_behavior", "create_prorations")
    restarted = False
    for item, price, quantity in changes:
        restarted |= _apply(world, subscription, item, price, quantity, behavior)
    if restarted or (changes and behavior == "always_invoice"):
        invoice = _invoice_now(world, subscription, restarted)
        subscription["latest_invoice"] = invoice["id"]
    return store_subscription(world, subscription, "customer.subscription.updated", before)


def _change(world: World, subscription: Object, given: Object, n: int) -> tuple[Object, Object, int]:
    for item in subscription["items"]["data"]:
        if item["id"] == given.get("id"):
            price = _recurring(world, given["price"], f"items[{n}][price]") if "price" in given else item["price"]
            if price["currency"] != subscription["currency"]:
                raise ApiError(400, "The price's currency is not the subscription's.", param=f"items[{n}][price]")
            if _interval(price) != _interval(item["price"]) and len(subscription["items"]["data"]) > 1:
                raise ApiError(400, "Interval fields must match across all prices.", param=f"items[{n}][price]")
            return item, price, _quantity({"quantity": item["quantity"], **given}, n)
    raise ApiError(
        400, f"No such subscription_item: '{given.get('id')}'", code="resource_missing", param=f"items[{n}][id]"
    )


def _apply(world: World, subscription: Object, item: Object, price: Object, quantity: int, behavior: str) -> bool:
    """Changes an item. Prorations become pending items. True if the period begins anew."""
    old, old_quantity = item["price"], item["quantity"]
    if old["id"] == price["id"] and old_quantity == quantity:
        return False
    start, end = item["current_period_start"], item["current_period_end"]
    restarts = _interval(old) != _interval(price)
    if behavior != "none":
        share = Fraction(max(end - world.now, 0), end - start)
        source = {"subscription": subscription["id"], "subscription_item": item["id"]}
        parts = [("Unused time on", -old["unit_amount"] * old_quantity, old)]
        if not restarts:
            parts.append(("Remaining time on", price["unit_amount"] * quantity, price))
        for words, amount, of in parts:
            prorated = round_half_away(amount * share)
            if prorated:
                invoices.pending_item(
                    world,
                    subscription["customer"],
                    prorated,
                    of["currency"],
                    f"{words} {_name(of)}",
                    proration=True,
                    period={"end": end, "start": world.now},
                    discountable=False,
                    parent={"subscription_details": source, "type": "subscription_details"},
                )
    item |= {"price": price, "plan": shapes.plan_of(price), "quantity": quantity}
    if restarts:
        subscription["billing_cycle_anchor"] = world.now
        item |= {"current_period_start": world.now, "current_period_end": period_end(world.now, world.now, price)}
    return restarts


def _invoice_now(world: World, subscription: Object, restarted: bool) -> Object:
    if restarted:
        store_subscription(world, subscription)
        invoice = bill(world, subscription, "subscription_update")
    else:
        customer = world.get("customer", subscription["customer"], "customer")
        invoice = invoices.draft(world, customer, subscription["currency"])
        invoice |= {
            "billing_reason": "subscription_update",
            "collection_method": subscription["collection_method"],
            "parent": {
                "quote_details": None,
                "subscription_details": {"metadata": subscription["metadata"], "subscription": subscription["id"]},
                "type": "subscription_details",
            },
        }
        store_invoice(world, invoice)
        invoices.take_pending(world, invoice)
        world.tell("invoice.created", store_invoice(world, invoice))
    invoices.finalize(world, invoice)
    if invoice["status"] != "paid" and invoice["collection_method"] != "send_invoice":
        subscription["status"] = "past_due" if _try(world, invoice) else "active"
    return invoice


def _set(world: World, subscription: Object, params: Object) -> None:
    method = params.get("default_payment_method")
    if (
        method
        and world.refer("payment_method", method, "default_payment_method")["customer"] != subscription["customer"]
    ):
        raise ApiError(400, "The customer does not have a payment method with the ID " + method,
                       code="resource_missing", param="default_payment_method")  # fmt: skip
    if params.get("collection_method") == "send_invoice" and "days_until_due" not in params:
        raise invalid("Missing required param: days_until_due.", "days_until_due", "parameter_missing")
    for name in ("default_payment_method", "collection_method", "days_until_due", "description"):
        if name in params:
            subscription[name] = params[name] if params[name] != "" else None
    if "cancel_at_period_end" in params and params["cancel_at_period_end"] != subscription["cancel_at_period_end"]:
        ends = params["cancel_at_period_end"]
        items = subscription["items"]["data"]
        subscription |= {
            "cancel_at_period_end": ends,
            "cancel_at": min(item["current_period_end"] for item in items) if ends and items else None,
            "canceled_at": world.now if ends else None,
        }
        subscription["cancellation_details"]["reason"] = "cancellation_requested" if ends else None
    subscription["metadata"] = metadata_of(subscription, params)


def subscription_cancel(world: World, params: Object, subscription_id: str) -> Object:
    """DELETE /v1/subscriptions/{id}: at once. One that has ended is not found."""
    subscription = world.get("subscription", subscription_id)
    if subscription["status"] in ENDED:
        raise ApiError(404, f"No such subscription: '{subscription_id}'", code="resource_missing", param="id")
    return end(world, subscription)


def end(world: World, subscription: Object) -> Object:
    """Ends a subscription now."""
    requested = not subscription["cancel_at_period_end"]
    subscription |= {
        "status": "canceled",
        "ended_at": world.now,
        "canceled_at": subscription["canceled_at"] or world.now,
    }
    if requested:
        subscription["cancellation_details"]["reason"] = "cancellation_requested"
    return store_subscription(world, subscription, "customer.subscription.deleted")
