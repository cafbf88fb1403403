"""What the offline Stripe holds: its objects as JSON, and the answers it keeps under idempotency keys.

Used in fixtures ledgers and by ``nbilling stripe mock`` only; nothing of nbilling's own state is in these tables.
Times here are Stripe's: whole seconds since 1970.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

NEVER = 2**62
"""The time of what time does not change."""

SCHEMA: tuple[str, ...] = (
    """CREATE TABLE stripe_offline_objects (
  -- customers, prices, invoices, events… of the offline Stripe; seq is the order in which they were made
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL, -- what Stripe calls it in "object"
  owner TEXT NOT NULL DEFAULT '', -- the customer, where there is one
  listed INTEGER NOT NULL DEFAULT 1 CHECK (listed IN (0, 1)), -- deleted ones are kept and not listed
  due INTEGER NOT NULL, -- when time changes it: a subscription renews, a draft is finalised
  json TEXT NOT NULL,
  created INTEGER NOT NULL
) STRICT""",
    "CREATE INDEX stripe_offline_objects_kind ON stripe_offline_objects (kind, owner, seq)",
    "CREATE INDEX stripe_offline_objects_due ON stripe_offline_objects (due) WHERE due < 4611686018427387904",
    """CREATE TABLE stripe_offline_keys (
  -- the first answer to a request with an idempotency key, whatever it was
  key TEXT PRIMARY KEY,
  request TEXT NOT NULL, -- method, path and parameters, to notice other ones
  status INTEGER NOT NULL,
  body TEXT NOT NULL,
  created INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
)


class KeptAnswer(NamedTuple):
    """The answer kept under an idempotency key."""

    request: str
    status: int
    body: str
    created: int


def get(db: sqlite3.Connection, object_id: str) -> dict[str, Any] | None:
    """The object of that id."""
    row = db.execute("SELECT json FROM stripe_offline_objects WHERE id = ?", (object_id,)).fetchone()
    return None if row is None else json.loads(row[0])


def put(db: sqlite3.Connection, obj: dict[str, Any], *, owner: str = "", listed: bool = True, due: int = NEVER) -> None:
    """Adds an object, or replaces the one of its id; that keeps its place and its owner."""
    db.execute(
        """INSERT INTO stripe_offline_objects (id, kind, owner, listed, due, json, created)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET listed = excluded.listed, due = excluded.due, json = excluded.json,
          owner = CASE WHEN excluded.owner = '' THEN owner ELSE excluded.owner END""",
        (
            obj["id"],
            obj["object"],
            owner,
            int(listed),
            due,
            json.dumps(obj, ensure_ascii=False, separators=(",", ":")),
            obj.get("created", obj.get("date", 0)),
        ),
    )


def remove(db: sqlite3.Connection, object_id: str) -> None:
    """Forgets an object, as Stripe forgets a deleted draft."""
    db.execute("DELETE FROM stripe_offline_objects WHERE id = ?", (object_id,))


def place(db: sqlite3.Connection, object_id: str) -> int | None:
    """The place of an object in the order of making."""
    row = db.execute("SELECT seq FROM stripe_offline_objects WHERE id = ?", (object_id,)).fetchone()
    return None if row is None else int(row[0])


def newest_first(
    db: sqlite3.Connection, kind: str, owner: str = "", before: int = NEVER, after: int = 0
) -> Iterator[dict[str, Any]]:
    """Listed objects of a kind (of an owner, if given) with a place in ``(after, before)``."""
    rows = db.execute(
        f"""SELECT json FROM stripe_offline_objects
        WHERE kind = ? {"AND owner = ?" if owner else ""} AND seq < ? AND seq > ? AND listed = 1 ORDER BY seq DESC""",
        (kind, *([owner] if owner else []), before, after),
    )
    for (text,) in rows:
        yield json.loads(text)


def next_due(db: sqlite3.Connection, now: int) -> tuple[dict[str, Any], int] | None:
    """The object that time changes first, and when, if that is not after ``now``."""
    row = db.execute(
        """SELECT json, due FROM stripe_offline_objects
        WHERE due < 4611686018427387904 AND due <= ? ORDER BY due, seq LIMIT 1""",
        (now,),
    ).fetchone()
    return None if row is None else (json.loads(row[0]), int(row[1]))


def count(db: sqlite3.Connection, kind: str) -> int:
    """How many objects of a kind there are, deleted ones too."""
    return int(db.execute("SELECT count(*) FROM stripe_offline_objects WHERE kind = ?", (kind,)).fetchone()[0])


def kept_answer(db: sqlite3.Connection, key: str) -> KeptAnswer | None:
    """The answer under an idempotency key."""
    row = db.execute("SELECT request, status, body, created FROM stripe_offline_keys WHERE key = ?", (key,)).fetchone()
    return None if row is None else KeptAnswer(*row)


def keep_answer(db: sqlite3.Connection, key: str, request: str, status: int, body: str, now: int) -> None:
    """Keeps the first answer under a key."""
    db.execute(
        "INSERT INTO stripe_offline_keys VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
        (key, request, status, body, now),
    )


def forget_answers(db: sqlite3.Connection, before: int) -> None:
    """Forgets the keys that were first used before a time."""
    db.execute("DELETE FROM stripe_offline_keys WHERE created < ?", (before,))
