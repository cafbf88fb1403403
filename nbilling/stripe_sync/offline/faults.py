"""Faults on purpose: what can go wrong between here and Stripe, before or after the effect."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from nbilling.stripe_sync.offline.wire import ApiError, Reply, body_text

BROKEN = ("refused", "timeout", "reset")
GARBLED = ("truncated", "html", "null")
ANSWERED = ("conflict", "rate_limit", "lock_timeout", "error")
KINDS = (*BROKEN, *GARBLED, *ANSWERED)
KEPT = ("lock_timeout", "error")
"""Those that Stripe keeps as the answer to the request's idempotency key."""

_HTML = b"<!doctype html><html><body><h1>Bad Gateway</h1></body></html>"


class Fault(NamedTuple):
    """One fault. ``after``: the request has taken effect first. ``retry_after``: of a rate limit."""

    kind: str
    after: bool = False
    retry_after: str = ""


Plan = Callable[[str, str], Fault | None]
"""Says for a method and a path which fault comes, if any."""


class Broken(Exception):
    """The connection fails: there is no answer."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def no_faults(method: str, path: str) -> Fault | None:
    """The plan in which all goes well."""
    return None


def in_turn(faults: Iterable[Fault | None]) -> Plan:
    """One fault a request, in this order; none when they are used up."""
    queue = iter(faults)
    return lambda method, path: next(queue, None)


def spoiled(fault: Fault, reply: Reply | None) -> Reply:
    """The answer that a fault leaves; None: the request was never carried out. Raises Broken where there is none."""
    if fault.kind in BROKEN:
        raise Broken(fault.kind)
    if fault.kind in GARBLED:
        good = reply.body if reply is not None else b'{"id": "obj_1", "object": "unknown"}'
        body = {"truncated": good[: len(good) // 2], "html": _HTML, "null": b"null"}[fault.kind]
        return Reply(200, {"X-Fault": fault.kind}, body)
    error = answered(fault)
    return Reply(error.status, dict(error.headers), body_text(error.body).encode())


def answered(fault: Fault) -> ApiError:
    """The error of one of :data:`ANSWERED`."""
    if fault.kind == "conflict":
        return ApiError(
            409,
            "There is currently another in-progress request using this Idempotency Key.",
            code="idempotency_key_in_use",
        )
    if fault.kind == "error":
        return ApiError(500, "An unknown error occurred", kind="api_error", headers={"Stripe-Should-Retry": "false"})
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    code = "lock_timeout" if fault.kind == "lock_timeout" else "rate_limit"
    return ApiError(429, "Too many requests", code=code, headers=headers)
