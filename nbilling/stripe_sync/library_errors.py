"""From what the Stripe library raises to one of ``failures``. What is certain is told from what is not.

A change whose answer did not arrive, or cannot be read, may have happened. The library says ``should_retry`` False for
a truncated body, and fails with an AttributeError where the body is ``null``: neither means that nothing happened.
"""

from __future__ import annotations

from typing import Any

from nbilling.model.errors import NbillingError
from nbilling.stripe_sync.failures import BadRequest, Declined, KeyRejected, Missing, Rejected, TryAgain, Unconfirmed
from nbilling.stripe_sync.keys import masked

LONGEST_MESSAGE = 300

# Stripe reports these as a 400 of the same type as a wrong parameter; they are about the state of an object.
_ABOUT_PARAMETERS = ("parameter_", "url_invalid", "email_invalid", "amount_too_", "invalid_characters")

# Names of what requests and urllib3 raise before anything was sent.
_BEFORE_SENDING = {
    "ConnectTimeout",
    "ConnectTimeoutError",
    "NewConnectionError",
    "NameResolutionError",
    "ProxyError",
    "SSLCertVerificationError",
    "ConnectionRefusedError",
    "InvalidURL",
    "MissingSchema",
}


def failure_of(error: Exception, changes: bool) -> NbillingError:
    """What an error of the library means. ``changes``: the request was to change something."""
    import stripe

    if isinstance(error, NbillingError):
        return error
    if isinstance(error, stripe.APIConnectionError):
        if not _was_sent(error):
            return TryAgain("Stripe cannot be reached")
        return _uncertain("the connection to Stripe broke before its answer came", changes)
    if not isinstance(error, stripe.StripeError):
        return _uncertain(f"Stripe's answer cannot be read ({type(error).__name__})", changes)
    return _of_answer(error, changes)


def _of_answer(error: Any, changes: bool) -> NbillingError:
    """The failure of an answer with an HTTP status."""
    status = error.http_status or 0
    body = error.json_body if isinstance(error.json_body, dict) else {}
    told = body.get("error") if isinstance(body.get("error"), dict) else None
    if told is None:
        # Not from Stripe's API: a proxy's page, or half a body.
        return _uncertain(f"Stripe's answer cannot be read (HTTP {status})", changes)
    code, param, message = _text(told.get("code")), _text(told.get("param")), _text(told.get("message"))
    message = message or f"HTTP {status}"
    after = _header(error.headers, "Retry-After")
    if status == 429 or code == "rate_limit":
        if code == "lock_timeout" and changes:
            # Reported to be replayed for its key: only a new key gets past it, so it has to be reconciled.
            return Unconfirmed(f"Stripe could not lock an object: {message}", hint="it is looked into later")
        return TryAgain(f"Stripe limits the rate: {message}", after=after)
    if status == 409:
        return TryAgain(f"Stripe is still busy with the same request: {message}", after=after)
    if status in (401, 403):
        return KeyRejected(f"Stripe rejected the key: {message}", hint="check the key and what it is allowed to do")
    if status == 402:
        return Declined(f"declined: {message}", stripe_code=_text(told.get("decline_code")) or code or "card_declined")
    if status == 404 or (status == 400 and code == "resource_missing" and message.startswith("No such ")):
        return Missing(message, hint="check the id, and whether it is of this Stripe account and mode")
    if status == 400 and (told.get("type") == "idempotency_error" or code.startswith(_ABOUT_PARAMETERS)):
        return BadRequest(message, stripe_code=code or _text(told.get("type")), param=param)
    if 400 <= status < 500 and told.get("type") != "api_error":
        return Rejected(message, stripe_code=code, param=param)
    return _uncertain(f"Stripe failed (HTTP {status})", changes, after)


def _uncertain(message: str, changes: bool, after: str | None = None) -> NbillingError:
    """A read that failed changed nothing; a change that failed is unknown."""
    if changes:
        return Unconfirmed(message, hint="whether it happened is unknown; it is looked into before it is sent again")
    return TryAgain(message, after=after)


def _was_sent(error: BaseException) -> bool:
    """False only where the connection was never made."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        if type(one).__name__ in _BEFORE_SENDING:
            return False
        # requests keeps what urllib3 raised in args, and urllib3 its reason.
        waiting += [one.__cause__, getattr(one, "reason", None), *one.args]
    return True


def _text(value: object) -> str:
    """A part of an error for a message: one line, no key in it, not too long."""
    if not isinstance(value, str):
        return ""
    line = masked(" ".join(value.split()))
    return line if len(line) <= LONGEST_MESSAGE else f"{line[:LONGEST_MESSAGE]}…"


def _header(headers: Any, name: str) -> str | None:
    for key, value in dict(headers or {}).items():
        if key.lower() == name.lower():
            return str(value)[:100]
    return None
