"""Verifies invoices: sums, discounts, taxes, numbers, and what the audit trail says of each."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

from nbilling.engine.discounts import read_definition
from nbilling.engine.invoice_drafts import PERIOD_REASON
from nbilling.engine.verify_billed import BilledCheck
from nbilling.engine.verify_context import Context, date, moment
from nbilling.engine.verify_credits import CreditsCheck
from nbilling.engine.verify_lines import LinesCheck
from nbilling.engine.verify_plans import PlanBook
from nbilling.model.money import currency as currency_of
from nbilling.model.money import format_decimal, round_half_away
from nbilling.model.periods import day_start, local_day, to_date
from nbilling.rules.discounts import DiscountLine, apply
from nbilling.rules.tax import TaxRate, tax_totals
from nbilling.rules.verify import gaps, standing_status
from nbilling.store import discounts, invoices
from nbilling.store import verify as store
from nbilling.store import verify_billing as billing_store
from nbilling.store.invoices import InvoiceRow, LineRow
from nbilling.store.verify_billing import Trail

_STEP = 500
"""Invoices between two reports of progress."""
_FOREVER = 2**63
_CATEGORIES = {"exempt": "E", "reverse_charge": "AE", "outside_scope": "O"}
"""By reason, the category of a tax of nothing (UNCL 5305). Rates of 0 that the seller has set up have their own."""
_TABLE = "invoice_records"


class InvoicesCheck:
    """Invoice by invoice; of the audit trail it holds a few numbers for each."""

    def __init__(self, context: Context, book: PlanBook) -> None:
        self._context = context
        self._db = context.db
        self._book = book
        self._finalised: dict[str, Trail] = {}
        self._voided: set[str] = set()
        self._settled: dict[str, list[Trail]] = {}
        self._standing: dict[str, tuple[int, int]] = {}
        self._through: list[tuple[int, int, str]] = []
        self._lines = LinesCheck(context, book, self._standing)
        self._billed = BilledCheck(context, book, self._lines)
        self._credits = CreditsCheck(context)
        self._last_seq = 0

    def run(self) -> None:
        """Compares everything."""
        context = self._context
        self._last_seq = store.count(self._db, "events")
        self._read_trail()
        self._numbers()
        total = store.count(self._db, _TABLE)
        for done, invoice in enumerate(billing_store.invoices(self._db, context.since)):
            if done % _STEP == 0:
                context.tell("invoices", done, total)
            context.counted("invoices")
            key = f"{context.customer(invoice.customer)}, invoice {invoice.number or invoice.invoice_id}"
            with context.unit(_TABLE, key):
                self._check(key, invoice)
        self._order()
        self._credits.balances()
        for customer_id, code, name in billing_store.redemptions_elsewhere(self._db):
            key = f"{customer_id}, {code}"
            context.wrong("redemptions", f"{key}, {name}", "taken by the customer of an invoice with it", "not so")
        for name, position, right, found in billing_store.changed_discounts(self._db):
            context.wrong("invoice_discounts", f"invoice {name}, discount {position}", right, found)
        if self._lines.unsure:
            context.not_checked.append(
                f"what {self._lines.unsure:,} lines include against limits: these customers have limits of their own"
            )

    # --- The audit trail and numbers ------------------------------------------------------------------------------

    def _read_trail(self) -> None:
        for seq, missing in store.breaks(self._db, "audit"):
            self._context.wrong("audit", f"number {seq}", f"row {seq - 1} before it", f"{missing} missing")
        for row in billing_store.invoice_trail(self._db):
            invoice = row.subject
            if row.action == "invoice.finalize":
                if invoice in self._finalised:
                    self._context.wrong("audit", f"invoice {invoice}", "finalised once", "twice")
                self._finalised[invoice] = row
                self._standing[invoice] = row.seq, _FOREVER
            elif row.action == "invoice.void":
                self._voided.add(invoice)
                self._standing[invoice] = self._standing.get(invoice, (0, 0))[0], row.seq
            else:
                self._settled.setdefault(invoice, []).append(row)
        for invoice in sorted(self._finalised.keys() | self._voided | self._settled.keys()):
            if invoices.find(self._db, invoice) is None:
                self._context.wrong(_TABLE, f"invoice {invoice}", "a row, by the audit trail", "no row")

    def _numbers(self) -> None:
        """In each series and year the numbers run from 1 to the last one given."""
        given: dict[tuple[str, int], set[int]] = {}
        for number, document in billing_store.numbers(self._db):
            with self._context.unit(_TABLE, f"{document}, number"):
                series, year, place = number.rsplit("-", 2)
                given.setdefault((series, int(year)), set()).add(int(place))
                if number != f"{series}-{int(year)}-{int(place):06d}":
                    raise ValueError(number)
        last = billing_store.number_series(self._db)
        for series_and_year in sorted(given.keys() | last.keys()):
            numbers, end = given.get(series_and_year, set()), last.get(series_and_year, 0)
            key = f"{series_and_year[0]}-{series_and_year[1]}"
            if max(numbers, default=0) > end or not numbers:
                self._context.wrong("number_series", key, f"last {max(numbers, default=0)}", f"last {end}")
            for first, until in gaps(numbers, min(end, max(numbers, default=0) + 1000))[:100]:
                self._context.wrong(_TABLE, key, f"numbers {first} to {until}", "none")

    def _order(self) -> None:
        """In the order in which invoices were finalised, each holds the events of the one before, and no more than
        there are."""
        before = 0
        for _, through, key in sorted(self._through):
            if not before <= through <= self._last_seq:
                self._context.wrong(_TABLE, f"{key}, through_seq", f"{before} to {self._last_seq}", through)
            before = max(before, min(through, self._last_seq))

    # --- One invoice ----------------------------------------------------------------------------------------------

    def _check(self, key: str, invoice: InvoiceRow) -> None:
        lines = invoices.lines(self._db, invoice.id)
        for table in ("invoice_lines", "invoice_taxes", "invoice_discounts"):
            found = billing_store.positions(self._db, table, invoice.id)
            self._context.equal(table, f"{key}, positions", list(range(1, len(found) + 1)), found)
        self._sums(key, invoice, lines)
        self._discounts(key, invoice, lines)
        self._taxes(key, invoice, lines)
        self._by_hand(key, invoice, lines)
        self._credits.check(key, invoice, lines, self._settled.get(invoice.invoice_id, []))
        self._header(key, invoice)
        if invoice.status == "draft":
            self._draft(key, invoice)
        else:
            self._issued(key, invoice)
            self._content(key, invoice, lines)

    def _sums(self, key: str, invoice: InvoiceRow, lines: list[LineRow]) -> None:
        """Lines that contain their tax are gross; the subtotal is before tax."""
        equal, taxes = self._context.equal, invoices.taxes(self._db, invoice.id)
        subtotal = sum(line.amount_minor for line in lines) - sum(tax.tax_minor for tax in taxes if tax.inclusive)
        equal(_TABLE, f"{key}, subtotal_minor", subtotal, invoice.subtotal_minor)
        equal(_TABLE, f"{key}, discount_minor", sum(line.discount_minor for line in lines), invoice.discount_minor)
        equal(_TABLE, f"{key}, tax_minor", sum(tax.tax_minor for tax in taxes), invoice.tax_minor)
        total = invoice.subtotal_minor - invoice.discount_minor + invoice.tax_minor
        equal(_TABLE, f"{key}, total_minor", total, invoice.total_minor)

    def _discounts(self, key: str, invoice: InvoiceRow, lines: list[LineRow]) -> None:
        """Discounts applied again give the same shares, line by line."""
        held = discounts.on_invoice(self._db, invoice.id)
        with self._context.unit("invoice_discounts", key):
            seen = [
                DiscountLine(
                    line.amount_minor,
                    self._context.meters[line.meter].name if line.meter else "",
                    self._book.plan(line.plan).plan_id,
                    line.kind,
                )
                for line in lines
            ]
            read = [read_definition(found.definition) for found in held]
            for found, definition in zip(held, read, strict=True):
                by_hand = f"#{found.position}", f"{format_decimal(definition.value)} %"
                if not found.discount and (definition.code, found.label) != by_hand:
                    name = f"{key}, discount {found.position} by hand"
                    self._context.wrong("invoice_discounts", name, by_hand, (definition.code, found.label))
            applied = apply(seen, read)
            for place, found in enumerate(held):
                right = sum(shares[place] for shares in applied.shares)
                self._context.equal("invoice_discounts", f"{key}, {found.label}", right, found.amount_minor)
            for position, (line, shares) in enumerate(zip(lines, applied.shares, strict=True), 1):
                name = f"{key}, line {position}, discount_minor"
                self._context.equal("invoice_lines", name, sum(shares), line.discount_minor)

    def _taxes(self, key: str, invoice: InvoiceRow, lines: list[LineRow]) -> None:
        """Every line bears every rate: each is taken, and rounded once, on all that is left after discounts."""
        taxes = invoices.taxes(self._db, invoice.id)
        with self._context.unit("invoice_taxes", key):
            rates = [
                # The region tells two rates of one label and percentage apart.
                TaxRate(tax.label, tax.rate, tax.category, region=str(place), inclusive=bool(tax.inclusive))
                for place, tax in enumerate(taxes)
            ]
            totals = tax_totals((line.amount_minor - line.discount_minor, rates) for line in lines) if lines else ()
            for tax, right in zip(taxes, totals, strict=bool(lines)):
                name = f"{key}, {tax.label} {tax.rate} %"
                self._context.equal("invoice_taxes", f"{name}, taxable_minor", right.taxable_minor, tax.taxable_minor)
                self._context.equal("invoice_taxes", f"{name}, tax_minor", right.tax_minor, tax.tax_minor)
                if not _is_reason(tax.reason, tax.category, any(rate.percent for rate in rates)):
                    found = f"{tax.reason}, {tax.category}"
                    self._context.wrong("invoice_taxes", f"{name}, reason", "one that fits rate and category", found)

    def _by_hand(self, key: str, invoice: InvoiceRow, lines: list[LineRow]) -> None:
        """Lines that somebody wrote are on the invoice as they were written."""
        written = discounts.manual_lines(self._db, invoice.id)
        there = [
            (line.description, line.quantity, line.unit_price, line.amount_minor)
            for line in lines
            if line.kind == "manual"
        ]
        if written != there:
            self._context.wrong("invoice_lines", f"{key}, lines written by hand", written, there)
        factor = 10 ** currency_of(invoice.currency).exponent
        for description, quantity, unit_price, amount in written:
            right = round_half_away(Fraction(unit_price) * Fraction(quantity) * factor)
            self._context.equal("manual_lines", f"{key}, {description!r:.60}", right, amount)

    def _header(self, key: str, invoice: InvoiceRow) -> None:
        """Whose the invoice is and what for."""
        context, zone = self._context, self._context.zone(invoice.customer)
        if invoice.reason not in (PERIOD_REASON, f"one_off:{invoice.invoice_id}"):
            context.wrong(_TABLE, f"{key}, reason", f"{PERIOD_REASON}, or one_off: and its id", invoice.reason)
        period = billing_store.period(self._db, invoice.period)
        held = billing_store.subscription(self._db, invoice.subscription)
        for what, owner in (("period", period and period[0].customer), ("subscription", held and held.customer)):
            if owner != invoice.customer:
                context.wrong(_TABLE, f"{key}, {what}", "the customer's own", "another's")
        if period is not None:
            context.equal(_TABLE, f"{key}, start_day", date(period[0].start_day), date(invoice.start_day))
        context.equal(_TABLE, f"{key}, start_at", moment(day_start(zone, invoice.start_day)), moment(invoice.start_at))
        context.equal(_TABLE, f"{key}, end_at", moment(day_start(zone, invoice.end_day)), moment(invoice.end_at))

    def _draft(self, key: str, invoice: InvoiceRow) -> None:
        for name in ("number", "finalized_at", "due_at"):
            if getattr(invoice, name):
                self._context.wrong(_TABLE, f"{key}, {name} of a draft", "none", getattr(invoice, name))
        if invoice.invoice_id in self._finalised:
            self._context.wrong(_TABLE, f"{key}, status", "finalised, by the audit trail", "draft")

    def _issued(self, key: str, invoice: InvoiceRow) -> None:
        """A finalised invoice is as the audit trail says, and its number, dates and status fit."""
        context, zone = self._context, self._context.zone(invoice.customer)
        context.equal(
            _TABLE,
            f"{key}, status",
            standing_status(invoice.status, invoice.open_minor, invoice.paid_minor),
            invoice.status,
        )
        if (invoice.status == "void") != (invoice.invoice_id in self._voided):
            told = "void" if invoice.invoice_id in self._voided else "not void"
            context.wrong(_TABLE, f"{key}, status", f"{told}, by the audit trail", invoice.status)
        row = self._finalised.get(invoice.invoice_id)
        if row is None:
            context.wrong("audit", key, "a row of when it was finalised", "none")
        else:
            self._through.append((row.seq, invoice.through_seq, key))
            told = json.loads(row.detail) | {"finalized_at": row.at}
            for name in ("number", "total_minor", "currency", "finalized_at"):
                context.equal(_TABLE, f"{key}, {name} by the audit trail", told.get(name), getattr(invoice, name))
        context.equal(_TABLE, f"{key}, through_at", invoice.finalized_at + 1, invoice.through_at)
        today = local_day(zone, invoice.finalized_at)
        due = local_day(zone, invoice.due_at)
        if due < today or day_start(zone, due) != invoice.due_at:
            context.wrong(_TABLE, f"{key}, due_at", "the first instant of a day", moment(invoice.due_at))
        year = invoice.number.rsplit("-", 2)[-2:][0]
        context.equal(_TABLE, f"{key}, year of its number", str(to_date(today).year), year)
        buyer: dict[str, Any] = json.loads(invoice.buyer)
        context.equal(_TABLE, f"{key}, buyer", context.customer(invoice.customer), buyer.get("customer_id"))

    def _content(self, key: str, invoice: InvoiceRow, lines: list[LineRow]) -> None:
        """The lines rated again, and their usage against the ledger."""
        held = billing_store.subscription(self._db, invoice.subscription)
        if held is None:
            return  # its foreign key is broken, and named
        self._lines.check(key, invoice, held, lines)
        parts = self._lines.spans(key, invoice, held, lines) if invoice.reason == PERIOD_REASON else []
        if not parts:
            strange = [line.kind for line in lines if line.kind != "manual"]
            if strange:
                self._context.wrong("invoice_lines", key, "lines written by hand", ", ".join(strange))
        self._billed.check(key, invoice, held, lines, parts)


def _is_reason(reason: str, category: str, charged: bool) -> bool:
    """Whether a tax can have been decided so: rated where something is charged, else by what the category says."""
    if charged or reason == "rated":
        return charged and reason == "rated"
    return _CATEGORIES.get(reason, category if reason == "zero_rated" else "") == category
