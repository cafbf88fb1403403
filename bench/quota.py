"""Checks and enforcements in one process: against one prepared SELECT, and against a transaction written by hand."""

from __future__ import annotations

import sqlite3
import time

import nbilling
from bench import by_hand, ledgers
from bench.harness import Options, Result, Variant, cost_ratio, interleave, per_call
from bench.stream import customer
from nbilling.model.clock import DAY, HOUR
from nbilling.model.identity import uuid7

LIMIT = 10**12
SELECT = "SELECT amount FROM rollups WHERE grain = ? AND bucket = ? AND customer = ? AND meter = ? AND dimension = ?"
CHECK = """SELECT l.amount, (SELECT coalesce(sum(r.amount), 0) FROM rollups r
  WHERE r.grain = 3 AND r.bucket = c.period AND r.customer = c.id AND r.meter = l.meter)
FROM customers c JOIN effective_limits l ON l.customer = c.id WHERE c.customer_id = ? AND l.meter = ?"""
ENFORCE = f"BEGIN IMMEDIATE;\n{CHECK};\n{by_hand.INSERT};\n-- four times\n{by_hand.UPSERT};\nCOMMIT;"


def prepare(options: Options, name: str) -> tuple[nbilling.Billing, list[str]]:
    """A ledger whose customers have a limit that is never reached, and some usage."""
    billing = ledgers.opened_now(ledgers.make(options.directory / name, options.customers, live=True))
    names = [customer(number) for number in range(min(200, options.customers))]
    for one in names:
        billing.quota.set_limit(one, "api_requests", LIMIT, "per_month")
        billing.usage.track(one, "api_requests")
    return billing, names


def run(options: Options) -> list[Result]:
    """``check`` and ``enforce``, a call at a time, over 200 customers in turn."""
    billing, names = prepare(options, "quota.db")
    with billing:
        path = str(options.directory / "quota.db")
        reader, writer = by_hand.connect(path), by_hand.connect(path)
        known = by_hand.known(reader)
        numbers = [known.customers[name] for name in names]
        meter, count = known.meter, len(names)

        def select(number: int) -> object:
            one, period = numbers[number % count]
            return reader.execute(SELECT, (3, period, one, meter, 0)).fetchone()

        def check_by_hand(number: int) -> bool:
            rows = reader.execute(CHECK, (names[number % count], meter)).fetchall()
            return all(limit is None or used + 1 <= limit for limit, used in rows)

        def enforce_by_hand(number: int) -> bool:
            return enforce(writer, known, names[number % count])

        def check(number: int) -> bool:
            return billing.quota.check(names[number % count], "api_requests").allowed

        def enforce_engine(number: int) -> bool:
            return billing.quota.enforce(names[number % count], "api_requests").allowed

        checks, writes = max(options.calls, 100), max(options.calls // 4, 50)
        checking = interleave(
            [
                Variant("one prepared SELECT", lambda: per_call(checks, select), SELECT),
                Variant("check by hand", lambda: per_call(checks, check_by_hand), CHECK),
                Variant("quota.check", lambda: per_call(checks, check)),
            ],
            options,
        )
        enforcing = interleave(
            [
                Variant("enforce by hand", lambda: per_call(writes, enforce_by_hand), ENFORCE),
                Variant("quota.enforce", lambda: per_call(writes, enforce_engine)),
            ],
            options,
        )
        statements = {
            "one prepared SELECT": SELECT,
            "check by hand": CHECK,
            "quota.check": ledgers.engine_statements(billing, lambda: check(0)),
            "enforce by hand": ENFORCE,
            "quota.enforce": ledgers.engine_statements(billing, lambda: enforce_engine(0)),
        }
        reader.close()
        writer.close()
    figures = {**checking, **enforcing}
    ratios = [
        cost_ratio("check / one prepared SELECT", figures["quota.check"], figures["one prepared SELECT"],
                   "at most 3, later 2.5"),
        cost_ratio("check / check by hand", figures["quota.check"], figures["check by hand"]),
        cost_ratio("enforce / enforce by hand", figures["quota.enforce"], figures["enforce by hand"],
                   "later at most 1.1, with one core busy"),
    ]  # fmt: skip
    conditions = ledgers.conditions(
        data=f"{count} customers in turn, each with a limit a month on one meter; {checks:,} checks and {writes:,} "
        "enforcements a round, a figure is the median call",
        select="one row by its whole key, numbers known, sqlite3 with its statement cache",
    )
    return [Result("quota", "Quota checks", conditions, list(figures.values()), ratios, statements, item="call")]


def enforce(db: sqlite3.Connection, known: by_hand.Known, name: str) -> bool:
    """Check and record in one durable transaction, by hand."""
    now = time.time_ns() // 1000
    number, period = known.customers[name]
    meter = known.meter
    db.execute("BEGIN IMMEDIATE")
    rows = db.execute(CHECK, (name, meter)).fetchall()
    if any(limit is not None and used + 1 > limit for limit, used in rows):
        db.execute("ROLLBACK")
        return False
    hour = now // HOUR
    db.execute(by_hand.INSERT, (None, hour, now, number, meter, 0, 1, 0, uuid7(now), None, None))
    places = ((0, 0), (1, hour), (2, now // DAY), (3, period))
    db.executemany(by_hand.UPSERT, [(*place, number, meter, 0, 1, 1, 0) for place in places])
    db.execute("COMMIT")
    return True
