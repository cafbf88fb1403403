"""Samples of nginx's status: what is read of a line, for whom, and what makes two totals the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nbilling.model.errors import BadInput
from nbilling.model.imports import SampleOptions
from nbilling.rules.access_logs import Unreadable
from nbilling.rules.status_samples import (
    MAX_SAMPLE,
    Sample,
    Total,
    dimension,
    sample_reader,
    total_id,
    total_key,
)

ACME = SampleOptions(customer="acme", zone="api")
AT = 1_446_249_499_322_000


def zone(requests: object = 5, **more: object) -> dict[str, object]:
    return {"processing": 1, "requests": requests, "responses": {"2xx": 4}, "received": 70, "sent": 900} | more


def line(zones: object = None, **changes: Any) -> bytes:
    sample = {
        "version": 6, "address": "10.0.0.1", "generation": 11, "load_timestamp": 1445680800424,
        "timestamp": AT // 1000, "server_zones": {"api": zone(), "www": zone(6)} if zones is None else zones,
    }  # fmt: skip
    return json.dumps(sample | changes).encode()


def reason_of(raw: bytes, options: SampleOptions = ACME) -> str:
    with pytest.raises(Unreadable) as caught:
        sample_reader(options)(raw)
    return caught.value.reason


def test_a_sample_gives_the_totals_of_the_zones_that_somebody_pays_for() -> None:
    assert sample_reader(ACME)(line()) == Sample(
        AT,
        "10.0.0.1",
        [
            Total("api", "acme", "requests", AT, 5),
            Total("api", "acme", "sent", AT, 900),
            Total("api", "acme", "received", AT, 70),
        ],
        ["www"],
    )


def test_the_zone_map_says_who_pays_and_without_a_zone_the_customer_has_all() -> None:
    options = SampleOptions(zone_map={"api": "acme", "www": "globex"}, meters={"requests": "m"})
    assert [(one.zone, one.customer) for one in sample_reader(options)(line()).totals] == [
        ("api", "acme"),
        ("www", "globex"),
    ]
    options = SampleOptions(customer="acme", meters={"requests": "m"})
    assert [(one.zone, one.customer) for one in sample_reader(options)(line()).totals] == [
        ("api", "acme"),
        ("www", "acme"),
    ]


def test_any_total_can_be_counted() -> None:
    options = ACME._replace(meters={"responses.2xx": "served"})
    assert [(one.field, one.total) for one in sample_reader(options)(line()).totals] == [("responses.2xx", 4)]


@pytest.mark.parametrize(
    "raw,reason",
    [
        (b"", "empty"),
        (b"  \r", "empty"),
        (b"{", "json"),
        (b"[]", "json"),
        (line()[:-1], "json"),
        (b" " * (MAX_SAMPLE + 1), "too_long_sample"),
        (line(server_zones=None), "zones"),
        (line(server_zones=[1]), "zones"),
        (line(timestamp=None), "time"),
        (line(timestamp=1446249499), "time"),
        (line(timestamp="1446249499322"), "time"),
        (line(timestamp=1446249499322.5), "time"),
        (line(timestamp=True), "time"),
        (line({"api": zone(None)}), "total"),
        (line({"api": zone(-1)}), "total"),
        (line({"api": zone(1.5)}), "total"),
        (line({"api": zone("7")}), "total"),
        (line({"api": zone(True)}), "total"),
        (line({"api": zone(2**63)}), "total"),
        (b'{"timestamp": %s}' % (b"9" * 5000), "json"),
        (line({"api": None}), "total"),
        (line({"api": {"requests": 1}}), "total"),
    ],
)
def test_what_cannot_be_read_says_why(raw: bytes, reason: str) -> None:
    assert reason_of(raw) == reason


def test_a_zone_that_is_not_asked_for_may_be_anything() -> None:
    assert sample_reader(ACME)(line({"api": zone(), "\u202e": "?"})).others == ["\u202e"]
    assert reason_of(line({"api": zone(), "\u202e": zone()}), SampleOptions(customer="acme")) == "zones"


@pytest.mark.parametrize(
    "options,match",
    [
        (SampleOptions(), "nothing says who is billed"),
        (SampleOptions(zone="api"), "nothing says who is billed"),
        (SampleOptions(customer="acme", zone_map={}), "contradict"),
        (SampleOptions(zone_map={"api": "acme"}, zone="api"), "which zones are billed"),
        (SampleOptions(zone_map={"api": "a\nb"}), "control character"),
        (SampleOptions(zone_map={"a\nb": "acme"}), "control character"),
        (SampleOptions(zone_map={"x" * 101: "acme"}), "101 characters"),
        (SampleOptions(customer=" acme"), "space"),
        (ACME._replace(meters={}), "nothing says what is counted"),
        (ACME._replace(meters={"sent": "m", "received": "m"}), "mixed in one meter"),
        (ACME._replace(source="a/b"), "holds a /"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: SampleOptions, match: str) -> None:
    with pytest.raises(BadInput, match=match) as caught:
        sample_reader(options)
    assert caught.value.hint


def test_a_total_is_the_same_whoever_pays_for_it_and_no_other_is() -> None:
    one = Total("api", "acme", "sent", AT, 5)
    assert total_key("", one) == total_key("", one._replace(customer="globex", total=9))
    others = [
        ("", one),
        ("b", one),
        ("", one._replace(zone="ap", field="isent")),
        ("", one._replace(field="received")),
        ("", one._replace(at=AT + 1000)),
    ]
    assert len({total_key(source, total) for source, total in others}) == len(others)
    assert total_id(one) == f"api:sent:{AT // 1000}"
    assert [dimension("", "api"), dimension("web-1", "api")] == ["api", "web-1/api"]
