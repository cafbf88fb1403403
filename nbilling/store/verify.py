"""What a verification reads. Read-only, in order, a bounded number of rows at a time: never all events at once."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from nbilling.model.clock import HOUR, MINUTE
from nbilling.model.errors import NotALedger
from nbilling.store.subscriptions import PeriodRow
from nbilling.store.usage import DAILY, HOURLY, LIFETIME, PERIOD, WINDOW

SLOT = 15 * MINUTE
SHOWN = 100
"""How many rows of one kind are named where a statement finds them all at once."""

Series = tuple[int, int, int]
"""``(customer, meter, dimension)``."""
Kept = tuple[int, int, int]
"""``(amount, events, mark)`` of a rollup."""


@contextmanager
def reading() -> Iterator[None]:
    """Turns what SQLite says of a file that it cannot read into NotALedger."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise NotALedger(f"the file cannot be read: {error}", hint="restore it from a backup") from error


# --- The file -------------------------------------------------------------------------------------------------------


def damage(db: sqlite3.Connection, quick: bool) -> list[str]:
    """What SQLite's own check finds, indexes and constraints included; ``quick`` leaves indexes out."""
    check = "quick_check" if quick else "integrity_check"
    return [row[0] for row in db.execute(f"PRAGMA {check}({SHOWN})").fetchall() if row[0] != "ok"]


def broken_references(db: sqlite3.Connection) -> Iterator[tuple[str, str, str, dict[str, object]]]:
    """``(table, column, parent table, the row's key and the column)`` of rows that point to nothing."""
    for table, number in db.execute(
        'SELECT DISTINCT "table", fkid FROM pragma_foreign_key_check ORDER BY 1, 2'
    ).fetchall():
        parent, column, target = db.execute(
            'SELECT "table", "from", coalesce("to", \'id\') FROM pragma_foreign_key_list(?) WHERE id = ?',
            (table, number),
        ).fetchone()
        key = _key_columns(db, table)
        names = [*key, *(name for name in [column] if name not in key)]
        rows = db.execute(
            f"""SELECT {", ".join(names)} FROM {table}
            WHERE {column} NOT IN (SELECT {target} FROM {parent}) LIMIT {SHOWN}"""
        ).fetchall()
        for row in rows:
            yield table, column, parent, dict(zip(names, row, strict=True))


def broken_constraints(db: sqlite3.Connection) -> Iterator[tuple[str, str, dict[str, object]]]:
    """``(table, constraint, the row's key)`` of rows that break a CHECK.

    SQLite's own check is silent about them here: on a read-only connection it does not even read CHECK clauses.
    """
    tables = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL").fetchall()
    for table, sql in tables:
        key = _key_columns(db, table)
        for constraint in _checks(sql):
            rows = db.execute(f"SELECT {', '.join(key)} FROM {table} WHERE NOT ({constraint}) LIMIT {SHOWN}").fetchall()
            for row in rows:
                yield table, constraint, dict(zip(key, row, strict=True))


def _checks(sql: str) -> Iterator[str]:
    """What stands in the parentheses of each CHECK of a CREATE TABLE."""
    text = " ".join(line.partition("--")[0] for line in sql.splitlines())
    for found in re.finditer(r"\bCHECK\s*\(", text):
        depth, end = 1, found.end()
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        yield text[found.end() : end - 1]


def _key_columns(db: sqlite3.Connection, table: str) -> list[str]:
    rows = db.execute("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", (table,)).fetchall()
    return [row[0] for row in rows] or ["rowid"]


def count(db: sqlite3.Connection, table: str) -> int:
    """How many rows a table has."""
    return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def breaks(db: sqlite3.Connection, table: str) -> list[tuple[int, int]]:
    """Where a table numbered by ``seq`` from 1 on has no row: ``(seq before which rows are missing, how many)``."""
    rows, least, greatest = db.execute(f"SELECT count(*), min(seq), max(seq) FROM {table}").fetchone()
    if not rows or (least == 1 and greatest == rows):
        return []
    return db.execute(
        f"""SELECT seq, seq - before - 1 FROM (SELECT seq, lag(seq, 1, 0) OVER (ORDER BY seq) AS before FROM {table})
        WHERE seq <> before + 1 LIMIT {SHOWN}"""
    ).fetchall()


def wrong_currencies(db: sqlite3.Connection, known: dict[str, int]) -> list[tuple[str, int | None, int | None]]:
    """``(code, exponent that is right, exponent found)`` of currencies that are not as known; None: there is none."""
    found = dict(db.execute("SELECT code, exponent FROM currencies").fetchall())
    return [
        (code, known.get(code), found.get(code))
        for code in sorted(known.keys() | found.keys())
        if known.get(code) != found.get(code)
    ]


# --- Events ---------------------------------------------------------------------------------------------------------


class OddEvent(NamedTuple):
    """An event that contradicts itself."""

    seq: int
    customer: int
    h: int
    at: int
    op: int
    key: bytes


def odd_events(db: sqlite3.Connection, since_h: int, gauges: Iterable[int]) -> Iterator[OddEvent]:
    """Events whose hour is not that of their time, that set the level of what is no gauge, or have no whole key."""
    rows = db.execute(
        f"""SELECT seq, customer, h, at, op, key FROM events WHERE h >= ? AND (h <> at / {HOUR} OR at < 0
        OR length(key) <> 16 OR op NOT IN (0, 1) OR (op = 1 AND meter NOT IN ({_listed(gauges)}))) ORDER BY seq""",
        (since_h,),
    )
    return (OddEvent(*row) for row in rows)


SentId = tuple[int, int, int, int, int, bytes, str]
"""``(seq, customer, meter, dimension, at, key, id)`` of an event whose id is kept beside its hash."""


def sent_ids(db: sqlite3.Connection, since_h: int) -> Iterator[SentId]:
    """The events that were sent with an id."""
    return db.execute(
        "SELECT seq, customer, meter, dimension, at, key, id FROM events WHERE id IS NOT NULL AND h >= ?", (since_h,)
    )


def lost_ids(db: sqlite3.Connection, since_h: int) -> Iterator[tuple[int, int, bytes]]:
    """``(customer, h, key)`` of ids that came without a time and whose event is not where they say."""
    return db.execute(
        """SELECT customer, h, key FROM event_ids i WHERE h >= ? AND NOT EXISTS (
        SELECT 1 FROM events e WHERE e.h = i.h AND e.key = i.key AND e.customer = i.customer)""",
        (since_h,),
    )


def next_hour(db: sqlite3.Connection, h: int) -> int | None:
    """The first hour from ``h`` on that has events, or rollups that say so."""
    row = db.execute(
        f"""SELECT min(h) FROM (SELECT min(h) AS h FROM events WHERE h >= ?1
        UNION ALL SELECT min(bucket) FROM rollups WHERE grain = {HOURLY} AND bucket >= ?1
        UNION ALL SELECT min(bucket) FROM unique_values WHERE grain = {HOURLY} AND bucket >= ?1)""",
        (h,),
    ).fetchone()
    return None if row[0] is None else int(row[0])


Sum = tuple[int, int, int, int, int, int, int, int]
"""``(bucket, customer, meter, dimension, high, low, events, seq)``: the events of a series in an hour, or in a quarter
of one. Their sum is ``(high << 32) + low``, for a sum beyond 64 bits fails in SQLite; ``seq`` is the last recorded."""


def hourly_sums(db: sqlite3.Connection, start: int, end: int, counters: Iterable[int]) -> Iterator[Sum]:
    """Sums of the hours ``[start, end)``, in order. Of ``counters`` the deltas are summed, not the totals."""
    return _sums(db, "e.h", "e.h >= ? AND e.h < ?", (start, end), counters)


def slot_sums(db: sqlite3.Connection, h: int, customer: int, counters: Iterable[int]) -> Iterator[Sum]:
    """The same by quarters of an hour (numbered since 1970), of one hour and customer."""
    return _sums(db, f"e.at / {SLOT}", "e.h = ? AND e.customer = ?", (h, customer), counters)


def _sums(
    db: sqlite3.Connection, bucket: str, where: str, values: tuple[int, ...], counters: Iterable[int]
) -> Iterator[Sum]:
    amount = _amount(counters)
    return db.execute(
        f"""SELECT {bucket}, e.customer, e.meter, e.dimension, sum({amount} >> 32), sum({amount} & 4294967295),
        count(*), max(e.seq) FROM events e WHERE {where} GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4""",
        values,
    )


def _amount(counters: Iterable[int]) -> str:
    listed = _listed(counters)
    if not listed:
        return "e.amount"
    return f"""(CASE WHEN e.meter IN ({listed}) THEN coalesce((SELECT s.delta FROM counter_samples s
      WHERE s.customer = e.customer AND s.meter = e.meter AND s.dimension = e.dimension AND s.at = e.at
      AND s.total = e.amount AND s.seq = e.seq), 0) ELSE e.amount END)"""


class Single(NamedTuple):
    """One event, as far as it counts. ``amount`` is the delta of a counter."""

    seq: int
    h: int
    at: int
    customer: int
    meter: int
    dimension: int
    amount: int
    metadata: str | None


def single_events(db: sqlite3.Connection, start: int, end: int, meters: Iterable[int]) -> Iterator[Single]:
    """The events of some meters in the hours ``[start, end)``, each series of an hour in order of time."""
    rows = db.execute(
        f"""SELECT seq, h, at, customer, meter, dimension, amount, metadata FROM events
        WHERE h >= ? AND h < ? AND meter IN ({_listed(meters)}) ORDER BY h, customer, meter, dimension, at, seq""",
        (start, end),
    )
    return (Single(*row) for row in rows)


def events_of(
    db: sqlite3.Connection, customer: int, start: int, end: int, counters: Iterable[int] = ()
) -> Iterator[Single]:
    """A customer's events of the hours ``[start, end)`` up to the newest that there is, hour by hour."""
    newest = db.execute("SELECT max(h) FROM events").fetchone()[0]
    end = min(end, (newest or 0) + 1)
    if start >= end:
        return iter(())
    rows = db.execute(
        f"""WITH RECURSIVE span (h) AS (SELECT ? UNION ALL SELECT h + 1 FROM span WHERE h + 1 < ?)
        SELECT e.seq, e.h, e.at, e.customer, e.meter, e.dimension, {_amount(counters)}, e.metadata
        FROM span s CROSS JOIN events e WHERE e.h = s.h AND e.customer = ? ORDER BY e.h, e.at, e.seq""",
        (start, end, customer),
    )
    return (Single(*row) for row in rows)


# --- Rollups --------------------------------------------------------------------------------------------------------


def rollups(
    db: sqlite3.Connection, grain: int, start: int, end: int, maxima: Iterable[int]
) -> dict[tuple[int, int, int, int], Kept]:
    """By ``(bucket, customer, meter, dimension)``, the rollups of the buckets ``[start, end)``.

    Nothing reads the mark of a maximum: it is given as 0.
    """
    rows = db.execute(
        f"""SELECT bucket, customer, meter, dimension, amount, events, {_mark(maxima)} FROM rollups
        WHERE grain = ? AND bucket >= ? AND bucket < ?""",
        (grain, start, end),
    )
    return {row[:4]: row[4:] for row in rows}


def rollups_by_series(db: sqlite3.Connection, grain: int, maxima: Iterable[int]) -> Iterator[tuple[Series, int, Kept]]:
    """``(series, bucket, rollup)`` of a grain, ordered by series; SQLite sorts them, on disk where they are many."""
    rows = db.execute(
        f"""SELECT customer, meter, dimension, bucket, amount, events, {_mark(maxima)} FROM rollups WHERE grain = ?
        ORDER BY customer, meter, dimension, bucket""",
        (grain,),
    )
    return ((row[:3], row[3], row[4:]) for row in rows)


def _mark(maxima: Iterable[int]) -> str:
    listed = _listed(maxima)
    return f"CASE WHEN meter IN ({listed}) THEN 0 ELSE mark END" if listed else "mark"


def days_of(
    db: sqlite3.Connection, customer: int, start: int, end: int, maxima: Iterable[int]
) -> list[tuple[int, int, int, Kept]]:
    """``(day, meter, dimension, rollup)`` of a customer's days ``[start, end)``, in order."""
    rows = db.execute(
        f"""WITH RECURSIVE span (day) AS (SELECT ? UNION ALL SELECT day + 1 FROM span WHERE day + 1 < ?)
        SELECT bucket, meter, dimension, amount, events, {_mark(maxima)} FROM span CROSS JOIN rollups
        WHERE grain = {DAILY} AND bucket = span.day AND customer = ?""",
        (start, end, customer),
    ).fetchall()
    return [(row[0], row[1], row[2], row[3:]) for row in rows]


def stray_rollups(db: sqlite3.Connection) -> list[tuple[int, int, int, int, int, Kept]]:
    """``(grain, bucket, customer, meter, dimension, rollup)`` of rollups of no grain, period or window of theirs."""
    rows = db.execute(
        f"""SELECT grain, bucket, customer, meter, dimension, amount, events, mark FROM rollups
        WHERE grain < {LIFETIME} OR grain > {WINDOW} OR (grain = {LIFETIME} AND bucket <> 0)
        UNION ALL SELECT r.grain, r.bucket, r.customer, r.meter, r.dimension, r.amount, r.events, r.mark FROM rollups r
        LEFT JOIN periods p ON p.id = r.bucket AND p.customer = r.customer WHERE r.grain = {PERIOD} AND p.id IS NULL
        UNION ALL SELECT r.grain, r.bucket, r.customer, r.meter, r.dimension, r.amount, r.events, r.mark FROM rollups r
        LEFT JOIN windows w ON w.id = r.bucket AND w.customer = r.customer WHERE r.grain = {WINDOW} AND w.id IS NULL
        LIMIT {SHOWN}"""
    ).fetchall()
    return [(*row[:5], row[5:]) for row in rows]


# --- Values of unique meters ----------------------------------------------------------------------------------------


def values(db: sqlite3.Connection, grain: int, start: int, end: int) -> set[tuple[int, int, int, bytes]]:
    """``(bucket, customer, meter, value)`` that unique meters have seen in the buckets ``[start, end)``."""
    rows = db.execute(
        "SELECT bucket, customer, meter, value FROM unique_values WHERE grain = ? AND bucket >= ? AND bucket < ?",
        (grain, start, end),
    )
    return set(rows)


def value_counts(db: sqlite3.Connection, grain: int, bucket: int) -> dict[tuple[int, int], int]:
    """How many values a bucket has seen, by customer and meter."""
    rows = db.execute(
        "SELECT customer, meter, count(*) FROM unique_values WHERE grain = ? AND bucket = ? GROUP BY 1, 2",
        (grain, bucket),
    )
    return {(customer, meter): number for customer, meter, number in rows}


def has_values(db: sqlite3.Connection) -> bool:
    """Whether anything was recorded for a unique meter."""
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM unique_values)").fetchone()[0])


def period_values(db: sqlite3.Connection, period: PeriodRow) -> list[tuple[int, int, int]]:
    """``(meter, values of its days that a period lacks, values that no day of it has)``, where there are any."""
    days = f"""WITH RECURSIVE span (day) AS (SELECT ?1 UNION ALL SELECT day + 1 FROM span WHERE day + 1 < ?2),
      days AS (SELECT DISTINCT meter, value FROM span CROSS JOIN unique_values
        WHERE grain = {DAILY} AND bucket = span.day AND customer = ?3),
      own AS (SELECT meter, value FROM unique_values WHERE grain = {PERIOD} AND bucket = ?4 AND customer = ?3) """
    return db.execute(days + _DIFFERENCE, (period.start_day, period.end_day, period.customer, period.id)).fetchall()


_DIFFERENCE = """SELECT meter, sum(lacking), sum(1 - lacking) FROM (
  SELECT meter, 1 AS lacking FROM (SELECT * FROM days EXCEPT SELECT * FROM own)
  UNION ALL SELECT meter, 0 FROM (SELECT * FROM own EXCEPT SELECT * FROM days)) GROUP BY meter"""


def lifetime_values(db: sqlite3.Connection) -> list[tuple[int, int, int, int]]:
    """``(customer, meter, values of its days that the lifetime lacks, values that no day has)``."""
    own = f"SELECT customer, meter, value FROM unique_values WHERE grain = {LIFETIME} AND bucket = 0"
    days = f"SELECT customer, meter, value FROM unique_values WHERE grain = {DAILY}"
    return db.execute(
        f"""SELECT customer, meter, sum(lacking), sum(1 - lacking) FROM (
          SELECT customer, meter, 1 AS lacking FROM ({days} EXCEPT {own})
          UNION ALL SELECT customer, meter, 0 FROM ({own} EXCEPT {days})) GROUP BY 1, 2"""
    ).fetchall()


def stray_values(db: sqlite3.Connection) -> list[tuple[int, int, int, int]]:
    """``(grain, bucket, customer, meter)`` of values of no grain, period or window of theirs."""
    return db.execute(
        f"""SELECT DISTINCT u.grain, u.bucket, u.customer, u.meter FROM unique_values u
        WHERE u.grain < {LIFETIME} OR u.grain > {WINDOW} OR (u.grain = {LIFETIME} AND u.bucket <> 0)
        OR (u.grain = {PERIOD} AND NOT EXISTS (
          SELECT 1 FROM periods p WHERE p.id = u.bucket AND p.customer = u.customer))
        OR (u.grain = {WINDOW} AND NOT EXISTS (
          SELECT 1 FROM windows w WHERE w.id = u.bucket AND w.customer = u.customer)) LIMIT {SHOWN}"""
    ).fetchall()


# --- Series in order of their own time ------------------------------------------------------------------------------


class GaugeRow(NamedTuple):
    """A level with its event (None where there is none): ``(customer, meter, dimension, at, op, amount)``."""

    series: Series
    at: int
    seq: int
    op: int
    amount: int
    level: int
    event: tuple[int, ...] | None


def gauge_rows(db: sqlite3.Connection) -> Iterator[GaugeRow]:
    """Every level, series by series, in order."""
    rows = db.execute(
        """SELECT g.customer, g.meter, g.dimension, g.at, g.seq, g.op, g.amount, g.level,
        e.customer, e.meter, e.dimension, e.at, e.op, e.amount FROM gauge_levels g LEFT JOIN events e ON e.seq = g.seq
        ORDER BY g.customer, g.meter, g.dimension, g.at, g.seq"""
    )
    for row in rows:
        at, seq, op, amount, level = row[3:8]
        yield GaugeRow(row[:3], at, seq, op, amount, level, row[8:] if row[8] is not None else None)


class CounterRow(NamedTuple):
    """A running total with its event (None where there is none): ``(customer, meter, dimension, at, amount)``."""

    series: Series
    at: int
    total: int
    seq: int
    delta: int
    event: tuple[int, ...] | None


def counter_rows(db: sqlite3.Connection) -> Iterator[CounterRow]:
    """Every running total, series by series, in order."""
    rows = db.execute(
        """SELECT s.customer, s.meter, s.dimension, s.at, s.total, s.seq, s.delta,
        e.customer, e.meter, e.dimension, e.at, e.amount FROM counter_samples s LEFT JOIN events e ON e.seq = s.seq
        ORDER BY s.customer, s.meter, s.dimension, s.at, s.total, s.seq"""
    )
    for row in rows:
        at, total, seq, delta = row[3:7]
        yield CounterRow(row[:3], at, total, seq, delta, row[7:] if row[7] is not None else None)


def missing_samples(
    db: sqlite3.Connection, table: str, meters: Iterable[int], since_h: int
) -> list[tuple[int, int, int, int, int]]:
    """``(seq, customer, meter, dimension, at)`` of events of gauges or counters without a row in their series."""
    rest = "AND s.total = e.amount" if table == "counter_samples" else ""
    return db.execute(
        f"""SELECT e.seq, e.customer, e.meter, e.dimension, e.at FROM events e
        WHERE e.meter IN ({_listed(meters)}) AND e.h >= ? AND NOT EXISTS (SELECT 1 FROM {table} s
          WHERE s.customer = e.customer AND s.meter = e.meter AND s.dimension = e.dimension AND s.at = e.at
          AND s.seq = e.seq {rest}) LIMIT {SHOWN}""",
        (since_h,),
    ).fetchall()


def samples_until(
    db: sqlite3.Connection, table: str, customer: int, meter: int, end_at: int
) -> Iterator[tuple[int, ...]]:
    """Of a gauge ``(dimension, at, seq, op, amount)``, of a counter ``(dimension, at, seq, total)``, in order, of all
    its samples before an instant."""
    columns, order = ("op, amount", "") if table == "gauge_levels" else ("total", "total,")
    return db.execute(
        f"""SELECT dimension, at, seq, {columns} FROM {table} WHERE customer = ? AND meter = ? AND at < ?
        ORDER BY dimension, at, {order} seq""",
        (customer, meter, end_at),
    )


def levels_changed(db: sqlite3.Connection, customer: int, meter: int, end_at: int, seq: int) -> bool:
    """Whether a gauge had samples before an instant that were recorded after ``seq``."""
    return bool(
        db.execute(
            """SELECT EXISTS (SELECT 1 FROM gauge_levels WHERE customer = ? AND meter = ? AND at < ? AND seq > ?)""",
            (customer, meter, end_at, seq),
        ).fetchone()[0]
    )


def _listed(numbers: Iterable[int] | Sequence[int]) -> str:
    return ", ".join(str(int(number)) for number in numbers)
