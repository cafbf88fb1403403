"""Faults for a verification: which columns are changed, how, and which are not, with the reason."""

from __future__ import annotations

import random
import sqlite3
from typing import Any, NamedTuple

from nbilling.store.steps import STEPS

_ADDING = "(SELECT id FROM meters WHERE kind <> 'event' OR aggregation = 'sum')"

EXEMPT = {
    "words: they say, and nothing is computed from them": """
        customers.name customers.company customers.email customers.phone customers.address_line1
        customers.address_line2 customers.postal_code customers.city customers.region customers.country
        customers.vat_number customers.tax_exempt customers.buyer_reference customers.locale plan_versions.name
        plan_versions.features subscription_phases.reason invoice_records.seller invoice_records.notes
        invoice_lines.description invoice_lines.detail invoice_taxes.label invoice_taxes.note credit_notes.reason
        credit_notes.refund_method balance_movements.reason dimensions.value""",
    "set by the customer, and valid by itself": "customers.currency",
    "a subscription keeps what it began with": "plan_versions.trial_days plan_versions.anchor_day",
    "when a row was written or changed": """
        customers.created_at customers.updated_at meters.created_at plan_versions.created_at
        subscription_records.created_at subscription_records.updated_at subscription_phases.changed_at
        customer_limits.updated_at invoice_records.created_at invoice_records.updated_at manual_lines.created_at
        discount_codes.created_at redemptions.created_at tax_rates.created_at balance_movements.created_at""",
    "numbers of rows that no other row names": "manual_lines.id redemptions.id payments.id balance_movements.id",
    "names for the world outside, which nothing in the ledger repeats": """
        subscription_records.subscription_id subscription_records.stripe_subscription_id credit_notes.credit_note_id
        plan_versions.plan_id plan_versions.version""",
    "who did it: only the trail itself knows": "audit.actor",
}
EXEMPT_TABLES = {
    "_sqlite_migrations": "the steps that made the tables",
    "ledger": "facts that stand alone",
    "import_": "hashes of lines that are not kept",
    "outbox": "what waits to be sent",
    "alert": "what somebody wants to be told of",
    "stripe_": "what Stripe has said",
}
"""How their names begin."""

WHERE = {
    # What counts: an amount that is added up, the value of a unique meter, the id of an event that has one.
    "events.at": f"meter IN {_ADDING}",
    "events.amount": f"meter IN {_ADDING}",
    "events.key": "id IS NOT NULL",
    "events.id": "id IS NOT NULL",
    "meters.id": "id IN (SELECT meter FROM events)",
    "dimensions.id": "id > 0 AND id IN (SELECT dimension FROM events)",
    "plan_versions.id": "id IN (SELECT plan FROM invoice_lines)",
    "periods.id": "id IN (SELECT bucket FROM rollups WHERE grain = 3)",
    "windows.id": "id IN (SELECT bucket FROM rollups WHERE grain = 4)",
    "events.metadata": "meter = (SELECT id FROM meters WHERE name = 'seats')",
    "rollups.mark": "meter <> (SELECT id FROM meters WHERE name = 'peak')",
    # What was made by somebody is in the audit trail; what the ledger was made with is not.
    "meters.name": "id > 6",
    "meters.unit": "id > 6",
    "meters.scale": "id > 6",
    "meters.dimension": "id > 6",
    "meters.kind": "id > 6",
    "meters.aggregation": "id > 6",
    "audit.at": "action IN ('invoice.finalize', 'invoice.payment', 'invoice.credit')",
    "audit.action": "action LIKE 'invoice.%' AND action NOT IN ('invoice.add_line', 'invoice.apply_discount')",
    "audit.subject": "action LIKE 'invoice.%' AND action NOT IN ('invoice.add_line', 'invoice.apply_discount')",
    "audit.detail": "action IN ('invoice.finalize', 'invoice.payment', 'invoice.credit')",
    # Somebody falls back on it.
    "default_limits.meter": "meter = 3",
    "default_limits.period": "meter = 3",
    "default_limits.amount": "meter = 3",
    "plan_limits.threshold": "plan = 2",
    "plan_limits.per_seat": "plan IN (SELECT plan FROM subscription_records WHERE quantity > 1)",
    **dict.fromkeys(
        ("plan_prices.plan", "plan_prices.meter", "plan_prices.unit"),
        "(plan, meter) IN (SELECT plan, meter FROM invoice_lines)",
    ),
    "plan_versions.per_seat": "id IN (SELECT plan FROM invoice_lines)",
    "subscription_phases.quantity": "plan IN (SELECT plan FROM invoice_lines WHERE seats > 0)",
    "plan_prices.model": "(plan, meter) IN (SELECT plan, meter FROM invoice_lines WHERE amount_minor > 0)",
    "invoice_taxes.rate": "tax_minor > 10",
    **dict.fromkeys(
        ("plan_versions.price_minor", "plan_versions.currency"),
        "id IN (SELECT plan FROM invoice_lines WHERE kind = 'fee' AND amount_minor > 0)",
    ),
    **dict.fromkeys(
        ("plan_versions.interval_unit", "plan_versions.interval_count"),
        "id IN (SELECT plan FROM subscription_records WHERE is_default = 0)",
    ),
    "plan_versions.owner": "owner > 0",
    "plan_versions.proration": "plan_id = 'pro'",
    "periods.late": "late = 1 AND id IN (SELECT period FROM invoice_lines WHERE kind = 'late_usage')",
    "invoice_records.through_seq": "through_seq > 0 AND id IN (SELECT invoice FROM invoice_lines WHERE kind = 'usage')",
    "invoice_records.due_at": "status <> 'draft'",
    "invoice_records.buyer": "status <> 'draft'",
    "invoice_records.number": "status <> 'draft'",
    "invoice_records.through_at": "status <> 'draft'",
    "invoice_discounts.label": "discount > 0",
    "invoice_lines.unit": "kind <> 'manual'",
}
_STATUSES = ("draft", "open", "part_paid", "paid", "void")
HOW: dict[str, Any] = {
    **dict.fromkeys(
        """meters.id dimensions.id plan_versions.id periods.id windows.id customers.id subscription_records.id
        invoice_records.id discount_codes.id credit_notes.id tax_rates.id events.seq audit.seq""".split(),
        lambda value, chance: value + 10_000,
    ),
    "events.at": lambda value, chance: value + chance.choice((-1, 1)) * 3_600_000_000,
    "events.metadata": lambda value, chance: '{"value":"nobody"}',
    "events.op": lambda value, chance: 1 - value,
    "invoice_records.status": lambda value, chance: chance.choice([one for one in _STATUSES if one != value]),
    "invoice_records.through_seq": lambda value, chance: chance.choice((0, value + 10_000)),
    "invoice_records.buyer": lambda value, chance: value.replace('"customer_id": "', '"customer_id": "x'),
    "invoice_records.reason": lambda value, chance: "one_off:another",
    "invoice_taxes.rate": lambda value, chance: str(int(float(value)) + chance.randrange(5, 9)),
    "plan_versions.proration": lambda value, chance: "none",
    "plan_versions.currency": lambda value, chance: chance.choice(("EUR", "JPY")),
    "windows.opened_seq": lambda value, chance: value + 10_000,
    "windows.scope": lambda value, chance: {"quota_day": "usage_month"}.get(value, "quota_day"),
    "customers.zone": lambda value, chance: chance.choice(("Asia/Tokyo", "America/Lima", "Mars/Olympus")),
    "customers.period": lambda value, chance: chance.choice((0, value + 10_000)),
    "periods.late": lambda value, chance: 0,
}

# What must agree with a table and is found when it does not.
_USAGE = {
    "events",
    "event_ids",
    "rollups",
    "unique_values",
    "gauge_levels",
    "counter_samples",
    "periods",
    "invoice_lines",
}
_MONEY = {
    "invoice_records", "invoice_lines", "invoice_taxes", "invoice_discounts", "manual_lines", "payments",
    "credit_notes", "credit_note_lines", "balance_movements", "audit", "number_series",
}  # fmt: skip
_ACCOUNTS = {
    "customers", "subscription_records", "subscription_phases", "periods", "effective_limits", "plan_versions",
    "plan_limits", "plan_prices",
}  # fmt: skip
RELATED = {
    **dict.fromkeys(_USAGE, _USAGE),
    **dict.fromkeys(_MONEY, _MONEY),
    **dict.fromkeys(_ACCOUNTS, _ACCOUNTS | _MONEY | {"rollups", "events", "windows"}),
    "dimensions": _USAGE,
    "meters": {"meters"} | _USAGE | _ACCOUNTS | _MONEY,
    "windows": {"windows", "rollups", "unique_values"},
    "customer_limits": {"effective_limits", "customer_limits", "invoice_lines"},
    "default_limits": {"effective_limits", "default_limits", "invoice_lines"},
    "effective_limits": {"effective_limits"},
    "discount_codes": {"discount_codes", "invoice_discounts", "redemptions"},
    "redemptions": {"redemptions", "discount_codes", "invoice_discounts"},
    "tax_rates": {"tax_rates"},
    "currencies": {"currencies"},
    "audit": _MONEY | {"windows", "meters", "tax_rates", "discount_codes"},
}

ROWS = """
    events rollups unique_values gauge_levels counter_samples windows subscription_records subscription_phases periods
    effective_limits customer_limits invoice_records invoice_lines invoice_taxes invoice_discounts manual_lines payments
    credit_notes credit_note_lines balance_movements number_series audit tax_rates discount_codes redemptions currencies
    meters""".split()
"""Tables of which a row is removed. Not event_ids: without its row an id that came without a time is a new one."""


def tables(db: sqlite3.Connection) -> dict[str, list[str]]:
    """Every table with its columns."""
    names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1"
    return {
        name: [row[0] for row in db.execute("SELECT name FROM pragma_table_info(?)", (name,)).fetchall()]
        for (name,) in db.execute(names).fetchall()
    }


def columns() -> list[str]:
    """Every column that is to be changed, from the schema itself: a new one is tried until it is exempt."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    for _, step in STEPS:
        step(db)
    exempt = {column for listed in EXEMPT.values() for column in listed.split()}
    there = [
        f"{table}.{name}"
        for table, names in tables(db).items()
        if not table.startswith(tuple(EXEMPT_TABLES))
        for name in names
    ]
    db.close()
    assert exempt <= set(there), f"no such columns: {exempt - set(there)}"
    return [column for column in there if column not in exempt]


class Fault(NamedTuple):
    """What was done, and the names of which a finding must say one."""

    table: str
    what: str
    before: object
    after: object
    names: tuple[str, ...]


def changed(db: sqlite3.Connection, what: str, chance: random.Random, *, gone: bool = False) -> Fault:
    """Changes one value of a column, or with ``gone`` removes one row of a table."""
    table, _, column = what.partition(".")
    key = [row[0] for row in db.execute("SELECT name FROM pragma_table_info(?) WHERE pk > 0", (table,)).fetchall()]
    listed = ", ".join(key)
    where = WHERE.get(what, "1")
    rows = db.execute(f"SELECT {listed} FROM {table} WHERE {where} ORDER BY {listed}").fetchall()
    chance.shuffle(rows)
    for row in rows:
        this = " AND ".join(f"{name} = ?" for name in key)
        names = _names(db, table, this, row)
        if gone:
            assert db.execute(f"DELETE FROM {table} WHERE {this}", row).rowcount == 1
            return Fault(table, "gone", row, None, names)
        [(value,)] = db.execute(f"SELECT {column} FROM {table} WHERE {this}", row).fetchall()
        for _ in range(4):
            new = HOW[what](value, chance) if what in HOW else _other(value, chance)
            try:
                db.execute(f"UPDATE {table} SET {column} = ? WHERE {this}", (new, *row))
            except sqlite3.IntegrityError:
                continue  # there is such a row already
            after = tuple(new if name == column else kept for name, kept in zip(key, row, strict=True))
            return Fault(table, what, value, new, (*names, f"{column} {new}", *_names(db, table, this, after)))
    raise AssertionError(f"no row of {what} can be changed")


def _other(value: Any, chance: random.Random) -> Any:
    if value is None:
        return 1
    if isinstance(value, int):
        steps = [-1, 1, chance.randrange(2, 100), -chance.randrange(2, 100), 1000]
        return value + chance.choice(steps if value < 2**62 else steps[0::3])
    if isinstance(value, bytes):
        place = chance.randrange(len(value))
        return value[:place] + bytes([value[place] ^ 1 << chance.randrange(8)]) + value[place + 1 :]
    digits = [place for place, letter in enumerate(value) if letter.isdigit()]
    if not digits:
        return value + "x"
    place = digits[0] if len(digits) < 4 else chance.choice(digits[:4])
    return value[:place] + str((int(value[place]) + chance.randrange(1, 9)) % 10) + value[place + 1 :]


# Whose a row is: an expression for each column that leads there.
_NAMES = {
    "customer": "(SELECT customer_id FROM customers WHERE id = t.customer)",
    "customer_id": "t.customer_id",
    "invoice": "(SELECT CASE number WHEN '' THEN invoice_id ELSE number END FROM invoice_records WHERE id = t.invoice)",
    "number": "t.number",
    "invoice_id": "t.invoice_id",
    "subscription": "(SELECT customer_id FROM subscription_records s JOIN customers c ON c.id = s.customer"
    " WHERE s.id = t.subscription)",
    "credit_note": "(SELECT number FROM credit_notes WHERE id = t.credit_note)",
    "meter": "(SELECT name FROM meters WHERE id = t.meter)",
    "code": "t.code",
    "series": "t.series",
    "subject": "t.subject",
    "label": "t.label",
    "name": "t.name",
    "value": "t.value",
    "plan_id": "t.plan_id",
    "plan": "(SELECT plan_id FROM plan_versions WHERE id = t.plan)",
    "discount": "(SELECT code FROM discount_codes WHERE id = t.discount)",
    "id": "t.id",
}


def _names(db: sqlite3.Connection, table: str, this: str, row: tuple[Any, ...]) -> tuple[str, ...]:
    """The names by which a finding may call a row; of a plan also those of the customers, who may have it."""
    there = tables(db)[table]
    found = {
        str(name)
        for column, expression in _NAMES.items()
        if column in there
        for (name,) in db.execute(f"SELECT {expression} FROM {table} t WHERE {this}", row).fetchall()
        if name not in (None, "", 0)
    }
    if table.startswith("plan_"):
        found |= {name for (name,) in db.execute("SELECT customer_id FROM customers").fetchall()}
    if table in ("audit", "events"):
        found |= {f"number {row[0]}", f"number {row[0] + 1}"}
    if table == "audit":
        numbers = "SELECT number FROM invoice_records i JOIN audit a ON a.subject = i.invoice_id WHERE a.seq = ?"
        found |= {number for (number,) in db.execute(numbers, row).fetchall()}
    return tuple(sorted(found))
