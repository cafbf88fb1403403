"""Alerts: which metric and threshold are meant, and when one is crossed."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from nbilling.model.errors import BadInput
from nbilling.model.money import parse_decimal
from nbilling.model.text import MAX_INTEGER, whole
from nbilling.rules.usage import base_amount, unit_amount

TYPES = ("email", "webhook", "log")
AMOUNT, PERCENT = "amount", "percent"
GIB = 2**30

MOST_PERCENT = 10_000
_GB_PLACES = 9


def meter_of(metric: str, meters: Iterable[tuple[str, str]]) -> tuple[str, bool]:
    """``(meter, in GB)`` of a metric: a meter's name, or the name under which current usage shows it.

    ``meters`` are ``(name, unit)``. ``storage_bytes`` and ``compute_seconds`` are ``storage`` and ``compute``;
    ``storage_gb`` is ``storage`` in units of 2^30 bytes. A meter of just that name goes before. Unknown: BadInput.
    """
    units = dict(meters)
    if metric in units:
        return metric, False
    name, _, unit = metric.rpartition("_")
    if (unit, units.get(name)) in (("bytes", "bytes"), ("seconds", "seconds"), ("gb", "bytes")):
        return name, unit == "gb"
    known = ", ".join(shown_metric(name, unit) for name, unit in units.items())
    raise BadInput(f"there is no metric {metric!r:.80}", hint=f"known are {known}; byte meters also as …_gb")


def shown_metric(name: str, unit: str) -> str:
    """How current usage calls a meter."""
    return f"{name}_{unit}" if unit in ("bytes", "seconds") else name


def threshold_of(value: object, scale: int, in_gb: bool) -> int:
    """A threshold above zero in base units. Exact, or BadInput."""
    amount: int
    if in_gb:
        number: Decimal = parse_decimal(value, places=_GB_PLACES, minimum=0, what="threshold")
        amount, rest = divmod(int(number.scaleb(_GB_PLACES)) * GIB, 10**_GB_PLACES)
        if rest:
            raise BadInput(f"threshold {value!s:.60} GB is no whole number of bytes", hint="give it in bytes")
    else:
        amount = base_amount(value, scale, "threshold")
    if amount == 0:
        raise BadInput("a threshold of 0 is always reached", hint="give more than 0")
    if amount > MAX_INTEGER:
        raise BadInput(f"threshold {value!s:.60} is too large", hint="at most 2^63-1 in the meter's base unit")
    return amount


def percent_of(value: object) -> int:
    """A threshold in whole percent of a quota; above 100 where usage may exceed it."""
    text = value.removesuffix("%") if isinstance(value, str) else value
    return whole(text, "percentage", minimum=1, maximum=MOST_PERCENT)


def crossed(reached: int, threshold: int) -> bool:
    """Exactly at the threshold is crossed: who asks to be told at 80 % wants to know at 80 %."""
    return reached >= threshold


def quantity(amount: int, unit: str, scale: int) -> str:
    """An amount for people: ``10500 requests``, ``0.50 GB`` (rounded down), few bytes as such."""
    if unit == "bytes" and amount * 100 >= GIB:
        hundredths = amount * 100 // GIB
        return f"{hundredths // 100}.{hundredths % 100:02d} GB"
    number = unit_amount(amount, scale)
    return f"{number:f} {unit}" if isinstance(number, Decimal) else f"{number} {unit}"
