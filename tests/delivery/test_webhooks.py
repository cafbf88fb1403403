"""Outgoing webhooks: signed as Standard Webhooks has it, posted once, and a plain word on what became of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from nbilling.delivery import webhooks
from nbilling.delivery.webhooks import Webhook, outcome_of, sign
from nbilling.model.clock import SECOND, parse_time
from nbilling.model.outbox import Delivered, Message, Outcome, Refused, Retry, Unknown

NOW = parse_time("2026-01-10T12:00:00Z")
MESSAGE = Message(
    id=7,
    kind="alert_webhook",
    customer_id="acme",
    payload={"summary": "80 % – voll", "usage": Decimal("1.50")},
    operation_id="alert_1",
    generation=1,
    attempt=1,
    token=1,
    lease_until=NOW,
    created_at=NOW - SECOND,
    first_sent_at=NOW,
)


class Endpoint:
    """A server that reads one request after another and answers as it is told. Keeps the requests."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answer: bytes | None = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/hook?token=hidden"

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, client.makefile("rb") as stream:
                first = stream.readline()
                if first == b"stop\r\n":
                    return
                headers = {":first": first.decode().strip()}
                while (line := stream.readline()) not in (b"\r\n", b""):
                    name, _, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                self.requests.append((headers, stream.read(int(headers["content-length"]))))
                if self.answer is not None:
                    client.sendall(self.answer)

    def close(self) -> None:
        with socket.create_connection(self.listener.getsockname()) as client:
            client.sendall(b"stop\r\n")
        self.thread.join(30)
        self.listener.close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.close()


def post(url: str, secret: str = "whsec_" + base64.b64encode(b"k" * 24).decode()) -> Outcome:
    return Webhook(url, secret, "usage.alert", lambda: NOW).send(MESSAGE)


def test_the_signature_is_that_of_the_specification() -> None:
    """Checked against the formula: HMAC-SHA256 over id.timestamp.body, keyed by what the base64 holds."""
    expected = base64.b64encode(hmac.digest(b"k" * 24, b'msg_1.1674087231.{"a":1}', hashlib.sha256)).decode()
    secret = "whsec_" + base64.b64encode(b"k" * 24).decode()
    assert sign(secret, "msg_1", 1674087231, b'{"a":1}') == f"v1,{expected}"


def test_while_a_secret_is_changed_both_sign() -> None:
    old, new = sign("old", "m", 1, b""), sign("new", "m", 1, b"")
    assert old != new
    assert sign("new old", "m", 1, b"") == f"{new} {old}"


def test_a_secret_that_is_no_base64_is_taken_as_text() -> None:
    expected = base64.b64encode(hmac.digest(b"whsec_not-base64!", b"m.1.", hashlib.sha256)).decode()
    assert sign("whsec_not-base64!", "m", 1, b"") == f"v1,{expected}"


def test_an_event_arrives_with_its_id_the_time_and_a_signature_over_what_was_sent(endpoint: Endpoint) -> None:
    assert post(endpoint.url) == Delivered({"status": 204})
    [(headers, body)] = endpoint.requests
    assert headers[":first"] == "POST /hook?token=hidden HTTP/1.1"
    assert headers["content-type"] == "application/json"
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("alert_1", str(NOW // SECOND))
    signed = f"alert_1.{NOW // SECOND}.".encode() + body
    digest = base64.b64encode(hmac.digest(b"k" * 24, signed, hashlib.sha256)).decode()
    assert hmac.compare_digest(headers["webhook-signature"], f"v1,{digest}")
    assert json.loads(body, parse_float=Decimal) == {
        "id": "alert_1",
        "type": "usage.alert",
        "timestamp": "2026-01-10T11:59:59Z",
        "data": {"summary": "80 % – voll", "usage": Decimal("1.50")},
    }


@pytest.mark.parametrize("status", [301, 302, 307, 400, 405, 410, 413, 422])
def test_what_will_never_be_taken_is_refused(status: int) -> None:
    assert isinstance(outcome_of(status, None), Refused)


@pytest.mark.parametrize("status", [401, 403, 404, 408, 409, 425, 429, 500, 502, 503, 504, 100, 600])
def test_what_may_be_taken_later_is_tried_again(status: int) -> None:
    assert outcome_of(status, "30") == Retry(f"the receiver answered {status}", "30")


def test_a_redirect_is_not_followed(endpoint: Endpoint) -> None:
    endpoint.answer = f"HTTP/1.1 307 Go\r\nLocation: {endpoint.url}\r\nContent-Length: 0\r\n\r\n".encode()
    assert isinstance(post(endpoint.url), Refused)
    assert len(endpoint.requests) == 1


def test_a_retry_after_is_handed_on(endpoint: Endpoint) -> None:
    endpoint.answer = b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n"
    assert post(endpoint.url) == Retry("the receiver answered 503", "120")


@pytest.mark.parametrize("answer", [None, b"", b"HTTP/1.1", b"nonsense\r\n\r\n"])
def test_an_answer_that_was_lost_is_unknown(endpoint: Endpoint, answer: bytes | None) -> None:
    endpoint.answer = answer
    outcome = post(endpoint.url)
    assert isinstance(outcome, Unknown)
    assert "hidden" not in outcome.reason
    assert len(endpoint.requests) == 1


def test_the_body_of_the_answer_is_not_waited_for(endpoint: Endpoint) -> None:
    endpoint.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nand so on"
    assert post(endpoint.url) == Delivered({"status": 200})


def test_a_receiver_that_is_not_there_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    outcome = post(f"http://127.0.0.1:{port}/hook?token=hidden")
    assert isinstance(outcome, Retry)
    assert "hidden" not in outcome.reason


def test_a_receiver_that_does_not_answer_in_time_is_unknown(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "READ_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        outcome = post(f"http://127.0.0.1:{silent.getsockname()[1]}/")
    assert isinstance(outcome, Unknown)


def test_a_receiver_without_tls_is_tried_again(endpoint: Endpoint) -> None:
    """It may be set up tomorrow; nothing was handed over."""
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def hang_up() -> None:
            client, _ = plain.accept()
            client.recv(1)
            client.sendall(b"HTTP/1.1 400 no\r\n\r\n")
            client.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        outcome = post(f"https://127.0.0.1:{plain.getsockname()[1]}/")
        thread.join(30)
    assert isinstance(outcome, Retry)


def test_an_address_that_is_none_is_refused() -> None:
    assert isinstance(post("http://[::1"), Refused)


def test_settings_of_the_environment_lead_the_event_nowhere_else(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert post(endpoint.url) == Delivered({"status": 204})


def test_without_an_address_or_a_secret_it_waits() -> None:
    def blocked(url: str, secret: str) -> str:
        return Webhook(url, secret, "usage.alert", lambda: NOW).blocked(MESSAGE)

    assert "NBILLING_WEBHOOK_URL" in blocked("", "s")
    assert "NBILLING_WEBHOOK_SECRET" in blocked("https://example.com", "")
    assert blocked("https://example.com", "s") == ""


def test_nothing_that_it_says_holds_the_secret(endpoint: Endpoint) -> None:
    said: list[Any] = [post(endpoint.url, "very-secret")]
    endpoint.answer = None
    said.append(post(endpoint.url, "very-secret"))
    assert "very-secret" not in repr(said) + repr(endpoint.requests)
