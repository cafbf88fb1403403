"""Messages: keys, kinds, payloads as they are kept."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.errors import BadInput
from nbilling.model.outbox import (
    LEASE,
    MAX_PAYLOAD,
    Message,
    Traits,
    json_text,
    lane_of,
    one_line,
    payload_of,
    payload_text,
    traits_of,
    valid_kind,
    valid_operation,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    max_leaves=12,
)


def test_the_key_of_a_message_holds_its_operation_and_its_generation() -> None:
    message = Message(1, "mail", "acme", {}, "op_1", 2, 5, 9, 0, 0, 0)
    assert message.idempotency_key == "op_1:2"


@given(st.dictionaries(st.text("abc", max_size=3), VALUES, max_size=5))
def test_a_payload_comes_back_as_it_was(payload: dict[str, Any]) -> None:
    assert payload_of(payload_text(payload)) == payload


def test_a_decimal_keeps_all_its_digits() -> None:
    text = json_text({"b": [Decimal("0.10"), Decimal("1E+3")], "a": Decimal("12345678901234567890.000000001")})
    assert text == '{"a":12345678901234567890.000000001,"b":[0.10,1000]}'
    assert payload_of(text)["a"] == Decimal("12345678901234567890.000000001")


@pytest.mark.parametrize("value", [1.5, Decimal("NaN"), b"bytes", {1: 2}, object(), {"a": {"b": 0.1}}])
def test_what_json_cannot_say_exactly_is_refused(value: object) -> None:
    with pytest.raises(BadInput):
        json_text({"value": value})


@pytest.mark.parametrize("payload", [{"a": "x" * MAX_PAYLOAD}, {"a": "\ud800"}])
def test_a_payload_that_cannot_be_kept_is_refused(payload: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        payload_text(payload)


@pytest.mark.parametrize("kind", ["", "Mail", "mail.", "a.b.c", "mail;drop", "m" * 81, None, 5])
def test_a_kind_is_a_name_with_at_most_one_dot(kind: object) -> None:
    with pytest.raises(BadInput):
        valid_kind(kind)


@pytest.mark.parametrize("operation", ["", "a b", "a.b", "a\n", "ä", "x" * 201, None, 7])
def test_an_operation_fits_into_keys_and_headers(operation: object) -> None:
    with pytest.raises(BadInput):
        valid_operation(operation)


def test_kinds_that_share_what_stands_before_the_dot_share_a_lane() -> None:
    assert lane_of(valid_kind("stripe.pay")) == lane_of("stripe.finalize") == "stripe"
    assert lane_of("alert_mail") == "alert_mail"


def test_a_handler_needs_no_more_than_send() -> None:
    class Bare:
        def send(self, message: Message) -> Any: ...

    class Full(Bare):
        repeatable = True
        key_lifetime = 7
        lease = 8

        def reconcile(self, message: Message) -> Any: ...

    assert traits_of(Bare()) == Traits(False, False, 0, LEASE)
    assert traits_of(Full()) == Traits(True, True, 7, 8)


def test_a_reason_is_one_line_of_printable_text() -> None:
    assert one_line("a\n  b\x00\tc \ud800\u202ed é") == "a b c d é"
    assert len(one_line("x" * 10_000)) == 500
