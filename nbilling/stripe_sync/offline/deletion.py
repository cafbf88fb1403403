"""Deleting a customer, and what goes with it."""

from __future__ import annotations

from nbilling.stripe_sync.offline.people import detach
from nbilling.stripe_sync.offline.subscriptions import end
from nbilling.stripe_sync.offline.world import Object, World


def customer_delete(world: World, params: Object, customer_id: str) -> Object:
    """DELETE /v1/customers/{id}: its subscriptions end with it."""
    customer = world.get("customer", customer_id)
    for subscription in list(world.all("subscription", customer_id)):
        if subscription["status"] != "canceled":
            end(world, subscription)
    for method in list(world.all("payment_method", customer_id)):
        detach(world, method)
    world.tell("customer.deleted", customer)
    return world.save({"id": customer_id, "object": "customer", "deleted": True})
