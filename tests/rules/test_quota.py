"""Which limits hold, whether an amount fits, and how full a limit is."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.rules.quota import PERIODS, Limit, Usage, decide, effective_limits, fullest, percentage

REQUESTS, STORAGE, BANDWIDTH = 1, 2, 3
GAUGES = {STORAGE}

limits = st.none() | st.integers(0, 2**63 - 1)
used = st.integers(-(2**40), 2**66)
usages = st.lists(st.builds(Usage, st.sampled_from(PERIODS), limits, used, st.just(0)), min_size=1, max_size=5)
listed = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from(PERIODS), limits), unique_by=lambda limit: limit[:2], max_size=8
)


# --- Which limits hold ----------------------------------------------------------------------------------------------


def test_an_own_limit_stands_before_the_plans_and_that_before_the_default() -> None:
    found = effective_limits(
        [(REQUESTS, "per_month", 5)],
        [(REQUESTS, "per_month", 1000), (STORAGE, "absolute", 10)],
        [(REQUESTS, "per_month", 1), (BANDWIDTH, "per_month", 7)],
        GAUGES,
    )
    assert found == [
        (REQUESTS, "per_month", 5, "customer"),
        (STORAGE, "absolute", 10, "plan"),
        (BANDWIDTH, "per_month", 7, "default"),
    ]


def test_an_own_limit_with_another_period_is_a_further_one() -> None:
    found = effective_limits([(REQUESTS, "per_day", 5)], [(REQUESTS, "per_month", 1000)], [], GAUGES)
    assert found == [(REQUESTS, "per_day", 5, "customer"), (REQUESTS, "per_month", 1000, "plan")]


def test_a_default_holds_beside_an_own_limit_of_another_period() -> None:
    found = effective_limits([(BANDWIDTH, "per_day", 5)], [], [(BANDWIDTH, "per_month", 7)], GAUGES)
    assert found == [(BANDWIDTH, "per_day", 5, "customer"), (BANDWIDTH, "per_month", 7, "default")]


def test_a_plan_that_speaks_of_a_meter_leaves_no_room_for_its_default() -> None:
    found = effective_limits([], [(BANDWIDTH, "per_day", None)], [(BANDWIDTH, "per_month", 7)], GAUGES)
    assert found == [(BANDWIDTH, "per_day", None, "plan")]


def test_an_own_limit_on_a_level_replaces_all_others_whatever_its_period() -> None:
    found = effective_limits(
        [(STORAGE, "per_month", 5)], [(STORAGE, "absolute", 1)], [(STORAGE, "absolute", 2)], GAUGES
    )
    assert found == [(STORAGE, "per_month", 5, "customer")]


@given(listed, listed, listed)
def test_each_meter_and_period_has_one_limit_and_own_ones_are_all_there(
    own: list[Limit], plan: list[Limit], default: list[Limit]
) -> None:
    found = effective_limits(own, plan, default, GAUGES)
    assert len({limit[:2] for limit in found}) == len(found)
    assert [limit[:2] for limit in found] == sorted(limit[:2] for limit in found)
    assert {limit[:3] for limit in found if limit[3] == "customer"} == set(own)
    assert {limit[:3] for limit in found} <= {*own, *plan, *default}


# --- Whether an amount fits -----------------------------------------------------------------------------------------


@given(usages, st.integers(0, 2**63 - 1))
def test_an_amount_is_allowed_exactly_if_every_limit_holds_after_it(found: list[Usage], amount: int) -> None:
    fits = all(usage.limit is None or usage.used + amount <= usage.limit for usage in found)
    decision = decide(found, amount)
    assert decision.allowed is fits
    if not fits:
        assert decision.limit is not None
        assert decision.used + amount > decision.limit


@given(usages, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_what_refuses_an_amount_refuses_a_larger_one(found: list[Usage], one: int, other: int) -> None:
    small, large = sorted((one, other))
    assert decide(found, small).allowed or not decide(found, large).allowed


@pytest.mark.parametrize(
    "limit,used,amount,allowed",
    [(10, 0, 10, True), (10, 0, 11, False), (10, 10, 0, True), (10, 10, 1, False), (10, 11, 0, False), (0, 0, 0, True),
     (0, 0, 1, False), (None, 2**70, 2**63 - 1, True), (10, -5, 15, True), (10, -5, 16, False)],
)  # fmt: skip
def test_exactly_at_the_limit_is_within_it(limit: int | None, used: int, amount: int, allowed: bool) -> None:
    assert decide([Usage("per_month", limit, used, 0)], amount).allowed is allowed


def test_the_limit_that_refuses_is_the_one_that_is_named() -> None:
    month, day = Usage("per_month", 1000, 999, 7), Usage("per_day", 10, 9, 5)
    decision = decide([month, day], 2)
    assert (decision.period, decision.limit, decision.remaining, decision.resets_at) == ("per_month", 1000, 1, 7)
    decision = decide([month._replace(used=0), day], 2)
    assert (decision.period, decision.remaining, decision.resets_at) == ("per_day", 1, 5)


def test_what_remains_is_never_below_nothing_and_unlimited_is_none() -> None:
    assert decide([Usage("per_month", 10, 15, 0)], 0).remaining == 0
    assert decide([Usage("per_month", None, 15, 0)], 0).remaining is None


# --- How full -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**66), st.integers(1, 2**63 - 1))
def test_a_percentage_is_rounded_down_and_not_capped(used: int, limit: int) -> None:
    percent = percentage(used, limit)
    assert percent <= Fraction(used * 100, limit) < percent + 1


@pytest.mark.parametrize(
    "used,limit,expected",
    [(0, 10, 0), (75, 100, 75), (799, 1000, 79), (999, 1000, 99), (1000, 1000, 100), (2500, 1000, 250), (5, None, 0),
     (0, 0, 100), (5, 0, 100), (2**63 - 1, 2**63 - 1, 100)],
)  # fmt: skip
def test_percentages_by_hand(used: int, limit: int | None, expected: int) -> None:
    assert percentage(used, limit) == expected


@given(usages)
def test_the_fullest_has_the_highest_percentage_and_is_limited_if_any_is(found: list[Usage]) -> None:
    first = fullest(found)
    limited = [usage for usage in found if usage.limit is not None]
    assert first in found
    if limited:
        assert first.limit is not None
        assert percentage(first.used, first.limit) == max(percentage(usage.used, usage.limit) for usage in limited)


def test_of_limits_that_are_equally_full_the_one_with_the_least_left_is_shown() -> None:
    day, month = Usage("per_day", 10, 9, 0), Usage("per_month", 1000, 900, 0)
    assert fullest([day, month]) == fullest([month, day]) == day
