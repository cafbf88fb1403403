"""From usage and plan to invoice lines. Pure: every amount is exact until its one rounding."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import attrs

from nbilling.model.money import currency as currency_of
from nbilling.model.money import format_amount, format_decimal, round_half_away
from nbilling.model.periods import to_date
from nbilling.rules.line_texts import LANGUAGES, fee_detail, meter_label, usage_detail
from nbilling.rules.price_models import PerUnit, PriceModel
from nbilling.rules.pricing import amount_minor, rate

_ENGLISH = LANGUAGES["en"]
_INTERVALS = {"half_year": "half-year"}


@attrs.frozen(kw_only=True)
class Metered:
    """What one meter measured in one part of a period.

    ``usage`` and ``limit`` are in base units (a time-weighted gauge has a fraction); ``limit`` None is unlimited.
    ``gauge``: usage is a level averaged over time; a highest or last level is not. ``model`` None: the plan has no
    price for it.
    """

    meter: int
    name: str
    unit: str
    scale: int
    gauge: bool
    usage: Fraction
    limit: int | None
    model: PriceModel | None
    priced_unit: str
    allowance: str


@attrs.frozen(kw_only=True)
class Part:
    """A part of a billing period with one plan. ``share`` of a whole period: fee and allowances are prorated by it.

    ``seats`` 0: the price is for the whole, else for each seat.
    """

    plan: int
    plan_name: str
    price_minor: int
    interval: str
    start_day: int
    end_day: int
    share: Fraction
    metered: tuple[Metered, ...]
    seats: int = 0


@attrs.frozen(kw_only=True)
class Line:
    """An invoice line, exact. ``quantity`` in priced units."""

    kind: str
    description: str
    detail: str
    meter: int
    meter_name: str
    plan: int
    start_day: int
    end_day: int
    usage: Fraction
    included: Fraction | None
    quantity: Fraction
    unit: str
    unit_price: str
    amount_minor: int
    seats: int = 0


def charges(parts: Sequence[Part], currency: str) -> list[Line]:
    """The lines of a period: for each part its fee, then each meter that was used."""
    lines = []
    for part in parts:
        if part.price_minor or len(parts) == 1:
            lines.append(_fee(part, currency))
        lines += [_usage(part, metered, currency) for metered in part.metered if metered.usage]
    return lines


def _fee(part: Part, currency: str) -> Line:
    quantity = part.share * (part.seats or 1)
    return Line(
        kind="fee",
        description=_ENGLISH.fee.format(plan=part.plan_name),
        detail=fee_detail(part.start_day, part.end_day, part.share, part.seats, _ENGLISH),
        meter=0,
        meter_name="",
        plan=part.plan,
        start_day=part.start_day,
        end_day=part.end_day,
        usage=Fraction(0),
        included=None,
        quantity=quantity,
        unit=_INTERVALS.get(part.interval, part.interval),
        unit_price=format_amount(part.price_minor, currency),
        amount_minor=round_half_away(part.price_minor * quantity),
        seats=part.seats,
    )


def _usage(part: Part, metered: Metered, currency: str) -> Line:
    """What is used above the allowance at the plan's price. Without a limit there is nothing above it."""
    included = None if metered.limit is None else metered.limit * part.share
    model = metered.model
    charged = Fraction(0)
    amount = 0
    if model is not None:
        if metered.allowance == "none":
            charged = metered.usage
        elif included is not None:
            charged = max(Fraction(0), metered.usage - included)
        amount = amount_minor(rate(model, charged, scale_fraction=part.share).amount, currency)
    per = Fraction(getattr(model, "per", 1)) if model is not None else Fraction(10**metered.scale)
    return Line(
        kind="usage",
        description=meter_label(metered.name, _ENGLISH),
        detail=usage_detail(
            metered.usage,
            included,
            metered.unit,
            metered.scale,
            gauge=metered.gauge,
            allowance=metered.allowance if model is not None else "limit",
            texts=_ENGLISH,
        ),
        meter=metered.meter,
        meter_name=metered.name,
        plan=part.plan,
        start_day=part.start_day,
        end_day=part.end_day,
        usage=metered.usage,
        included=included if metered.allowance == "limit" else Fraction(0),
        quantity=charged / per,
        unit=metered.priced_unit if model is not None else metered.unit,
        unit_price=unit_price_text(model, currency),
        amount_minor=amount,
        seats=part.seats,
    )


def unit_price_text(model: PriceModel | None, currency: str) -> str:
    """The price of one unit, with the currency's decimals at least; empty where a model has no single one."""
    if model is not None and not isinstance(model, PerUnit):
        return ""
    price = Decimal(0) if model is None else model.unit_price
    places = currency_of(currency).exponent
    whole, _, rest = format_decimal(price).partition(".")
    return f"{whole}.{rest.ljust(places, '0')}" if rest or places else whole


def fee_changes(now: Sequence[Line], billed: Sequence[Line]) -> list[Line]:
    """What a change within a period, whose fee was billed already, gives back of the old fee and charges of the new.

    Each part's fee as it is now, less what invoices of the period say of it: together they charge what one invoice
    at the end would have. Nothing where no fee was billed yet.
    """
    present = {_fee_key(line): line for line in now if line.kind == "fee"}
    before: dict[tuple[int, int, int], tuple[Line, Fraction, int]] = {}
    for line in billed:
        _, quantity, amount = before.get(_fee_key(line), (line, Fraction(0), 0))
        before[_fee_key(line)] = line, quantity + line.quantity, amount + line.amount_minor
    lines = []
    for key, (line, quantity, amount) in before.items():
        kept = present.pop(key, None)
        part = (kept.quantity, kept.amount_minor) if kept is not None else (Fraction(0), 0)
        if part != (quantity, amount):
            lines.append(_changed(kept or line, part[0] - quantity, part[1] - amount))
    if before:
        lines += [_changed(line, line.quantity, line.amount_minor) for line in present.values() if line.amount_minor]
    return lines


def _fee_key(line: Line) -> tuple[int, int, int]:
    return line.plan, line.seats, line.start_day


def _changed(line: Line, quantity: Fraction, amount: int) -> Line:
    text = (_ENGLISH.unused if amount < 0 else _ENGLISH.changed).format(fee=line.description.partition(",")[0])
    return attrs.evolve(line, kind="fee_change", description=text, quantity=quantity, amount_minor=amount)


def late_lines(now: Sequence[Line], billed: Sequence[Line], *, advance: bool = False) -> list[Line]:
    """What has come to a billed period since: each meter's present rating less what its invoices say already.

    Rounding is settled here too: all invoices of the period together charge what one would have charged. A meter whose
    usage was corrected to nothing gives back all that was charged. ``advance``: the period's own invoice bills the fee
    alone, so that nothing of this is late.
    """
    before: dict[tuple[int, int, int], tuple[Line, Fraction, int]] = {}
    for line in billed:
        _, quantity, amount = before.get(_key(line), (line, Fraction(0), 0))
        before[_key(line)] = line, quantity + line.quantity, amount + line.amount_minor
    present = {_key(line): line for line in now if line.kind == "usage"}
    for key, (line, _, _) in before.items():
        if key not in present:
            present[key] = attrs.evolve(
                line, detail=_ENGLISH.corrected, usage=Fraction(0), quantity=Fraction(0), amount_minor=0
            )
    lines = []
    text = _ENGLISH.past if advance else _ENGLISH.late
    for key, line in present.items():
        last, quantity, amount = before.get(key, (None, Fraction(0), 0))
        if line.usage == (last.usage if last is not None else 0):
            continue
        first_day, last_day = to_date(line.start_day), to_date(line.end_day - 1)
        lines.append(
            attrs.evolve(
                line,
                kind="late_usage",
                description=text.format(name=meter_label(line.meter_name, _ENGLISH), first=first_day, last=last_day),
                quantity=line.quantity - quantity,
                amount_minor=line.amount_minor - amount,
            )
        )
    return lines


def _key(line: Line) -> tuple[int, int, int]:
    return line.meter, line.plan, line.start_day
