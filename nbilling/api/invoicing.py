"""The room ``invoices``: the engine's invoices, and their documents."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nbilling.engine.accounts import Accounts
from nbilling.engine.charges import Charges
from nbilling.engine.core import Core
from nbilling.engine.discounts import Discounts
from nbilling.engine.invoice_documents import InvoiceDocuments
from nbilling.engine.invoices import Invoices
from nbilling.engine.taxes import Taxes
from nbilling.model.text import plain

if TYPE_CHECKING:
    from nbilling.model.documents import InvoiceDocument


class Invoicing(Invoices):
    """Invoices: computed, numbered, paid, printed."""

    def __init__(self, core: Core, accounts: Accounts) -> None:
        super().__init__(core, accounts, Charges(core, accounts), Taxes(core), Discounts(core))
        self._documents = InvoiceDocuments(core)

    def document(self, invoice_id: str) -> InvoiceDocument:
        """The invoice as the values that its document shows."""
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
