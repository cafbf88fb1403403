"""Alerts, and which of them have fired in which billing period."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

SCHEMA: tuple[str, ...] = (
    """CREATE TABLE alerts (
  -- thresholds of usage that somebody wants to be told of
  id INTEGER PRIMARY KEY,
  customer INTEGER NOT NULL REFERENCES customers (id),
  meter INTEGER NOT NULL REFERENCES meters (id),
  basis TEXT NOT NULL CHECK (basis IN ('amount', 'percent')), -- usage itself, or its share of the quota
  threshold INTEGER NOT NULL CHECK (threshold > 0), -- base units of the meter, or whole percent
  type TEXT NOT NULL CHECK (type IN ('email', 'webhook', 'log')),
  active INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)), -- 0: removed
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (customer, meter, basis, threshold)
) STRICT""",
    """CREATE TABLE alert_firings (
  -- an alert fires once a billing period; its message is in the outbox since the same commit
  alert INTEGER NOT NULL REFERENCES alerts (id),
  period_start INTEGER NOT NULL, -- when the billing period began
  fired_at INTEGER NOT NULL,
  used INTEGER NOT NULL, -- base units
  percentage INTEGER NOT NULL, -- of the fullest limit; 0 for alerts on an amount
  message INTEGER NOT NULL REFERENCES outbox (id),
  PRIMARY KEY (alert, period_start)
) STRICT, WITHOUT ROWID""",
)


class AlertRow(NamedTuple):
    """An alert of a customer."""

    id: int
    meter: int
    basis: str
    threshold: int
    type: str


def put(db: sqlite3.Connection, customer: int, meter: int, basis: str, threshold: int, type: str, now: int) -> int:
    """Sets an alert, or the type of the one with that threshold; returns its number."""
    row = db.execute(
        """INSERT INTO alerts (customer, meter, basis, threshold, type, created_at, updated_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) ON CONFLICT (customer, meter, basis, threshold)
        DO UPDATE SET type = excluded.type, active = 1, updated_at = excluded.updated_at RETURNING id""",
        (customer, meter, basis, threshold, type, now),
    ).fetchone()
    return int(row[0])


def remove(db: sqlite3.Connection, customer: int, meter: int, basis: str, threshold: int, now: int) -> bool:
    """Takes an alert out of use; False where there is none."""
    found = db.execute(
        """UPDATE alerts SET active = 0, updated_at = ?
        WHERE customer = ? AND meter = ? AND basis = ? AND threshold = ? AND active = 1""",
        (now, customer, meter, basis, threshold),
    )
    return found.rowcount == 1


def of_customer(db: sqlite3.Connection, customer: int, period_start: int) -> list[tuple[AlertRow, int]]:
    """The alerts in use, each with when it fired in that period; 0 where it has not."""
    rows = db.execute(
        """SELECT a.id, a.meter, a.basis, a.threshold, a.type, coalesce(f.fired_at, 0)
        FROM alerts a LEFT JOIN alert_firings f ON f.alert = a.id AND f.period_start = ?
        WHERE a.customer = ? AND a.active = 1 ORDER BY a.meter, a.basis, a.threshold""",
        (period_start, customer),
    ).fetchall()
    return [(AlertRow(*row[:-1]), row[-1]) for row in rows]


def armed(db: sqlite3.Connection, customer: int, period_start: int) -> list[AlertRow]:
    """The alerts in use that have not fired in that period. Without any this is one look into an index."""
    rows = db.execute(
        """SELECT a.id, a.meter, a.basis, a.threshold, a.type FROM alerts a
        WHERE a.customer = ? AND a.active = 1
          AND NOT EXISTS (SELECT 1 FROM alert_firings f WHERE f.alert = a.id AND f.period_start = ?)
        ORDER BY a.meter, a.basis, a.threshold""",
        (customer, period_start),
    ).fetchall()
    return [AlertRow(*row) for row in rows]


def in_use(db: sqlite3.Connection) -> bool:
    """Whether anybody has an alert at all: one look, for those who record usage."""
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM alerts WHERE active = 1)").fetchone()[0])


def fire(
    db: sqlite3.Connection, alert: int, period_start: int, now: int, used: int, percentage: int, message: int
) -> None:
    """Notes that an alert fired in a period. A second time is an error of the constraint."""
    db.execute(
        "INSERT INTO alert_firings VALUES (?, ?, ?, ?, ?, ?)", (alert, period_start, now, used, percentage, message)
    )
