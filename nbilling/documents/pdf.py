"""HTML to PDF with WeasyPrint: no network, no files, and the same bytes each time.

The result is built as tagged PDF/A-3b; no validator has judged it. WeasyPrint, its font configuration and our parsed
style sheet are made once a process and used under one lock, since Pango's font map is not made for several threads.
"""

from __future__ import annotations

import atexit
import gc
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from importlib.resources import files
from typing import Any

from nbilling.documents.page import data_uri, sheet
from nbilling.documents.render import invoice_html, statement_html
from nbilling.model.documents import InvoiceDocument, StatementDocument
from nbilling.model.errors import MissingLibrary

PDF_VARIANT = "pdf/a-3b"
DEBIAN_PACKAGES = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core"

_FONTS = (
    ("Inter-Regular.ttf", "font-weight:400"),
    ("Inter-SemiBold.ttf", "font-weight:600"),
    ("Inter-Italic.ttf", "font-weight:400;font-style:italic"),
)
_rendering = threading.Lock()
_engine: _Engine | None = None


class _Engine:
    """WeasyPrint and what it need not do again for each document. ``MissingLibrary`` when it cannot be loaded."""

    def __init__(self) -> None:
        try:
            import weasyprint
            from weasyprint.text.fonts import FontConfiguration
            from weasyprint.urls import URLFetcher
        except (ImportError, OSError) as error:
            raise MissingLibrary(
                "PDF needs WeasyPrint and Pango, and one of them cannot be loaded",
                hint=f"run: apt-get install --no-install-recommends {DEBIAN_PACKAGES}",
            ) from error

        self.html: Any = weasyprint.HTML
        # Nothing but what is inside the document: no network, no file of this machine.
        self.fetcher = URLFetcher(allowed_protocols=("data",), allow_redirects=False)
        self.fonts = FontConfiguration()
        faces = "".join(_font_face(name, style) for name, style in _FONTS)
        self.sheets = [
            weasyprint.CSS(string=text, font_config=self.fonts, url_fetcher=self.fetcher) for text in (faces, sheet())
        ]


def _font_face(name: str, style: str) -> str:
    content = (files(__package__) / "templates" / "fonts" / name).read_bytes()
    return f"@font-face{{font-family:Inter;{style};src:url({data_uri(content, 'font/ttf')})}}"


def _the_engine() -> _Engine:
    global _engine
    if _engine is None:
        _engine = _Engine()
    return _engine


def _after_fork_in_child() -> None:
    # The parent's fonts lie in a folder that its configuration removes when it goes; a child must not do that.
    global _engine, _rendering
    _rendering = threading.Lock()
    if _engine is not None:
        _engine.fonts._folder = None
        _engine = None


def _before_exit() -> None:
    # Pango's objects must go while the interpreter is whole: left to its last moments they end in a crash.
    global _engine
    _engine = None
    gc.collect()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_before_exit)


@contextmanager
def _font_dates(issued: datetime | None) -> Iterator[None]:
    """fontTools dates the fonts that it cuts by this variable, else by the clock."""
    before = os.environ.get("SOURCE_DATE_EPOCH")
    os.environ["SOURCE_DATE_EPOCH"] = str(int(issued.timestamp()) if issued else 0)
    try:
        yield
    finally:
        if before is None:
            del os.environ["SOURCE_DATE_EPOCH"]
        else:
            os.environ["SOURCE_DATE_EPOCH"] = before


def html_to_pdf(html: str, *, identifier: str, issued: datetime | date | None) -> bytes:
    """The PDF of a page made by this package. The same arguments give the same bytes with the same libraries.

    ``identifier``: unique to the document, kept as a hash in the file. ``issued``: its date in the metadata; a date
    is midnight UTC, a time without a zone is UTC, None (a draft) leaves it out. ``MissingLibrary`` without Pango.
    """
    moment = _moment(issued)
    with _rendering:
        engine = _the_engine()
        # Our own sheet has been parsed once; in the page it would be parsed again.
        block = f"<style>{sheet()}</style>"
        sheets = engine.sheets if block in html else engine.sheets[:1]
        with _font_dates(moment):
            page = engine.html(string=html.replace(block, "", 1), url_fetcher=engine.fetcher)
            layout = page.render(font_config=engine.fonts, stylesheets=sheets)
            if moment is not None:
                layout.metadata.created = layout.metadata.modified = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
            pdf = layout.write_pdf(
                pdf_variant=PDF_VARIANT,
                pdf_tags=True,
                pdf_identifier=hashlib.blake2b(identifier.encode(), digest_size=16).digest(),
            )
    return bytes(pdf)


def _moment(issued: datetime | date | None) -> datetime | None:
    if issued is None:
        return None
    if isinstance(issued, datetime):
        return issued.replace(tzinfo=UTC) if issued.tzinfo is None else issued.astimezone(UTC)
    return datetime(issued.year, issued.month, issued.day, tzinfo=UTC)


def invoice_pdf(document: InvoiceDocument) -> bytes:
    """An invoice or credit note as PDF."""
    return html_to_pdf(invoice_html(document), identifier=_identifier(document), issued=document.issue_date)


def statement_pdf(document: StatementDocument) -> bytes:
    """A statement of account as PDF."""
    return html_to_pdf(statement_html(document), identifier=_identifier(document), issued=document.issue_date)


def _identifier(document: InvoiceDocument | StatementDocument) -> str:
    kind = document.kind if isinstance(document, InvoiceDocument) else "statement"
    return "\n".join((kind, document.seller.name, document.buyer.name, document.number or str(document.period_start)))
