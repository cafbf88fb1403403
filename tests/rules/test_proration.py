from __future__ import annotations

from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.errors import BadInput
from nbilling.rules import proration
from nbilling.rules.proration import fraction

rules = st.sampled_from(["day", "second", "none"])
cuts = st.lists(st.integers(-(10**6), 10**12), min_size=2, max_size=8).map(sorted).filter(lambda at: at[0] < at[-1])
parts = st.fractions(0, 1, max_denominator=366)
minors = st.integers(-(10**12), 10**12)


@given(rules, cuts)
def test_the_parts_of_a_period_add_up_to_the_whole_under_every_rule(
    rule: Literal["day", "second", "none"], at: list[int]
) -> None:
    found = proration.fractions(rule, at)
    assert sum(found) == 1
    assert all(0 <= part <= 1 for part in found)


@given(st.dates(date(1990, 1, 1), date(2100, 1, 1)), st.lists(st.integers(0, 400), min_size=3, max_size=3).map(sorted))
def test_dates_and_day_numbers_mean_the_same(first: date, days: list[int]) -> None:
    start, end, last = (first + timedelta(days=count) for count in days)
    if first < last:
        assert fraction("day", start, end, first, last) == fraction("day", days[0], days[1], 0, days[2])


def test_the_day_of_a_change_belongs_to_the_new_price_and_ends_are_exclusive() -> None:
    march = (date(2024, 3, 1), date(2024, 4, 1))
    assert fraction("day", march[0], date(2024, 3, 15), *march) == Fraction(14, 31)
    assert fraction("day", date(2024, 3, 15), march[1], *march) == Fraction(17, 31)


def test_days_count_alike_on_both_days_when_clocks_change_and_instants_do_not() -> None:
    """Europe/Berlin, March 2026: 743 hours from local midnight to local midnight, and the 29th has 23."""
    assert fraction("day", date(2026, 3, 29), date(2026, 3, 30), date(2026, 3, 1), date(2026, 4, 1)) == Fraction(1, 31)
    hour = 3_600_000_000
    assert fraction("second", (28 * 24) * hour, (28 * 24 + 23) * hour, 0, 743 * hour) == Fraction(23, 743)


def test_without_proration_the_price_in_force_at_the_end_pays_the_whole() -> None:
    assert proration.fractions("none", [0, 10, 20, 31]) == (0, 0, 1)
    assert proration.fractions("none", [0, 0, 31]) == (0, 1), "changed on the first day"
    assert proration.fractions("none", [0, 12]) == (1,), "ended early"


def test_two_changes_on_one_day_leave_nothing_to_the_one_between() -> None:
    assert proration.fractions("day", [0, 10, 10, 30]) == (Fraction(1, 3), 0, Fraction(2, 3))


@pytest.mark.parametrize(
    ("rule", "moments"),
    [
        ("day", (5, 4, 0, 10)),
        ("day", (-1, 4, 0, 10)),
        ("day", (0, 11, 0, 10)),
        ("day", (3, 3, 3, 3)),
        ("day", (datetime(2026, 1, 1), datetime(2026, 1, 2), datetime(2026, 1, 1), datetime(2026, 2, 1))),
        ("day", (date(2026, 1, 1), 5, date(2026, 1, 1), date(2026, 2, 1))),
        ("day", (True, True, False, True)),
        ("second", (date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 1), date(2026, 2, 1))),
        ("second", (0, 0.5, 0, 1)),
        ("week", (0, 1, 0, 7)),
    ],
)
def test_what_is_no_part_of_a_period_is_refused(rule: Any, moments: tuple[Any, Any, Any, Any]) -> None:
    with pytest.raises(BadInput) as refused:
        fraction(rule, *moments)
    assert refused.value.hint


def test_a_period_without_an_end_is_refused() -> None:
    with pytest.raises(BadInput, match="start and an end"):
        proration.fractions("day", [0])


@given(minors, minors, parts)
def test_a_change_there_and_back_costs_nothing(old: int, new: int, unused: Fraction) -> None:
    there, back = proration.change(old, new, unused), proration.change(new, old, unused)
    assert there.net_minor == there.credit_minor + there.charge_minor
    assert there.net_minor + back.net_minor == 0
    assert proration.change(old, old, unused).net_minor == 0


@given(minors, parts)
def test_a_credit_is_the_mirror_of_its_charge(amount: int, part: Fraction) -> None:
    assert proration.prorate(-amount, part) == -proration.prorate(amount, part)


@given(st.integers(0, 10**12), parts, parts)
def test_giving_back_what_was_billed_gives_back_exactly_that_and_never_more(
    price: int, one: Fraction, other: Fraction
) -> None:
    unused, billed = sorted((one, other))
    charged = proration.prorate(price, billed)
    credit = proration.unused_credit(charged, billed, unused)
    assert -charged <= credit <= 0
    assert proration.unused_credit(charged, billed, billed) == -charged


def test_more_than_was_billed_cannot_be_unused() -> None:
    with pytest.raises(BadInput, match="more is unused"):
        proration.unused_credit(100, Fraction(1, 2), Fraction(2, 3))
    assert proration.unused_credit(0, Fraction(0), Fraction(0)) == 0


@given(st.integers(0, 10**6), st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 31)), min_size=1, max_size=6))
def test_seats_cost_what_each_number_of_them_costs_for_its_days(unit: int, levels: list[tuple[int, int]]) -> None:
    days = sum(count for _, count in levels) or 1
    total = proration.seats(unit, [(quantity, Fraction(count, days)) for quantity, count in levels])
    assert abs(total - Fraction(unit * sum(quantity * count for quantity, count in levels), days)) <= Fraction(1, 2)


def test_five_seats_for_half_a_month_and_eight_for_the_rest() -> None:
    assert proration.seats(1000, [(5, Fraction(1, 2)), (8, Fraction(1, 2))]) == 6500
