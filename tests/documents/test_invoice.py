"""What an invoice and a credit note say, read from their HTML."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import date, timedelta
from decimal import Decimal
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbilling.documents.page import TEXT_LIMIT
from nbilling.documents.render import invoice_html
from nbilling.model.documents import DiscountLine, DocumentLine, Party, Reference, TaxLine, UsageSeries
from nbilling.model.errors import BadInput

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"><path d="M0 0h1v1z"/></svg>'


def text_of(html: str) -> str:
    """The words of the body, one space apart."""
    body = html[html.index("<body") :]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).replace("\u00a0", " ").replace("\u202f", " ").split())


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_an_invoice_says_who_whom_what_when_and_how_much(invoice) -> None:
    text = text_of(invoice_html(invoice()))
    for part in (
        "Invoice INV-2026-000042",
        "Northbeam Cloud GmbH Torstraße 140 10119 Berlin Germany",
        "VAT ID DE136695976",
        "Marlow & Finch Ltd 22 Orchard Row Bristol BS1 4DJ United Kingdom",
        "Date of issue 1 Apr 2026",
        "Due date 15 Apr 2026",
        "Billing period 1–31 Mar 2026",
        "Amount due €34.51 due by 15 Apr 2026",
        "Pro plan 1 month 29.00 29.00",
        "Subtotal 29.00",
        "VAT 19% on 29.00 5.51",
        "Total €34.51",
    ):
        assert part in text


def test_a_line_tells_its_detail_and_its_own_period_where_it_differs(invoice) -> None:
    lines = [
        DocumentLine(
            description="API requests",
            detail="Included 10,000; 18,021 over",
            quantity=18021,
            unit="requests",
            unit_price="0.0001",
            amount_minor=180,
            period_start=date(2026, 3, 1),
            period_end=date(2026, 4, 1),
        ),
        DocumentLine(
            description="Late usage",
            detail="2 events",
            amount_minor=17,
            period_start=date(2026, 2, 1),
            period_end=date(2026, 3, 1),
        ),
    ]
    text = text_of(invoice_html(invoice(lines=lines)))
    assert "API requests Included 10,000; 18,021 over 18,021 requests 0.0001 1.80" in text
    assert "Late usage 1–28 Feb 2026 · 2 events" in text


def test_columns_that_no_line_fills_are_left_out(invoice) -> None:
    html = invoice_html(invoice(lines=[DocumentLine(description="Setup", amount_minor=2900)]))
    assert "Description Amount (EUR) Setup 29.00" in text_of(html)


def test_shorter_decimals_are_filled_up_out_of_sight_so_that_the_marks_align(invoice) -> None:
    prices = ("29", "0.0001", "0.085")
    lines = [DocumentLine(description="x", quantity=1, unit_price=price, amount_minor=1) for price in prices]
    html = invoice_html(invoice(lines=lines))
    cells = re.findall(r'<td class="unit-price">([\d.]+)(?:<span class="pad">(0+)</span>)?</td>', html)
    assert cells == [("29.00", "00"), ("0.0001", ""), ("0.085", "0")]


def test_lines_of_one_group_stand_under_one_heading(invoice) -> None:
    lines = [
        DocumentLine(description=name, amount_minor=1, group=group)
        for name, group in (("fee", "Plan"), ("api", "Usage"), ("disk", "Usage"), ("rest", None))
    ]
    html = invoice_html(invoice(lines=lines))
    assert re.findall(r'<tr class="group"><th [^>]*>([^<]+)', html) == ["Plan", "Usage"]


def test_discounts_taxes_credit_and_payments_are_listed_in_order(invoice) -> None:
    document = invoice(
        discounts=[DiscountLine("SAVE20 (20%)", 580)],
        taxes=[
            TaxLine(label="GST", rate_percent="5", taxable_minor=2320, tax_minor=116),
            TaxLine(label="PST", rate_percent="7", taxable_minor=2320, tax_minor=162),
        ],
        total_minor=2598,
        credit_applied_minor=500,
        paid_minor=1000,
        balance_minor=1098,
        status="part_paid",
    )
    assert (
        "Subtotal 29.00 SAVE20 (20%) -5.80 GST 5% on 23.20 1.16 PST 7% on 23.20 1.62 Total €25.98 "
        "Credit balance applied -5.00 Payments received -10.00 Amount due €10.98"
    ) in text_of(invoice_html(document))


def test_tax_in_the_prices_is_told_as_part_of_the_total(invoice) -> None:
    document = invoice(
        prices_include_tax=True,
        taxes=[TaxLine(label="VAT", rate_percent="19", taxable_minor=2437, tax_minor=463)],
        total_minor=2900,
        balance_minor=2900,
    )
    assert "Subtotal 29.00 Total €29.00 including VAT 19% on 24.37 4.63" in text_of(invoice_html(document))


def test_a_german_invoice_with_reverse_charge_says_so_in_german(invoice) -> None:
    tax = TaxLine(label="USt.", rate_percent="0", taxable_minor=2900, tax_minor=0, reason="reverse_charge")
    html = invoice_html(
        invoice(locale="de", taxes=[tax, tax], tax_minor=0, total_minor=2900, balance_minor=2900, title="")
    )
    text = text_of(html)
    for part in ("Rechnung INV-2026-000042", "USt. 0 % auf 29,00 0,00", "Gesamtbetrag 29,00 €", "15. Apr. 2026"):
        assert part in text
    assert text.count("Steuerschuldnerschaft des Leistungsempfängers") == 1
    assert '<html lang="de">' in html


def test_a_locale_without_labels_gets_english_words_and_its_own_numbers(invoice) -> None:
    text = text_of(invoice_html(invoice(locale="pl", total_minor=1234567)))
    assert "Total 12 345,67 €" in text
    assert "Due date 15 Apr 2026" in text
    assert "Germany" in text


@pytest.mark.parametrize(
    ("changes", "present", "absent"),
    [
        ({"status": "draft", "number": None}, 'class="watermark draft">Draft<', 'class="number"'),
        ({"status": "void"}, 'class="watermark void">Void<', "Amount due"),
        ({"status": "paid", "paid_minor": 3451, "balance_minor": 0}, 'class="stamp paid">Paid<', "watermark "),
        ({"status": "overdue"}, 'class="stamp overdue">Overdue<', "watermark "),
        ({"status": "uncollectible"}, "Amount due", "stamp"),
    ],
    ids=lambda value: value.get("status") if isinstance(value, dict) else "",
)
def test_the_state_is_plain_to_see(invoice, changes, present: str, absent: str) -> None:
    html = invoice_html(invoice(**changes))
    body = html[html.index("<body") :]
    assert present in body
    assert absent not in body


def test_a_paid_invoice_says_when(invoice) -> None:
    document = invoice(status="paid", paid_minor=3451, balance_minor=0, paid_on=date(2026, 4, 9))
    assert "Amount paid €34.51 paid on 9 Apr 2026" in text_of(invoice_html(document))


@pytest.mark.parametrize(("status", "asks"), [("open", True), ("overdue", True), ("paid", False), ("void", False)])
def test_only_who_still_owes_is_told_how_to_pay(invoice, status: str, asks: bool) -> None:
    html = invoice_html(invoice(status=status, payment_terms="Within 14 days.", payment_means_markdown="IBAN DE02"))
    assert ("IBAN DE02" in html) == ("Within 14 days." in html) == asks


def test_a_draft_says_that_it_need_not_be_paid(invoice) -> None:
    html = invoice_html(invoice(status="draft", number=None, issue_date=None, due_date=None))
    assert "This is a draft." in text_of(html)
    assert "<title>Invoice (Draft)</title>" in html


def test_a_credit_note_names_the_invoice_that_it_credits(invoice) -> None:
    document = invoice(
        kind="credit_note",
        number="CN-2026-000003",
        due_date=None,
        references=[Reference(kind="credited_invoice", number="INV-2026-000042", issued=date(2026, 4, 1))],
    )
    text = text_of(invoice_html(document))
    assert "Credit note CN-2026-000003" in text
    assert "Credits invoice INV-2026-000042 (1 Apr 2026)" in text
    assert "Amount credited €34.51" in text
    assert "Total credited €34.51" in text
    assert "due" not in text.lower()


def test_a_company_may_call_its_invoice_something_else(invoice) -> None:
    assert "<h1>Tax invoice</h1>" in invoice_html(invoice(title="Tax invoice"))


@pytest.mark.parametrize(
    ("currency", "exponent", "shown"), [("JPY", 0, "JP¥3,451"), ("KWD", 3, "KWD 3.451"), ("USD", 2, "US$34.51")]
)
def test_the_currency_decides_the_decimals(invoice, currency: str, exponent: int, shown: str) -> None:
    assert f"Total {shown}" in text_of(invoice_html(invoice(currency=currency, currency_exponent=exponent)))


def test_usage_is_drawn_and_also_told_in_words(invoice) -> None:
    days = [date(2026, 3, 1) + timedelta(days) for days in range(31)]
    sums = UsageSeries("API requests", "requests", [(day, 1000 + day.day) for day in days])
    level = UsageSeries("Storage", "GiB", [(day, Decimal(day.day) / 4) for day in days], "level")
    html = invoice_html(
        invoice(usage=[sums, level, UsageSeries("Idle", "GB", [(days[0], 0)]), UsageSeries("No", "", [])])
    )
    text = text_of(html)
    assert "API requests 31,496 requests in all highest 1,031 requests on 31 Mar" in text
    assert "Storage highest 7.75 GiB on 31 Mar" in text
    assert "Idle no usage" in text
    pictures = [attributes for tag, attributes in Elements(html).found if tag == "img"]
    assert pictures[0]["alt"] == (
        "API requests, 1 Mar 2026 – 31 Mar 2026: 31,496 requests in all, highest 1,031 requests on 31 Mar"
    )
    assert len(pictures) == 3


def test_notes_terms_and_footer_are_printed(invoice) -> None:
    document = invoice(
        payment_terms="Payable within 14 days.",
        payment_means_markdown="To **IBAN** DE02",
        notes_markdown="*Thank you*",
        footer="HRB 123456",
        buyer_reference="PO 7781",
    )
    html = invoice_html(document)
    assert "<strong>IBAN</strong>" in html
    text = text_of(html)
    assert "Payment Payable within 14 days. To IBAN DE02 Notes Thank you" in text
    assert "HRB 123456" in text
    assert "Your reference PO 7781" in text


@pytest.mark.parametrize(
    ("logo", "media_type"),
    [(PNG, "png"), (b"\xff\xd8\xff\xe0x", "jpeg"), (SVG, "svg+xml"), (b"<?xml?>" + SVG, "svg+xml")],
)
def test_a_logo_travels_inside_the_document(invoice, logo: bytes, media_type: str) -> None:
    html = invoice_html(invoice(logo=logo))
    uri = f"data:image/{media_type};base64,{base64.b64encode(logo).decode()}"
    assert ("img", {"class": "logo", "src": uri, "alt": "Northbeam Cloud GmbH"}) in [
        (tag, attributes) for tag, attributes in Elements(html).found if tag == "img"
    ]


@pytest.mark.parametrize(
    "logo",
    [b"", b"GIF89a", b"<html><svg", b'<!DOCTYPE svg [<!ENTITY a "b">]>' + SVG, b"%PDF-1.7"],
)
def test_what_is_no_plain_picture_is_refused_as_a_logo(invoice, logo: bytes) -> None:
    with pytest.raises(BadInput, match="logo"):
        invoice_html(invoice(logo=logo))


def test_the_page_loads_nothing_runs_nothing_and_names_its_styles_by_hash(invoice) -> None:
    html = invoice_html(invoice(logo=SVG))
    policy = next(attributes["content"] for tag, attributes in Elements(html).found if attributes.get("http-equiv"))
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    for style in styles:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in policy
    assert len(styles) == 2
    for tag, attributes in Elements(html).found:
        assert tag not in {"script", "link", "iframe", "object", "form", "base"}
        assert "style" not in attributes
        assert (attributes.get("src") or "data:").startswith("data:")
    assert "url(" not in html
    assert "@import" not in html


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style></head><script>",
    "{{ 7*7 }} {% raw %}",
    "\0\x01\x1b[31m",
    "\u202etxt.exe\u202c",
    "Ａ" * 10_000,
    "x" * 10_000,
    "\ud800",
    "]]>--><!--",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_becomes_markup_wherever_it_stands(invoice, text: str) -> None:
    party = Party(text, (text,), text, text, ((text, text),), text)
    document = invoice(
        number=text,
        title=text,
        seller=party,
        buyer=party,
        lines=[DocumentLine(description=text, detail=text, unit=text, group=text, quantity=1, amount_minor=1)],
        discounts=[DiscountLine(text, 1)],
        taxes=[TaxLine(label=text, note=text, taxable_minor=1, tax_minor=1)],
        references=[Reference(kind="contract", number=text)],
        buyer_reference=text,
        payment_terms=text[:5000],
        usage=[UsageSeries(text, text, [(date(2026, 3, 1), 1)])],
        footer=text[:5000],
        notes_markdown=text[:5000],
    )
    html = invoice_html(document)
    plain = invoice_html(
        invoice(
            title="t",
            seller=Party("s", ("l",), "e", "p", (("a", "b"),), "c"),
            buyer=Party("s", ("l",), "e", "p", (("a", "b"),), "c"),
            lines=[DocumentLine(description="d", detail="d", unit="u", group="g", quantity=1, amount_minor=1)],
            discounts=[DiscountLine("d", 1)],
            taxes=[TaxLine(label="t", note="n", taxable_minor=1, tax_minor=1)],
            references=[Reference(kind="contract", number="n")],
            buyer_reference="r",
            payment_terms="t",
            usage=[UsageSeries("t", "u", [(date(2026, 3, 1), 1)])],
            footer="f",
            notes_markdown="n",
        )
    )
    inside_texts = {"br", "wbr", "p"}  # notes may have several paragraphs and places to break
    tags, expected = ([tag for tag, _ in Elements(page).found if tag not in inside_texts] for page in (html, plain))
    assert tags == expected
    html.encode("utf-8")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)


def test_a_name_of_ten_thousand_letters_is_cut_where_a_page_would_no_longer_be_one(invoice) -> None:
    html = invoice_html(invoice(buyer=Party("N" * 10_000)))
    assert "N" * (TEXT_LIMIT - 1) + "…" in html
    assert "N" * TEXT_LIMIT not in html


@given(st.text(max_size=60))
def test_any_description_is_found_again_on_the_page_but_for_what_cannot_be_printed(text: str) -> None:
    from nbilling.documents.formatting import printable
    from nbilling.model.documents import InvoiceDocument

    document = InvoiceDocument(
        status="open",
        number="1",
        seller=Party("s"),
        buyer=Party("b"),
        currency="EUR",
        currency_exponent=2,
        lines=[DocumentLine(description=text, amount_minor=1)],
        subtotal_minor=1,
        total_minor=1,
        balance_minor=1,
    )
    cell = re.search(r"<tbody>\s*<tr><td>(.*?)</td>", invoice_html(document), re.DOTALL)
    assert cell is not None
    assert unescape(cell[1]) == unescape(printable(text).replace("&", "&amp;"))
