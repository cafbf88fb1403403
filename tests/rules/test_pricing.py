from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nbilling.model.errors import BadInput
from nbilling.rules import pricing
from nbilling.rules.pricing import (
    ByDimension,
    Flat,
    Graduated,
    GraduatedPercentage,
    Package,
    Percentage,
    PercentageTier,
    PerUnit,
    PriceModel,
    Tier,
    Volume,
    amount_minor,
    rate,
    rate_increment,
)

GIB = 2**30

prices = st.decimals(0, 1000, places=12)
amounts = st.decimals(0, 1000, places=2)
sizes = st.decimals("0.01", 1000, places=2)
pers = st.sampled_from(["1", "1000", str(GIB), "0.5"])
scales = st.fractions(0, 1, max_denominator=366)
quantities = st.integers(0, 10**13) | st.fractions(0, 10**6, max_denominator=31 * 86_400)
limits = st.sampled_from([{}, {"minimum": "25"}, {"maximum": "60"}, {"minimum": "10", "maximum": "20.5"}])
percents = st.decimals(0, 100, places=4)


@st.composite
def tiers(draw: st.DrawFn, kind: type[Any], price: st.SearchStrategy[Decimal]) -> Sequence[Any]:
    bounds = sorted(draw(st.sets(sizes, max_size=4)))
    return [kind(bound, draw(price), draw(st.just("0") | amounts)) for bound in [*bounds, None]]


edges = st.fixed_dictionaries({"bounds": st.sampled_from(["inclusive", "exclusive"]), "flat_at_zero": st.booleans()})
options = st.builds(lambda spend, edge: {**spend, **edge}, limits, edges)
per_units = st.builds(lambda price, per, free, spend: PerUnit(price, per, free, **spend), prices, pers, amounts, limits)
graduated = st.builds(lambda parts, per, more: Graduated(parts, per, **more), tiers(Tier, prices), pers, options)
volumes = st.builds(lambda parts, per, more: Volume(parts, per, **more), tiers(Tier, prices), pers, options)
packages = st.builds(
    lambda size, price, free, spend: Package(size, price, free, **spend), sizes, amounts, amounts, limits
)
percentages = st.builds(
    lambda percent, free, spend: Percentage(percent, free_amount=free, **spend), percents, amounts, limits
)
graduated_percentages = st.builds(
    lambda parts, more: GraduatedPercentage(parts, **more), tiers(PercentageTier, percents), options
)
flats = st.builds(lambda amount, spend: Flat(amount, **spend), amounts, limits)
models = flats | per_units | graduated | volumes | packages | percentages | graduated_percentages
rising = flats | per_units | graduated | packages | percentages | graduated_percentages


# --- What holds for every price --------------------------------------------------------------------------------------


@given(models, quantities, scales)
def test_the_steps_add_up_to_the_amount_and_each_says_what_it_is(
    model: PriceModel, quantity: int | Fraction, scale: Fraction
) -> None:
    rating = rate(model, quantity, scale_fraction=scale)
    assert sum((step.amount for step in rating.steps), Fraction(0)) == rating.amount >= 0
    for step in rating.steps:
        assert step.description
        assert "\n" not in step.description
        if step.unit_price is not None:
            assert step.amount == step.quantity * Fraction(step.unit_price)


@given(models, st.lists(quantities, min_size=2, max_size=5).map(sorted), scales)
def test_rating_in_parts_adds_up_to_rating_at_once(
    model: PriceModel, readings: list[int | Fraction], scale: Fraction
) -> None:
    """The middle parts leave the minimum out, the last one brings it."""
    billed = rate_increment(model, None, readings[0], part="middle", scale_fraction=scale).amount
    for before, total in pairwise(readings[:-1]):
        billed += rate_increment(model, before, total, part="middle", scale_fraction=scale).amount
    billed += rate_increment(model, readings[-2], readings[-1], part="last", scale_fraction=scale).amount
    assert billed == rate(model, readings[-1], scale_fraction=scale).amount


@given(models, quantities, quantities, scales)
def test_late_usage_costs_the_difference_to_the_closed_period_step_by_step(
    model: PriceModel, before: int | Fraction, total: int | Fraction, scale: Fraction
) -> None:
    late = rate_increment(model, before, total, scale_fraction=scale)
    whole = rate(model, total, scale_fraction=scale).amount - rate(model, before, scale_fraction=scale).amount
    assert late.amount == whole == sum((step.amount for step in late.steps), Fraction(0))


@given(models, quantities)
def test_nothing_new_costs_nothing_more(model: PriceModel, quantity: int | Fraction) -> None:
    assert rate_increment(model, quantity, quantity) == pricing.Rating(Fraction(0), ())


@given(rising, quantities, quantities, scales)
def test_more_usage_never_costs_less(
    model: PriceModel, one: int | Fraction, other: int | Fraction, scale: Fraction
) -> None:
    less, more = sorted((one, other))
    assert rate(model, less, scale_fraction=scale).amount <= rate(model, more, scale_fraction=scale).amount


@given(models, quantities, scales)
def test_minimum_and_maximum_hold_prorated(model: PriceModel, quantity: int | Fraction, scale: Fraction) -> None:
    amount = rate(model, quantity, scale_fraction=scale).amount
    if model.minimum is not None:
        assert amount >= Fraction(model.minimum) * scale
    if model.maximum is not None:
        assert amount <= Fraction(model.maximum) * scale


@given(models, st.integers(-(10**9), 0), scales)
def test_a_negative_quantity_is_rated_as_zero_usage(model: PriceModel, quantity: int, scale: Fraction) -> None:
    assert rate(model, quantity, scale_fraction=scale) == rate(model, 0, scale_fraction=scale)


@given(models)
def test_a_model_survives_being_written_as_json_and_read(model: PriceModel) -> None:
    written = json.loads(json.dumps(pricing.model_to_dict(model)))
    assert pricing.model_from_dict(written) == model
    assert pricing.price_from_dict(written) == model
    assert hash(pricing.model_from_dict(written)) == hash(model)


@given(models, quantities, st.integers(1, 6))
def test_equal_parts_of_a_period_at_one_price_cost_what_the_whole_does(
    model: PriceModel, quantity: int | Fraction, parts: int
) -> None:
    """Packages are left out: a begun one is whole in every part."""
    assume(not isinstance(model, Package))
    whole = rate(model, quantity).amount
    part = rate(model, Fraction(quantity) / parts, scale_fraction=Fraction(1, parts)).amount
    assert part * parts == whole


# --- Each model ------------------------------------------------------------------------------------------------------


def minor(model: PriceModel, quantity: int | Fraction, **more: Any) -> int:
    return amount_minor(rate(model, quantity, **more).amount, "USD")


def test_a_flat_price_is_charged_whatever_was_used() -> None:
    assert [minor(Flat("29"), used) for used in (0, 5, 10**9)] == [2900, 2900, 2900]
    assert minor(Flat("29"), 0, scale_fraction=Fraction(15, 30)) == 1450


def test_a_price_below_a_cent_is_rounded_once_on_the_whole_quantity() -> None:
    assert minor(PerUnit("0.0001"), 12_345) == 123
    assert minor(PerUnit("0.000000000001"), 10**10) == 1
    assert minor(PerUnit("0.000000000001"), 4 * 10**9) == 0


def test_bytes_are_sold_by_the_gigabyte_and_microseconds_by_the_hour() -> None:
    assert minor(PerUnit("0.05", per=GIB), 500 * GIB) == 2500
    assert minor(PerUnit("0.05", per=3_600_000_000), 3_600_000_000 * 7 + 1) == 35
    assert minor(PerUnit("0.10", per=GIB), Fraction(12 * GIB, 31)) == 4


def test_what_is_included_is_free_and_prorated_and_only_the_rest_costs() -> None:
    model = PerUnit("0.01", included="1000")
    assert [minor(model, used) for used in (0, 999, 1000, 1001, 2000)] == [0, 0, 0, 1, 1000]
    assert minor(model, 1000, scale_fraction=Fraction(1, 2)) == 500
    assert [step.kind for step in rate(model, 1500).steps] == ["included", "usage"]


@pytest.mark.parametrize(
    "model",
    [PerUnit("1", per=10), Graduated([Tier(None, "1")], 10), Volume([Tier(None, "1")], 10), Package(1, "1", per=10)],
)
def test_an_allowance_of_the_plan_comes_off_before_any_price(model: PriceModel) -> None:
    assert minor(model, 1000, included=400) == 6000
    assert minor(model, 1000, included=400, scale_fraction=Fraction(1, 2)) == 8000
    assert minor(model, 1000, included=2000) == 0
    assert rate(model, 1000, included=400).steps[0].description == "40 included"


TIERS = [Tier("5", "10", "100"), Tier("10", "5", "50"), Tier(None, "1", "7")]


@pytest.mark.parametrize(
    ("used", "inclusive", "exclusive"),
    [
        (0, 100, 100),
        (1, 110, 110),
        (5, 150, 200),
        (6, 205, 205),
        (10, 225, 232),
        (11, 233, 233),
        (Fraction(11, 2), Fraction(405, 2), Fraction(405, 2)),
    ],
)
def test_graduated_tiers_and_their_bounds(used: int, inclusive: int | Fraction, exclusive: int | Fraction) -> None:
    assert rate(Graduated(TIERS), used).amount == inclusive
    assert rate(Graduated(TIERS, bounds="exclusive"), used).amount == exclusive


@pytest.mark.parametrize(("used", "inclusive", "exclusive"), [(0, 100, 100), (5, 150, 75), (10, 100, 17), (11, 18, 18)])
def test_volume_tiers_and_their_bounds(used: int, inclusive: int, exclusive: int) -> None:
    assert rate(Volume(TIERS), used).amount == inclusive
    assert rate(Volume(TIERS, bounds="exclusive"), used).amount == exclusive


def test_zero_usage_pays_the_first_flat_amount_only_if_the_price_says_so() -> None:
    for model in (Graduated, Volume):
        assert rate(model(TIERS), 0).amount == 100
        assert rate(model(TIERS, flat_at_zero=False), 0).amount == 0
        assert rate(model(TIERS, flat_at_zero=False), 1).amount == 110
    assert rate(GraduatedPercentage([PercentageTier(None, "5", "3")]), 0).amount == 3


def test_tier_bounds_and_flat_amounts_are_prorated_and_unit_prices_are_not() -> None:
    rating = rate(Graduated(TIERS), 5, scale_fraction=Fraction(1, 2))
    assert rating.amount == 50 + Fraction(5, 2) * 10 + 25 + Fraction(5, 2) * 5
    assert [step.upper for step in rating.steps] == [Fraction(5, 2), Fraction(5, 2), 5, 5]


def test_packages_are_whole_and_the_begun_one_counts() -> None:
    model = Package("10", "15", free_units="20")
    assert [rate(model, used).amount for used in (0, 20, 21, 30, 31)] == [0, 0, 15, 15, 30]
    assert rate(model, Fraction(201, 10)).amount == 15
    assert rate(model, 20, scale_fraction=Fraction(1, 2)).amount == 15
    assert [(step.kind, step.quantity) for step in rate(model, 31).steps] == [("free", 20), ("package", 2)]
    assert rate(model, 0).steps == ()
    assert [step.kind for step in rate(Package("10", "15"), 31).steps] == ["package"]


def test_a_volume_price_that_falls_takes_back_all_that_was_rated_at_the_old_one() -> None:
    late = rate_increment(Volume([Tier("15", "10"), Tier(None, "5")]), 14, 16)
    assert [(step.quantity, step.unit_price, step.amount) for step in late.steps] == [(16, 5, 80), (-14, 10, -140)]
    assert late.amount == -60


def test_a_percentage_of_turnover() -> None:
    assert minor(Percentage("2.9"), 1000) == 2900
    assert minor(Percentage("2.9", per="100"), 100_000) == 2900, "a meter in cents"
    assert minor(Percentage("1", free_amount="15"), 40) == 25


def test_the_transaction_that_crosses_the_free_amount_pays_the_rate_on_the_rest_and_the_whole_fixed_amount() -> None:
    model = Percentage("1", fixed="5", free_amount="15")
    rating = rate(model, 40, transactions=[10, 10, 10, 10])
    assert rating.amount == Fraction(25, 100) + 3 * 5
    assert [(step.kind, step.quantity) for step in rating.steps] == [
        ("free", 15),
        ("rate", 25),
        ("transaction_fixed", 3),
    ]


def test_whichever_allowance_is_used_up_first_ends_the_free_part() -> None:
    model = Percentage("1", fixed="5", free_events=3, free_amount="15")
    assert rate(model, 20, transactions=[14, 2, 2, 2]).amount == Fraction(5, 100) + 3 * 5
    assert rate(model, 4, transactions=[1, 1, 1, 1]).amount == Fraction(501, 100)
    assert rate(model, 15, transactions=[15]).amount == 0, "exactly the allowance is free"


def test_limits_of_a_transaction_hold_for_each_and_are_steps_of_their_own() -> None:
    model = Percentage("1", fixed="1", per_transaction_min="1.75", per_transaction_max="12")
    rating = rate(model, 11_110, transactions=[10, 100, 1000, 10_000])
    assert rating.amount == Fraction("1.75") + 2 + 11 + 12
    assert [(step.kind, step.quantity, step.amount) for step in rating.steps[-2:]] == [
        ("transaction_minimum", 1, Fraction("0.65")),
        ("transaction_maximum", 1, -89),
    ]


def test_a_correction_takes_turnover_back_at_the_rate_but_earns_nothing() -> None:
    model = Percentage("10", fixed="1")
    assert rate(model, 60, transactions=[100, -40]).amount == 7
    assert rate(model, -50, transactions=[50, -100]).amount == 0
    steps = rate(model, -50, transactions=[50, -100]).steps
    assert steps[-1].kind == "floor"
    assert sum(step.amount for step in steps) == 0


def test_a_transaction_of_nothing_is_a_transaction() -> None:
    assert rate(Percentage("1", fixed="5"), 0, transactions=[0, 0]).amount == 10
    assert rate(Percentage("1", fixed="5", free_events=1), 0, transactions=[0, 0]).amount == 5


def test_transactions_are_in_base_units_as_the_quantity_is() -> None:
    model = Percentage("10", fixed="1", free_amount="5", per="100")
    assert rate(model, 3000, transactions=[1000, 2000]).amount == Fraction("0.5") + 2 + 2


@given(st.lists(st.integers(0, 1000), max_size=6), amounts, percents)
def test_a_plain_percentage_costs_the_same_with_and_without_its_transactions(
    transactions: list[int], free: Decimal, percent: Decimal
) -> None:
    model = Percentage(percent, free_amount=free)
    total = sum(transactions)
    assert rate(model, total, transactions=transactions).amount == rate(model, total).amount


def test_transactions_must_be_there_when_they_are_needed_and_add_up() -> None:
    assert rate(Percentage("1", fixed="5"), 0).amount == 0
    for model, transactions in ((Percentage("1", fixed="5"), None), (Percentage("1"), [1, 2])):
        with pytest.raises(BadInput, match="transactions"):
            rate(model, 40, transactions=transactions)
    with pytest.raises(BadInput, match="transactions"):
        rate(Percentage("1"), 3, transactions=[1, 2], included=1)


def test_maximum_and_minimum_are_steps_of_their_own_so_that_gross_usage_stays_visible() -> None:
    capped = rate(PerUnit("1", maximum="170"), 182)
    assert [(step.kind, step.amount) for step in capped.steps] == [("usage", 182), ("maximum", -12)]
    assert len(rate(PerUnit("1", minimum="170", maximum="170"), 170).steps) == 1
    raised = rate(PerUnit("1", minimum="10"), 3)
    assert [(step.kind, step.amount) for step in raised.steps] == [("usage", 3), ("minimum", 7)]
    assert raised.steps[-1].description == "raised to the minimum of 10"
    assert rate(PerUnit("1", minimum="10"), 3, minimum_applies=False).amount == 3


def test_steps_read_like_the_arithmetic_they_are() -> None:
    assert [step.description for step in rate(Graduated(TIERS), 12).steps] == [
        "100 for entering the tier from 0 to 5",
        "5 × 10 in the tier from 0 to 5",
        "50 for entering the tier from 5 to 10",
        "5 × 5 in the tier from 5 to 10",
        "7 for entering the tier from 10 to any",
        "2 × 1 in the tier from 10 to any",
    ]
    assert rate(PerUnit("0.10", per=GIB), Fraction(GIB, 3)).steps[0].description == "0.333333… × 0.1"


@pytest.mark.parametrize(
    ("x", "text"),
    [(Fraction(1, 3), "0.333333…"), (Fraction(-1, 3), "-0.333333…"), (Fraction(5, 2), "2.5"), (0, "0"), (1000, "1000")],
)
def test_numbers_are_shown_exactly_or_marked_as_cut(x: Fraction | int, text: str) -> None:
    assert pricing.number_text(x) == text


def test_usage_has_a_price_for_each_value_of_its_dimension_and_none_is_left_out() -> None:
    price = ByDimension({"egress": PerUnit("0.05", per=GIB), "ingress": Flat("0")}, otherwise=PerUnit("1", per=GIB))
    used = {"egress": 10 * GIB, "ingress": 99 * GIB, "sideways": GIB, "": GIB}
    ratings = pricing.rate_dimensions(price, used)
    assert {value: rating.amount for value, rating in ratings.items()} == {
        "egress": Fraction(1, 2),
        "ingress": 0,
        "": 2,
    }
    assert pricing.rate_dimensions(PerUnit("1", per=GIB), used)[""].amount == 111
    assert {value: rating.amount for value, rating in pricing.rate_dimensions(price, {}).items()} == {
        "egress": 0,
        "ingress": 0,
        "": 0,
    }
    half = pricing.rate_dimensions(price, {"egress": GIB}, scale_fraction=Fraction(1, 2))
    assert half["egress"].amount == Fraction("0.05"), "unit prices are not prorated"
    assert pricing.price_from_dict(json.loads(json.dumps(pricing.price_to_dict(price)))) == price


def test_a_commitment_is_trued_up_and_never_paid_back() -> None:
    assert pricing.true_up(10_000, 1, 4_000) == 6_000
    assert pricing.true_up(10_000, Fraction(1, 3), 4_000) == 0
    assert pricing.true_up(10_000, Fraction(1, 3), 1_000) == 2_333


# --- What is refused -------------------------------------------------------------------------------------------------

GOOD = {"model": "graduated", "tiers": [{"up_to": "5", "unit_price": "1"}, {"unit_price": "0.5"}]}


@pytest.mark.parametrize(
    ("given", "where"),
    [
        (None, "price None"),
        ([], "price []"),
        ({}, "price.model None"),
        ({"model": "magic"}, "price.model 'magic'"),
        ({"model": ["flat"]}, "price.model"),
        ({"model": "flat"}, "price.amount is missing"),
        ({"model": "flat", "amount": 1.5}, "price.amount: number cannot be 1.5, a float"),
        ({"model": "flat", "amount": "1e3"}, "price.amount: number '1e3'"),
        ({"model": "flat", "amount": "-1"}, "price.amount: number '-1' is too small"),
        ({"model": "flat", "amount": "1", "amuont": "2"}, "price has no field 'amuont'"),
        ({"model": "flat", "amount": "1", "minimum": "3", "maximum": "2"}, "price: minimum is above maximum"),
        (
            {"model": "per_unit", "unit_price": "0.0000000000001"},
            "price.unit_price: number '0.0000000000001' has too many",
        ),
        ({"model": "per_unit", "unit_price": "1", "per": "0"}, "price.per: number '0' is too small"),
        ({"model": "per_unit", "unit_price": True}, "price.unit_price: number cannot be True"),
        ({"model": "package", "package_size": "0", "package_price": "1"}, "price.package_size"),
        ({"model": "percentage", "rate": "1", "free_events": "1.5"}, "price.free_events"),
        (
            {"model": "percentage", "rate": "1", "per_transaction_min": 2, "per_transaction_max": 1},
            "price: per_transaction",
        ),
        ({"model": "graduated", "tiers": "abc"}, "price: tiers must be a list"),
        ({"model": "graduated", "tiers": []}, "price: tiers must be a list"),
        ({"model": "graduated", "tiers": ["abc"]}, "price.tiers[0] 'abc' is not a table"),
        ({"model": "graduated", "tiers": [{"up_to": "5"}]}, "price: tiers end at a bound"),
        ({"model": "graduated", "tiers": [{}, {}]}, "price: tiers[1] comes after a tier without end"),
        (
            {"model": "graduated", "tiers": [{"up_to": "5"}, {"up_to": "5"}, {}]},
            "price: tiers[1].up_to 5 does not rise",
        ),
        (
            {"model": "graduated", "tiers": [{"up_to": "5"}, {"unit_price": "x"}]},
            "price.tiers[1].unit_price: number 'x'",
        ),
        ({"model": "volume", "tiers": [{"rate": "5"}]}, "price.tiers[0] has no field 'rate'"),
        ({**GOOD, "bounds": "both"}, "price.bounds: 'both'"),
        ({**GOOD, "flat_at_zero": 1}, "price.flat_at_zero: 1"),
        ({"model": "by_dimension"}, "price.prices None"),
        ({"model": "by_dimension", "prices": {"a": GOOD}}, "price.otherwise None"),
        ({"model": "by_dimension", "prices": {}, "otherwise": GOOD}, "price: prices must name"),
        ({"model": "by_dimension", "prices": {"a": {"model": "x"}}, "otherwise": GOOD}, "price.prices.a.model 'x'"),
        ({"model": "by_dimension", "prices": {"a": GOOD}, "otherwise": GOOD, "else": 1}, "price has no field 'else'"),
    ],
)
def test_what_is_wrong_with_a_price_is_named_by_its_path_with_a_hint(given: object, where: str) -> None:
    with pytest.raises(BadInput) as refused:
        pricing.price_from_dict(given)
    assert refused.value.message.startswith(where)
    assert refused.value.hint
    assert len(str(refused.value).splitlines()) == 1


def test_classes_made_by_hand_are_checked_too() -> None:
    with pytest.raises(BadInput, match="float"):
        PerUnit(0.1)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="not a Tier"):
        Graduated([PercentageTier(None, "5")])  # type: ignore[list-item]


@pytest.mark.parametrize("quantity", [1.5, True, Decimal(1), "1", None])
def test_quantities_that_are_not_exact_are_refused(quantity: Any) -> None:
    with pytest.raises(BadInput, match="not exact"):
        rate(PerUnit("1"), quantity)
    with pytest.raises(BadInput, match="not exact"):
        amount_minor(quantity, "USD")


def test_a_negative_part_of_a_period_and_an_amount_beyond_64_bits_are_refused() -> None:
    with pytest.raises(BadInput, match="negative"):
        rate(Flat("1"), 0, scale_fraction=Fraction(-1, 2))
    with pytest.raises(BadInput, match="out of range"):
        amount_minor(Fraction(10**18), "USD")


def test_amounts_are_rounded_by_the_currency() -> None:
    amount = Fraction("10.275")
    assert [amount_minor(amount, code) for code in ("USD", "JPY", "KWD")] == [1028, 10, 10_275]
    assert amount_minor(-amount, "USD") == -1028
