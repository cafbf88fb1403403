"""Invoices: from draft to paid. Asking for a period's invoice again returns the one that is there."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from nbilling.engine.accounts import Accounts
from nbilling.engine.charges import Charged, Charges
from nbilling.engine.core import Core
from nbilling.engine.discounts import Discounts, read_definition
from nbilling.engine.taxes import Taxes
from nbilling.model.clock import DAY, format_time
from nbilling.model.errors import BadInput, Conflict, NotFound
from nbilling.model.identity import new_id
from nbilling.model.money import (
    check_minor,
    format_amount,
    format_decimal,
    parse_amount,
    parse_decimal,
    round_half_away,
)
from nbilling.model.money import currency as currency_of
from nbilling.model.periods import Interval, add_months, day_start, local_day, month_of, to_date, to_day
from nbilling.model.text import choice, plain, whole
from nbilling.rules.discounts import DiscountLine, apply
from nbilling.rules.invoices import Line
from nbilling.store import customers, discounts, invoices, plans, subscriptions, usage
from nbilling.store.customers import CustomerRow
from nbilling.store.invoices import InvoiceRow, LineRow
from nbilling.store.subscriptions import PeriodRow

if TYPE_CHECKING:
    import sqlite3

PERIODS = {
    "daily": Interval("day"),
    "weekly": Interval("week"),
    "monthly": Interval("month"),
    "quarterly": Interval("quarter"),
    "half-yearly": Interval("half_year"),
    "yearly": Interval("year"),
}
STATUSES = ("draft", "open", "part_paid", "paid", "void", "uncollectible")
PERIOD_REASON = "period"


class Invoices:
    """A draft is brought up to date until it is finalised; from then on its lines never change."""

    def __init__(self, core: Core, accounts: Accounts, charges: Charges, taxes: Taxes, codes: Discounts) -> None:
        self._core = core
        self._accounts = accounts
        self._charges = charges
        self._taxes = taxes
        self._codes = codes

    def generate(self, customer_id: str, period: str = "monthly", *, on: str | None = None) -> str:
        """The draft of the present billing period, or of the one that holds the date ``on``. Returns its id.

        Again: the same id, and a draft's lines are brought up to date. ``period`` must be the subscription's interval.
        """
        choice(period, "period", tuple(PERIODS))
        day = to_day(_date(on)) if on is not None else None

        def job(db: sqlite3.Connection) -> str:
            now = self._core.now(db)
            row = self._accounts.ensure(db, customer_id, now)
            today = local_day(row.zone, now)
            if day is not None and day > today:
                raise Conflict(f"the period of {on} has not begun", hint="give a date up to today")
            found = self._accounts.period_of_day(db, row, today if day is None else day)
            self._check_interval(db, found, period)
            return self._draft(db, row, found, now).invoice_id

        return self._core.write(job)

    def _check_interval(self, db: sqlite3.Connection, period: PeriodRow, word: str) -> None:
        interval = self._accounts.interval(db, subscriptions.get(db, period.subscription))
        if interval != PERIODS[word]:
            name = next((key for key, value in PERIODS.items() if value == interval), None)
            actual = name or f"every {interval.times} {interval.unit}s"
            raise Conflict(f"this subscription is billed {actual}, not {word}", hint=f"use {actual}")

    def _draft(self, db: sqlite3.Connection, row: CustomerRow, period: PeriodRow, now: int) -> InvoiceRow:
        invoice = invoices.of_period(db, period.subscription, period.id, PERIOD_REASON)
        if invoice is None:
            number = invoices.insert(db, self._empty(row, period, now))
            invoice = invoices.get(db, number)
            self._codes.carry_on(db, invoice)
        return self._refreshed(db, row, invoice, now) if invoice.status == "draft" else invoice

    @staticmethod
    def _empty(row: CustomerRow, period: PeriodRow, now: int, reason: str = PERIOD_REASON) -> InvoiceRow:
        invoice_id = new_id("inv", now)
        return InvoiceRow(
            id=0, invoice_id=invoice_id, customer=row.id, subscription=period.subscription, period=period.id,
            reason=reason or f"one_off:{invoice_id}", status="draft", number="", currency="USD", subtotal_minor=0, discount_minor=0,
            tax_minor=0, total_minor=0, paid_minor=0, start_day=period.start_day, end_day=period.end_day,
            start_at=period.start_at, end_at=period.end_at, through_seq=0, through_at=0, seller="{}", buyer="{}",
            notes="", created_at=now, updated_at=now, finalized_at=0, due_at=0,
        )  # fmt: skip

    def _refreshed(self, db: sqlite3.Connection, row: CustomerRow, invoice: InvoiceRow, now: int) -> InvoiceRow:
        """The draft with its lines and taxes as the ledger has them now."""
        period = subscriptions.period(db, invoice.period)
        currency, lines = self._lines(db, row, invoice, period, now)
        lines, discount = _discounted(db, invoice, lines)
        subtotal = sum(line.amount_minor for line in lines)
        taxes = self._taxes.of_lines(customers.profile(db, row.id), lines)
        tax = sum(rate.tax_minor for rate in taxes)
        fresh = invoice._replace(
            currency=currency, subtotal_minor=subtotal, discount_minor=discount, tax_minor=tax,
            total_minor=subtotal - discount + tax,
            start_day=period.start_day, end_day=period.end_day, start_at=period.start_at, end_at=period.end_at,
            through_seq=usage.last_seq(db), through_at=now + 1, updated_at=now,
        )  # fmt: skip
        invoices.write_lines(db, invoice.id, lines, taxes)
        invoices.save(db, fresh)
        return fresh

    def _lines(
        self, db: sqlite3.Connection, row: CustomerRow, invoice: InvoiceRow, period: PeriodRow, now: int
    ) -> tuple[str, list[LineRow]]:
        """The currency and the lines: of the period, unless it is a one-off invoice, then those written by hand."""
        held = subscriptions.get(db, invoice.subscription)
        currency, lines = plans.version(db, held.plan).currency, []
        if invoice.reason == PERIOD_REASON:
            charged = self._charges.of_period(db, row, period, now + 1)
            currency, lines = charged.currency, [_row(number, line) for number, line in charged.lines]
        for description, quantity, unit_price, amount in discounts.manual_lines(db, invoice.id):
            lines.append(
                LineRow(
                    kind="manual", description=description, detail="", meter=0, period=period.id, plan=held.plan,
                    start_day=period.start_day, end_day=period.end_day, usage="", included="", quantity=quantity,
                    unit="", unit_price=unit_price, amount_minor=amount,
                )
            )  # fmt: skip
        return currency, lines

    def create(self, customer_id: str) -> str:
        """A one-off draft without lines, whatever else the customer is billed for. Returns its id."""

        def job(db: sqlite3.Connection) -> str:
            now = self._core.now(db)
            row = self._accounts.ensure(db, customer_id, now)
            invoice = self._empty(row, subscriptions.period(db, row.period), now, reason="")
            number = invoices.insert(db, invoice)
            return self._refreshed(db, row, invoices.get(db, number), now).invoice_id

        return self._core.write(job)

    def add_line(self, invoice_id: str, description: str, unit_price: object, quantity: object = 1) -> dict[str, Any]:
        """Writes a line onto a draft; ``unit_price`` in currency units, below 0 for a credit."""
        plain(description, "description", limit=500)
        count = parse_decimal(quantity, places=6, minimum=0, what="quantity")
        price = parse_decimal(unit_price, places=12, what="unit price")

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            invoice = self._draft_found(db, invoice_id)
            amount = round_half_away(Fraction(price) * Fraction(count) * 10 ** currency_of(invoice.currency).exponent)
            check_minor(amount, invoice.currency)
            texts = str(Fraction(count)), format_decimal(price)
            discounts.add_manual_line(db, invoice.id, description, *texts, amount, now)
            self._refreshed(db, customers.get(db, invoice.customer), invoice, now)
            detail = {"description": description, "amount_minor": amount}
            self._core.audit(db, now, "invoice.add_line", invoice.invoice_id, detail)

        self._core.write(job)
        return self.show(invoice_id)

    def apply_discount(self, invoice_id: str, code: str) -> dict[str, Any]:
        """Puts a code on a draft. NotFound for an unknown one; Conflict if it is expired, used up or there."""

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            invoice = self._draft_found(db, invoice_id)
            plan = plans.version(db, subscriptions.get(db, invoice.subscription).plan)
            self._codes.put_on(db, invoice, code, plan.plan_id, now)
            self._discounted(db, invoice, now, {"code": code})

        self._core.write(job)
        return self.show(invoice_id)

    def apply_discount_percentage(self, invoice_id: str, percentage: object) -> dict[str, Any]:
        """Takes a percentage, 0 to 100, off a draft, of what the discounts before it have left."""

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            invoice = self._draft_found(db, invoice_id)
            self._codes.put_percentage_on(db, invoice, percentage)
            self._discounted(db, invoice, now, {"percentage": str(percentage)})

        self._core.write(job)
        return self.show(invoice_id)

    def _discounted(self, db: sqlite3.Connection, invoice: InvoiceRow, now: int, detail: dict[str, Any]) -> None:
        self._refreshed(db, customers.get(db, invoice.customer), invoice, now)
        self._core.audit(db, now, "invoice.apply_discount", invoice.invoice_id, detail)

    def _draft_found(self, db: sqlite3.Connection, invoice_id: str) -> InvoiceRow:
        invoice = self._found(db, invoice_id)
        if invoice.status != "draft":
            raise Conflict(f"invoice {invoice.number} is no draft", hint="its lines are fixed; it can be credited")
        return invoice

    def finalize(self, invoice_id: str) -> dict[str, Any]:
        """Fixes the lines and gives the number, in one commit. Finalised already: nothing."""

        def job(db: sqlite3.Connection) -> InvoiceRow:
            now = self._core.now(db)
            return self._finalized(db, self._found(db, invoice_id), now)

        self._core.write(job)
        return self.show(invoice_id)

    def _finalized(self, db: sqlite3.Connection, invoice: InvoiceRow, now: int) -> InvoiceRow:
        if invoice.status != "draft":
            return invoice
        row = customers.get(db, invoice.customer)
        invoice = self._refreshed(db, row, invoice, now)
        today = to_date(local_day(row.zone, now))
        config = self._core.config
        number = f"{config.invoice_number_prefix}-{today.year}-" + (
            f"{invoices.next_number(db, config.invoice_number_prefix, today.year):06d}"
        )
        due = day_start(row.zone, to_day(today) + config.invoice_due_days)
        invoice = invoice._replace(
            status="open" if invoice.total_minor > 0 else "paid", number=number, finalized_at=now, due_at=due,
            updated_at=now, seller=json.dumps(self._seller()), buyer=json.dumps(customers.profile(db, row.id)),
            notes=config.invoice_notes,
        )  # fmt: skip
        invoices.save(db, invoice)
        if now < invoice.end_at:  # what is still used of this period comes on the next invoice
            subscriptions.mark_late(db, [invoice.period])
        if not customers.profile(db, row.id)["currency"]:
            customers.update(db, row.id, {"currency": invoice.currency}, now)
        detail = {"number": number, "total_minor": invoice.total_minor, "currency": invoice.currency}
        self._core.audit(db, now, "invoice.finalize", invoice.invoice_id, detail)
        return invoice

    def _seller(self) -> dict[str, str]:
        config = self._core.config
        return {
            "name": config.company_name,
            "address": config.company_address,
            "country": config.company_country,
            "email": config.company_email,
            "phone": config.company_phone,
            "vat_number": config.company_vat_number,
            "payment_instructions": config.payment_instructions,
        }

    def mark_paid(self, invoice_id: str, method: str) -> dict[str, Any]:
        """Finalises a draft and records the payment of what is open. Paid already: nothing; void: Conflict."""
        plain(method, "payment method", limit=64)

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            invoice = self._finalized(db, self._found(db, invoice_id), now)
            if invoice.status in ("void", "uncollectible"):
                raise Conflict(f"invoice {invoice.number} is {invoice.status}", hint="generate a new one")
            rest = invoice.total_minor - invoice.paid_minor
            if invoice.status == "paid" or rest <= 0:
                return
            invoices.add_payment(db, invoice.id, rest, invoice.currency, method, now)
            invoices.save(db, invoice._replace(status="paid", paid_minor=invoice.total_minor, updated_at=now))
            detail = {"amount_minor": rest, "currency": invoice.currency, "method": method}
            self._core.audit(db, now, "invoice.mark_paid", invoice.invoice_id, detail)

        self._core.write(job)
        return self.show(invoice_id)

    def void(self, invoice_id: str) -> dict[str, Any]:
        """Voids a finalised invoice that nothing was paid on; its period can be billed anew. Void already: nothing."""

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            invoice = self._found(db, invoice_id)
            if invoice.status == "void":
                return
            if invoice.status == "draft":
                raise Conflict(f"invoice {invoice_id} is a draft", hint="a draft is brought up to date, not voided")
            if invoice.paid_minor:
                raise Conflict(f"invoice {invoice.number} has a payment", hint="it needs a credit note")
            invoices.save(db, invoice._replace(status="void", updated_at=now))
            self._core.audit(db, now, "invoice.void", invoice.invoice_id, {"number": invoice.number})

        self._core.write(job)
        return self.show(invoice_id)

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
            "breakdown": [_shown_line(_row(number, line), charged.currency) for number, line in charged.lines],
        }

    def calculate_tax(self, customer_id: str, amount: object) -> dict[str, Any]:
        """``{tax_rate, tax_amount, taxable_amount, currency, reason}`` of an amount in currency units."""
        db, row, _ = self._accounts.view(customer_id)
        profile = customers.profile(db, row.id) if row else {}
        currency = profile.get("currency") or self._accounts.plan_of(db, row).currency
        minor = parse_amount(amount, currency)
        if minor < 0:
            raise BadInput(f"amount {amount!s:.60} is below 0", hint="give what is to be taxed")
        return self._taxes.quote(profile, minor, currency)

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
        for name in ("subtotal", "discount", "tax", "total", "paid"):
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
            }
            for tax in invoices.taxes(db, invoice.id)
        ]
        result["payments"] = [
            {"amount": format_amount(minor, code), "currency": code, "method": method, "paid_at": format_time(at)}
            for minor, code, method, at in invoices.payments(db, invoice.id)
        ]
        return result

    def _found(self, db: sqlite3.Connection, invoice_id: str) -> InvoiceRow:
        invoice = invoices.find(db, plain(invoice_id, "invoice"))
        if invoice is None:
            raise NotFound(f"there is no invoice {invoice_id!r:.80}", hint="nbilling invoice list shows them")
        return invoice


def _discounted(db: sqlite3.Connection, invoice: InvoiceRow, lines: list[LineRow]) -> tuple[list[LineRow], int]:
    """The lines with their shares of the invoice's discounts, and what these take in all."""
    held = discounts.on_invoice(db, invoice.id)
    if not held:
        return lines, 0
    names = {meter.id: meter.name for meter in usage.meters(db)}
    seen = [
        DiscountLine(line.amount_minor, names.get(line.meter, ""), plans.version(db, line.plan).plan_id, line.kind)
        for line in lines
    ]
    applied = apply(seen, [read_definition(found.definition) for found in held])
    taken = [sum(shares[place] for shares in applied.shares) for place in range(len(held))]
    discounts.set_amounts(db, invoice.id, taken)
    shared = [line._replace(discount_minor=sum(shares)) for line, shares in zip(lines, applied.shares, strict=True)]
    return shared, applied.total_minor


def _date(text: str) -> Any:
    from datetime import date

    try:
        return date.fromisoformat(text if len(text) == 10 else "")
    except (ValueError, TypeError):
        raise BadInput(f"{text!r:.40} is not a date", hint="write it as 2026-01-31") from None


def _row(period: int, line: Line) -> LineRow:
    return LineRow(
        kind=line.kind, description=line.description, detail=line.detail, meter=line.meter, period=period,
        plan=line.plan, start_day=line.start_day, end_day=line.end_day, usage=str(line.usage),
        included="" if line.included is None else str(line.included), quantity=str(line.quantity), unit=line.unit,
        unit_price=line.unit_price, amount_minor=line.amount_minor,
    )  # fmt: skip


def _shown_line(line: LineRow, currency: str) -> dict[str, Any]:
    from decimal import Decimal

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
