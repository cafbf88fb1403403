"""An invoice as the values that its document shows: parties, lines, taxes, and the usage of its period by day."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from nbilling.engine.core import Core
from nbilling.model.documents import (
    TAX_REASONS,
    DiscountLine,
    DocumentLine,
    InvoiceDocument,
    Party,
    TaxLine,
    UsageSeries,
)
from nbilling.model.money import currency as currency_of
from nbilling.model.money import round_half_away
from nbilling.model.periods import local_day, to_date
from nbilling.rules.line_texts import (
    LineTexts,
    decimal_text,
    fee_detail,
    meter_label,
    texts_for,
    unit_label,
    usage_detail,
)
from nbilling.store import customers, discounts, invoices, plans, subscriptions, usage
from nbilling.store.customers import CustomerRow
from nbilling.store.discounts import InvoiceDiscountRow
from nbilling.store.invoices import InvoiceRow
from nbilling.store.usage import DAILY

if TYPE_CHECKING:
    import sqlite3

GIB = 2**30
MAX_CHART_DAYS = 400


class InvoiceDocuments:
    """Reads an invoice and turns it into an :class:`InvoiceDocument`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def of(self, invoice: InvoiceRow) -> InvoiceDocument:
        """A draft shows seller and buyer as they are now, a finalised invoice as they were then."""
        db, config = self._core.read(), self._core.config
        row = customers.get(db, invoice.customer)
        draft = invoice.status == "draft"
        profile = customers.profile(db, row.id) if draft else json.loads(invoice.buyer)
        seller = {} if draft else json.loads(invoice.seller)
        texts = texts_for(profile["locale"])
        paid = [at for _, _, _, at in invoices.payments(db, invoice.id)]
        taxes = invoices.taxes(db, invoice.id)
        return InvoiceDocument(
            status=_status(invoice, self._core.now(db)),
            number=invoice.number or None,
            issue_date=to_date(local_day(row.zone, invoice.finalized_at or invoice.created_at)),
            due_date=to_date(local_day(row.zone, invoice.due_at)) if invoice.due_at else None,
            paid_on=to_date(local_day(row.zone, paid[-1])) if invoice.status == "paid" and paid else None,
            period_start=to_date(invoice.start_day),
            period_end=to_date(invoice.end_day),
            seller=self._seller(seller),
            buyer=_buyer(profile, row.customer_id),
            buyer_reference=profile["buyer_reference"],
            currency=invoice.currency,
            currency_exponent=currency_of(invoice.currency).exponent,
            lines=tuple(self._line(db, line, texts) for line in invoices.lines(db, invoice.id)),
            discounts=tuple(
                DiscountLine(_discount_label(found, texts), found.amount_minor)
                for found in discounts.on_invoice(db, invoice.id)
            ),
            # What the lines add up to: where prices contain their tax, with it.
            subtotal_minor=invoice.subtotal_minor + sum(tax.tax_minor for tax in taxes if tax.inclusive),
            taxes=tuple(
                TaxLine(
                    label=tax.label,
                    taxable_minor=tax.taxable_minor,
                    tax_minor=tax.tax_minor,
                    rate_percent=Decimal(tax.rate) if tax.tax_minor or tax.reason == "rated" else None,
                    reason=tax.reason if tax.reason in TAX_REASONS else "",  # type: ignore[arg-type]
                )
                for tax in taxes
            ),
            tax_minor=invoice.tax_minor,
            prices_include_tax=any(tax.inclusive for tax in taxes),
            total_minor=invoice.total_minor,
            credit_applied_minor=invoice.applied_minor + invoice.credited_minor,
            paid_minor=invoice.paid_minor,
            balance_minor=0 if invoice.status == "void" else invoice.open_minor,
            payment_terms="",
            payment_means_markdown=seller.get("payment_instructions", config.payment_instructions),
            notes_markdown=config.invoice_notes if draft else invoice.notes,
            locale=profile["locale"],
            page_size=config.page_size,  # type: ignore[arg-type]
            usage=tuple(self._usage(db, row, invoice, texts)),
        )

    def _line(self, db: sqlite3.Connection, line: invoices.LineRow, texts: LineTexts) -> DocumentLine:
        description, detail = self._texts(db, line, texts)
        return DocumentLine(
            description=description,
            detail=detail,
            amount_minor=line.amount_minor,
            quantity=_decimal(Fraction(line.quantity), 6),
            unit=unit_label(line.unit, texts),
            unit_price=Decimal(line.unit_price) if line.unit_price else None,
            period_start=to_date(line.start_day),
            period_end=to_date(line.end_day),
        )

    def _texts(self, db: sqlite3.Connection, line: invoices.LineRow, texts: LineTexts) -> tuple[str, str]:
        """Description and detail in the customer's language, from the same figures as the stored ones."""
        if line.kind in ("fee", "fee_change"):
            plan = plans.version(db, line.plan)
            name = texts.fee.format(plan=plan.name)
            if line.kind == "fee_change":
                return (texts.unused if line.amount_minor < 0 else texts.changed).format(fee=name), line.detail
            share = Fraction(line.quantity) / (line.seats or 1)
            return name, fee_detail(line.start_day, line.end_day, share, line.seats, texts)
        if line.kind == "manual":
            return line.description, line.detail
        meter = self._core.meter_by_id(db, line.meter)
        price = plans.prices(db, line.plan).get(line.meter)
        name = meter_label(meter.name, texts)
        if line.kind == "late_usage":
            first, last = to_date(line.start_day), to_date(line.end_day - 1)
            held = subscriptions.get(db, subscriptions.period(db, line.period).subscription)
            text = texts.past if held.fee_timing == "advance" else texts.late
            name = text.format(name=name, first=first, last=last)
        included = Fraction(line.included) if line.included else None
        detail = usage_detail(
            Fraction(line.usage),
            included,
            meter.unit,
            meter.scale,
            gauge=meter.aggregation == "time_weighted",
            allowance=price.allowance if price else "limit",
            texts=texts,
        )
        return name, detail

    def _seller(self, stored: dict[str, Any]) -> Party:
        config = self._core.config

        def value(name: str) -> str:
            return str(stored.get(name, getattr(config, f"company_{name}")))

        vat = value("vat_number")
        return Party(
            name=value("name") or "—",
            lines=tuple(line for line in value("address").splitlines() if line),
            email=value("email"),
            phone=value("phone"),
            tax_ids=(("VAT", vat),) if vat else (),
            country=value("country"),
        )

    @staticmethod
    def _usage(db: sqlite3.Connection, row: CustomerRow, invoice: InvoiceRow, texts: LineTexts) -> list[UsageSeries]:
        """One chart for each meter with usage in the period; gauges are not drawn, their bars would not add up."""
        if invoice.end_day - invoice.start_day > MAX_CHART_DAYS:
            return []
        meters = {meter.id: meter for meter in usage.meters(db)}
        found: dict[int, dict[int, int]] = {}
        for day, meter, amount, _ in usage.series(db, DAILY, invoice.start_day, invoice.end_day, row.id):
            found.setdefault(meter, {})[day] = amount
        series = []
        for number in sorted(found):
            meter_row = meters[number]
            divisor, unit = 10**meter_row.scale, meter_row.unit
            if unit == "bytes":
                divisor, unit = GIB, "GB"
            points = [
                (to_date(day), _decimal(Fraction(found[number].get(day, 0), divisor), 6))
                for day in range(invoice.start_day, invoice.end_day)
            ]
            series.append(
                UsageSeries(
                    title=meter_label(meter_row.name, texts), unit=unit_label(unit, texts), points=tuple(points)
                )
            )
        return series


def _status(invoice: InvoiceRow, now: int) -> Any:
    overdue = invoice.status in ("open", "part_paid") and invoice.due_at and invoice.due_at <= now
    return "overdue" if overdue else invoice.status


def _buyer(profile: dict[str, Any], customer_id: str) -> Party:
    town = " ".join(part for part in (profile["postal_code"], profile["city"]) if part)
    person = profile["name"] if profile["company"] else ""
    lines = (person, profile["address_line1"], profile["address_line2"], town, profile["region"])
    return Party(
        name=profile["company"] or profile["name"] or customer_id,
        lines=tuple(line for line in lines if line),
        email=profile["email"],
        phone=profile["phone"],
        tax_ids=(("VAT", profile["vat_number"]),) if profile["vat_number"] else (),
        country=profile["country"],
    )


def _discount_label(found: InvoiceDiscountRow, texts: LineTexts) -> str:
    """The code, or the percentage that was given by hand."""
    label = found.label
    if not found.discount:
        label = f"{decimal_text(Fraction(label.removesuffix(' %')), 6, texts)} %"
    return texts.discount.format(label=label)


def _decimal(value: Fraction, places: int) -> Decimal:
    return Decimal(round_half_away(value * 10**places)).scaleb(-places).normalize()
