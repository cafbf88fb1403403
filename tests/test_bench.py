"""The benchmarks: what is compared writes the same, and a run of any size says what it found. No times are tested."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package beside the tests, which is not installed."""
    monkeypatch.syspath_prepend(str(CHECKOUT))
    import bench
    import bench.by_hand
    import bench.compare
    import bench.harness
    import bench.ledgers
    import bench.report
    import bench.stream

    return bench


def tables(path: Path) -> dict[str, list[Any]]:
    db = sqlite3.connect(path)
    found = {
        table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4, 5").fetchall() for table in ("events", "rollups")
    }
    db.close()
    return found


@pytest.mark.parametrize("ids", ["text", "uuid"])
def test_what_is_written_by_hand_is_what_the_engine_writes(bench: Any, tmp_path: Path, ids: str) -> None:
    base = bench.ledgers.make(tmp_path / "base.db", 7)
    events = bench.stream.Stream(7, ids).take(250)
    with bench.ledgers.opened(bench.ledgers.copy(base, tmp_path / "engine.db")) as billing:
        assert billing.usage.track_many(events, batch=100).added == 250
    db = bench.by_hand.connect(str(bench.ledgers.copy(base, tmp_path / "hand.db")))
    known = bench.by_hand.known(db)
    bench.by_hand.write_batches(db, bench.by_hand.batches(events, known, 1, 100))
    db.close()
    if ids == "text":
        db = bench.by_hand.connect(str(bench.ledgers.copy(base, tmp_path / "program.db")))
        bench.by_hand.write_program(db, events, known, 100)
        db.close()
        assert tables(tmp_path / "program.db") == tables(tmp_path / "engine.db")
    assert tables(tmp_path / "hand.db") == tables(tmp_path / "engine.db")
    assert len(tables(tmp_path / "hand.db")["rollups"]) >= 4 * 7


def test_a_tracked_event_by_hand_is_what_track_records(bench: Any, tmp_path: Path) -> None:
    path = bench.ledgers.make(tmp_path / "ledger.db", 2, live=True)
    with bench.ledgers.opened_now(path) as billing:
        billing.usage.track(bench.stream.customer(0), "api_requests", metadata=bench.stream.METADATA)
        known = bench.by_hand.known(billing.ledger.read())
    db = bench.by_hand.connect(str(path))
    bench.by_hand.write_tracked(db, known, bench.stream.customer(1))
    mine, by_hand = db.execute(
        "SELECT meter, dimension, amount, op, id, metadata, length(key), h = at / 3600000000 FROM events ORDER BY seq"
    ).fetchall()
    assert mine == by_hand
    one, other = (
        db.execute("SELECT grain, meter, amount, events FROM rollups WHERE customer = ?", (number,)).fetchall()
        for number, _ in known.customers.values()
    )
    db.close()
    assert one == other
    assert len(one) == 4


def test_the_connection_by_hand_is_set_as_the_engine_sets_its_own(bench: Any, tmp_path: Path) -> None:
    path = bench.ledgers.make(tmp_path / "ledger.db", 1)
    by_hand = bench.by_hand.connect(str(path))
    with bench.ledgers.opened(path) as billing:
        names = list(bench.by_hand.PRAGMAS)
        engines = billing.ledger.write(lambda db: [db.execute(f"PRAGMA {name}").fetchone() for name in names])
    assert [by_hand.execute(f"PRAGMA {name}").fetchone() for name in names] == engines
    by_hand.close()


def test_ratios_are_taken_round_by_round(bench: Any) -> None:
    harness = bench.harness
    costs = {"a": iter([2.0, 6.0, 4.0]), "b": iter([1.0, 2.0, 2.0])}
    variants = [harness.Variant(name, lambda name=name: harness.Outcome(next(costs[name]))) for name in costs]
    rounds: list[int] = []
    figures = harness.interleave(variants, harness.Options(Path(), rounds=3), rounds.append)
    assert rounds == [0, 1, 2]
    assert harness.cost_ratio("", figures["a"], figures["b"]).rounds == [2, 3, 2]
    assert harness.rate_ratio("", figures["b"], figures["a"]).median == 2


def test_a_statement_is_shown_without_its_values(bench: Any) -> None:
    statements = [
        "SELECT  x1 FROM t WHERE a = 'it''s 5'\nAND b = X'00ff' AND c = -7",
        "INSERT INTO t VALUES (NULL, 1.5)",
    ]
    assert bench.ledgers.counted([*statements, statements[0]]).splitlines() == [
        "     2 x  SELECT x1 FROM t WHERE a = ? AND b = ? AND c = ?",
        "     1 x  INSERT INTO t VALUES (?, ?)",
    ]


def stored(path: Path, ratios: dict[str, list[float]], *, more_is_better: bool = False) -> dict[str, Any]:
    found = {
        "subjects": [
            {
                "name": "s",
                "ratios": [
                    {"name": name, "rounds": rounds, "median": sorted(rounds)[len(rounds) // 2],
                     "more_is_better": more_is_better}
                    for name, rounds in ratios.items()
                ],
            }
        ]
    }  # fmt: skip
    path.write_text(json.dumps(found), "utf-8")
    return found


def test_a_comparison_tells_what_moved_by_more_than_its_spread(bench: Any, tmp_path: Path) -> None:
    path = tmp_path / "stored.json"
    stored(path, {"slower": [1.0, 1.1, 1.2], "spread": [1.0, 1.5, 2.0], "quicker": [2.0, 2.1, 2.2]})
    now = {"slower": [1.4, 1.5, 1.6], "spread": [1.6, 1.7, 2.5], "quicker": [1.0, 1.1, 1.2], "other": [1.0] * 3}
    lines = bench.compare.with_stored(path, stored(tmp_path / "now.json", now)).splitlines()[1:]
    assert [line.split(":")[0] for line in lines] == ["worse", "better", "new", "same"]
    assert lines[0] == "worse: s: slower: 1.10 before, 1.50 now (+36%)"


def test_a_rate_that_grew_is_better(bench: Any, tmp_path: Path) -> None:
    path = tmp_path / "stored.json"
    stored(path, {"rate": [1.0, 1.1, 1.2]}, more_is_better=True)
    now = stored(tmp_path / "now.json", {"rate": [1.4, 1.5, 1.6]}, more_is_better=True)
    assert "\nbetter: s: rate" in bench.compare.with_stored(path, now)


def test_a_page_keeps_what_people_wrote_around_the_tables(bench: Any, tmp_path: Path) -> None:
    page, report = tmp_path / "performance.md", bench.report
    page.write_text(f"# P\n\nBefore.\n\n{report.BEGIN}\nold\n{report.END}\n\nAfter.\n", "utf-8")
    report.write_page(page, "new\n")
    assert page.read_text("utf-8") == f"# P\n\nBefore.\n\n{report.BEGIN}\n\nnew\n\n{report.END}\n\nAfter.\n"


def run_bench(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments], cwd=CHECKOUT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_tiny_run_measures_every_subject_that_needs_no_server(tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    text = run_bench(
        tmp_path, "ingest", "growth", "logs", "track", "quota", "start", "--keep", str(tmp_path), "--out", str(out),
        "--rounds", "1", "--events", "2000", "--calls", "64", "--customers", "5", "--sizes", "0,500,1000",
    )  # fmt: skip
    found = json.loads(out.read_text("utf-8"))
    assert [subject["name"] for subject in found["subjects"]] == ["ingest", "growth", "logs", "track", "quota", "start"]
    for subject in found["subjects"]:
        assert all(len(figure["rounds"]) == 1 and figure["median"] > 0 for figure in subject["figures"])
        assert f"## {subject['title']}" in text
    targets = {ratio["name"]: ratio["target"] for subject in found["subjects"] for ratio in subject["ratios"]}
    assert targets["import / SQL of the same contents"] == "at most 1.45, later 1.3"
    assert targets["rate at 1,000 / rate at 500"] == "at least 0.9"
    assert "at most 1.45, later 1.3" in text
    assert "ON CONFLICT (grain, bucket, customer, meter, dimension)" in text


def test_a_tiny_run_of_processes_counts_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench: Any) -> None:
    import bench.processes

    monkeypatch.setattr(bench.processes, "PROCESSES", 2)
    monkeypatch.setattr(bench.processes, "THREADS", 2)
    monkeypatch.setattr(bench.processes, "SECONDS", 1)
    (result,) = bench.processes.run(bench.harness.Options(tmp_path, rounds=1, customers=3))
    assert result.ratios[0].name == "rate of track / rate of own connections"
    assert all(ratio.median > 0 for ratio in result.ratios)
