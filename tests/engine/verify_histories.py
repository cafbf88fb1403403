"""Random histories: customers use, change plans, pause, are billed, pay and are credited in any order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nbilling.model.clock import DAY, HOUR, MINUTE, format_time, parse_time
from nbilling.model.errors import NbillingError

from .verify_ledger import ZONES, World

_BEGINNING = parse_time("2026-01-01T00:00:00Z")
_STEPS = (MINUTE, HOUR, 7 * HOUR, DAY, 9 * DAY, 20 * DAY)


class History:
    """A ledger to which something happens at random, step by step. What is refused is a step too."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._billing = world.billing
        self._chance = world.chance
        self.refused = 0

    def step(self) -> None:
        """One thing."""
        customer = self._chance.choice(list(ZONES))
        groups = [
            self._usage,
            self._usage,
            self._usage,
            self._time,
            self._plans,
            self._limits,
            self._drafts,
            self._settling,
        ]
        try:
            self._chance.choice(self._chance.choice(groups)(customer))()
        except NbillingError:
            self.refused += 1

    def _invoice(self, *statuses: str) -> str:
        found = [invoice["id"] for invoice in self._billing.invoices.list(limit=500) if invoice["status"] in statuses]
        return str(self._chance.choice(found)) if found else "none"

    def _usage(self, customer: str) -> list[Callable[[], Any]]:
        return [
            lambda: self._track(customer, self._chance.randrange(3 * HOUR)),
            lambda: self._track(customer, self._chance.randrange(70 * DAY)),
            lambda: self._track(customer, -self._chance.randrange(50 * MINUTE)),
        ]

    def _track(self, customer: str, ago: int) -> None:
        event = self._world.event(self._chance.randrange(1000)) | {"customer": customer}
        event["at"] = max(_BEGINNING, self._world.clock.at - ago)
        if self._chance.random() < 0.3:
            event["id"] = f"event {self._chance.randrange(10**9)}"
        if self._chance.random() < 0.2:
            del event["at"]
        self._billing.usage.track_many([event])

    def _time(self, customer: str) -> list[Callable[[], Any]]:
        clock, billing = self._world.clock, self._billing
        return [
            lambda: clock.forward(self._chance.choice(_STEPS)),
            billing.run,
            billing.invoices.run,
        ]

    def _plans(self, customer: str) -> list[Callable[[], Any]]:
        plans, subscriptions, chance = self._billing.plans, self._billing.subscriptions, self._chance
        when = chance.choice(("now", "at_period_end"))
        return [
            lambda: plans.upgrade(customer, chance.choice(("pro", "enterprise", "team", "sprint", "silver", "gold"))),
            lambda: plans.downgrade(customer, chance.choice(("free", "pro", "team", "silver")), when),
            lambda: subscriptions.cancel(customer, when),
            lambda: subscriptions.reactivate(customer),
            lambda: subscriptions.pause(customer),
            lambda: subscriptions.resume(customer),
            lambda: subscriptions.set_quantity(customer, chance.randrange(1, 5)),
            lambda: self._billing.catalogue.move("team", now=when == "now"),
        ]

    def _limits(self, customer: str) -> list[Callable[[], Any]]:
        billing, chance = self._billing, self._chance
        what, period = chance.choice((("api_requests", "per_month"), ("storage", "absolute")))
        return [
            lambda: billing.usage.reset(customer, chance.choice(("monthly", "daily"))),
            lambda: billing.quota.reset(customer, chance.choice(("monthly", "daily"))),
            lambda: billing.quota.set_limit(customer, what, chance.randrange(10**6), period),
        ]

    def _drafts(self, customer: str) -> list[Callable[[], Any]]:
        invoices, chance = self._billing.invoices, self._chance
        interval = "weekly" if chance.random() < 0.2 else "monthly"
        then = format_time(self._world.clock.at - chance.randrange(60) * DAY)[:10]
        price = f"{chance.randrange(-3, 9)}.{chance.randrange(100):02d}"
        return [
            lambda: invoices.generate(customer, interval),
            lambda: invoices.generate(customer, interval, on=then),
            lambda: invoices.create(customer),
            lambda: invoices.add_line(self._invoice("draft"), "By hand", price, chance.randrange(1, 3)),
            lambda: invoices.apply_discount_percentage(self._invoice("draft"), chance.randrange(50)),
            lambda: invoices.apply_discount(self._invoice("draft"), chance.choice(("SPRING", "FIVER"))),
            lambda: invoices.finalize(self._invoice("draft")),
        ]

    def _settling(self, customer: str) -> list[Callable[[], Any]]:
        invoices, credits = self._billing.invoices, self._billing.credits
        issued = self._invoice("open", "part_paid", "paid")
        return [
            lambda: invoices.mark_paid(self._invoice("open", "part_paid"), "card"),
            lambda: invoices.record_payment(self._invoice("open", "part_paid"), "0.50", "cash"),
            lambda: invoices.void(self._invoice("open")),
            lambda: credits.credit(issued, refund=self._chance.choice(("", "card"))),
            lambda: credits.credit(issued, amount="0.70"),
        ]
