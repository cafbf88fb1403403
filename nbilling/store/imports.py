"""The registry of imported logs: which lines of which log are known, in their order, and whom they were billed to."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nbilling.model.imports import PAGE_LINES, PREFIX

NUMBER = 4
"""Bytes of a customer's number on a page."""

SCHEMA: tuple[str, ...] = (
    """CREATE TABLE import_logs (
  -- access logs that usage was imported from
  id INTEGER PRIMARY KEY,
  source TEXT NOT NULL, -- logs are compared within their source only
  customer_rule TEXT NOT NULL, -- how its customers are found; one log is billed by one rule
  reading TEXT NOT NULL, -- format and field map of all its lines; empty when they differ
  head BLOB NOT NULL CHECK (length(head) = 8), -- its first line, as in import_pages
  lines INTEGER NOT NULL,
  name TEXT NOT NULL, -- what the file was called
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT""",
    "CREATE INDEX import_logs_source ON import_logs (source, head)",
    """CREATE TABLE import_pages (
  -- the readable lines of a log in their order, 1024 a page; twelve bytes a line, written with its events
  log INTEGER NOT NULL REFERENCES import_logs (id),
  page INTEGER NOT NULL,
  min_at INTEGER NOT NULL, -- the earliest and the latest time on the page
  max_at INTEGER NOT NULL,
  lines BLOB NOT NULL, -- eight bytes of each line's hash
  customers BLOB NOT NULL, -- customers.id, four bytes each, little-endian; 0: not billed to anybody yet
  UNIQUE (log, page),
  CHECK (length(lines) = 2 * length(customers))
) STRICT""",
    "CREATE INDEX import_pages_time ON import_pages (max_at, min_at, log)",
)


class LogRow(NamedTuple):
    """A known log."""

    id: int
    source: str
    customer_rule: str
    reading: str
    lines: int
    name: str


def add_log(
    db: sqlite3.Connection, source: str, customer_rule: str, reading: str, head: bytes, name: str, now: int
) -> int:
    """A new log without lines; returns its number."""
    row = db.execute(
        """INSERT INTO import_logs (source, customer_rule, reading, head, lines, name, created_at, updated_at)
        VALUES (?, ?, ?, ?, 0, ?, ?, ?) RETURNING id""",
        (source, customer_rule, reading, head, name, now, now),
    ).fetchone()
    return int(row[0])


def get_log(db: sqlite3.Connection, log: int) -> LogRow:
    """The log of that number."""
    row = db.execute(
        "SELECT id, source, customer_rule, reading, lines, name FROM import_logs WHERE id = ?", (log,)
    ).fetchone()
    return LogRow(*row)


def other_heads(db: sqlite3.Connection, source: str, log: int) -> set[bytes]:
    """The first lines of all logs of a source but one."""
    rows = db.execute("SELECT head FROM import_logs WHERE source = ? AND id <> ?", (source, log)).fetchall()
    return {row[0] for row in rows}


def pages_at(db: sqlite3.Connection, source: str, first_at: int, last_at: int) -> Iterator[tuple[int, int, bytes]]:
    """``(log, page, lines)`` of the pages that may hold a line of a time in ``[first_at, last_at]``, one by one."""
    return db.execute(
        """SELECT p.log, p.page, p.lines FROM import_pages p JOIN import_logs l ON l.id = p.log
        WHERE p.max_at >= ? AND p.min_at <= ? AND l.source = ? ORDER BY p.log, p.page""",
        (first_at, last_at, source),
    )


def read_lines(db: sqlite3.Connection, log: int, position: int, count: int) -> tuple[bytes, bytes]:
    """``(lines, customers)`` of up to ``count`` lines from a position on; fewer where the log ends."""
    first, last = position // PAGE_LINES, (position + count - 1) // PAGE_LINES
    rows = db.execute(
        "SELECT lines, customers FROM import_pages WHERE log = ? AND page BETWEEN ? AND ? ORDER BY page",
        (log, first, last),
    ).fetchall()
    start = position - first * PAGE_LINES
    lines = b"".join(row[0] for row in rows)[start * PREFIX : (start + count) * PREFIX]
    customers = b"".join(row[1] for row in rows)[start * NUMBER : (start + count) * NUMBER]
    return lines, customers


def append_lines(
    db: sqlite3.Connection, log: LogRow, lines: bytes, customers: bytes, times: Sequence[int], reading: str, now: int
) -> None:
    """Adds lines at the end of a log. ``times`` are theirs, one each; ``log`` as it is before."""
    taken, count = 0, len(times)
    while taken < count:
        page, start = divmod(log.lines + taken, PAGE_LINES)
        fits = min(PAGE_LINES - start, count - taken)
        old_lines, old_customers = read_lines(db, log.id, page * PAGE_LINES, start) if start else (b"", b"")
        of_page = times[taken : taken + fits]
        db.execute(
            """INSERT INTO import_pages (log, page, min_at, max_at, lines, customers) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (log, page) DO UPDATE SET lines = excluded.lines, customers = excluded.customers,
              min_at = min(min_at, excluded.min_at), max_at = max(max_at, excluded.max_at)""",
            (
                log.id,
                page,
                min(of_page),
                max(of_page),
                old_lines + lines[taken * PREFIX : (taken + fits) * PREFIX],
                old_customers + customers[taken * NUMBER : (taken + fits) * NUMBER],
            ),
        )
        taken += fits
    db.execute(
        """UPDATE import_logs SET lines = lines + ?, updated_at = ?,
          reading = CASE WHEN reading = ? THEN reading ELSE '' END WHERE id = ?""",
        (count, now, reading, log.id),
    )


def set_customers(db: sqlite3.Connection, log: int, position: int, customers: bytes) -> None:
    """Writes down whom known lines are billed to now, from a position on."""
    count = len(customers) // NUMBER
    first, last = position // PAGE_LINES, (position + count - 1) // PAGE_LINES
    for page, old in db.execute(
        "SELECT page, customers FROM import_pages WHERE log = ? AND page BETWEEN ? AND ?", (log, first, last)
    ).fetchall():
        start = max(position - page * PAGE_LINES, 0)
        skip = max(page * PAGE_LINES - position, 0)
        part = customers[skip * NUMBER : skip * NUMBER + len(old) - start * NUMBER]
        new = old[: start * NUMBER] + part + old[start * NUMBER + len(part) :]
        db.execute("UPDATE import_pages SET customers = ? WHERE log = ? AND page = ?", (new, log, page))


def pack_customers(customers: Sequence[int]) -> bytes:
    """Customer numbers as a page holds them."""
    return struct.pack(f"<{len(customers)}I", *customers)


def unpack_customers(customers: bytes) -> tuple[int, ...]:
    """The reverse."""
    return struct.unpack(f"<{len(customers) // NUMBER}I", customers)


def billed_to_another(db: sqlite3.Connection, h: int, key: bytes, customer: int) -> bool:
    """Whether the event of that key stands in that hour for another customer."""
    return bool(
        db.execute(
            "SELECT EXISTS (SELECT 1 FROM events WHERE h = ? AND key = ? AND customer <> ?)", (h, key, customer)
        ).fetchone()[0]
    )
