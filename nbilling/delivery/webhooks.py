"""Outgoing webhooks as Standard Webhooks 1.0.0 has them: ``webhook-id``, ``webhook-timestamp``, ``webhook-signature``.

A receiver checks the signature over ``id.timestamp.body`` (HMAC-SHA256, base64, constant time), refuses an old
timestamp, and takes a repeated id for the same event: an event whose answer was lost is sent again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

from nbilling.model.clock import SECOND, format_time
from nbilling.model.outbox import Delivered, Message, Outcome, Refused, Retry, Unknown, json_text

CONNECT_TIMEOUT = 5
READ_TIMEOUT = 20

FINAL = frozenset({400, 405, 410, 413, 414, 415, 422})
"""Answers that say that this very request will never be taken. The others may be a receiver that is being mended."""


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The ``webhook-signature``: one ``v1,…`` for each of the secrets, which are separated by spaces.

    Several serve while a secret is being changed. ``whsec_…`` holds base64 of the key; any other text is the key.
    """
    content = f"{message_id}.{timestamp}.".encode() + body
    digests = [hmac.new(_key(one), content, hashlib.sha256).digest() for one in secret.split()]
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def _key(secret: str) -> bytes:
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


def event_body(message: Message, type: str) -> bytes:
    """``{"data", "id", "timestamp", "type"}``: the payload, and when it was queued."""
    return json_text(
        {
            "id": message.operation_id,
            "type": type,
            "timestamp": format_time(message.created_at),
            "data": message.payload,
        }
    ).encode()


class Webhook:
    """Posts events to one URL. ``now`` gives real time, microseconds: the receiver compares it with its own clock."""

    repeatable = True  # the id stays the same, and receivers know it again

    def __init__(self, url: str, secret: str, type: str, now: Callable[[], int]) -> None:
        self._url = url
        self._secret = secret
        self._type = type
        self._now = now

    def blocked(self, message: Message) -> str:
        """What is missing to send anything."""
        if not self._url:
            return "no webhook is set up: set NBILLING_WEBHOOK_URL"
        if not self._secret:
            return "webhooks are signed and there is no secret: set NBILLING_WEBHOOK_SECRET"
        return ""

    def send(self, message: Message) -> Outcome:
        """Posts it once: no redirects, no proxies or passwords from the environment, a limit on each wait."""
        import requests

        body = event_body(message, self._type)
        timestamp = self._now() // SECOND
        headers = {
            "content-type": "application/json",
            "user-agent": "nbilling",
            "webhook-id": message.operation_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._secret, message.operation_id, timestamp, body),
        }
        with requests.Session() as session:
            session.trust_env = False
            try:
                response = session.post(
                    self._url,
                    data=body,
                    headers=headers,
                    timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                    allow_redirects=False,
                    stream=True,  # the answer's body is of no interest, and may be without end
                )
            except requests.exceptions.RequestException as error:
                return _failed(error)
            with response:
                return outcome_of(response.status_code, response.headers.get("retry-after"))


def outcome_of(status: int, retry_after: str | None) -> Outcome:
    """What an HTTP status makes of an event."""
    if 200 <= status < 300:
        return Delivered({"status": status})
    if 300 <= status < 400:
        return Refused(f"the receiver answered {status}, and redirects are not followed: set the final URL")
    if status in FINAL:
        return Refused(f"the receiver answered {status}")
    return Retry(f"the receiver answered {status}", retry_after)


def _failed(error: Any) -> Outcome:
    """The URL may hold a token, and errors of the library hold the URL: only their kind is kept."""
    from requests import exceptions

    kind = type(error).__name__
    if isinstance(error, exceptions.SSLError):
        return Retry("the receiver's certificate is not accepted")
    if isinstance(error, exceptions.ConnectTimeout) or _never_connected(error):
        return Retry(f"the receiver cannot be reached ({kind})")
    if isinstance(error, (exceptions.InvalidURL, exceptions.InvalidSchema, exceptions.MissingSchema)):
        return Refused(f"the webhook's URL is not usable ({kind})")
    return Unknown(f"the receiver's answer was lost ({kind})")


def _never_connected(error: Any) -> bool:
    """Whether the failure was to find or reach the receiver, before a byte was sent. urllib3 below has the class."""
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    return any(kind.__name__ == "NewConnectionError" for kind in type(reason).__mro__)
