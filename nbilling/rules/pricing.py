"""Rating: a price model and a quantity give an exact amount and the steps that lead to it.

Amounts are ``Fraction`` of **currency units** (dollars, not cents) all the way; ``amount_minor`` is the one
rounding, once a line, half away from zero. Quantities go in as base units of the meter (``int`` or ``Fraction``,
never ``float``) and stand in the steps as priced units (base units divided by the model's ``per``).

Zero usage and the first tier's flat amount are stated choices of each model in ``rules.price_models``. A negative
quantity (a correction beyond what was used) is rated as 0: usage that never happened earns nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

from nbilling.model.errors import BadInput
from nbilling.model.money import check_minor, currency, format_decimal, round_half_away, shown
from nbilling.rules.price_models import (
    ByDimension,
    Flat,
    Graduated,
    GraduatedPercentage,
    Package,
    Percentage,
    PercentageTier,
    PerUnit,
    Price,
    PriceModel,
    Tier,
    Volume,
    model_from_dict,
    model_to_dict,
    price_from_dict,
    price_to_dict,
)

__all__ = [
    "ByDimension",
    "Flat",
    "Graduated",
    "GraduatedPercentage",
    "Package",
    "PerUnit",
    "Percentage",
    "PercentageTier",
    "Price",
    "PriceModel",
    "Rating",
    "RatingStep",
    "Tier",
    "Volume",
    "amount_minor",
    "model_from_dict",
    "model_to_dict",
    "number_text",
    "price_from_dict",
    "price_to_dict",
    "rate",
    "rate_dimensions",
    "rate_increment",
    "true_up",
]

Quantity: TypeAlias = int | Fraction
StepKind: TypeAlias = Literal[
    "fixed",
    "included",
    "usage",
    "tier",
    "tier_flat",
    "volume",
    "volume_flat",
    "free",
    "package",
    "rate",
    "transaction_fixed",
    "transaction_minimum",
    "transaction_maximum",
    "floor",
    "maximum",
    "minimum",
]
Part: TypeAlias = Literal["late", "middle", "last"]
ZERO = Fraction(0)


class RatingStep(NamedTuple):
    """One line of the arithmetic. The amounts of a rating's steps add up to the rating's amount, exactly.

    ``quantity`` is in priced units (packages for ``package``, transactions for ``transaction_*``), ``unit_price``
    in currency units for one of them, ``amount`` in currency units. Of ``transaction_minimum`` and
    ``transaction_maximum`` the ``unit_price`` is the limit and the ``amount`` what it adds or takes. ``lower`` and
    ``upper`` are the bounds of the tier, or for ``minimum`` and ``maximum`` the limit itself, after proration.
    """

    kind: StepKind
    quantity: Fraction
    unit_price: Decimal | None
    amount: Fraction
    lower: Fraction | None = None
    upper: Fraction | None = None

    @property
    def description(self) -> str:
        """The step in plain English for ``explain``: ``5 × 10 in the tier from 0 to 5``."""
        return _DESCRIPTIONS[self.kind].format(
            quantity=number_text(self.quantity),
            price="" if self.unit_price is None else format_decimal(self.unit_price),
            amount=number_text(self.amount),
            lower=number_text(self.lower or ZERO),
            upper="any" if self.upper is None else number_text(self.upper),
        )


class Rating(NamedTuple):
    """``amount`` in exact currency units, and the ``steps`` that add up to it."""

    amount: Fraction
    steps: tuple[RatingStep, ...]


_DESCRIPTIONS: dict[StepKind, str] = {
    "fixed": "fixed amount of {amount}",
    "included": "{quantity} included",
    "usage": "{quantity} × {price}",
    "tier": "{quantity} × {price} in the tier from {lower} to {upper}",
    "tier_flat": "{amount} for entering the tier from {lower} to {upper}",
    "volume": "{quantity} × {price}, all at the price of the tier from {lower} to {upper}",
    "volume_flat": "{amount} for the tier from {lower} to {upper}",
    "free": "{quantity} free",
    "package": "{quantity} packages × {price}",
    "rate": "{quantity} × {price}",
    "transaction_fixed": "{quantity} transactions × {price}",
    "transaction_minimum": "{quantity} transactions raised to the minimum of {price}",
    "transaction_maximum": "{quantity} transactions lowered to the maximum of {price}",
    "floor": "raised to 0",
    "maximum": "lowered to the maximum of {upper}",
    "minimum": "raised to the minimum of {lower}",
}


def rate(
    model: PriceModel,
    quantity: Quantity,
    *,
    scale_fraction: Quantity = 1,
    transactions: Sequence[Quantity] | None = None,
    included: Quantity = 0,
    minimum_applies: bool = True,
) -> Rating:
    """The exact price of ``quantity`` base units.

    ``scale_fraction`` is the part of the period that the price was in force: it prorates allowances, tier bounds,
    fixed amounts, the minimum and the maximum (not unit prices, percentages, package sizes and what holds for one
    transaction). ``included``: base units that are free before the model is asked (the limit of the plan), prorated
    too. ``transactions``: the base units of each transaction in order of time, for ``Percentage`` alone; they add
    up to ``quantity``. ``BadInput`` when a percentage needs its transactions and has none, or they do not add up.
    """
    scale = _exact(scale_fraction, "scale_fraction")
    if scale < 0:
        raise BadInput(f"scale_fraction {shown(scale)} is negative", hint="give the part of the period, 0 to 1")
    used = _exact(quantity, "quantity")
    steps: list[RatingStep] = []
    if transactions is not None and (sum(transactions) != used or included):
        raise BadInput("the transactions do not add up to the quantity", hint="pass every one, and no included units")
    if included:
        allowance = _exact(included, "included") * scale
        free = min(max(used, ZERO), allowance)
        used -= free
        if free and not isinstance(model, Flat):
            per = _fraction(model.per)
            steps.append(RatingStep("included", free / per, Decimal(0), ZERO, None, allowance / per))
    steps.extend(_steps(model, max(used, ZERO), scale, transactions))
    amount = sum((step.amount for step in steps), ZERO)
    if amount < 0:  # only corrections of turnover get here
        steps.append(RatingStep("floor", ZERO, None, -amount))
        amount = ZERO
    if model.maximum is not None:
        limit = _fraction(model.maximum) * scale
        if amount > limit:
            steps.append(RatingStep("maximum", ZERO, None, limit - amount, None, limit))
            amount = limit
    if model.minimum is not None and minimum_applies:
        limit = _fraction(model.minimum) * scale
        if amount < limit:
            steps.append(RatingStep("minimum", ZERO, None, limit - amount, limit, None))
            amount = limit
    return Rating(amount, tuple(steps))


def rate_increment(
    model: PriceModel,
    before: Quantity | None,
    total: Quantity,
    *,
    part: Part = "late",
    scale_fraction: Quantity = 1,
    transactions_before: Sequence[Quantity] | None = None,
    transactions: Sequence[Quantity] | None = None,
    included: Quantity = 0,
) -> Rating:
    """What is still to be charged when ``before`` was rated already and the quantity is now ``total``.

    It is ``rate(total) - rate(before)``, exactly and step by step, so parts add up to rating at once. It may be
    negative (a volume price that falls). ``before=None``: nothing was rated yet, not even zero usage.

    ``part`` says when the minimum counts: ``late`` (the period was closed with it: it is in both), ``middle`` (the
    period goes on: in neither), ``last`` (it closes now: in the total alone, case ``om-graduated-min-spend``).
    """
    now = rate(
        model,
        total,
        scale_fraction=scale_fraction,
        transactions=transactions,
        included=included,
        minimum_applies=part != "middle",
    )
    if before is None:
        return now
    earlier = rate(
        model,
        before,
        scale_fraction=scale_fraction,
        transactions=transactions_before,
        included=included,
        minimum_applies=part == "late",
    )
    return Rating(now.amount - earlier.amount, tuple(_difference(now.steps, earlier.steps)))


def rate_dimensions(
    price: Price, quantities: Mapping[str, Quantity], *, scale_fraction: Quantity = 1
) -> dict[str, Rating]:
    """A rating for each value of the dimension with a price of its own, and one under ``""`` for all the rest.

    ``quantities`` holds base units by the dimension's value. A price that does not ask for the dimension rates
    their sum.
    """
    if not isinstance(price, ByDimension):
        return {"": rate(price, sum(quantities.values()), scale_fraction=scale_fraction)}
    ratings = {
        value: rate(model, quantities.get(value, 0), scale_fraction=scale_fraction)
        for value, model in price.prices.items()
    }
    rest = sum(quantity for value, quantity in quantities.items() if value not in price.prices)
    ratings[""] = rate(price.otherwise, rest, scale_fraction=scale_fraction)
    return ratings


def amount_minor(rating_amount: Quantity, currency_code: str) -> int:
    """The one rounding of a line: currency units to minor units, half away from zero. ``BadInput`` beyond 64 bits."""
    power: int = 10 ** currency(currency_code).exponent
    return check_minor(round_half_away(_exact(rating_amount, "amount") * power), currency_code)


def true_up(commitment_minor: int, fraction: Quantity, spent_minor: int) -> int:
    """What is missing to a plan's minimum commitment, prorated by ``fraction`` and rounded once; at least 0.

    Compared before discounts, with all lines of the period (cases ``lago-min-commit-*``).
    """
    return max(0, round_half_away(commitment_minor * _exact(fraction, "fraction")) - spent_minor)


def number_text(x: Fraction | int) -> str:
    """A rational number as decimal text: exact up to 12 decimals, else cut after 6 and marked with an ellipsis."""
    scaled = Fraction(x) * 10**12
    if scaled.denominator == 1:
        return format_decimal(_ratio_text(scaled.numerator, 12))
    whole = abs(Fraction(x)) * 10**6
    text = str(_ratio_text(whole.numerator // whole.denominator, 6))
    return f"{'-' if x < 0 else ''}{text}…"


def _ratio_text(digits: int, places: int) -> Decimal:
    sign = 1 if digits < 0 else 0
    return Decimal((sign, tuple(int(digit) for digit in str(abs(digits))), -places))


def _exact(x: object, what: str) -> Fraction:
    if isinstance(x, Fraction):
        return x
    if isinstance(x, int) and not isinstance(x, bool):
        return Fraction(x)
    raise BadInput(f"{what} {shown(x)} is not exact", hint="give an int or a Fraction")


@lru_cache(maxsize=4096)
def _fraction(x: Decimal) -> Fraction:
    return Fraction(x)


def _steps(
    model: PriceModel, used: Fraction, scale: Fraction, transactions: Sequence[Quantity] | None
) -> Iterator[RatingStep]:
    if isinstance(model, Flat):
        yield RatingStep("fixed", scale, model.amount, _fraction(model.amount) * scale)
        return
    units = used / _fraction(model.per)
    if isinstance(model, PerUnit):
        yield from _per_unit(model, units, scale)
    elif isinstance(model, Graduated):
        yield from _graduated(model, units, scale)
    elif isinstance(model, Volume):
        yield from _volume(model, units, scale)
    elif isinstance(model, Package):
        yield from _package(model, units, scale)
    elif isinstance(model, GraduatedPercentage):
        yield from _graduated(model, units, scale)
    else:
        yield from _percentage(model, units, scale, transactions)


def _per_unit(model: PerUnit, units: Fraction, scale: Fraction) -> Iterator[RatingStep]:
    allowance = _fraction(model.included) * scale
    if allowance and units:
        yield RatingStep("included", min(units, allowance), Decimal(0), ZERO, ZERO, allowance)
    if units > allowance:
        over = units - allowance
        yield RatingStep("usage", over, model.unit_price, over * _fraction(model.unit_price), allowance)


def _price_of(tier: Tier | PercentageTier) -> Decimal:
    return tier.unit_price if isinstance(tier, Tier) else tier.rate.scaleb(-2)


def _entered(model: Graduated | Volume | GraduatedPercentage, units: Fraction, lower: Fraction) -> bool:
    """Whether usage reaches beyond the bound between two tiers."""
    return units > lower if model.bounds == "inclusive" else units >= lower


def _graduated(model: Graduated | GraduatedPercentage, units: Fraction, scale: Fraction) -> Iterator[RatingStep]:
    lower = ZERO
    tiers: tuple[Tier | PercentageTier, ...] = model.tiers
    for place, tier in enumerate(tiers):
        if place and not _entered(model, units, lower):
            return
        upper = None if tier.up_to is None else _fraction(tier.up_to) * scale
        if tier.flat_amount and (units or model.flat_at_zero):
            yield RatingStep("tier_flat", scale, tier.flat_amount, _fraction(tier.flat_amount) * scale, lower, upper)
        within = (units if upper is None else min(units, upper)) - lower
        if within > 0:
            price = _price_of(tier)
            yield RatingStep("tier", within, price, within * _fraction(price), lower, upper)
        if upper is not None:
            lower = upper


def _volume(model: Volume, units: Fraction, scale: Fraction) -> Iterator[RatingStep]:
    lower = ZERO
    for tier in model.tiers:
        upper = None if tier.up_to is None else _fraction(tier.up_to) * scale
        if upper is not None and _entered(model, units, upper):
            lower = upper
            continue
        if tier.flat_amount and (units or model.flat_at_zero):
            yield RatingStep("volume_flat", scale, tier.flat_amount, _fraction(tier.flat_amount) * scale, lower, upper)
        if units:
            yield RatingStep("volume", units, tier.unit_price, units * _fraction(tier.unit_price), lower, upper)
        return


def _package(model: Package, units: Fraction, scale: Fraction) -> Iterator[RatingStep]:
    allowance = _fraction(model.free_units) * scale
    if allowance and units:
        yield RatingStep("free", min(units, allowance), Decimal(0), ZERO, ZERO, allowance)
    if units > allowance:
        packages = Fraction(-((allowance - units) // _fraction(model.package_size)))
        price = model.package_price
        yield RatingStep("package", packages, price, packages * _fraction(price), allowance)


def _percentage(
    model: Percentage, units: Fraction, scale: Fraction, transactions: Sequence[Quantity] | None
) -> Iterator[RatingStep]:
    price = model.rate.scaleb(-2)
    allowance = _fraction(model.free_amount) * scale
    if transactions is None:
        if model.needs_transactions and units:
            raise BadInput("this percentage price needs its transactions", hint="pass the amount of each one")
        free = min(units, allowance)
        yield from _turnover_steps(price, free, units - free)
        return
    split = list(
        _free_parts(model, [_exact(amount, "transaction") / _fraction(model.per) for amount in transactions], scale)
    )
    yield from _turnover_steps(
        price, sum((free for free, _, _ in split), ZERO), sum((paying for _, paying, _ in split), ZERO)
    )
    charges = [paying * _fraction(price) + _fraction(model.fixed) for _, paying, is_paid in split if is_paid]
    if charges and model.fixed:
        count = Fraction(len(charges))
        yield RatingStep("transaction_fixed", count, model.fixed, count * _fraction(model.fixed))
    yield from _transaction_limits(model, charges)


def _turnover_steps(price: Decimal, free: Fraction, paying: Fraction) -> Iterator[RatingStep]:
    if free:
        yield RatingStep("free", free, Decimal(0), ZERO)
    if paying:
        yield RatingStep("rate", paying, price, paying * _fraction(price))


def _free_parts(
    model: Percentage, amounts: Sequence[Fraction], scale: Fraction
) -> Iterator[tuple[Fraction, Fraction, bool]]:
    """Of each transaction: what is free, what pays the rate, and whether it is a paid transaction.

    A negative amount corrects turnover at the rate; it is no transaction of its own.
    """
    events, turnover = model.free_events * scale, _fraction(model.free_amount) * scale
    still_free = bool(model.free_events or model.free_amount)
    count, running = 0, ZERO
    for amount in amounts:
        if amount < 0:
            yield ZERO, amount, False
            continue
        count += 1
        if still_free and model.free_events and count > events:
            still_free = False
        if still_free and model.free_amount and running + amount > turnover:
            still_free = False
            yield turnover - running, running + amount - turnover, True
        elif still_free:
            running += amount
            yield amount, ZERO, False
        else:
            yield ZERO, amount, True


def _transaction_limits(model: Percentage, charges: Sequence[Fraction]) -> Iterator[RatingStep]:
    """What the limits of a single transaction add to the paid ones and take from them."""
    least, most = model.per_transaction_min, model.per_transaction_max
    if least is not None:
        missing = [_fraction(least) - charge for charge in charges if charge < _fraction(least)]
        if missing:
            yield RatingStep("transaction_minimum", Fraction(len(missing)), least, sum(missing, ZERO))
    if most is not None:
        beyond = [_fraction(most) - charge for charge in charges if charge > _fraction(most)]
        if beyond:
            yield RatingStep("transaction_maximum", Fraction(len(beyond)), most, sum(beyond, ZERO))


def _difference(now: Sequence[RatingStep], earlier: Sequence[RatingStep]) -> Iterator[RatingStep]:
    """The steps of ``now`` less those of ``earlier``, matched by what they price; steps that cancel are left out."""
    left = {(step.kind, step.unit_price, step.lower, step.upper): step for step in earlier}
    for step in now:
        was = left.pop((step.kind, step.unit_price, step.lower, step.upper), None)
        if was is not None:
            step = step._replace(quantity=step.quantity - was.quantity, amount=step.amount - was.amount)
        if step.quantity or step.amount:
            yield step
    for step in left.values():
        yield step._replace(quantity=-step.quantity, amount=-step.amount)
