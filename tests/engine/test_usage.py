"""Tracking: what is recorded, once, at its own time, and what is refused without a trace."""

from __future__ import annotations

import json
import uuid
from decimal import Decimal
from typing import Any

import pytest

from nbilling.model.clock import LATEST, parse_time
from nbilling.model.errors import BadInput, Conflict

TEXTS = ("$(id)", "'; DROP TABLE events; --", "--help", "😀 Ünïcode", "=1+1", "a" * 255)
NO_TEXT = ("", " ", "a\0b", "a\nb", "a\r\nb", "a\u2028b", "a\u202eb", "\ud800", " a", "a" * 256, None, 5, b"a", ["a"])
NO_WHOLE = (
    "",
    "-1",
    "-0",
    "+1",
    "1.5",
    "1e3",
    "1_000",
    "１２",
    "NaN",
    "Infinity",
    "1e400",
    str(2**63),
    "9" * 5000,
    " 1",
    None,
    True,
    1.5,
    float("nan"),
    -1,
    2**63,
    10**5000,
)
NO_TIME = (
    "",
    "now",
    "2026-13-01",
    "9999-12-31T00:00:00Z",
    "1969-12-31",
    "x" * 100_000,
    -1,
    True,
    1.5,
    LATEST + 1,
    10**5000,
)


def uuid7(time: str) -> str:
    """A version 7 UUID of that time."""
    return str(uuid.UUID(bytes=(parse_time(time) // 1000).to_bytes(6, "big") + b"\x70\x01\x80" + b"\x07" * 7))


# --- What is recorded -----------------------------------------------------------------------------------------------


def test_a_request_counts_one_and_keeps_what_it_was(world: Any) -> None:
    world.usage.track_api_request("acme", "/graphql?token=secret", "POST", "200", "0.125")
    assert world.current("acme") == 1
    [(metadata, amount, at)] = world.rows("SELECT metadata, amount, created_at FROM usage_events")
    assert json.loads(metadata) == {"endpoint": "/graphql", "method": "POST", "status": 200, "duration": 0.125}
    assert (amount, at) == ("1", "2026-01-10T12:00:00Z")


def test_storage_sets_a_level(world: Any) -> None:
    for size in ("1073741824", 5, 0, 2**63 - 1):
        world.usage.track_storage("acme", size)
        assert world.current("acme", "storage_bytes") == int(size)


def test_bandwidth_adds_up_by_direction(world: Any) -> None:
    world.usage.track_bandwidth("acme", 500, "egress")
    world.usage.track_bandwidth("acme", "300", "ingress")
    world.usage.track_bandwidth("acme", 200, "egress")
    assert world.current("acme", "bandwidth_bytes") == 1000
    found = "SELECT dimension, sum(CAST(amount AS INTEGER)) FROM usage_events GROUP BY 1"
    assert dict(world.rows(found)) == {"egress": 700, "ingress": 300}


def test_compute_is_exact_to_the_microsecond(world: Any) -> None:
    for seconds in ("3600", "0.000001", Decimal("0.1"), 7, "0.2"):
        world.usage.track_compute("acme", "function_execution", seconds)
    assert world.current("acme", "compute_seconds") == Decimal("3607.300001")


def test_any_meter_takes_an_amount_with_dimension_and_metadata(world: Any) -> None:
    world.usage.create_meter("tokens", unit="tokens", scale=3, dimension="model")
    world.usage.track("acme", "tokens", "1.5", dimension="large", metadata={"user": "u-1", "n": [1, None]})
    world.usage.track("acme", "tokens", "-0.25", dimension="large")
    world.usage.track("acme", "tokens", dimension="small")
    assert world.current("acme", "tokens") == Decimal("2.25")
    assert world.rows("SELECT amount, dimension, metadata FROM usage_events") == [
        ("1.5", "large", '{"n":[1,null],"user":"u-1"}'),
        ("-0.25", "large", "{}"),
        ("1", "small", "{}"),
    ]


def test_a_counting_meter_counts_events_whatever_their_amount(world: Any) -> None:
    world.usage.create_meter("calls", aggregation="count")
    for amount in (1, 0, 25):
        world.usage.track("acme", "calls", amount)
    assert world.current("acme", "calls") == 3


def test_a_level_takes_what_is_added_and_what_is_given_back(world: Any) -> None:
    world.usage.track("acme", "storage", 100)
    world.usage.track("acme", "storage", -40)
    assert world.current("acme", "storage_bytes") == 60
    world.usage.track("acme", "storage", 7, set=True)
    world.usage.track("acme", "storage", 3)
    assert world.current("acme", "storage_bytes") == 10


def test_the_levels_of_the_dimensions_of_a_gauge_add_up(world: Any) -> None:
    world.usage.create_meter("seats", kind="gauge", dimension="team")
    world.usage.track("acme", "seats", 5, dimension="red", set=True)
    world.usage.track("acme", "seats", 7, dimension="blue", set=True)
    world.usage.track("acme", "seats", 6, dimension="red", set=True)
    assert world.current("acme", "seats") == 13


@pytest.mark.parametrize("text", TEXTS)
def test_what_looks_dangerous_is_data(world: Any, text: str) -> None:
    world.usage.create_meter("tokens", dimension="model")
    assert world.usage.track(text, "tokens", 1, dimension=text[:100], metadata={text: text}, id=text) == text
    assert world.rows("SELECT customer_id, id, dimension FROM usage_events") == [(text, text, text[:100])]
    assert json.loads(world.rows("SELECT metadata FROM usage_events")[0][0]) == {text: text}


def test_a_customer_comes_into_being_at_its_first_write(world: Any) -> None:
    with world.unchanged():
        assert world.current("acme") == 0
    world.usage.track_storage("acme", 1)
    profile = world.customers.show("acme")
    assert (profile["customer_id"], profile["zone"], profile["created_at"]) == ("acme", "UTC", "2026-01-10T12:00:00Z")
    assert world.plans.get_current("acme")["id"] == "free"


# --- What is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("customer", NO_TEXT, ids=lambda value: f"{value!r:.12}")
def test_a_customer_needs_an_id_that_can_be_kept(world: Any, customer: Any) -> None:
    calls = (
        lambda: world.usage.track_api_request(customer, "/", "GET", 200, 0),
        lambda: world.usage.track_storage(customer, 1),
        lambda: world.usage.track_bandwidth(customer, 1, "egress"),
        lambda: world.usage.track_compute(customer, "x", 1),
        lambda: world.usage.track(customer, "api_requests", 1, id="a"),
        lambda: world.usage.reset(customer, "monthly"),
        lambda: world.usage.get_current(customer),
        lambda: world.usage.get_history(customer),
        lambda: world.usage.aggregate(customer, "day"),
        lambda: world.usage.events(customer),
    )
    for call in calls:
        with world.refuses(BadInput):
            call()


@pytest.mark.parametrize("value", NO_WHOLE, ids=lambda value: f"{type(value).__name__}")
def test_bytes_are_whole_and_not_negative(world: Any, value: Any) -> None:
    with world.refuses(BadInput):
        world.usage.track_storage("acme", value)
    with world.refuses(BadInput):
        world.usage.track_bandwidth("acme", value, "egress")


@pytest.mark.parametrize("value", [*NO_WHOLE[:4], *NO_WHOLE[5:-2], "0.0000001", "9223372036854.775808"],
                         ids=lambda value: f"{type(value).__name__}")  # fmt: skip
def test_seconds_are_decimal_and_not_negative(world: Any, value: Any) -> None:
    with world.refuses(BadInput):
        world.usage.track_compute("acme", "x", value)


@pytest.mark.parametrize("direction", ["", "Egress", "out", "egress ", None, 5, ["egress"], "x" * 100_000])
def test_bandwidth_goes_out_or_comes_in(world: Any, direction: Any) -> None:
    with world.refuses(BadInput, "egress or ingress"):
        world.usage.track_bandwidth("acme", 1, direction)


@pytest.mark.parametrize("text", NO_TEXT, ids=lambda value: f"{value!r:.12}")
def test_a_resource_type_is_text(world: Any, text: Any) -> None:
    with world.refuses(BadInput):
        world.usage.track_compute("acme", text, 1)


@pytest.mark.parametrize(
    "endpoint,method,status,duration",
    [("", "GET", 200, 0), ("/\n", "GET", 200, 0), ("/", "get", 200, 0), ("/", "GET", 99, 0), ("/", "GET", 600, 0),
     ("/", "GET", "abc", 0), ("/", "GET", 200, "-1"), ("/", "GET", 200, 0.5), ("/", "GET", 200, "NaN")],
)  # fmt: skip
def test_a_request_has_a_method_a_status_and_a_duration(
    world: Any, endpoint: Any, method: Any, status: Any, duration: Any
) -> None:
    with world.refuses(BadInput):
        world.usage.track_api_request("acme", endpoint, method, status, duration)


@pytest.mark.parametrize(
    "name", ["", "nosuch", "API_REQUESTS", "api requests", "api_requests\n", None, 5, "x" * 100_000]
)
def test_a_meter_that_does_not_exist_is_refused(world: Any, name: Any) -> None:
    with world.refuses(BadInput):
        world.usage.track("acme", name, 1)


def test_an_unknown_meter_is_answered_with_those_that_are_known(world: Any) -> None:
    with world.refuses(BadInput, "api_requests, storage, bandwidth, compute"):
        world.usage.track("acme", "requests", 1)


@pytest.mark.parametrize("at", NO_TIME, ids=lambda value: f"{type(value).__name__}")
def test_a_time_that_is_none_is_refused(world: Any, at: Any) -> None:
    with world.refuses(BadInput):
        world.usage.track("acme", "api_requests", 1, at=at)


def test_the_future_is_refused_but_for_clocks_that_differ(world: Any) -> None:
    world.usage.track("acme", "api_requests", 1, at="2026-01-10T13:00:00Z")
    for at in ("2026-01-10T13:00:00.000001Z", "2026-02-01", "8999-12-31", LATEST):
        with world.refuses(BadInput, "lies in the future"):
            world.usage.track("acme", "api_requests", 1, at=at)


@pytest.mark.parametrize("event_id", [text for text in NO_TEXT if text is not None], ids=lambda value: f"{value!r:.12}")
def test_an_event_id_is_text(world: Any, event_id: Any) -> None:
    with world.refuses(BadInput):
        world.usage.track("acme", "api_requests", 1, id=event_id)


def test_what_a_meter_cannot_count_is_refused(world: Any) -> None:
    for how in ({"set": True}, {"dimension": "a\nb"}, {"dimension": "x" * 101}, {"metadata": {"a": float("nan")}},
                {"metadata": "text"}):  # fmt: skip
        with world.refuses(BadInput):
            world.usage.track("acme", "api_requests", 1, **how)
    with world.refuses(BadInput):
        world.usage.track("acme", "storage", -1, set=True)


def test_a_level_never_falls_below_nothing(world: Any) -> None:
    world.usage.track_storage("acme", 10)
    with world.refuses(BadInput, "below zero"):
        world.usage.track("acme", "storage", -11)
    world.usage.track("acme", "storage", -10)
    assert world.current("acme", "storage_bytes") == 0


@pytest.mark.parametrize("meter,name", [("bandwidth", "bandwidth_bytes"), ("storage", "storage_bytes")])
def test_a_sum_beyond_64_bits_is_refused_and_what_was_there_stays(world: Any, meter: str, name: str) -> None:
    world.usage.track("acme", meter, 2**63 - 1)
    with world.refuses(BadInput, r"larger than 2\^63-1"):
        world.usage.track("acme", meter, 1)
    assert world.current("acme", name) == 2**63 - 1


def test_directions_may_each_fill_64_bits_and_are_still_read_together(world: Any) -> None:
    for direction in ("egress", "ingress"):
        world.usage.track_bandwidth("acme", 2**63 - 1, direction)
    assert world.current("acme", "bandwidth_bytes") == 2**64 - 2
    assert world.usage.get_history("acme", 1)[0]["bandwidth_bytes"] == 2**64 - 2
    assert world.usage.aggregate("acme", "month")[0]["amount"] == 2**64 - 2
    assert not world.quota.check("acme", "bandwidth", 1).allowed
    world.quota.set_limit("acme", "bandwidth", 5, "per_hour")
    assert {row["usage"] for row in world.quota.limits("acme") if row["resource"] == "bandwidth"} == {2**64 - 2}


def test_a_correction_beyond_64_bits_is_refused_too(world: Any) -> None:
    world.usage.track("acme", "bandwidth", -(2**63 - 1))
    with world.refuses(BadInput):
        world.usage.track("acme", "bandwidth", -2)


# --- Once -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event_id", ["order-17", "1", "018F-x", str(uuid.UUID(int=4, version=4))])
@pytest.mark.parametrize("at", [None, "2026-01-10T11:30:00Z", "2025-06-01"])
def test_the_same_event_again_changes_nothing(world: Any, event_id: str, at: str | None) -> None:
    how = {"dimension": "egress", "metadata": {"a": 1}, "id": event_id, "at": at}
    assert world.usage.track("acme", "bandwidth", 5, **how) == event_id
    with world.unchanged():
        assert world.usage.track("acme", "bandwidth", 5, **how) == event_id
    world.to("2026-01-10T15:00:00Z")
    with world.unchanged():
        assert world.usage.track("acme", "bandwidth", 5, **how) == event_id
    assert len(world.rows("SELECT 1 FROM events")) == 1


@pytest.mark.parametrize("at", [None, "2026-01-10T11:30:00Z"])
@pytest.mark.parametrize(
    "change",
    [{"amount": 6}, {"meter": "api_requests", "dimension": ""}, {"dimension": "ingress"}, {"dimension": ""},
     {"metadata": {"a": 2}}, {"metadata": None}],
)  # fmt: skip
def test_other_content_under_the_same_id_is_a_conflict(world: Any, at: str | None, change: dict[str, Any]) -> None:
    first = {"meter": "bandwidth", "amount": 5, "dimension": "egress", "metadata": {"a": 1}, "id": "x", "at": at}
    world.usage.track("acme", **first)
    with world.refuses(Conflict, "already recorded with other content"):
        world.usage.track("acme", **(first | change))


def test_a_level_that_was_set_is_not_one_that_was_added_to(world: Any) -> None:
    world.usage.track("acme", "storage", 5, id="x")
    with world.refuses(Conflict):
        world.usage.track_storage("acme", 5, id="x")


def test_two_customers_may_use_the_same_ids(world: Any) -> None:
    for customer in ("acme", "acm", "initech"):
        world.usage.track(customer, "api_requests", 1, id="1")
        assert world.current(customer) == 1


def test_an_id_sent_with_another_hour_is_another_event(world: Any) -> None:
    world.usage.track("acme", "api_requests", 1, id="1", at="2026-01-10T10:00:00Z")
    world.usage.track("acme", "api_requests", 1, id="1", at="2026-01-10T11:00:00Z")
    assert world.current("acme") == 2


def test_an_id_without_a_time_is_known_for_ever(world: Any) -> None:
    world.usage.track("acme", "api_requests", 1, id="1")
    world.to("2026-03-05T00:00:00Z")
    world.usage.track("acme", "api_requests", 1)
    with world.unchanged():
        world.usage.track("acme", "api_requests", 1, id="1")
    with world.refuses(Conflict):
        world.usage.track("acme", "api_requests", 2, id="1")


def test_an_id_given_by_the_ledger_names_its_event(world: Any) -> None:
    given = world.usage.track("acme", "api_requests", 1)
    assert uuid.UUID(given).version == 7
    with world.unchanged():
        assert world.usage.track("acme", "api_requests", 1, id=given, at="2026-01-10T12:00:00Z") == given


def test_a_uuid_of_version_7_brings_its_own_time(world: Any) -> None:
    event_id = uuid7("2025-12-31T23:59:59Z")
    assert world.usage.track("acme", "api_requests", 1, id=event_id) == event_id
    assert world.rows("SELECT created_at FROM usage_events") == [("2025-12-31T23:59:59Z",)]
    assert world.current("acme") == 0
    with world.unchanged():
        world.usage.track("acme", "api_requests", 1, id=event_id)


def test_a_time_that_is_sent_stands_before_the_one_in_the_id(world: Any) -> None:
    world.usage.track("acme", "api_requests", 1, id=uuid7("2025-12-31T23:59:59Z"), at="2026-01-09T00:00:00Z")
    assert world.rows("SELECT created_at FROM usage_events") == [("2026-01-09T00:00:00Z",)]


@pytest.mark.parametrize("event_id", [uuid7("2026-01-10T13:00:01Z"), "ffffffff-ffff-7fff-bfff-ffffffffffff"])
def test_a_uuid_of_the_future_is_refused(world: Any, event_id: str) -> None:
    with world.refuses(BadInput, "lies in the future"):
        world.usage.track("acme", "api_requests", 1, id=event_id)


# --- Meters ---------------------------------------------------------------------------------------------------------


def test_the_meters_of_the_seed_are_there(world: Any) -> None:
    found = {meter["name"]: (meter["kind"], meter["unit"], meter["scale"]) for meter in world.usage.meters()}
    assert found["api_requests"] == ("event", "requests", 0)
    assert found["storage"] == ("gauge", "bytes", 0)
    assert found["bandwidth"] == ("event", "bytes", 0)
    assert found["compute"] == ("event", "seconds", 6)


def test_a_meter_again_is_nothing_and_with_other_settings_a_conflict(world: Any) -> None:
    made = world.usage.create_meter("tokens", unit="tokens", scale="2", dimension="model")
    assert made in world.usage.meters()
    with world.unchanged():
        assert world.usage.create_meter("tokens", unit="tokens", scale=2, dimension="model") == made
    for change in ({"unit": "words"}, {"scale": 3}, {"dimension": ""}, {"aggregation": "count"}, {"kind": "gauge"}):
        with world.refuses(Conflict, "exists with other settings"):
            world.usage.create_meter("tokens", **({"unit": "tokens", "scale": 2, "dimension": "model"} | change))


@pytest.mark.parametrize("name", ["", "Tokens", "1st", "a-b", "a b", "x" * 64, "té", None, 5])
def test_a_meter_has_a_name_of_ours(world: Any, name: Any) -> None:
    with world.refuses(BadInput):
        world.usage.create_meter(name)


@pytest.mark.parametrize(
    "how",
    [{"kind": "Gauge"}, {"kind": "meter"}, {"aggregation": "average"}, {"aggregation": "time_weighted"},
     {"kind": "gauge", "aggregation": "sum"}, {"kind": "counter", "aggregation": "count"}, {"scale": 10}, {"scale": -1},
     {"scale": "1.5"}, {"unit": ""}, {"unit": "a\nb"}, {"unit": "x" * 41}, {"dimension": "a\nb"},
     {"dimension": "x" * 61}],
)  # fmt: skip
def test_a_meter_counts_in_a_way_that_there_is(world: Any, how: dict[str, Any]) -> None:
    with world.refuses(BadInput):
        world.usage.create_meter("tokens", **how)


@pytest.mark.parametrize("name", ["customer_id", "period_start", "period_end", "date"])
def test_a_meter_is_not_called_what_reports_call_something_else(world: Any, name: str) -> None:
    with world.refuses(BadInput):
        world.usage.create_meter(name)


@pytest.mark.parametrize(
    "name,unit", [("storage_bytes", "units"), ("storage_gb", "units"), ("compute_seconds", "units")]
)
def test_two_meters_never_share_a_name_in_reports(world: Any, name: str, unit: str) -> None:
    with world.refuses(Conflict):
        world.usage.create_meter(name, unit=unit)


def test_amounts_of_a_meter_in_bytes_with_decimals_are_shown_in_bytes(world: Any) -> None:
    world.usage.create_meter("egress", unit="bytes", scale=1)
    world.usage.track("acme", "egress", 2**29 + 0)
    world.usage.track("acme", "egress", "0.5")
    current = world.usage.get_current("acme")
    assert current["egress_bytes"] == Decimal("536870912.5")
    assert Decimal(2**30) * current["egress_gb"] == Decimal("536870912.5")
