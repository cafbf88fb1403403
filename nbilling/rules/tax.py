"""Tax: which rates a line bears and why, and the totals of an invoice.

Tax is rounded **per rate, on the sum of the lines at that rate**, half away from zero, never per line (EN 16931,
BR-CO-17). Several rates on one line add up, they do not compound. Discounts come before tax. Amounts are minor
units.

Category codes are those of UNCL 5305 that EN 16931 allows: S standard, Z zero rated, E exempt, AE reverse charge, K
supply within the EU, G export, O outside the scope, L and M for the Canaries, Ceuta and Melilla.

This is arithmetic and the common rules, not tax advice: rates and the place of a supply are the seller's to set up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple, TypeAlias

import attrs

from nbilling.model.errors import BadInput
from nbilling.model.money import parse_decimal, round_half_away, shown

# EU members by ISO 3166 code. Their VAT numbers begin with it, Greece's with EL.
EU = frozenset("AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split())
TAXED = ("S", "L", "M")
UNTAXED = ("Z", "E", "AE", "K", "G", "O")

Reason: TypeAlias = Literal["rated", "zero_rated", "no_rate_set", "exempt", "reverse_charge", "outside_scope"]


def _percent(value: str | int | Decimal) -> Decimal:
    return parse_decimal(value, places=6, minimum=0, maximum=100, what="tax rate")


def _upper(value: str) -> str:
    return value.upper()


@attrs.frozen
class TaxRate:
    """One rate. ``country`` is ISO 3166 alpha-2, empty for the default of all that have no rate of their own.

    Rates of a ``region`` come on top of the country's (GST and QST), unless they ``replace`` them (HST). A rate
    with a ``product_class`` stands, for lines of that class, in place of those without one. ``inclusive``: prices
    contain it. ``note`` is printed on the invoice.
    """

    label: str
    percent: Decimal = attrs.field(converter=_percent)
    category: str = "S"
    country: str = attrs.field(default="", converter=_upper)
    region: str = attrs.field(default="", converter=_upper)
    product_class: str = ""
    inclusive: bool = False
    note: str = ""
    replaces: bool = False

    def __attrs_post_init__(self) -> None:
        if self.category not in TAXED + UNTAXED:
            hint = f"one of {', '.join(TAXED + UNTAXED)}"
            raise BadInput(f"tax category {shown(self.category)} is not known", hint=hint)
        if (self.category in TAXED) != bool(self.percent):
            raise BadInput(
                f"tax category {self.category} does not go with {self.percent} %",
                hint="use S for a rate above 0, Z for a rate of 0, E for exempt",
            )


def default_rate(percent: str | int | Decimal, *, label: str = "Tax", inclusive: bool = False) -> TaxRate:
    """The rate of ``BILLING_TAX_RATE`` (percent): for every customer that has no rate of its own or its country's."""
    rate = _percent(percent)
    return TaxRate(label, rate, "S" if rate else "Z", inclusive=inclusive)


@attrs.frozen
class Seller:
    """Where the seller is established, ISO 3166 alpha-2 (empty: unknown), and its VAT number."""

    country: str = attrs.field(default="", converter=_upper)
    vat_number: str = ""


@attrs.frozen
class Buyer:
    """What decides about a customer's tax. ``rates`` are its own, they stand before those of its place."""

    country: str = attrs.field(default="", converter=_upper)
    region: str = attrs.field(default="", converter=_upper)
    vat_number: str = ""
    exempt: bool = False
    exempt_reason: str = ""
    rates: tuple[TaxRate, ...] = ()


@attrs.frozen
class TaxDecision:
    """The rates of a line, why, and a note for the invoice. Where nothing is charged, one rate of 0 with its
    category.
    """

    rates: tuple[TaxRate, ...]
    reason: Reason
    note: str = ""


def taxes_for(
    rates: Sequence[TaxRate],
    seller: Seller,
    buyer: Buyer,
    *,
    product_class: str = "",
    explicit: Sequence[TaxRate] = (),
) -> TaxDecision:
    """The rates for one line. The first of these that applies decides:

    1. the customer is exempt 2. ``explicit`` rates of the line 3. the customer's own rates (case
    ``lago-oneoff-two-taxes``) 4. EU reverse charge: both in the EU, in different countries, both with a VAT number,
    the customer's a valid one of its country 5. the rates of the customer's country and region; within the EU,
    where there are none, those of the seller's country 6. outside the scope: the seller in the EU, the customer
    known to be elsewhere 7. the default rates, those without a country 8. no rate is set
    """
    if buyer.exempt:
        text = buyer.exempt_reason or "Exempt from tax"
        return TaxDecision((TaxRate("Exempt", 0, "E", note=text),), "exempt", text)
    if explicit or buyer.rates:
        return _decided(explicit or buyer.rates)
    if reverse_charge_applies(seller, buyer):
        text = "Reverse charge: VAT is to be paid by the recipient (Article 196 of Directive 2006/112/EC)"
        return TaxDecision((TaxRate("Reverse charge", 0, "AE", note=text),), "reverse_charge", text)
    place = buyer.country or seller.country
    local = _of_country(rates, place)
    if not local and seller.country in EU and place in EU:
        local = _of_country(rates, seller.country)
    if not local and seller.country in EU and place not in EU:
        text = "Not subject to VAT: supplied outside the EU (Articles 44, 58 and 59 of Directive 2006/112/EC)"
        return TaxDecision((TaxRate("Outside scope", 0, "O", note=text),), "outside_scope", text)
    chosen = _of_class(local or [rate for rate in rates if not rate.country], buyer.region, product_class)
    if not chosen:
        return TaxDecision((TaxRate("No tax", 0, "O", note="No tax rate is set"),), "no_rate_set", "No tax rate is set")
    return _decided(chosen)


def reverse_charge_applies(seller: Seller, buyer: Buyer) -> bool:
    """Whether the customer, and not the seller, owes the VAT of a service."""
    between_members = seller.country in EU and buyer.country in EU and seller.country != buyer.country
    return between_members and bool(seller.vat_number) and is_vat_number(buyer.vat_number, buyer.country)


def is_vat_number(number: str, country: str) -> bool:
    """Whether ``number`` is well formed, with right check digits, and of ``country``. Whether it is in use only
    VIES knows.
    """
    try:
        return bool(check_vat_number(number, country))
    except BadInput:
        return False


def check_vat_number(number: str, country: str) -> str:
    """The number in the form to keep and print; ``BadInput`` for a wrong one.

    Checked by python-stdnum. In the EU it gets capitals, its country's prefix and no blanks or dots; elsewhere it stays
    as written, and for a country without a check any text will do.
    """
    from stdnum import get_cc_module  # costs 43 ms, and few calls need it
    from stdnum.eu import vat
    from stdnum.exceptions import ValidationError

    code = country.upper()
    try:
        if code in EU:
            prefix = "EL" if code == "GR" else code
            compact = vat.compact(number)
            if compact.startswith(code):
                compact = prefix + compact[2:]
            if compact.startswith(prefix):
                return str(vat.validate(compact))
        else:
            module = get_cc_module(code.lower(), "vat") if len(code) == 2 and code.isascii() else None
            if module:
                module.validate(number)
            if number.strip():
                return " ".join(number.split())
    except ValidationError:
        pass
    raise BadInput(
        f"{shown(number)} is not a VAT number of {country or 'an unknown country'}",
        hint="check the number and the country",
    )


def _of_country(rates: Iterable[TaxRate], country: str) -> list[TaxRate]:
    return [rate for rate in rates if country and rate.country == country]


def _of_class(rates: Sequence[TaxRate], region: str, product_class: str) -> tuple[TaxRate, ...]:
    """The country's rates and the region's on top, each for the product class."""
    regional = _most_specific([rate for rate in rates if rate.region and rate.region == region], product_class)
    if any(rate.replaces for rate in regional):
        return regional
    return _most_specific([rate for rate in rates if not rate.region], product_class) + regional


def _most_specific(rates: Sequence[TaxRate], product_class: str) -> tuple[TaxRate, ...]:
    for_class = tuple(rate for rate in rates if rate.product_class and rate.product_class == product_class)
    return for_class or tuple(rate for rate in rates if not rate.product_class)


def _decided(rates: Sequence[TaxRate]) -> TaxDecision:
    charged = any(rate.percent for rate in rates)
    note = "; ".join(dict.fromkeys(rate.note for rate in rates if rate.note))
    return TaxDecision(tuple(rates), "rated" if charged else "zero_rated", note)


class TaxTotal(NamedTuple):
    """The tax of one rate: what it is taken on, without the tax, and the tax. Minor units."""

    rate: TaxRate
    taxable_minor: int
    tax_minor: int


class Totals(NamedTuple):
    """An invoice's sums in minor units: ``net_minor + tax_minor == total_minor``."""

    net_minor: int
    tax_minor: int
    total_minor: int


TaxedLine: TypeAlias = tuple[int, Sequence[TaxRate]]


def tax_totals(lines: Iterable[TaxedLine]) -> tuple[TaxTotal, ...]:
    """Per rate, in order of appearance, the tax on the sum of its lines.

    A line is its amount after discounts and its rates, all inclusive or all exclusive. The amount of an inclusive
    line contains its taxes: for a rate that is the only one of all its lines, ``taxable_minor + tax_minor`` is
    exactly what they add up to.
    """
    bases: dict[TaxRate, Fraction] = {}
    gross: dict[TaxRate, int] = {}
    shared: set[TaxRate] = set()
    for amount_minor, rates in lines:
        _check_rates(rates)
        base = Fraction(amount_minor)
        if rates and rates[0].inclusive:
            base /= 1 + sum((Fraction(rate.percent) for rate in rates), Fraction(0)) / 100
        for rate in rates:
            bases[rate] = bases.get(rate, Fraction(0)) + base
            gross[rate] = gross.get(rate, 0) + amount_minor
        if len(rates) > 1:
            shared.update(rates)
    totals = []
    for rate, base in bases.items():
        tax_minor = round_half_away(base * Fraction(rate.percent) / 100)
        alone = rate.inclusive and rate not in shared
        totals.append(TaxTotal(rate, gross[rate] - tax_minor if alone else round_half_away(base), tax_minor))
    return tuple(totals)


def invoice_totals(lines: Iterable[TaxedLine], totals: Iterable[TaxTotal]) -> Totals:
    """The sums of an invoice from its lines after discounts and their ``tax_totals``."""
    taxes = list(totals)
    amounts = sum(amount_minor for amount_minor, _ in lines)
    total = amounts + sum(tax.tax_minor for tax in taxes if not tax.rate.inclusive)
    tax_minor = sum(tax.tax_minor for tax in taxes)
    return Totals(total - tax_minor, tax_minor, total)


def credited_tax(tax_minor: int, whole_minor: int, before_minor: int, now_minor: int) -> int:
    """The tax that goes back with ``now_minor`` of ``whole_minor`` when ``before_minor`` of it was credited already.

    Rounded on the running sum, so that the parts add up to ``tax_minor`` however the whole is cut: crediting all of
    an invoice leaves exactly zero (case ``lago-credit-note-rounding-2x6833``). For inclusive rates hand in amounts
    with tax, else without.
    """
    if not whole_minor:
        return 0
    after = round_half_away(Fraction(tax_minor * (before_minor + now_minor), whole_minor))
    return after - round_half_away(Fraction(tax_minor * before_minor, whole_minor))


def _check_rates(rates: Sequence[TaxRate]) -> None:
    if len({rate.inclusive for rate in rates}) > 1:
        raise BadInput("a line has inclusive and exclusive tax rates", hint="make all rates of a line one or the other")
    if len(set(rates)) < len(rates):
        raise BadInput("a line has the same tax rate twice", hint="leave one out")
