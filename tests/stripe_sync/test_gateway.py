"""The gateway: what it sends, what it refuses to send, and what each failure means."""

from __future__ import annotations

import ast
import inspect
import logging
import traceback
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from nbilling.model.errors import BadInput, NbillingError
from nbilling.model.outbox import Refused, Retry, Unknown
from nbilling.stripe_sync import gateway as module
from nbilling.stripe_sync.failures import (
    BadRequest,
    Declined,
    KeyRejected,
    Missing,
    Rejected,
    TryAgain,
    Unconfirmed,
    outcome_of,
)
from nbilling.stripe_sync.gateway import API_VERSION, Gateway, Operation, checked_base, done_by, exact
from nbilling.stripe_sync.ids import PREFIXES, stripe_id
from nbilling.stripe_sync.keys import Key

SECRET = "sk_test_51Nq8sQd0NotARealKey"
OP = Operation("op-1", "op-1:0")
PREFIX = {
    "customer": "cus",
    "method": "pm",
    "price": "price",
    "product": "prod",
    "subscription": "sub",
    "item": "si",
    "invoice": "in",
    "event": "evt",
}


def answering(status: int, body: str, headers: dict[str, str] | None = None) -> Gateway:
    """A gateway whose network always gives the same answer; what it was sent is in ``.seen``."""
    import stripe

    seen: list[Any] = []

    class Canned(stripe.HTTPClient):
        name = "canned"

        def request(self, method: str, url: str, headers: Any, post_data: Any = None, **_: Any) -> Any:
            seen.append((method, url, dict(headers), post_data))
            return body, status, answer_headers

        def close(self) -> None: ...

    answer_headers = headers or {}
    made = Gateway(Key(SECRET), transport=Canned())
    made.seen = seen  # type: ignore[attr-defined]
    return made


def failing(error: Callable[[], BaseException]) -> Gateway:
    import stripe

    class Broken(stripe.HTTPClient):
        name = "broken"

        def request(self, *_: Any, **__: Any) -> Any:
            cause = error()
            raise stripe.APIConnectionError(f"with {SECRET}") from cause

        def close(self) -> None: ...

    return Gateway(Key(SECRET), transport=Broken())


def told(status: int, headers: dict[str, str] | None = None, **error: str) -> Gateway:
    import json

    return answering(status, json.dumps({"error": error}), headers)


def change(gateway: Gateway) -> Any:
    return gateway.customer_create(OP, email="a@example.com")


def test_the_pinned_version_is_the_librarys() -> None:
    from stripe._api_version import _ApiVersion

    assert _ApiVersion.CURRENT == API_VERSION


def test_a_change_carries_version_key_and_operation_and_nothing_of_this_machine() -> None:
    import stripe

    gateway = answering(200, '{"id": "cus_1", "object": "customer"}')
    change(gateway)
    [(method, url, headers, body)] = gateway.seen  # type: ignore[attr-defined]
    assert (method, url) == ("post", "https://api.stripe.com/v1/customers")
    assert headers["Stripe-Version"] == API_VERSION
    assert headers["Idempotency-Key"] == "op-1:0"
    assert headers["Authorization"] == f"Bearer {SECRET}"
    assert body == "email=a%40example.com&metadata[nb_op]=op-1"
    assert stripe.enable_telemetry is False
    assert "X-Stripe-Client-Telemetry" not in headers
    assert "platform" not in headers["X-Stripe-Client-User-Agent"]
    assert "telemetry_id" not in headers["X-Stripe-Client-User-Agent"]


def test_nothing_is_tried_twice_by_the_library() -> None:
    gateway = told(500, type="api_error", message="no")
    with pytest.raises(Unconfirmed):
        change(gateway)
    assert len(gateway.seen) == 1  # type: ignore[attr-defined]


def test_the_network_is_waited_for_30_seconds() -> None:
    gateway = Gateway(Key(SECRET))
    client = gateway._v1._requestor._get_http_client()
    assert client._timeout == 30
    assert gateway._v1._requestor._options.max_network_retries == 0


@pytest.mark.parametrize(
    "status,error,expected",
    [
        (400, {"type": "invalid_request_error", "code": "parameter_unknown"}, BadRequest),
        (400, {"type": "idempotency_error"}, BadRequest),
        (400, {"type": "invalid_request_error", "message": "Invoice is already paid"}, Rejected),
        (400, {"type": "invalid_request_error", "code": "rate_limit"}, TryAgain),
        (401, {"type": "invalid_request_error"}, KeyRejected),
        (403, {"type": "invalid_request_error"}, KeyRejected),
        (402, {"type": "card_error", "code": "card_declined"}, Declined),
        (404, {"type": "invalid_request_error", "code": "resource_missing"}, Missing),
        (409, {"type": "invalid_request_error", "code": "idempotency_key_in_use"}, TryAgain),
        (429, {"type": "invalid_request_error", "code": "rate_limit"}, TryAgain),
        (429, {"type": "invalid_request_error", "code": "lock_timeout"}, Unconfirmed),
        (424, {"type": "api_error"}, Unconfirmed),
        (500, {"type": "api_error"}, Unconfirmed),
        (503, {"type": "api_error"}, Unconfirmed),
    ],
)
def test_each_answer_of_a_change_means_one_thing(status: int, error: dict[str, str], expected: type) -> None:
    with pytest.raises(NbillingError) as caught:
        change(told(status, **error))
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    "status,body",
    [
        (200, "null"),
        (200, "[]"),
        (200, '"text"'),
        (200, "{}"),
        (200, '{"id": "cus_1"}'),
        (200, ""),
        (200, '{"id": "cus_1", "obj'),
        (200, "<!doctype html><html></html>"),
        (200, "[" * 100_000),
        (500, "<html>"),
        (502, "null"),
        (400, "<html>"),
        (404, "[]"),
        (402, '{"error": "text"}'),
        (200, '{"object": 5}'),
    ],
)
def test_a_change_whose_answer_cannot_be_read_is_unknown_and_a_read_is_tried_again(status: int, body: str) -> None:
    with pytest.raises(NbillingError) as changed:
        change(answering(status, body))
    with pytest.raises(NbillingError) as read:
        answering(status, body).customer("cus_1")
    assert (type(changed.value), type(read.value)) == (Unconfirmed, TryAgain)
    assert body not in str(changed.value) or len(body) < 3


@pytest.mark.parametrize("cause", [TimeoutError, ConnectionResetError, OSError, ValueError])
def test_a_connection_that_breaks_leaves_a_change_unknown(cause: type[Exception]) -> None:
    with pytest.raises(Unconfirmed):
        change(failing(lambda: cause("x")))
    with pytest.raises(TryAgain):
        failing(lambda: cause("x")).customer("cus_1")


def test_a_connection_that_was_never_made_changed_nothing() -> None:
    with pytest.raises(TryAgain, match="cannot be reached"):
        change(failing(lambda: ConnectionRefusedError("x")))
    # A port on which nobody listens: requests, urllib3 and the library on top, as in production.
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{one.getsockname()[1]}"
        with pytest.raises(TryAgain, match="cannot be reached"):
            change(Gateway(Key(SECRET), base=address))


def test_an_error_being_handled_before_does_not_make_a_later_one_certain() -> None:
    try:
        raise ConnectionRefusedError("an earlier call")
    except ConnectionRefusedError:
        with pytest.raises(Unconfirmed):
            change(failing(lambda: ConnectionResetError("x")))


def test_retry_after_comes_through() -> None:
    with pytest.raises(TryAgain) as caught:
        change(told(429, {"Retry-After": "7"}, code="rate_limit", message="slow"))
    assert caught.value.after == "7"
    assert outcome_of(caught.value) == Retry(caught.value.message, "7")


def test_a_decline_says_why() -> None:
    with pytest.raises(Declined) as caught:
        change(told(402, code="card_declined", decline_code="insufficient_funds", message="Your card has no funds."))
    assert caught.value.stripe_code == "insufficient_funds"
    assert "no funds" in caught.value.message
    assert caught.value.exit_code == 1


def test_what_each_failure_means_for_the_outbox() -> None:
    assert isinstance(outcome_of(TryAgain("x")), Retry)
    assert isinstance(outcome_of(KeyRejected("x")), Retry)
    assert isinstance(outcome_of(Unconfirmed("x")), Unknown)
    for final in (Declined("x", stripe_code="c"), Missing("x"), Rejected("x"), BadRequest("x")):
        assert isinstance(outcome_of(final), Refused)


def test_no_secret_gets_into_errors_tracebacks_logs_or_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    hook = "whsec_veryverysecret"
    gateways = [
        told(401, message=f"Invalid API Key provided: {SECRET} {hook}\nmore"),
        told(400, message=f"bad {SECRET}", code=SECRET, param=SECRET),
        answering(500, f"<html>{SECRET}</html>"),
        answering(200, f'{{"key": "{SECRET}"'),
        failing(lambda: TimeoutError(SECRET)),
    ]
    for gateway in gateways:
        with pytest.raises(NbillingError) as caught:
            change(gateway)
        error = caught.value
        shown = [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error), repr(gateway)]
        # Nothing of the library's hangs on it; a lock that was contended just then may.
        assert error.__context__ is None or type(error.__context__) is BlockingIOError
        assert error.__cause__ is None
        assert "\n" not in error.message
        assert not any(SECRET in one or hook in one for one in shown)
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("stripe")]
    assert not any(SECRET in one for one in ours)
    assert not any(SECRET in record.getMessage() for record in caplog.records if "Bearer" in record.getMessage())


@pytest.mark.parametrize("kind", PREFIXES)
@pytest.mark.parametrize(
    "value",
    ["", "..", ".", "/", "cus_../x", "cus_a/b", "cus_a?b", "cus_a b", "cus_a%2e", "CUS_a", "cus_ä", "cus_a\n", "cus_",
     "x_a", None, 5, "cus_" + "a" * 300, SECRET],
)  # fmt: skip
def test_what_is_no_id_is_refused_before_anything_is_sent(kind: str, value: object) -> None:
    with pytest.raises(BadInput) as caught:
        stripe_id(value, kind)
    assert SECRET not in str(caught.value)


def test_every_method_that_takes_an_id_checks_it() -> None:
    """No request leaves with an id that is none: read off the methods themselves."""
    gateway = answering(200, '{"object": "list", "data": [], "has_more": false}')
    checked = 0
    for name, method in inspect.getmembers(gateway, inspect.ismethod):
        if name.startswith("_"):
            continue
        arguments = inspect.signature(method).parameters
        for bad in PREFIX.keys() & set(arguments):
            good = {name: f"{prefix}_1" for name, prefix in PREFIX.items()} | {"op": OP, "amount": 1}
            good |= {"currency": "usd", "description": "x"}
            given = {one: good[one] for one in arguments if one in good} | {bad: "../secrets"}
            with pytest.raises(BadInput):
                next(method(**given))
            checked += 1
    assert checked > 20
    assert gateway.seen == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("op", [Operation("", "k"), Operation("o", ""), Operation("o", "k" * 256), Operation("o", "é")])
def test_a_change_without_a_usable_key_is_not_sent(op: Operation) -> None:
    gateway = answering(200, '{"id": "cus_1", "object": "customer"}')
    with pytest.raises(BadInput):
        gateway.customer_create(op)
    assert gateway.seen == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "base",
    ["http://example.com", "ftp://127.0.0.1", "https://", "http://user:pass@127.0.0.1", "https://a/b?c", "nonsense",
     "https://a b", "http://127.0.0.1.example.com", "http://127.0.0.1:99999", "https://a#b", "https://x\n.example"],
)  # fmt: skip
def test_the_key_is_not_sent_just_anywhere(base: str) -> None:
    with pytest.raises(BadInput):
        checked_base(base)


def test_a_server_of_this_machine_or_with_tls_may_take_stripes_place() -> None:
    for base in ("http://127.0.0.1:12111", "http://localhost:1/", "https://stripe.example.com", "http://[::1]:80"):
        assert checked_base(base) == base.rstrip("/")


def test_answers_hold_no_floats() -> None:
    answer = answering(200, '{"object": "coupon", "percent_off": 25.5, "of": [{"x": 0.1}]}').account()
    assert answer == {"object": "coupon", "percent_off": Decimal("25.5"), "of": [{"x": Decimal("0.1")}]}
    assert exact({"a": 1, "b": None, "c": True}) == {"a": 1, "b": None, "c": True}


def test_an_operation_is_found_by_its_metadata() -> None:
    objects = [{"id": "a", "metadata": None}, {"id": "b"}, {"id": "c", "metadata": {"nb_op": "op-7"}}]
    assert done_by("op-7", iter(objects)) == objects[2]
    assert done_by("op-8", iter(objects)) is None


def test_steps_of_an_operation_share_its_id_and_differ_in_their_keys() -> None:
    assert OP.step("default") == Operation("op-1", "op-1:0/default")


def test_the_gateway_alone_calls_the_library() -> None:
    """Only the gateway makes a client; the offline transport takes the base class and the parameters."""
    from pathlib import Path

    root = Path(module.__file__).parent
    users = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Import) and any(name.name.split(".")[0] == "stripe" for name in node.names)
    }
    assert users == {"gateway.py", "library_errors.py", "offline/transport.py", "offline/parameters.py"}
