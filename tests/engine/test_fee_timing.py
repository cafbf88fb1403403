"""When a fee is billed changes nothing in what is billed: in advance as in arrears, whatever happens in between."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbilling.model.clock import DAY, format_time, parse_time
from nbilling.model.errors import Conflict

PLANS = """
[plans.small]
price = "31.00"
fee = "{fee}"
limits = [{{ meter = "api_requests", period = "per_month", amount = 10 }}]
[plans.small.prices.api_requests]
model = "per_unit"
unit_price = "0.07"
unit = "request"
[plans.large]
price = "99.99"
fee = "{fee}"
[plans.large.prices.api_requests]
model = "per_unit"
unit_price = "0.03"
unit = "request"
allowance = "none"
[plans.team]
price = "7.77"
fee = "{fee}"
per_seat = true
"""
START = "2026-01-10T12:00:00Z"
steps = st.lists(
    st.tuples(
        st.integers(0, 20),
        st.sampled_from(["small", "large", "team", "seats", "pause", "resume", "cancel", "end", "back", "use", "run"]),
        st.integers(1, 40),
    ),
    max_size=14,
)


def act(world: Any, step: str, number: int) -> None:
    held = world.billing.subscriptions
    try:
        if step in ("small", "large", "team"):
            up = step != "team" and world.plans.get_current("acme")["id"] in ("free", "team", "small", step)
            world.plans.upgrade("acme", step) if up else world.plans.downgrade("acme", step, "now")
        elif step == "seats":
            held.set_quantity("acme", number)
        elif step == "use":
            world.usage.track("acme", "api_requests", number)
        elif step == "cancel":
            held.cancel("acme")
        elif step == "end":
            held.cancel("acme", "now")
        elif step == "back":
            held.reactivate("acme")
        elif step in ("pause", "resume"):
            getattr(held, step)("acme")
    except Conflict:
        pass  # not in this state; both worlds are in the same


def total(world: Any, fee: str, found: list[tuple[int, str, int]]) -> int:
    """What all invoices together charge, from the first plan to an end and the month after it."""
    world.billing.catalogue.apply(tomllib.loads(PLANS.format(fee=fee), parse_float=Decimal))
    world.plans.upgrade("acme", "small")
    now = parse_time(START)
    for days, step, number in found:
        now += days * DAY
        world.to(format_time(now))
        if step == "run" and fee == "advance":
            world.billing.run()
        act(world, step, number)
    world.to(format_time(now + 2 * DAY))
    act(world, "end", 0)
    world.to(format_time(now + 100 * DAY))
    world.billing.run()
    assert world.billing.run()["invoices"] == 0
    assert world.billing.verify().findings == ()
    return sum(invoice["total_minor"] for invoice in world.billing.invoices.list("acme", limit=1000))


@given(found=steps)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_advance_and_in_arrears_the_same_is_charged(new_world: Callable[..., Any], found: list[Any]) -> None:
    amounts = [total(new_world(START), fee, found) for fee in ("arrears", "advance")]
    assert amounts[0] == amounts[1]
