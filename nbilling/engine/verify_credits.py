"""Verifies what settles invoices: payments, credit notes, and the balances that customers have to their credit."""

from __future__ import annotations

import json
from typing import NamedTuple

from nbilling.engine.verify_context import Context, moment
from nbilling.model.periods import local_day, to_date
from nbilling.rules.tax import credited_tax
from nbilling.store import credits, invoices
from nbilling.store import verify_billing as billing_store
from nbilling.store.credits import CreditNoteRow
from nbilling.store.invoices import InvoiceRow, LineRow
from nbilling.store.verify_billing import Trail


class _Moved(NamedTuple):
    """What moved on a balance for an invoice or a credit note."""

    customer: int
    currency: str
    amount_minor: int


class CreditsCheck:
    """Invoice by invoice, in the order of the audit trail; then balance by balance."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.db
        self._applied: dict[int, list[_Moved]] = {}
        self._noted: dict[int, list[_Moved]] = {}
        self._below: list[tuple[int, str, int, int]] = []
        self._read_movements()

    def _read_movements(self) -> None:
        place, balance = (0, ""), 0
        for customer, currency, amount, invoice, credit_note, at in billing_store.movements(self._db):
            if (customer, currency) != place:
                place, balance = (customer, currency), 0
            balance += amount
            if balance < 0:
                self._below.append((customer, currency, at, balance))
            moved = _Moved(customer, currency, amount)
            if bool(invoice) == bool(credit_note):
                name = f"{self._context.customer(customer)}, {moment(at)}"
                found = f"invoice {invoice}, credit note {credit_note}"
                self._context.wrong("balance_movements", name, "an invoice or a credit note", found)
            if invoice:
                self._applied.setdefault(invoice, []).append(moved)
            elif credit_note:
                self._noted.setdefault(credit_note, []).append(moved)

    def check(self, key: str, invoice: InvoiceRow, lines: list[LineRow], trail: list[Trail]) -> None:
        """Payments and credit notes of an invoice, with what the audit trail says of them, one after the other."""
        context = self._context
        paid = invoices.payments(self._db, invoice.id)
        notes = credits.of_invoice(self._db, invoice.id)
        context.equal("invoice_records", f"{key}, paid_minor", sum(one[0] for one in paid), invoice.paid_minor)
        credited = sum(note.total_minor for note in notes)
        context.equal("invoice_records", f"{key}, credited_minor", credited, invoice.credited_minor)
        for amount, currency, method, at in paid:
            context.equal("payments", f"{key}, {method} {moment(at)}, currency", invoice.currency, currency)
            if amount <= 0:
                context.wrong("payments", f"{key}, {method} {moment(at)}", "an amount above 0", amount)
        self._moved("invoice_records", f"{key}, applied_minor", invoice, self._applied.pop(invoice.id, []),
                    -invoice.applied_minor)  # fmt: skip
        self._replay(key, invoice, lines, notes, trail)

    def _replay(
        self, key: str, invoice: InvoiceRow, lines: list[LineRow], notes: list[CreditNoteRow], trail: list[Trail]
    ) -> None:
        """What a credit note gives back depends on what had been paid by then."""
        context = self._context
        unmatched = invoices.payments(self._db, invoice.id)
        waiting = list(notes)
        paid = credited = returned = 0
        before: dict[int, int] = {}
        for row in trail:
            with context.unit("audit", f"{key}, number {row.seq}"):
                told = json.loads(row.detail)
                if row.action == "invoice.payment":
                    payment = told["amount_minor"], told["currency"], told["method"], row.at
                    if payment in unmatched:
                        unmatched.remove(payment)
                    else:
                        found = "; ".join(map(_payment, unmatched)) or "none"
                        context.wrong("payments", key, f"{_payment(payment)}, by the audit trail", found)
                    paid += payment[0]
                elif not waiting:
                    context.wrong("credit_notes", key, f"{told['number']}, by the audit trail", "none")
                else:
                    note = waiting.pop(0)
                    self._note(f"{key}, {note.number}", invoice, lines, note, before)
                    self._told(f"{key}, {note.number}", invoice, note, told, row.at)
                    owed = invoice.total_minor - credited - note.total_minor
                    excess = max(0, paid + invoice.applied_minor - owed - returned)
                    context.equal("credit_notes", f"{key}, {note.number}, to_balance_minor and refund_minor", excess,
                                  note.to_balance_minor + note.refund_minor)  # fmt: skip
                    credited += note.total_minor
                    returned += note.to_balance_minor + note.refund_minor
        for note in waiting:
            context.wrong("audit", f"{key}, {note.number}", "a row of when it was issued", "none")

    def _note(
        self, name: str, invoice: InvoiceRow, lines: list[LineRow], note: CreditNoteRow, before: dict[int, int]
    ) -> None:
        """A note takes back no more of a line than was left of it, and its share of the tax."""
        context = self._context
        nets = [line.amount_minor - line.discount_minor for line in lines]
        inclusive = any(tax.inclusive for tax in invoices.taxes(self._db, invoice.id))
        rows = credits.lines(self._db, note.id)
        taken = sum(row.amount_minor for row in rows)
        tax = credited_tax(invoice.tax_minor, sum(nets), sum(before.values()), taken)
        context.equal("credit_notes", f"{name}, net_minor", taken - tax if inclusive else taken, note.net_minor)
        context.equal("credit_notes", f"{name}, tax_minor", tax, note.tax_minor)
        context.equal("credit_notes", f"{name}, total_minor", note.net_minor + note.tax_minor, note.total_minor)
        for row in rows:
            place = f"{name}, line {row.position}"
            if not 1 <= row.position <= len(lines):
                context.wrong("credit_note_lines", place, f"one of {len(lines)} lines", "no line of the invoice")
                continue
            described = lines[row.position - 1].description
            context.equal("credit_note_lines", f"{place}, description", described, row.description)
            before[row.position] = before.get(row.position, 0) + row.amount_minor
            if before[row.position] > nets[row.position - 1]:
                found = f"{before[row.position]} in all"
                context.wrong("credit_note_lines", place, f"at most {nets[row.position - 1]}", found)
        self._moved("credit_notes", f"{name}, to_balance_minor", invoice, self._noted.pop(note.id, []),
                    note.to_balance_minor)  # fmt: skip
        if bool(note.refund_method) != bool(note.refund_minor):
            context.wrong("credit_notes", f"{name}, refund_method", "one where there is a refund", note.refund_method)

    def _told(self, name: str, invoice: InvoiceRow, note: CreditNoteRow, told: dict[str, object], at: int) -> None:
        """The note as the audit trail has it, and the year of its number."""
        stored = {"number": note.number, "total_minor": note.total_minor, "currency": invoice.currency,
                  "issued_at": note.issued_at}  # fmt: skip
        for what, value in stored.items():
            expected = at if what == "issued_at" else told.get(what)
            self._context.equal("credit_notes", f"{name}, {what} by the audit trail", expected, value)
        year = to_date(local_day(self._context.zone(invoice.customer), note.issued_at)).year
        found = note.number.rsplit("-", 2)[-2:][0]
        self._context.equal("credit_notes", f"{name}, year of its number", str(year), found)

    def _moved(self, table: str, name: str, invoice: InvoiceRow, moved: list[_Moved], wanted: int) -> None:
        self._context.equal(table, f"{name}, by the balance", sum(one.amount_minor for one in moved), wanted)
        for one in moved:
            if (one.customer, one.currency) != (invoice.customer, invoice.currency):
                found = f"{self._context.customer(one.customer)} in {one.currency}"
                expected = f"{self._context.customer(invoice.customer)} in {invoice.currency}"
                self._context.wrong("balance_movements", f"{name}, movement", expected, found)

    def balances(self) -> None:
        """No balance was ever below zero, and every movement belongs to an invoice or a note that was looked at."""
        context = self._context
        for customer, currency, at, balance in self._below:
            context.wrong("balance_movements", f"{context.customer(customer)}, {moment(at)}", "a balance of 0 or more",
                          f"{balance} {currency}")  # fmt: skip
        if not context.since:
            for kind, held in (("invoice", self._applied), ("credit note", self._noted)):
                for number, moved in sorted(held.items()):
                    name = f"{context.customer(moved[0].customer)}, {kind} {number}"
                    context.wrong("balance_movements", name, f"an {kind} that says so" if kind == "invoice"
                                  else f"a {kind} that says so", "none")  # fmt: skip


def _payment(payment: tuple[int, str, str, int]) -> str:
    amount, currency, method, at = payment
    return f"{amount} {currency} by {method} {moment(at)}"
