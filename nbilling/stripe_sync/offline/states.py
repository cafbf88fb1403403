"""How invoices and subscriptions are kept: their sums, their status, and when time changes them."""

from __future__ import annotations

import copy
from typing import Any

from nbilling.store.stripe_offline import NEVER
from nbilling.stripe_sync.offline.world import Object, World

INCOMPLETE_FOR = 23 * 3600
"""Seconds in which the first invoice has to be paid."""

ENDED = ("canceled", "incomplete_expired")


def store_invoice(world: World, invoice: Object, event: str = "", before: Object | None = None) -> Object:
    """A new or changed invoice, with its sums; a draft that advances by itself knows when."""
    total = sum(line["amount"] for line in invoice["lines"]["data"])
    if invoice["status"] == "draft":
        for name in ("subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax"):
            invoice[name] = total
        invoice["amount_due"] = invoice["amount_remaining"] = max(total, 0)
    due = invoice["automatically_finalizes_at"] if invoice["status"] == "draft" else None
    return world.save(invoice, event, before, due=NEVER if due is None else due)


def subscription_of(invoice: Object) -> Any:
    """The subscription that an invoice is for, or None."""
    parent = invoice["parent"] or {}
    return (parent.get("subscription_details") or {}).get("subscription")


def store_subscription(world: World, subscription: Object, event: str = "", before: Object | None = None) -> Object:
    """A new or changed subscription; it knows when it renews or ends."""
    due = NEVER
    if subscription["status"] == "incomplete":
        due = subscription["created"] + INCOMPLETE_FOR
    elif subscription["status"] not in ENDED:
        due = min(item["current_period_end"] for item in subscription["items"]["data"])
    return world.save(subscription, event, before, due=due)


def set_status(world: World, subscription: Object, status: str) -> None:
    """Changes the status alone."""
    before = copy.deepcopy(subscription)
    subscription["status"] = status
    store_subscription(world, subscription, "customer.subscription.updated", before)


def use_currency(world: World, customer: Object, currency: str) -> None:
    """A customer has the currency of its first item or subscription from then on."""
    if customer["currency"] is None:
        before = copy.deepcopy(customer)
        customer["currency"] = currency
        world.save(customer, "customer.updated", before)
