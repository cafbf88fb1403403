"""Quotas: which limit holds, and whether an amount fits under it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

PERIODS = ("per_minute", "per_hour", "per_day", "per_month", "per_period", "absolute")
MODES = ("hard", "soft")
UNLIMITED = "unlimited"
SOFT_THRESHOLD = 80
"""Percent of a limit at which a warning is given, unless configured otherwise."""

Limit = tuple[int, str, int | None, *tuple[Any, ...]]
"""``(meter, period, amount, …)``; what follows are its terms, which stay with it."""


class Usage(NamedTuple):
    """A limit with what counts against it. Base units; ``limit`` None is unlimited; ``resets_at`` 0 is never."""

    period: str
    limit: int | None
    used: int
    resets_at: int
    mode: str = "hard"
    threshold: int | None = None


class Decision(NamedTuple):
    """Whether an amount is allowed, by the limit that decides: the first hard one exceeded, else the fullest.

    ``over``: a soft limit is exceeded all the same, and what lies above it is charged if the plan has a price.
    """

    allowed: bool
    period: str
    limit: int | None
    used: int
    remaining: int | None
    resets_at: int
    percentage: int
    threshold: int | None = None
    over: bool = False


def effective_limits(
    own: Iterable[Limit], plan: Iterable[Limit], default: Iterable[Limit], gauges: set[int]
) -> list[tuple[int, str, int | None, str, *tuple[Any, ...]]]:
    """``(meter, period, amount, source, …)`` of the limits in force with their terms, in order of meter and period.

    The customer's own limit replaces the plan's on the same meter and period; with another period it is a further one,
    and all must hold. A gauge has a level, whatever the period, so an own limit replaces all of its plan's. The
    defaults hold for a meter, period by period, where neither says anything about that meter.
    """
    result: dict[tuple[int, str], tuple[Any, ...]] = {}
    own, plan = list(own), list(plan)
    own_meters = {limit[0] for limit in own}
    for meter, period, amount, *terms in plan:
        if not (meter in gauges and meter in own_meters):
            result[meter, period] = amount, "plan", *terms
    spoken_for = {limit[0] for limit in plan} | {limit[0] for limit in own if limit[0] in gauges}
    for meter, period, amount, *terms in default:
        if meter not in spoken_for:
            result[meter, period] = amount, "default", *terms
    for meter, period, amount, *terms in own:
        result[meter, period] = amount, "customer", *terms
    return [(*key, *value) for key, value in sorted(result.items())]


def included(limits: Iterable[Limit], gauges: set[int], monthly: bool = True) -> dict[int, int | None]:
    """By meter, what the limits in force include in a billing period; None is unlimited.

    That is the limit of the period itself, else the one of the month where the period is one (``monthly``); of a gauge
    the lowest of all.
    """
    result: dict[int, int | None] = {}
    for meter, period, amount, *_ in limits:
        if meter in gauges:
            known = result.get(meter)
            result[meter] = amount if known is None else known if amount is None else min(known, amount)
        elif period == "per_period" or (period == "per_month" and monthly and meter not in result):
            result[meter] = amount
    return result


def percentage(used: int, limit: int | None) -> int:
    """Whole percent, rounded down, not capped. Unlimited is 0, a limit of 0 is 100."""
    if limit is None:
        return 0
    if limit == 0:
        return 100
    return used * 100 // limit


def decide(usages: Sequence[Usage], amount: int) -> Decision:
    """Whether ``amount`` more fits under every hard limit. Exactly at the limit is allowed."""
    over = None
    for usage in usages:
        if usage.limit is not None and usage.used + amount > usage.limit:
            if usage.mode != "soft":
                return _decision(False, usage)
            over = over or usage
    return _decision(True, over or fullest(usages), over is not None)


def warns(percent: int, threshold: int | None, configured: int) -> bool:
    """Whether so much of a limit deserves a warning."""
    return percent >= (configured if threshold is None else threshold)


def fullest(usages: Sequence[Usage]) -> Usage:
    """The limit with the highest percentage; of equals the one with the least left; unlimited where there is none."""

    def fullness(usage: Usage) -> tuple[bool, int, int]:
        if usage.limit is None:
            return False, 0, 0
        return True, percentage(usage.used, usage.limit), usage.used - usage.limit

    return max(usages, key=fullness)


def _decision(allowed: bool, usage: Usage, over: bool = False) -> Decision:
    remaining = None if usage.limit is None else max(0, usage.limit - usage.used)
    percent = percentage(usage.used, usage.limit)
    return Decision(
        allowed, usage.period, usage.limit, usage.used, remaining, usage.resets_at, percent, usage.threshold, over
    )
