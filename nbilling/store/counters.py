"""Running totals in the order of their own time, each with what it adds to the one before."""

from __future__ import annotations

import sqlite3

from nbilling.store.usage import UsageRow


def insert_sample(db: sqlite3.Connection, seq: int, row: UsageRow) -> list[tuple[int, int, int]]:
    """Puts a sample into its place. Returns ``(at, seq, change)``: what it adds, and what it changes in the next.

    The first total of a series is where counting begins: it adds nothing. A total below the one before it is that of a
    counter that started again from zero. Samples of one instant are ordered by their totals, so that the order of
    arrival decides nothing.
    """
    series, place = (row.customer, row.meter, row.dimension), (row.at, row.amount, seq)
    before = db.execute(
        """SELECT total FROM counter_samples WHERE customer = ? AND meter = ? AND dimension = ?
        AND (at, total, seq) < (?, ?, ?) ORDER BY at DESC, total DESC, seq DESC LIMIT 1""",
        (*series, *place),
    ).fetchone()
    after = db.execute(
        """SELECT at, total, seq, delta FROM counter_samples WHERE customer = ? AND meter = ? AND dimension = ?
        AND (at, total, seq) > (?, ?, ?) ORDER BY at, total, seq LIMIT 1""",
        (*series, *place),
    ).fetchone()
    added = _delta(before[0] if before else None, row.amount)
    db.execute("INSERT INTO counter_samples VALUES (?, ?, ?, ?, ?, ?, ?)", (*series, *place, added))
    changes = [(row.at, seq, added)]
    if after is not None:
        at, total, number, old = after
        new = _delta(row.amount, total)
        db.execute(
            """UPDATE counter_samples SET delta = ? WHERE customer = ? AND meter = ? AND dimension = ?
            AND at = ? AND total = ? AND seq = ?""",
            (new, *series, at, total, number),
        )
        changes.append((at, number, new - old))
    return changes


def _delta(before: int | None, total: int) -> int:
    if before is None:
        return 0
    return total - before if total >= before else total
