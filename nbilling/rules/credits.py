"""Credit notes: what may be taken back of an invoice, line by line, and its tax.

Amounts of lines are as the invoice has them: before tax, or with ``inclusive`` containing it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nbilling.model.errors import BadInput, Conflict
from nbilling.model.money import allocate
from nbilling.rules.tax import credited_tax


class Credited(NamedTuple):
    """What a credit note takes back: by line (positions from 1, in the line's own terms), before tax, and its tax."""

    lines: tuple[tuple[int, int], ...]
    net_minor: int
    tax_minor: int

    @property
    def total_minor(self) -> int:
        """With tax."""
        return self.net_minor + self.tax_minor


def whole_credit(
    line_nets: Sequence[int], before: Mapping[int, int], tax_minor: int, *, inclusive: bool = False
) -> Credited:
    """All that is left of the invoice. With what was credited before it comes to exactly the invoice."""
    left = _left(line_nets, before)
    if not any(left.values()):
        raise Conflict("the invoice is credited in full already", hint="there is nothing left to take back")
    return _credited(line_nets, before, {place: net for place, net in left.items() if net}, tax_minor, inclusive)


def amount_credit(
    line_nets: Sequence[int], before: Mapping[int, int], tax_minor: int, net_minor: int, *, inclusive: bool = False
) -> Credited:
    """An amount before tax, shared among the lines by what is left of each."""
    left = _left(line_nets, before)
    _check(net_minor, sum(left.values()))
    shares = dict(zip(left, allocate(net_minor, list(left.values())), strict=True))
    return _credited(line_nets, before, {place: net for place, net in shares.items() if net}, tax_minor, inclusive)


def line_credit(
    line_nets: Sequence[int],
    before: Mapping[int, int],
    tax_minor: int,
    amounts: Mapping[int, int],
    *,
    inclusive: bool = False,
) -> Credited:
    """Amounts before tax of certain lines."""
    left = _left(line_nets, before)
    for place, net in amounts.items():
        if place not in left:
            raise BadInput(f"the invoice has no line {place} to credit", hint="nbilling invoice show lists its lines")
        _check(net, left[place])
    return _credited(line_nets, before, amounts, tax_minor, inclusive)


def _left(line_nets: Sequence[int], before: Mapping[int, int]) -> dict[int, int]:
    """By position, what can still be taken back. Credit lines of the invoice lower what the others can give."""
    left = {place: net - before.get(place, 0) for place, net in enumerate(line_nets, 1) if net > 0}
    credits = -sum(net for net in line_nets if net < 0)
    for place, share in zip(left, allocate(min(credits, sum(left.values())), list(left.values())), strict=True):
        left[place] -= share
    return left


def _check(net_minor: int, left: int) -> None:
    if net_minor <= 0:
        raise BadInput("a credit must be above 0", hint="give the amount that is taken back")
    if net_minor > left:
        raise Conflict("that is more than is left of the invoice", hint="a credit is never above its invoice")


def _credited(
    line_nets: Sequence[int], before: Mapping[int, int], now: Mapping[int, int], tax_minor: int, inclusive: bool
) -> Credited:
    taken = sum(now.values())
    tax = credited_tax(tax_minor, sum(line_nets), sum(before.values()), taken)
    return Credited(tuple(sorted(now.items())), taken - tax if inclusive else taken, tax)
