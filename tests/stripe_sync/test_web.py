"""Webhooks over HTTP, and the loopback server: what a stranger may send to either."""

from __future__ import annotations

import io
import json
import socket
from typing import Any

import pytest

from nbilling.model.errors import BadInput, Conflict, LedgerBusy
from nbilling.stripe_sync.inbox import Inbox, Receipt
from nbilling.stripe_sync.mock import serve
from nbilling.stripe_sync.offline.loopback import Loopback
from nbilling.stripe_sync.signatures import MAX_BODY
from nbilling.stripe_sync.web import application


def call(app: Any, body: bytes = b"", **environ: Any) -> tuple[str, dict[str, str], Any]:
    told: list[Any] = []
    given = {
        "REQUEST_METHOD": "POST",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        **environ,
    }
    answer = b"".join(app(given, lambda status, headers: told.extend((status, headers))))
    headers = dict(told[1])
    assert headers["Content-Length"] == str(len(answer))
    return told[0], headers, json.loads(answer)


def accepting(body: bytes, signature: str) -> Receipt:
    return Receipt("evt_1", "a.b", "applied", "", False)


def raising(error: Exception) -> Any:
    def receive(body: bytes, signature: str) -> Receipt:
        raise error

    return application(receive)


def test_a_webhook_is_handed_on_as_it_came() -> None:
    seen = []

    def receive(body: bytes, signature: str) -> Receipt:
        seen.append((body, signature))
        return accepting(body, signature)

    status, _, answer = call(application(receive), b'{"a": 1}', HTTP_STRIPE_SIGNATURE="t=1,v1=x")
    assert (status, answer) == ("200 OK", {"received": "evt_1", "state": "applied", "duplicate": False})
    assert seen == [(b'{"a": 1}', "t=1,v1=x")]


@pytest.mark.parametrize(
    "environ,status",
    [
        ({"REQUEST_METHOD": "GET"}, "405"),
        ({"CONTENT_LENGTH": ""}, "411"),
        ({"CONTENT_LENGTH": "-1"}, "411"),
        ({"CONTENT_LENGTH": "1e3"}, "411"),
        ({"CONTENT_LENGTH": "²"}, "411"),
        ({"CONTENT_LENGTH": str(MAX_BODY + 1)}, "413"),
        ({"CONTENT_LENGTH": "9" * 5000}, "413"),
        ({"CONTENT_LENGTH": "100"}, "400"),
    ],
)
def test_what_cannot_be_a_webhook_is_not_read(environ: dict[str, str], status: str) -> None:
    told, _, answer = call(application(accepting), b"{}", **environ)
    assert told.startswith(status)
    assert "error" in answer


def test_bad_input_is_final_and_trouble_here_is_to_be_repeated() -> None:
    status, _, answer = call(raising(BadInput("forged", hint="x")), b"{}")
    assert (status, answer["error"]["message"]) == ("400 Bad Request", "forged")
    status, headers, answer = call(raising(LedgerBusy("busy at /secret/path", hint="x")), b"{}")
    assert status.startswith("503")
    assert "Retry-After" in headers
    assert "/secret/path" not in json.dumps(answer)


def test_an_attack_on_the_real_inbox_is_a_400(new_offline: Any) -> None:
    offline = new_offline(mode="test")
    inbox = Inbox(offline.core, lambda: offline.gateway, secrets="whsec_test")
    app = application(inbox.receive)
    attacks = [(b"", ""), (b"{}", ""), (b"\xff", "t=1,v1=" + "0" * 64), (b"[" * 100_000, "é"), (b"{}", "t=1,v1=\x00")]
    for body, signature in attacks:
        assert call(app, body, HTTP_STRIPE_SIGNATURE=signature)[0] == "400 Bad Request"


# -- the loopback server


def raw(server: Any, request: bytes) -> bytes:
    with socket.create_connection(server.http.server_address, timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
        return answer


@pytest.mark.parametrize(
    "request_,status",
    [
        (b"GET /v1/account HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n", b"401"),
        (
            b"GET /v1/account HTTP/1.1\r\nHost: evil.example:1\r\nAuthorization: Bearer sk_test_PLACEHOLDER\r\n\r\n",
            b"403",
        ),
        (b"GET /v1/account HTTP/1.1\r\nHost: 127.0.0.1:1\r\nAuthorization: Bearer sk_test_PLACEHOLDER\r\n\r\n", b"200"),
        (b"GET /v1/../x HTTP/1.1\r\nHost: 127.0.0.1:1\r\nAuthorization: Bearer sk_test_PLACEHOLDER\r\n\r\n", b"404"),
        (b"POST /v1/customers HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n", b"400"),
        (b"POST /v1/customers HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Length: 99999999\r\n\r\n", b"400"),
        (b"POST /v1/customers HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"POST /v1/customers HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Length: 1\r\n\r\n\xff", b"400"),
        (b"PUT /v1/customers HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n", b"501"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
def test_the_server_answers_whatever_it_is_sent(new_offline: Any, request_: bytes, status: bytes) -> None:
    server = new_offline(wire="loopback")
    first_line = raw(server, request_).split(b"\r\n", 1)[0]
    assert status in first_line
    assert server.gateway.account()["object"] == "account"


def test_the_server_listens_on_this_machine_alone(new_offline: Any) -> None:
    offline = new_offline(wire="loopback")
    assert offline.http.server_address[0] == "127.0.0.1"
    with pytest.raises(BadInput, match="cannot be used"):
        Loopback(offline.server, offline.http.server_address[1])
    with pytest.raises(BadInput):
        Loopback(offline.server, 70_000)


def test_the_mock_has_a_ledger_of_its_own(tmp_path: Any, new_offline: Any) -> None:
    def stop(address: str) -> None:
        assert address.startswith("http://127.0.0.1:")
        raise KeyboardInterrupt

    path = tmp_path / "mock.db"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            serve(path, ready=stop)
    live = new_offline(mode="live")
    with pytest.raises(Conflict, match="live"):
        serve(live.ledger.path, ready=stop)
