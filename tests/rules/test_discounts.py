from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.errors import BadInput
from nbilling.rules.discounts import Discount, DiscountLine, DiscountUse, apply, refusal, still_runs

names = st.sets(st.sampled_from(["a", "b"]), max_size=2)
kinds = st.sampled_from(["usage", "fee"])
lines = st.lists(
    st.builds(
        DiscountLine, st.integers(-5000, 10**8), st.sampled_from(["a", "b", ""]), st.sampled_from(["a", "b"]), kinds
    ),
    max_size=6,
)
scopes: dict[str, st.SearchStrategy[Any]] = {"meters": names, "plans": names, "line_kinds": st.sets(kinds, max_size=1)}
percents = st.builds(Discount, st.just("P"), st.just("percent"), st.decimals(0, 100, places=3), **scopes)
amounts = st.builds(Discount, st.just("A"), st.just("amount"), st.integers(0, 10**8), st.just("USD"), **scopes)
discounts = st.lists(percents | amounts, max_size=4)


def percent(value: str, **more: Any) -> Discount:
    return Discount("P", "percent", value, **more)


def amount(value: int, **more: Any) -> Discount:
    return Discount("A", "amount", value, "USD", **more)


# --- What they take
# --------------------------------------------------------------------------------------------------


@given(lines, discounts)
def test_no_cent_is_lost_and_no_line_nor_the_invoice_falls_below_zero(
    found: list[DiscountLine], given_: list[Discount]
) -> None:
    applied = apply(found, given_)
    for line, shares, left in zip(found, applied.shares, applied.left, strict=True):
        assert len(shares) == len(given_)
        assert min(shares, default=0) >= 0
        assert line.amount_minor - sum(shares) == left
        assert left >= min(line.amount_minor, 0)
    before = sum(line.amount_minor for line in found)
    assert sum(applied.left) == before - applied.total_minor
    assert sum(applied.left) >= min(before, 0)


@given(lines, discounts)
def test_a_discount_touches_only_the_lines_that_it_names(found: list[DiscountLine], given_: list[Discount]) -> None:
    applied = apply(found, given_)
    for line, shares in zip(found, applied.shares, strict=True):
        for discount, share in zip(given_, shares, strict=True):
            if share:
                assert not discount.meters or line.meter in discount.meters
                assert not discount.plans or line.plan in discount.plans
                assert not discount.line_kinds or line.kind in discount.line_kinds


@given(lines, discounts, percents | amounts)
def test_one_more_discount_leaves_the_ones_before_as_they_were(
    found: list[DiscountLine], given_: list[Discount], more: Discount
) -> None:
    without, with_it = apply(found, given_), apply(found, [*given_, more])
    assert tuple(shares[:-1] for shares in with_it.shares) == without.shares
    assert sum(with_it.left) <= sum(without.left)


@given(lines, st.decimals(0, 100, places=3))
def test_a_percentage_is_rounded_once_on_the_sum_of_its_lines(found: list[DiscountLine], value: Decimal) -> None:
    positive = [line for line in found if line.amount_minor > 0]
    total = apply(positive, [percent(str(value))]).total_minor
    exact = sum(line.amount_minor for line in positive) * value / 100
    assert abs(total - exact) <= Decimal("0.5")


def test_each_discount_takes_from_what_the_ones_before_left() -> None:
    line = [DiscountLine(10_000)]
    assert apply(line, [percent("20"), percent("10")]).left == (7200,)
    assert apply(line, [amount(1000), percent("10")]).shares == ((1000, 900),)
    assert apply(line, [percent("10"), amount(1000)]).shares == ((1000, 1000),)


def test_credits_get_no_share_but_lower_what_can_be_taken() -> None:
    found = [DiscountLine(-250), DiscountLine(1500), DiscountLine(3000)]
    assert apply(found, [percent("10")]).shares == ((0,), (150,), (300,))
    assert apply(found, [amount(10_000)]).total_minor == 4250
    assert apply([DiscountLine(-5000), DiscountLine(100)], [amount(50)]).total_minor == 0


def test_nothing_to_discount_is_no_error() -> None:
    assert apply([], [percent("20")]).total_minor == 0
    assert apply([DiscountLine(0)], [amount(100)]).shares == ((0,),)
    assert apply([DiscountLine(5, meter="a")], [amount(100, meters=["b"])]).left == (5,)
    assert apply([DiscountLine(5)], []).shares == ((),)


# --- Who may use them
# ------------------------------------------------------------------------------------------------

NOW = 1_000_000
USE = DiscountUse(NOW, "USD", plan="pro")


@pytest.mark.parametrize(
    ("discount", "use", "code"),
    [
        (percent("20"), USE, None),
        (percent("20", starts_at=NOW), USE, None),
        (percent("20", starts_at=NOW + 1), USE, "not_started"),
        (percent("20", expires_at=NOW + 1), USE, None),
        (percent("20", expires_at=NOW), USE, "expired"),
        (percent("20", max_uses=3), USE._replace(uses=2), None),
        (percent("20", max_uses=3), USE._replace(uses=3), "used_up"),
        (percent("20", max_uses_per_customer=1), USE._replace(uses=5), None),
        (percent("20", max_uses_per_customer=1), USE._replace(uses_by_customer=1), "used_by_customer"),
        (percent("20", first_time_only=True), USE, None),
        (percent("20", first_time_only=True), USE._replace(paid_before=True), "not_first_time"),
        (percent("20", plans=["pro"]), USE, None),
        (percent("20", plans=["enterprise"]), USE, "wrong_plan"),
        (amount(500), USE, None),
        (Discount("A", "amount", 500, "usd"), USE, None),
        (amount(500), USE._replace(currency="EUR"), "wrong_currency"),
        (percent("20"), USE._replace(currency="EUR"), None),
        (percent("20"), USE._replace(on_invoice=[percent("20")]), "twice"),
        (percent("20"), USE._replace(on_invoice=[amount(5)]), None),
        (percent("20", stackable=False), USE, None),
        (percent("20", stackable=False), USE._replace(on_invoice=[amount(5)]), "not_stackable"),
        (percent("20"), USE._replace(on_invoice=[amount(5, stackable=False)]), "not_stackable"),
    ],
)
def test_a_discount_is_taken_or_refused_with_its_reason(discount: Discount, use: DiscountUse, code: str | None) -> None:
    found = refusal(discount, use)
    assert (found and found.code) == code
    if found:
        assert found.message.startswith(f"discount {discount.code} ")
        assert found.hint


@pytest.mark.parametrize(("periods", "runs"), [(1, [True, False, False]), (2, [True, True, False]), (None, [True] * 3)])
def test_a_discount_runs_once_for_some_periods_or_for_ever(periods: int | None, runs: list[bool]) -> None:
    assert [still_runs(percent("20", periods=periods), done) for done in range(3)] == runs


@pytest.mark.parametrize(
    "fields",
    [
        {"value": "101"},
        {"value": "-1"},
        {"value": 0.2},
        {"kind": "half"},
        {"kind": "amount", "value": "1.5", "currency": "USD"},
        {"kind": "amount", "value": 5},
        {"kind": "amount", "value": 2**64, "currency": "USD"},
        {"periods": 0},
        {"max_uses": 0},
        {"max_uses_per_customer": -1},
        {"starts_at": 5, "expires_at": 5},
        {"plans": "pro"},
    ],
)
def test_a_discount_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        attrs.evolve(percent("20"), **fields)
