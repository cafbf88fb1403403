"""Figures that hold without any file: the arithmetic of the cases that the design rests on, in our own format."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Any

import pytest

from nbilling.model.money import allocate, format_amount, round_half_away
from nbilling.rules.pricing import amount_minor, model_from_dict, rate, rate_increment
from nbilling.rules.proration import change, fraction, unused_credit
from nbilling.rules.tax import credited_tax, default_rate, invoice_totals, tax_totals

FOUR_TIERS = [
    {"up_to": "5", "flat_amount": "100"},
    {"up_to": "10", "flat_amount": "50"},
    {"up_to": "15", "unit_price": "5"},
    {"unit_price": "1"},
]
VOLUME = [
    {"up_to": "5", "flat_amount": "100"},
    {"up_to": "10", "flat_amount": "150"},
    {"up_to": "15", "unit_price": "10"},
    {"unit_price": "5"},
]


@pytest.mark.parametrize(
    ("price", "amounts"),
    [
        (
            {"model": "graduated", "tiers": FOUR_TIERS},
            {0: "100.00", 5: "100.00", 6: "150.00", 12: "160.00", 22: "182.00"},
        ),
        ({"model": "graduated", "tiers": FOUR_TIERS, "maximum": "170"}, {12: "160.00", 22: "170.00"}),
        ({"model": "graduated", "tiers": FOUR_TIERS, "minimum": "1000"}, {0: "1000.00", 22: "1000.00"}),
        ({"model": "volume", "tiers": VOLUME}, {0: "100.00", 5: "100.00", 14: "140.00", 15: "150.00", 16: "80.00"}),
        ({"model": "volume", "tiers": VOLUME, "flat_at_zero": False}, {0: "0.00", 1: "100.00"}),
        (
            {"model": "package", "package_size": "10", "package_price": "15"},
            {0: "0.00", 5: "15.00", 10: "15.00", 17: "30.00"},
        ),
        ({"model": "per_unit", "unit_price": "0.0002"}, {1: "0.00", 25: "0.01", 1_000_000: "200.00"}),
        ({"model": "flat", "amount": "29"}, {0: "29.00", 7: "29.00"}),
        ({"model": "percentage", "rate": "2.9"}, {0: "0.00", 100: "2.90"}),
    ],
)
def test_prices(price: dict[str, Any], amounts: dict[int, str]) -> None:
    model = model_from_dict(price)
    found = {used: format_amount(amount_minor(rate(model, used).amount, "USD"), "USD") for used in amounts}
    assert found == amounts


def test_twelve_units_and_then_ten_more() -> None:
    model = model_from_dict({"model": "graduated", "tiers": FOUR_TIERS})
    assert rate_increment(model, 12, 22).amount == 22
    assert rate_increment(model, None, 12).amount == 160


@pytest.mark.parametrize(
    ("changed", "old", "new", "lines"),
    [
        (date(2024, 3, 15), 1000, 2000, (-548, 1097)),
        (date(2024, 3, 15), 5000, 10_000, (-2742, 5484)),
        (date(2024, 3, 1), 2995, 24_995, (-2995, 24_995)),
        (date(2024, 3, 31), 30_000, 60_000, (-968, 1935)),
        (date(2024, 4, 1), 1000, 2000, (0, 0)),
    ],
)
def test_changes_in_march(changed: date, old: int, new: int, lines: tuple[int, int]) -> None:
    march = (date(2024, 3, 1), date(2024, 4, 1))
    assert change(old, new, fraction("day", changed, march[1], *march)) == lines


def test_the_second_upgrade_of_a_day_gives_back_all_of_the_first() -> None:
    part = Fraction(20, 31)
    assert unused_credit(968, part, part) == -968
    assert unused_credit(871, Fraction(27, 31), part) == -645


@pytest.mark.parametrize(
    ("net", "percent", "tax"), [(10_000, "8.875", 888), (9999, "20", 2000), (12_345, "7.25", 895), (100, "0.1", 0)]
)
def test_taxes(net: int, percent: str, tax: int) -> None:
    lines = [(net, [default_rate(percent)])]
    assert invoice_totals(lines, tax_totals(lines)) == (net, tax, net + tax)


def test_tax_is_rounded_per_rate_and_not_per_line() -> None:
    (total,) = tax_totals([(9999, [default_rate("25")])] * 3)
    assert (total.taxable_minor, total.tax_minor) == (29_997, 7499)


def test_two_credit_notes_give_back_the_tax_of_the_invoice() -> None:
    assert [credited_tax(2733, 13_666, before, 6833) for before in (0, 6833)] == [1367, 1366]


@pytest.mark.parametrize(
    ("total", "weights", "shares"),
    [
        (1500, [1000, 1000], [750, 750]),
        (750, [300, 1200], [150, 600]),
        (100, [100, 200], [33, 67]),
        (1000, [10_000, 5000, 3000, 2000], [500, 250, 150, 100]),
    ],
)
def test_shares(total: int, weights: list[int], shares: list[int]) -> None:
    assert allocate(total, weights) == shares


def test_halves_round_away_from_zero_and_not_to_even() -> None:
    assert [round_half_away(Fraction(half, 2)) for half in (1, 3, 5, -1, -3, -5)] == [1, 2, 3, -1, -2, -3]
