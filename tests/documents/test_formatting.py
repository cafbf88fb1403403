"""Amounts, numbers and dates in the customer's locale, exact to the last digit."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.documents.formatting import Formatter, printable
from nbilling.model.errors import BadInput

LOCALES = ["en", "en_GB", "de", "de_AT", "fr", "es", "hi_IN", "ja", "pl", "sv"]


def plain(text: str) -> str:
    """No-break spaces as spaces, so that the cases below can be read."""
    return re.sub(r"[\u00a0\u202f]", " ", text)


@pytest.mark.parametrize(
    ("locale", "currency", "exponent", "minor", "shown"),
    [
        ("en", "USD", 2, 123456, "$1,234.56"),
        ("en", "USD", 2, -550, "-$5.50"),
        ("de", "EUR", 2, 123456, "1.234,56 €"),
        ("fr", "EUR", 2, 123456, "1 234,56 €"),
        ("es", "EUR", 2, 123456789, "1.234.567,89 €"),
        ("hi_IN", "INR", 2, 123456789, "₹12,34,567.89"),
        ("ja", "JPY", 0, 21705, "¥21,705"),
        ("en", "JPY", 0, 1, "¥1"),
        ("en", "KWD", 3, 117389, "KWD 117.389"),
        ("de", "KWD", 3, 117389, "117,389 KWD"),
        ("en", "CLF", 4, 12345, "CLF 1.2345"),
        # CLDR shows no decimals for these; ISO 4217 says that their minor unit has them.
        ("en", "RSD", 2, 123456, "RSD 1,234.56"),
        ("en", "IQD", 3, 1234567, "IQD 1,234.567"),
    ],
)
def test_money_has_the_decimals_of_the_exponent_in_the_form_of_the_locale(
    locale, currency, exponent, minor, shown
) -> None:
    assert plain(Formatter(locale, currency, exponent).money(minor)).replace("\uffe5", "¥") == shown


@given(st.sampled_from(LOCALES), st.integers(0, 4), st.integers(-(2**63), 2**63 - 1))
def test_an_amount_reads_back_as_the_same_minor_units(locale: str, exponent: int, minor: int) -> None:
    formatter = Formatter(locale, "EUR", exponent)
    for shown in (formatter.amount(minor), formatter.money(minor)):
        digits = re.sub(r"[^\d]", "", shown)
        assert int(digits) == abs(minor)
        assert len(digits) > exponent
        assert any(sign in shown for sign in "-−") == (minor < 0)


@given(
    st.sampled_from(LOCALES),
    st.decimals(min_value=0, max_value=10**30, allow_nan=False, allow_infinity=False, places=12),
)
def test_a_quantity_and_a_unit_price_keep_every_digit(locale: str, value: Decimal) -> None:
    formatter = Formatter(locale, "EUR", 2)
    for shown in (formatter.number(value), formatter.unit_price(value)):
        whole, _, parts = shown.partition(formatter.decimal_mark())
        assert Decimal(f"{re.sub('[^0-9]', '', whole)}.{parts or 0}") == value


@pytest.mark.parametrize(
    ("value", "shown"),
    [("0.0001", "0.0001"), ("29", "29.00"), ("29.5", "29.50"), ("1234.000", "1,234.00"), ("1E-12", "0.000000000001")],
)
def test_a_unit_price_below_a_cent_is_shown_exactly_and_others_with_the_cents(value: str, shown: str) -> None:
    assert Formatter("en", "USD", 2).unit_price(Decimal(value)) == shown


@pytest.mark.parametrize(("value", "shown"), [("18021", "18,021"), ("5.000", "5"), ("0", "0"), ("1E+3", "1,000")])
def test_a_quantity_has_separators_and_no_idle_zeros(value: str, shown: str) -> None:
    assert Formatter("en", "USD", 2).number(Decimal(value)) == shown


@pytest.mark.parametrize(
    ("locale", "rate", "shown"),
    [("en", "7.25", "7.25%"), ("de", "19", "19 %"), ("fr", "5.5", "5,5 %"), ("en", "0", "0%")],
)
def test_a_rate_is_shown_exactly(locale: str, rate: str, shown: str) -> None:
    assert plain(Formatter(locale, "EUR", 2).percent(Decimal(rate))) == shown


@pytest.mark.parametrize(
    ("locale", "shown"),
    [
        ("en_US", "Mar 1 – 31, 2026"),
        ("en_GB", "1–31 Mar 2026"),
        ("de", "1.–31. März 2026"),
        ("fr", "1–31 mars 2026"),
        ("es", "1–31 mar 2026"),
    ],
)
def test_a_period_is_told_with_its_last_day_in_it(locale: str, shown: str) -> None:
    told = Formatter(locale, "EUR", 2).period(date(2026, 3, 1), date(2026, 4, 1))
    assert re.sub(r"\s+", " ", told) == shown


def test_a_period_of_one_day_is_that_day() -> None:
    assert Formatter("en_GB", "EUR", 2).period(date(2026, 3, 1), date(2026, 3, 2)) == "1 Mar 2026"


def test_a_country_code_becomes_a_name_in_the_language_of_the_reader() -> None:
    assert Formatter("de", "EUR", 2).country("GB") == "Vereinigtes Königreich"
    assert Formatter("fr", "EUR", 2).country("de") == "Allemagne"
    assert Formatter("en", "EUR", 2).country("Atlantis") == "Atlantis"
    assert Formatter("en", "EUR", 2).country("QQ") == "QQ"


@pytest.mark.parametrize("locale", ["xx", "zz_ZZ", "en_GB_x_y_z_1"])
def test_an_unknown_locale_is_refused_with_examples(locale: str) -> None:
    with pytest.raises(BadInput, match="unknown locale") as caught:
        Formatter(locale, "EUR", 2)
    assert "de_AT" in caught.value.hint


def test_both_spellings_of_a_locale_are_understood() -> None:
    assert Formatter("de-AT", "EUR", 2).amount(123456) == Formatter("de_AT", "EUR", 2).amount(123456)


def test_text_loses_what_cannot_be_printed_and_what_would_reorder_its_surroundings() -> None:
    assert printable("a\0b\x07c\x1bd\x85e\x7ff") == "abcdef"
    assert printable("pay \u202e00.1\u202c \u2066now\u2069") == "pay 00.1 now"
    assert printable("lone \ud800 half, \uffff none") == "lone \ufffd half, \ufffd none"
    assert printable("one\u2028two\rthree\nfour\tfive") == "one\ntwo\nthree\nfour\tfive"


@pytest.mark.parametrize("text", ["Müller & Söhne", "東京都", "شركة المستقبل", "👩‍👩‍👧 family", "e\u0301"])
def test_text_of_any_script_stays_as_it_is(text: str) -> None:
    assert printable(text) == text
