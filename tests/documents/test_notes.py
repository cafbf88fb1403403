"""Markdown on an invoice: formatting comes through, everything else is shown as text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.documents.notes import NOTES_LIMIT, markdown_html
from nbilling.model.errors import BadInput

ALLOWED = re.compile(
    r"</?(a|blockquote|br|code|em|h3|h4|hr|li|ol|p|pre|strong|table|tbody|td|th|thead|tr|ul|wbr)"
    r'( href="(https?://|mailto:)[^"<>]*")?( title="[^"<>]*")?( rel="[a-z ]+")?( start="\d+")?>'
)


def test_paragraphs_emphasis_lists_links_and_tables_come_through() -> None:
    html = markdown_html(
        "**Thank you**, *all*.\nSee [terms](https://example.com/t) or [us](mailto:a@b.example).\n\n- one\n- two\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    for part in (
        "<strong>Thank you</strong>",
        "<em>all</em>",
        '<a href="https://example.com/t" rel="noopener noreferrer nofollow">terms</a>',
        'href="mailto:a@b.example"',
        "<li>two</li>",
        "<td>2</td>",
        "<br>",
    ):
        assert part in html


@pytest.mark.parametrize(
    "source",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "a <b onclick='x'>b</b> c",
        "<div>\n<iframe src='http://127.0.0.1'></iframe>\n</div>",
        "<!-- hidden -->",
        "<style>body{display:none}</style>",
        "<svg/onload=alert(1)>",
        "`<script>`",
        "<link rel=attachment href='file:///etc/passwd'>",
    ],
)
def test_raw_html_is_shown_as_the_text_that_it_is(source: str) -> None:
    html = markdown_html(source)
    assert ALLOWED.sub("", html).count("<") == 0
    assert "&lt;" in html


@pytest.mark.parametrize(
    "source",
    [
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](file:///etc/passwd)",
        "[x](vbscript:x)",
        "[x](//evil.example/x)",
        "[x](/account)",
        "[x](#top)",
        "<javascript:alert(1)>",
        "[x][1]\n\n[1]: javascript:alert(1)",
    ],
)
def test_a_link_goes_to_the_web_or_to_mail_or_nowhere(source: str) -> None:
    assert "href" not in markdown_html(source)


def test_pictures_are_left_out() -> None:
    assert "<img" not in markdown_html("![logo](http://127.0.0.1/x.png) ![y](data:image/png;base64,AAAA)")


@given(st.text(alphabet="<>&\"'/ab![]()*_`#-\n 1.|:\\=x", max_size=300))
def test_nothing_but_the_allowed_tags_ever_comes_out(source: str) -> None:
    assert "<" not in ALLOWED.sub("", markdown_html(source))


@pytest.mark.parametrize("source", ["", "  \n\t\n"])
def test_a_blank_note_is_nothing(source: str) -> None:
    assert markdown_html(source) == ""


def test_a_note_beyond_the_limit_is_refused() -> None:
    with pytest.raises(BadInput, match="10,001 characters"):
        markdown_html("x " * (NOTES_LIMIT // 2) + "x")


@pytest.mark.parametrize(
    "source",
    [
        ">" * 5000 + " deep",
        "1. " * 3000,
        "".join(" " * (4 * level) + "- item\n" for level in range(60)),
        "[" * NOTES_LIMIT,
        "![" * (NOTES_LIMIT // 2),
        "`a" * (NOTES_LIMIT // 2),
        "*a_b" * (NOTES_LIMIT // 4),
    ],
    ids=["quotes", "lists", "indents", "brackets", "pictures", "code", "emphasis"],
)
def test_what_no_person_writes_is_shown_as_plain_text_and_breaks_nothing(source: str) -> None:
    html = markdown_html(source)
    assert html.startswith("<p>")
    assert set(re.findall(r"</?[a-z]+", html)) <= {"<p", "</p", "<br", "<wbr"}


def test_plain_text_keeps_every_character() -> None:
    source = "<&>" * 200
    text = markdown_html(source).replace("<wbr>", "").removeprefix("<p>").removesuffix("</p>")
    assert text == "&lt;&amp;&gt;" * 200


def test_text_without_spaces_in_its_script_keeps_its_formatting() -> None:
    assert "<strong>" in markdown_html("请在十四天内付款。" * 60 + "**谢谢**")


def test_headings_go_below_those_of_the_document() -> None:
    assert markdown_html("# Terms\n\n### Small\n") == "<h3>Terms</h3>\n<h4>Small</h4>"
