"""Plans compared by price and side by side."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.periods import INTERVALS, Interval
from nbilling.rules.plans import compare, monthly_price

FREE: dict[str, Any] = {
    "id": "free",
    "price": "0.00",
    "limits": {"api_requests": 1000, "storage": 10},
    "features": {"support": "community"},
}
PRO: dict[str, Any] = {
    "id": "pro",
    "price": "29.00",
    "limits": {"storage": None, "seats": 5},
    "features": {"support": "email", "sso": True},
}


@pytest.mark.parametrize(
    "price,interval,expected",
    [
        (2900, Interval("month"), Fraction(2900)),
        (2900, Interval("month", 2), Fraction(1450)),
        (9000, Interval("quarter"), Fraction(3000)),
        (12_000, Interval("half_year"), Fraction(2000)),
        (30_000, Interval("year"), Fraction(2500)),
        (700, Interval("week"), Fraction(100) * Fraction(146_097, 4_800)),
        (0, Interval("day"), Fraction(0)),
    ],
)
def test_prices_are_compared_by_the_month(price: int, interval: Interval, expected: Fraction) -> None:
    assert monthly_price(price, interval) == expected


@given(st.integers(0, 10**12), st.sampled_from(INTERVALS), st.integers(1, 24))
def test_twice_as_long_for_twice_the_price_is_the_same_price(price: int, unit: str, times: int) -> None:
    assert monthly_price(price, Interval(unit, times)) == monthly_price(2 * price, Interval(unit, 2 * times))


def test_four_hundred_years_of_days_are_as_many_as_of_months() -> None:
    assert monthly_price(146_097, Interval("day", 146_097)) == monthly_price(146_097, Interval("month", 4_800))


def test_two_plans_stand_side_by_side_with_everything_that_either_has() -> None:
    assert compare(FREE, PRO) == {
        "plans": ["free", "pro"],
        "rows": [
            {"name": "price", "free": "0.00", "pro": "29.00"},
            {"name": "api_requests", "free": 1000, "pro": None},
            {"name": "storage", "free": 10, "pro": None},
            {"name": "seats", "free": None, "pro": 5},
            {"name": "support", "free": "community", "pro": "email"},
            {"name": "sso", "free": None, "pro": True},
        ],
    }


def test_a_plan_may_be_compared_with_itself() -> None:
    assert compare(FREE, FREE)["rows"][0] == {"name": "price", "free": "0.00"}
