"""``nbilling subscription``, ``plan apply|export|move``, ``quota release|entitled`` and ``run``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nbilling
from nbilling.cli.start import main

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NBILLING_NOW", "2026-01-10T12:00:00Z")
    nbilling.init()

    def call(*arguments: str, code: int = 0) -> tuple[str, str]:
        found = main(list(arguments))
        out, err = capsys.readouterr()
        assert found == code, err
        return out, err

    return call


def data(run: Run, *arguments: str) -> Any:
    return json.loads(run(*arguments)[0])


PLAN = '[plans.team]\nprice = "10.00"\nper_seat = true\n[plans.team.features]\nsso = true\nseats = 0\n'


def test_a_catalogue_is_shown_asked_for_applied_and_exported(run: Run) -> None:
    Path("plans.toml").write_text(PLAN)
    dry = data(run, "plan", "apply", "plans.toml", "--dry-run")
    assert {"plan": "team", "version": 1, "field": "price", "before": "", "after": "10.00"} in dry
    run("plan", "get-details", "team", code=3)
    _, err = run("plan", "apply", "plans.toml", code=2)
    assert "add --yes" in err
    assert data(run, "plan", "apply", "plans.toml", "--yes") == dry
    assert run("plan", "apply", "plans.toml", "--yes") == ("[]\n", "the plans are as the file says\n")
    exported, _ = run("plan", "export")
    Path("again.toml").write_text(exported)
    assert data(run, "plan", "apply", "again.toml", "--yes") == []
    assert "[plans.team]" in exported


@pytest.mark.parametrize("text", ["[plans", "[plans.x]\nprice = -1", "\udcff", None])
def test_a_file_that_is_none_is_exit_2_in_one_line(run: Run, text: str | None) -> None:
    if text is not None:
        Path("plans.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    _, err = run("plan", "apply", "plans.toml", "--yes", code=2)
    assert len(err.splitlines()) == 1


def test_a_subscription_goes_through_its_life(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data(run, "subscription", "upgrade", "acme", "enterprise")["plan"] == "enterprise"
    assert data(run, "subscription", "downgrade", "acme", "pro")["pending_plan"] == "pro"
    assert data(run, "subscription", "pause", "acme", "--reason", "holidays")["status"] == "paused"
    assert data(run, "subscription", "resume", "acme")["status"] == "active"
    _, err = run("subscription", "cancel", "acme", code=2)
    assert "--yes" in err
    assert data(run, "subscription", "cancel", "acme", "--yes")["cancel_at_period_end"] is True
    assert data(run, "subscription", "reactivate", "acme")["cancel_at_period_end"] is False
    run("subscription", "cancel", "acme", "now", "--yes")
    assert data(run, "subscription", "show", "acme", "--format", "json")["plan"] == "free"
    history = data(run, "subscription", "history", "acme", "--format", "json")
    assert [one["reason"] for one in history if one["event"] == "pause"] == ["holidays"]
    run("subscription", "set-quantity", "acme", "2", code=4)
    run("subscription", "cancel", "nobody", "--yes", code=3)
    run("subscription", "cancel", "acme", "someday", "--yes", code=2)
    assert [plan["id"] for plan in data(run, "subscription", "plans", "--format", "json")][:2] == ["free", "pro"]


def test_seats_are_set_and_versions_moved(run: Run) -> None:
    Path("plans.toml").write_text(PLAN)
    run("plan", "apply", "plans.toml", "--yes")
    run("plan", "upgrade", "acme", "team")
    assert data(run, "subscription", "set-quantity", "acme", "12")["quantity"] == 12
    Path("plans.toml").write_text(PLAN.replace("10.00", "12.00"))
    run("plan", "apply", "plans.toml", "--yes")
    assert run("plan", "move", "team", "--yes")[1] == "moved 1\n"
    assert run("plan", "move", "team", "--yes")[1] == "moved 0\n"
    assert run("quota", "entitled", "acme", "sso") == ("true\n", "")
    assert run("quota", "entitled", "acme", "seats", code=1) == ("0\n", "")
    assert run("quota", "entitled", "acme", "nothing", code=1) == ("false\n", "")


def test_what_was_reserved_is_released(run: Run) -> None:
    run("quota", "set-limit", "acme", "api_requests", "10", "per_day", "--mode", "soft", "--threshold", "90")
    run("quota", "enforce", "acme", "api_requests", "12", "--id", "job-1")
    assert data(run, "quota", "release", "acme", "api_requests", "job-1", "5", "--format", "json")["used"] == 7
    run("quota", "release", "acme", "api_requests", "job-1", "6", code=4)
    run("quota", "release", "acme", "api_requests", "job-2", code=3)
    run("quota", "remove-limit", "acme", "api_requests", "per_day")
    run("quota", "set-limit", "acme", "api_requests", "10", "per_day", "--mode", "weak", code=2)


def test_a_run_does_what_is_due_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("plan", "upgrade", "acme", "pro")
    monkeypatch.setenv("NBILLING_NOW", "2026-02-10T12:00:00Z")
    dry = data(run, "run", "--dry-run")
    assert (dry["rolled"], dry["totals"]) == (0, {"USD": "29.00"})
    found = data(run, "run")
    assert (found["rolled"], found["totals"]) == (1, {"USD": "29.00"})
    again = data(run, "run")
    assert (again["rolled"], again["invoices"]) == (0, 0)
