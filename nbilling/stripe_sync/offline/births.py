"""Objects that come to life in a fixtures ledger because their id begins as a fixture's does."""

from __future__ import annotations

import copy
from typing import Any

from nbilling.stripe_sync.offline import invoices, shapes, subscriptions
from nbilling.stripe_sync.offline.people import attached
from nbilling.stripe_sync.offline.states import store_invoice, store_subscription
from nbilling.stripe_sync.offline.world import Object, World, fixtures, new_id


def born(world: World, object_id: str) -> Object | None:
    """The object of a pattern of ``fixtures/patterns.json``, as a real object with a real state; else None."""
    patterns = fixtures("patterns")
    if object_id == patterns["customer"]["id"]:
        return _customer(world, object_id, patterns["customer"])
    for pattern in patterns["patterns"]:
        if object_id.startswith(pattern["prefix"]) and len(object_id) > len(pattern["prefix"]):
            return _KINDS[pattern["kind"]](world, object_id, pattern)
    return None


def _customer(world: World, customer_id: str, values: Any) -> Object:
    suffix = customer_id.rpartition("_")[2]
    customer = shapes.customer(customer_id, world.now, new_id("", 8)[1:].upper())
    for name in ("email", "name"):
        customer[name] = values[name].format(id=customer_id, suffix=suffix)
    world.add(customer, "customer.created")
    if "card" in values:
        before = copy.deepcopy(customer)
        customer["invoice_settings"]["default_payment_method"] = attached(world, values["card"], customer_id)["id"]
        world.save(customer, "customer.updated", before)
    return customer


def _owner(world: World) -> Object:
    """The customer with a good card, to whom the others belong."""
    return world.get("customer", fixtures("patterns")["customer"]["id"])


def _subscription(world: World, subscription_id: str, values: Any) -> Object:
    price = world.get("price", values["price"])
    subscription = shapes.subscription(subscription_id, world.now, _owner(world)["id"], price["currency"])
    end = subscriptions.period_end(world.now, world.now, price)
    item = shapes.subscription_item(new_id("si"), world.now, subscription_id, price, 1, world.now, end)
    subscription["items"]["data"] = [item]
    store_subscription(world, subscription)
    invoice = subscriptions.bill(world, subscription, "subscription_create")
    subscriptions.collect(world, invoice)
    subscription["latest_invoice"] = invoice["id"]
    store_subscription(world, subscription)
    world.tell("customer.subscription.created", subscription)
    return subscription


def _invoice(world: World, invoice_id: str, values: Any) -> Object:
    customer = _owner(world)
    invoice = invoices.draft(world, customer, values["currency"], invoice_id)
    world.tell("invoice.created", store_invoice(world, invoice))
    item = {"customer": customer["id"], "amount": values["amount"], "currency": values["currency"]}
    invoices.item_create(world, item | {"description": values["description"], "invoice": invoice_id})
    return world.get("invoice", invoice_id)


_KINDS = {"customer": _customer, "subscription": _subscription, "invoice": _invoice}
