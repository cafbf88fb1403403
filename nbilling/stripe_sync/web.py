"""Webhooks over HTTP: a WSGI application for any server, in front of the inbox.

200: taken, or taken before. 400: never to be taken. 503 with ``Retry-After``: to be sent again. Bodies without a length
or over the cap are not read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from nbilling.model.errors import BadInput, NbillingError
from nbilling.stripe_sync.inbox import Receipt
from nbilling.stripe_sync.signatures import MAX_BODY

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

RETRY_SECONDS = "60"


def application(receive: Callable[[bytes, str], Receipt]) -> Application:
    """The WSGI application that hands each POST to ``receive(body, signature)``."""

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        status, answer, headers = _answer(environ, receive)
        body = json.dumps(answer).encode()
        start_response(
            status,
            [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers],
        )
        return [body]

    return app


def _answer(
    environ: dict[str, Any], receive: Callable[[bytes, str], Receipt]
) -> tuple[str, dict[str, Any], list[tuple[str, str]]]:
    if environ.get("REQUEST_METHOD") != "POST":
        return "405 Method Not Allowed", _error("method", "webhooks are posted"), [("Allow", "POST")]
    length = environ.get("CONTENT_LENGTH") or ""
    if not (length.isascii() and length.isdigit()):
        return "411 Length Required", _error("length", "the body has no length"), []
    if len(length) > 9 or int(length) > MAX_BODY:
        return "413 Content Too Large", _error("size", f"at most {MAX_BODY} bytes are taken"), []
    try:
        body = environ["wsgi.input"].read(int(length))
    except OSError:
        return "400 Bad Request", _error("body", "the body broke off"), []
    if len(body) != int(length):
        return "400 Bad Request", _error("body", "the body broke off"), []
    try:
        receipt = receive(body, environ.get("HTTP_STRIPE_SIGNATURE", ""))
    except BadInput as error:
        return "400 Bad Request", _error(error.code, error.message), []
    except NbillingError as error:
        # The ledger is busy or full, or Stripe must be asked and cannot be: it is to come again.
        return "503 Service Unavailable", _error(error.code, "try again"), [("Retry-After", RETRY_SECONDS)]
    return "200 OK", {"received": receipt.event_id, "state": receipt.state, "duplicate": receipt.duplicate}, []


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
