"""A ledger with everything in it, made by the public functions: what a verification must find nothing wrong with."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import nbilling
from nbilling.model.clock import DAY, HOUR, MINUTE, format_time, parse_time
from nbilling.model.imports import ImportOptions

GIB = 2**30
ZONES = {
    "acme": "UTC",
    "berlin": "Europe/Berlin",
    "kolkata": "Asia/Kolkata",
    "stjohns": "America/St_Johns",
    "lordhowe": "Australia/Lord_Howe",
    "teamco": "America/New_York",
    "weekly": "Pacific/Auckland",
    "prepaid": "UTC",
}
CATALOGUE: dict[str, Any] = {
    "team": {
        "name": "Team",
        "price": "9.00",
        "per_seat": True,
        "trial_days": 5,
        "limits": [
            {"meter": "api_requests", "period": "per_month", "amount": 100, "per_seat": True, "mode": "soft"},
            {"meter": "calls", "period": "per_period", "amount": 2, "threshold": 70},
        ],
        "prices": {
            "api_requests": {
                "model": "graduated",
                "tiers": [{"up_to": "500", "unit_price": "0.01"}, {"unit_price": "0.005", "flat_amount": "1"}],
                "unit": "request",
            },
            "seats": {"model": "per_unit", "unit_price": "1.50", "unit": "person", "allowance": "none"},
            "tokens": {"model": "package", "package_size": "10", "package_price": "0.35", "per": "1000"},
        },
    },
    **{
        name: {
            "name": name.title(),
            "price": price,
            "fee": "advance",
            "limits": [{"meter": "api_requests", "period": "per_month", "amount": 300}],
            "prices": {"api_requests": {"model": "per_unit", "unit_price": "0.013", "unit": "request"}},
        }
        for name, price in (("silver", "20.00"), ("gold", "55.55"))
    },
    "sprint": {
        "name": "Sprint",
        "price": "4.99",
        "interval": "week",
        "proration": "none",
        "limits": [{"meter": "compute", "period": "per_period", "amount": "unlimited"}],
        "prices": {
            "bandwidth": {"model": "volume", "tiers": [{"unit_price": "0.07"}], "per": str(2**30), "unit": "GB"}
        },
    },
}
SETTINGS = {"BILLING_TAX_RATE": "19", "BILLING_TAX_LABEL": "VAT", "BILLING_COMPANY_COUNTRY": "DE"}


class HandClock:
    """Stands where the test puts it, and goes on by a millisecond whenever it is read: no two things happen at once."""

    def __init__(self, time: str) -> None:
        self.at = parse_time(time)

    def now(self) -> int:
        self.at += 1000
        return self.at

    def to(self, time: str) -> None:
        self.at = parse_time(time)

    def forward(self, step: int) -> None:
        self.at += step


class World:
    """A ledger and its clock."""

    def __init__(self, path: Path, seed: int = 7) -> None:
        nbilling.init(path)
        self.clock = HandClock("2026-01-01T00:00:00Z")
        self.billing = nbilling.open(path, config=nbilling.Config(SETTINGS), clock=self.clock)
        self.chance = random.Random(seed)

    def close(self) -> None:
        self.billing.close()

    def everything(self) -> None:
        """Four months of eight customers."""
        self.accounts()
        self.january()
        self.february()
        self.march()

    def accounts(self) -> None:
        usage = self.billing.usage
        usage.create_meter("calls", aggregation="count", unit="calls")
        usage.create_meter("peak", aggregation="max", unit="connections", dimension="region")
        usage.create_meter("version", aggregation="last", unit="numbers")
        usage.create_meter("seats", aggregation="unique", unit="people")
        usage.create_meter("tokens", unit="tokens", scale=3, dimension="model")
        usage.create_meter("octets", kind="counter", unit="octets", dimension="zone")
        usage.create_meter("queue", kind="gauge", aggregation="max", unit="jobs")
        usage.create_meter("stock", kind="gauge", aggregation="last", unit="items", dimension="place")
        for customer, zone in ZONES.items():
            self.billing.customers.create(customer, zone=zone, name=customer.title())
        self.billing.taxes.add("Sales tax", "7.25", customer_id="stjohns", inclusive=True)
        self.billing.taxes.add("County", "1", customer_id="stjohns", inclusive=True)
        self.billing.customers.update("lordhowe", tax_exempt="Charity")
        self.billing.discounts.create("SPRING", percent="10", periods=2)
        self.billing.discounts.create("FIVER", amount="5.00", meters=("api_requests", "bandwidth"))
        self.billing.quota.set_limit("kolkata", "api_requests", 600, "per_month")
        self.billing.quota.set_limit("kolkata", "seats", 50, "per_month")
        self.billing.quota.set_limit("berlin", "storage", 5 * GIB, "absolute")
        plan = self.billing.plans.create_custom(
            "lordhowe", "Island", "12.34", json.dumps({"api_requests": 100, "seats": 3, "octets": 5000})
        )
        self.billing.plans.upgrade("acme", "pro")
        self.billing.plans.upgrade("berlin", "pro")
        self.clock.to("2026-01-05T06:00:00Z")
        self.billing.plans.upgrade("stjohns", "pro")
        self.billing.plans.upgrade("lordhowe", plan)
        self.billing.catalogue.apply({"plans": CATALOGUE})
        self.billing.plans.upgrade("teamco", "team")
        self.billing.plans.upgrade("weekly", "sprint")
        self.billing.plans.upgrade("prepaid", "silver")
        self.billing.invoices.run()

    def traffic(self, since: str, days: int, count: int) -> None:
        """Usage of all meters, in no order, some of it with ids of every kind."""
        start, events = parse_time(since), []
        for number in range(count):
            at = start + self.chance.randrange(days * DAY)
            if number % 5 == 0:  # around midnight in one zone or another
                at = start + self.chance.randrange(days) * DAY + self.chance.randrange(0, 96) * 15 * MINUTE
            customer = self.chance.choice(list(ZONES))
            event: dict[str, Any] = {"customer": customer, "at": min(at, self.clock.at)}
            event |= self.event(number)
            if number % 3 == 0:
                event["id"] = f"{since}-{number}"
            events.append(event)
        report = self.billing.usage.track_many(events)
        assert (report.added, report.bad) == (count, 0)

    def event(self, number: int) -> dict[str, Any]:
        """Usage of one of the meters, without customer and time."""
        found: dict[str, Any] = self.chance.choice(self._meters())(number)
        return found

    def _meters(self) -> list[Any]:
        chance = self.chance
        return [
            lambda n: {"meter": "api_requests", "amount": chance.randrange(1, 400)},
            lambda n: {"meter": "api_requests", "amount": chance.randrange(1, 400)},
            lambda n: {"meter": "bandwidth", "amount": chance.randrange(9 * GIB), "dimension": "egress"},
            lambda n: {"meter": "bandwidth", "amount": -chance.randrange(GIB), "dimension": "ingress"},
            lambda n: {"meter": "compute", "amount": f"{chance.randrange(9000)}.{n:06d}", "dimension": "worker"},
            lambda n: {"meter": "calls", "amount": n},
            lambda n: {"meter": "peak", "amount": chance.randrange(50), "dimension": chance.choice("ab")},
            lambda n: {"meter": "version", "amount": n},
            lambda n: {"meter": "seats", "metadata": {"value": f"user-{chance.randrange(12)}"}},
            lambda n: {"meter": "tokens", "amount": f"{n}.{n % 1000:03d}", "dimension": chance.choice(("s", "m"))},
            lambda n: {"meter": "octets", "amount": chance.randrange(3000), "dimension": chance.choice("xy")},
            lambda n: {"meter": "queue", "amount": chance.randrange(30), "set": True},
            lambda n: {"meter": "stock", "amount": 1 + n, "dimension": chance.choice(("here", "there"))},
            lambda n: {"meter": "storage", "amount": chance.randrange(30 * GIB), "set": True},
            lambda n: {"meter": "storage", "amount": chance.randrange(GIB)},
        ]

    def bill(self, customer: str, on: str) -> str:
        return self.billing.invoices.generate(customer, "monthly", on=on)

    def january(self) -> None:
        """Resets, an early invoice, plans that change in the middle, ids without a time, a log."""
        usage = self.billing.usage
        self.clock.to("2026-01-10T12:00:00Z")
        self.traffic("2026-01-01T00:00:00Z", 9, 70)
        usage.reset("kolkata", "monthly")
        self.billing.quota.reset("acme", "daily")
        for number in range(12):
            self.clock.at += 7 * MINUTE
            usage.track("kolkata", "api_requests", 3 + number, id=f"plain {number}")
            usage.track("acme", "seats", metadata={"value": number % 4})
        self.billing.subscriptions.set_quantity("teamco", 3)
        self.billing.quota.reset("kolkata", "daily")
        usage.track("kolkata", "api_requests", 5)
        usage.track("kolkata", "peak", 900, dimension="a")
        usage.track("kolkata", "version", 77)
        usage.track("kolkata", "octets", 4000, dimension="x")
        self.billing.quota.enforce("kolkata", "api_requests", 2, id="reserved")
        lines = [
            f'10.0.0.1 - berlin [10/Jan/2026:11:{n:02d}:00 +0000] "GET /{n} HTTP/1.1" 200 {900 + n} "-" "curl"'.encode()
            for n in range(20)
        ]
        usage.import_log(lines, ImportOptions(customer_from="user"))
        self.clock.to("2026-01-16T12:00:00Z")
        early = self.bill("berlin", "2026-01-15")
        self.billing.invoices.apply_discount(early, "SPRING")
        self.billing.invoices.finalize(early)
        self.clock.to("2026-01-21T09:00:00Z")
        self.traffic("2026-01-10T00:00:00Z", 11, 70)
        usage.reset("acme", "monthly")
        usage.track("acme", "api_requests", 11)
        self.billing.plans.upgrade("acme", "enterprise")
        usage.track("acme", "api_requests", 13)
        usage.track("kolkata", "api_requests", 4)  # counts since the reset, then the upgrade ends that period
        usage.track("kolkata", "seats", metadata={"value": "on the day"})
        self.billing.plans.upgrade("kolkata", "pro")
        self.billing.plans.downgrade("acme", "pro", "at_period_end")
        self.billing.subscriptions.set_quantity("teamco", 2)
        self.billing.plans.upgrade("prepaid", "gold")
        self.clock.to("2026-01-31T23:30:00Z")
        self.traffic("2026-01-21T00:00:00Z", 10, 70)

    def february(self) -> None:
        """January is billed, paid in all ways, voided and billed again; then usage of January comes late."""
        invoices = self.billing.invoices
        self.clock.to("2026-02-06T08:00:00Z")
        self.traffic("2026-02-01T00:00:00Z", 5, 40)
        acme = self.bill("acme", "2026-01-15")
        invoices.apply_discount(acme, "FIVER")
        invoices.apply_discount_percentage(acme, "12.5")
        invoices.add_line(acme, "Setup", "3.333", "1.5")
        invoices.add_line(acme, "Goodwill", "-0.50")
        invoices.finalize(acme)
        invoices.record_payment(acme, "10.00", "transfer")
        self.clock.at += HOUR
        invoices.mark_paid(acme, "card")
        stjohns = self.bill("stjohns", "2026-01-20")
        invoices.finalize(stjohns)
        invoices.void(stjohns)
        self.clock.at += HOUR
        self.billing.credits.credit(acme, amount="20.00", reason="outage")
        self.billing.credits.credit(acme, lines={1: "1.01"}, refund="card")
        again = self.bill("stjohns", "2026-01-20")
        invoices.finalize(again)
        self.billing.credits.credit(again, amount="4.44")
        self.billing.invoices.record_payment(again, "1.00", "cash")
        once = invoices.create("kolkata")
        invoices.add_line(once, "Training", "450", "2")
        invoices.finalize(once)
        for customer, on in (("kolkata", "2026-01-05"), ("lordhowe", "2026-01-20")):
            invoices.finalize(self.bill(customer, on))
        self.billing.subscriptions.pause("teamco", "holidays")
        self.billing.subscriptions.cancel("lordhowe")
        self.clock.to("2026-02-20T10:00:00Z")
        self.billing.subscriptions.resume("teamco")
        self.billing.catalogue.apply({"plans": {"team": CATALOGUE["team"] | {"price": "10.00"}}})
        self.billing.catalogue.move("team")
        self.billing.plans.upgrade("weekly", "pro")
        self.billing.subscriptions.cancel("prepaid", "now")
        self.traffic("2026-01-03T00:00:00Z", 28, 60)  # late
        self.traffic("2026-02-06T00:00:00Z", 14, 50)
        self.billing.plans.downgrade("stjohns", "free", "now")
        self.billing.usage.reset("stjohns", "monthly")
        self.billing.usage.track("stjohns", "tokens", "5.5", dimension="s")
        self.clock.to("2026-02-28T23:59:59Z")

    def march(self) -> None:
        """The late usage is billed with February's; a correction to nothing, a draft that stays one."""
        invoices = self.billing.invoices
        self.clock.to("2026-03-03T08:00:00Z")
        self.billing.invoices.run()
        self.clock.to("2026-03-10T12:00:00Z")
        self.traffic("2026-01-03T00:00:00Z", 60, 50)  # late again
        self.traffic("2026-03-01T00:00:00Z", 9, 40)
        self.billing.usage.track("acme", "api_requests", 7, at=format_time(self.clock.at + 30 * MINUTE))
        self.billing.invoices.run()
        self.clock.to("2026-04-02T12:00:00Z")
        self.billing.invoices.run()
        self.billing.usage.track("berlin", "api_requests", 1)
        draft = invoices.generate("acme", "monthly")
        invoices.apply_discount_percentage(draft, 5)
