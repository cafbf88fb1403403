"""The offline Stripe as a transport of the official library: the same code runs as over the network."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from nbilling.stripe_sync.offline.faults import Broken
from nbilling.stripe_sync.offline.server import OfflineStripe

_WHY = {
    "refused": ConnectionRefusedError,
    "timeout": TimeoutError,
    "reset": ConnectionResetError,
}


def transport(server: OfflineStripe) -> Any:
    """A ``stripe.HTTPClient`` that hands each request to an offline Stripe."""
    import stripe

    connection_error: Any = stripe.APIConnectionError

    class Offline(stripe.HTTPClient):
        """Answers without a network."""

        name = "offline"

        def request(self, method: str, url: str, headers: Any, post_data: Any = None, **_: Any) -> Any:
            parts = urlsplit(url)
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            try:
                reply = server.handle(method.upper(), target, dict(headers or {}), post_data or "")
            except Broken as broken:
                message = "the offline Stripe broke the connection"
                error: Exception = connection_error(message, should_retry=True)
                raise error from _WHY[broken.kind](broken.kind)
            # The library looks some of them up in lower case, some not.
            answered = {**reply.headers, **{name.lower(): value for name, value in reply.headers.items()}}
            return reply.body, reply.status, answered

        def close(self) -> None:
            """Nothing is open."""

    return Offline()
