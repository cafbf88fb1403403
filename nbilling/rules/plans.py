"""Plans compared: by price a month, by limits and features."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from nbilling.model.periods import Interval

_DAYS_A_MONTH = Fraction(146_097, 4_800)
"""The mean month of the Gregorian calendar: 146,097 days in 4,800 months."""


def monthly_price(price_minor: int, interval: Interval) -> Fraction:
    """Minor units a month, to tell a higher plan from a lower one."""
    months = Fraction(interval.months) if interval.months else Fraction(interval.days) / _DAYS_A_MONTH
    return price_minor / months


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """``{plans: [P1, P2], rows: [{name, P1: …, P2: …}]}`` with the price, every limit and every feature."""
    ids = first["id"], second["id"]
    rows: list[dict[str, Any]] = [{"name": "price", ids[0]: first["price"], ids[1]: second["price"]}]
    for group in ("limits", "features"):
        names = [*first[group], *(name for name in second[group] if name not in first[group])]
        rows += [{"name": name, ids[0]: first[group].get(name), ids[1]: second[group].get(name)} for name in names]
    return {"plans": list(ids), "rows": rows}
