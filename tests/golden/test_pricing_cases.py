"""Price models: the amounts that Lago, OpenMeter, Kill Bill and Autumn expect of theirs."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from nbilling.model.money import parse_amount
from nbilling.rules.pricing import (
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
    true_up,
)
from nbilling.rules.proration import fraction

Case = dict[str, Any]


def of(*ids: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", ids, indirect=True)


def minor(model: PriceModel, quantity: int | Fraction, **more: Any) -> int:
    return amount_minor(rate(model, quantity, **more).amount, "EUR")


def tiers(case: Case) -> list[Tier]:
    """Lago and the documents write ``to``, OpenMeter ``up_to``: each is the inclusive upper bound."""
    return [
        Tier(
            tier.get("up_to", tier.get("to")),
            tier.get("per_unit", tier.get("unit", "0")),
            tier.get("flat", "0"),
        )
        for tier in case["pricing"]["tiers"]
    ]


def currency_units(minor_units: int) -> Fraction:
    return Fraction(minor_units, 100)


@of("lago-graduated-3", "lago-graduated-zero-usage-flat")
def test_graduated_prices_of_lago(case: Case) -> None:
    assert minor(Graduated(tiers(case)), case["events"]["units"]) == case["expected"]["amount_minor"]


@of("om-graduated-22")
def test_graduated_prices_of_openmeter_line_by_line(case: Case) -> None:
    rating = rate(Graduated(tiers(case)), case["events"]["units"])
    assert rating.amount == int(case["expected"]["total"])
    assert [step.amount for step in rating.steps if step.amount] == [100, 50, 25, 7]


@of("om-graduated-split-12-10")
def test_rating_twelve_and_then_ten_more_adds_up_to_twenty_two(case: Case) -> None:
    model = Graduated(tiers(case))
    before = case["events"]["already_rated"]
    rating = rate_increment(model, before, before + case["events"]["new"])
    assert rating.amount == int(case["expected"]["new_total"])
    assert [(step.quantity, step.unit_price, step.amount) for step in rating.steps] == [(3, 5, 15), (7, 1, 7)]


@of("om-graduated-max-spend")
def test_the_cap_is_a_step_of_its_own_so_that_gross_usage_stays_visible(case: Case) -> None:
    model = Graduated(tiers(case), maximum=case["pricing"]["maximum"])
    before = case["events"]["already_rated"]
    assert rate(model, before).amount == int(case["events"]["previously_billed"])
    rating = rate_increment(model, before, before + case["events"]["new"])
    expected = case["expected"].values()
    gross = [int(tier["amount"]) for tier in expected]
    assert [step.amount for step in rating.steps] == [*gross, -sum(int(tier["discount"]) for tier in expected)]
    assert rating.amount == sum(int(tier["total"]) for tier in expected)


@of("om-graduated-min-spend")
def test_the_minimum_is_billed_with_the_last_part_of_the_period_only(case: Case) -> None:
    model = Graduated(tiers(case), minimum=case["pricing"]["minimum"])
    assert rate_increment(model, None, 0, part="middle").amount == int(case["events"]["previously_billed"])
    last = rate_increment(model, 0, 0, part="last")
    assert [(step.kind, step.amount) for step in last.steps] == [("minimum", int(case["expected"]["min_spend_line"]))]


@of("autumn-graduated-doc")
def test_graduated_prices_below_a_cent(case: Case) -> None:
    assert rate(Graduated(tiers(case)), case["events"]["units"]).amount == int(case["expected"]["amount"])


@of("lago-graduated-percentage")
def test_graduated_percentages(case: Case) -> None:
    model = GraduatedPercentage(
        [PercentageTier(tier["to"], tier["rate_pct"], tier["flat"]) for tier in case["pricing"]["tiers"]]
    )
    found = {str(units): minor(model, units) for units in case["events"]["cases"]}
    assert found == case["expected"]["amount_minor_by_units"]


@of("lago-volume-5")
def test_volume_prices_of_lago(case: Case) -> None:
    assert minor(Volume(tiers(case)), case["events"]["units"]) == case["expected"]["amount_minor"]


@of("om-volume-table")
def test_volume_prices_of_openmeter_at_and_around_each_bound(case: Case) -> None:
    model = Volume(tiers(case))
    found = {str(units): str(rate(model, units).amount) for units in case["events"]["cases"]}
    assert found == case["expected"]["amount_by_units"]


@of("lago-doc-volume")
def test_volume_prices_below_a_cent(case: Case) -> None:
    assert rate(Volume(tiers(case)), case["events"]["units"]).amount == int(case["expected"]["amount"])


@of("kb-capacity-usage")
def test_a_peak_picks_a_flat_price_and_a_month_without_usage_costs_nothing(case: Case) -> None:
    model = Volume(
        [Tier(tier["max"], flat_amount=tier["price"]) for tier in case["pricing"]["tiers"]], flat_at_zero=False
    )
    peaks = dict.fromkeys(("2012-04", "2012-05", "2012-06"), 0)
    for event in case["events"]:
        month = event["t"][:7]
        peaks[month] = max(peaks[month], event["q"])
    assert [rate(model, peak).amount for peak in peaks.values()] == [
        int(case["expected"][month]) for month in ("april", "may", "june")
    ]


@of("lago-package-table")
def test_packages_of_lago(case: Case) -> None:
    pricing = case["pricing"]
    model = Package(pricing["package_size"], pricing["amount"], pricing["free_units"])
    found = {str(units): minor(model, units) for units in case["events"]["cases"]}
    assert found == case["expected"]["amount_minor_by_units"]


@of("om-package")
def test_packages_of_openmeter_at_once_and_in_parts(case: Case) -> None:
    model = Package(case["pricing"]["package_size"], case["pricing"]["amount"])
    found = [
        rate(model, usage["units"])
        if "units" in usage
        else rate_increment(model, usage["already"], usage["already"] + usage["new"])
        for usage in case["events"]["cases"]
    ]
    assert [rating.amount for rating in found] == [int(amount) for amount in case["expected"]["amounts"]]
    assert rate(Package(10, "15", minimum="100"), 0).amount == 100, "its note"


@of("kb-two-units-one-tier")
def test_packages_of_two_meters(case: Case) -> None:
    total = sum(
        rate(Package(block["block"], block["price"]), case["events"][block["unit"]]).amount
        for block in case["pricing"]["blocks"]
    )
    assert total == Fraction(case["expected"]["total"])


@of("kb-usage-blocks-and-cancel")
def test_begun_blocks_of_a_month_and_of_a_part_of_one(case: Case) -> None:
    """Both figures lie in the first tier, so a package price says the same."""
    first = case["pricing"]["tiers"][0]
    model = Package(first["block"], first["price"])
    april = sum(event["q"] for event in case["events"] if event["t"] < "2012-05")
    may = sum(event["q"] for event in case["events"] if event["t"] >= "2012-05")
    assert rate(model, april).amount == Fraction(case["expected"]["april"])
    assert rate(model, may).amount == Fraction(case["expected"]["final_2012-05-01_to_2012-05-16"])


@of("lago-percentage-free-events", "lago-percentage-both-free-events-first", "lago-percentage-min-max-per-txn")
def test_percentages_of_turnover_after_each_transaction(case: Case) -> None:
    pricing = case["pricing"]
    model = Percentage(
        pricing["rate_pct"],
        pricing["fixed_per_event"],
        pricing.get("free_events", 0),
        pricing.get("free_total_amount", "0"),
        pricing.get("per_txn_min"),
        pricing.get("per_txn_max"),
    )
    transactions = case["events"]["events"]
    for count, expected in enumerate(case["expected"]["after_each_event"], 1):
        so_far = transactions[:count]
        assert sum(so_far) == Fraction(expected["units"])
        amount = minor(model, sum(so_far), transactions=so_far)
        assert amount == expected.get("amount_minor", 0)
        assert amount_minor(currency_units(amount) * Fraction(120, 100), "EUR") == expected["total_minor"]


@of("om-dynamic")
def test_cost_plus_a_markup_is_a_percentage_above_a_hundred(case: Case) -> None:
    model = Percentage(Decimal(case["pricing"]["multiplier"]).scaleb(2))
    assert amount_minor(rate(model, case["events"]["cost_units"]).amount, "USD") == parse_amount(
        case["expected"]["amount"], "USD"
    )


@of("lago-agg-latest", "lago-agg-max")
def test_the_last_and_the_highest_value_at_a_price_a_unit(case: Case) -> None:
    model = PerUnit(case["pricing"]["amount"])
    values = [value["v"] if isinstance(value, dict) else value for value in case["events"]["values"]]
    for count, expected in enumerate(case["expected"]["after_each_event"], 1):
        units = values[count - 1] if case["events"]["agg"] == "latest" else max(values[:count])
        assert units == Fraction(expected["units"])
        assert minor(model, units) == expected["amount_minor"]


@of("mt-onetime-not-prorated")
def test_a_single_charge_is_never_prorated(case: Case) -> None:
    once = case["pricing"]["one_time"]
    assert minor(PerUnit(once["rate"]), once["qty"]) == case["expected"]["charge_minor"]


@of("lago-progressive-basic")
def test_two_million_units_below_a_cent_and_the_fee(case: Case) -> None:
    units = sum(event["units"] for event in case["events"])
    usage = minor(PerUnit(case["pricing"]["charge"]["amount"]), units)
    fee = minor(Flat("31"), 0)
    assert fee == case["pricing"]["amount_minor"]
    assert usage + fee == case["expected"]["month_end"]["fees_minor"]


def first_days_of_february(case: Case) -> Fraction:
    start = case["dates"]["sub_start"][:10]
    assert start == "2024-02-28"
    return fraction("day", 27, 29, 0, 29)


@of("lago-min-commit-arrears-calendar")
def test_a_commitment_is_trued_up_in_a_short_and_in_a_whole_period(case: Case) -> None:
    pricing, part = case["pricing"], first_days_of_february(case)
    (events,) = case["events"].values()
    usage = sum(events.values()) * 100
    fee = amount_minor(currency_units(pricing["amount_minor"]) * part, "EUR")
    expected = case["expected"]["true_up_fee_minor"]
    assert true_up(pricing["min_commitment_minor"], part, fee + usage) == expected["first_period"]
    recurring = events["recurring_in_advance"] * 100
    whole = true_up(pricing["min_commitment_minor"], 1, pricing["amount_minor"] + recurring)
    assert whole == expected["second_period"]


@of("lago-min-commit-advance-calendar")
def test_a_commitment_of_a_plan_billed_in_advance(case: Case) -> None:
    pricing, part = case["pricing"], first_days_of_february(case)
    (events,) = case["events"].values()
    fee = amount_minor(currency_units(pricing["amount_minor"]) * part, "EUR")
    expected = case["expected"]["true_up_fee_minor"]
    spent = fee + sum(events.values()) * 100
    assert true_up(pricing["min_commitment_minor"], part, spent) == expected["second_invoice"]
    spent = pricing["amount_minor"] + events["recurring_in_advance"] * 100
    assert true_up(pricing["min_commitment_minor"], 1, spent) == expected["third_invoice"]


@of("lago-min-commit-downgrade")
def test_a_commitment_holds_until_a_downgrade_at_the_periods_end(case: Case) -> None:
    pricing, may = case["pricing"], case["expected"]["may_termination_invoice"]
    missing = true_up(pricing["min_commitment_minor"], 1, pricing["amount_minor"])
    assert missing == may["true_up_minor"]
    assert missing + pricing["amount_minor"] == may["total_minor"] == case["expected"]["march_total_minor"]
