"""What every document has around its own content: paper, head, parties, texts. Records in, template values out."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from nbilling.documents.formatting import Formatter
from nbilling.documents.labels import LANGUAGES, Labels, language_of
from nbilling.documents.notes import markdown_html
from nbilling.model.documents import Document, Party
from nbilling.model.errors import BadInput

TEXT_LIMIT = 500  # characters of a name, an address line or a description that are printed
_ENGLISH_WITHOUT_LABELS = "en_GB"  # day, month, year, as most of those write who read English as a foreign language
_TITLE_LIMIT = 200  # the same in titles and metadata


class PartyBlock(NamedTuple):
    """One address."""

    label: str
    name: str
    lines: list[str]


class Fact(NamedTuple):
    """A label and a value in the head."""

    label: str
    value: str


class Headline(NamedTuple):
    """The one amount that the reader looks for."""

    label: str
    figure: str
    remark: str


class Text(NamedTuple):
    """A section of clean HTML. ``kind`` is its class in the style sheet."""

    kind: str
    label: str
    html: str


class Page(NamedTuple):
    """Everything that ``document.html`` reads."""

    language: str
    title: str
    author: str
    heading: str
    number: str
    watermark: str
    watermark_class: str
    stamp: str
    stamp_class: str
    logo: str
    parties: list[PartyBlock]
    facts: list[Fact]
    headline: Headline
    texts: list[Text]
    footer: str
    sheet: str
    style: str
    csp: str


class Words(NamedTuple):
    """How to speak to this customer: fixed words, and numbers and dates."""

    language: str
    labels: Labels
    format: Formatter


def words_for(document: Document) -> Words:
    """Words in the locale's language, or in English where we have no labels; numbers as in the locale itself."""
    language = language_of(document.locale)
    is_theirs = re.split("[-_]", document.locale)[0].lower() == language
    speaks = None if is_theirs else _ENGLISH_WITHOUT_LABELS
    formatter = Formatter(document.locale, document.currency, document.currency_exponent, speaks=speaks)
    return Words(language, LANGUAGES[language], formatter)


def party_block(label: str, party: Party, words: Words) -> PartyBlock:
    """The address in the order in which it is printed; blank lines are left out."""
    lines = [*party.lines, words.format.country(party.country), party.email, party.phone]
    lines += [f"{name} {number}" for name, number in party.tax_ids]
    return PartyBlock(label, clipped(party.name), [clipped(line) for line in lines if line.strip()])


def texts(labels: Labels, *, payment: str, notes: str) -> list[Text]:
    """The two Markdown sections as HTML, without a blank one."""
    sections = (("payment", labels.payment, payment), ("notes", labels.notes, notes))
    cleaned = [Text(kind, label, markdown_html(source)) for kind, label, source in sections]
    return [text for text in cleaned if text.html]


def clipped(text: str, limit: int = TEXT_LIMIT) -> str:
    """The text, cut with an ellipsis where it is longer than a page should show; the ledger keeps all of it."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shortened(text: str) -> str:
    """For a title: one line of bounded length."""
    return clipped(" ".join(text.split()), _TITLE_LIMIT)


def data_uri(content: bytes, media_type: str) -> str:
    """Content that travels inside the document."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def logo_uri(logo: bytes | None) -> str:
    """A logo as a data URI, ``''`` without one. ``BadInput`` unless it is a PNG, a JPEG or a plain SVG."""
    if logo is None:
        return ""
    if logo.startswith(b"\x89PNG\r\n\x1a\n"):
        return data_uri(logo, "image/png")
    if logo.startswith(b"\xff\xd8\xff"):
        return data_uri(logo, "image/jpeg")
    if re.search(rb"<svg[\s>]", logo[:4096]):
        # Entities can make a small file a huge one.
        if re.search(rb"<!(DOCTYPE|ENTITY)", logo, re.IGNORECASE):
            raise BadInput("the logo declares a DOCTYPE or entities", hint="save it as plain SVG without them")
        return data_uri(logo, "image/svg+xml")
    raise BadInput("the logo is no PNG, JPEG or SVG", hint="give the bytes of one of these")


@cache
def sheet() -> str:
    """The style sheet that all documents share."""
    return (files(__package__) / "templates" / "document.css").read_text(encoding="utf-8")


def _source_of(style: str) -> str:
    """How a policy names a style sheet: by its hash."""
    digest = hashlib.sha256(style.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def style_of(document: Document, labels: Labels, columns: Sequence[str] = ()) -> str:
    """What differs from document to document, in CSS: accent, paper, page numbers, column widths."""
    before, between, after = re.split(r"\{page\}|\{pages\}", labels.page)
    return "".join(
        (
            f":root{{--accent:{document.accent_color}}}",
            f"@page{{size:{document.page_size};",
            f'@bottom-right{{content:"{before}" counter(page) "{between}" counter(pages) "{after}"}}}}',
            *columns,
        )
    )


def content_security_policy(style: str) -> str:
    """Nothing is loaded, nothing runs; the two style sheets are known by their hashes."""
    return (
        f"default-src 'none'; img-src data:; style-src {_source_of(sheet())} {_source_of(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
