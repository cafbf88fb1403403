"""The room ``invoices``: the engine's invoices, and their documents."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nbilling.api.stripe_fixtures import FixtureInvoices
from nbilling.engine.accounts import Accounts
from nbilling.engine.charges import Charges
from nbilling.engine.core import Core
from nbilling.engine.discounts import Discounts
from nbilling.engine.invoice_documents import InvoiceDocuments
from nbilling.engine.invoice_drafts import Drafts
from nbilling.engine.taxes import Taxes
from nbilling.model.errors import BadInput, UpstreamError
from nbilling.model.text import plain

if TYPE_CHECKING:
    from nbilling.api.outbox import Deliveries
    from nbilling.model.documents import InvoiceDocument


class Invoicing(FixtureInvoices):
    """Invoices: computed, numbered, paid, printed."""

    def __init__(self, core: Core, accounts: Accounts, outbox: Callable[[], Deliveries]) -> None:
        charges, taxes = Charges(core, accounts), Taxes(core)
        super().__init__(core, accounts, charges, taxes, Drafts(core, charges, taxes, Discounts(core)))
        self._documents = InvoiceDocuments(core)
        self._outbox = outbox

    def run(
        self,
        customer_id: str | None = None,
        *,
        dry_run: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, Any]:
        """The billing run; see :meth:`nbilling.engine.billing_run.BillingRun.run`."""
        from nbilling.engine.billing_run import BillingRun

        return BillingRun(self._core, self._accounts, self).run(customer_id, dry_run=dry_run, progress=progress)

    def explain(self, invoice_id: str, *, ids: int | str = 0) -> dict[str, Any]:
        """Every line traced back to arithmetic, rounding, usage and events; ``ids``: how many event ids to name."""
        from nbilling.engine.explain import Explanations

        return Explanations(self._core, self._accounts).explain(invoice_id, ids=ids)

    def email_send(self, invoice_id: str, customer_id: str) -> dict[str, Any]:
        """Finalises a draft, queues the mail with its PDF, and sends it if that can be done now.

        Returns the message as the outbox shows it: ``state`` is ``done``, or what it waits for is in ``reason``.
        BadInput without an address or without a mail server, Conflict for another customer's invoice, UpstreamError
        where the server refuses it.
        """
        from nbilling.api.outbox import MailTransport
        from nbilling.engine.invoice_mail import InvoiceMail

        missing = MailTransport(self._core).missing()
        if missing:
            what, _, remedy = missing.partition(": ")
            raise BadInput(what, hint=remedy or "set it up")
        self.bring_to_life(invoice_id)
        outbox = self._outbox()
        operation = InvoiceMail(self._core, self, outbox).queue(invoice_id, customer_id)
        sent = outbox.send_now(operation)
        if sent["state"] == "dead":
            raise UpstreamError(f"the mail was refused: {sent['reason']}", hint="nbilling outbox show says more")
        return sent

    def document(self, invoice_id: str) -> InvoiceDocument:
        """The invoice as the values that its document shows."""
        self.bring_to_life(invoice_id)
        return self._documents.of(self._found(self._core.read(), invoice_id))

    def html(self, invoice_id: str) -> str:
        """The invoice as one HTML page that needs nothing else."""
        from nbilling.documents.render import invoice_html

        return invoice_html(self.document(invoice_id))

    def generate_pdf(self, invoice_id: str, path: str | os.PathLike[str] | None = None) -> str:
        """Writes the invoice's PDF, whole or not at all, and returns the path (default: its number or id, ``.pdf``).

        Without Pango: MissingLibrary, which names the packages, and the HTML is written beside the path instead.
        """
        from nbilling.documents.files import whole_file
        from nbilling.documents.pdf import invoice_pdf
        from nbilling.model.errors import MissingLibrary

        document = self.document(invoice_id)
        target = plain(os.fspath(path), "path", limit=4096) if path else f"{document.number or invoice_id}.pdf"
        try:
            content = invoice_pdf(document)
        except MissingLibrary as error:
            page = f"{target.removesuffix('.pdf')}.html"
            with whole_file(page) as out:
                out.write(self.html(invoice_id).encode())
            raise MissingLibrary(f"{error.message}; the HTML is at {page}", hint=error.hint) from None
        with whole_file(target) as out:
            out.write(content)
        return target
