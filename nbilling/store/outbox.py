"""The outbox: messages that wait to be sent, in order for each customer and lane, and the history of each.

``head`` marks the first open message of its lane: only that one can be taken. It is written down so that a claim reads
an index of heads and not all that waits behind them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any, NamedTuple

SCHEMA: tuple[str, ...] = (
    """CREATE TABLE outbox (
  -- what is to be done outside the ledger, written in the commit that decided it; never deleted
  id INTEGER PRIMARY KEY, -- the order within a lane
  operation_id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL, -- which handler sends it
  lane TEXT NOT NULL, -- what is kept in order for a customer: the kind up to its dot
  customer INTEGER NOT NULL, -- customers.id; 0: the ledger itself
  payload TEXT NOT NULL, -- JSON
  state TEXT NOT NULL CHECK (state IN ('pending', 'leased', 'unknown', 'done', 'dead', 'dropped')),
  head INTEGER NOT NULL CHECK (head IN (0, 1)), -- 1: the first of its lane that is neither done nor dropped
  held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)), -- 1: cannot even be tried, for that reason
  generation INTEGER NOT NULL DEFAULT 1, -- part of the idempotency key; raised when it is certain that nothing happened
  attempts INTEGER NOT NULL DEFAULT 0, -- since it was queued, or a person asked for it again
  wake_at INTEGER NOT NULL, -- the next attempt, or the end of the lease
  token INTEGER NOT NULL DEFAULT 0, -- the lease that may settle it: outbox_attempts.seq; 0: none
  worker TEXT NOT NULL DEFAULT '',
  failing_since INTEGER NOT NULL DEFAULT 0, -- the first of those attempts
  first_sent_at INTEGER NOT NULL DEFAULT 0, -- when the present key was first used
  uncertain INTEGER NOT NULL DEFAULT 0 CHECK (uncertain IN (0, 1)), -- 1: it may have happened
  astray INTEGER NOT NULL DEFAULT 0 CHECK (astray IN (0, 1)), -- 1: a worker with the present key never reported
  reason TEXT NOT NULL DEFAULT '', -- why it stands as it does
  result TEXT NOT NULL DEFAULT '{}', -- JSON, of what is done
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  CHECK (head = 0 OR state NOT IN ('done', 'dropped'))
) STRICT""",
    "CREATE INDEX outbox_due ON outbox (wake_at, id) WHERE head = 1",
    "CREATE INDEX outbox_lane ON outbox (customer, lane, id) WHERE state NOT IN ('done', 'dropped')",
    "CREATE INDEX outbox_leased ON outbox (wake_at) WHERE state = 'leased'",
    "CREATE INDEX outbox_held ON outbox (id) WHERE held = 1",
    """CREATE TABLE outbox_attempts (
  -- every transition of every message, append-only
  seq INTEGER PRIMARY KEY,
  message INTEGER NOT NULL REFERENCES outbox (id),
  at INTEGER NOT NULL,
  event TEXT NOT NULL CHECK (event IN (
    'send', 'reconcile', 'settled', 'lease_ran_out', 'late', 'held', 'retry', 'drop', 'restored')),
  state TEXT NOT NULL, -- the state that it led to
  generation INTEGER NOT NULL,
  token INTEGER NOT NULL, -- the lease that it belongs to; 0: none
  actor TEXT NOT NULL, -- the worker, or the person
  reason TEXT NOT NULL
) STRICT""",
    "CREATE INDEX outbox_attempts_message ON outbox_attempts (message, seq)",
    """CREATE TABLE outbox_pauses (
  -- what is not sent at present; '' is the whole outbox
  name TEXT PRIMARY KEY, -- a kind or a lane
  paused INTEGER NOT NULL CHECK (paused IN (0, 1)),
  reason TEXT NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    *(
        f"""CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN
  SELECT raise(ABORT, '{table} is {what}'); END"""
        for table, verb, what in (
            ("outbox", "DELETE", "never deleted from; use nbilling outbox drop"),
            ("outbox_attempts", "DELETE", "append-only; nothing is taken back"),
            ("outbox_attempts", "UPDATE", "append-only; nothing is taken back"),
        )
    ),
)

LAST_TIME = 2**63 - 1


class OutboxRow(NamedTuple):
    """A message as the table has it, and its customer's own id (empty for the ledger itself)."""

    id: int
    operation_id: str
    kind: str
    lane: str
    customer: int
    payload: str
    state: str
    head: int
    held: int
    generation: int
    attempts: int
    wake_at: int
    token: int
    worker: str
    failing_since: int
    first_sent_at: int
    uncertain: int
    astray: int
    reason: str
    result: str
    created_at: int
    updated_at: int
    customer_id: str


class AttemptRow(NamedTuple):
    """One transition."""

    seq: int
    at: int
    event: str
    state: str
    generation: int
    token: int
    actor: str
    reason: str


_COLUMNS = OutboxRow._fields[:-1]
_CHANGEABLE = frozenset(_COLUMNS[6:-2])
_FIELDS = f"SELECT {', '.join(f'o.{column}' for column in _COLUMNS)}, coalesce(c.customer_id, '') "
_SELECT = f"{_FIELDS} FROM outbox o LEFT JOIN customers c ON c.id = o.customer "


def insert(
    db: sqlite3.Connection,
    operation_id: str,
    kind: str,
    lane: str,
    customer: int,
    payload: str,
    wake_at: int,
    now: int,
) -> bool:
    """Queues a message; False where the operation is known."""
    added = db.execute(
        """INSERT INTO outbox
          (operation_id, kind, lane, customer, payload, state, head, wake_at, created_at, updated_at)
        SELECT ?1, ?2, ?3, ?4, ?5, 'pending', NOT EXISTS (SELECT 1 FROM outbox
          WHERE customer = ?4 AND lane = ?3 AND state NOT IN ('done', 'dropped')), ?6, ?7, ?7
        WHERE true ON CONFLICT (operation_id) DO NOTHING RETURNING id""",
        (operation_id, kind, lane, customer, payload, wake_at, now),
    ).fetchone()
    return added is not None


def find(db: sqlite3.Connection, operation_id: str) -> OutboxRow | None:
    """The message of that operation."""
    row = db.execute(_SELECT + "WHERE o.operation_id = ?", (operation_id,)).fetchone()
    return OutboxRow(*row) if row else None


def get(db: sqlite3.Connection, number: int) -> OutboxRow | None:
    """The message of that number."""
    row = db.execute(_SELECT + "WHERE o.id = ?", (number,)).fetchone()
    return OutboxRow(*row) if row else None


def lane_head(db: sqlite3.Connection, customer: int, lane: str) -> OutboxRow | None:
    """The first open message of a lane."""
    row = db.execute(
        _SELECT + "WHERE o.customer = ? AND o.lane = ? AND o.state NOT IN ('done', 'dropped') ORDER BY o.id LIMIT 1",
        (customer, lane),
    ).fetchone()
    return OutboxRow(*row) if row else None


def unfinished(db: sqlite3.Connection, kind: str, lane: str, customer: int, payload: str) -> OutboxRow | None:
    """An open message of that kind and content."""
    row = db.execute(
        _SELECT
        + """WHERE o.customer = ? AND o.lane = ? AND o.state NOT IN ('done', 'dropped')
        AND o.kind = ? AND o.payload = ? ORDER BY o.id LIMIT 1""",
        (customer, lane, kind, payload),
    ).fetchone()
    return OutboxRow(*row) if row else None


def due(
    db: sqlite3.Connection,
    now: int,
    sendable: Iterable[str],
    resolvable: Iterable[str],
    *,
    last_token: int = LAST_TIME,
) -> OutboxRow | None:
    """The head that has waited longest among those of time, of kinds that can be sent or, if unknown, resolved.

    ``last_token``: only what was not taken since that lease.
    """
    row = db.execute(
        _SELECT
        + """WHERE o.head = 1 AND o.wake_at <= ? AND o.token <= ? AND (
          (o.state = 'pending' AND o.kind IN (SELECT value FROM json_each(?)))
          OR (o.state = 'unknown' AND o.kind IN (SELECT value FROM json_each(?))))
        ORDER BY o.wake_at, o.id LIMIT 1""",
        (now, last_token, json.dumps(list(sendable)), json.dumps(list(resolvable))),
    ).fetchone()
    return OutboxRow(*row) if row else None


def expired(db: sqlite3.Connection, now: int) -> list[OutboxRow]:
    """Messages whose lease has run out."""
    rows = db.execute(_SELECT + "WHERE o.state = 'leased' AND o.wake_at <= ?", (now,)).fetchall()
    return [OutboxRow(*row) for row in rows]


def wake_held(db: sqlite3.Connection, now: int) -> None:
    """Makes what could not be tried due again."""
    db.execute("UPDATE outbox SET wake_at = ? WHERE held = 1 AND wake_at > ?", (now, now))


def any_held(db: sqlite3.Connection) -> bool:
    """Whether anything waits that could not be tried."""
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM outbox WHERE held = 1)").fetchone()[0])


def change(db: sqlite3.Connection, number: int, now: int, **values: int | str) -> None:
    """Sets columns of a message."""
    for column in values:
        if column not in _CHANGEABLE:
            raise LookupError(column)
    assignments = ", ".join(f"{column} = ?" for column in values)
    db.execute(f"UPDATE outbox SET {assignments}, updated_at = ? WHERE id = ?", (*values.values(), now, number))


def close(db: sqlite3.Connection, row: OutboxRow, now: int, **values: int | str) -> None:
    """Sets columns of a message that is done or dropped from now on, and lets the next one of its lane come forward."""
    change(db, row.id, now, head=0, **values)
    db.execute(
        """UPDATE outbox SET head = 1 WHERE id = (SELECT min(id) FROM outbox
          WHERE customer = ? AND lane = ? AND state NOT IN ('done', 'dropped'))""",
        (row.customer, row.lane),
    )


def mark_restored(db: sqlite3.Connection, now: int, never: int, actor: str, reason: str) -> int:
    """Everything open may have happened already, and waits to be looked into. Returns how many there are."""
    db.execute(
        """UPDATE outbox SET state = CASE state WHEN 'dead' THEN 'dead' ELSE 'unknown' END, wake_at = ?, token = 0,
          held = 0, uncertain = 1, astray = 1, reason = ?, updated_at = ? WHERE state NOT IN ('done', 'dropped')""",
        (never, reason, now),
    )
    return db.execute(
        """INSERT INTO outbox_attempts (message, at, event, state, generation, token, actor, reason)
        SELECT id, ?, 'restored', state, generation, 0, ?, ? FROM outbox
        WHERE state NOT IN ('done', 'dropped') ORDER BY id""",
        (now, actor, reason),
    ).rowcount


def note(
    db: sqlite3.Connection,
    message: int,
    at: int,
    event: str,
    state: str,
    generation: int,
    token: int,
    actor: str,
    reason: str = "",
) -> None:
    """One row of the history."""
    db.execute(
        """INSERT INTO outbox_attempts (message, at, event, state, generation, token, actor, reason)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
        (message, at, event, state, generation, token, actor, reason),
    )


def note_lease(db: sqlite3.Connection, message: int, at: int, event: str, generation: int, actor: str) -> int:
    """The row of the history that begins an attempt; returns its token, higher than every one before."""
    token = last_token(db) + 1
    db.execute(
        """INSERT INTO outbox_attempts (seq, message, at, event, state, generation, token, actor, reason)
        VALUES (?1, ?2, ?3, ?4, 'leased', ?5, ?1, ?6, '')""",
        (token, message, at, event, generation, actor),
    )
    return token


def last_token(db: sqlite3.Connection) -> int:
    """No lease has a higher token."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM outbox_attempts").fetchone()[0])


def history(db: sqlite3.Connection, message: int) -> list[AttemptRow]:
    """Every transition of a message, oldest first."""
    rows = db.execute(
        """SELECT seq, at, event, state, generation, token, actor, reason FROM outbox_attempts
        WHERE message = ? ORDER BY seq""",
        (message,),
    ).fetchall()
    return [AttemptRow(*row) for row in rows]


def page(
    db: sqlite3.Connection, states: Iterable[str], kind: str, customer: int, after: int, limit: int
) -> list[OutboxRow]:
    """Messages in the order of their numbers. ``kind`` empty, ``customer`` -1: any."""
    wanted = list(states)
    hint = is_open = ""
    if not {"done", "dropped"} & set(wanted):
        # Or the few that are open are looked for among all that ever were.
        hint, is_open = "INDEXED BY outbox_lane", "AND o.state NOT IN ('done', 'dropped')"
    rows = db.execute(
        f"""{_FIELDS} FROM outbox o {hint} LEFT JOIN customers c ON c.id = o.customer
        WHERE o.id > ? AND o.state IN (SELECT value FROM json_each(?)) {is_open}
        AND (? = '' OR o.kind = ?) AND (? < 0 OR o.customer = ?) ORDER BY o.id LIMIT ?""",
        (after, json.dumps(wanted), kind, kind, customer, customer, limit),
    ).fetchall()
    return [OutboxRow(*row) for row in rows]


def counts(db: sqlite3.Connection) -> dict[str, int]:
    """How many messages are in each state."""
    return dict(db.execute("SELECT state, count(*) FROM outbox GROUP BY state").fetchall())


def oldest_open(db: sqlite3.Connection) -> int:
    """When the oldest open message was queued; 0 where there is none."""
    row = db.execute("SELECT min(created_at) FROM outbox WHERE state NOT IN ('done', 'dropped')").fetchone()
    return int(row[0] or 0)


def set_pause(db: sqlite3.Connection, name: str, paused: bool, reason: str, now: int) -> None:
    """Stops a kind, a lane or (empty) everything, or lets it go on."""
    db.execute(
        """INSERT INTO outbox_pauses VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE
        SET paused = excluded.paused, reason = excluded.reason, updated_at = excluded.updated_at""",
        (name, int(paused), reason, now),
    )


def pauses(db: sqlite3.Connection) -> dict[str, tuple[str, int]]:
    """What is paused: by name, the reason and since when."""
    rows: list[tuple[Any, ...]] = db.execute(
        "SELECT name, reason, updated_at FROM outbox_pauses WHERE paused = 1 ORDER BY name"
    ).fetchall()
    return {name: (reason, at) for name, reason, at in rows}
