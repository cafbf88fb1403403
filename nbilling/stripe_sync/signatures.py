"""A webhook before anything trusts it: the size of its body, its signature, its age, and only then its JSON.

Stripe signs ``t.body`` with HMAC-SHA256 and sends ``Stripe-Signature: t=…,v1=…``, several ``v1`` while a secret is
being changed (docs.stripe.com/webhooks/signature). All that is wrong is BadInput.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any, NamedTuple

from nbilling.model.errors import BadInput
from nbilling.model.text import json_object

MAX_BODY = 256 * 1024
TOLERANCE_SECONDS = 300
"""How far a signature's time may be from now, in the past or in the future."""

LATEST_SECOND = 2**40

_MAX_HEADER = 4096
_MAX_SIGNATURES = 20
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_EVENT_ID = re.compile(r"evt_[A-Za-z0-9_]{1,250}", re.ASCII)
_OBJECT_ID = re.compile(r"[A-Za-z0-9_]{1,255}", re.ASCII)
_TYPE = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+){1,5}", re.ASCII)
_KIND = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+){0,3}", re.ASCII)
_VERSION = re.compile(r"[a-z0-9.-]{0,40}", re.ASCII)
_HINT = "send the body and the Stripe-Signature header as they came"


class Event(NamedTuple):
    """An event. ``created``: seconds by Stripe's clock. ``whole``: it has all that an event of Stripe has."""

    id: str
    type: str
    api_version: str
    created: int
    livemode: bool
    kind: str
    object_id: str
    object: dict[str, Any]
    body: str
    whole: bool


def check_size(body: bytes) -> None:
    """A body over the cap is not even hashed."""
    if len(body) > MAX_BODY:
        raise BadInput(f"the webhook has {len(body):,} bytes", hint=f"at most {MAX_BODY:,} are taken")


def verify(body: bytes, header: str, secrets: str, now: int) -> None:
    """Checks the signature of a body. ``secrets``: one, or several with spaces between; ``now``: seconds, real time."""
    check_size(body)
    at, signatures = _header(header)
    signed = f"{at}.".encode() + body
    matches = False
    for secret in secrets.split():
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode()
        for signature in signatures:
            # Every one is compared, in constant time.
            matches |= hmac.compare_digest(expected, signature)
    if not matches:
        raise BadInput("the webhook's signature is not right", hint="check STRIPE_WEBHOOK_SECRET of this endpoint")
    if abs(now - int(at)) > TOLERANCE_SECONDS:
        raise BadInput(
            f"the webhook was signed more than {TOLERANCE_SECONDS} seconds from now", hint="check this machine's clock"
        )


def _header(header: str) -> tuple[str, list[bytes]]:
    """The time as it was signed, and the ``v1`` signatures."""
    if not isinstance(header, str) or not header or len(header) > _MAX_HEADER or not header.isascii():
        raise BadInput("the webhook has no usable Stripe-Signature", hint=_HINT)
    pairs = [item.strip().partition("=") for item in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    signatures = [value.encode() for name, _, value in pairs if name == "v1" and _HEX.fullmatch(value)]
    if len(times) != 1 or not times[0].isdigit() or len(times[0]) > 12 or not signatures:
        raise BadInput("the webhook's Stripe-Signature is malformed", hint=_HINT)
    if len(signatures) > _MAX_SIGNATURES:
        raise BadInput("the webhook has too many signatures", hint=_HINT)
    return times[0], signatures


def parse(body: bytes, *, strict: bool, now: int) -> Event:
    """The event in a body. Without ``strict`` (fixtures) parts may be missing, and a digest stands for the id."""
    check_size(body)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput("the webhook's body is not UTF-8", hint=_HINT) from None
    found = json_object(text, "the webhook's body", hint=_HINT, limit=MAX_BODY)
    event = _event(found, text, body, now)
    if strict and not event.whole:
        raise BadInput("the webhook is not an event of Stripe", hint=_HINT)
    return event


def _event(found: dict[str, Any], text: str, body: bytes, now: int) -> Event:
    data = found.get("data")
    obj = data.get("object") if isinstance(data, dict) else None
    obj = obj if isinstance(obj, dict) else {}
    event_id = _matching(found.get("id"), _EVENT_ID)
    kind = _matching(found.get("type"), _TYPE)
    version = _matching(found.get("api_version"), _VERSION)
    created, livemode = found.get("created"), found.get("livemode")
    timed = isinstance(created, int) and not isinstance(created, bool) and 0 < created < LATEST_SECOND
    whole = bool(event_id and kind and timed and isinstance(livemode, bool) and found.get("object") == "event" and obj)
    if not kind:
        raise BadInput("the webhook has no event type", hint=_HINT)
    return Event(
        id=event_id or f"body_{hashlib.sha256(body).hexdigest()}",
        type=kind,
        api_version=version,
        created=created if isinstance(created, int) and timed else now,
        livemode=livemode is True,
        kind=_matching(obj.get("object"), _KIND),
        object_id=_matching(obj.get("id"), _OBJECT_ID),
        object=obj,
        body=text,
        whole=whole,
    )


def _matching(value: object, pattern: re.Pattern[str]) -> str:
    return value if isinstance(value, str) and pattern.fullmatch(value) else ""
