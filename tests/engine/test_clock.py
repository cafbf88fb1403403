"""The ledger's test clock: set, then only moved forward, and never in a live ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nbilling
from nbilling.model.clock import SystemClock, parse_time
from nbilling.model.errors import BadInput, Conflict


@pytest.fixture
def path(tmp_path: Path) -> Path:
    nbilling.init(tmp_path / "billing.db")
    return tmp_path / "billing.db"


@pytest.fixture
def billing(path: Path) -> Iterator[nbilling.Billing]:
    """Opened as the command line opens it: no clock is handed in."""
    with nbilling.open(path, config=nbilling.Config()) as opened:
        yield opened


def facts(billing: nbilling.Billing) -> dict[str, str]:
    return dict(billing.ledger.read().execute("SELECT key, value FROM ledger").fetchall())


def test_without_a_test_clock_the_machines_time_holds(billing: nbilling.Billing) -> None:
    shown = billing.clock.show()
    assert shown["test_clock"] is False
    assert abs(parse_time(shown["now"]) - SystemClock().now()) < 60_000_000
    assert "test_clock" not in facts(billing)


def test_a_clock_that_was_set_stands_still_for_everyone(billing: nbilling.Billing, path: Path) -> None:
    expected = {"now": "2026-01-15T12:00:00Z", "test_clock": True}
    assert billing.clock.set("2026-01-15T13:00:00+01:00") == expected
    with nbilling.open(path, config=nbilling.Config()) as other:
        assert other.clock.show() == expected
        other.usage.track("acme", "api_requests", 1)
    assert billing.usage.get_history("acme", 1)[0]["date"] == "2026-01-15"


@pytest.mark.parametrize(
    "step,expected",
    [("90s", "2026-01-15T00:01:30Z"), ("15m", "2026-01-15T00:15:00Z"), ("12h", "2026-01-15T12:00:00Z"),
     ("30d", "2026-02-14T00:00:00Z"), ("2w", "2026-01-29T00:00:00Z"), ("0s", "2026-01-15T00:00:00Z")],
)  # fmt: skip
def test_it_is_moved_forward_by_steps(billing: nbilling.Billing, step: str, expected: str) -> None:
    billing.clock.set("2026-01-15")
    assert billing.clock.advance(step)["now"] == expected
    assert billing.clock.show()["now"] == expected


def test_a_clock_that_was_never_set_is_moved_from_the_machines_time(billing: nbilling.Billing) -> None:
    before = SystemClock().now()
    now = parse_time(billing.clock.advance("1d")["now"])
    assert before + 86_400_000_000 <= now <= SystemClock().now() + 86_400_000_000


def test_it_never_goes_back(billing: nbilling.Billing) -> None:
    billing.clock.set("2026-01-15T12:00:00Z")
    before = facts(billing)
    for time in ("2026-01-15T11:59:59.999999Z", "1970-01-01"):
        with pytest.raises(Conflict, match="only moves forward"):
            billing.clock.set(time)
    assert facts(billing) == before
    billing.clock.set("2026-01-15T12:00:00Z")


@pytest.mark.parametrize("time", ["", "now", "2026-13-01", "9999-12-31", "1969-01-01", "1", None, 5, "x" * 100_000])
def test_a_time_that_is_none_is_refused(billing: nbilling.Billing, time: Any) -> None:
    before = facts(billing)
    with pytest.raises(BadInput):
        billing.clock.set(time)
    assert facts(billing) == before


@pytest.mark.parametrize(
    "step",
    ["", "1", "d", "-1d", "+1d", "1.5d", "1 d", "1D", "1y", "1_0d", "１d", "1d\n", "9999999999d", "1dd", None, 5],
)
def test_a_step_that_is_none_is_refused(billing: nbilling.Billing, step: Any) -> None:
    billing.clock.set("2026-01-15")
    with pytest.raises(BadInput):
        billing.clock.advance(step)
    assert billing.clock.show()["now"] == "2026-01-15T00:00:00Z"


def test_it_stays_within_the_times_that_there_are(billing: nbilling.Billing) -> None:
    billing.clock.set("8999-12-31T23:59:59Z")
    with pytest.raises(BadInput):
        billing.clock.advance("1s")
    billing.usage.track("acme", "api_requests", 1)
    billing.plans.upgrade("acme", "pro")
    assert billing.usage.get_current("acme")["period_end"] == "9000-01-31T00:00:00Z"
    assert billing.usage.get_history("acme", 2)[1] == billing.usage.get_history("acme", 1)[0]
    assert billing.usage.aggregate("acme", "month")[0]["amount"] == 1


def test_a_live_ledger_has_no_test_clock(billing: nbilling.Billing) -> None:
    billing.ledger.write(lambda db: db.execute("UPDATE ledger SET value = 'live' WHERE key = 'mode'").fetchall())
    before = facts(billing)
    for call in (lambda: billing.clock.set("2026-01-15"), lambda: billing.clock.advance("1d")):
        with pytest.raises(Conflict, match="live ledger"):
            call()
    assert facts(billing) == before


def test_a_live_ledger_takes_no_clock_from_outside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nbilling.open(path, config=nbilling.Config()) as billing:
        billing.ledger.write(lambda db: db.execute("UPDATE ledger SET value = 'live' WHERE key = 'mode'").fetchall())
    monkeypatch.setenv("NBILLING_NOW", "2026-01-15")
    with pytest.raises(BadInput, match="live ledger"):
        nbilling.open(path, config=nbilling.Config())


def test_a_ledger_that_becomes_live_refuses_the_clock_that_was_handed_in(path: Path) -> None:
    clock = nbilling.FixedClock(parse_time("2026-01-15"))
    with nbilling.open(path, config=nbilling.Config(), clock=clock) as billing:
        billing.ledger.write(lambda db: db.execute("UPDATE ledger SET value = 'live' WHERE key = 'mode'").fetchall())
        with pytest.raises(BadInput, match="live ledger"):
            billing.usage.track("acme", "api_requests", 1)
        assert not billing.ledger.read().execute("SELECT 1 FROM events").fetchall()


def test_a_clock_that_is_handed_in_marks_the_ledger_with_its_first_write(path: Path) -> None:
    clock = nbilling.FixedClock(parse_time("2026-01-15"))
    with nbilling.open(path, config=nbilling.Config(), clock=clock) as billing:
        billing.usage.get_current("acme")
        assert "test_clock" not in facts(billing)
        billing.usage.track("acme", "api_requests", 1)
        assert facts(billing)["test_clock"] == "used"


def test_the_time_of_one_command_comes_before_the_ledgers_clock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nbilling.open(path, config=nbilling.Config()) as billing:
        billing.clock.set("2026-01-15")
    monkeypatch.setenv("NBILLING_NOW", "2026-03-01T00:00:00Z")
    with nbilling.open(path, config=nbilling.Config()) as billing:
        assert billing.clock.show()["now"] == "2026-03-01T00:00:00Z"
    monkeypatch.setenv("NBILLING_NOW", "soon")
    with pytest.raises(BadInput, match="NBILLING_NOW 'soon' is not a time"):
        nbilling.open(path, config=nbilling.Config())


def test_moves_of_the_clock_are_noted(billing: nbilling.Billing) -> None:
    billing.clock.set("2026-01-15")
    billing.clock.advance("1d")
    found = billing.ledger.read().execute("SELECT action, detail FROM audit").fetchall()
    assert found == [
        ("clock.set", '{"at": "2026-01-15T00:00:00Z"}'),
        ("clock.set", '{"at": "2026-01-16T00:00:00Z"}'),
    ]
