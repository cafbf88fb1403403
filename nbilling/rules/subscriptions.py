"""Subscriptions: what may happen to one in which state, and how its periods lie.

A subscription begins with a trial (if its plan gives one and the customer has had none). Then come periods counted from
its anchor: the first day that is paid for, or the plan's day of the month; then the days before that are a shorter
period, whose fee is the share of the whole period that would have ended there. Its interval stays the same.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from types import MappingProxyType
from typing import NamedTuple

from nbilling.model.errors import Conflict
from nbilling.model.periods import Interval, add_months, period_of, to_date, to_day

STATUSES = ("trialing", "active", "past_due", "paused", "canceled")

_ALIVE = ("trialing", "active", "past_due", "paused")
_SAME = MappingProxyType({status: status for status in _ALIVE})
_RUNNING = MappingProxyType({status: status for status in ("trialing", "active", "past_due")})

TRANSITIONS = MappingProxyType(
    {
        "trial_ended": MappingProxyType({"trialing": "active"}),
        "overdue": MappingProxyType({"active": "past_due"}),
        "settled": MappingProxyType({"past_due": "active"}),
        "pause": MappingProxyType({"active": "paused", "past_due": "paused"}),
        "resume": MappingProxyType({"paused": "active"}),
        "change_plan": _RUNNING,
        "change_quantity": _RUNNING,
        "cancel_at_period_end": _SAME,
        "keep": _SAME,
        "cancel": MappingProxyType(dict.fromkeys(_ALIVE, "canceled")),
    }
)
"""What happens to a subscription: by event, the status that each status becomes. What is not listed is refused.

A change that waits for the end of a period (a lower plan, a cancellation) is not a status: the subscription goes on as
it is until then.
"""

_HINTS = {"paused": "nbilling subscription resume first", "canceled": "nbilling subscription reactivate first"}


def after(status: str, event: str) -> str:
    """The status that an event leads to. Conflict where it cannot happen."""
    found = TRANSITIONS[event].get(status)
    if found is None:
        what = event.replace("_", " ")
        raise Conflict(f"a subscription that is {status} cannot {what}", hint=_HINTS.get(status, "see its history"))
    return found


class Cycle(NamedTuple):
    """How the periods of a subscription lie: day numbers, half-open. ``paid_day`` is the first after the trial."""

    start_day: int
    paid_day: int
    anchor_day: int
    interval: Interval
    end_day: int

    def whole(self, day: int) -> tuple[int, int]:
        """``(start_day, end_day)`` of the period of a day if nothing cuts it short: fees are shares of it. A trial is a
        period of its own."""
        if day < self.paid_day:
            return self.start_day, self.paid_day
        return period_of(self.anchor_day, self.interval, day)

    def period(self, day: int) -> tuple[int, int]:
        """``(start_day, end_day)`` of the period of a day."""
        start, end = self.whole(day)
        first = self.start_day if day < self.paid_day else self.paid_day
        return max(start, first), min(end, self.end_day)


def first_anchor(paid_day: int, interval: Interval, day_of_month: int) -> int:
    """The day from which periods are counted: the first that is paid for, or the next such day of a month.

    Where that day is missing in its month the period begins on the last, yet the anchor must keep the day that is
    wanted: so it is a day of another month, a number of whole intervals later.
    """
    if not day_of_month or not interval.months:
        return paid_day
    first = to_date(paid_day)
    year, month = first.year, first.month
    if _in_month(year, month, day_of_month) < first:
        following = add_months(date(year, month, 1), 1)
        year, month = following.year, following.month
    best = _in_month(year, month, day_of_month)
    for n in range(1, 48):
        if best.day >= day_of_month:
            break
        later = add_months(date(year, month, 1), n * interval.months)
        candidate = _in_month(later.year, later.month, day_of_month)
        if candidate.day > best.day:
            best = candidate
    return to_day(best)


def _in_month(year: int, month: int, day: int) -> date:
    return date(year, month, min(day, monthrange(year, month)[1]))


def trial_end(start_day: int, trial_days: int, today: int) -> int:
    """The first day after a trial that was begun on ``start_day``, seen from a plan with so many trial days: it counts
    from the first plan on, and never ends before today (case ``lago-trial-upgrade``)."""
    return max(start_day + trial_days, today)
