"""Alerts that fire in the commit of the usage that crosses them, where the settings wish it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import nbilling

Open = Callable[..., nbilling.Billing]


@pytest.mark.parametrize(("wish", "expected"), [("yes", 1), ("no", 0)])
def test_usage_fires_the_alert_that_it_crosses_once_a_period(open_billing: Open, wish: str, expected: int) -> None:
    billing = open_billing(NBILLING_ALERTS_WHILE_TRACKING=wish)
    billing.usage.alert_set("acme", "api_requests", 10, "log")
    billing.usage.track("acme", "api_requests", 9)
    assert billing.outbox.list() == []
    billing.usage.track("acme", "api_requests", 1)
    billing.usage.track("acme", "api_requests", 5)
    billing.quota.enforce("acme", "api_requests", 5)
    billing.usage.track_many([{"customer": "acme", "meter": "api_requests"}])
    assert len(billing.outbox.list()) == expected


def test_what_was_not_recorded_fires_nothing(open_billing: Open) -> None:
    billing = open_billing(NBILLING_ALERTS_WHILE_TRACKING="yes")
    billing.usage.alert_set("acme", "api_requests", 10, "log")
    billing.usage.track("acme", "api_requests", 5, id="a")
    billing.usage.track("acme", "api_requests", 5, id="a")
    assert not billing.quota.enforce("acme", "api_requests", 5000).allowed
    assert billing.outbox.list() == []
