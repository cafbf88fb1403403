"""Usage read back: the present period, days, rollups, and every event in a file."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbilling.model.clock import DAY, HOUR, MINUTE, format_time, parse_time
from nbilling.model.errors import BadInput, StorageError
from nbilling.model.periods import day_start, local_day, to_date

NOW = parse_time("2026-04-10T12:00:00Z")
ZONES = ("UTC", "Asia/Kathmandu", "America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "Pacific/Kiritimati")


# --- The present period ---------------------------------------------------------------------------------------------


def test_an_unknown_customer_is_answered_as_a_new_one_and_nothing_is_written(world: Any) -> None:
    with world.unchanged():
        assert world.usage.get_current("nobody") == {
            "customer_id": "nobody",
            "period_start": "2026-01-01T00:00:00Z",
            "period_end": "2026-02-01T00:00:00Z",
            "api_requests": 0,
            "storage_bytes": 0,
            "storage_gb": 0,
            "bandwidth_bytes": 0,
            "bandwidth_gb": 0,
            "compute_seconds": 0,
            "functions": 0,
            "database": 0,
        }
        history = world.usage.get_history("nobody", 3)
        assert [day["date"] for day in history] == ["2026-01-08", "2026-01-09", "2026-01-10"]
        assert {value for day in history for name, value in day.items() if name != "date"} == {0}
        assert world.usage.aggregate("nobody", "month") == []
        assert list(world.usage.events("nobody")) == []


def test_amounts_are_shown_in_their_units_and_exactly(world: Any) -> None:
    world.usage.track_api_request("acme", "/", "GET", 200, 0)
    world.usage.track_storage("acme", 2**30)
    world.usage.track_bandwidth("acme", 524_288_000, "egress")
    world.usage.track_bandwidth("acme", 1, "ingress")
    world.usage.track_compute("acme", "x", "3600.000001")
    current = world.usage.get_current("acme")
    assert current["api_requests"] == 1
    assert (current["storage_bytes"], current["storage_gb"]) == (2**30, 1)
    assert current["bandwidth_bytes"] == 524_288_001
    assert current["bandwidth_gb"] * 2**30 == 524_288_001
    assert current["compute_seconds"] == Decimal("3600.000001")
    assert not any(isinstance(value, float) for value in current.values())


def test_every_other_meter_has_a_key_of_its_own(world: Any) -> None:
    world.usage.create_meter("tokens")
    world.usage.create_meter("uploads", unit="bytes")
    world.usage.create_meter("training", unit="seconds", scale=3)
    for name, amount in (("tokens", 5), ("uploads", 2**31), ("training", "0.125")):
        world.usage.track("acme", name, amount)
    current = world.usage.get_current("acme")
    assert (current["tokens"], current["uploads_bytes"], current["uploads_gb"]) == (5, 2**31, 2)
    assert current["training_seconds"] == Decimal("0.125")
    assert list(current)[-4:] == ["tokens", "uploads_bytes", "uploads_gb", "training_seconds"]


# --- Days -----------------------------------------------------------------------------------------------------------


def test_history_has_one_entry_a_day_oldest_first_and_ends_today(world: Any) -> None:
    world.usage.track("acme", "api_requests", 5)
    world.usage.track("acme", "api_requests", 3, at="2026-01-08T10:00:00Z")
    history = world.usage.get_history("acme", "4")
    assert [(day["date"], day["api_requests"]) for day in history] == [
        ("2026-01-07", 0),
        ("2026-01-08", 3),
        ("2026-01-09", 0),
        ("2026-01-10", 5),
    ]


def test_thirty_days_unless_said_otherwise(world: Any) -> None:
    assert len(world.usage.get_history("acme")) == 30


def test_ten_years_at_most(world: Any) -> None:
    world.usage.track("acme", "api_requests", 5, at="2016-01-05")
    history = world.usage.get_history("acme", 3660)
    assert len(history) == 3660
    assert sum(day["api_requests"] for day in history) == 5


@pytest.mark.parametrize(
    "days",
    [0, -1, 3661, 10**9, "0", "-1", "1.5", "abc", "", "1e2", "１", None, 1.0, True],
    ids=lambda days: f"{days!r}",
)
def test_history_of_no_days_or_too_many_is_refused(world: Any, days: Any) -> None:
    with world.refuses(BadInput):
        world.usage.get_history("acme", days)


@pytest.mark.parametrize("zone", ZONES)
def test_today_is_the_customers_day(world: Any, zone: str) -> None:
    world.customers.create("acme", zone=zone)
    for time in ("2026-01-10T12:00:00Z", "2026-03-08T06:59:00Z", "2026-04-04T15:00:00Z", "2026-04-24T21:59:59Z"):
        world.to(time)
        world.usage.track("acme", "api_requests", 1)
        today = to_date(local_day(zone, world.clock.at)).isoformat()
        assert (
            world.usage.get_history("acme", 1)[0]["date"],
            world.usage.get_history("acme", 1)[0]["api_requests"],
        ) == (
            today,
            1,
        )


# --- Rollups --------------------------------------------------------------------------------------------------------


def test_rollups_have_the_start_of_their_span_what_was_measured_and_how_often(world: Any) -> None:
    world.usage.track("acme", "api_requests", 5, at="2026-01-10T10:59:59Z")
    world.usage.track("acme", "api_requests", 3, at="2026-01-10T11:00:00Z")
    world.usage.track("acme", "api_requests", 2, at="2026-01-10T11:30:00Z")
    world.usage.track("acme", "compute", "1.5", at="2026-01-09T00:00:00Z")

    def row(at: str, what: str, amount: Any, events: int) -> dict[str, Any]:
        return {"period_start": at, "resource_type": what, "amount": amount, "events": events}

    assert world.usage.aggregate("acme", "hour") == [
        row("2026-01-09T00:00:00Z", "compute", Decimal("1.5"), 1),
        row("2026-01-10T10:00:00Z", "api_requests", 5, 1),
        row("2026-01-10T11:00:00Z", "api_requests", 5, 2),
    ]
    assert world.usage.aggregate("acme", "day") == [
        row("2026-01-09T00:00:00Z", "compute", Decimal("1.5"), 1),
        row("2026-01-10T00:00:00Z", "api_requests", 10, 3),
    ]
    assert world.usage.aggregate("acme", "month") == [
        row("2026-01-01T00:00:00Z", "api_requests", 10, 3),
        row("2026-01-01T00:00:00Z", "compute", Decimal("1.5"), 1),
    ]


def test_a_level_is_shown_as_each_span_ended_with_it(world: Any) -> None:
    for at, size in (("2026-01-08T10:00:00Z", 5), ("2026-01-08T10:30:00Z", 7), ("2026-01-10T09:00:00Z", 6)):
        world.usage.track_storage("acme", size, at=at)
    found = {row["period_start"]: (row["amount"], row["events"]) for row in world.usage.aggregate("acme", "day")}
    assert found == {"2026-01-08T00:00:00Z": (7, 2), "2026-01-10T00:00:00Z": (6, 1)}


def test_bounds_that_cut_into_a_span_show_it_whole(world: Any) -> None:
    for at in ("2026-01-09T09:10:00Z", "2026-01-09T10:10:00Z", "2026-01-09T11:10:00Z"):
        world.usage.track("acme", "api_requests", 1, at=at)
        world.usage.track_storage("acme", 1, at=at)
    for period, expected in (("hour", 1), ("day", 3), ("month", 3)):
        rows = world.usage.aggregate("acme", period, since="2026-01-09T10:30:00Z", until="2026-01-09T10:31:00Z")
        assert {row["resource_type"]: row["events"] for row in rows} == {"api_requests": expected, "storage": expected}


@pytest.mark.parametrize(
    "period,first,before",
    [
        ("hour", "2026-01-08T13:00:00Z", "2026-01-08T12:59:59Z"),
        ("day", "2025-12-11T00:00:00Z", "2025-12-10T23:59:59Z"),
        ("month", "2025-02-01T00:00:00Z", "2025-01-31T23:59:59Z"),
    ],
)
def test_without_bounds_the_last_48_hours_31_days_or_12_months_are_shown(
    world: Any, period: str, first: str, before: str
) -> None:
    for at in (first, before, "2026-01-10T12:00:00Z"):
        world.usage.track("acme", "api_requests", 1, at=at)
        world.usage.track_storage("acme", 1, at=at)
    found = {(row["period_start"], row["resource_type"]) for row in world.usage.aggregate("acme", period)}
    assert {start for start, _ in found} == {first, world.usage.aggregate("acme", period)[-1]["period_start"]}
    assert len(found) == 4


def test_all_of_time_may_be_asked_for(world: Any) -> None:
    world.usage.track("acme", "api_requests", 1, at="1970-01-01T00:00:00Z")
    for period in ("hour", "day", "month"):
        rows = world.usage.aggregate("acme", period, since="1970-01-01", until="8999-12-31")
        assert [row["period_start"] for row in rows] == ["1970-01-01T00:00:00Z"]
    assert world.usage.aggregate("acme", "hour", since="8999-01-01", until="8999-12-31") == []


@pytest.mark.parametrize("period", ["", "Day", "week", "year", "minute", None, 5, "x" * 100_000])
def test_only_hours_days_and_months_are_rolled_up(world: Any, period: Any) -> None:
    with world.refuses(BadInput, "hour, day or month"):
        world.usage.aggregate("acme", period)


@pytest.mark.parametrize(
    "since,until",
    [("soon", None), (None, "later"), ("2026-01-02", "2026-01-01"), ("2026-01-01", "2026-01-01"), ("9999-01-01", None),
     ("2026-02-01", None), ("", None)],
)  # fmt: skip
def test_bounds_are_times_in_their_order(world: Any, since: Any, until: Any) -> None:
    for customer in ("acme", "nobody"):
        with world.refuses(BadInput):
            world.usage.aggregate(customer, "day", since=since, until=until)
        world.usage.track("acme", "api_requests", 1)


events = st.lists(
    st.tuples(
        st.sampled_from(["api_requests", "bandwidth", "storage"]),
        st.integers(NOW - 120 * DAY, NOW),
        st.integers(0, 1000),
    ),
    max_size=25,
)


@given(st.sampled_from(ZONES), events)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hours_days_months_and_history_all_tell_the_same_story(
    new_world: Any, zone: str, events: list[tuple[str, int, int]]
) -> None:
    world = new_world(format_time(NOW))
    world.customers.create("acme", zone=zone)
    expected: Counter[tuple[str, int]] = Counter()
    for meter, at, amount in events:
        world.usage.track("acme", meter, amount, at=at, set=meter == "storage")
        if meter != "storage":
            expected[meter, local_day(zone, at)] += amount
    bounds = {"since": format_time(NOW - 150 * DAY)}

    def days_of(period: str) -> Counter[tuple[str, int]]:
        found: Counter[tuple[str, int]] = Counter()
        for row in world.usage.aggregate("acme", period, **bounds):
            if row["resource_type"] != "storage":
                found[row["resource_type"], local_day(zone, parse_time(row["period_start"]))] += row["amount"]
        return found

    assert +days_of("day") == +expected
    if not any(day_start(zone, day) % HOUR for _, day in expected):  # hours are of UTC, days may begin within one
        assert +days_of("hour") == +expected
    assert sum(days_of("month").values()) == sum(expected.values())
    history = world.usage.get_history("acme", 130)
    assert (
        Counter({("api_requests", day): entry["api_requests"] for day, entry in _numbered(history)})
        + Counter({("bandwidth", day): entry["bandwidth_bytes"] for day, entry in _numbered(history)})
        == +expected
    )
    levels = sorted((at, place, amount) for place, (meter, at, amount) in enumerate(events) if meter == "storage")
    for day, entry in _numbered(history):
        held = [amount for at, _, amount in levels if local_day(zone, at) <= day]
        assert entry["storage_bytes"] == (held[-1] if held else 0)


def _numbered(history: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    return [(parse_time(entry["date"]) // DAY, entry) for entry in history]


# --- Files ----------------------------------------------------------------------------------------------------------


def fill(world: Any) -> None:
    world.usage.track_api_request("acme", "/v1", "GET", 200, "0.125", id="=1+1")
    world.usage.track_compute("acme", "x", "0.000001", id="-2", at="2026-01-09T00:00:00.5Z")
    world.usage.track("acme", "bandwidth", -5, id="n", metadata={"k": 'a"b,c', "ü": None})
    world.usage.track("initech", "api_requests", 1)


def test_csv_holds_every_event_with_what_a_spreadsheet_would_run_defused(world: Any, tmp_path: Path) -> None:
    fill(world)
    target = tmp_path / "out.csv"
    assert world.usage.export("acme", "csv", target) == 3
    assert list(csv.reader(io.StringIO(target.read_text("utf-8"), newline=""))) == [
        ["id", "customer_id", "resource_type", "amount", "metadata", "created_at"],
        ["'=1+1", "acme", "api_requests", "1",
         '{"endpoint":"/v1","method":"GET","status":200,"duration":0.125}', "2026-01-10T12:00:00Z"],
        ["'-2", "acme", "compute", "0.000001", "{}", "2026-01-09T00:00:00.500000Z"],
        ["n", "acme", "bandwidth", "-5", '{"k":"a\\"b,c","ü":null}', "2026-01-10T12:00:00Z"],
    ]  # fmt: skip


def test_json_holds_every_event_with_exact_numbers(world: Any, tmp_path: Path) -> None:
    fill(world)
    target = tmp_path / "out.json"
    assert world.usage.export("acme", "json", str(target)) == 3
    found = json.loads(target.read_text("utf-8"), parse_float=Decimal)
    assert [(event["id"], event["resource_type"], event["amount"]) for event in found] == [
        ("=1+1", "api_requests", 1),
        ("-2", "compute", Decimal("0.000001")),
        ("n", "bandwidth", -5),
    ]
    assert found[2]["metadata"] == {"k": 'a"b,c', "ü": None}


@pytest.mark.parametrize(
    "format,empty", [("csv", "id,customer_id,resource_type,amount,metadata,created_at"), ("json", "[]")]
)
def test_a_customer_without_events_has_a_file_without_events(
    world: Any, tmp_path: Path, format: str, empty: str
) -> None:
    with world.unchanged():
        assert world.usage.export("nobody", format, tmp_path / "out") == 0
    assert (tmp_path / "out").read_text("utf-8").strip() == empty


def test_a_file_that_is_there_is_replaced_whole_and_keeps_its_mode(world: Any, tmp_path: Path) -> None:
    fill(world)
    target, link = tmp_path / "out.json", tmp_path / "link.json"
    target.write_text("x" * 100_000)
    target.chmod(0o640)
    link.symlink_to(target)
    world.usage.export("acme", "json", link)
    assert link.is_symlink()
    assert len(json.loads(target.read_text("utf-8"))) == 3
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_new_file_is_for_its_owner_alone(world: Any, tmp_path: Path) -> None:
    world.usage.export("acme", "csv", tmp_path / "new.csv")
    assert stat.S_IMODE((tmp_path / "new.csv").stat().st_mode) == 0o600


@pytest.mark.parametrize("format", ["", "CSV", "xml", "ndjson", None, 5])
def test_another_format_is_refused(world: Any, tmp_path: Path, format: Any) -> None:
    with world.refuses(BadInput, "csv or json"):
        world.usage.export("acme", format, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["nosuch/out.csv", "", "directory", "file/out.csv", "x" * 300])
def test_a_place_that_cannot_be_written_is_an_error_and_leaves_nothing(world: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("")
    before = sorted(os.listdir(tmp_path))
    error: Any = StorageError if name else BadInput
    with world.refuses(error):
        world.usage.export("acme", "csv", tmp_path / name if name else "")
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("path", ["a\0b", "a\nb", "\ud800"])
def test_a_path_is_text_on_one_line(world: Any, path: str) -> None:
    with world.refuses(BadInput):
        world.usage.export("acme", "csv", path)


def test_the_seeds_table_reads_as_the_export_does(world: Any, tmp_path: Path) -> None:
    fill(world)
    world.usage.export("acme", "json", tmp_path / "out.json")
    exported = json.loads((tmp_path / "out.json").read_text("utf-8"), parse_float=str, parse_int=str)
    rows = world.rows("SELECT id, resource_type, amount, created_at FROM usage_events WHERE customer_id = 'acme'")
    assert rows == [(row["id"], row["resource_type"], row["amount"], row["created_at"]) for row in exported]


def test_every_event_of_a_day_is_in_one_of_the_days_of_its_zone(world: Any) -> None:
    world.to(format_time(NOW))
    for zone in ZONES:
        world.customers.create(zone, zone=zone)
        for at in range(NOW - DAY, NOW, 45 * MINUTE):
            world.usage.track(zone, "api_requests", 1, at=at)
        assert sum(day["api_requests"] for day in world.usage.get_history(zone, 3)) == 32
