"""Limits under any order of calls, over month ends, a leap day and changes of clocks, against a sum of events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from nbilling.engine.verify import Verification
from nbilling.model.clock import DAY, HOUR, MINUTE, format_time, parse_time
from nbilling.model.errors import Conflict, NotFound

# Clocks go forward and back in each zone; Lord Howe's by half an hour, and its hours begin at half past those of UTC.
ZONES = {"ber": "Europe/Berlin", "nyc": "America/New_York", "ldh": "Australia/Lord_Howe"}
STARTS = (
    "2024-01-31T20:00:00Z",  # the eve of a month of 29 days
    "2024-02-28T22:00:00Z",  # the eve of the leap day
    "2024-03-09T20:00:00Z",  # New York goes forward
    "2024-03-30T20:00:00Z",  # Berlin goes forward, on the eve of a month
    "2024-04-06T10:00:00Z",  # Lord Howe goes back by half an hour
    "2024-10-26T20:00:00Z",  # Berlin goes back
    "2024-11-02T20:00:00Z",  # New York goes back
)
LIMITS = {"per_minute": 8, "per_hour": 20, "per_day": 40, "absolute": 200}
PLANS = {"free": 1000, "pro": 10_000}
MONTHLY = 90
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

customers = st.sampled_from(sorted(ZONES))


class Event(NamedTuple):
    """What counts. ``seq`` is the order of arrival."""

    seq: int
    at: int
    amount: int


class Machine(RuleBasedStateMachine):
    """The ledger, and beside it the events and resets of each customer."""

    def __init__(self, new_world: Callable[..., Any], start: str) -> None:
        super().__init__()
        self.world = new_world(start)
        self.now = parse_time(start)
        self.seq = 0
        self.events: dict[str, list[Event]] = {name: [] for name in ZONES}
        self.resets: dict[str, list[tuple[int, int, str]]] = {name: [] for name in ZONES}
        self.reserved: dict[str, dict[str, tuple[Event, int | None]]] = {name: {} for name in ZONES}
        # The subscriptions that were bought: the first day, and the day after the last.
        self.bought: dict[str, list[list[date]]] = {name: [] for name in ZONES}
        for name, zone in ZONES.items():
            self.world.customers.create(name, zone=zone)
            for period, limit in LIMITS.items():
                self.world.quota.set_limit(name, "api_requests", limit, period)
            self.world.quota.set_limit(name, "api_requests", MONTHLY, "per_month")

    # -- the model

    def local(self, customer: str, at: int) -> datetime:
        return (EPOCH + timedelta(microseconds=at)).astimezone(ZoneInfo(ZONES[customer]))

    def month(self, customer: str, at: int) -> tuple[date, date]:
        day = self.local(customer, at).date()
        for start, end in self.bought[customer]:
            if start <= day < end:
                n = (day.year - start.year) * 12 + day.month - start.month
                n -= start + relativedelta(months=n) > day
                return start + relativedelta(months=n), min(end, start + relativedelta(months=n + 1))
        first = day.replace(day=1)
        ends = [end for _, end in self.bought[customer] if end <= day]
        return max([first, *ends]), first + relativedelta(months=1)

    def span(self, customer: str, period: str, at: int) -> Any:
        """Two instants are in the same span exactly if this is equal."""
        local = self.local(customer, at)
        if period == "per_minute":
            return at // MINUTE
        if period == "per_hour":
            return at - local.minute * MINUTE - local.second * 1_000_000 - local.microsecond
        if period == "per_day":
            return local.date()
        return self.month(customer, at) if period == "per_month" else None

    def used(self, customer: str, period: str) -> int:
        here = self.span(customer, period, self.now)
        found = [event for event in self.events[customer] if self.span(customer, period, event.at) == here]
        if period in ("per_day", "per_month"):
            since = [
                (seq, at)
                for seq, at, scope in self.resets[customer]
                if self.span(customer, period, at) == here and (period == "per_day" or scope == "monthly")
            ]
            if since:
                found = [event for event in found if event.seq > since[-1][0] and event.at >= since[-1][1]]
        return sum(event.amount for event in found)

    def left(self, customer: str) -> int:
        return min(limit - self.used(customer, period) for period, limit in {**LIMITS, "per_month": MONTHLY}.items())

    def keep(self, customer: str, at: int, amount: int) -> Event:
        self.seq += 1
        self.events[customer].append(Event(self.seq, at, amount))
        return self.events[customer][-1]

    # -- what may happen

    @rule(step=st.sampled_from([1, MINUTE, 29 * MINUTE, HOUR, 5 * HOUR, DAY, 3 * DAY, 17 * DAY]))
    def time_passes(self, step: int) -> None:
        self.now += step
        self.world.to(format_time(self.now))

    @rule(customer=customers, amount=st.integers(0, 12))
    def enforce(self, customer: str, amount: int) -> None:
        fits = amount <= self.left(customer)
        assert self.world.quota.check(customer, "api_requests", amount).allowed is fits
        decision = self.world.quota.enforce(customer, "api_requests", amount, id=f"r-{self.seq}")
        assert decision.allowed is fits
        if fits:
            name = f"r-{self.seq}"
            self.reserved[customer].setdefault(name, (self.keep(customer, self.now, amount), None))

    @rule(customer=customers, pick=st.integers(0, 10**6), part=st.integers(0, 12), whole=st.booleans())
    def release(self, customer: str, pick: int, part: int, whole: bool) -> None:
        if not self.reserved[customer]:
            with pytest.raises(NotFound):
                self.world.quota.release(customer, "api_requests", "never")
            return
        name = sorted(self.reserved[customer])[pick % len(self.reserved[customer])]
        event, given = self.reserved[customer][name]
        amount = event.amount if whole else part
        if amount > event.amount or (given is not None and given != amount):
            with pytest.raises(Conflict):
                self.world.quota.release(customer, "api_requests", name, amount)
            return
        self.world.quota.release(customer, "api_requests", name, None if whole else amount)
        if given is None:
            self.keep(customer, event.at, -amount)
            self.reserved[customer][name] = event, amount

    @rule(customer=customers, amount=st.integers(0, 9), age=st.sampled_from([0, 5 * MINUTE, 2 * HOUR, 26 * HOUR]))
    def track(self, customer: str, amount: int, age: int) -> None:
        self.world.usage.track(customer, "api_requests", amount, at=self.now - age)
        self.keep(customer, self.now - age, amount)

    @rule(customer=customers, period=st.sampled_from(["monthly", "daily"]))
    def reset(self, customer: str, period: str) -> None:
        self.world.quota.reset(customer, period)
        self.resets[customer].append((self.seq, self.now, period))
        self.now += 1  # what happens in the very instant of a reset is another test's
        self.world.to(format_time(self.now))

    @rule(customer=customers)
    def buy_or_cancel(self, customer: str) -> None:
        today = self.local(customer, self.now).date()
        if self.bought[customer] and self.bought[customer][-1][1] > today:
            self.world.billing.subscriptions.cancel(customer, "now")
            self.bought[customer][-1][1] = today
        else:
            self.world.plans.upgrade(customer, "pro")
            self.bought[customer].append([today, date(9000, 1, 1)])

    @rule(customer=customers, event=st.sampled_from(["pause", "resume"]))
    def pause_or_resume(self, customer: str, event: str) -> None:
        """Neither changes what has counted, nor the months."""
        today = self.local(customer, self.now).date()
        if self.bought[customer] and self.bought[customer][-1][1] > today:
            getattr(self.world.billing.subscriptions, event)(customer)

    # -- what always holds

    @invariant()
    def limits_say_what_happened(self) -> None:
        for customer in ZONES:
            rows = [row for row in self.world.quota.limits(customer) if row["resource"] == "api_requests"]
            assert {row["period"]: row["usage"] for row in rows} == {
                period: self.used(customer, period) for period in (*LIMITS, "per_month")
            }

    def teardown(self) -> None:
        assert Verification(self.world.billing.parts()[0]).run().findings == ()
        self.world.close()


@pytest.mark.parametrize("start", STARTS)
def test_no_limit_is_overshot_and_no_unit_lost(new_world: Callable[..., Any], start: str) -> None:
    run_state_machine_as_test(
        lambda: Machine(new_world, start), settings=settings(max_examples=8, stateful_step_count=30, deadline=None)
    )
