"""From usage to lines: fees by share, allowances, late usage, and sums that hold for any figures."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.periods import to_date, to_day
from nbilling.rules.invoices import Line, Metered, Part, charges, late_lines, unit_price_text
from nbilling.rules.price_models import Graduated, PerUnit, Tier

START = to_day(to_date(20_454))  # 2026-01-01


def metered(usage: int | Fraction, limit: int | None = 100, **changes: object) -> Metered:
    values: dict[str, object] = {
        "meter": 1, "name": "api_requests", "unit": "requests", "scale": 0, "gauge": False, "usage": Fraction(usage),
        "limit": limit, "model": PerUnit("0.01"), "priced_unit": "request", "allowance": "limit",
    }  # fmt: skip
    return Metered(**(values | changes))  # type: ignore[arg-type]


def part(*meters: Metered, share: Fraction = Fraction(1), price: int = 2900, days: int = 31) -> Part:
    return Part(
        plan=1, plan_name="Pro", price_minor=price, interval="month", start_day=START, end_day=START + days,
        share=share, metered=meters,
    )  # fmt: skip


def test_a_fee_is_there_even_when_it_is_nothing_unless_another_part_pays() -> None:
    assert [line.amount_minor for line in charges([part(price=0)], "USD")] == [0]
    assert [line.amount_minor for line in charges([part(price=0), part(price=5)], "USD")] == [5]


def test_what_is_within_the_allowance_is_shown_and_costs_nothing() -> None:
    fee, usage = charges([part(metered(100))], "USD")
    assert (usage.quantity, usage.amount_minor, usage.included) == (0, 0, 100)
    assert usage.detail == "100 requests used, 100 requests included"
    assert fee.quantity == 1


def test_without_a_limit_nothing_lies_above_it_but_a_price_without_allowance_charges_from_the_first_unit() -> None:
    assert charges([part(metered(500, None))], "USD")[1].amount_minor == 0
    line = charges([part(metered(500, None, allowance="none"))], "USD")[1]
    assert (line.quantity, line.amount_minor, line.detail) == (500, 500, "500 requests used")


def test_a_meter_without_a_price_is_shown_all_the_same() -> None:
    line = charges([part(metered(7, None, model=None))], "USD")[1]
    assert (line.unit_price, line.amount_minor, line.detail) == ("0.00", 0, "7 requests used, unlimited")


def test_a_meter_that_was_not_used_has_no_line() -> None:
    assert len(charges([part(metered(0))], "USD")) == 1


def test_a_price_without_one_unit_price_shows_none() -> None:
    tiers = Graduated([Tier("10", "1"), Tier(None, "0.5")])
    line = charges([part(metered(20, None, model=tiers, allowance="none"))], "USD")[1]
    assert (line.amount_minor, line.unit_price) == (1500, "")
    assert [unit_price_text(PerUnit(text), code) for text, code in (("0.1", "USD"), ("2", "JPY"), ("0.5", "KWD"))] == [
        "0.10", "2", "0.500",
    ]  # fmt: skip


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 30))
def test_two_parts_of_a_period_have_fees_that_differ_from_the_whole_by_a_cent_at_most(
    usage: int, price: int, days: int
) -> None:
    first = part(metered(usage), price=price, share=Fraction(days, 31), days=days)
    second = part(price=price, share=Fraction(31 - days, 31), days=31 - days)
    fees = [line for line in charges([first, second], "USD") if line.kind == "fee"]
    assert abs(sum(fee.amount_minor for fee in fees) - price) <= 1


@given(st.lists(st.integers(-300, 500), min_size=1, max_size=8))
def test_however_usage_comes_late_all_invoices_together_charge_what_one_would_have(steps: list[int]) -> None:
    billed: list[Line] = []
    total = 0
    for step in steps:
        total = max(0, total + step)
        now = charges([part(metered(total))], "USD")
        billed += late_lines(now, billed)
    at_once = [line for line in charges([part(metered(total))], "USD") if line.kind == "usage"]
    assert sum(line.amount_minor for line in billed) == sum(line.amount_minor for line in at_once)
    assert sum((line.quantity for line in billed), Fraction(0)) == sum((line.quantity for line in at_once), Fraction(0))


def test_nothing_new_makes_no_late_line() -> None:
    now = charges([part(metered(150))], "USD")
    assert late_lines(now, [line for line in now if line.kind == "usage"]) == []
