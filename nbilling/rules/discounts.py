"""Discounts: who may use a code now, and what it takes from each line of an invoice.

Discounts come before tax. They apply in the order they are given, each on what the ones before left, and never take
a line or the invoice below zero. Every line keeps its share of every discount, by largest remainder, so that tax,
credit notes and proration can follow the line. Amounts are minor units.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple, TypeAlias

import attrs

from nbilling.model.errors import BadInput
from nbilling.model.money import MAX_MINOR, allocate, currency, parse_decimal, round_half_away, shown

Kind: TypeAlias = Literal["percent", "amount"]
RefusalCode: TypeAlias = Literal[
    "not_started",
    "expired",
    "used_up",
    "used_by_customer",
    "not_first_time",
    "wrong_currency",
    "wrong_plan",
    "twice",
    "not_stackable",
]


def _value(value: str | int | Decimal) -> Decimal:
    return parse_decimal(value, places=6, minimum=0, maximum=MAX_MINOR, what="discount")


def _upper(code: str) -> str:
    return code.upper()


def _names(names: Iterable[str]) -> frozenset[str]:
    if isinstance(names, str):  # would become a set of letters
        raise BadInput(f"{shown(names)} is not a list of names", hint="give a list, also of one name")
    return frozenset(names)


@attrs.frozen
class Discount:
    """A discount, by code or ad hoc.

    ``value`` is a percentage (0 to 100) for ``percent``, whole minor units of ``currency`` for ``amount``.
    ``meters``, ``plans`` and ``line_kinds`` name what it applies to; an empty one allows all, and a line must pass
    all three. ``periods``: on how many invoices of a customer it counts, ``None`` for ever. ``starts_at`` and
    ``expires_at`` are microseconds UTC, half-open, and limit when it can be taken; once taken it runs for its
    periods.
    """

    code: str
    kind: Kind
    value: Decimal = attrs.field(converter=_value)
    currency: str = attrs.field(default="", converter=_upper)
    meters: frozenset[str] = attrs.field(default=frozenset(), converter=_names)
    plans: frozenset[str] = attrs.field(default=frozenset(), converter=_names)
    line_kinds: frozenset[str] = attrs.field(default=frozenset(), converter=_names)
    stackable: bool = True
    periods: int | None = 1
    starts_at: int | None = None
    expires_at: int | None = None
    max_uses: int | None = None
    max_uses_per_customer: int | None = None
    first_time_only: bool = False

    def __attrs_post_init__(self) -> None:
        if self.kind == "percent":
            if self.value > 100:
                raise BadInput(f"discount of {self.value} % is too large", hint="at most 100")
        elif self.kind == "amount":
            currency(self.currency)
            if self.value != int(self.value):
                raise BadInput(f"discount of {self.value} is not whole", hint="give minor units, such as 1000")
        else:
            raise BadInput(f"discount kind {shown(self.kind)} is not known", hint="use percent or amount")
        counts = (self.periods, self.max_uses, self.max_uses_per_customer)
        if any(count is not None and count < 1 for count in counts):
            raise BadInput("a discount that counts never is no discount", hint="give counts of 1 or more")
        if self.starts_at is not None and self.expires_at is not None and self.starts_at >= self.expires_at:
            raise BadInput("the discount expires before it starts", hint="give a later expiry")

    def covers(self, line: DiscountLine) -> bool:
        """Whether the line is one of those that it applies to. Credits (amounts of 0 and less) never are."""
        return (
            line.amount_minor > 0
            and (not self.meters or line.meter in self.meters)
            and (not self.plans or line.plan in self.plans)
            and (not self.line_kinds or line.kind in self.line_kinds)
        )


class DiscountLine(NamedTuple):
    """What a discount must know of an invoice line: its amount before discounts in minor units, and what it is for."""

    amount_minor: int
    meter: str = ""
    plan: str = ""
    kind: str = ""


class Applied(NamedTuple):
    """``shares[line][discount]``: what each discount takes from each line, 0 or more. ``left``: each line after
    all.
    """

    shares: tuple[tuple[int, ...], ...]
    left: tuple[int, ...]

    @property
    def total_minor(self) -> int:
        """What all discounts take together."""
        return sum(map(sum, self.shares))


def apply(lines: Sequence[DiscountLine], discounts: Sequence[Discount]) -> Applied:
    """What each discount takes from each line, in the order given, each on what is left.

    A percentage is taken of the sum of its lines and rounded once, half away from zero; an amount is capped by it.
    Both are shared by what is left of each line. Credit lines (below 0) get no share: they were prorated from what
    was charged, discount included. But they lower what can be taken, so that a discount never turns the invoice
    negative.
    """
    left = [line.amount_minor for line in lines]
    shares: list[list[int]] = [[] for _ in lines]
    for discount in discounts:
        base = [max(rest, 0) if discount.covers(line) else 0 for line, rest in zip(lines, left, strict=True)]
        if discount.kind == "percent":
            wanted = round_half_away(sum(base) * Fraction(discount.value) / 100)
        else:
            wanted = int(discount.value)
        taken = max(0, min(wanted, sum(base), sum(left)))
        for place, share in enumerate(allocate(taken, base) if taken else [0] * len(base)):
            shares[place].append(share)
            left[place] -= share
    return Applied(tuple(map(tuple, shares)), tuple(left))


class DiscountUse(NamedTuple):
    """What the ledger knows about a code and a customer at ``now`` (microseconds UTC).

    ``uses`` and ``uses_by_customer`` count how often it was taken. ``paid_before``: the customer has an earlier
    finalised invoice above zero. ``on_invoice``: the discounts that the invoice has already. ``plan``: the
    customer's plan.
    """

    now: int
    currency: str
    plan: str = ""
    uses: int = 0
    uses_by_customer: int = 0
    paid_before: bool = False
    on_invoice: Sequence[Discount] = ()


class Refusal(NamedTuple):
    """Why a discount cannot be taken: a stable code, what is wrong in one line, and what to do."""

    code: RefusalCode
    message: str
    hint: str


def refusal(discount: Discount, use: DiscountUse) -> Refusal | None:
    """Why ``discount`` cannot be taken now, or ``None``."""
    name = f"discount {discount.code}"
    if any(other.code == discount.code for other in use.on_invoice):
        return Refusal("twice", f"{name} is on this invoice already", "nothing to do")
    if discount.starts_at is not None and use.now < discount.starts_at:
        return Refusal("not_started", f"{name} is not valid yet", "use it from its start on")
    if discount.expires_at is not None and use.now >= discount.expires_at:
        return Refusal("expired", f"{name} has expired", "use another code")
    if discount.kind == "amount" and discount.currency != use.currency:
        return Refusal("wrong_currency", f"{name} is in {discount.currency}, not {use.currency}", "use another code")
    if discount.plans and use.plan not in discount.plans:
        return Refusal("wrong_plan", f"{name} is not for plan {use.plan}", "use another code or change the plan")
    if discount.first_time_only and use.paid_before:
        return Refusal("not_first_time", f"{name} is for new customers", "use another code")
    if discount.max_uses is not None and use.uses >= discount.max_uses:
        return Refusal("used_up", f"{name} is used up", "use another code")
    if discount.max_uses_per_customer is not None and use.uses_by_customer >= discount.max_uses_per_customer:
        return Refusal("used_by_customer", f"{name} was used by this customer already", "use another code")
    if use.on_invoice and not (discount.stackable and all(other.stackable for other in use.on_invoice)):
        return Refusal("not_stackable", f"{name} cannot be combined with another", "use one discount alone")
    return None


def still_runs(discount: Discount, invoices_discounted: int) -> bool:
    """Whether a discount that was taken counts on the customer's next invoice too."""
    return discount.periods is None or invoices_discounted < discount.periods
