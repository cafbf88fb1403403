from __future__ import annotations

import string
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model import money
from nbilling.model.errors import BadInput

codes = st.sampled_from(sorted(money.CURRENCIES))
minors = st.integers(-money.MAX_MINOR, money.MAX_MINOR)
weights = st.lists(st.integers(0, 10**12) | st.fractions(0, 1000), min_size=1, max_size=12).filter(any)


def test_the_iso_table_is_the_one_that_the_iso_package_publishes() -> None:
    iso4217 = pytest.importorskip("iso4217", reason="the public copy of ISO 4217 is not installed")
    published = {unit.code: unit.exponent for unit in iso4217.Currency if unit.exponent is not None}
    assert {code: unit.exponent for code, unit in money.CURRENCIES.items()} == published


def test_every_currency_that_cldr_gives_to_a_country_is_known_with_its_decimals_or_shown_without() -> None:
    core = pytest.importorskip("babel.core", reason="Babel is not installed")
    numbers = pytest.importorskip("babel.numbers", reason="Babel is not installed")
    in_use = {
        code
        for periods in core.get_global("territory_currencies").values()
        for code, _start, end, tender in periods
        if end is None and tender
    }
    assert len(in_use) > 140
    assert not {code for code in in_use if code not in money.CURRENCIES} - {"BGN", "ANG"}
    for code in in_use & set(money.CURRENCIES):
        shown = numbers.get_currency_precision(code)
        assert shown == money.currency(code).exponent or shown == 0, code


def test_currencies_are_found_in_either_case_and_nothing_else_is() -> None:
    assert money.currency("usd") == money.currency("USD") == money.Currency("USD", 2, 2, 1)
    assert [money.currency(code).exponent for code in ("JPY", "EUR", "KWD", "CLF")] == [0, 2, 3, 4]
    for wrong in ("", "US", "USDX", "XAU", "XXX", "\uff35SD", "u\u017fd", 7, None, 10**5000):
        with pytest.raises(BadInput, match="unknown currency"):
            money.currency(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "code", "minor"),
    [
        ("29", "USD", 2900),
        ("29.00", "USD", 2900),
        ("29.5", "USD", 2950),
        ("-0.05", "EUR", -5),
        ("-0.00", "EUR", 0),
        ("007", "EUR", 700),
        ("29", "JPY", 29),
        ("1.005", "KWD", 1005),
        ("92233720368547758.07", "USD", 2**63 - 1),
        (29, "USD", 2900),
        (Decimal("29.000"), "USD", 2900),
        (Decimal("1E+3"), "JPY", 1000),
    ],
)
def test_amounts_are_read_exactly(text: str | int | Decimal, code: str, minor: int) -> None:
    assert money.parse_amount(text, code) == minor


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            "",
            " ",
            "1e3",
            "NaN",
            "nan",
            "Infinity",
            "\uff11\uff12",
            "\u0663",
            "1_000",
            "1,50",
            "+-",
            "+5",
            "--1",
            "-",
            ".",
        ),
        *(" 1", "1 ", "1\n", "5.", ".5", "1.2.3", "0x10", "29.001", "29.000", "9" * 30, "9" * 10_000, "$5", "\u00b2"),
        *(1.5, float("nan"), True, None, b"1", [], Decimal("NaN"), Decimal("Infinity"), Decimal("0.001")),
        *(Decimal("1E+999999999"), Decimal("1E-999999999"), 10**5000, Fraction(1, 2), Decimal(2**63)),
    ],
    ids=lambda value: ascii(value)[:20] if not isinstance(value, int) else "int",
)
def test_what_is_not_a_plain_amount_is_refused_in_one_line_with_a_hint(wrong: object) -> None:
    with pytest.raises(BadInput) as refused:
        money.parse_amount(wrong, "USD")  # type: ignore[arg-type]
    assert refused.value.hint
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 200


def test_decimals_beyond_the_currency_are_refused_even_as_zeros_since_a_point_may_part_thousands() -> None:
    for text, code in (("29.000", "USD"), ("29.0", "JPY"), ("1.0050", "KWD")):
        with pytest.raises(BadInput, match="too many decimals"):
            money.parse_amount(text, code)


@given(minors, codes)
def test_what_is_written_is_read_back(minor: int, code: str) -> None:
    assert money.parse_amount(money.format_amount(minor, code), code) == minor


@given(st.text(alphabet=string.digits + "+-._eE ,xN\u0661\uff12", max_size=12), codes)
def test_text_is_either_refused_or_means_what_decimal_says(text: str, code: str) -> None:
    try:
        minor = money.parse_amount(text, code)
    except BadInput:
        return
    assert text.isascii()
    assert not set(text) & set("eE_+ ,xN")
    assert Decimal(minor).scaleb(-money.currency(code).exponent) == Decimal(text)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=0, max_value=10**12))
def test_unit_prices_survive_being_written_and_read(price: Decimal) -> None:
    assert money.parse_unit_price(money.format_decimal(price)) == price
    assert "E" not in money.format_decimal(price)


def test_bounds_and_places_of_decimals_are_inclusive_and_named_in_the_message() -> None:
    assert money.parse_unit_price("0.000000000001") == Decimal("1E-12")
    assert money.parse_decimal("100", places=4, minimum=0, maximum=100) == 100
    assert str(money.parse_decimal("-0", places=0)) == "0"
    for text, message in (("-0.1", "too small"), ("100.1", "too large"), ("1.00001", "too many decimals")):
        with pytest.raises(BadInput, match=f"tax rate '{text}' is {message}|tax rate '{text}' has {message}"):
            money.parse_decimal(text, places=4, minimum=0, maximum=100, what="tax rate")
    with pytest.raises(BadInput, match="too many decimals"):
        money.parse_unit_price("0.0000000000001")


@pytest.mark.parametrize(
    ("x", "rounded"),
    [("0.5", 1), ("-0.5", -1), ("1.5", 2), ("2.5", 3), ("-2.5", -3), ("2.4999", 2), ("0", 0), ("3470004.5", 3470005)],
)
def test_halves_round_away_from_zero(x: str, rounded: int) -> None:
    assert money.round_half_away(Decimal(x)) == money.round_half_away(Fraction(x)) == rounded


@given(st.fractions(), st.integers(-(10**6), 10**6))
def test_rounding_is_symmetric_near_and_keeps_whole_numbers(x: Fraction, whole: int) -> None:
    assert money.round_half_away(-x) == -money.round_half_away(x)
    assert abs(money.round_half_away(x) - x) <= Fraction(1, 2)
    assert money.round_half_away(whole) == whole


def test_a_float_is_refused_where_it_would_pass_unnoticed() -> None:
    with pytest.raises(TypeError, match="float"):
        money.round_half_away(0.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="float"):
        money.allocate(1, [0.5, 0.5])  # type: ignore[list-item]


@given(minors, weights)
def test_shares_add_up_exactly_and_each_is_within_a_unit_of_its_part(total: int, parts: list[int | Fraction]) -> None:
    shares = money.allocate(total, parts)
    assert sum(shares) == total
    assert money.allocate(-total, parts) == [-share for share in shares]
    size = sum(Fraction(part) for part in parts)
    for share, part in zip(shares, parts, strict=True):
        assert abs(share - total * Fraction(part) / size) < 1
        assert part or not share


@given(minors, weights, st.integers(1, 1000))
def test_shares_depend_on_the_proportions_only(total: int, parts: list[int | Fraction], factor: int) -> None:
    assert money.allocate(total, parts) == money.allocate(total, [part * factor for part in parts])


def test_the_first_of_equals_gets_the_odd_cent() -> None:
    assert money.allocate(100, [1, 1, 1]) == [34, 33, 33]
    assert money.allocate(-100, [1, 1, 1]) == [-34, -33, -33]
    assert money.allocate(100, [Fraction(1, 3), Fraction(2, 3)]) == [33, 67]


def test_an_amount_that_nobody_can_take_is_refused_and_nothing_can_be_shared_by_nobody() -> None:
    assert money.allocate(0, []) == []
    assert money.allocate(0, [0, 0]) == [0, 0]
    for total, parts in ((1, []), (1, [0, 0]), (1, [2, -1])):
        with pytest.raises(BadInput):
            money.allocate(total, parts)


@pytest.mark.parametrize(
    ("minor", "code", "stripe"),
    [
        (1000, "USD", 1000),
        (500, "JPY", 500),
        (5, "ISK", 500),
        (-5, "UGX", -500),
        (100, "MGA", 1),
        (1045, "HUF", 1045),
        (80045, "TWD", 80045),
        (5120, "KWD", 5120),
    ],
)
def test_amounts_on_stripes_grid_go_there_and_back(minor: int, code: str, stripe: int) -> None:
    assert money.to_stripe(minor, code) == stripe
    assert money.from_stripe(stripe, code) == minor


@given(minors, codes)
def test_stripe_gets_the_nearest_amount_on_its_grid(minor: int, code: str) -> None:
    unit = money.currency(code)
    sent = money.to_stripe(minor, code)
    assert sent % unit.stripe_step == 0
    assert money.to_stripe(-minor, code) == -sent
    off = abs(Fraction(sent, 10**unit.stripe_exponent) - Fraction(minor, 10**unit.exponent))
    assert off <= Fraction(unit.stripe_step, 2 * 10**unit.stripe_exponent)
    if code not in ("MGA", "BHD", "JOD", "KWD", "OMR", "TND"):
        assert money.from_stripe(sent, code) == minor


def test_stripes_grid_is_coarser_for_three_decimals_and_ariary_and_finer_amounts_from_stripe_are_refused() -> None:
    assert [money.to_stripe(minor, "KWD") for minor in (5124, 5125, -5125)] == [5120, 5130, -5130]
    assert [money.to_stripe(minor, "MGA") for minor in (149, 150)] == [1, 2]
    with pytest.raises(BadInput, match="ISK 550"):
        money.from_stripe(550, "ISK")


def test_odd_values_in_messages_are_short_and_on_one_line() -> None:
    for value in ("a\nb", "\u2028", "x" * 500, 10**5000, Decimal("1" * 200), object(), "\ud800"):
        text = money.shown(value)
        assert len(text) <= 60
        assert text.isprintable()
