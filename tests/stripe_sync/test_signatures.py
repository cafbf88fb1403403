"""Webhooks before they are trusted: forged, old, huge, deep, of no encoding. Each is BadInput, never a traceback."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.errors import BadInput
from nbilling.stripe_sync import signatures
from nbilling.stripe_sync.offline.happened import signed
from nbilling.stripe_sync.signatures import MAX_BODY, parse, verify

SECRET = "whsec_test"
NOW = 1_770_000_000
EVENT: dict[str, Any] = {
    "id": "evt_1",
    "object": "event",
    "type": "customer.updated",
    "api_version": "2026-10-28.endive",
    "created": NOW,
    "livemode": False,
    "data": {"object": {"id": "cus_1", "object": "customer"}},
}


def header_of(body: bytes, secret: str = SECRET, at: int = NOW) -> str:
    import hashlib
    import hmac

    return f"t={at},v1={hmac.new(secret.encode(), f'{at}.'.encode() + body, hashlib.sha256).hexdigest()}"


def test_what_stripes_library_signs_is_accepted_and_what_we_sign_its_library_accepts() -> None:
    import stripe

    body, header = signed(EVENT, SECRET, NOW)
    theirs = stripe.WebhookSignature.generate_signature_header(body.decode(), SECRET, timestamp=NOW)
    assert theirs == header
    verify(body, theirs, SECRET, NOW)
    event = parse(body, strict=True, now=NOW)
    assert (event.id, event.type, event.kind, event.object_id) == ("evt_1", "customer.updated", "customer", "cus_1")


@pytest.mark.parametrize("offset,accepted", [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_a_signature_holds_for_300_seconds_both_ways(offset: int, accepted: bool) -> None:
    body, header = signed(EVENT, SECRET, NOW)
    if accepted:
        verify(body, header, SECRET, NOW + offset)
    else:
        with pytest.raises(BadInput, match="300 seconds"):
            verify(body, header, SECRET, NOW + offset)


def test_one_right_signature_of_several_is_enough_and_so_is_one_secret_of_several() -> None:
    body, header = signed(EVENT, SECRET, NOW)
    wrong = f"v1={'0' * 64}"
    verify(body, f"{header},{wrong}", SECRET, NOW)
    verify(body, f"t={NOW},{wrong},{header.split(',')[1]},v0=abc", SECRET, NOW)
    verify(body, header, f"whsec_old {SECRET}", NOW)


def test_a_forged_signature_is_refused() -> None:
    body, header = signed(EVENT, SECRET, NOW)
    forged = [
        signed(EVENT, "whsec_other", NOW)[1],
        header.replace("v1=", "v0="),
        header.replace(f"t={NOW}", f"t={NOW + 1}"),
        header.upper(),
        f"t={NOW},v1={'0' * 64}",
    ]
    for one in forged:
        with pytest.raises(BadInput):
            verify(body, one, SECRET, NOW)
    with pytest.raises(BadInput, match="not right"):
        verify(body + b" ", header, SECRET, NOW)
    with pytest.raises(BadInput):
        verify(body, header, "", NOW)


@pytest.mark.parametrize(
    "header",
    ["", "t", "t=,v1=", "v1=" + "0" * 64, f"t={NOW}", f"t={NOW},v1=xyz", f"t={NOW},t={NOW},v1={'0' * 64}",
     f"t=-{NOW},v1={'0' * 64}", f"t=1e9,v1={'0' * 64}", f"t={'9' * 5000},v1={'0' * 64}", "é" * 20,
     f"t={NOW},v1=" + "é" * 64, f"t=\u0661,v1={'0' * 64}", "," * 4000, "t=1," + "v1=" + "0" * 5000, "\x00", "\ud800",
     f"t={NOW}," + ",".join([f"v1={'0' * 64}"] * 50)],
)  # fmt: skip
def test_a_malformed_header_is_bad_input(header: str) -> None:
    with pytest.raises(BadInput):
        verify(b"{}", header, SECRET, NOW)


@given(st.text(max_size=200), st.binary(max_size=200))
def test_no_header_and_no_body_is_a_traceback(header: str, body: bytes) -> None:
    with pytest.raises(BadInput):
        verify(body, header, SECRET, NOW)
    with pytest.raises(BadInput):
        parse(body, strict=True, now=NOW)


def test_a_body_over_the_cap_is_not_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("hashed")

    monkeypatch.setattr(signatures.hmac, "new", never)
    with pytest.raises(BadInput, match="bytes"):
        verify(b"x" * (MAX_BODY + 1), f"t={NOW},v1={'0' * 64}", SECRET, NOW)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"5", b'"x"', b"{}", b"{", b"\xff\xfe", b"\x00", b"[" * 200_000, b'{"a":' * 40_000,
     b'{"type": "a.b", "type": "a.c"}', b'{"type": 5}', b'{"type": "a.b", "created": NaN}',
     b'{"type": "a.b", "created": ' + b"9" * 5000 + b"}", b'{"type": "../../etc"}', b'{"type": "\xc3\xa9.b"}',
     json.dumps(EVENT | {"id": "evt_/../x"}).encode(), json.dumps(EVENT | {"livemode": "no"}).encode(),
     json.dumps(EVENT | {"created": True}).encode(), json.dumps(EVENT | {"created": -1}).encode(),
     json.dumps(EVENT | {"created": 1.5}).encode(), json.dumps(EVENT | {"created": 2**60}).encode(),
     json.dumps(EVENT | {"data": []}).encode(), json.dumps(EVENT | {"data": {"object": "cus_1"}}).encode(),
     json.dumps(EVENT | {"object": "v2.core.event"}).encode(), json.dumps(EVENT | {"id": "\ud800"}).encode()],
)  # fmt: skip
def test_what_is_no_event_is_bad_input_though_it_is_signed(body: bytes) -> None:
    verify(body, header_of(body), SECRET, NOW)
    with pytest.raises(BadInput):
        parse(body, strict=True, now=NOW)


def test_in_fixtures_an_event_may_lack_its_id_and_its_time() -> None:
    body = b'{"type": "invoice.payment_succeeded", "data": {"object": {"id": "in_test"}}}'
    event = parse(body, strict=False, now=NOW)
    assert event.id.startswith("body_")
    assert (event.whole, event.created, event.object_id) == (False, NOW, "in_test")
    assert parse(body, strict=False, now=NOW + 5).id == event.id
    assert parse(body + b" ", strict=False, now=NOW).id != event.id
