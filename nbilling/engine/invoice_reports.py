"""Invoices looked at: what would be charged, what was, one and all."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from nbilling.engine.accounts import Accounts
from nbilling.engine.charges import Charged, Charges
from nbilling.engine.core import Core
from nbilling.engine.invoice_drafts import line_row
from nbilling.engine.taxes import Taxes
from nbilling.model.clock import DAY, format_time
from nbilling.model.errors import BadInput, NotFound
from nbilling.model.money import format_amount, parse_amount, round_half_away
from nbilling.model.periods import add_months, local_day, month_of, to_date, to_day
from nbilling.model.text import choice, plain, whole
from nbilling.store import customers, discounts, invoices, subscriptions
from nbilling.store.invoices import InvoiceRow, LineRow

if TYPE_CHECKING:
    import sqlite3

STATUSES = ("draft", "open", "part_paid", "paid", "void", "uncollectible")


class InvoiceReports:
    """Read-only. An unknown customer is answered as a new one, an unknown invoice is NotFound."""

    def __init__(self, core: Core, accounts: Accounts, charges: Charges, taxes: Taxes) -> None:
        self._core = core
        self._accounts = accounts
        self._charges = charges
        self._taxes = taxes

    def calculate_charges(self, customer_id: str) -> dict[str, Any]:
        """What the present period would be billed as of now, before discounts and tax. Writes nothing."""
        db, row, now = self._accounts.view(customer_id)
        if row is None:
            plan = self._accounts.plan_of(db, None)
            lines = self._charges.of_nobody(plan, *month_of(local_day("UTC", now)))
            charged = Charged(plan.currency, [(0, line) for line in lines])
        else:
            charged = self._charges.of_period(db, row, subscriptions.period(db, row.period), now + 1)
        total = sum(line.amount_minor for _, line in charged.lines)
        return {
            "customer_id": customer_id,
            "currency": charged.currency,
            "total": format_amount(total, charged.currency),
            "total_minor": total,
            "breakdown": [_shown_line(line_row(number, line), charged.currency) for number, line in charged.lines],
        }

    def calculate_tax(self, customer_id: str, amount: object) -> dict[str, Any]:
        """``{tax_rate, tax_amount, taxable_amount, currency, reason}`` of an amount in currency units."""
        db, row, _ = self._accounts.view(customer_id)
        profile = customers.profile(db, row.id) if row else {}
        currency = profile.get("currency") or self._accounts.plan_of(db, row).currency
        minor = parse_amount(amount, currency)
        if minor < 0:
            raise BadInput(f"amount {amount!s:.60} is below 0", hint="give what is to be taxed")
        return self._taxes.quote(db, row.id if row else 0, profile, minor, currency)

    def get_history(self, customer_id: str, months: int | str = 12) -> list[dict[str, Any]]:
        """The invoices made in the last months, newest first."""
        count = whole(months, "months", minimum=1, maximum=1200)
        db, row, now = self._accounts.view(customer_id)
        if row is None:
            return []
        today = to_date(local_day(row.zone, now))
        first = max(to_day(add_months(today, -min(count, (today.year - 1970) * 12))), 0)
        return [_summary(customer_id, found) for found in invoices.of_customer(db, row.id, first * DAY - DAY)]

    def list(
        self, customer_id: str | None = None, *, status: str = "", limit: int | str = 50, after: str = ""
    ) -> list[dict[str, Any]]:
        """Invoices newest first; ``after`` is the last id of the page before."""
        count = whole(limit, "limit", minimum=1, maximum=10_000)
        if status:
            choice(status, "status", STATUSES)
        db = self._core.read()
        customer = self._core.known_customer(db, customer_id).id if customer_id is not None else 0
        before = self._found(db, after).id if after else 2**63 - 1
        rows = invoices.page(db, customer, status, count, before)
        return [_summary(customers.get(db, row.customer).customer_id, row) for row in rows]

    def show(self, invoice_id: str) -> dict[str, Any]:
        """The invoice with its lines, taxes and payments. Also found by its number."""
        db = self._core.read()
        invoice = self._found(db, invoice_id)
        currency = invoice.currency
        result = _summary(customers.get(db, invoice.customer).customer_id, invoice)
        for name in ("subtotal", "discount", "tax", "total", "paid", "credited", "applied", "open"):
            minor = getattr(invoice, f"{name}_minor")
            result |= {name: format_amount(minor, currency), f"{name}_minor": minor}
        result["discounts"] = [
            {"label": found.label, "amount": format_amount(found.amount_minor, currency)}
            for found in discounts.on_invoice(db, invoice.id)
        ]
        result["lines"] = [_shown_line(line, currency) for line in invoices.lines(db, invoice.id)]
        result["taxes"] = [
            {
                "label": tax.label,
                "rate": tax.rate,
                "reason": tax.reason,
                "taxable": format_amount(tax.taxable_minor, currency),
                "tax": format_amount(tax.tax_minor, currency),
                "inclusive": bool(tax.inclusive),
            }
            for tax in invoices.taxes(db, invoice.id)
        ]
        result["payments"] = [
            {"amount": format_amount(minor, code), "currency": code, "method": method, "paid_at": format_time(at)}
            for minor, code, method, at in invoices.payments(db, invoice.id)
        ]
        return result

    def _found(self, db: sqlite3.Connection, invoice_id: str) -> InvoiceRow:
        return found_invoice(db, invoice_id)


def found_invoice(db: sqlite3.Connection, invoice_id: str) -> InvoiceRow:
    """The invoice of that id or number."""
    invoice = invoices.find(db, plain(invoice_id, "invoice"))
    if invoice is None:
        raise NotFound(f"there is no invoice {invoice_id!r:.80}", hint="nbilling invoice list shows them")
    return invoice


def _shown_line(line: LineRow, currency: str) -> dict[str, Any]:
    quantity = Decimal(round_half_away(Fraction(line.quantity) * 10**6)).scaleb(-6).normalize()
    return {
        "description": line.description,
        "detail": line.detail,
        "quantity": quantity if quantity != quantity.to_integral_value() else int(quantity),
        "unit": line.unit,
        "unit_price": line.unit_price,
        "amount": format_amount(line.amount_minor, currency),
        "amount_minor": line.amount_minor,
        "period_start": to_date(line.start_day).isoformat(),
        "period_end": to_date(line.end_day).isoformat(),
    }


def _summary(customer_id: str, invoice: InvoiceRow) -> dict[str, Any]:
    return {
        "id": invoice.invoice_id,
        "number": invoice.number or None,
        "customer_id": customer_id,
        "status": invoice.status,
        "total": format_amount(invoice.total_minor, invoice.currency),
        "total_minor": invoice.total_minor,
        "currency": invoice.currency,
        "period_start": format_time(invoice.start_at),
        "period_end": format_time(invoice.end_at),
        "created_at": format_time(invoice.created_at),
        "due_at": format_time(invoice.due_at) if invoice.due_at else None,
    }
