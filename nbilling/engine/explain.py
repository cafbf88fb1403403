"""Every cent of an invoice traced back: arithmetic, rounding, usage, events."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.engine.invoice_reports import found_invoice
from nbilling.engine.prices import price_model
from nbilling.model.clock import format_time
from nbilling.model.identity import key_text
from nbilling.model.money import format_amount
from nbilling.model.periods import day_start, to_date
from nbilling.model.text import whole
from nbilling.rules.line_texts import LANGUAGES, decimal_text, quantity_text
from nbilling.rules.pricing import rate
from nbilling.store import customers, discounts, gauges, invoices, plans, subscriptions, usage
from nbilling.store.invoices import InvoiceRow, LineRow

if TYPE_CHECKING:
    import sqlite3


class Explanations:
    """Read-only; works on drafts too."""

    def __init__(self, core: Core, accounts: Accounts) -> None:
        self._core = core
        self._accounts = accounts

    def explain(self, invoice_id: str, *, ids: int | str = 0) -> dict[str, Any]:
        """Each line with its arithmetic, and the events behind it; ``ids``: how many of their ids to name."""
        count = whole(ids, "ids", maximum=100_000)
        db = self._core.read()
        invoice = found_invoice(db, invoice_id)
        lines = invoices.lines(db, invoice.id)
        currency = invoice.currency
        return {
            "id": invoice.invoice_id,
            "number": invoice.number or None,
            "currency": currency,
            "lines": [self._line(db, invoice, place, line, count) for place, line in enumerate(lines, 1)],
            "arithmetic": _sums(db, invoice, lines),
        }

    def _line(self, db: sqlite3.Connection, invoice: InvoiceRow, place: int, line: LineRow, ids: int) -> dict[str, Any]:
        result: dict[str, Any] = {
            "line": place,
            "description": line.description,
            "period": f"{to_date(line.start_day)} to {to_date(line.end_day - 1)}",
            "amount": format_amount(line.amount_minor, invoice.currency),
            "steps": [],
        }
        if line.kind == "fee":
            plan = plans.version(db, line.plan)
            exact = Fraction(line.unit_price) * Fraction(line.quantity)
            result["plan"] = f"{plan.plan_id} version {plan.version}"
            result["steps"] = [f"{line.unit_price} a {line.unit} × {line.quantity} of it = {decimal_text(exact, 12)}"]
        elif line.kind == "fee_change":
            result["plan"] = f"{plans.version(db, line.plan).plan_id} version {plans.version(db, line.plan).version}"
            result["steps"] = ["the fee of that part of the period as it is now, less what earlier invoices say of it"]
        elif line.kind == "manual":
            result["steps"] = [f"written by hand: {line.quantity} × {line.unit_price}"]
        else:
            self._usage_line(db, invoice, line, ids, result)
        result["steps"].append(f"rounded once, half away from zero: {result['amount']}")
        if line.discount_minor:
            result["steps"].append(
                f"its share of the discounts: {format_amount(-line.discount_minor, invoice.currency)}"
            )
        return result

    def _usage_line(
        self, db: sqlite3.Connection, invoice: InvoiceRow, line: LineRow, ids: int, result: dict[str, Any]
    ) -> None:
        meter = self._core.meter_by_id(db, line.meter)
        plan = plans.version(db, line.plan)
        price = plans.prices(db, plan.id).get(line.meter)
        model = price_model(price)
        row = customers.get(db, invoice.customer)
        used = Fraction(line.usage)
        result["plan"] = f"{plan.plan_id} version {plan.version}"
        result["steps"].append(
            f"{quantity_text(used, meter.unit, meter.scale, LANGUAGES['en'])} by the meter {meter.name}"
        )
        if line.included:
            result["steps"].append(
                f"{quantity_text(Fraction(line.included), meter.unit, meter.scale, LANGUAGES['en'])} included"
            )
        elif price is not None and price.allowance == "limit":
            result["steps"].append("no limit is set, so nothing lies above it")
        per = Fraction(getattr(model, "per", 1)) if model is not None else Fraction(1)
        if model is not None and line.kind == "usage":
            period = subscriptions.period(db, line.period)
            start, end = self._accounts.full_span(db, period)
            share = Fraction(1) if plan.proration == "none" else Fraction(line.end_day - line.start_day, end - start)
            rating = rate(model, Fraction(line.quantity) * per, scale_fraction=share)
            result["steps"] += [f"{step.description} = {decimal_text(step.amount, 12)}" for step in rating.steps]
        elif line.kind == "late_usage":
            result["steps"].append("rated again with what came later, less what earlier invoices of the period say")
        start_at, end_at = day_start(row.zone, line.start_day), day_start(row.zone, line.end_day)
        through = invoice.through_seq if invoice.status != "draft" else usage.last_seq(db)
        source = gauges if meter.kind == "gauge" else usage
        count, first, last, found = source.events_of_line(db, row.id, line.meter, start_at, end_at, through, ids)
        result["events"] = {
            "count": count,
            "first": format_time(first) if first is not None else None,
            "last": format_time(last) if last is not None else None,
        }
        if ids:
            result["events"]["ids"] = [text or key_text(key) for key, text in found]


def _sums(db: sqlite3.Connection, invoice: InvoiceRow, lines: list[LineRow]) -> list[str]:
    currency = invoice.currency
    amounts = " + ".join(format_amount(line.amount_minor, currency) for line in lines) or "nothing"
    steps = [f"subtotal: {amounts} = {format_amount(invoice.subtotal_minor, currency)}"]
    for found in discounts.on_invoice(db, invoice.id):
        steps.append(f"discount {found.label}: {format_amount(-found.amount_minor, currency)}")
    for tax in invoices.taxes(db, invoice.id):
        taxable, amount = format_amount(tax.taxable_minor, currency), format_amount(tax.tax_minor, currency)
        steps.append(f"{tax.label}: {tax.rate} % of {taxable}, rounded once = {amount} ({tax.reason})")
    total = format_amount(invoice.total_minor, currency)
    return [*steps, f"total: {total} {currency}"]
