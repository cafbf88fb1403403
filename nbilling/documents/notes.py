"""Markdown to HTML that is safe to put on an invoice: no raw HTML, no pictures, links only to the web and to mail."""

from __future__ import annotations

import re
from html import escape

from nbilling.documents.formatting import printable
from nbilling.model.errors import BadInput

NOTES_LIMIT = 10_000  # characters: some four pages

# What Markdown and the layout take badly. Each level of nesting is a level of recursion (2,000 blocks within one
# another end in a RecursionError), each "[" a search for its "]" through the rest (35 s for 20,000 of them), and in
# a line without a place to break, each piece is laid out again for the next (90 s for 10,000 pieces).
_MAX_DEPTH = 12
_MAX_BRACKETS = 200
_DEEP_PREFIX = re.compile(rf"^(?:[ \t]*(?:>|[*+-](?=[ \t])|\d{{1,9}}[.)](?=[ \t]))){{{_MAX_DEPTH}}}", re.MULTILINE)
# Scripts that are written without spaces break anywhere, so they do not count.
_UNBROKEN = re.compile(r"[^\s\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\U0003ffff]{300}")
_PIECE = re.compile(r"\S{100}")

_TAGS = set("a blockquote br code em h3 h4 hr li ol p pre strong table tbody td th thead tr ul".split())
_ATTRIBUTES = {"a": {"href", "title"}}
_SCHEMES = {"http", "https", "mailto"}
_TAG = re.compile(r"<(/?)([a-z0-9]+)[^>]*>")
_VOID = {"br", "hr"}


def markdown_html(text: str) -> str:
    """Clean HTML of a Markdown text; ``''`` for a blank one. Raw HTML in it is shown as the text that it is.

    ``BadInput`` above ``NOTES_LIMIT`` characters. What no person writes (nested a dozen deep, a word of 300 letters)
    is shown as plain text.
    """
    if len(text) > NOTES_LIMIT:
        raise BadInput(f"the note has {len(text):,} characters", hint=f"at most {NOTES_LIMIT:,} are printed")
    text = printable(text)
    if not text.strip():
        return ""
    if text.count("[") > _MAX_BRACKETS or _DEEP_PREFIX.search(text) or _UNBROKEN.search(text):
        return _as_plain_text(text)
    clean = _cleaned(_converted(text))
    return clean if _depth(clean) <= _MAX_DEPTH else _as_plain_text(text)


def _converted(text: str) -> str:
    from markdown import Markdown

    reader = Markdown(extensions=["sane_lists", "tables", "nl2br"], output_format="html")
    # Without these two raw HTML is text like any other, and is escaped.
    reader.preprocessors.deregister("html_block")
    reader.inlinePatterns.deregister("html")
    # The document has a title and sections of its own; a note's headings go below them.
    lowered = {"1": "3", "2": "3", "3": "4", "4": "4", "5": "4", "6": "4"}
    return re.sub(r"<(/?)h([1-6])>", lambda found: f"<{found[1]}h{lowered[found[2]]}>", reader.convert(text))


def _cleaned(html: str) -> str:
    import nh3

    return nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        url_relative="deny",  # a document has no place of its own that a link could be relative to
        link_rel="noopener noreferrer nofollow",
    )


def _depth(html: str) -> int:
    depth = deepest = 0
    for closing, tag in _TAG.findall(html):
        if tag not in _VOID:
            depth += -1 if closing else 1
            deepest = max(deepest, depth)
    return deepest


def _as_plain_text(text: str) -> str:
    pieces = _PIECE.sub(r"\g<0>\0", text.strip())  # NUL, which no printable text holds, marks a place to break
    return f"<p>{escape(pieces).replace(chr(10), '<br>').replace(chr(0), '<wbr>')}</p>"
