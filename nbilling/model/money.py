"""Money: integer minor units and an ISO 4217 currency. No float, ever.

An amount is an ``int`` of minor units (cents for USD, yen for JPY, fils for KWD) next to its currency code. A unit
price or a rate is a ``Decimal`` of currency units (``Decimal('0.0001')`` dollars), since it may be far below a
cent. Results of rating are ``Fraction`` of currency units until their one rounding
(``rules.pricing.amount_minor``).

Rounding is half away from zero everywhere, so that the rounding of ``-x`` is the negative of the rounding of ``x``
and a reversal cancels to exactly zero.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from nbilling.model.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

MAX_MINOR = 2**63 - 1  # what a SQLite INTEGER holds
UNIT_PRICE_PLACES = 12
_MAX_DIGITS = 60  # longer than any amount or price; keeps int() away from megabytes of digits


class Currency(NamedTuple):
    """One currency. ``exponent``: decimals of its minor unit by ISO 4217.

    ``stripe_exponent``: decimals of the integers that Stripe's API takes, and ``stripe_step``: what they must be a
    multiple of. Neither follows from ISO (docs.stripe.com/currencies): MGA has no decimals there; ISK and UGX are
    written with two that must be 00; three-decimal amounts must end in 0. HUF and TWD are charged with two
    decimals, only *payouts* of them must be whole.
    """

    code: str
    exponent: int
    stripe_exponent: int
    stripe_step: int = 1


# ISO 4217, list one, as of 1 January 2026 (BGN and ANG are gone, XCG is in). No metals, test codes or units without
# a minor unit.
_CODES_BY_EXPONENT = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF "
    "CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL "
    "HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU "
    "MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR "
    "SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED "
    "VES WST XAD XCD XCG YER ZAR ZMW ZWG",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
# code: (stripe_exponent, stripe_step)
_STRIPE_SPECIAL = dict.fromkeys(("BHD", "JOD", "KWD", "OMR", "TND"), (3, 10)) | {
    "MGA": (0, 1),
    "ISK": (2, 100),
    "UGX": (2, 100),
}


def _table() -> dict[str, Currency]:
    table = {}
    for exponent, codes in _CODES_BY_EXPONENT.items():
        for code in codes.split():
            table[code] = Currency(code, exponent, *_STRIPE_SPECIAL.get(code, (exponent, 1)))
    return table


CURRENCIES = _table()


def currency(code: str) -> Currency:
    """The currency of an upper- or lower-case ISO 4217 code; ``BadInput`` for anything else."""
    if isinstance(code, str):
        known = CURRENCIES.get(code) or (CURRENCIES.get(code.upper()) if code.isascii() else None)
        if known is not None:
            return known
    raise BadInput(f"unknown currency {shown(code)}", hint="give a three-letter ISO 4217 code such as USD, EUR or JPY")


def round_half_away(x: Fraction | Decimal | int) -> int:
    """The nearest integer, halves away from zero. Exact: no context precision; ``TypeError`` for a float."""
    numerator, denominator = _ratio(x)
    rounded = (2 * abs(numerator) + denominator) // (2 * denominator)
    return -rounded if numerator < 0 else rounded


def parse_amount(text: object, code: str) -> int:
    """Currency units (``'29'``, ``'29.00'``, ``29``, ``Decimal('29')``) to minor units (``2900`` for USD).

    A text with more decimals than the currency has is refused even when they are zeros: ``'29.000'`` is twenty-nine
    thousand in half of the world. A ``Decimal`` is a value, not a spelling, and need only be exact. ``BadInput``
    for everything that is not plain ASCII digits, for floats, and beyond what 64 bits hold.
    """
    money = currency(code)
    value = parse_decimal(text, places=money.exponent, what=f"{money.code} amount")
    numerator, denominator = value.as_integer_ratio()
    return check_minor(numerator * 10**money.exponent // denominator, money.code)


def check_minor(minor: int, code: str) -> int:
    """``minor`` itself if the ledger can hold it, else ``BadInput``."""
    if not -MAX_MINOR <= minor <= MAX_MINOR:
        raise BadInput(
            f"{code.upper()} amount out of range",
            hint=f"amounts lie between -{format_amount(MAX_MINOR, code)} and {format_amount(MAX_MINOR, code)}",
        )
    return minor


def format_amount(minor: int, code: str) -> str:
    """Minor units as plain decimal text in currency units, not localised: ``'29.00'``, ``'-0.05'``, JPY ``'29'``."""
    exponent = currency(code).exponent
    if not exponent:
        return str(minor)
    digits = str(abs(minor)).rjust(exponent + 1, "0")
    return f"{'-' if minor < 0 else ''}{digits[:-exponent]}.{digits[-exponent:]}"


def parse_decimal(
    text: object,
    *,
    places: int,
    minimum: int | Decimal | None = None,
    maximum: int | Decimal | None = None,
    what: str = "amount",
) -> Decimal:
    """An exact decimal of at most ``places`` decimals within inclusive bounds; else ``BadInput``.

    Text is a ``-`` or nothing, ASCII digits, and a point with more digits or nothing: ``'1e3'``, ``'+5'``, ``'
    5'``, ``'5.'``, ``'.5'``, ``'1_000'``, ``'1,5'``, full-width digits, NaN, infinities, booleans and floats are
    refused. ``what`` names the value in the message.
    """
    if isinstance(text, str):
        value = _decimal_of_text(text, what)
        decimals = len(text.partition(".")[2])
    elif (isinstance(text, int) and not isinstance(text, bool)) or isinstance(text, Decimal):
        value = _decimal_of_number(text, what)
        decimals = _decimals(value)
    else:
        raise BadInput(
            f"{what} cannot be {shown(text)}, a {type(text).__name__}", hint="write it as text, for example '12.50'"
        )
    if decimals > places:
        allowed = f"at most {places} decimals" if places else "no decimals"
        raise BadInput(f"{what} {shown(text)} has too many decimals", hint=f"{allowed} here")
    if minimum is not None and value < minimum:
        raise BadInput(f"{what} {shown(text)} is too small", hint=f"the least is {minimum}")
    if maximum is not None and value > maximum:
        raise BadInput(f"{what} {shown(text)} is too large", hint=f"the most is {maximum}")
    return value


def parse_unit_price(text: object, *, what: str = "unit price") -> Decimal:
    """A price of one unit in currency units: at least 0, at most 12 decimals, exact; else ``BadInput``."""
    return parse_decimal(text, places=UNIT_PRICE_PLACES, minimum=0, what=what)


def format_decimal(value: Decimal) -> str:
    """The shortest plain spelling: ``'0.0001'``, ``'100'``, never an exponent or trailing zeros. Exact."""
    text = format(value or Decimal(0), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def allocate(total_minor: int, weights: Sequence[int | Fraction]) -> list[int]:
    """Shares of ``total_minor`` in proportion to ``weights``, by largest remainder: they add up to it exactly.

    Ties go to the earlier place. Shares of ``-total`` are the negatives of the shares of ``total``; a weight of 0
    gets 0. ``BadInput`` for a negative weight, and for a total that nobody can take (no weights, or all 0).
    """
    ratios = [_ratio(weight) for weight in weights]
    if any(numerator < 0 for numerator, _ in ratios):
        raise BadInput("a share cannot have a negative weight", hint="give weights of 0 or more")
    common = math.lcm(*(denominator for _, denominator in ratios))
    whole = [numerator * (common // denominator) for numerator, denominator in ratios]
    size = sum(whole)
    if not size:
        if total_minor:
            raise BadInput(
                "an amount cannot be shared by weights that are all 0", hint="give at least one weight above 0"
            )
        return [0] * len(whole)
    magnitude = abs(total_minor)
    shares, remainders = [], []
    for weight in whole:
        share, remainder = divmod(magnitude * weight, size)
        shares.append(share)
        remainders.append(remainder)
    order = sorted(range(len(whole)), key=lambda place: -remainders[place])  # stable: ties stay in order
    for place in order[: magnitude - sum(shares)]:
        shares[place] += 1
    return [-share for share in shares] if total_minor < 0 else shares


def to_stripe(minor: int, code: str) -> int:
    """The integer that Stripe's API takes for an amount, rounded half away from zero where its grid is coarser.

    It is coarser only for MGA with a fraction and for the last digit of three-decimal amounts. Then
    ``from_stripe(to_stripe(x)) != x``, and the caller must not book the charge as payment in full.
    """
    money = currency(code)
    theirs: int = 10**money.stripe_exponent
    ours: int = 10**money.exponent * money.stripe_step
    steps = (2 * abs(minor) * theirs + ours) // (2 * ours)
    return (-steps if minor < 0 else steps) * money.stripe_step


def from_stripe(amount: int, code: str) -> int:
    """Minor units of an integer amount from Stripe; ``BadInput`` when it is finer than a minor unit (ISK 550)."""
    money = currency(code)
    ours: int = 10**money.exponent
    theirs: int = 10**money.stripe_exponent
    minor, rest = divmod(abs(amount) * ours, theirs)
    if rest:
        raise BadInput(
            f"{money.code} {amount} from Stripe is not a whole minor unit",
            hint="look at the object in Stripe's dashboard",
        )
    return -minor if amount < 0 else minor


def _ratio(x: Fraction | Decimal | int) -> tuple[int, int]:
    if isinstance(x, float):  # has as_integer_ratio too, and would pass unnoticed
        raise TypeError(f"a float has no place in money: {x!r}")
    return x.as_integer_ratio()


def _decimal_of_text(text: str, what: str) -> Decimal:
    whole, point, fraction = text.removeprefix("-").partition(".")
    if not (text.isascii() and whole.isdigit() and (fraction.isdigit() or not point)):
        raise BadInput(
            f"{what} {shown(text)} is not a decimal number", hint="use digits and a point, for example 12.50"
        )
    if len(text) > _MAX_DIGITS:
        raise BadInput(f"{what} {shown(text)} is too long", hint=f"at most {_MAX_DIGITS} characters")
    return Decimal(text) or Decimal(0)  # never minus zero


def _decimal_of_number(number: int | Decimal, what: str) -> Decimal:
    if isinstance(number, Decimal):
        if not number.is_finite():
            raise BadInput(f"{what} {shown(number)} is not a decimal number", hint="give a finite number")
        too_long = len(number.as_tuple().digits) > _MAX_DIGITS or abs(number.adjusted()) > _MAX_DIGITS
    else:
        too_long = abs(number) >= 10**_MAX_DIGITS
    if too_long and number:
        raise BadInput(f"{what} has too many digits", hint=f"at most {_MAX_DIGITS}")
    return Decimal(number) or Decimal(0)


def _decimals(value: Decimal) -> int:
    """Decimals that the value needs, whatever its spelling: 2 for 1.50, 0 for 1E+3."""
    text = format_decimal(value)
    return len(text.partition(".")[2])


def shown(value: object) -> str:
    """A value of any kind for a one-line error message: cut short, control and odd characters escaped."""
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else f"{value[:36]}...")
    if isinstance(value, int) and value.bit_length() > 256:
        return "a very large number"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}..."
