"""Any order of calls, over several zones, against a model that knows nothing but the events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from nbilling.model.clock import DAY, HOUR, format_time, parse_time
from nbilling.model.errors import BadInput, Conflict

START = "2024-01-30T20:00:00Z"  # the eve of months of 31, 29 and 31 days; a leap day and changes of clocks follow
ZONES = {"utc": "UTC", "ktm": "Asia/Kathmandu", "nyc": "America/New_York", "cai": "Africa/Cairo"}
PLANS = {"free": 1000, "pro": 10_000, "enterprise": 100_000}
PER_DAY = 60  # everyone's own limit of requests a day
LEVEL = 500  # and of storage
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEVER = date(9000, 1, 1)

customers = st.sampled_from(sorted(ZONES))
amounts = st.integers(0, 40)
ages = st.just(0) | st.integers(-HOUR // 2, 3 * HOUR) | st.integers(0, 70 * DAY)


class Event(NamedTuple):
    """What was recorded. ``seq`` is the order of arrival."""

    seq: int
    customer: str
    meter: str
    at: int
    amount: int
    sets: bool = False


class Reset(NamedTuple):
    """When a window was opened, and after which event."""

    seq: int
    customer: str
    at: int
    scopes: frozenset[str]


class Machine(RuleBasedStateMachine):
    """The ledger and, beside it, plain lists of what was done."""

    def __init__(self, new_world: Callable[..., Any]) -> None:
        super().__init__()
        self.world = new_world(START)
        self.now = parse_time(START)
        self.seq = 0
        self.events: list[Event] = []
        self.resets: list[Reset] = []
        self.ids: list[tuple[str, str, int, str | None]] = []
        # By customer: paid subscriptions as [first day, day after the last], the plan, and what waits for which day.
        self.paid: dict[str, list[list[date]]] = {name: [] for name in ZONES}
        self.plan = dict.fromkeys(ZONES, "free")
        self.pending: dict[str, tuple[str, date] | None] = dict.fromkeys(ZONES)
        for name, zone in ZONES.items():
            self.world.customers.create(name, zone=zone)
            self.world.quota.set_limit(name, "api_requests", PER_DAY, "per_day")
            self.world.quota.set_limit(name, "storage", LEVEL, "absolute")
            self.world.quota.set_limit(name, "bandwidth", "unlimited", "absolute")

    # -- the model

    def day(self, customer: str, at: int) -> date:
        return (EPOCH + timedelta(microseconds=at)).astimezone(ZoneInfo(ZONES[customer])).date()

    def today(self, customer: str) -> date:
        return self.day(customer, self.now)

    def settle(self, customer: str) -> None:
        """What waited for a day that has come has happened."""
        waiting = self.pending[customer]
        if waiting and waiting[1] <= self.today(customer):
            self.change(customer, *waiting)

    def change(self, customer: str, plan: str, day: date) -> None:
        subscriptions = self.paid[customer]
        if plan == "free":
            subscriptions[-1][1] = day
        elif self.plan[customer] == "free":
            subscriptions.append([day, NEVER])
        self.plan[customer], self.pending[customer] = plan, None

    def period(self, customer: str, day: date) -> tuple[date, date]:
        for start, end in self.paid[customer]:
            if start <= day < end:
                months = (day.year - start.year) * 12 + day.month - start.month
                n = months if start + relativedelta(months=months) <= day else months - 1
                return start + relativedelta(months=n), min(end, start + relativedelta(months=n + 1))
        first = day.replace(day=1)
        ended = [end for _, end in self.paid[customer] if end <= day]
        begins = [start for start, end in self.paid[customer] if start > day and end > start]
        return max([first, *ended]), min([first + relativedelta(months=1), *begins])

    def of(self, customer: str, meter: str) -> list[Event]:
        return [event for event in self.events if (event.customer, event.meter) == (customer, meter)]

    def counted(self, customer: str, meter: str, scope: str, first: date, last: date) -> int:
        """Amount in ``[first, last)``, since the last reset of that scope in it."""
        events = [event for event in self.of(customer, meter) if first <= self.day(customer, event.at) < last]
        resets = [reset for reset in self.resets if reset.customer == customer and scope in reset.scopes
                  and first <= self.day(customer, reset.at) < last]  # fmt: skip
        if resets:
            events = [event for event in events if event.seq > resets[-1].seq and event.at >= resets[-1].at]
        return sum(event.amount for event in events)

    def month(self, customer: str, meter: str, scope: str) -> int:
        return self.counted(customer, meter, scope, *self.period(customer, self.today(customer)))

    def this_day(self, customer: str, meter: str) -> int:
        today = self.today(customer)
        return self.counted(customer, meter, "quota_day", today, today + timedelta(days=1))

    @staticmethod
    def levels(events: list[Event]) -> list[tuple[int, int]]:
        """``(at, level)`` in the order of the events' own time."""
        level, result = 0, []
        for event in sorted(events, key=lambda event: (event.at, event.seq)):
            level = event.amount if event.sets else level + event.amount
            result.append((event.at, level))
        return result

    def keep(self, event: Event) -> None:
        self.seq = event.seq
        self.events.append(event)

    # -- what can happen

    @rule(hours=st.integers(1, 30) | st.integers(1, 24 * 45))
    def time_passes(self, hours: int) -> None:
        self.now += hours * HOUR
        self.world.to(format_time(self.now))

    @rule(customer=customers, meter=st.sampled_from(["api_requests", "bandwidth"]), amount=amounts, age=ages)
    def track(self, customer: str, meter: str, amount: int, age: int) -> None:
        self.settle(customer)
        at = max(self.now - age, 0)
        dimension = ("egress", "ingress")[amount % 2] if meter == "bandwidth" else ""
        self.world.usage.track(customer, meter, amount, dimension=dimension, at=at)
        self.keep(Event(self.seq + 1, customer, meter, at, amount))

    @rule(customer=customers, amount=amounts, timed=st.booleans())
    def track_with_an_id(self, customer: str, amount: int, timed: bool) -> None:
        self.settle(customer)
        event_id, at = f"e{self.seq}", format_time(self.now) if timed else None
        self.world.usage.track(customer, "api_requests", amount, id=event_id, at=at)
        self.keep(Event(self.seq + 1, customer, "api_requests", self.now, amount))
        self.ids.append((customer, event_id, amount, at))

    @rule(data=st.data(), other=st.booleans())
    def the_same_id_again(self, data: st.DataObject, other: bool) -> None:
        if self.ids:
            customer, event_id, amount, at = data.draw(st.sampled_from(self.ids))
            self.settle(customer)
            if other:
                with pytest.raises(Conflict):
                    self.world.usage.track(customer, "api_requests", amount + 1, id=event_id, at=at)
            else:
                self.world.usage.track(customer, "api_requests", amount, id=event_id, at=at)

    @rule(data=st.data())
    def correct(self, data: st.DataObject) -> None:
        wrong = [event for event in self.events if event.meter == "api_requests" and event.amount > 0]
        if wrong:
            event = data.draw(st.sampled_from(wrong))
            self.settle(event.customer)
            self.world.usage.track(event.customer, "api_requests", -event.amount, at=event.at)
            self.keep(event._replace(seq=self.seq + 1, amount=-event.amount))

    @rule(customer=customers, amount=st.integers(-60, 120), sets=st.booleans(), age=ages)
    def change_a_level(self, customer: str, amount: int, sets: bool, age: int) -> None:
        self.settle(customer)
        at = max(self.now - age, 0)
        event = Event(self.seq + 1, customer, "storage", at, abs(amount) if sets else amount, sets)
        if any(level < 0 for _, level in self.levels([*self.of(customer, "storage"), event])):
            with pytest.raises(BadInput, match="below zero"):
                self.world.usage.track(customer, "storage", event.amount, set=sets, at=at)
        else:
            self.world.usage.track(customer, "storage", event.amount, set=sets, at=at)
            self.keep(event)

    @rule(customer=customers, meter=st.sampled_from(["api_requests", "storage"]), amount=st.integers(0, 70))
    def enforce(self, customer: str, meter: str, amount: int) -> None:
        self.settle(customer)
        if meter == "storage":
            levels = self.levels(self.of(customer, meter))
            fits = (levels[-1][1] if levels else 0) + amount <= LEVEL
        else:
            month = self.month(customer, meter, "quota_month")
            fits = month + amount <= PLANS[self.plan[customer]] and self.this_day(customer, meter) + amount <= PER_DAY
        assert self.world.quota.check(customer, meter, amount).allowed is fits
        assert self.world.quota.enforce(customer, meter, amount).allowed is fits
        if fits:
            self.keep(Event(self.seq + 1, customer, meter, self.now, amount))

    @rule(customer=customers, period=st.sampled_from(["monthly", "daily"]), quota_only=st.booleans())
    def reset(self, customer: str, period: str, quota_only: bool) -> None:
        self.settle(customer)
        (self.world.quota if quota_only else self.world.usage).reset(customer, period)
        scopes = {"quota_day"} if period == "daily" else {"quota_day", "quota_month"}
        if period == "monthly" and not quota_only:
            scopes.add("usage_month")
        self.resets.append(Reset(self.seq, customer, self.now, frozenset(scopes)))

    @rule(customer=customers, plan=st.sampled_from(sorted(PLANS)), now=st.booleans())
    def change_plan(self, customer: str, plan: str, now: bool) -> None:
        self.settle(customer)
        present, today = self.plan[customer], self.today(customer)
        if PLANS[plan] > PLANS[present]:
            self.world.plans.upgrade(customer, plan)
            self.change(customer, plan, today)
        elif plan != present:
            self.world.plans.downgrade(customer, plan, "now" if now else "at_period_end")
            if now:
                self.change(customer, plan, today)
            elif not self.pending[customer] or self.pending[customer][0] != plan:  # type: ignore[index]
                self.pending[customer] = plan, self.period(customer, today)[1]

    # -- what always holds

    @invariant()
    def reports_say_what_happened(self) -> None:
        for customer in ZONES:
            self.settle(customer)
            current = self.world.usage.get_current(customer)
            first, last = self.period(customer, self.today(customer))
            bounds = [self.day(customer, parse_time(current[name])) for name in ("period_start", "period_end")]
            assert bounds == [first, last]
            assert current["api_requests"] == self.month(customer, "api_requests", "usage_month")
            assert current["bandwidth_bytes"] == self.month(customer, "bandwidth", "usage_month")
            assert self.world.plans.get_current(customer)["id"] == self.plan[customer]
            used = {(row["resource"], row["period"]): row["usage"] for row in self.world.quota.limits(customer)}
            assert used["api_requests", "per_month"] == self.month(customer, "api_requests", "quota_month")
            assert used["api_requests", "per_day"] == self.this_day(customer, "api_requests")
            assert used["bandwidth", "absolute"] == sum(event.amount for event in self.of(customer, "bandwidth"))
            levels = self.levels(self.of(customer, "storage"))
            assert used["storage", "absolute"] == current["storage_bytes"] == (levels[-1][1] if levels else 0)

    @invariant()
    def days_say_what_happened(self) -> None:
        customer = sorted(ZONES)[self.seq % len(ZONES)]
        history = self.world.usage.get_history(customer, 40)
        assert history[-1]["date"] == self.today(customer).isoformat()
        for name, meter in (("api_requests", "api_requests"), ("bandwidth_bytes", "bandwidth")):
            days: Counter[str] = Counter()
            for event in self.of(customer, meter):
                days[self.day(customer, event.at).isoformat()] += event.amount
            assert [entry[name] for entry in history] == [days[entry["date"]] for entry in history]
        levels = self.levels(self.of(customer, "storage"))
        for entry in history:
            held = [level for at, level in levels if self.day(customer, at).isoformat() <= entry["date"]]
            assert entry["storage_bytes"] == (held[-1] if held else 0)

    def teardown(self) -> None:
        self.world.close()


def test_any_order_of_calls_counts_as_the_events_say(new_world: Callable[..., Any]) -> None:
    run_state_machine_as_test(
        lambda: Machine(new_world), settings=settings(max_examples=25, stateful_step_count=40, deadline=None)
    )
