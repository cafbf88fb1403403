"""Gauges: what a level cost over a period. Pure; the samples come in the order of their own time.

A level holds from its sample until the next one, and carries over into the next period. Instants are integer
microseconds UTC, levels integers in the meter's base unit, periods half-open. ``area`` is level times time: base
units times microseconds (larger than 64 bits for a few TB over a month: keep it as text if it is kept at all).
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from nbilling.model.errors import BadInput

HOUR = 3_600_000_000


class GaugeUsage(NamedTuple):
    """A gauge over ``[start, end)``: its area, its highest level, and the level that it ends with."""

    start: int
    end: int
    area: int
    maximum: int
    last: int

    @property
    def average(self) -> Fraction:
        """The time-weighted average level in base units: what a price for a unit and period (a GB-month) is charged
        on.
        """
        return Fraction(self.area, self.end - self.start)

    @property
    def unit_hours(self) -> Fraction:
        """Base units times hours: what a price for a unit and hour (a GB-hour) is charged on."""
        return Fraction(self.area, HOUR)


def over_period(samples: Iterable[tuple[int, int]], start: int, end: int, carried: int = 0) -> GaugeUsage:
    """The usage of a gauge over ``[start, end)``.

    ``samples`` are ``(instant, level)`` in order; the last of several at one instant counts. What lies before
    ``start`` replaces ``carried`` (the level that the period begins with, 0 for a gauge that was never set), what
    lies at ``end`` or later is not of this period. ``BadInput`` when the samples are not in order or the period is
    empty.

    The average is taken over the whole period, also when the first sample comes late in it (case
    ``lago-weighted-sum-march``).
    """
    if end <= start:
        raise BadInput("the period is empty", hint="give an end after the start")
    level, since, area = carried, start, 0
    maximum: int | None = None
    before: int | None = None
    for at, new in samples:
        if before is not None and at < before:
            raise BadInput("samples are not in the order of their time", hint="sort them by instant")
        before = at
        if at >= end:
            continue
        if at > since:
            area += level * (at - since)
            maximum = level if maximum is None else max(maximum, level)
            since = at
        level = new
    area += level * (end - since)
    return GaugeUsage(start, end, area, level if maximum is None else max(maximum, level), level)


def in_parts(samples: Iterable[tuple[int, int]], cuts: Iterable[int], carried: int = 0) -> list[GaugeUsage]:
    """The same over the parts between ``cuts`` (the start, every change of price, the end): the areas add up to the
    whole.
    """
    kept = list(samples)
    edges = list(cuts)
    parts = []
    for start, end in pairwise(edges):
        part = over_period((sample for sample in kept if sample[0] >= start), start, end, carried)
        parts.append(part)
        carried = part.last
    return parts
