"""Invoices: from draft to paid. Asking for a period's invoice again returns the one that is there."""

from __future__ import annotations

import json
from datetime import date
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from nbilling.engine.accounts import Accounts
from nbilling.engine.charges import Charges
from nbilling.engine.core import Core
from nbilling.engine.invoice_drafts import PERIOD_REASON, Drafts
from nbilling.engine.invoice_reports import InvoiceReports, found_invoice
from nbilling.engine.taxes import Taxes
from nbilling.model.errors import BadInput, Conflict
from nbilling.model.money import check_minor, format_decimal, parse_amount, parse_decimal, round_half_away
from nbilling.model.money import currency as currency_of
from nbilling.model.periods import Interval, day_start, local_day, to_date, to_day
from nbilling.model.text import choice, plain
from nbilling.store import credits, customers, discounts, invoices, plans, subscriptions
from nbilling.store.customers import CustomerRow
from nbilling.store.invoices import InvoiceRow
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


class Invoices(InvoiceReports):
    """A draft is brought up to date until it is finalised; from then on its lines never change."""

    def __init__(self, core: Core, accounts: Accounts, charges: Charges, taxes: Taxes, drafts: Drafts) -> None:
        super().__init__(core, accounts, charges, taxes)
        self._drafts = drafts

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
            return self._drafts.of_period(db, row, found, now).invoice_id

        return self._core.write(job)

    def _check_interval(self, db: sqlite3.Connection, period: PeriodRow, word: str) -> None:
        interval = self._accounts.interval(subscriptions.get(db, period.subscription))
        if interval != PERIODS[word]:
            name = next((key for key, value in PERIODS.items() if value == interval), None)
            actual = name or f"every {interval.times} {interval.unit}s"
            raise Conflict(f"this subscription is billed {actual}, not {word}", hint=f"use {actual}")

    def create(self, customer_id: str) -> str:
        """A one-off draft without lines, whatever else the customer is billed for. Returns its id."""

        def job(db: sqlite3.Connection) -> str:
            now = self._core.now(db)
            row = self._accounts.ensure(db, customer_id, now)
            return self._drafts.one_off(db, row, now).invoice_id

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
            self._drafts.refreshed(db, customers.get(db, invoice.customer), invoice, now)
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
            self._drafts.codes.put_on(db, invoice, code, plan.plan_id, now)
            self._discounted(db, invoice, now, {"code": code})

        self._core.write(job)
        return self.show(invoice_id)

    def apply_discount_percentage(self, invoice_id: str, percentage: object) -> dict[str, Any]:
        """Takes a percentage, 0 to 100, off a draft, of what the discounts before it have left."""

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            invoice = self._draft_found(db, invoice_id)
            self._drafts.codes.put_percentage_on(db, invoice, percentage)
            self._discounted(db, invoice, now, {"percentage": str(percentage)})

        self._core.write(job)
        return self.show(invoice_id)

    def _discounted(self, db: sqlite3.Connection, invoice: InvoiceRow, now: int, detail: dict[str, Any]) -> None:
        self._drafts.refreshed(db, customers.get(db, invoice.customer), invoice, now)
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

    def close(self, db: sqlite3.Connection, row: CustomerRow, period: PeriodRow, now: int) -> InvoiceRow:
        """Finalises the invoice of a period, inside a job of the billing run."""
        return self._finalized(db, self._drafts.placed(db, row, period, now), now)

    def fixed(self, db: sqlite3.Connection, invoice: InvoiceRow, now: int) -> InvoiceRow:
        """Finalises a draft inside the job of another use case; any other invoice is returned as it is."""
        return self._finalized(db, invoice, now)

    def _finalized(self, db: sqlite3.Connection, invoice: InvoiceRow, now: int) -> InvoiceRow:
        if invoice.status != "draft":
            return invoice
        row = customers.get(db, invoice.customer)
        invoice = self._drafts.refreshed(db, row, invoice, now)
        today = to_date(local_day(row.zone, now))
        config = self._core.config
        number = f"{config.invoice_number_prefix}-{today.year}-" + (
            f"{invoices.next_number(db, config.invoice_number_prefix, today.year):06d}"
        )
        due = day_start(row.zone, to_day(today) + config.invoice_due_days)
        # Below zero it is the seller who owes: the customer's balance grows by it.
        applied = min(credits.balance(db, row.id, invoice.currency), invoice.total_minor)
        invoice = invoice._replace(
            status="open" if invoice.total_minor > applied else "paid", applied_minor=applied,
            number=number, finalized_at=now, due_at=due,
            updated_at=now, seller=json.dumps(self._seller()), buyer=json.dumps(customers.profile(db, row.id)),
            notes=config.invoice_notes,
        )  # fmt: skip
        invoices.save(db, invoice)
        if applied:
            reason = f"applied to invoice {number}" if applied > 0 else f"invoice {number} is below zero"
            credits.move(db, row.id, invoice.currency, -applied, reason, now, invoice=invoice.id)
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
            if invoice.status != "paid":
                self._paid(db, invoice, invoice.open_minor, method, now)

        self._core.write(job)
        return self.show(invoice_id)

    def record_payment(self, invoice_id: str, amount: object, method: str) -> dict[str, Any]:
        """Records that a part of what is open was paid; all of it makes the invoice paid. More than that: Conflict."""
        plain(method, "payment method", limit=64)

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            invoice = found_invoice(db, invoice_id)
            if invoice.status not in ("open", "part_paid"):
                raise Conflict(f"invoice {invoice_id} is {invoice.status}", hint="nothing is open on it")
            minor = parse_amount(amount, invoice.currency)
            if minor <= 0:
                raise BadInput("a payment must be above 0", hint="give the amount that was paid")
            if minor > invoice.open_minor:
                raise Conflict("that is more than is open on the invoice", hint="record what belongs to it")
            self._paid(db, invoice, minor, method, now)

        self._core.write(job)
        return self.show(invoice_id)

    def _paid(self, db: sqlite3.Connection, invoice: InvoiceRow, minor: int, method: str, now: int) -> None:
        invoices.add_payment(db, invoice.id, minor, invoice.currency, method, now)
        paid = invoice._replace(paid_minor=invoice.paid_minor + minor, updated_at=now)
        invoices.save(db, paid._replace(status="part_paid" if paid.open_minor else "paid"))
        detail = {"amount_minor": minor, "currency": invoice.currency, "method": method}
        self._core.audit(db, now, "invoice.payment", invoice.invoice_id, detail)

    def void(self, invoice_id: str) -> dict[str, Any]:
        """Voids a finalised invoice that nothing was paid on; its period can be billed anew. Void already: nothing."""

        def job(db: sqlite3.Connection) -> None:
            now = self._core.now(db)
            invoice = self._found(db, invoice_id)
            if invoice.status == "void":
                return
            if invoice.status == "draft":
                raise Conflict(f"invoice {invoice_id} is a draft", hint="a draft is brought up to date, not voided")
            if invoice.paid_minor or invoice.credited_minor:
                raise Conflict(f"invoice {invoice.number} is paid or credited in part", hint="credit the rest")
            self._check_last_word(db, invoice)
            if -invoice.applied_minor > credits.balance(db, invoice.customer, invoice.currency):
                raise Conflict(f"what invoice {invoice.number} gave back is spent", hint="charge it on a new invoice")
            if invoice.applied_minor:
                reason = f"invoice {invoice.number} was voided"
                credits.move(
                    db, invoice.customer, invoice.currency, invoice.applied_minor, reason, now, invoice=invoice.id
                )
            invoices.save(db, invoice._replace(status="void", applied_minor=0, updated_at=now))
            self._core.audit(db, now, "invoice.void", invoice.invoice_id, {"number": invoice.number})

        self._core.write(job)
        return self.show(invoice_id)

    @staticmethod
    def _check_last_word(db: sqlite3.Connection, invoice: InvoiceRow) -> None:
        """What comes late is charged as the difference to the invoices before, so these must stand while it does."""
        periods = {line.period for line in invoices.lines(db, invoice.id) if line.kind in ("late_usage", "fee_change")}
        if invoice.reason == PERIOD_REASON:
            periods.add(invoice.period)
        for period in sorted(periods):
            standing = invoices.billed_of_period(db, period)
            after = standing[standing.index(invoice) + 1 :] if invoice in standing else []
            for later in after:
                rest = [line for line in invoices.lines(db, later.id) if line.kind in ("late_usage", "fee_change")]
                if any(line.period == period for line in rest):
                    raise Conflict(
                        f"invoice {later.number} charges what came late to {invoice.number}",
                        hint=f"void {later.number} first, or credit {invoice.number}",
                    )


def _date(text: str) -> date:
    try:
        found = date.fromisoformat(text if isinstance(text, str) and len(text) == 10 else "")
    except ValueError:
        found = date.min
    if found.year < 1970:
        raise BadInput(f"{text!r:.40} is not a date", hint="write it as 2026-01-31, from 1970 on")
    return found
