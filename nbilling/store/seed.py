"""What a new ledger begins with: the seed's meters, default limits and plans."""

from __future__ import annotations

import json
import sqlite3

from nbilling.model.money import CURRENCIES

SEED_METERS = (
    ("api_requests", "event", "sum", "requests", 0, ""),
    ("storage", "gauge", "time_weighted", "bytes", 0, ""),
    ("bandwidth", "event", "sum", "bytes", 0, "direction"),
    ("compute", "event", "sum", "seconds", 6, "resource_type"),
    ("functions", "event", "sum", "invocations", 0, "function"),
    ("database", "event", "sum", "queries", 0, ""),
)
GIB = 2**30
SEED_DEFAULT_LIMITS = (
    ("api_requests", "per_month", 1000),
    ("storage", "absolute", GIB),
    ("bandwidth", "per_month", 10 * GIB),
)
SEED_PLANS = (
    ("free", "Free", 0, 1000, GIB, "community"),
    ("pro", "Pro", 2900, 10_000, 10 * GIB, "email"),
    ("enterprise", "Enterprise", 29_900, 100_000, 100 * GIB, "priority"),
)
SEED_PRICES = (
    ("api_requests", "0.0001", 1, "request"),
    ("storage", "0.10", GIB, "GB-month"),
    ("bandwidth", "0.05", GIB, "GB"),
    ("compute", "0.05", 3_600_000_000, "hour"),
)


def insert_seed(db: sqlite3.Connection, now: int) -> None:
    """Fills the tables of a new ledger."""
    db.executemany("INSERT INTO currencies VALUES (?, ?)", [(c.code, c.exponent) for c in CURRENCIES.values()])
    db.execute("INSERT INTO dimensions VALUES (0, '')")
    db.executemany(
        "INSERT INTO meters (name, kind, aggregation, unit, scale, dimension, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(*meter, now) for meter in SEED_METERS],
    )
    meters = dict(db.execute("SELECT name, id FROM meters").fetchall())
    db.executemany(
        "INSERT INTO default_limits VALUES (?, ?, ?)", [(meters[m], p, n) for m, p, n in SEED_DEFAULT_LIMITS]
    )
    db.executemany("INSERT INTO ledger VALUES (?, ?)", [("mode", "unset"), ("created_at", str(now))])
    for number, (plan, name, price, requests, storage, support) in enumerate(SEED_PLANS, 1):
        db.execute(
            """INSERT INTO plan_versions (id, plan_id, version, name, currency, price_minor, interval_unit,
            interval_count, proration, features, created_at) VALUES (?, ?, 1, ?, 'USD', ?, 'month', 1, 'day', ?, ?)""",
            (number, plan, name, price, json.dumps({"support": support}), now),
        )
        for meter, period, amount in (("api_requests", "per_month", requests), ("storage", "absolute", storage)):
            db.execute(
                "INSERT INTO plan_limits (plan, meter, period, amount) VALUES (?, ?, ?, ?)",
                (number, meters[meter], period, amount),
            )
        if price:
            db.executemany(
                "INSERT INTO plan_prices VALUES (?, ?, ?, ?, 'limit')",
                [(number, meters[meter], _per_unit(price, per), unit) for meter, price, per, unit in SEED_PRICES],
            )


def _per_unit(unit_price: str, per: int) -> str:
    return json.dumps({"model": "per_unit", "unit_price": unit_price, "per": str(per)})
