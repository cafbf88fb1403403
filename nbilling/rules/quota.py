"""Quotas: which limit holds, and whether an amount fits under it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

PERIODS = ("per_minute", "per_hour", "per_day", "per_month", "absolute")
UNLIMITED = "unlimited"
SOFT_THRESHOLD = 80
"""Percent of a limit at which a warning is given, unless configured otherwise."""

Limit = tuple[int, str, int | None]


class Usage(NamedTuple):
    """A limit with what counts against it. Base units; ``limit`` None is unlimited; ``resets_at`` 0 is never."""

    period: str
    limit: int | None
    used: int
    resets_at: int


class Decision(NamedTuple):
    """Whether an amount is allowed, by the limit that decides: the first exceeded one, else the fullest."""

    allowed: bool
    period: str
    limit: int | None
    used: int
    remaining: int | None
    resets_at: int
    percentage: int


def effective_limits(
    own: Iterable[Limit], plan: Iterable[Limit], default: Iterable[Limit], gauges: set[int]
) -> list[tuple[int, str, int | None, str]]:
    """``(meter, period, amount, source)`` of the limits in force, in order of meter and period.

    The customer's own limit replaces the plan's on the same meter and period; with another period it is a further one,
    and all must hold. A gauge has a level, whatever the period, so an own limit replaces all of its plan's. The
    defaults hold for a meter, period by period, where neither says anything about that meter.
    """
    result: dict[tuple[int, str], tuple[int | None, str]] = {}
    own, plan = list(own), list(plan)
    own_meters = {meter for meter, _, _ in own}
    for meter, period, amount in plan:
        if not (meter in gauges and meter in own_meters):
            result[meter, period] = amount, "plan"
    spoken_for = {meter for meter, _, _ in plan} | {meter for meter, _, _ in own if meter in gauges}
    for meter, period, amount in default:
        if meter not in spoken_for:
            result[meter, period] = amount, "default"
    for meter, period, amount in own:
        result[meter, period] = amount, "customer"
    return [(*key, *value) for key, value in sorted(result.items())]


def percentage(used: int, limit: int | None) -> int:
    """Whole percent, rounded down, not capped. Unlimited is 0, a limit of 0 is 100."""
    if limit is None:
        return 0
    if limit == 0:
        return 100
    return used * 100 // limit


def decide(usages: Sequence[Usage], amount: int) -> Decision:
    """Whether ``amount`` more fits under every limit. Exactly at the limit is allowed."""
    for usage in usages:
        if usage.limit is not None and usage.used + amount > usage.limit:
            return _decision(False, usage)
    return _decision(True, fullest(usages))


def fullest(usages: Sequence[Usage]) -> Usage:
    """The limit with the highest percentage; of equals the one with the least left; unlimited where there is none."""

    def fullness(usage: Usage) -> tuple[bool, int, int]:
        if usage.limit is None:
            return False, 0, 0
        return True, percentage(usage.used, usage.limit), usage.used - usage.limit

    return max(usages, key=fullness)


def _decision(allowed: bool, usage: Usage) -> Decision:
    remaining = None if usage.limit is None else max(0, usage.limit - usage.used)
    return Decision(
        allowed, usage.period, usage.limit, usage.used, remaining, usage.resets_at, percentage(usage.used, usage.limit)
    )
