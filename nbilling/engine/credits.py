"""Credit notes, refunds, and the balance of a customer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbilling.engine.core import Core
from nbilling.engine.invoice_reports import found_invoice
from nbilling.model.clock import format_time
from nbilling.model.errors import BadInput, Conflict, NotFound
from nbilling.model.identity import new_id
from nbilling.model.money import format_amount, parse_amount
from nbilling.model.periods import local_day, to_date
from nbilling.model.text import customer_id as valid_customer_id
from nbilling.model.text import plain
from nbilling.rules.credits import Credited, amount_credit, line_credit, whole_credit
from nbilling.store import credits, customers, invoices
from nbilling.store.credits import CreditLineRow, CreditNoteRow
from nbilling.store.invoices import InvoiceRow

if TYPE_CHECKING:
    import sqlite3

SERIES = "CN"


class Credits:
    """An issued invoice is never edited: what was wrong on it is taken back by a credit note of its own number."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def credit(
        self,
        invoice_id: str,
        *,
        amount: object = None,
        lines: Mapping[int, object] | None = None,
        reason: str = "",
        refund: str = "",
    ) -> dict[str, Any]:
        """Takes back all that is left of an invoice, an ``amount``, or amounts of certain ``lines``, before tax.

        Where prices contain their tax the amounts contain it too. Tax follows. What the customer has not paid yet it no
        longer owes; what it has paid goes to its balance, for the next invoice, or with ``refund`` (the method, free
        text) is noted as given back. Returns the credit note.
        """
        if amount is not None and lines:
            raise BadInput("a credit is of an amount or of lines", hint="give one of the two")
        plain(reason, "reason", limit=500, empty=True)
        plain(refund, "refund method", limit=64, empty=True)

        def job(db: sqlite3.Connection) -> CreditNoteRow:
            now = self._core.now(db)
            invoice = found_invoice(db, invoice_id)
            if invoice.status in ("draft", "void"):
                raise Conflict(f"invoice {invoice_id} is {invoice.status}", hint="only an issued invoice is credited")
            taken = self._taken(db, invoice, amount, lines)
            note = self._issue(db, invoice, taken, reason, refund, now)
            self._settle(db, invoice, note, now)
            detail = {"number": note.number, "total_minor": note.total_minor, "currency": invoice.currency}
            self._core.audit(db, now, "invoice.credit", invoice.invoice_id, detail)
            return note

        return self.show(self._core.write(job).credit_note_id)

    @staticmethod
    def _taken(
        db: sqlite3.Connection, invoice: InvoiceRow, amount: object, lines: Mapping[int, object] | None
    ) -> Credited:
        nets = [line.amount_minor - line.discount_minor for line in invoices.lines(db, invoice.id)]
        before = credits.credited_lines(db, invoice.id)
        inclusive = any(tax.inclusive for tax in invoices.taxes(db, invoice.id))
        if lines:
            wanted = {place: parse_amount(value, invoice.currency) for place, value in lines.items()}
            return line_credit(nets, before, invoice.tax_minor, wanted, inclusive=inclusive)
        if amount is not None:
            minor = parse_amount(amount, invoice.currency)
            return amount_credit(nets, before, invoice.tax_minor, minor, inclusive=inclusive)
        return whole_credit(nets, before, invoice.tax_minor, inclusive=inclusive)

    def _issue(
        self, db: sqlite3.Connection, invoice: InvoiceRow, taken: Credited, reason: str, refund: str, now: int
    ) -> CreditNoteRow:
        earlier = credits.of_invoice(db, invoice.id)
        returned = sum(note.to_balance_minor + note.refund_minor for note in earlier)
        owed = invoice.total_minor - invoice.credited_minor - taken.total_minor
        excess = max(0, invoice.paid_minor + invoice.applied_minor - owed - returned)
        zone = customers.get(db, invoice.customer).zone
        year = to_date(local_day(zone, now)).year
        note = CreditNoteRow(
            id=0,
            credit_note_id=new_id("cn", now),
            invoice=invoice.id,
            number=f"{SERIES}-{year}-{invoices.next_number(db, SERIES, year):06d}",
            reason=reason,
            net_minor=taken.net_minor,
            tax_minor=taken.tax_minor,
            total_minor=taken.total_minor,
            to_balance_minor=0 if refund else excess,
            refund_minor=excess if refund else 0,
            refund_method=refund if excess else "",
            issued_at=now,
        )
        described = {place: line.description for place, line in enumerate(invoices.lines(db, invoice.id), 1)}
        rows = [CreditLineRow(place, described[place], net) for place, net in taken.lines]
        return note._replace(id=credits.insert(db, note, rows))

    @staticmethod
    def _settle(db: sqlite3.Connection, invoice: InvoiceRow, note: CreditNoteRow, now: int) -> None:
        changed = invoice._replace(credited_minor=invoice.credited_minor + note.total_minor, updated_at=now)
        if changed.open_minor == 0:
            changed = changed._replace(status="paid")
        invoices.save(db, changed)
        if note.to_balance_minor:
            credits.move(
                db,
                invoice.customer,
                invoice.currency,
                note.to_balance_minor,
                f"credit note {note.number}",
                now,
                credit_note=note.id,
            )

    def show(self, credit_note_id: str) -> dict[str, Any]:
        """A credit note by id or number, with its lines."""
        db = self._core.read()
        note = credits.find(db, plain(credit_note_id, "credit note"))
        if note is None:
            raise NotFound(f"there is no credit note {credit_note_id!r:.80}", hint="nbilling credit list shows them")
        return _shown(db, note)

    def list(self, invoice_id: str) -> list[dict[str, Any]]:
        """The credit notes of an invoice in order."""
        db = self._core.read()
        return [_shown(db, note) for note in credits.of_invoice(db, found_invoice(db, invoice_id).id)]

    def balance(self, customer_id: str) -> dict[str, Any]:
        """``{customer_id, balances, movements}``: what the customer has to its credit, by currency."""
        db = self._core.read()
        row = customers.find(db, valid_customer_id(customer_id))
        moved = credits.movements(db, row.id) if row is not None else []
        sums: dict[str, int] = {}
        for currency, amount, _, _ in moved:
            sums[currency] = sums.get(currency, 0) + amount
        return {
            "customer_id": customer_id,
            "balances": {currency: format_amount(minor, currency) for currency, minor in sorted(sums.items())},
            "movements": [
                {"amount": format_amount(minor, code), "currency": code, "reason": reason, "at": format_time(at)}
                for code, minor, reason, at in moved
            ],
        }


def _shown(db: sqlite3.Connection, note: CreditNoteRow) -> dict[str, Any]:
    invoice = invoices.get(db, note.invoice)
    result: dict[str, Any] = {
        "id": note.credit_note_id,
        "number": note.number,
        "invoice": invoice.invoice_id,
        "invoice_number": invoice.number,
        "customer_id": customers.get(db, invoice.customer).customer_id,
        "currency": invoice.currency,
        "reason": note.reason,
        "issued_at": format_time(note.issued_at),
    }
    for name in ("net", "tax", "total", "to_balance", "refund"):
        minor = getattr(note, f"{name}_minor")
        result |= {name: format_amount(minor, invoice.currency), f"{name}_minor": minor}
    result["lines"] = [
        {
            "line": line.position,
            "description": line.description,
            "amount": format_amount(line.amount_minor, invoice.currency),
        }
        for line in credits.lines(db, note.id)
    ]
    return result
