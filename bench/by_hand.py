"""What a good programmer would write by hand: the SQL of one transaction, and programs around it.

``rows`` and ``deltas`` are what the engine writes too, to the byte: a test compares the tables.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import NamedTuple

from bench.stream import METADATA
from nbilling.model.clock import DAY, HOUR
from nbilling.model.events import UsageEvent
from nbilling.model.identity import event_key, uuid7

INSERT = """INSERT INTO events (seq, h, at, customer, meter, dimension, amount, op, key, id, metadata)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
UPSERT = """INSERT INTO rollups (grain, bucket, customer, meter, dimension, amount, events, mark)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (grain, bucket, customer, meter, dimension)
DO UPDATE SET events = events + excluded.events, amount = amount + excluded.amount"""
TRANSACTION = (
    f"BEGIN IMMEDIATE;\n-- executemany, the batch\n{INSERT};\n-- executemany, summed over the batch\n{UPSERT};\nCOMMIT;"
)

BARE_TABLE = """CREATE TABLE events (
  seq INTEGER PRIMARY KEY, h INTEGER NOT NULL, at INTEGER NOT NULL, customer INTEGER NOT NULL, meter INTEGER NOT NULL,
  dimension INTEGER NOT NULL, amount INTEGER NOT NULL, op INTEGER NOT NULL, key BLOB NOT NULL, id TEXT, metadata TEXT
) STRICT;
CREATE UNIQUE INDEX events_identity ON events (h, key, customer);
CREATE INDEX events_usage ON events (h, customer, meter);"""
BARE_TRANSACTION = f"{BARE_TABLE}\nBEGIN IMMEDIATE;\n-- executemany, the batch\n{INSERT};\nCOMMIT;"

SEED_TABLE = """CREATE TABLE usage_events (
  id TEXT PRIMARY KEY, customer_id TEXT NOT NULL, resource_type TEXT NOT NULL, amount NUMERIC NOT NULL,
  metadata TEXT DEFAULT '{}', created_at TEXT NOT NULL
);
CREATE INDEX idx_usage_customer ON usage_events (customer_id);
CREATE INDEX idx_usage_created ON usage_events (created_at);"""
SEED_INSERT = """INSERT INTO usage_events (id, customer_id, resource_type, amount, metadata, created_at)
VALUES (?, ?, ?, ?, ?, ?)"""
SEED_TRANSACTION = (
    f"{SEED_TABLE}\nBEGIN IMMEDIATE;\n-- executemany, the batch; id is a UUID version 4\n{SEED_INSERT};\nCOMMIT;"
)

KEYED_SEED_TABLE = SEED_TABLE.replace("created_at TEXT NOT NULL\n", "created_at TEXT NOT NULL, event_id TEXT UNIQUE\n")
KEYED_SEED_INSERT = """INSERT INTO usage_events (id, customer_id, resource_type, amount, metadata, created_at, event_id)
VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (event_id) DO NOTHING"""

PRAGMAS = {
    "journal_mode": "WAL",
    "synchronous": "FULL",
    "foreign_keys": "ON",
    "cache_size": "-65536",
    "wal_autocheckpoint": "4000",
}
"""The settings of the engine's own write connection (``nbilling/store/connection.py``), for every variant."""

TRACKED_METADATA = json.dumps(METADATA, sort_keys=True, separators=(",", ":"))
Row = tuple[object, ...]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Known(NamedTuple):
    """What a program has looked up before: customers by id, as number and present period, and the meter's number."""

    customers: Mapping[str, tuple[int, int]]
    meter: int


class Batch(NamedTuple):
    """One transaction, ready to be executed."""

    rows: list[Row]
    deltas: list[Row]


def connect(path: str, *, busy_seconds: int = 60) -> sqlite3.Connection:
    """A connection with :data:`PRAGMAS`. Transactions are begun and ended by hand."""
    db = sqlite3.connect(path, isolation_level=None, timeout=busy_seconds, check_same_thread=False)
    for name, value in PRAGMAS.items():
        db.execute(f"PRAGMA {name}={value}").fetchone()
    return db


def known(db: sqlite3.Connection) -> Known:
    """Looks up every customer and the meter of the stream."""
    rows = db.execute("SELECT customer_id, id, period FROM customers").fetchall()
    meter = db.execute("SELECT id FROM meters WHERE name = 'api_requests'").fetchone()[0]
    return Known({name: (number, period) for name, number, period in rows}, meter)


def batches(events: Sequence[UsageEvent], known: Known, first: int, size: int) -> Iterator[Batch]:
    """The transactions for these events: ``first`` is the number of the first one, ``size`` the events of each."""
    for start in range(0, len(events), size):
        some = events[start : start + size]
        rows = list(_rows(some, known, first + start))
        yield Batch(rows, deltas(rows, known))


def _rows(events: Iterable[UsageEvent], known: Known, first: int) -> Iterator[Row]:
    texts: dict[int, str] = {}
    for seq, (customer, _, amount, event_id, at, _, metadata, _) in enumerate(events, first):
        if event_id is None:
            key, text = uuid7(time.time_ns() // 1000), None
        else:
            key, text = event_key(customer, event_id)
        words = texts.get(id(metadata)) or texts.setdefault(id(metadata), _json(metadata))
        yield seq, at // HOUR, at, known.customers[customer][0], known.meter, 0, amount, 0, key, text, words  # type: ignore[operator]


def _json(metadata: object) -> str:
    return json.dumps(metadata, sort_keys=True, separators=(",", ":"))


def deltas(rows: Iterable[Row], known: Known) -> list[Row]:
    """What a batch adds to lifetime, hour, day and billing period of its customers, whose days are those of UTC."""
    sums: dict[tuple[int, int], list[int]] = {}
    for _, hour, _, customer, _, _, amount, _, _, _, _ in rows:
        total = sums.get((customer, hour))  # type: ignore[arg-type]
        if total is None:
            sums[customer, hour] = [amount, 1]  # type: ignore[index, list-item]
        else:
            total[0] += amount  # type: ignore[operator]
            total[1] += 1
    periods, meter = dict(known.customers.values()), known.meter
    found: list[Row] = []
    for (customer, hour), (amount, events) in sorted(sums.items()):
        found += (
            (0, 0, customer, meter, 0, amount, events, 0),
            (1, hour, customer, meter, 0, amount, events, 0),
            (2, hour // 24, customer, meter, 0, amount, events, 0),
            (3, periods[customer], customer, meter, 0, amount, events, 0),
        )
    return found


def write_batches(db: sqlite3.Connection, transactions: Iterable[Batch]) -> None:
    """The SQL alone: everything was computed before."""
    for rows, sums in transactions:
        db.execute("BEGIN IMMEDIATE")
        db.executemany(INSERT, rows)
        db.executemany(UPSERT, sums)
        db.execute("COMMIT")


def write_summing(db: sqlite3.Connection, transactions: Iterable[Batch], known: Known) -> None:
    """The rows were made before, the sums are made here."""
    for rows, _ in transactions:
        db.execute("BEGIN IMMEDIATE")
        db.executemany(INSERT, rows)
        db.executemany(UPSERT, deltas(rows, known))
        db.execute("COMMIT")


def write_rows(db: sqlite3.Connection, insert: str, rows: Sequence[Row], size: int) -> None:
    """Plain ``executemany``, ``size`` rows a transaction."""
    for start in range(0, len(rows), size):
        db.execute("BEGIN IMMEDIATE")
        db.executemany(insert, rows[start : start + size])
        db.execute("COMMIT")


def write_program(db: sqlite3.Connection, events: Sequence[UsageEvent], known: Known, size: int) -> None:
    """A whole program for these very events: it looks customers up in a dict, hashes ids, dumps JSON, sums, writes.
    It checks nothing, and gives up where an id comes twice."""
    seq = db.execute("SELECT coalesce(max(seq), 0) + 1 FROM events").fetchone()[0]
    dumps = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
    for start in range(0, len(events), size):
        rows: list[Row] = []
        for customer, _, amount, event_id, at, _, metadata, _ in events[start : start + size]:
            name = customer.encode()
            identity = len(name).to_bytes(4, "big") + name + event_id.encode()  # type: ignore[union-attr]
            key = blake2b(identity, digest_size=16).digest()
            number = known.customers[customer][0]
            rows.append((seq, at // HOUR, at, number, known.meter, 0, amount, 0, key, event_id, dumps(metadata)))  # type: ignore[operator]
            seq += 1
        db.execute("BEGIN IMMEDIATE")
        db.executemany(INSERT, rows)
        db.executemany(UPSERT, deltas(rows, known))
        db.execute("COMMIT")


def write_tracked(db: sqlite3.Connection, known: Known, customer: str) -> None:
    """What ``track`` records, now: looked up in dicts, with a new id, checked for nothing."""
    now = time.time_ns() // 1000
    number, period = known.customers[customer]
    hour = now // HOUR
    db.execute("BEGIN IMMEDIATE")
    # Another process may have written meanwhile, so the number of the event is SQLite's own.
    db.execute(INSERT, (None, hour, now, number, known.meter, 0, 1, 0, uuid7(now), None, TRACKED_METADATA))
    meter = known.meter
    db.executemany(
        UPSERT,
        (
            (0, 0, number, meter, 0, 1, 1, 0),
            (1, hour, number, meter, 0, 1, 1, 0),
            (2, now // DAY, number, meter, 0, 1, 1, 0),
            (3, period, number, meter, 0, 1, 1, 0),
        ),
    )
    db.execute("COMMIT")


def seed_rows(events: Iterable[UsageEvent], uuids: Iterable[str], *, keyed: bool = False) -> list[Row]:
    """The same events for the seed's own table; ``keyed``: with the unique id that deduplicates."""
    texts: dict[int, str] = {}
    rows: list[Row] = []
    for number, (customer, meter, amount, event_id, at, _, metadata, _) in zip(uuids, events, strict=False):
        words = texts.get(id(metadata)) or texts.setdefault(id(metadata), _json(metadata))
        moment = (_EPOCH + timedelta(microseconds=at)).isoformat()  # type: ignore[arg-type]
        row: Row = (number, customer, meter, amount, words, moment)
        rows.append((*row, event_id) if keyed else row)
    return rows
