"""Drafts: made for a period or for once, and brought up to date until they are finalised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbilling.engine.charges import Charges
from nbilling.engine.core import Core
from nbilling.engine.discounts import Discounts, read_definition
from nbilling.engine.taxes import Taxes
from nbilling.model.identity import new_id
from nbilling.rules.discounts import DiscountLine, apply
from nbilling.rules.invoices import Line
from nbilling.store import customers, discounts, invoices, plans, subscriptions, usage
from nbilling.store.customers import CustomerRow
from nbilling.store.invoices import InvoiceRow, LineRow
from nbilling.store.subscriptions import PeriodRow

if TYPE_CHECKING:
    import sqlite3

PERIOD_REASON = "period"


class Drafts:
    """Writes drafts inside the jobs of others. A finalised invoice is returned as it is."""

    def __init__(self, core: Core, charges: Charges, taxes: Taxes, codes: Discounts) -> None:
        self._core = core
        self._charges = charges
        self._taxes = taxes
        self.codes = codes

    def of_period(self, db: sqlite3.Connection, row: CustomerRow, period: PeriodRow, now: int) -> InvoiceRow:
        """The invoice of a period: a new draft, the draft brought up to date, or what was finalised."""
        invoice = self.placed(db, row, period, now)
        return self.refreshed(db, row, invoice, now) if invoice.status == "draft" else invoice

    def placed(self, db: sqlite3.Connection, row: CustomerRow, period: PeriodRow, now: int) -> InvoiceRow:
        """The invoice of a period as it is, or a new draft without lines: for those who finalise it at once."""
        invoice = invoices.of_period(db, period.subscription, period.id, PERIOD_REASON)
        if invoice is None:
            invoice = invoices.get(db, invoices.insert(db, _empty(row, period, now)))
            self.codes.carry_on(db, invoice)
        return invoice

    def one_off(self, db: sqlite3.Connection, row: CustomerRow, now: int) -> InvoiceRow:
        """A draft of no period, without lines."""
        number = invoices.insert(db, _empty(row, subscriptions.period(db, row.period), now, reason=""))
        return self.refreshed(db, row, invoices.get(db, number), now)

    def refreshed(self, db: sqlite3.Connection, row: CustomerRow, invoice: InvoiceRow, now: int) -> InvoiceRow:
        """The draft with its lines and taxes as the ledger has them now."""
        period = subscriptions.period(db, invoice.period)
        currency, lines = self._lines(db, row, invoice, period, now)
        lines, discount = _discounted(db, invoice, lines)
        taxes = self._taxes.of_lines(db, row.id, customers.profile(db, row.id), lines)
        tax = sum(rate.tax_minor for rate in taxes)
        # Lines that contain their tax are gross; the subtotal is always before tax.
        subtotal = sum(line.amount_minor for line in lines) - sum(rate.tax_minor for rate in taxes if rate.inclusive)
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
            currency, lines = charged.currency, [line_row(number, line) for number, line in charged.lines]
        for description, quantity, unit_price, amount in discounts.manual_lines(db, invoice.id):
            lines.append(
                LineRow(
                    kind="manual", description=description, detail="", meter=0, period=period.id, plan=held.plan,
                    start_day=period.start_day, end_day=period.end_day, usage="", included="", quantity=quantity,
                    unit="", unit_price=unit_price, amount_minor=amount,
                )
            )  # fmt: skip
        return currency, lines


def _empty(row: CustomerRow, period: PeriodRow, now: int, reason: str = PERIOD_REASON) -> InvoiceRow:
    invoice_id = new_id("inv", now)
    return InvoiceRow(
        id=0, invoice_id=invoice_id, customer=row.id, subscription=period.subscription, period=period.id,
        reason=reason or f"one_off:{invoice_id}", status="draft", number="", currency="USD",
        subtotal_minor=0, discount_minor=0, tax_minor=0, total_minor=0, paid_minor=0,
        start_day=period.start_day, end_day=period.end_day, start_at=period.start_at, end_at=period.end_at,
        through_seq=0, through_at=0, seller="{}", buyer="{}", notes="",
        created_at=now, updated_at=now, finalized_at=0, due_at=0,
    )  # fmt: skip


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


def line_row(period: int, line: Line) -> LineRow:
    """A line as it is stored."""
    return LineRow(
        kind=line.kind, description=line.description, detail=line.detail, meter=line.meter, period=period,
        plan=line.plan, start_day=line.start_day, end_day=line.end_day, usage=str(line.usage),
        included="" if line.included is None else str(line.included), quantity=str(line.quantity), unit=line.unit,
        unit_price=line.unit_price, amount_minor=line.amount_minor, seats=line.seats,
    )  # fmt: skip
