"""A document as one HTML page that needs nothing else: no network, no script, style and pictures inside."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from nbilling.documents.formatting import printable
from nbilling.documents.invoice import invoice_values
from nbilling.documents.statement import statement_values
from nbilling.model.documents import InvoiceDocument, StatementDocument

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("nbilling.documents", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def invoice_html(document: InvoiceDocument) -> str:
    """An invoice or credit note. ``BadInput`` for an unknown locale, a bad logo, or a note beyond its limit."""
    return _filled("invoice.html", invoice_values(document))


def statement_html(document: StatementDocument) -> str:
    """A statement of account. ``BadInput`` as for an invoice."""
    return _filled("statement.html", statement_values(document))


def _filled(template: str, values: dict[str, Any]) -> str:
    # The whole page is cleaned at the end, so that no text can get round it.
    return printable(_environment().get_template(template).render(values))
