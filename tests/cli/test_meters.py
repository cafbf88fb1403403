"""Commands about meters."""

from __future__ import annotations

from typing import Any


def test_the_meters_of_the_seed_and_ones_own_are_listed(shell: Any) -> None:
    made = shell.data("meter", "create", "tokens", "--unit", "tokens", "--scale", "3", "--dimension", "model")
    assert made == {
        "name": "tokens", "kind": "event", "aggregation": "sum", "unit": "tokens", "scale": 3, "dimension": "model",
    }  # fmt: skip
    found = shell.data("meter", "list")
    assert [meter["name"] for meter in found][:4] == ["api_requests", "storage", "bandwidth", "compute"]
    assert made in found
    with shell.unchanged():
        again = ("meter", "create", "tokens", "--unit", "tokens", "--scale", "3", "--dimension", "model")
        assert shell.data(*again) == made


def test_amounts_of_a_meter_of_ones_own_are_counted(shell: Any) -> None:
    shell("meter", "create", "tokens", "--scale", "3")
    shell("usage", "track", "acme", "tokens", "1.125")
    assert str(shell.data("usage", "get-current", "acme")["tokens"]) == "1.125"
