"""Alerts: which metric is meant, which threshold, when it is crossed."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.errors import BadInput
from nbilling.rules.alerts import GIB, crossed, meter_of, percent_of, quantity, threshold_of

METERS = [("api_requests", "requests"), ("storage", "bytes"), ("compute", "seconds"), ("wide_gb", "units")]


@pytest.mark.parametrize(
    "metric,meter",
    [
        ("api_requests", ("api_requests", False)),
        ("storage", ("storage", False)),
        ("storage_bytes", ("storage", False)),
        ("storage_gb", ("storage", True)),
        ("compute", ("compute", False)),
        ("compute_seconds", ("compute", False)),
        ("wide_gb", ("wide_gb", False)),
    ],
)
def test_a_metric_is_a_meter_or_what_current_usage_calls_it(metric: str, meter: tuple[str, bool]) -> None:
    assert meter_of(metric, METERS) == meter


@pytest.mark.parametrize(
    "metric", ["requests", "api_requests_gb", "compute_gb", "storage_seconds", "_gb", "gb", "Storage"]
)
def test_an_unknown_metric_is_refused_with_those_that_are_known(metric: str) -> None:
    with pytest.raises(BadInput, match="there is no metric") as caught:
        meter_of(metric, METERS)
    assert "storage_bytes" in caught.value.hint


@pytest.mark.parametrize(
    "value,scale,in_gb,base",
    [
        (10_000, 0, False, 10_000),
        ("10000", 0, False, 10_000),
        ("1.5", 6, False, 1_500_000),
        (Decimal("0.000001"), 6, False, 1),
        ("1", 0, True, GIB),
        ("0.5", 0, True, GIB // 2),
        ("8589934591", 0, True, 8589934591 * GIB),
    ],
)
def test_a_threshold_is_exact(value: object, scale: int, in_gb: bool, base: int) -> None:
    assert threshold_of(value, scale, in_gb) == base


@pytest.mark.parametrize(
    "value,scale,in_gb",
    [
        (0, 0, False),
        ("0", 6, False),
        ("0", 0, True),
        (-1, 0, False),
        ("1.5", 0, False),
        (1.5, 0, False),
        ("1e3", 0, False),
        ("NaN", 6, False),
        (2**63, 0, False),
        ("0.1", 0, True),
        ("0.0000000001", 0, True),
        ("8589934592", 0, True),
        (None, 0, False),
        (True, 0, False),
        ("", 0, False),
    ],
)
def test_a_threshold_that_is_no_amount_is_refused(value: object, scale: int, in_gb: bool) -> None:
    with pytest.raises(BadInput):
        threshold_of(value, scale, in_gb)


@pytest.mark.parametrize("value,percent", [("80", 80), ("80%", 80), (100, 100), ("150", 150)])
def test_a_percentage_is_whole(value: object, percent: int) -> None:
    assert percent_of(value) == percent


@pytest.mark.parametrize("value", [0, -1, "0", "79.5", 1.5, "%", "80 %", 10_001, None, True])
def test_a_percentage_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(BadInput):
        percent_of(value)


@given(st.integers(0, 2**63 - 1), st.integers(1, 2**63 - 1))
def test_a_threshold_is_crossed_when_it_is_reached(reached: int, threshold: int) -> None:
    assert crossed(reached, threshold) == (not reached < threshold)


@pytest.mark.parametrize(
    "amount,unit,scale,text",
    [
        (12, "requests", 0, "12 requests"),
        (1_500_000, "seconds", 6, "1.5 seconds"),
        (3_600_000_000, "seconds", 6, "3600 seconds"),
        (1000, "bytes", 0, "1000 bytes"),
        (GIB // 2, "bytes", 0, "0.50 GB"),
        (2 * GIB - 1, "bytes", 0, "1.99 GB"),
    ],
)
def test_an_amount_is_written_for_people(amount: int, unit: str, scale: int, text: str) -> None:
    assert quantity(amount, unit, scale) == text
