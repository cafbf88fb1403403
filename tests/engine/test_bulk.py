"""Many events at once: what is recorded, what is refused, and that a run again adds only what is new."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from nbilling.engine import log_lines
from nbilling.model.clock import HOUR, format_time, parse_time
from nbilling.model.errors import BadInput, Conflict, StorageFull
from nbilling.model.events import BadEvent, BulkReport, UsageEvent
from nbilling.model.identity import key_text, uuid7

NOON = parse_time("2026-01-10T12:00:00Z")


def event(number: int, **changes: Any) -> UsageEvent:
    at = NOON - HOUR + number * 1_000_000
    return UsageEvent("acme", "api_requests", 1, f"r{number}", at)._replace(**changes)


def as_json(number: int, **changes: Any) -> bytes:
    found = event(number)._asdict() | {"at": format_time(NOON - HOUR + number * 1_000_000)} | changes
    return json.dumps({name: value for name, value in found.items() if value is not None}).encode() + b"\n"


def refused(world: Any, events: Any, **how: Any) -> tuple[BulkReport, list[tuple[int, str]]]:
    bad: list[BadEvent] = []
    report = world.usage.track_many(events, on_bad=bad.append, **how)
    return report, [(one.number, one.message) for one in bad]


# --- What is recorded -------------------------------------------------------------------------------------------------


def test_events_are_recorded_as_if_one_by_one(new_world: Any) -> None:
    many, single = new_world(), new_world()
    for world in (many, single):
        world.usage.create_meter("tokens", scale=3, dimension="model")
        world.usage.create_meter("users", aggregation="unique")
        world.usage.create_meter("total", kind="counter")
    events = [
        event(1),
        event(2, customer="globex", amount="7", metadata={"b": 1, "a": [1.5, None]}),
        event(3, meter="tokens", amount=Decimal("1.25"), dimension="large"),
        event(4, meter="tokens", amount="-0.001", dimension="large"),
        event(5, meter="storage", amount=500, set=True),
        event(6, meter="storage", amount=-20),
        event(7, meter="users", metadata={"value": "u-1"}),
        event(8, meter="users", metadata={"value": "u-1"}),
        event(9, meter="total", amount=100),
        event(10, meter="total", amount=150),
        event(11, at=format_time(NOON)),
        event(12, id=str(uuid.UUID(int=7))),
    ]
    report = many.usage.track_many(iter(events), batch=5)
    assert report == BulkReport(12, 12, 0, 0)
    for one in events:
        single.usage.track(
            one.customer, one.meter, one.amount,
            dimension=one.dimension, set=one.set, metadata=one.metadata, id=one.id, at=one.at,
        )  # fmt: skip
    ordered = {"rollups": 5, "customers": 2, "counter_samples": 6, "gauge_levels": 5, "unique_values": 5}
    mine, other = many.contents(), single.contents()
    for table in ("events", "dimensions", "event_ids"):
        assert mine[table] == other[table]
    for table in ("rollups", "counter_samples", "gauge_levels", "unique_values"):
        assert len(mine[table]) == len(other[table]) > ordered[table] - 5
        assert sorted(mine[table]) == sorted(other[table])


def test_mappings_with_the_seeds_names_are_events(world: Any) -> None:
    report = world.usage.track_many(
        [
            {"customer_id": "acme", "resource_type": "bandwidth", "amount": 5, "dimension": "egress"},
            {"customer": "acme", "meter": "api_requests", "created_at": "2026-01-10T11:00:00Z", "dimension": None},
        ]
    )
    assert report.added == 2
    assert (world.current("acme"), world.current("acme", "bandwidth_bytes")) == (1, 5)


def test_metadata_as_text_is_kept_in_one_form_and_refused_where_it_is_no_object(world: Any) -> None:
    world.usage.track_many([event(1, metadata='{"b": 1.50, "a": "\\u00e9"}'), event(2, metadata={"a": "é"})])
    assert world.rows("SELECT metadata FROM events") == [('{"a":"é","b":1.50}',), ('{"a":"é"}',)]
    for text in ("", "plain", "[1]", '{"a": NaN}', '{"a": 1, "a": 2}'):
        with world.refuses(BadInput, "metadata"):
            world.usage.track_many([event(3, metadata=text)])


def test_no_events_are_no_jobs(world: Any) -> None:
    with world.unchanged():
        assert world.usage.track_many([]) == BulkReport()
        assert world.usage.import_events(io.BytesIO(b"\n\n"), "ndjson") == BulkReport()


# --- Once -------------------------------------------------------------------------------------------------------------


def test_the_same_events_again_are_duplicates_and_ids_of_two_customers_do_not_meet(world: Any) -> None:
    events = [event(number) for number in range(25)] + [event(3, customer="globex")]
    assert world.usage.track_many(events, batch=10) == BulkReport(26, 26, 0, 0)
    random.Random(1).shuffle(events)
    with world.unchanged():
        assert world.usage.track_many(events + events, batch=7) == BulkReport(52, 0, 52, 0)
    assert world.current("acme") == 25


def test_the_same_event_twice_within_a_batch_counts_once(world: Any) -> None:
    assert world.usage.track_many([event(1), event(2), event(1)]) == BulkReport(3, 2, 1, 0)


def test_an_event_without_an_id_is_another_one_each_time(world: Any) -> None:
    for at in (None, NOON):
        world.usage.track_many([event(1, id=None, at=at)] * 2)
    assert world.current("acme") == 4


def test_an_id_without_a_time_keeps_the_time_of_its_first_coming(world: Any) -> None:
    world.usage.track_many([event(1, at=None), event(2, at=None), event(1, at=None)])
    world.to("2026-01-20T00:00:00Z")
    with world.unchanged():
        assert world.usage.track_many([event(2, at=None), event(1, at=None)]).duplicates == 2
    version7 = key_text(uuid7(NOON))
    assert world.usage.track_many([event(1, id=version7, at=None)]).added == 1
    assert world.rows("SELECT max(at) FROM events") == [(NOON,)]


def test_an_id_that_comes_with_other_content_is_a_conflict(world: Any) -> None:
    world.usage.track_many([event(1)])
    with world.refuses(Conflict, "event 3: id 'r1' is already recorded with other content"):
        world.usage.track_many([event(5), event(6), event(1, amount=2)])
    report, bad = refused(world, [event(5), event(1, amount=2), event(5, amount=9), event(6)])
    assert report == BulkReport(4, 2, 0, 2)
    assert [number for number, _ in bad] == [2, 3]
    for wrong in (event(1, meter="storage"), event(1, metadata={"x": 1}), event(1, at=event(1).at + 1)):
        with world.refuses(Conflict):
            world.usage.track_many([wrong])


# --- What is refused --------------------------------------------------------------------------------------------------

WRONG = [
    ({"customer": ""}, "customer id is empty"),
    ({"customer": 17}, "customer id must be text"),
    ({"customer": ["acme"]}, "customer id must be text"),
    ({"customer": {}}, "customer id must be text"),
    ({"customer": "a\nb"}, "control character"),
    ({"meter": "nothing"}, "there is no meter 'nothing'"),
    ({"meter": ["api_requests"]}, "meter must be text"),
    ({"amount": None}, "amount None is not a whole number"),
    ({"amount": "1.5"}, "not a whole number"),
    ({"amount": Decimal("1E+999999999")}, "not a whole number"),
    ({"amount": True}, "not a whole number"),
    ({"amount": 2**63}, "too large"),
    ({"meter": "compute", "amount": Decimal("1E+999999999")}, "amount"),
    ({"meter": "compute", "amount": "0.0000001"}, "amount"),
    ({"id": ""}, "event id is empty"),
    ({"id": " r"}, "begins or ends with a space"),
    ({"id": "x" * 256}, "256 characters"),
    ({"id": 17}, "event id must be text"),
    ({"at": "yesterday"}, "is not a time"),
    ({"at": "2026-02-30T00:00:00Z"}, "does not exist"),
    ({"at": -1}, "is not a time"),
    ({"at": True}, "is not a time"),
    ({"at": Decimal(1)}, "is not a time"),
    ({"at": "1970-01-01T00:00:00+05:00"}, "outside 1970"),
    ({"at": "9999-12-31T23:59:59.999999+00:00"}, "outside 1970"),
    ({"at": NOON + HOUR + 1}, "lies in the future"),
    ({"dimension": 0}, "dimension must be text"),
    ({"dimension": "x" * 101}, "101 characters"),
    ({"metadata": [1]}, "metadata must be an object"),
    ({"metadata": {"x": "y" * 20_000}}, "metadata has 20,008 characters"),
    ({"metadata": {"x": float("nan")}}, "cannot be kept as JSON"),
    ({"set": True}, "no gauge"),
    ({"set": "false"}, "neither true nor false"),
    ({"meter": "storage", "set": 1}, "neither true nor false"),
    ({"meter": "users"}, "needs a value"),
    ({"meter": "users", "metadata": {"value": ""}}, "needs a value"),
    ({"meter": "users", "metadata": {"value": True}}, "needs a value"),
    ({"meter": "users", "metadata": {"value": "u"}, "dimension": "d"}, "no dimension"),
    ({"meter": "users", "metadata": {"value": "u"}, "amount": -1}, "no negative amount"),
]


@pytest.fixture
def metered(world: Any) -> Any:
    world.usage.create_meter("users", aggregation="unique")
    return world


@pytest.mark.parametrize("changes,message", WRONG)
def test_a_wrong_event_is_refused_alone_and_named_by_its_number(
    metered: Any, changes: dict[str, Any], message: str
) -> None:
    events = [event(1), event(2, **changes), event(3)]
    with metered.refuses(BadInput, "^event 2: "):
        metered.usage.track_many(events)
    report, [(number, text)] = refused(metered, events)
    assert report == BulkReport(3, 2, 0, 1)
    assert number == 2
    assert message in text
    assert not text.startswith("event 2")


@pytest.mark.parametrize(
    "wrong,message",
    [
        (None, "not an object"),
        ("text", "not an object"),
        ([1], "not an object"),
        ({}, "needs a customer and a meter"),
        ({"customer": "acme"}, "needs a customer and a meter"),
        ({"customer": None, "meter": "api_requests"}, "needs a customer and a meter"),
        ({"customer": "acme", "meter": "api_requests", "price": 1, 2: 3}, "has no field 'price'"),
        ({"customer": "acme", "meter": "api_requests", 2: 3}, "has no field 2"),
        ({"customer": "acme", "customer_id": "globex", "meter": "api_requests"}, "two fields for customer"),
        ({"customer": "acme", "meter": "api_requests", "metadata": "{}"}, "metadata must be an object"),
        (BadInput("it could not be read", hint="look"), "it could not be read"),
    ],
)
def test_what_is_no_event_is_refused_too(world: Any, wrong: Any, message: str) -> None:
    report, [(number, text)] = refused(world, [event(1), wrong])
    assert (report.added, report.bad, number) == (1, 1, 2)
    assert message in text


def test_a_batch_fails_whole_and_those_before_it_stay(world: Any) -> None:
    with pytest.raises(BadInput, match=r"^event 18: "):
        world.usage.track_many([event(n, amount="x" if n == 17 else 1) for n in range(30)], batch=5)
    assert world.current("acme") == 15


def test_a_sum_that_leaves_64_bits_is_refused_and_the_rest_of_its_batch_recorded(world: Any) -> None:
    huge = 2**62
    events = [event(n, amount=huge if n in (3, 7, 9) else 1) for n in range(12)]
    with world.refuses(BadInput, "larger than 2"):
        world.usage.track_many(events)
    report, bad = refused(world, events)
    assert report == BulkReport(12, 10, 0, 2)
    assert [number for number, _ in bad] == [8, 10]
    assert world.current("acme") == huge + 9


def test_a_failing_disk_is_no_bad_event(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageFull("the disk is full", hint="free some")

    for name in ("read", "write"):
        with monkeypatch.context() as patch:
            patch.setattr(world.billing._core.ledger, name, full)
            with pytest.raises(StorageFull):
                refused(world, [event(1), event(2, meter="storage")])
    assert refused(world, [event(1)])[0].added == 1


@pytest.mark.parametrize("batch", [0, -1, "x", 1.5, True])
def test_a_batch_is_a_number_of_events(world: Any, batch: Any) -> None:
    with world.refuses(BadInput, "batch"):
        world.usage.track_many([event(1)], batch=batch)


# --- Endless ----------------------------------------------------------------------------------------------------------


def test_an_endless_stream_is_taken_a_batch_at_a_time_in_flat_memory(world: Any) -> None:
    """Each batch is durable before more is read, and the millionth event needs no more room than the first."""
    taken = recorded = 0
    peaks: list[int] = []

    def endless() -> Iterator[UsageEvent]:
        nonlocal taken
        for taken in itertools.count(1):
            assert taken - recorded <= 200
            yield event(taken % 3000, id=f"e{taken}", customer=f"c{taken % 50}", metadata={"n": taken})

    class Enough(Exception):
        pass

    def progress(report: BulkReport) -> None:
        nonlocal recorded
        recorded = report.added
        assert report == BulkReport(taken, taken, 0, 0)
        assert world.rows("SELECT count(*) FROM events") == [(recorded,)]
        if recorded % 4000 == 0:
            peaks.append(tracemalloc.get_traced_memory()[0])
        if recorded == 16_000:
            raise Enough

    tracemalloc.start()
    try:
        with pytest.raises(Enough):
            world.usage.track_many(endless(), batch=200, progress=progress)
    finally:
        tracemalloc.stop()
    assert max(peaks[1:]) < peaks[0] + 400_000


# --- Lines ------------------------------------------------------------------------------------------------------------


def test_lines_come_from_files_pipes_and_iterables_packed_or_not(world: Any, tmp_path: Path) -> None:
    lines = [as_json(number) for number in range(5)]
    data = b"".join(lines)
    (tmp_path / "file").write_bytes(data[:-1])
    assert world.usage.import_events(iter(lines), "ndjson").added == 5
    with open(tmp_path / "file", "rb") as file:
        assert world.usage.import_events(file, "ndjson").duplicates == 5
    assert world.usage.import_events(io.BytesIO(gzip.compress(data)), "ndjson").duplicates == 5
    table = b"customer,meter,id,at\n" + b"".join(
        f"acme,api_requests,r{number},{format_time(event(number).at)}\n".encode()  # type: ignore[arg-type]
        for number in range(7)
    )
    assert world.usage.import_events(io.BytesIO(table), "csv") == BulkReport(7, 2, 5, 0)
    with pytest.raises(BadInput, match="must be bytes"):
        world.usage.import_events(["text"], "ndjson")
    for format in ("json", "CSV", ""):
        with pytest.raises(BadInput):
            world.usage.import_events(iter([]), format)


def test_bad_lines_are_numbered_as_events_and_an_unfinished_one_is_bad(world: Any) -> None:
    bad: list[BadEvent] = []
    data = b"\n" + as_json(1) + b"\n\nnot json\n" + as_json(2, amount="x") + as_json(3) + as_json(4)[:-9]
    report = world.usage.import_events(io.BytesIO(data), "ndjson", on_bad=bad.append)
    assert report == BulkReport(5, 2, 0, 3)
    assert [one.number for one in bad] == [2, 3, 5]
    report = world.usage.import_events(io.BytesIO(data[: data.rindex(b"{")] + as_json(4)), "ndjson", on_bad=bad.append)
    assert (report.added, report.duplicates) == (1, 2)


@pytest.mark.parametrize("as_stream", [True, False])
def test_strict_records_all_or_nothing(world: Any, as_stream: bool) -> None:
    def source(lines: list[bytes]) -> Any:
        return io.BytesIO(b"".join(lines)) if as_stream else iter(lines)

    good = [as_json(number) for number in range(1500)]
    for wrong, message in (
        (b"x\n", "event 1401: the line is not JSON"),
        (as_json(1, amount=-1, meter="users", metadata={"value": 1}), "event 1401: .*no negative"),
        (as_json(1, at="2026-01-11T12:00:00Z"), "event 1401: .*future"),
    ):
        world.usage.create_meter("users", aggregation="unique")
        with world.refuses(BadInput, message):
            world.usage.import_events(source([*good[:1400], wrong, *good[1400:]]), "ndjson", strict=True)
    assert world.usage.import_events(source(good), "ndjson", strict=True).added == 1500


def test_what_came_through_a_pipe_is_written_while_it_stays_open(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "HELD_MILLISECONDS", 20)
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as source:
        thread = threading.Thread(target=world.usage.import_events, args=(source, "ndjson"))
        thread.start()
        for number in range(1, 4):
            os.write(writer, as_json(number))
            for _ in range(3_000):
                if world.rows("SELECT count(*) FROM events") == [(number,)]:
                    break
                time.sleep(0.01)
            assert world.rows("SELECT count(*) FROM events") == [(number,)]
        os.close(writer)
        thread.join()


# --- Processes --------------------------------------------------------------------------------------------------------

PROGRAM = """
import sys
import nbilling
with nbilling.open(sys.argv[1]) as ledger, open(sys.argv[2], "rb") as lines:
    ledger.usage.import_events(lines, "ndjson", progress=lambda report: print(*report, flush=True))
"""


def start(ledger: Path, lines: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, ledger, lines], stdout=subprocess.PIPE)


@pytest.fixture
def many_lines(tmp_path: Path) -> Path:
    path = tmp_path / "events.ndjson"
    # Long past: these processes live by the machine's clock.
    lines = (
        as_json(n, id=f"e{n}", customer=f"c{n % 7}", amount=2, at=1_700_000_000_000_000 + n) for n in range(20_000)
    )
    path.write_bytes(b"".join(lines))
    return path


@pytest.fixture
def ledger(tmp_path: Path, empty_ledger: Path) -> Path:
    return Path(shutil.copy(empty_ledger, tmp_path / "events.db"))


def count_in(path: Path) -> tuple[int, int]:
    with sqlite3.connect(path) as db:
        rows: tuple[int, int] = (
            db.execute("SELECT count(*) FROM events").fetchone()[0],
            db.execute("SELECT sum(amount) FROM rollups WHERE grain = 0").fetchone()[0],
        )
    db.close()
    return rows


def test_processes_that_are_killed_and_run_again_count_each_event_once(ledger: Path, many_lines: Path) -> None:
    choose = random.Random(4)
    for _ in range(4):
        with start(ledger, many_lines) as process:
            assert process.stdout is not None
            for _ in range(choose.randint(1, 8)):
                said = process.stdout.readline().split()
            process.send_signal(signal.SIGKILL)
        assert count_in(ledger)[0] >= int(said[0])  # what it had told was durable
    with start(ledger, many_lines) as process:
        process.communicate()
    assert (process.returncode, count_in(ledger)) == (0, (20_000, 40_000))


def test_two_processes_that_import_one_file_at_once_count_each_event_once(ledger: Path, many_lines: Path) -> None:
    processes = [start(ledger, many_lines) for _ in range(2)]
    said = [process.communicate()[0].split(b"\n")[-2].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(int(report[1]) for report in said) == 20_000
    assert sum(int(report[2]) for report in said) == 20_000
    assert count_in(ledger) == (20_000, 40_000)
