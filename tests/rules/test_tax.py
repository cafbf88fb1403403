from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.errors import BadInput
from nbilling.rules import tax
from nbilling.rules.tax import Buyer, Seller, TaxRate, credited_tax, invoice_totals, tax_totals, taxes_for

VAT = TaxRate("VAT", "20")
REDUCED = TaxRate("VAT", "7")
CITY = TaxRate("City tax", "1.5")
IN_VAT = TaxRate("VAT", "19", inclusive=True)
IN_CITY = TaxRate("City tax", "1.5", inclusive=True)

minors = st.integers(-(10**9), 10**10)
exclusive = st.sampled_from([(), (VAT,), (REDUCED,), (VAT, CITY)])
inclusive = st.sampled_from([(IN_VAT,), (IN_CITY,), (IN_VAT, IN_CITY)])
lines = st.lists(st.tuples(minors, exclusive | inclusive), max_size=8)
percents = st.decimals("0.000001", 100, places=6)


# --- Totals
# ----------------------------------------------------------------------------------------------------------


@given(lines)
def test_net_and_tax_are_the_total_and_the_total_follows_from_the_lines(
    found: list[tuple[int, tuple[TaxRate, ...]]],
) -> None:
    totals = tax_totals(found)
    sums = invoice_totals(found, totals)
    assert sums.net_minor + sums.tax_minor == sums.total_minor
    assert sums.tax_minor == sum(total.tax_minor for total in totals)
    without = sum(amount for amount, rates in found if not (rates and rates[0].inclusive))
    within = sum(amount for amount, rates in found if rates and rates[0].inclusive)
    added = sum(total.tax_minor for total in totals if not total.rate.inclusive)
    assert sums.total_minor == without + within + added


@given(lines)
def test_tax_is_rounded_once_per_rate_on_the_sum_of_its_lines(found: list[tuple[int, tuple[TaxRate, ...]]]) -> None:
    for total in tax_totals(found):
        exact = Fraction(0)
        for amount, rates in found:
            if total.rate in rates:
                contained = sum(Fraction(rate.percent) for rate in rates if rate.inclusive)
                exact += amount / (1 + contained / 100) * Fraction(total.rate.percent) / 100
        assert abs(total.tax_minor - exact) <= Fraction(1, 2)


@given(st.lists(minors, min_size=1, max_size=8), percents)
def test_the_order_and_the_cut_of_lines_do_not_matter(amounts: list[int], percent: str) -> None:
    rate = TaxRate("VAT", percent)
    at_once = tax_totals([(sum(amounts), [rate])])
    assert tax_totals([(amount, [rate]) for amount in amounts]) == at_once
    assert tax_totals([(amount, [rate]) for amount in reversed(amounts)]) == at_once


@given(st.lists(minors, min_size=1, max_size=8), percents)
def test_an_inclusive_price_contains_its_tax_to_the_cent(amounts: list[int], percent: str) -> None:
    rate = TaxRate("VAT", percent, inclusive=True)
    (total,) = tax_totals([(amount, [rate]) for amount in amounts])
    assert total.taxable_minor + total.tax_minor == sum(amounts)


def test_where_net_and_tax_both_end_in_half_a_cent_only_the_tax_is_rounded_up() -> None:
    (total,) = tax_totals([(3, [TaxRate("VAT", "100", inclusive=True)])])
    assert (total.taxable_minor, total.tax_minor) == (1, 2)


@given(st.integers(0, 10**9), st.sampled_from(["5", "7", "19", "20", "25", "8.875"]))
def test_taking_the_tax_out_of_a_price_undoes_putting_it_on(net: int, percent: str) -> None:
    (outside,) = tax_totals([(net, [TaxRate("VAT", percent)])])
    (inside,) = tax_totals([(net + outside.tax_minor, [TaxRate("VAT", percent, inclusive=True)])])
    assert (inside.taxable_minor, inside.tax_minor) == (net, outside.tax_minor)


@given(lines)
def test_the_credit_of_everything_is_the_mirror_of_the_invoice(found: list[tuple[int, tuple[TaxRate, ...]]]) -> None:
    mirrored = tax_totals([(-amount, rates) for amount, rates in found])
    assert [(-total.taxable_minor, -total.tax_minor) for total in mirrored] == [
        (total.taxable_minor, total.tax_minor) for total in tax_totals(found)
    ]


@given(st.lists(minors, min_size=1, max_size=8), minors)
def test_crediting_in_parts_gives_back_exactly_the_tax(amounts: list[int], tax_minor: int) -> None:
    whole = sum(amounts)
    before = [0, *itertools.accumulate(amounts)]
    parts = [credited_tax(tax_minor, whole, done, now) for done, now in zip(before, amounts, strict=False)]
    assert sum(parts) == (tax_minor if whole else 0)


def test_several_rates_add_up_and_do_not_compound() -> None:
    assert [(total.taxable_minor, total.tax_minor) for total in tax_totals([(10_000, [VAT, CITY])])] == [
        (10_000, 2000),
        (10_000, 150),
    ]
    (city, vat) = tax_totals([(12_050, [IN_CITY, IN_VAT])])
    assert (city.tax_minor, vat.tax_minor, city.taxable_minor) == (150, 1900, 10_000)


def test_lines_without_a_rate_have_no_tax_total() -> None:
    assert tax_totals([(500, [])]) == ()
    assert invoice_totals([(500, [])], ()) == (500, 0, 500)


def test_rates_that_cannot_stand_on_one_line_are_refused() -> None:
    with pytest.raises(BadInput, match="inclusive and exclusive"):
        tax_totals([(100, [VAT, IN_VAT])])
    with pytest.raises(BadInput, match="twice"):
        tax_totals([(100, [VAT, VAT])])


@pytest.mark.parametrize(
    ("percent", "category", "message"),
    [
        ("20", "Z", "does not go with"),
        ("0", "S", "does not go with"),
        ("5", "Q", "not known"),
        ("101", "S", "too large"),
        ("-1", "S", "too small"),
        ("1e1", "S", "not a decimal"),
        (20.0, "S", "float"),
    ],
)
def test_a_rate_must_make_sense(percent: str, category: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        TaxRate("VAT", percent, category)


# --- Which rates
# -----------------------------------------------------------------------------------------------------

BERLIN = Seller("de", "DE136695976")
RATES = [
    TaxRate("USt", "19", country="DE"),
    TaxRate("USt", "7", country="DE", product_class="book"),
    TaxRate("GST", "5", country="CA"),
    TaxRate("QST", "9.975", country="CA", region="QC"),
    TaxRate("HST", "13", country="CA", region="ON", replaces=True),
    TaxRate("TVA", "20", country="FR"),
]


def labels(buyer: Buyer, product_class: str = "", rates: list[TaxRate] = RATES, seller: Seller = BERLIN) -> list[str]:
    decision = taxes_for(rates, seller, buyer, product_class=product_class)
    return [decision.reason, *(f"{rate.label} {rate.percent} {rate.category}" for rate in decision.rates)]


def test_the_place_of_the_customer_decides_about_the_rates() -> None:
    assert labels(Buyer("DE")) == ["rated", "USt 19 S"]
    assert labels(Buyer("")) == ["rated", "USt 19 S"], "an unknown place is the seller's"
    assert labels(Buyer("DE"), "book") == ["rated", "USt 7 S"]
    assert labels(Buyer("DE"), "software") == ["rated", "USt 19 S"]
    assert labels(Buyer("fr")) == ["rated", "TVA 20 S"]
    assert labels(Buyer("AT")) == ["rated", "USt 19 S"], "no rate for Austria is set up"


def test_a_regions_rates_come_on_top_or_in_place() -> None:
    assert labels(Buyer("CA")) == ["rated", "GST 5 S"]
    assert labels(Buyer("CA", "QC")) == ["rated", "GST 5 S", "QST 9.975 S"]
    assert labels(Buyer("CA", "on")) == ["rated", "HST 13 S"]


def test_reverse_charge_needs_two_members_and_two_vat_numbers_of_which_the_customers_is_right() -> None:
    assert labels(Buyer("FR", vat_number="FR 83 404 833 048")) == ["reverse_charge", "Reverse charge 0 AE"]
    assert labels(Buyer("GR", vat_number="GR 094259216")) == ["reverse_charge", "Reverse charge 0 AE"]
    for buyer in (
        Buyer("FR", vat_number="FR84404833048"),
        Buyer("FR", vat_number="DE136695976"),
        Buyer("DE", vat_number="DE136695976"),
        Buyer("FR"),
    ):
        assert labels(buyer)[0] == "rated"
    assert labels(Buyer("FR", vat_number="FR83404833048"), seller=Seller("DE"))[0] == "rated"
    decision = taxes_for(RATES, BERLIN, Buyer("FR", vat_number="FR83404833048"))
    assert "Reverse charge" in decision.note


def test_a_customer_outside_the_eu_is_outside_the_scope_of_a_seller_within() -> None:
    assert labels(Buyer("US")) == ["outside_scope", "Outside scope 0 O"]
    default = tax.default_rate("20")
    assert labels(Buyer("US"), rates=[default])[0] == "outside_scope"
    assert labels(Buyer("US"), rates=[default], seller=Seller()) == ["rated", "Tax 20 S"]
    assert labels(Buyer("US"), rates=[default], seller=Seller("CH")) == ["rated", "Tax 20 S"]


def test_the_customers_own_and_explicit_rates_stand_before_all_but_exemption() -> None:
    own = TaxRate("Own", "8")
    line = TaxRate("Line", "5")
    assert taxes_for(RATES, BERLIN, Buyer("DE", rates=(own,))).rates == (own,)
    assert taxes_for(RATES, BERLIN, Buyer("DE", rates=(own,)), explicit=[line]).rates == (line,)
    exempt = taxes_for(RATES, BERLIN, Buyer("DE", exempt=True, exempt_reason="Embassy", rates=(own,)), explicit=[line])
    assert (exempt.reason, exempt.note, exempt.rates[0].category) == ("exempt", "Embassy", "E")


def test_each_zero_has_its_reason_its_category_and_a_note() -> None:
    nothing = taxes_for([], Seller(), Buyer())
    assert (nothing.reason, nothing.rates[0].category, nothing.note) == ("no_rate_set", "O", "No tax rate is set")
    zero = taxes_for([TaxRate("VAT", "0", "Z", note="Books are zero rated")], Seller(), Buyer())
    assert (zero.reason, zero.note) == ("zero_rated", "Books are zero rated")
    assert (
        labels(Buyer("DE"), "food", rates=[TaxRate("USt", "7", country="DE", product_class="book")])[0] == "no_rate_set"
    )


buyers = st.builds(
    Buyer,
    country=st.sampled_from(["", "DE", "FR", "AT", "CA", "US"]),
    region=st.sampled_from(["", "QC", "ON"]),
    vat_number=st.sampled_from(["", "FR83404833048", "rubbish", "DE136695976"]),
    exempt=st.booleans(),
)


@given(buyers, st.sampled_from([BERLIN, Seller(), Seller("US")]), st.sampled_from(["", "book"]), st.booleans())
def test_there_is_always_an_answer_and_zero_is_never_without_a_reason(
    buyer: Buyer, seller: Seller, product_class: str, default: bool
) -> None:
    rates = [*RATES, tax.default_rate("10")] if default else RATES
    decision = taxes_for(rates, seller, buyer, product_class=product_class)
    assert decision.rates
    charged = sum(rate.percent for rate in decision.rates)
    assert (decision.reason == "rated") == (charged > 0)
    assert charged or decision.note
    assert tax_totals([(1000, decision.rates)])[0].taxable_minor == 1000


def test_the_default_rate_is_a_zero_rate_when_it_is_zero() -> None:
    assert tax.default_rate("0").category == "Z"
    assert tax.default_rate("8.875").category == "S"


@pytest.mark.parametrize(
    ("number", "country", "compact"),
    [
        ("DE 136.695 976", "DE", "DE136695976"),
        ("136695976", "DE", None),
        ("EL 094259216", "GR", "EL094259216"),
        ("GR094259216", "GR", "EL094259216"),
        ("XI 980780684", "GB", "XI 980780684"),
        ("XI980780684", "IE", None),
        ("GB 980  7806 84 ", "GB", "GB 980 7806 84"),
        ("GB 980 7806 85", "GB", None),
        ("", "DE", None),
        ("'; DROP TABLE", "DE", None),
        ("12-3456789", "US", "12-3456789"),
        ("", "US", None),
        ("CHE-107.787.577 IVA", "CH", "CHE-107.787.577 IVA"),
        ("x", "../", "x"),
    ],
)
def test_vat_numbers_are_checked_and_brought_into_one_form(number: str, country: str, compact: str | None) -> None:
    assert tax.is_vat_number(number, country) == (compact is not None)
    if compact is None:
        with pytest.raises(BadInput, match="not a VAT number"):
            tax.check_vat_number(number, country)
    else:
        assert tax.check_vat_number(number, country) == compact
