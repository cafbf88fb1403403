"""Durable tracking from four processes of four threads: the engine's turns against SQLite's own waiting."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from bench import ledgers
from bench.harness import Options, Outcome, Result, Variant, child, end, interleave, rate_ratio

PROCESSES, THREADS, SECONDS = 4, 4, 2
FAIRNESS = "slowest / fastest process"


def run(options: Options) -> list[Result]:
    """For two seconds a round, all at once. Every round checks that what was acknowledged is in the file, once."""
    base = ledgers.make(options.directory / "processes-base.db", options.customers, live=True)

    def variant(name: str, task: str) -> Variant:
        path = ledgers.copy(base, options.directory / f"processes-{task}.db")
        return Variant(name, lambda: _race(path, task, options.customers))

    engine, own = "track, one engine a process", "by hand, a connection a thread"
    figures = interleave([variant(engine, "engine"), variant(own, "own")], options)
    mine, other = figures[engine], figures[own]
    ratios = [
        rate_ratio("rate of track / rate of own connections", mine, other, "at least 1.7, later 2"),
        rate_ratio("slowest process / fastest, track", *_fairness(mine), "at least 0.85, later 0.9"),
        rate_ratio("slowest process / fastest, own connections", *_fairness(other)),
    ]
    conditions = ledgers.conditions(
        data=f"{PROCESSES} processes of {THREADS} threads, {SECONDS} s a round; own connections wait by busy_timeout "
        "(60 s); what each writes is what `track` writes",
        exact="every round, events and lifetime sums in the file equal the calls that were acknowledged",
    )
    return [Result("processes", "Durable tracking from processes", conditions, [mine, other], ratios)]


def _fairness(figure: Any) -> tuple[Any, Any]:
    """Two figures whose ratio is the fairness of each round."""
    ones = [1.0] * len(figure.rounds)
    return figure._replace(rounds=ones), figure._replace(rounds=figure.more[FAIRNESS])


def _race(path: Path, task: str, customers: int) -> Outcome:
    before = _counts(path)
    workers = [
        child("-m", "bench.worker", task, str(path), str(THREADS), str(SECONDS), str(customers))
        for _ in range(PROCESSES)
    ]  # fmt: skip
    try:
        for worker in workers:
            if worker.stdout is None or worker.stdin is None or worker.stdout.readline() != "ready\n":
                raise RuntimeError("a worker did not come up")
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        found = [json.loads(worker.communicate()[0]) for worker in workers]
    finally:
        for worker in workers:
            end(worker)
    calls = sum(one["calls"] for one in found)
    after = _counts(path)
    expected = calls + sum(one["before"] for one in found)
    if after[0] - before[0] != expected or after[1] - before[1] != expected:
        raise RuntimeError(f"{expected} calls were acknowledged; events and their sums grew from {before} to {after}")
    rates = [one["calls"] / one["seconds"] for one in found]
    waits = [wait for one in found for wait in one["waits"]]
    return Outcome(1e6 / sum(rates), waits, {FAIRNESS: min(rates) / max(rates)})


def _counts(path: Path) -> tuple[int, int]:
    """Events, and events counted for ever."""
    db = sqlite3.connect(path)
    events, counted = db.execute(
        "SELECT (SELECT count(*) FROM events), (SELECT coalesce(sum(events), 0) FROM rollups WHERE grain = 0)"
    ).fetchone()
    db.close()
    return events, counted
