"""Counter samples: the sums of real samples in any order, once, over restarts, and for the right customer."""

from __future__ import annotations

import io
import json
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from nbilling.engine import log_lines, samples
from nbilling.model.errors import BadInput
from nbilling.model.imports import BadLine, SampleOptions

START = 1_767_960_000_000  # 2026-01-09T12:00:00Z
ACME = SampleOptions(customer="acme", zone="api")
ONE = ACME._replace(meters={"requests": "zone_requests"})


def sample(second: int, requests: int, address: str = "10.0.0.1", **zones: int) -> bytes:
    counters = {
        name: {"requests": total, "sent": total * 100, "received": total * 10}
        for name, total in ({"api": requests} | zones).items()
    }
    at = START + second * 1000
    return json.dumps({"address": address, "timestamp": at, "server_zones": counters}).encode() + b"\n"


def sums(world: Any) -> dict[tuple[str, str, str], int]:
    """What was counted, by customer, meter and dimension; days and periods say the same as all of it."""
    found: list[dict[tuple[str, str, str], int]] = []
    for grain in (0, 1, 2, 3):
        rows = world.rows(
            """SELECT c.customer_id, m.name, d.value, sum(r.amount) FROM rollups r JOIN customers c ON c.id = r.customer
            JOIN meters m ON m.id = r.meter JOIN dimensions d ON d.id = r.dimension
            WHERE r.grain = ? AND m.kind = 'counter' GROUP BY 1, 2, 3""",
            grain,
        )
        found.append({row[:3]: row[3] for row in rows})
    assert found[0] == found[1] == found[2] == found[3]
    return found[0]


def take(world: Any, lines: list[bytes], options: SampleOptions = ONE, **how: Any) -> Any:
    return world.usage.import_samples(io.BytesIO(b"".join(lines)), options, create_meters=True, **how)


# --- The real samples -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(shared_data: Path) -> list[bytes]:
    path = shared_data / "logs/elastic_nginxplus_status.ndjson"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("seed", range(4))
def test_the_real_samples_give_the_known_sums_in_any_order_and_once(
    new_world: Any, real: list[bytes], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "BATCH_SAMPLES", 37)
    world, lines, choose = new_world(), list(real), random.Random(seed)
    if seed:
        choose.shuffle(lines)
    options = SampleOptions(zone_map={"trac.nginx.org": "acme", "hg.nginx.org": "globex"})
    for part in (lines[:123], lines[123:]):
        take(world, part, options)
    expected = {
        ("acme", "zone_requests", "trac.nginx.org"): 757,
        ("acme", "zone_sent", "trac.nginx.org"): 20_153_501,
        ("acme", "zone_received", "trac.nginx.org"): 266_643,
        ("globex", "zone_requests", "hg.nginx.org"): 363,
        ("globex", "zone_sent", "hg.nginx.org"): 12_894_354,
        ("globex", "zone_received", "hg.nginx.org"): 99_807,
    }
    assert sums(world) == expected
    choose.shuffle(lines)
    with world.unchanged():
        report = world.usage.import_samples(io.BytesIO(b"".join(lines)), options)
    assert (report.samples, report.totals, report.added, report.duplicates) == (500, 3000, 0, 3000)
    assert (report.bad, report.others, report.missing) == (0, ("lxr.nginx.org",), ())
    assert sums(world) == expected


# --- Any order, restarts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_restarts_count_from_zero_in_any_order_of_arrival(new_world: Any, seed: int) -> None:
    choose = random.Random(seed)
    totals = [choose.randrange(1000)]
    counted = 0
    for _ in range(30):
        if choose.random() < 0.2 and totals[-1]:
            totals.append(choose.randrange(totals[-1]))  # started again, and seen by its fall
            counted += totals[-1]
        else:
            more = choose.randrange(50)
            totals.append(totals[-1] + more)
            counted += more
    lines = [sample(second, total) for second, total in enumerate(totals)]
    choose.shuffle(lines)
    world = new_world()
    take(world, lines)
    assert sums(world) == {("acme", "zone_requests", "api"): counted}


def test_a_reload_is_no_restart_and_a_restart_is(new_world: Any) -> None:
    world = new_world()
    take(world, [sample(0, 1000), sample(5, 1010), sample(10, 1015), sample(15, 3), sample(20, 8)])
    assert sums(world) == {("acme", "zone_requests", "api"): 10 + 5 + 3 + 5}


def test_the_first_total_is_where_counting_begins(new_world: Any) -> None:
    world = new_world()
    take(world, [sample(0, 1_000_000)])
    assert sums(world) == {("acme", "zone_requests", "api"): 0}
    take(world, [sample(-5, 999_990)])
    assert sums(world) == {("acme", "zone_requests", "api"): 10}


# --- For whom ---------------------------------------------------------------------------------------------------------


def test_a_zone_that_changes_hands_does_not_bring_its_past_along(new_world: Any) -> None:
    world = new_world()
    lines = [sample(second, second * 10) for second in range(10)]
    old = ONE._replace(customer="", zone="", zone_map={"api": "acme"})
    take(world, lines[:6], old)
    bad: list[BadLine] = []
    report = take(world, lines, old._replace(zone_map={"api": "globex"}), on_bad=bad.append)
    assert (report.added, report.conflicts, report.duplicates, report.bad) == (4, 6, 0, 0)
    assert [(line.number, line.reason) for line in bad] == [(number, "conflict") for number in range(1, 7)]
    assert "api:requests:" in bad[0].message
    assert sums(world) == {("acme", "zone_requests", "api"): 50, ("globex", "zone_requests", "api"): 30}


def test_another_content_at_the_same_time_is_a_conflict(new_world: Any) -> None:
    world = new_world()
    take(world, [sample(0, 5), sample(5, 9)])
    report = take(world, [sample(5, 10)])
    assert (report.added, report.conflicts) == (0, 1)


def test_samples_of_two_servers_are_not_mixed(new_world: Any) -> None:
    world = new_world()
    both = [sample(0, 10), sample(1, 900, "10.0.0.2"), sample(5, 20), sample(6, 950, "10.0.0.2")]
    bad: list[BadLine] = []
    report = take(world, both, on_bad=bad.append)
    assert (report.bad, report.added) == (2, 2)
    assert {line.reason for line in bad} == {"server"}
    take(world, [both[1], both[3]], ONE._replace(source="web-2"))
    assert sums(world) == {("acme", "zone_requests", "api"): 10, ("acme", "zone_requests", "web-2/api"): 50}


def test_zones_that_nobody_pays_for_or_that_are_not_there_are_named(new_world: Any) -> None:
    options = SampleOptions(zone_map={"api": "acme", "gone": "acme"})
    report = take(new_world(), [sample(0, 5, www=6, blog=7)], options)
    assert (report.others, report.missing) == (("blog", "www"), ("gone",))
    report = take(new_world(), [sample(0, 5, www=6)], ACME)
    assert (report.others, report.missing) == ((), ())
    report = take(new_world(), [sample(0, 5)], ACME._replace(zone="gone"))
    assert (report.totals, report.missing) == (0, ("gone",))


# --- Meters -----------------------------------------------------------------------------------------------------------


def test_meters_are_made_only_where_that_was_asked_for(new_world: Any) -> None:
    world = new_world()
    with world.refuses(BadInput, "there is no meter 'zone_requests'"):
        world.usage.import_samples(io.BytesIO(sample(0, 1)), ACME)
    take(world, [sample(0, 1)], ACME)
    made = {meter["name"]: meter for meter in world.usage.meters() if meter["kind"] == "counter"}
    assert {name: (meter["unit"], meter["dimension"]) for name, meter in made.items()} == {
        "zone_requests": ("requests", "zone"),
        "zone_sent": ("bytes", "zone"),
        "zone_received": ("bytes", "zone"),
    }
    world.usage.import_samples(io.BytesIO(sample(5, 4)), ACME)
    assert world.current("acme", "zone_sent_bytes") == 300


def test_options_that_contradict_each_other_make_no_meters(new_world: Any) -> None:
    world = new_world()
    with world.refuses(BadInput, "nothing says who is billed"):
        take(world, [sample(0, 1)], SampleOptions())


def test_a_meter_that_takes_no_totals_is_refused(new_world: Any) -> None:
    world = new_world()
    with world.refuses(BadInput, "does not take running totals"):
        take(world, [sample(0, 1)], ONE._replace(meters={"requests": "api_requests"}))
    world.usage.create_meter("scaled", kind="counter", scale=3)
    with world.refuses(BadInput, "does not take running totals"):
        take(world, [sample(0, 1)], ONE._replace(meters={"requests": "scaled"}))


# --- Bad lines, pipes -------------------------------------------------------------------------------------------------


def test_bad_samples_are_counted_and_told_and_the_others_go_on(new_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "BATCH_SAMPLES", 2)
    world = new_world()
    bad: list[BadLine] = []
    future = sample(10 * 86_400, 50)
    lines = [sample(0, 5), b"garbage\n", sample(5, 9), future, b"\n", sample(10, 11), sample(15, 12)[:60]]
    report = take(world, lines, on_bad=bad.append)
    assert [(line.number, line.reason) for line in bad] == [(2, "json"), (4, "future"), (5, "empty"), (7, "json")]
    assert (report.samples, report.added, report.bad) == (7, 3, 4)
    assert sums(world) == {("acme", "zone_requests", "api"): 6}


def test_strict_imports_all_or_nothing(new_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "BATCH_SAMPLES", 2)
    world = new_world()
    lines = [sample(second, second) for second in range(9)]
    take(world, lines[:1])
    with world.refuses(BadInput, "line 7: the line is not a JSON object"):
        take(world, [*lines[:6], b"x\n", *lines[6:]], ONE._replace(strict=True))
    assert take(world, lines, ONE._replace(strict=True)).added == 8


def test_a_sample_larger_than_a_line_of_a_log_is_read(new_world: Any) -> None:
    world = new_world()
    zones = {f"zone-{number}": number for number in range(2_000)}
    report = take(world, [sample(0, 1, **zones), sample(5, 2, **zones)])
    assert (report.added, report.bad) == (2, 0)


def test_what_came_through_a_pipe_is_written_while_it_stays_open(
    new_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "HELD_MILLISECONDS", 20)
    world = new_world()
    take(world, [sample(0, 0)])
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as source:
        thread = threading.Thread(target=world.usage.import_samples, args=(source, ONE))
        thread.start()
        for total in (3, 7):
            os.write(writer, sample(total, total))
            for _ in range(3_000):
                if sums(world)["acme", "zone_requests", "api"] == total:
                    break
                time.sleep(0.01)
            assert sums(world)["acme", "zone_requests", "api"] == total
        os.close(writer)
        thread.join()
