"""What an event may say, and that it is kept exactly."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.clock import FUTURE_TOLERANCE, LATEST
from nbilling.model.errors import BadInput
from nbilling.model.text import MAX_INTEGER
from nbilling.rules.usage import (
    MAX_METADATA,
    METHODS,
    REPORT_WORDS,
    api_request_metadata,
    base_amount,
    check_amount,
    event_time,
    merged,
    metadata_text,
    report_keys,
    unit_amount,
)

scales = st.integers(0, 9)
amounts = st.integers(-MAX_INTEGER, MAX_INTEGER)

# --- Amounts --------------------------------------------------------------------------------------------------------


@given(amounts, scales)
def test_an_amount_in_units_and_in_base_units_is_the_same_amount(amount: int, scale: int) -> None:
    shown = unit_amount(amount, scale)
    assert base_amount(shown, scale, "amount", signed=True) == amount
    assert Decimal(shown) * 10**scale == Decimal(amount)


@given(amounts, scales)
def test_an_amount_reads_back_from_the_text_it_is_shown_as(amount: int, scale: int) -> None:
    shown = unit_amount(amount, scale)
    text = f"{shown:f}" if isinstance(shown, Decimal) else str(shown)
    assert base_amount(text, scale, "amount", signed=True) == amount


@given(amounts, scales)
def test_whole_amounts_are_integers_and_others_have_no_trailing_zero(amount: int, scale: int) -> None:
    shown = unit_amount(amount, scale)
    if amount % 10**scale == 0:
        assert type(shown) is int
    else:
        assert isinstance(shown, Decimal)
        assert not str(shown).endswith("0")


@pytest.mark.parametrize(
    "value,scale,expected",
    [
        ("1", 0, 1),
        (1, 0, 1),
        ("0.000001", 6, 1),
        ("3600", 6, 3_600_000_000),
        (Decimal("0.5"), 1, 5),
        (7, 3, 7000),
        ("9223372036854.775807", 6, MAX_INTEGER),
        ("9223372036854775807", 0, MAX_INTEGER),
    ],
)
def test_amounts_are_converted_exactly(value: object, scale: int, expected: int) -> None:
    assert base_amount(value, scale, "seconds") == expected


@pytest.mark.parametrize("scale", [0, 6])
@pytest.mark.parametrize(
    "value",
    [
        "",
        "abc",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e3",
        "1_000",
        "１２",
        "+1",
        " 1",
        "1 ",
        "1,5",
        "0x1",
        "-1",
        "-0.000001",
        "-0",
        str(2**63),
        "9223372036854775808.0",
        "1e400",
        None,
        True,
        1.5,
        0.1,
        float("nan"),
        b"1",
        [1],
        Decimal("NaN"),
        Decimal("Infinity"),
        pytest.param("9" * 5000, id="5,000 digits"),
        pytest.param(10**5000, id="an int of 5,001 digits"),
        pytest.param("x" * 100_000, id="100 kB"),
    ],
)
def test_what_is_no_amount_is_refused(value: object, scale: int) -> None:
    with pytest.raises(BadInput) as caught:
        base_amount(value, scale, "amount")
    assert len(str(caught.value)) < 250
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("value,scale", [("0.1", 0), ("1.0", 0), ("0.0000001", 6), ("1.1234567", 6)])
def test_an_amount_finer_than_its_meter_is_refused_never_rounded(value: str, scale: int) -> None:
    with pytest.raises(BadInput):
        base_amount(value, scale, "amount")


def test_only_a_correction_may_be_negative() -> None:
    assert base_amount("-25", 0, "amount", signed=True) == -25
    assert base_amount("-0.5", 6, "amount", signed=True) == -500_000
    for value in (-(2**63), "-9223372036854775808", "-" + "9" * 50):
        with pytest.raises(BadInput):
            base_amount(value, 0, "amount", signed=True)


@pytest.mark.parametrize(
    "kind,aggregation,amount,set_level,dimension,fine",
    [
        ("event", "sum", -1, False, "", True),
        ("event", "sum", -1, False, "egress", True),
        ("event", "count", -1, False, "", False),
        ("event", "max", -1, False, "", False),
        ("event", "last", -1, False, "", False),
        ("event", "unique", -1, False, "", False),
        ("event", "unique", 1, False, "", True),
        ("event", "unique", 1, False, "eu", False),
        ("event", "sum", 1, True, "", False),
        ("counter", "sum", 1, False, "", True),
        ("counter", "sum", -1, False, "", False),
        ("counter", "sum", 1, True, "", False),
        ("gauge", "time_weighted", -1, False, "", True),
        ("gauge", "time_weighted", -1, True, "", False),
        ("gauge", "max", 0, True, "", True),
    ],
)
def test_each_meter_takes_what_it_can_count(
    kind: str, aggregation: str, amount: int, set_level: bool, dimension: str, fine: bool
) -> None:
    if fine:
        check_amount(kind, aggregation, amount, set_level, dimension)
    else:
        with pytest.raises(BadInput):
            check_amount(kind, aggregation, amount, set_level, dimension)


@pytest.mark.parametrize("aggregation,expected", [("sum", 6), ("count", 6), ("max", 3), ("last", 2)])
def test_spans_that_follow_one_another_are_merged_as_the_meter_aggregates(aggregation: str, expected: int) -> None:
    assert merged(aggregation, [1, 3, 2]) == expected


def test_reports_name_bytes_and_seconds_in_the_key() -> None:
    assert report_keys("storage", "bytes") == ["storage_bytes", "storage_gb"]
    assert report_keys("compute", "seconds") == ["compute_seconds"]
    assert report_keys("tokens", "tokens") == ["tokens"]
    assert "customer_id" in REPORT_WORDS


# --- Requests -------------------------------------------------------------------------------------------------------


def test_a_request_keeps_its_endpoint_without_what_may_be_secret() -> None:
    text = api_request_metadata("/v1/x?token=secret#frag", "POST", "200", "0.125")
    assert json.loads(text, parse_float=Decimal) == {
        "endpoint": "/v1/x",
        "method": "POST",
        "status": 200,
        "duration": Decimal("0.125"),
    }
    for endpoint in ("/v1/x#token=secret", "/v1/x?a=1&token=secret", "?token=secret"):
        assert "secret" not in api_request_metadata(endpoint, "GET", 200, 0)


@pytest.mark.parametrize(
    "endpoint", ["/", "/a b", '/"\\', "/é", "/😀", "$(id)", "'; DROP TABLE events", "/" + "x" * 8000]
)
def test_an_endpoint_is_kept_as_it_is(endpoint: str) -> None:
    assert json.loads(api_request_metadata(endpoint, "GET", 200, 0))["endpoint"] == endpoint


@pytest.mark.parametrize(
    "duration,shown", [("0.125", "0.125"), ("0", "0"), ("100", "100"), ("0.000000001", "0.000000001"), ("1.50", "1.5")]
)
def test_a_duration_is_written_exactly(duration: str, shown: str) -> None:
    assert api_request_metadata("/", "GET", 200, duration).endswith(f'"duration":{shown}}}')


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_known(method: str) -> None:
    assert json.loads(api_request_metadata("/", method, 200, 0))["method"] == method


@pytest.mark.parametrize(
    "endpoint,method,status,duration",
    [
        ("", "GET", 200, 0),
        ("/\n", "GET", 200, 0),
        ("/\0", "GET", 200, 0),
        (None, "GET", 200, 0),
        ("/" + "x" * 8192, "GET", 200, 0),
        ("/", "get", 200, 0),
        ("/", "GETS", 200, 0),
        ("/", "", 200, 0),
        ("/", None, 200, 0),
        ("/", ["GET"], 200, 0),
        ("/", "GET", 99, 0),
        ("/", "GET", 600, 0),
        ("/", "GET", "2xx", 0),
        ("/", "GET", "200.0", 0),
        ("/", "GET", 200.0, 0),
        ("/", "GET", True, 0),
        ("/", "GET", 200, "-0.1"),
        ("/", "GET", 200, "-0"),
        ("/", "GET", 200, -1),
        ("/", "GET", 200, 0.125),
        ("/", "GET", 200, "NaN"),
        ("/", "GET", 200, "1e3"),
        ("/", "GET", 200, "1e400"),
        ("/", "GET", 200, "0.1234567891"),
        ("/", "GET", 200, "1000000001"),
        ("/", "GET", 200, ""),
        ("/", "GET", 200, None),
    ],
)
def test_what_is_no_request_is_refused(endpoint: object, method: object, status: object, duration: object) -> None:
    with pytest.raises(BadInput):
        api_request_metadata(endpoint, method, status, duration)


# --- Metadata -------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), json_values, min_size=1)
)
def test_metadata_reads_back_as_it_was_and_its_order_does_not_matter(metadata: dict[str, object]) -> None:
    text = metadata_text(metadata)
    assert text is not None
    assert json.loads(text) == metadata
    assert metadata_text(dict(reversed(metadata.items()))) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30, places=12))
def test_decimals_in_metadata_are_numbers_with_all_their_digits(value: Decimal) -> None:
    text = metadata_text({"a": [{"b": value, "c": "é"}], "d": None, "e": True})
    assert text is not None
    found = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    assert found == {"a": [{"b": value, "c": "é"}], "d": None, "e": True}
    assert text.isascii() is False


def test_a_decimal_and_the_same_float_are_the_same_metadata() -> None:
    assert metadata_text({"a": Decimal("0.125"), "b": 1}) == metadata_text({"b": 1, "a": 0.125}) == '{"a":0.125,"b":1}'


def test_nothing_and_an_empty_object_are_the_same() -> None:
    assert metadata_text(None) is None
    assert metadata_text({}) is None


def deep() -> dict[str, object]:
    result: dict[str, object] = {}
    for _ in range(100_000):
        result = {"a": result}
    return result


@pytest.mark.parametrize(
    "metadata",
    ["text", 5, ["list"], {"a": float("nan")}, {"a": float("inf")}, {"a": object()}, {"a": b"bytes"}, {"a": {1, 2}},
     {"a": "\ud800"}, {"\ud800": 1}, {"a": "x" * MAX_METADATA}, {1: "a", "b": 2}, {"a": Decimal("NaN")},
     {"a": Decimal("1e999999")}, {"a": Decimal(1), 2: "b"}, pytest.param({"a": 10**5000}, id="an int of 5,001 digits")],
)  # fmt: skip
def test_what_json_cannot_hold_is_refused(metadata: object) -> None:
    with pytest.raises(BadInput) as caught:
        metadata_text(metadata)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 300


def test_metadata_that_is_too_deep_is_refused() -> None:
    with pytest.raises(BadInput):
        metadata_text(deep())


# --- Time -----------------------------------------------------------------------------------------------------------


def test_the_future_is_refused_but_for_clocks_that_differ() -> None:
    now = 1_767_225_600_000_000
    assert event_time(now + FUTURE_TOLERANCE, now) == now + FUTURE_TOLERANCE
    assert event_time(0, now) == 0
    for at in (now + FUTURE_TOLERANCE + 1, LATEST, LATEST + 1, 2**48 * 1000, 10**30):
        with pytest.raises(BadInput, match="lies in the future"):
            event_time(at, now)
