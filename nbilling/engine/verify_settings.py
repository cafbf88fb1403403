"""Verifies what was set up and never changes: meters, tax rates, codes and custom plans are as the audit trail says."""

from __future__ import annotations

import json
from typing import Any

from nbilling.engine.verify_context import NO_ROW, Context
from nbilling.model.money import CURRENCIES
from nbilling.rules.quota import PERIODS
from nbilling.store import customers, taxes
from nbilling.store import verify as store
from nbilling.store import verify_billing as billing_store

MODES = ("unset", "fixtures", "test", "live")


def check_settings(context: Context) -> None:
    """Compares everything. What the ledger was made with has no row in the audit trail, and is not looked at."""
    db = context.db
    known = {code: found.exponent for code, found in CURRENCIES.items()}
    for code, right, exponent in store.wrong_currencies(db, known):
        context.wrong("currencies", code, right, exponent)
    mode = customers.fact(db, "mode")
    if mode not in MODES:
        context.wrong("ledger", "mode", f"one of {', '.join(MODES)}", mode)
    for table, plan, meter, period in billing_store.unknown_limit_periods(db, PERIODS):
        context.wrong(table, f"{plan}, {context.meter(meter)}, period", f"one of {', '.join(PERIODS)}", period)
    _compare(context)


def _compare(context: Context) -> None:
    meters = {meter.name: meter._asdict() for meter in context.meters.values()}
    codes = billing_store.discount_definitions(context.db)
    rates: dict[int, dict[str, Any]] = {}
    for row in billing_store.set_up_trail(context.db):
        with context.unit("audit", f"{row.action} {row.subject}, number {row.seq}"):
            told: dict[str, Any] = json.loads(row.detail)
            if row.action == "meter.create":
                found = meters.get(row.subject)
                context.equal("meters", row.subject, told, found and {name: found.get(name) for name in told})
            elif row.action == "discount.create":
                text = codes.get(row.subject)
                context.equal("discount_codes", row.subject, told, text and json.loads(text))
            elif row.action == "plan.create_custom":
                right = {name: told[name] for name in ("name", "price_minor", "currency")} | {
                    "customer_id": row.subject
                }
                context.equal("plan_versions", told["plan"], right, billing_store.custom_plan(context.db, told["plan"]))
            elif row.action == "tax.add":
                rates[max(rates, default=0) + 1] = told  # as SQLite numbers rows
            else:
                rates.pop(int(row.subject))
    _compare_rates(context, rates)


def _compare_rates(context: Context, right: dict[int, dict[str, Any]]) -> None:
    found: dict[int, dict[str, Any]] = {}
    for row, customer_id in taxes.listing(context.db):
        flags = {"inclusive": bool(row.inclusive), "replaces": bool(row.replaces)}
        found[row.id] = row._asdict() | flags | {"customer_id": customer_id or None}
    for number in sorted(right.keys() | found.keys()):
        told, kept = right.get(number), found.get(number)
        if told is None or kept is None:
            label = (told or kept or {}).get("label")
            context.wrong("tax_rates", f"{number}, {label}", told or "no row, by the audit trail", kept or NO_ROW)
        else:
            told = {name: value for name, value in told.items() if name != "number"}
            context.equal("tax_rates", f"{number}, {kept['label']}", told, {name: kept.get(name) for name in told})
