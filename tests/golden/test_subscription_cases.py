"""Trials, anchors, seats and changes within a period, as the engine bills them from a plan file to the invoice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import nbilling
from nbilling.model.clock import parse_time

Case = dict[str, Any]


def of(*ids: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", ids, indirect=True)


class Shop:
    """A ledger with plans, one customer, and a clock."""

    def __init__(self, path: Path, start: str, plans: dict[str, Any]) -> None:
        nbilling.init(path)
        self.at = parse_time(start)
        self.billing = nbilling.open(path, config=nbilling.Config({"BILLING_CURRENCY": "USD"}), clock=self)
        self.billing.catalogue.apply({"plans": plans})

    def now(self) -> int:
        return self.at

    def to(self, time: str) -> None:
        self.at = parse_time(time)

    def billed(self) -> list[list[int]]:
        """The amounts that are not nothing of every invoice that a run makes now."""
        made = [self.billing.invoices.show(one["id"]) for one in self.billing.run()["made"]]
        return [[line["amount_minor"] for line in one["lines"] if line["amount_minor"]] for one in made]

    def period(self) -> list[str]:
        found = self.billing.subscriptions.show("acme")
        return [found["current_period_start"][:10], found["current_period_end"][:10]]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    made: list[Shop] = []

    def make(start: str, **plans: Any) -> Shop:
        made.append(Shop(tmp_path / f"{len(made)}.db", start, plans))
        return made[-1]

    yield make
    for one in made:
        assert one.billing.verify().findings == ()
        one.billing.close()


def price(minor: int) -> Decimal:
    return Decimal(minor).scaleb(-2)


def ahead(amount: object, **more: Any) -> dict[str, Any]:
    """A plan whose fee is billed in advance."""
    return {"price": amount, "fee": "advance", **more}


# --- Trials ---------------------------------------------------------------------------------------------------------


@of("lago-trial-first-bill")
def test_the_first_fee_after_a_trial_is_the_rest_of_the_calendar_month(shop: Any, case: Case) -> None:
    found = case["pricing"]
    plan = ahead(price(found["amount_minor"]), anchor_day=1, trial_days=found["trial_days"])
    world = shop("2024-03-05T12:12:00Z", trial=plan)
    world.billing.plans.upgrade("acme", "trial")
    for time in case["dates"]["not_billed_at"][:1]:
        world.to(time.replace("Z", ":00Z"))
        assert all(amounts == [] for amounts in world.billed())
    world.to("2024-03-15T13:02:00Z")
    assert world.billed() == [[case["expected"]["fee_minor"]]]


@of("lago-trial-upgrade")
def test_a_trial_of_another_plan_counts_from_the_first(shop: Any, case: Case) -> None:
    plans = {
        name: ahead(price(found["amount_minor"]), anchor_day=1, trial_days=found["trial_days"])
        for name, found in (("first", case["pricing"]["from"]), ("other", case["pricing"]["to"]))
    }
    world = shop("2024-03-05T12:12:00Z", **plans)
    world.billing.plans.upgrade("acme", "first")
    world.to("2024-03-10T12:12:00Z")
    world.billing.plans.upgrade("acme", "other")
    world.to("2024-03-15T13:00:00Z")
    assert all(amounts == [] for amounts in world.billed())
    world.to("2024-03-18T13:00:00Z")
    assert world.billed() == [[case["expected"]["trial_end_fee_minor"]]]
    world.to("2024-04-01T12:12:00Z")
    assert world.billed() == [[case["expected"]["april"]["fee_minor"]]]


# --- Anchors --------------------------------------------------------------------------------------------------------


@of("lago-anchor-31-leap")
def test_the_wanted_day_comes_back_after_shorter_months(shop: Any, case: Case) -> None:
    world = shop("2024-01-31T01:00:00Z", plan={"price": "1"})
    world.billing.plans.upgrade("acme", "plan")
    starts = [world.period()[0]]
    for day in case["expected"]["billed_on"]:
        assert world.period()[1] == day
        world.to(f"{day}T00:00:00Z")
        starts.append(world.period()[0])
    assert starts[:-1] == [first[:10] for first, _ in case["expected"]["periods"]]


@of("lago-anchor-31-semiannual-yearly")
def test_half_years_and_years_from_the_end_of_a_month(shop: Any, case: Case) -> None:
    world = shop("2024-01-31T01:00:00Z", half={"price": "1", "interval": "half_year"})
    world.billing.plans.upgrade("acme", "half")
    assert world.period() == ["2024-01-31", "2024-07-31"]
    world.to("2024-07-31T00:00:00Z")
    assert [period[0] for period in case["expected"]["semiannual_periods"]] == ["2024-01-31", world.period()[0]]
    assert world.period()[1] == "2025-01-31"
    year = shop("2024-01-31T01:00:00Z", year={"price": "1", "interval": "year"})
    year.billing.plans.upgrade("acme", "year")
    assert year.period() == ["2024-01-31", "2025-01-31"]


@of("kb-leading-stub-amount")
def test_a_fixed_day_begins_with_a_part_of_the_period_that_ends_there(shop: Any, case: Case) -> None:
    plan = ahead(case["pricing"]["amount"], anchor_day=case["pricing"]["bill_cycle_day"])
    world = shop("2011-09-01T00:00:00Z", plan=plan)
    world.billing.plans.upgrade("acme", "plan")
    amounts = world.billed()
    world.to(f"{case['dates']['target']}T00:00:00Z")
    amounts += world.billed()
    assert len(amounts) == case["expected"]["items"]
    assert price(sum(map(sum, amounts))) == Decimal(case["expected"]["balance"])


# --- Changes within a period ----------------------------------------------------------------------------------------


@of("polar-change-next-invoice")
def test_a_change_comes_on_the_next_invoice(shop: Any, case: Case) -> None:
    found = case["pricing"]
    world = shop("2025-06-01T00:00:00Z", low=ahead(price(found["from_minor"])), high=ahead(price(found["to_minor"])))
    world.billing.plans.upgrade("acme", "low")
    world.billed()
    world.to(f"{case['dates']['change']}T00:00:00Z")
    world.billing.plans.upgrade("acme", "high")
    world.to(f"{case['dates']['renewal']}T00:00:00Z")
    [amounts] = world.billed()
    assert sorted(amounts) == sorted(case["expected"]["lines_minor"])
    assert sum(amounts) == case["expected"]["subtotal_minor"]


@of("fx-upgrade")
def test_a_higher_plan_in_the_middle_of_march(shop: Any, case: Case) -> None:
    world = shop("2024-03-01T00:00:00Z", low=ahead(case["pricing"]["from"]), high=ahead(case["pricing"]["to"]))
    world.billing.plans.upgrade("acme", "low")
    world.billed()
    world.to(f"{case['dates']['change']}T00:00:00Z")
    world.billing.plans.upgrade("acme", "high")
    world.to("2024-04-01T00:00:00Z")
    [[_, credit, charge]] = world.billed()
    assert (price(credit), price(charge)) == (Decimal(case["expected"]["credit"]), Decimal(case["expected"]["charge"]))


@of("fx-qty-increase")
def test_more_seats_in_the_middle_of_march(shop: Any, case: Case) -> None:
    world = shop("2024-03-01T00:00:00Z", team=ahead(case["pricing"]["unit"], per_seat=True))
    world.billing.plans.upgrade("acme", "team")
    world.billing.subscriptions.set_quantity("acme", case["pricing"]["qty_from"])
    world.billed()
    world.to(f"{case['dates']['change']}T00:00:00Z")
    world.billing.subscriptions.set_quantity("acme", case["pricing"]["qty_to"])
    world.to("2024-04-01T00:00:00Z")
    [[_, credit, charge]] = world.billed()
    assert (price(credit), price(charge)) == (Decimal(case["expected"]["credit"]), Decimal(case["expected"]["charge"]))


@of("mt-upgrade-last-day")
def test_a_higher_plan_on_the_last_day(shop: Any, case: Case) -> None:
    low, high = (
        ahead(price(case["pricing"][key]), interval="day", interval_count=30) for key in ("from_minor", "to_minor")
    )
    world = shop("2025-01-01T00:00:00Z", low=low, high=high)
    world.billing.plans.upgrade("acme", "low")
    world.billed()
    world.to(f"{case['dates']['change']}T00:00:00Z")
    world.billing.plans.upgrade("acme", "high")
    world.to("2025-01-31T00:00:00Z")
    [[_, credit, charge]] = world.billed()
    assert (credit, charge) == (case["expected"]["credit_minor"], case["expected"]["charge_minor"])
