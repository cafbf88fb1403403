"""What time does: drafts become final, subscriptions renew or end. Done at the next request, as of its own moment."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from nbilling.store import stripe_offline
from nbilling.stripe_sync.offline import invoices, subscriptions
from nbilling.stripe_sync.offline.births import born
from nbilling.stripe_sync.offline.states import set_status, store_invoice, store_subscription
from nbilling.stripe_sync.offline.world import Object, World

if TYPE_CHECKING:
    import sqlite3

MOST_STEPS = 10_000
"""At most so many in one go; the rest follow with the next request."""


def catch_up(db: sqlite3.Connection, now: int, api_version: str) -> int:
    """Does what is due up to ``now``, in order; returns how many steps that were."""
    for step in range(MOST_STEPS):
        found = stripe_offline.next_due(db, now)
        if found is None:
            return step
        obj, due = found
        world = World(db, due, api_version, born)
        if obj["object"] == "invoice":
            _finalise(world, obj)
        else:
            _renew_or_end(world, obj)
    return MOST_STEPS


def _finalise(world: World, invoice: Object) -> None:
    customer = world.find("customer", invoice["customer"])
    if customer is None or customer.get("deleted"):
        # Nobody is left to bill: the draft stays as it is.
        invoice |= {"automatically_finalizes_at": None, "auto_advance": False}
        store_invoice(world, invoice)
        return
    subscriptions.collect(world, invoice)


def _renew_or_end(world: World, subscription: Object) -> None:
    if subscription["status"] == "incomplete":
        set_status(world, subscription, "incomplete_expired")
        return
    if subscription["cancel_at_period_end"]:
        subscriptions.end(world, subscription)
        return
    before = copy.deepcopy(subscription)
    for item in subscription["items"]["data"]:
        item["current_period_start"] = item["current_period_end"]
        item["current_period_end"] = subscriptions.period_end(
            subscription["billing_cycle_anchor"], item["current_period_start"], item["price"]
        )
    store_subscription(world, subscription)
    invoice = subscriptions.bill(world, subscription, "subscription_cycle")
    invoice["automatically_finalizes_at"] = world.now + invoices.FINALIZE_AFTER
    store_invoice(world, invoice)
    subscription["latest_invoice"] = invoice["id"]
    store_subscription(world, subscription, "customer.subscription.updated", before)
