"""Texts of lines: every language has every text, and figures are rounded and separated as it does."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.rules.line_texts import LANGUAGES, decimal_text, meter_label, quantity_text, texts_for, usage_detail

ENGLISH = LANGUAGES["en"]


def test_every_language_has_every_text_with_the_same_places() -> None:
    for texts in LANGUAGES.values():
        for field in ("fee", "days", "used", "average", "included", "late"):
            wanted = {part for part in ("{plan}", "{part}", "{whole}", "{quantity}", "{name}", "{first}", "{last}")
                      if part in getattr(ENGLISH, field)}  # fmt: skip
            assert all(place in getattr(texts, field) for place in wanted), field
    german, french = LANGUAGES["de"], LANGUAGES["fr"]
    assert set(german.meters) == set(french.meters) == set(LANGUAGES["es"].meters)


def test_a_locale_finds_its_language_and_an_unknown_one_english() -> None:
    assert texts_for("de_AT") is LANGUAGES["de"]
    assert texts_for("FR") is LANGUAGES["fr"]
    assert texts_for("xx") is ENGLISH


@pytest.mark.parametrize(
    ("amount", "unit", "scale", "expected"),
    [
        (28_021, "requests", 0, "28,021 requests"),
        (1, "requests", 0, "1 request"),
        (2**30, "bytes", 0, "1 GB"),
        (17_540_769_234, "bytes", 0, "16.336 GB"),
        (999_999, "bytes", 0, "999,999 bytes"),
        (3_600_000_000, "seconds", 6, "1 hour"),
        (1_500_000, "seconds", 6, "1.5 seconds"),
        (-5_400_000_000, "seconds", 6, "-1.5 hours"),
        (0, "tokens", 3, "0 tokens"),
    ],
)
def test_quantities_read_well(amount: int, unit: str, scale: int, expected: str) -> None:
    assert quantity_text(Fraction(amount), unit, scale, ENGLISH) == expected


def test_other_languages_separate_their_own_way() -> None:
    assert decimal_text(Fraction(1_234_567, 100), 2, LANGUAGES["de"]) == "12.345,67"
    assert decimal_text(Fraction(1_234_567, 100), 2, LANGUAGES["fr"]) == "12\u202f345,67"
    detail = usage_detail(
        Fraction(28_021), Fraction(10_000), "requests", 0, gauge=False, allowance="limit", texts=LANGUAGES["de"]
    )
    assert detail == "28.021 Aufrufe genutzt, 10.000 Aufrufe enthalten"
    assert meter_label("own_meter", LANGUAGES["de"]) == "Own meter"


@given(st.fractions(), st.integers(0, 6))
def test_a_decimal_is_within_half_of_its_last_place(value: Fraction, places: int) -> None:
    text = decimal_text(value, places).replace(",", "")
    assert abs(Fraction(text) - value) <= Fraction(1, 2 * 10**places)
