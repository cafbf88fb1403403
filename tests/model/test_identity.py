"""Identities of events and ids of our own."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.identity import event_key, key_text, new_id, uuid7, uuid7_time

NOW = 1_767_225_600_123_456
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(st.integers(0, 2**48 * 1000 - 1))
def test_a_new_uuid_is_of_version_7_and_holds_its_millisecond(now: int) -> None:
    key = uuid7(now)
    made = uuid.UUID(bytes=key)
    assert made.variant == uuid.RFC_4122
    assert made.version == 7
    assert uuid7_time(key) == now // 1000 * 1000


@given(st.uuids(version=4))
def test_other_versions_hold_no_time(value: uuid.UUID) -> None:
    assert uuid7_time(value.bytes) is None


@given(texts, st.uuids())
def test_a_canonical_uuid_is_its_own_key(customer: str, value: uuid.UUID) -> None:
    if value.variant != uuid.RFC_4122 or not value.version:
        return
    assert event_key(customer, str(value)) == (value.bytes, None)
    assert key_text(value.bytes) == str(value)


@pytest.mark.parametrize(
    "text",
    [
        "018F0000-0000-7000-8000-000000000000",  # capitals would read back in small letters
        "{018f0000-0000-7000-8000-000000000000}",
        "018f000000007000800000000000000000",
        "018f0000-0000-7000-8000-00000000000０",
        "42",
    ],
)
def test_any_other_id_is_hashed_and_kept_as_sent(text: str) -> None:
    key, kept = event_key("acme", text)
    assert kept == text
    assert len(key) == 16


@given(texts, texts, texts, texts)
def test_two_events_share_a_key_only_if_customer_and_id_are_the_same(a: str, x: str, b: str, y: str) -> None:
    assert (event_key(a, x)[0] == event_key(b, y)[0]) == ((a, x) == (b, y))


def test_the_border_between_customer_and_id_counts() -> None:
    assert event_key("a", "b1")[0] != event_key("ab", "1")[0]


def test_ids_of_our_own_sort_by_their_time_and_are_never_the_same() -> None:
    ids = [new_id("inv", NOW + n * 1000) for n in range(100)]
    assert ids == sorted(ids)
    assert len({new_id("inv", NOW) for _ in range(1000)}) == 1000
    assert all(len(made) == len("inv_") + 26 and made.startswith("inv_") for made in ids)
