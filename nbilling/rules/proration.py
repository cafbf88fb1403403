"""Proration: which part of a period's price a part of the period costs, and what a change credits and charges.

Three rules, a stored setting of the plan:

- ``day``: local calendar days. Ends are exclusive and the day of a change belongs to the new price, as at Meteroid,
  Kill Bill and in the upgrades of Lago; Flexprice writes the same with an inclusive end.
- ``second``: instants, to the microsecond that the ledger keeps (Stripe, Polar).
- ``none``: nothing is split. The price in force when the period ends is charged whole, for all of its usage too.

The fractions of the parts of a period add up to exactly 1 under every rule. Amounts are minor units; each line is
rounded once, half away from zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from fractions import Fraction
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

from nbilling.model.errors import BadInput
from nbilling.model.money import round_half_away, shown

Rule: TypeAlias = Literal["day", "second", "none"]
Moment: TypeAlias = date | int


class Change(NamedTuple):
    """The two lines of a change within a period, in minor units: what is taken back (0 or less) and what is new."""

    credit_minor: int
    charge_minor: int

    @property
    def net_minor(self) -> int:
        """What the change costs: the sum of its two printed lines."""
        return self.credit_minor + self.charge_minor


def fraction(rule: Rule, part_start: Moment, part_end: Moment, period_start: Moment, period_end: Moment) -> Fraction:
    """The part of the period's price that ``[part_start, part_end)`` costs, 0 to 1, exact.

    ``day`` takes local dates (``datetime.date``, or day numbers), ``second`` takes instants in integer
    microseconds, ``none`` takes either. All ends are exclusive. ``BadInput`` when the part does not lie within the
    period.

    Under ``none`` a subscription that ends early has its own end as ``period_end``: it pays the whole.

    For a stub before the first anchor day hand in the whole period that would have ended there (case
    ``kb-proration-fractions``).
    """
    start, end, first, last = _numbers(rule, part_start, part_end, period_start, period_end)
    if not first <= start <= end <= last or first == last:
        raise BadInput(
            "the part does not lie within the period", hint="give period_start <= start <= end <= period_end"
        )
    if rule == "none":
        return Fraction(1 if end == last and end > start else 0)
    return Fraction(end - start, last - first)


def fractions(rule: Rule, cuts: Sequence[Moment]) -> tuple[Fraction, ...]:
    """The fractions of the parts between ``cuts``: the period's start, every change in order, the period's end.
    They add up to 1.
    """
    if len(cuts) < 2:
        raise BadInput("a period needs a start and an end", hint="give at least two cuts")
    return tuple(fraction(rule, start, end, cuts[0], cuts[-1]) for start, end in pairwise(cuts))


def prorate(amount_minor: int, part: Fraction) -> int:
    """``amount_minor`` times ``part``, rounded once, half away from zero."""
    return round_half_away(amount_minor * part)


def change(old_minor: int, new_minor: int, unused: Fraction) -> Change:
    """The lines of a change of price in a period whose old price was charged in advance, whole.

    ``unused`` is the fraction of the period from the change to its end. For seats hand in price times quantity: the
    old quantity is credited and the new one charged. A downgrade has a net below 0, for the customer's balance.
    """
    return Change(-prorate(old_minor, unused), prorate(new_minor, unused))


def unused_credit(billed_minor: int, billed: Fraction, unused: Fraction) -> int:
    """The credit, 0 or less, for what was billed in advance and is not used.

    ``billed`` is the fraction of the period that ``billed_minor`` was charged for, ``unused`` the fraction of the
    period that is left of it. Taken from the *rounded* amount on the invoice, so that giving back all of it gives
    back exactly what was charged (case ``lago-multi-upgrade-calendar``).
    """
    if not 0 <= unused <= billed:
        raise BadInput(
            "more is unused than was billed", hint="give fractions of the same period, unused at most billed"
        )
    return -prorate(billed_minor, unused / billed) if billed else 0


def seats(unit_minor: int, levels: Sequence[tuple[int, Fraction]]) -> int:
    """The price of seats whose number changes within a period: ``unit_minor`` times each quantity times its
    fraction, rounded once.
    """
    return round_half_away(unit_minor * sum((quantity * part for quantity, part in levels), Fraction(0)))


def _numbers(rule: Rule, *moments: Moment) -> list[int]:
    if rule not in ("day", "second", "none"):
        raise BadInput(f"proration {shown(rule)} is not known", hint="use day, second or none")
    if all(isinstance(moment, int) and not isinstance(moment, bool) for moment in moments):
        return [moment for moment in moments if isinstance(moment, int)]
    if rule != "second" and all(isinstance(moment, date) and not isinstance(moment, datetime) for moment in moments):
        return [moment.toordinal() for moment in moments if isinstance(moment, date)]
    wanted = "integer microseconds" if rule == "second" else "dates or day numbers"
    raise BadInput(f"proration by {rule} cannot use {shown(moments[0])}", hint=f"give {wanted}, all of one kind")
