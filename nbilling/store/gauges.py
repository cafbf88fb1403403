"""Samples of gauges in the order of their own time, each with the level that it left."""

from __future__ import annotations

import sqlite3

from nbilling.model.errors import BadInput
from nbilling.model.text import MAX_INTEGER
from nbilling.store.usage import UsageRow

ADD, SET = 0, 1


def insert_sample(db: sqlite3.Connection, seq: int, row: UsageRow) -> int:
    """Puts a sample into its place and carries its effect forward, up to the next one that sets the level.

    Returns the instant up to which levels are no longer what they were; the sample's own where nothing changed.
    """
    series = (row.customer, row.meter, row.dimension)
    before = db.execute(
        """SELECT level FROM gauge_levels WHERE customer = ? AND meter = ? AND dimension = ?
        AND (at, seq) < (?, ?) ORDER BY at DESC, seq DESC LIMIT 1""",
        (*series, row.at, seq),
    ).fetchone()
    old = before[0] if before else 0
    level = row.amount if row.op == SET else old + row.amount
    _check(level)
    db.execute(
        "INSERT INTO gauge_levels VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*series, row.at, seq, row.op, row.amount, level)
    )
    shift = level - old
    if not shift:
        return row.at
    following = db.execute(
        """SELECT at, seq, op, level FROM gauge_levels WHERE customer = ? AND meter = ? AND dimension = ?
        AND (at, seq) > (?, ?) ORDER BY at, seq""",
        (*series, row.at, seq),
    )
    moved, until = [], MAX_INTEGER
    for at, number, op, then in following:
        if op == SET:
            until = at
            break
        _check(then + shift)
        moved.append((then + shift, *series, at, number))
    following.close()
    db.executemany(
        """UPDATE gauge_levels SET level = ?
        WHERE customer = ? AND meter = ? AND dimension = ? AND at = ? AND seq = ?""",
        moved,
    )
    return until


def _check(level: int) -> None:
    if level < 0:
        raise BadInput("the level would fall below zero", hint="a gauge cannot give back more than it holds")
    if level > MAX_INTEGER:
        raise BadInput("the level is larger than 2^63-1", hint="check the amount and its unit")


def events_of_line(
    db: sqlite3.Connection, customer: int, meter: int, start_at: int, end_at: int, through_seq: int, ids: int
) -> tuple[int, int | None, int | None, list[tuple[bytes, str | None]]]:
    """``(count, first_at, last_at, ids)`` of the samples in ``[start_at, end_at)`` recorded up to a seq, and of the
    one before that the level comes from."""
    before = db.execute(
        "SELECT max(at) FROM gauge_levels WHERE customer = ? AND meter = ? AND at < ? AND seq <= ?",
        (customer, meter, start_at, through_seq),
    ).fetchone()[0]
    source = "FROM gauge_levels g JOIN events e ON e.seq = g.seq WHERE g.customer = ? AND g.meter = ?"
    source += " AND g.at >= ? AND g.at < ? AND g.seq <= ?"
    values = (customer, meter, start_at if before is None else before, end_at, through_seq)
    count, first, last = db.execute(f"SELECT count(*), min(g.at), max(g.at) {source}", values).fetchone()
    found = db.execute(f"SELECT e.key, e.id {source} ORDER BY g.at, g.seq LIMIT ?", (*values, ids)).fetchall()
    return count, first, last, found


def level_at(db: sqlite3.Connection, customer: int, meter: int, at: int) -> int:
    """The level just before an instant, all dimensions together; 0 before the first sample."""
    return sum(level for _, level in levels_at(db, customer, meter, at))


def levels_at(db: sqlite3.Connection, customer: int, meter: int, at: int) -> list[tuple[int, int]]:
    """``(dimension, level)`` just before an instant."""
    return [
        (dimension, level)
        for dimension in _dimensions(db, customer, meter)
        for (level,) in db.execute(
            """SELECT level FROM gauge_levels WHERE customer = ? AND meter = ? AND dimension = ? AND at < ?
            ORDER BY at DESC, seq DESC LIMIT 1""",
            (customer, meter, dimension, at),
        ).fetchall()
    ]


def _dimensions(db: sqlite3.Connection, customer: int, meter: int) -> list[int]:
    found = []
    row = db.execute(
        "SELECT min(dimension) FROM gauge_levels WHERE customer = ? AND meter = ?", (customer, meter)
    ).fetchone()
    while row[0] is not None:
        found.append(row[0])
        row = db.execute(
            "SELECT min(dimension) FROM gauge_levels WHERE customer = ? AND meter = ? AND dimension > ?",
            (customer, meter, row[0]),
        ).fetchone()
    return found


def samples(
    db: sqlite3.Connection, customer: int, meter: int, start: int, end: int
) -> dict[int, list[tuple[int, int]]]:
    """By dimension, ``(at, level)`` of a span: what it holds at ``start`` first, then every change before ``end``."""
    carried = dict(levels_at(db, customer, meter, start))
    result = {dimension: [(start, level)] for dimension, level in carried.items()}
    for dimension in _dimensions(db, customer, meter):
        result.setdefault(dimension, [(start, 0)]).extend(
            db.execute(
                """SELECT at, level FROM gauge_levels WHERE customer = ? AND meter = ? AND dimension = ?
                AND at >= ? AND at < ? ORDER BY at, seq""",
                (customer, meter, dimension, start, end),
            ).fetchall()
        )
    return result
