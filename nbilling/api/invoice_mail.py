"""Mails an invoice with its PDF: the outbox's handler for ``mail.invoice``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbilling.api.outbox import MailTransport
from nbilling.engine.core import Core
from nbilling.model.errors import BadInput, MissingLibrary, NotFound
from nbilling.model.outbox import Message, Outcome, Refused, Retry

if TYPE_CHECKING:
    from nbilling.api.invoicing import Invoicing


class InvoiceMailer:
    """Renders the PDF outside of any job, composes the mail, and hands it to the transport."""

    repeatable = True  # the Message-ID stays the same: RFC 1047 leaves nothing better

    def __init__(self, core: Core, invoices: Invoicing) -> None:
        self._core = core
        self._invoices = invoices
        self._transport = MailTransport(core)

    def blocked(self, message: Message) -> str:
        """What is missing: a server or a sender."""
        return self._transport.missing()

    def send(self, message: Message) -> Outcome:
        """Without Pango the invoice goes as HTML: a bill that waits for a library is worse than one without pages."""
        from nbilling.delivery.mail import Mail
        from nbilling.documents.notes import markdown_html

        invoice_id = str(message.payload["invoice"])
        try:
            shown = self._invoices.show(invoice_id)
            text = self._text(shown)
            mail = Mail(
                to=str(message.payload["to"]),
                subject=_filled(self._core.config.invoice_mail_subject, self._words(shown)),
                text=text,
                html=markdown_html(text),
                attachments=(self._attachment(invoice_id, shown["number"]),),
            )
        except (BadInput, NotFound) as error:
            return Refused(error.message)
        except OSError as error:
            return Retry(f"the document could not be made: {error}")
        return self._transport.send(mail, message.operation_id, message.created_at)

    def _attachment(self, invoice_id: str, number: str) -> tuple[str, str, bytes]:
        from nbilling.documents.pdf import invoice_pdf

        try:
            content = invoice_pdf(self._invoices.document(invoice_id))
        except MissingLibrary:
            return f"{number}.html", "text/html", self._invoices.html(invoice_id).encode()
        return f"{number}.pdf", "application/pdf", content

    def _text(self, shown: Mapping[str, Any]) -> str:
        return _filled(self._core.config.invoice_mail_body, self._words(shown))

    def _words(self, shown: Mapping[str, Any]) -> dict[str, str]:
        return {
            "number": str(shown["number"]),
            "total": f"{shown['total']} {shown['currency']}",
            "open": f"{shown['open']} {shown['currency']}",
            "due": str(shown["due_at"] or "")[:10],
            "company": self._core.config.company_name or "your provider",
        }


def _filled(template: str, words: Mapping[str, str]) -> str:
    """Only the known words are filled in: a template is text, not a program."""
    for name, value in words.items():
        template = template.replace("{" + name + "}", value)
    return template
