"""Mailing an invoice: finalised, and queued in the commit that decides it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbilling.engine.core import Core
from nbilling.engine.invoice_reports import found_invoice
from nbilling.engine.invoices import Invoices
from nbilling.engine.outbox import Outbox
from nbilling.model.errors import BadInput, Conflict
from nbilling.model.identity import new_id
from nbilling.model.text import customer_id as valid_customer_id
from nbilling.store import customers

if TYPE_CHECKING:
    import sqlite3

KIND = "mail.invoice"


class InvoiceMail:
    """Queues invoices. What sends them is handed in where the outbox is processed."""

    def __init__(self, core: Core, invoices: Invoices, outbox: Outbox) -> None:
        self._core = core
        self._invoices = invoices
        self._outbox = outbox

    def queue(self, invoice_id: str, customer_id: str) -> str:
        """Finalises a draft and queues its mail to the customer's address; returns the operation's id.

        BadInput without an address, Conflict where the invoice is somebody else's or void. While the same mail is
        still on its way, that one is meant; after it has arrived, asking again sends it once more.
        """
        valid_customer_id(customer_id)

        def job(db: sqlite3.Connection) -> str:
            now = self._core.now(db)
            invoice = found_invoice(db, invoice_id)
            row = customers.get(db, invoice.customer)
            if row.customer_id != customer_id:
                raise Conflict(f"invoice {invoice_id} is not of {customer_id!r:.80}", hint="name its customer")
            if invoice.status == "void":
                raise Conflict(f"invoice {invoice.number} is void", hint="generate a new one")
            address = customers.profile(db, row.id)["email"]
            if not address:
                raise BadInput(
                    f"{customer_id!r:.80} has no e-mail address", hint="nbilling customer update … --email sets one"
                )
            invoice = self._invoices.fixed(db, invoice, now)
            payload = {"invoice": invoice.invoice_id, "to": address}
            waiting = self._outbox.unfinished(db, KIND, row.id, payload)
            if waiting is not None:
                return waiting.operation_id
            operation = self._outbox.enqueue(db, KIND, row.id, payload, new_id("mail", now)).operation_id
            self._core.audit(db, now, "invoice.mail", invoice.invoice_id, {"to": address})
            return operation

        return self._core.write(job)
