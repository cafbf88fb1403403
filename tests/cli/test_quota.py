"""Commands of the room quota: the exit code is the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.mark.parametrize("command", ["check", "hard-limit-check", "enforce"])
def test_the_exit_code_is_the_answer(shell: Any, command: str) -> None:
    shell("quota", "set-limit", "acme", "api_requests", "10", "per_month")
    assert shell("quota", command, "acme", "api_requests", "10") == (0, "", "")
    shell("usage", "track", "acme", "api_requests", "10", "--at", "2026-01-09")
    with shell.unchanged():
        answer = shell("quota", command, "acme", "api_requests", "1")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("Refused: 1 more would exceed 10 requests per_month")
    assert len(answer.err.splitlines()) == 1


def test_only_enforce_records(shell: Any) -> None:
    with shell.unchanged():
        assert shell("quota", "check", "acme", "api_requests", "5").code == 0
        assert shell("quota", "hard-limit-check", "acme", "api_requests", "5").code == 0
        assert shell("quota", "enforce", "acme", "api_requests", "5000").code == 1
    assert shell("quota", "enforce", "acme", "api_requests", "5").code == 0
    assert shell.data("usage", "get-current", "acme")["api_requests"] == 5


def test_one_unless_said_otherwise(shell: Any) -> None:
    assert shell("quota", "enforce", "acme", "api_requests").code == 0
    assert shell.data("usage", "get-current", "acme")["api_requests"] == 1


def test_a_decision_is_printed_when_asked_for(shell: Any) -> None:
    shell("quota", "set-limit", "acme", "compute", "1.5", "per_day")
    found = shell.data("quota", "enforce", "acme", "compute", "1", "--dimension", "function", "--format", "json")
    assert (found["allowed"], str(found["limit"]), str(found["remaining"])) == (True, "1.5", "0.5")
    refused = shell("quota", "enforce", "acme", "compute", "1", "--format", "json")
    assert refused.code == 1
    assert json.loads(refused.out)["allowed"] is False


def test_reports_are_those_of_the_contract(shell: Any) -> None:
    shell("plan", "upgrade", "acme", "pro")
    shell("usage", "track", "acme", "api_requests", "12000")
    assert shell.data("quota", "soft-limit-check", "acme", "api_requests") == {
        "customer_id": "acme", "resource": "api_requests", "limit": 10_000, "usage": 12_000, "percentage": 120,
        "threshold": 80, "warning": True,
    }  # fmt: skip
    assert shell.data("quota", "calculate-overage", "acme", "api_requests") == {
        "customer_id": "acme", "resource": "api_requests", "limit": 10_000, "usage": 12_000, "overage": 2000,
        "unit_price": "0.0001", "cost": "0.20", "cost_minor": 20, "currency": "USD",
    }  # fmt: skip
    assert shell("quota", "get-usage-percentage", "acme", "api_requests") == (0, "120\n", "")


def test_a_share_of_a_limit_is_rounded_down(shell: Any) -> None:
    shell("usage", "track-storage", "acme", "1048576000")
    assert shell("quota", "get-usage-percentage", "acme", "storage").out == "97\n"


def test_setting_and_resetting_are_quiet(shell: Any) -> None:
    assert shell("quota", "set-limit", "acme", "api_requests", "unlimited", "per_month") == (0, "", "")
    assert shell("quota", "set-limit", "acme", "api_requests", "0", "per_day") == (0, "", "")
    assert shell("quota", "reset", "acme", "daily") == (0, "", "")
    assert shell("quota", "reset", "acme", "monthly") == (0, "", "")
    found = {
        row["period"]: row["limit"] for row in shell.data("quota", "list", "acme") if row["resource"] == "api_requests"
    }
    assert found == {"per_month": None, "per_day": 0}


def test_the_warning_threshold_comes_from_the_environment(shell: Any) -> None:
    shell.environment.setenv("QUOTA_WARNING_THRESHOLD", "1")
    shell("usage", "track", "acme", "api_requests", "10")
    assert shell.data("quota", "soft-limit-check", "acme", "api_requests")["warning"] is True
    shell.environment.setenv("QUOTA_WARNING_THRESHOLD", "lots")
    shell.fails(2, "quota", "soft-limit-check", "acme", "api_requests")
