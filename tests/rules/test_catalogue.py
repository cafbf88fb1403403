"""The catalogue file: read with an error that names the place, compared, and written back to the same plans."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.model.errors import BadInput
from nbilling.rules.catalogue import LimitSpec, PlanSpec, PriceSpec, differences, read, write
from nbilling.rules.price_models import Flat, Graduated, PerUnit, Tier
from nbilling.rules.quota import PERIODS

PRO = """
[plans.pro]
name = "Pro"
price = "29.00"
trial_days = 14
limits = [{ meter = "api_requests", period = "per_month", amount = 10000, mode = "soft", threshold = 90 }]
[plans.pro.features]
sso = true
seats = 5
support = "email"
[plans.pro.prices.api_requests]
model = "per_unit"
unit_price = "0.0001"
unit = "request"
"""


def parsed(text: str) -> list[PlanSpec]:
    return read(tomllib.loads(text, parse_float=Decimal), "USD")


def test_a_plan_is_read_field_by_field() -> None:
    assert parsed(PRO) == [
        PlanSpec(
            id="pro",
            name="Pro",
            price_minor=2900,
            currency="USD",
            trial_days=14,
            features={"sso": True, "seats": 5, "support": "email"},
            limits=(LimitSpec(meter="api_requests", period="per_month", amount=10_000, mode="soft", threshold=90),),
            prices=(PriceSpec(meter="api_requests", model=PerUnit("0.0001"), unit="request"),),
        )
    ]


def test_a_difference_names_the_field_and_both_values() -> None:
    [old] = parsed(PRO)
    [new] = parsed(PRO.replace("29.00", "39.00").replace("amount = 10000", 'amount = "unlimited"'))
    assert differences(old, old) == []
    assert differences(old, new) == [
        ("price", "29.00", "39.00"),
        (
            "limits.api_requests.per_month",
            '{ meter = "api_requests", period = "per_month", amount = 10000, mode = "soft", threshold = 90 }',
            '{ meter = "api_requests", period = "per_month", amount = "unlimited", mode = "soft", threshold = 90 }',
        ),
    ]
    assert ("name", "", "Pro") in differences(None, old)


@pytest.mark.parametrize(
    "change,place",
    [
        (('price = "29.00"', "price = 29.005"), "USD amount"),
        (('price = "29.00"', 'price = "-1"'), "plans.pro.price"),
        (('price = "29.00"', ""), "plans.pro.price is missing"),
        (("trial_days = 14", "trial_days = 1.5"), "plans.pro.trial_days"),
        (("trial_days = 14", "trial = 14"), "no field"),
        (("trial_days = 14", 'interval = "fortnight"'), "plans.pro.interval"),
        (("trial_days = 14", 'interval = "week"\nanchor_day = 5'), "anchor_day"),
        (("trial_days = 14", "anchor_day = 32"), "anchor_day"),
        (("trial_days = 14", 'currency = "XXY"'), "XXY"),
        (("trial_days = 14", 'per_seat = "yes"'), "per_seat"),
        (('period = "per_month"', 'period = "per_week"'), r"limits\[0\]"),
        (("amount = 10000", 'amount = "10000"'), r"limits\[0\].amount"),
        (("amount = 10000", "amount = true"), r"limits\[0\].amount"),
        (('mode = "soft"', 'mode = "weak"'), r"limits\[0\].mode"),
        (("threshold = 90", "threshold = 0"), r"limits\[0\].threshold"),
        (("sso = true", "sso = []"), "features.sso"),
        (("sso = true", "sso = inf"), "features.sso"),
        (("sso = true", "sso = 2026-01-01"), "features.sso"),
        (('model = "per_unit"', 'model = "per_foot"'), "prices.api_requests.model"),
        (('unit_price = "0.0001"', 'unit_price = "-1"'), "prices.api_requests.unit_price"),
        (('unit = "request"', 'unit = "request"\nallowance = "some"'), "allowance"),
        (('model = "per_unit"\nunit_price = "0.0001"', 'model = "percentage"\nrate = "1"\nfixed = "0.1"'), "each"),
        (("[plans.pro]", "[plans.Pro]"), "plan 'Pro'"),
        (("[plans.pro]", "[plans.name]"), "name"),
        (("[plans.pro]", "[plan.pro]"), "no part"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(change: tuple[str, str], place: str) -> None:
    text = PRO.replace(*change)
    if change[1] == "[plans.name]":
        text = '[plans.name]\nprice = "1"'
    assert text != PRO
    with pytest.raises(BadInput, match=place) as caught:
        parsed(text)
    assert caught.value.hint


@pytest.mark.parametrize("field", ['price = "1"', 'price = "0"\ninterval = "year"', 'price = "0"\ninterval_count = 2'])
def test_the_free_plan_stays_free_and_monthly(field: str) -> None:
    with pytest.raises(BadInput, match="free"):
        parsed(f"[plans.free]\n{field}")


@pytest.mark.parametrize("found", [[], 5, {"plans": []}, {"plans": {"pro": 5}}, {"plans": {"pro": {"limits": "x"}}}])
def test_what_is_no_catalogue_is_refused(found: Any) -> None:
    with pytest.raises((BadInput, AttributeError)) as caught:
        read(found if isinstance(found, dict) else {"plans": found}, "USD")
    assert isinstance(caught.value, BadInput)


names = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True).filter(lambda name: name not in ("free", "name"))
words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=12)
decimals = st.decimals(0, 10**6, places=3, allow_nan=False)
limits = st.builds(
    LimitSpec,
    meter=names,
    period=st.sampled_from(PERIODS),
    amount=st.none() | st.integers(0, 2**63 - 1),
    mode=st.sampled_from(["hard", "soft"]),
    threshold=st.none() | st.integers(1, 100),
    per_seat=st.booleans(),
)
models = st.sampled_from(
    [
        PerUnit("0.001"),
        Flat("5"),
        Graduated([Tier("10", "1"), Tier("20.5", "0.5", "3"), Tier(None, "0.25")], per="1024"),
    ]
)
prices = st.builds(
    PriceSpec,
    meter=names,
    model=models,
    unit=st.sampled_from(["GB", "unit"]),
    allowance=st.sampled_from(["limit", "none"]),
)
plans = st.builds(
    PlanSpec,
    id=names,
    name=words,
    price_minor=st.integers(0, 10**9),
    currency=st.sampled_from(["USD", "JPY", "KWD"]),
    interval=st.sampled_from(["month", "quarter", "year"]),
    interval_count=st.integers(1, 12),
    anchor_day=st.integers(0, 31),
    trial_days=st.integers(0, 90),
    proration=st.sampled_from(["day", "none"]),
    per_seat=st.booleans(),
    customer=st.just("") | words,
    features=st.dictionaries(words, st.booleans() | st.integers(-5, 10**12) | decimals | words, max_size=4).map(
        lambda found: dict(sorted(found.items()))
    ),
    limits=st.lists(limits, unique_by=lambda limit: (limit.meter, limit.period), max_size=4).map(
        lambda found: tuple(sorted(found, key=lambda limit: (limit.meter, limit.period)))
    ),
    prices=st.lists(prices, unique_by=lambda price: price.meter, max_size=3).map(
        lambda found: tuple(sorted(found, key=lambda price: price.meter))
    ),
)


@given(st.lists(plans, unique_by=lambda plan: plan.id, max_size=3))
def test_what_is_written_is_read_back_the_same(found: list[PlanSpec]) -> None:
    again = read(tomllib.loads(write(found), parse_float=Decimal), "USD")
    assert again == found
    assert [plan.features for plan in again] == [plan.features for plan in found]
    assert all(differences(one, other) == [] for one, other in zip(found, again, strict=True))
