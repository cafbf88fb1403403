"""Rounding, tax, discounts, credit notes and time-weighted levels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from nbilling.model.money import format_amount, parse_amount, parse_decimal, round_half_away
from nbilling.rules.discounts import Discount, DiscountLine, apply, still_runs
from nbilling.rules.gauges import over_period
from nbilling.rules.pricing import PerUnit, amount_minor, rate
from nbilling.rules.tax import Buyer, Seller, TaxRate, credited_tax, default_rate, invoice_totals, tax_totals, taxes_for

Case = dict[str, Any]


def of(*ids: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", ids, indirect=True)


def exact(text: str) -> Fraction:
    return Fraction(parse_decimal(text, places=12))


def line(text: str, code: str) -> int:
    """A line's exact amount in currency units, rounded as an invoice line is."""
    return amount_minor(exact(text), code)


# --- Rounding
# --------------------------------------------------------------------------------------------------------


@of("fx-rounding-lines")
def test_lines_are_rounded_by_their_currency(case: Case) -> None:
    found = [format_amount(line(text, code), code) for text, code in case["events"]["cases"]]
    assert found == case["expected"]["rounded"]


@of("fx-rounding-subtotal")
def test_the_subtotal_is_the_sum_of_the_printed_lines(case: Case) -> None:
    found = [format_amount(sum(line(text, code) for text in texts), code) for code, texts in case["events"]["cases"]]
    assert found == case["expected"]["subtotals"]


@of("einv-half-up-not-bankers")
def test_halves_go_up_and_not_to_the_even_neighbour(case: Case) -> None:
    assert format_amount(line(case["events"]["value"], "EUR"), "EUR") == case["expected"]["half_up"]


# --- Tax
# -------------------------------------------------------------------------------------------------------------


@of("fx-tax-rounding")
def test_tax_of_one_line(case: Case) -> None:
    found = []
    for amount, percent, code in case["events"]["cases"]:
        (total,) = tax_totals([(parse_amount(amount, code), [default_rate(percent)])])
        found.append(format_amount(total.tax_minor, code))
    assert found == case["expected"]["tax"]


@of("einv-line-vs-category-vat")
def test_tax_is_rounded_on_the_sum_of_its_rate_as_en_16931_wants_it(case: Case) -> None:
    rates = [default_rate(str(case["tax"]["rate_pct"]))]
    net = parse_amount(case["pricing"]["line_net"], "SEK")
    (total,) = tax_totals([(net, rates)] * case["pricing"]["lines"])
    expected = case["expected"]["category_rounding_BR-CO-17"]
    assert format_amount(total.taxable_minor, "SEK") == expected["taxable"]
    assert format_amount(total.tax_minor, "SEK") == expected["tax"]


@of("lago-oneoff-two-taxes")
def test_taxes_add_up_and_the_nearest_ones_stand_before_the_others(case: Case) -> None:
    amount = case["pricing"]["one_off_lines_minor"][0]
    seller = Seller()
    default = [default_rate("25")]
    customer = Buyer(rates=(TaxRate("Customer", "8"),))
    explicit = [TaxRate(f"Line {percent}", str(percent)) for percent in case["tax"]["rates_pct"]]
    lines = [(amount, taxes_for(default, seller, customer, explicit=explicit).rates)]
    sums = invoice_totals(lines, tax_totals(lines))
    assert (sums.tax_minor, sums.total_minor) == (case["expected"]["tax_minor"], case["expected"]["total_minor"])
    for rates, buyer, tax_minor in (([default_rate("15")], Buyer(), 1500), (default, customer, 800)):
        (total,) = tax_totals([(amount, taxes_for(rates, seller, buyer).rates)])
        assert total.tax_minor == tax_minor, "the other figures of the same file"


@of("lago-wallet-fraction-cap-a")
def test_lines_are_rounded_before_they_are_added_and_taxed(case: Case) -> None:
    small, large = rate(PerUnit("0.004"), 1).amount, rate(PerUnit("0.01"), 1).amount
    assert (small * 100, large * 100) == tuple(exact(text) for text in case["expected"]["line_precise"].values())
    lines = [amount_minor(amount, "EUR") for amount in [small] * 6 + [large] * 2]
    expected = case["expected"]
    assert (lines[0], lines[-1]) == (expected["line_minor"]["small"], expected["line_minor"]["large"])
    taxed = [(amount, [default_rate(str(case["tax"]["rate_pct"]))]) for amount in lines]
    sums = invoice_totals(taxed, tax_totals(taxed))
    assert sums == (expected["fees_minor"], expected["tax_minor"], expected["total_before_credit_minor"])


@of("lago-wallet-two-invoices")
def test_totals_with_tax_of_single_charges(case: Case) -> None:
    for charge, expected in zip(case["pricing"]["charges_in_advance"], case["expected"].values(), strict=True):
        lines = [(line(charge["amount"], "EUR"), [default_rate(str(case["tax"]["rate_pct"]))])]
        total = invoice_totals(lines, tax_totals(lines)).total_minor
        assert format_amount(total, "EUR") == expected["subtotal_incl_tax"]


# --- Credit notes
# ----------------------------------------------------------------------------------------------------


@of("lago-credit-note-rounding-2x6833")
def test_credit_notes_line_by_line_add_up_to_the_invoice(case: Case) -> None:
    amounts, expected = case["pricing"]["one_off_lines_minor"], case["expected"]
    rates = [default_rate(str(case["tax"]["rate_pct"]))]
    (total,) = tax_totals([(amount, rates) for amount in amounts])
    whole = sum(amounts)
    assert (total.tax_minor, whole + total.tax_minor) == tuple(expected["invoice"].values())
    before = 0
    for amount, note in zip(amounts, (expected["credit_line_1"], expected["credit_line_2"]), strict=True):
        tax_minor = credited_tax(total.tax_minor, whole, before, amount)
        assert (amount, tax_minor, amount + tax_minor) == tuple(note.values())
        before += amount


@of("lago-credit-rounding-16000")
def test_the_tax_of_a_part_credit(case: Case) -> None:
    expected = case["expected"]
    subtotal = round_half_away(Fraction(case["pricing"]["amount_minor"] * 29, 30))
    tax_minor = credited_tax(expected["invoice"]["tax_minor"], case["pricing"]["amount_minor"], 0, subtotal)
    note = expected["credit_note"]
    assert (subtotal, tax_minor, subtotal + tax_minor) == (
        note["subtotal_minor"],
        note["tax_minor"],
        note["total_minor"],
    )


# --- Discounts
# -------------------------------------------------------------------------------------------------------


def discount_of(text: str, code: str) -> Discount:
    if text.endswith("%"):
        return Discount("D", "percent", text[:-1])
    return Discount("D", "amount", parse_amount(text.removeprefix("fixed "), code), code.upper())


@of("fx-discount-rounding")
def test_discounts_of_one_line_are_rounded_and_capped(case: Case) -> None:
    for place, (amount, text, code) in enumerate(case["events"]["cases"]):
        minor = parse_amount(amount, code)
        taken = apply([DiscountLine(minor)], [discount_of(text, code)]).total_minor
        assert format_amount(taken, code) == case["expected"]["discount"][place]
        assert format_amount(minor - taken, code) == case["expected"]["final"][place]


@of("polar-discount-allocation")
def test_an_amount_is_shared_by_largest_remainder(case: Case) -> None:
    """The percentage is left out: Polar rounds it on each line, here the shares add up to 33.33 % of the sum."""
    pairs = list(zip(case["events"]["cases"], case["expected"]["allocated"], strict=True))
    for found, expected in pairs[:-1]:
        applied = apply(
            [DiscountLine(amount) for amount in found["lines"]], [Discount("D", "amount", found["fixed"], "USD")]
        )
        assert [sum(shares) for shares in applied.shares] == expected
    percent = pairs[-1][0]
    applied = apply(
        [DiscountLine(amount) for amount in percent["lines"]], [Discount("D", "percent", percent["percent"])]
    )
    assert [sum(shares) for shares in applied.shares] == [34, 33]


@of("mt-coupon-limited-cycles")
def test_a_discount_for_two_of_four_periods(case: Case) -> None:
    (given,) = case["discounts"]
    discount = Discount("D", given["type"], given["value"], periods=given["cycles"])
    price = case["pricing"]["amount_minor"]
    taken = [
        apply([DiscountLine(price)], [discount]).total_minor if still_runs(discount, cycle) else 0
        for cycle in range(case["dates"]["cycles"])
    ]
    assert taken == case["expected"]["discount_minor"]
    assert [price - minor for minor in taken] == case["expected"]["total_minor"]


@of("lago-coupon-exceeds-fees")
def test_discounts_beyond_the_price_leave_zero_and_no_tax(case: Case) -> None:
    fee = case["pricing"]["amount_minor"]
    found = [
        Discount(str(place), "amount", given["amount_minor"], "EUR") for place, given in enumerate(case["discounts"])
    ]
    applied = apply([DiscountLine(fee)], found)
    assert applied.total_minor == int(case["expected"]["coupon_share"]) == fee
    (total,) = tax_totals([(applied.left[0], [default_rate(str(case["tax"]["rate_pct"]))])])
    assert total.tax_minor == case["expected"]["tax_minor"] == 0


@of("lago-coupon-multi-tax-truup")
def test_a_discount_is_shared_before_taxes_of_three_rates(case: Case) -> None:
    fees, expected = case["expected"]["fees"], case["expected"]
    percents = ["10", "0", "20", "20"]
    (given,) = case["discounts"]
    applied = apply(
        [DiscountLine(fee["amount_minor"]) for fee in fees], [Discount("D", "amount", given["amount_minor"], "EUR")]
    )
    assert [sum(shares) for shares in applied.shares] == [int(fee["coupon_share"]) for fee in fees]
    taxed = [(left, [default_rate(percent)]) for left, percent in zip(applied.left, percents, strict=True)]
    sums = invoice_totals(taxed, tax_totals(taxed))
    assert sums == (expected["subtotal_excl_tax_minor"], expected["tax_minor"], expected["total_minor"])


@of("lago-coupons-scoped-breakdown")
def test_discounts_of_meters_of_a_plan_and_of_all_each_on_what_is_left(case: Case) -> None:
    """Lago keeps fractions of cents and rounds the sum of all taxes (1889); here each line has whole cents and each
    rate is rounded, as EN 16931 has it, which makes 1890.
    """
    expected = case["expected"]
    percents = {text.split()[0]: text.split()[1][:-1] for plan in case["pricing"]["plans"].values() for text in plan}
    plans = {text.split()[0]: plan for plan, texts in case["pricing"]["plans"].items() for text in texts}
    meters, second, everything = case["discounts"]
    found = [
        Discount("M", "amount", meters["amount_minor"], "EUR", meters=meters["scope"]),
        Discount("P", "amount", second["amount_minor"], "EUR", plans=["P2"]),
        Discount("E", "amount", everything["amount_minor"], "EUR"),
    ]
    names = list(expected["lines"])
    lines = [DiscountLine(expected["lines"][name]["amount"], name, plans[name]) for name in names]
    applied = apply(lines, found)
    assert sum(item.amount_minor for item in lines) == expected["fees_minor"]
    assert applied.total_minor == expected["coupons_minor"]
    assert sum(applied.left) == expected["subtotal_excl_tax_minor"]
    for name, shares in zip(names, applied.shares, strict=True):
        assert abs(sum(shares) - Fraction(expected["lines"][name]["coupon"])) < 1
    taxed = [(left, [default_rate(percents[name])]) for name, left in zip(names, applied.left, strict=True)]
    assert invoice_totals(taxed, tax_totals(taxed)).tax_minor == expected["tax_minor"] + 1


# --- Levels over time
# ------------------------------------------------------------------------------------------------


def micros(text: str) -> int:
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@of("lago-weighted-sum-march")
def test_a_level_is_weighted_over_the_whole_month(case: Case) -> None:
    samples = [(micros(value["t"]), value["delta"]) for value in case["events"]["values"]]
    start, end = micros("2023-03-01T00:00Z"), micros("2023-04-01T00:00Z")
    usage = over_period(samples, start, end)
    expected = case["expected"]
    assert usage.last == expected["level_at_period_end"]
    places = len(expected["units"].partition(".")[2])
    assert abs(usage.average - Fraction(expected["units"])) < Fraction(1, 10 ** (places - 1))
    assert (
        amount_minor(rate(PerUnit(case["pricing"]["amount"]), usage.average).amount, "EUR") == expected["amount_minor"]
    )
