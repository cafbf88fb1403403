"""Usage events, their identities, rollups and counting windows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from nbilling.model.clock import HOUR
from nbilling.model.errors import BadInput

LIFETIME, HOURLY, DAILY, PERIOD, WINDOW = range(5)
"""The grains of the rollups."""


class MeterRow(NamedTuple):
    """A meter. ``scale``: amounts are integers in units of ``10**-scale`` of ``unit``."""

    id: int
    name: str
    kind: str
    aggregation: str
    unit: str
    scale: int
    dimension: str


class UsageRow(NamedTuple):
    """One event, everything interned. ``at`` in microseconds UTC, ``amount`` in base units of the meter."""

    customer: int
    meter: int
    dimension: int
    at: int
    amount: int
    key: bytes
    id: str | None
    op: int
    metadata: str | None


class Inserted(NamedTuple):
    """Which rows of a batch were new (with their ``seq``), how many were known, which contradict a known one."""

    added: list[tuple[int, UsageRow]]
    duplicates: int
    conflicts: list[int]


class Recorded(NamedTuple):
    """What came of a batch: events added and known, and the indexes of rows that contradict a known event."""

    added: int
    duplicates: int
    conflicts: list[int]


_INSERT = f"""INSERT INTO events (h, at, customer, meter, dimension, amount, key, id, op, metadata)
VALUES (?4 / {HOUR}, ?4, ?1, ?2, ?3, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (h, key, customer) DO NOTHING"""
"""Takes a :class:`UsageRow` as it is. ``seq`` is SQLite's: one more than the greatest."""


def insert_events(db: sqlite3.Connection, rows: Sequence[UsageRow]) -> Inserted:
    """Inserts the rows whose identity is new. Whether all are is counted; which are is looked up only where not."""
    if len(rows) == 1:
        cursor = db.execute(_INSERT, rows[0])
        if cursor.rowcount == 1 and cursor.lastrowid is not None:
            return Inserted([(cursor.lastrowid, rows[0])], 0, [])
        return _sort_out(db, rows, [])
    first = last_seq(db) + 1
    if db.executemany(_INSERT, rows).rowcount == len(rows):
        return Inserted(list(enumerate(rows, first)), 0, [])
    new = db.execute("SELECT seq, h, key, customer FROM events WHERE seq >= ? ORDER BY seq", (first,)).fetchall()
    return _sort_out(db, rows, new)


def _sort_out(db: sqlite3.Connection, rows: Sequence[UsageRow], new: list[tuple[int, int, bytes, int]]) -> Inserted:
    """Tells the rows that were inserted, as ``new`` says, from those that were known, and these by their content."""
    seqs = {(h, key, customer): seq for seq, h, key, customer in new}
    added: list[tuple[int, UsageRow]] = []
    duplicates, conflicts = 0, []
    for index, row in enumerate(rows):
        identity = (row.at // HOUR, row.key, row.customer)
        seq = seqs.pop(identity, None)
        if seq is not None:
            added.append((seq, row))
        elif find_event(db, *identity) == row:
            duplicates += 1
        else:
            conflicts.append(index)
    return Inserted(added, duplicates, conflicts)


def find_event(db: sqlite3.Connection, h: int, key: bytes, customer: int) -> UsageRow | None:
    """The event of that identity."""
    row = db.execute(
        """SELECT customer, meter, dimension, at, amount, key, id, op, metadata FROM events
        WHERE h = ? AND key = ? AND customer = ?""",
        (h, key, customer),
    ).fetchone()
    return UsageRow(*row) if row else None


def claim_id(db: sqlite3.Connection, key: bytes, customer: int, h: int) -> int:
    """Enters an id that came without a time; returns the hour of its event, an older one where the id is known."""
    row = db.execute(
        """INSERT INTO event_ids VALUES (?, ?, ?)
        ON CONFLICT (key, customer) DO UPDATE SET h = h RETURNING h""",
        (key, customer, h),
    ).fetchone()
    return int(row[0])


_UPSERT = """INSERT INTO rollups (grain, bucket, customer, meter, dimension, amount, events, mark)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (grain, bucket, customer, meter, dimension) DO UPDATE SET
events = events + excluded.events, """
_CHANGES = {
    "sum": "amount = amount + excluded.amount",
    "max": "amount = max(amount, excluded.amount)",
    "last": "amount = iif(excluded.mark >= mark, excluded.amount, amount), mark = max(mark, excluded.mark)",
}
_ADD_UP = f"""INSERT INTO rollups (grain, bucket, customer, meter, dimension, amount, events, mark)
VALUES ({LIFETIME}, 0, ?1, ?2, ?3, ?4, ?5, 0), ({HOURLY}, ?6, ?1, ?2, ?3, ?4, ?5, 0),
  ({DAILY}, ?7, ?1, ?2, ?3, ?4, ?5, 0), ({PERIOD}, ?8, ?1, ?2, ?3, ?4, ?5, 0)
ON CONFLICT (grain, bucket, customer, meter, dimension) DO UPDATE SET
events = events + excluded.events, {_CHANGES["sum"]}"""
Delta = tuple[int, int, int, int, int, int, int, int]
"""``(grain, bucket, customer, meter, dimension, amount, events, mark)``."""

Share = tuple[int, int, int, int, int, int, int, int]
"""``(customer, meter, dimension, amount, events, hour, day, period)``: what one of each of these buckets gets."""


def add_up(db: sqlite3.Connection, shares: Sequence[Share]) -> None:
    """Adds sums to the rollups for ever, of the hour, the day and the period, in one statement each: a quarter less
    time than four. BadInput where a sum leaves 64 bits."""
    _upsert(db, _ADD_UP, shares)


def add_to_rollups(db: sqlite3.Connection, how: str, deltas: Sequence[Delta]) -> None:
    """Brings rollups up to date: ``sum``, ``max`` or ``last``. BadInput where a sum leaves 64 bits."""
    _upsert(db, _UPSERT + _CHANGES[how], deltas)


def _upsert(db: sqlite3.Connection, statement: str, rows: Sequence[tuple[int, ...]]) -> None:
    try:
        db.executemany(statement, rows)
    except (sqlite3.IntegrityError, OverflowError) as error:
        if isinstance(error, OverflowError) or "REAL" in str(error):
            raise BadInput(
                "the sum of this usage is larger than 2^63-1", hint="check the amount and its unit"
            ) from None
        raise


def see_value(db: sqlite3.Connection, grain: int, bucket: int, customer: int, meter: int, value: bytes) -> bool:
    """Notes a value of a unique meter; True where its bucket had not seen it."""
    cursor = db.execute(
        "INSERT INTO unique_values VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (grain, bucket, customer, meter, value),
    )
    return cursor.rowcount == 1


def forget_period(db: sqlite3.Connection, period: int, customer: int) -> None:
    """Removes the sums of a period."""
    for table in ("rollups", "unique_values"):
        db.execute(f"DELETE FROM {table} WHERE grain = ? AND bucket = ? AND customer = ?", (PERIOD, period, customer))


def rebuild_period(db: sqlite3.Connection, period: int, customer: int, start_day: int, end_day: int) -> None:
    """Sums a period again from its days, after its bounds have changed."""
    days = (DAILY, start_day, end_day, customer)
    forget_period(db, period, customer)
    db.execute(
        """INSERT INTO unique_values SELECT DISTINCT ?, ?, customer, meter, value FROM unique_values
        WHERE grain = ? AND bucket >= ? AND bucket < ? AND customer = ?""",
        (PERIOD, period, *days),
    )
    # The bare column amount is that of the row with the greatest mark: documented for one max() in SQLite.
    db.execute(
        """INSERT INTO rollups (grain, bucket, customer, meter, dimension, amount, events, mark)
        SELECT ?1, ?2, customer, meter, dimension, CASE aggregation WHEN 'max' THEN highest WHEN 'last' THEN latest
          WHEN 'unique' THEN (SELECT count(*) FROM unique_values u
            WHERE u.grain = ?1 AND u.bucket = ?2 AND u.customer = t.customer AND u.meter = t.meter)
          ELSE total END, events, mark
        FROM (SELECT r.customer, r.meter, r.dimension, m.aggregation, sum(r.amount) AS total, sum(r.events) AS events,
            max(r.mark) AS mark, r.amount AS latest,
            (SELECT max(d.amount) FROM rollups d WHERE d.grain = ?3 AND d.bucket >= ?4 AND d.bucket < ?5
              AND d.customer = r.customer AND d.meter = r.meter AND d.dimension = r.dimension) AS highest
          FROM rollups r JOIN meters m ON m.id = r.meter
          WHERE r.grain = ?3 AND r.bucket >= ?4 AND r.bucket < ?5 AND r.customer = ?6
          GROUP BY r.meter, r.dimension) t""",
        (PERIOD, period, *days),
    )


def _together(aggregation: str, rows: Sequence[tuple[int, int]]) -> int:
    """All dimensions of a meter as one, from ``(amount, mark)``: the highest of maxima, the newest of last values, else
    the sum. Not summed by SQLite, which fails where several that fit into 64 bits do not do so together."""
    if aggregation == "max":
        return max(amount for amount, _ in rows)
    return max(rows, key=lambda row: row[1])[0] if aggregation == "last" else sum(amount for amount, _ in rows)


def amounts(db: sqlite3.Connection, grain: int, bucket: int, customer: int) -> dict[int, int]:
    """Amount by meter, all dimensions together."""
    rows = db.execute(
        """SELECT r.meter, m.aggregation, r.amount, r.mark FROM rollups r JOIN meters m ON m.id = r.meter
        WHERE r.grain = ? AND r.bucket = ? AND r.customer = ? ORDER BY r.meter""",
        (grain, bucket, customer),
    ).fetchall()
    return {
        meter: _together(aggregation, [row[2:] for row in group])
        for (meter, aggregation), group in groupby(rows, key=itemgetter(0, 1))
    }


def amount(db: sqlite3.Connection, grain: int, bucket: int, customer: int, meter: MeterRow) -> int:
    """Amount of one meter, all dimensions together; 0 where there is none."""
    rows = db.execute(
        "SELECT amount, mark FROM rollups WHERE grain = ? AND bucket = ? AND customer = ? AND meter = ?",
        (grain, bucket, customer, meter.id),
    ).fetchall()
    return _together(meter.aggregation, rows) if rows else 0


def series(db: sqlite3.Connection, grain: int, start: int, end: int, customer: int) -> list[tuple[int, int, int, int]]:
    """``(bucket, meter, amount, events)`` of the buckets in ``[start, end)``, in order, dimensions together.

    The buckets are counted up and sought one by one: the index begins with the bucket, so a range would read the
    rows of every other customer too.
    """
    rows = db.execute(
        """WITH RECURSIVE span (bucket) AS (SELECT ? UNION ALL SELECT bucket + 1 FROM span WHERE bucket + 1 < ?)
        SELECT s.bucket, r.meter, m.aggregation, r.amount, r.mark, r.events
        FROM span s CROSS JOIN rollups r CROSS JOIN meters m ON m.id = r.meter
        WHERE r.grain = ? AND r.bucket = s.bucket AND r.customer = ? AND s.bucket < ? ORDER BY s.bucket, r.meter""",
        (start, end, grain, customer, end),
    ).fetchall()
    result = []
    for (bucket, meter, aggregation), group in groupby(rows, key=itemgetter(0, 1, 2)):
        found = list(group)
        amount = _together(aggregation, [row[3:5] for row in found])
        result.append((bucket, meter, amount, sum(row[5] for row in found)))
    return result


def amount_in_period(
    db: sqlite3.Connection, customer: int, meter: MeterRow, scope: str, period: tuple[int, int, int]
) -> int:
    """Amount of one meter in a billing period ``(periods.id, start_at, end_at)``, or since the newest window of a scope
    that was opened in it. In one statement, for checks of quotas."""
    rows = db.execute(
        f"""SELECT r.amount, r.mark
        FROM (SELECT max(id) AS w FROM windows WHERE customer = ? AND scope = ? AND opened_at >= ? AND opened_at < ?)
        CROSS JOIN rollups r ON r.grain = iif(w IS NULL, {PERIOD}, {WINDOW}) AND r.bucket = coalesce(w, ?)
        WHERE r.customer = ? AND r.meter = ?""",
        (customer, scope, period[1], period[2], period[0], customer, meter.id),
    ).fetchall()
    return _together(meter.aggregation, rows) if rows else 0


def amount_of_days(db: sqlite3.Connection, customer: int, meter: MeterRow, start_day: int, end_day: int) -> int:
    """Amount of one meter in the local days ``[start_day, end_day)``, all dimensions together."""
    if meter.aggregation == "unique":
        return unique_values(db, start_day, end_day, customer, meter.id)
    rows = db.execute(
        """WITH RECURSIVE span (bucket) AS (SELECT ? UNION ALL SELECT bucket + 1 FROM span WHERE bucket + 1 < ?)
        SELECT r.amount, r.mark FROM span s CROSS JOIN rollups r
        WHERE r.grain = ? AND r.bucket = s.bucket AND r.customer = ? AND r.meter = ? AND s.bucket < ?""",
        (start_day, end_day, DAILY, customer, meter.id, end_day),
    ).fetchall()
    return _together(meter.aggregation, rows) if rows else 0


def unique_values(db: sqlite3.Connection, start_day: int, end_day: int, customer: int, meter: int) -> int:
    """How many different values a unique meter has seen in the days ``[start_day, end_day)``."""
    row = db.execute(
        """WITH RECURSIVE span (bucket) AS (SELECT ? UNION ALL SELECT bucket + 1 FROM span WHERE bucket + 1 < ?)
        SELECT count(DISTINCT u.value) FROM span s CROSS JOIN unique_values u
        WHERE u.grain = ? AND u.bucket = s.bucket AND u.customer = ? AND u.meter = ?""",
        (start_day, end_day, DAILY, customer, meter),
    ).fetchone()
    return int(row[0])


def amount_since(db: sqlite3.Connection, customer: int, meter: MeterRow, start: int, end: int) -> int:
    """Sum or count of the events in ``[start, end)`` microseconds, read from the events themselves: for minutes."""
    # In halves, for a sum beyond 64 bits fails in SQLite.
    count, high, low = db.execute(
        """SELECT count(*), coalesce(sum(amount >> 32), 0), coalesce(sum(amount & 4294967295), 0) FROM events
        WHERE h BETWEEN ? AND ? AND customer = ? AND meter = ? AND at >= ? AND at < ?""",
        (start // HOUR, (end - 1) // HOUR, customer, meter.id, start, end),
    ).fetchone()
    return int(count if meter.aggregation == "count" else (high << 32) + low)


def export_rows(db: sqlite3.Connection, customer: int) -> Iterator[tuple[str, str, str, str, str, str]]:
    """``(id, customer_id, resource_type, amount, metadata, created_at)`` in order of arrival, as in the view."""
    return db.execute(
        """SELECT u.id, u.customer_id, u.resource_type, u.amount, u.metadata, u.created_at FROM usage_events u
        WHERE u.customer_id = (SELECT customer_id FROM customers WHERE id = ?) ORDER BY u.seq""",
        (customer,),
    )


def page_of_events(
    db: sqlite3.Connection, customer: int, meter: int, before: int, limit: int
) -> list[tuple[int, str, UsageRow]]:
    """``(seq, dimension, event)`` newest first, of one meter or of all (0), older than ``before``."""
    rows = db.execute(
        """SELECT e.seq, d.value, e.customer, e.meter, e.dimension, e.at, e.amount, e.key, e.id, e.op, e.metadata
        FROM events e JOIN dimensions d ON d.id = e.dimension
        WHERE e.customer = ?1 AND (?2 = 0 OR e.meter = ?2) AND e.seq < ?3 ORDER BY e.seq DESC LIMIT ?4""",
        (customer, meter, before, limit),
    ).fetchall()
    return [(row[0], row[1], UsageRow(*row[2:])) for row in rows]


def events_of_line(
    db: sqlite3.Connection, customer: int, meter: int, start_at: int, end_at: int, through_seq: int, ids: int
) -> tuple[int, int | None, int | None, list[tuple[bytes, str | None]]]:
    """``(count, first_at, last_at, ids)`` of a meter's events in ``[start_at, end_at)`` recorded up to a seq.

    The hours come from the rollups, so that only the customer's own are looked into. ``ids``: how many to return.
    """
    source = """FROM (SELECT DISTINCT bucket FROM rollups WHERE grain = ? AND bucket BETWEEN ? AND ?
        AND customer = ? AND meter = ?) r CROSS JOIN events e INDEXED BY events_usage
      WHERE e.h = r.bucket AND e.customer = ? AND e.meter = ? AND e.at >= ? AND e.at < ? AND e.seq <= ?"""
    values = (
        HOURLY, start_at // HOUR, (end_at - 1) // HOUR, customer, meter, customer, meter, start_at, end_at, through_seq,
    )  # fmt: skip
    count, first, last = db.execute(f"SELECT count(*), min(e.at), max(e.at) {source}", values).fetchone()
    found = []
    if ids:
        found = db.execute(f"SELECT e.key, e.id {source} ORDER BY e.at, e.seq LIMIT ?", (*values, ids)).fetchall()
    return count, first, last, found


def events_by_key(db: sqlite3.Connection, key: bytes, text: str) -> list[tuple[int, str, UsageRow]]:
    """``(seq, dimension, event)`` of the events with that key or id, whoever's they are. Looks through every hour."""
    rows = db.execute(
        """SELECT e.seq, d.value, e.customer, e.meter, e.dimension, e.at, e.amount, e.key, e.id, e.op, e.metadata
        FROM events e JOIN dimensions d ON d.id = e.dimension WHERE e.key = ? OR e.id = ? ORDER BY e.seq""",
        (key, text),
    ).fetchall()
    return [(row[0], row[1], UsageRow(*row[2:])) for row in rows]


def analyze(db: sqlite3.Connection) -> None:
    """Lets SQLite learn how its indexes are filled, from samples: 220 ms become 4 for one customer's events."""
    db.execute("PRAGMA analysis_limit = 1000")
    db.execute("ANALYZE")


def has_events(db: sqlite3.Connection, customer: int) -> bool:
    """Whether anything was ever recorded for the customer."""
    return bool(
        db.execute(
            """SELECT EXISTS (SELECT 1 FROM rollups WHERE grain = 0 AND bucket = 0 AND customer = ?)
            OR EXISTS (SELECT 1 FROM gauge_levels WHERE customer = ?)""",
            (customer, customer),
        ).fetchone()[0]
    )


def last_seq(db: sqlite3.Connection) -> int:
    """The number of the newest event; 0 where there is none."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])


def meter(db: sqlite3.Connection, name: str) -> MeterRow | None:
    """The meter of that name."""
    row = db.execute(
        "SELECT id, name, kind, aggregation, unit, scale, dimension FROM meters WHERE name = ?", (name,)
    ).fetchone()
    return MeterRow(*row) if row else None


def meters(db: sqlite3.Connection) -> list[MeterRow]:
    """Every meter, the seed's first."""
    return [
        MeterRow(*row)
        for row in db.execute(
            "SELECT id, name, kind, aggregation, unit, scale, dimension FROM meters ORDER BY id"
        ).fetchall()
    ]


def insert_meter(db: sqlite3.Connection, row: MeterRow, now: int) -> bool:
    """Adds a meter (its ``id`` is given here); False where the name is taken."""
    added = db.execute(
        """INSERT INTO meters (name, kind, aggregation, unit, scale, dimension, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING RETURNING id""",
        (*row[1:], now),
    ).fetchone()
    return added is not None


def dimension_id(db: sqlite3.Connection, value: str) -> int:
    """The number of a dimension's value; a new one where it is new."""
    row = db.execute("SELECT id FROM dimensions WHERE value = ?", (value,)).fetchone()
    if row is None:
        row = db.execute("INSERT INTO dimensions (value) VALUES (?) RETURNING id", (value,)).fetchone()
    return int(row[0])


def open_window(db: sqlite3.Connection, customer: int, scope: str, now: int) -> None:
    """Starts a counting window."""
    db.execute(
        "INSERT INTO windows (customer, scope, opened_at, opened_seq) VALUES (?, ?, ?, ?)",
        (customer, scope, now, last_seq(db)),
    )


_WINDOWS = "SELECT w.customer, w.id, w.scope, w.opened_at, w.opened_seq FROM "


def windows(db: sqlite3.Connection, customers: Sequence[int]) -> dict[int, list[tuple[int, str, int, int]]]:
    """``(id, scope, opened_at, opened_seq)`` of the windows of each customer that has any, oldest first."""
    found: dict[int, list[tuple[int, str, int, int]]] = {}
    if len(customers) == 1:
        rows = db.execute(f"{_WINDOWS} windows w WHERE w.customer = ? ORDER BY w.id", customers)
    else:
        rows = db.execute(
            f"{_WINDOWS} json_each(?) j CROSS JOIN windows w ON w.customer = j.value ORDER BY w.id",
            (json.dumps(customers),),
        )
    for customer, *window in rows:
        found.setdefault(customer, []).append((window[0], window[1], window[2], window[3]))
    return found


def window(db: sqlite3.Connection, customer: int, scope: str, start_at: int, end_at: int) -> int:
    """The newest window of that scope that was opened in ``[start_at, end_at)``; 0 where there is none."""
    row = db.execute(
        """SELECT max(id) FROM windows WHERE customer = ? AND scope = ? AND opened_at >= ? AND opened_at < ?""",
        (customer, scope, start_at, end_at),
    ).fetchone()
    return int(row[0] or 0)
