"""Stripe's events as they came in, and the newest state that is known of each of its objects.

An event's id is its primary key: it is taken once. Its effect and its fate commit together. Times of Stripe are whole
seconds; times of ours are microseconds.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any, NamedTuple

SCHEMA: tuple[str, ...] = (
    """CREATE TABLE stripe_events (
  -- every webhook that was taken, what came of it, and why
  event_id TEXT PRIMARY KEY, -- Stripe's; in a fixtures ledger a digest of the body where it has none
  type TEXT NOT NULL,
  api_version TEXT NOT NULL,
  created INTEGER NOT NULL, -- seconds since 1970, by Stripe's clock
  kind TEXT NOT NULL, -- of the object it is about
  object_id TEXT NOT NULL,
  -- applied; stale: newer state was known; ignored: nothing of ours is concerned; fetching: the object is asked for
  state TEXT NOT NULL CHECK (state IN ('applied', 'stale', 'ignored', 'fetching')),
  reason TEXT NOT NULL DEFAULT '',
  body TEXT NOT NULL,
  received_at INTEGER NOT NULL,
  settled_at INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID""",
    "CREATE INDEX stripe_events_fetching ON stripe_events (created) WHERE state = 'fetching'",
    "CREATE INDEX stripe_events_object ON stripe_events (object_id, created)",
    """CREATE TABLE stripe_objects (
  -- the newest known state of each object of Stripe
  object_id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  as_of INTEGER NOT NULL, -- seconds: the newest event that is in it
  version INTEGER NOT NULL, -- counts its changes: what was fetched meanwhile must not overwrite a newer state
  event_id TEXT NOT NULL,
  json TEXT NOT NULL
) STRICT, WITHOUT ROWID""",
    "CREATE INDEX stripe_objects_kind ON stripe_objects (kind)",
)


class EventRow(NamedTuple):
    """An event that was taken."""

    event_id: str
    type: str
    api_version: str
    created: int
    kind: str
    object_id: str
    state: str
    reason: str
    body: str


class ObjectRow(NamedTuple):
    """What is known of an object."""

    kind: str
    as_of: int
    version: int
    event_id: str
    object: dict[str, Any]


def add(db: sqlite3.Connection, row: EventRow, now: int) -> bool:
    """Takes an event; False if it was taken before."""
    settled = 0 if row.state == "fetching" else now
    added = db.execute(
        """INSERT INTO stripe_events (event_id, type, api_version, created, kind, object_id, state, reason, body,
          received_at, settled_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (event_id) DO NOTHING""",
        (*row, now, settled),
    )
    return added.rowcount == 1


def find(db: sqlite3.Connection, event_id: str) -> EventRow | None:
    """The event of that id."""
    row = db.execute(
        """SELECT event_id, type, api_version, created, kind, object_id, state, reason, body FROM stripe_events
        WHERE event_id = ?""",
        (event_id,),
    ).fetchone()
    return None if row is None else EventRow(*row)


def settle(db: sqlite3.Connection, event_id: str, state: str, reason: str, now: int) -> None:
    """What came of an event whose object had to be fetched."""
    db.execute(
        "UPDATE stripe_events SET state = ?, reason = ?, settled_at = ? WHERE event_id = ?",
        (state, reason, now, event_id),
    )


def fetching(db: sqlite3.Connection, limit: int) -> list[str]:
    """Ids of events whose object is still to be fetched, oldest first."""
    rows = db.execute(
        "SELECT event_id FROM stripe_events WHERE state = 'fetching' ORDER BY created, event_id LIMIT ?", (limit,)
    ).fetchall()
    return [row[0] for row in rows]


def known(db: sqlite3.Connection, object_id: str) -> ObjectRow | None:
    """The newest known state of an object."""
    row = db.execute(
        "SELECT kind, as_of, version, event_id, json FROM stripe_objects WHERE object_id = ?", (object_id,)
    ).fetchone()
    if row is None:
        return None
    kind, as_of, version, event_id, text = row
    return ObjectRow(kind, as_of, version, event_id, json.loads(text))


def remember(db: sqlite3.Connection, object_id: str, kind: str, as_of: int, event_id: str, obj: dict[str, Any]) -> None:
    """Writes down a newer state of an object."""
    db.execute(
        """INSERT INTO stripe_objects (object_id, kind, as_of, version, event_id, json) VALUES (?, ?, ?, 1, ?, ?)
        ON CONFLICT (object_id) DO UPDATE SET as_of = max(as_of, excluded.as_of), version = version + 1,
          event_id = excluded.event_id, json = excluded.json""",
        (object_id, kind, as_of, event_id, json.dumps(obj, separators=(",", ":"), default=str)),
    )


def counts(db: sqlite3.Connection) -> dict[str, int]:
    """How many events there are in each state."""
    return dict(db.execute("SELECT state, count(*) FROM stripe_events GROUP BY state ORDER BY state").fetchall())
