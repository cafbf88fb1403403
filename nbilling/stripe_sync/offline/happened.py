"""Events: what happened, newest first, and their signatures as webhooks carry them."""

from __future__ import annotations

import hashlib
import hmac

from nbilling.stripe_sync.offline.wire import ApiError, body_text, invalid
from nbilling.stripe_sync.offline.world import Object, World


def event_list(world: World, params: Object) -> Object:
    """GET /v1/events"""
    if "type" in params and "types" in params:
        raise invalid("You may only specify one of these parameters: type, types.", "types", "")
    wanted = params.get("types") or ([params["type"]] if params.get("type") else [])

    def keep(event: Object) -> bool:
        fits = any(one == event["type"] or (one.endswith("*") and event["type"].startswith(one[:-1])) for one in wanted)
        delivered = params.get("delivery_success")
        return (not wanted or fits) and delivered in (None, event["pending_webhooks"] == 0)

    return world.page("event", params, "/v1/events", keep)


def event_retrieve(world: World, params: Object, event_id: str) -> Object:
    """GET /v1/events/{id}"""
    event = world.find("event", event_id)
    if event is None:
        raise ApiError(404, f"No such event: '{event_id}'", code="resource_missing", param="id")
    return event


def signed(event: Object, secret: str, at: int) -> tuple[bytes, str]:
    """An event as a webhook sends it: the body, and the ``Stripe-Signature`` header of a time in seconds."""
    body = body_text(event).encode()
    signature = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return body, f"t={at},v1={signature}"
