"""Invoices and credit notes: from the record to the strings that ``invoice.html`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from nbilling.documents import charts
from nbilling.documents.formatting import NO_BREAK, width
from nbilling.documents.page import (
    Fact,
    Headline,
    Page,
    Words,
    clipped,
    content_security_policy,
    data_uri,
    logo_uri,
    party_block,
    sheet,
    shortened,
    style_of,
    texts,
    words_for,
)
from nbilling.model.documents import DocumentLine, InvoiceDocument, UsageSeries

_HEADING = Decimal("0.9")  # headings are smaller than what is below them
_COMFORTABLE = Decimal(36)  # em that numbers may take of a line of about 53


class Column(NamedTuple):
    """A column after the description."""

    name: str
    label: str


class Cell(NamedTuple):
    """``padding`` is set but not seen: it stands for the decimals that others in the column have."""

    name: str
    text: str
    padding: str


class Row(NamedTuple):
    """One line. ``group`` is the heading before it, if one begins here."""

    group: str
    description: str
    detail: str
    cells: list[Cell]


class Total(NamedTuple):
    """One line of the totals."""

    kind: str
    label: str
    figure: str


class Chart(NamedTuple):
    """One picture of usage and what is said beside it."""

    title: str
    summary: str
    highest: str
    picture: str
    alternative: str
    first: str
    last: str


def invoice_values(document: InvoiceDocument) -> dict[str, Any]:
    """Everything that ``invoice.html`` reads. ``BadInput`` for an unknown locale, a bad logo or an endless note."""
    words = words_for(document)
    columns, rows = _table(document, words)
    style = style_of(document, words.labels, _widths(columns, rows))
    return {
        "page": _page(document, words, style),
        "t": words.labels,
        "columns": columns,
        "rows": rows,
        "totals": _totals(document, words),
        "remarks": _remarks(document, words),
        "charts": [_chart(series, words, document.accent_color) for series in document.usage if series.points],
    }


def _page(document: InvoiceDocument, words: Words, style: str) -> Page:
    labels = words.labels
    is_credit = document.kind == "credit_note"
    heading = document.title or (labels.credit_note if is_credit else labels.invoice)
    name = f"{heading} {document.number}" if document.number else f"{heading} ({labels.draft})"
    watermark = {"draft": labels.draft, "void": labels.void}.get(document.status, "")
    stamps = {"paid": labels.paid, "void": labels.void, "overdue": labels.overdue}
    stamp = "" if is_credit and document.status != "void" else stamps.get(document.status, "")
    return Page(
        language=words.language,
        title=shortened(name),
        author=shortened(document.seller.name),
        heading=heading,
        number=document.number or "",
        watermark=watermark,
        watermark_class=document.status,
        stamp=stamp,
        stamp_class=document.status,
        logo=logo_uri(document.logo),
        parties=[
            party_block(labels.seller, document.seller, words),
            party_block(labels.buyer, document.buyer, words),
        ],
        facts=_facts(document, words),
        headline=_headline(document, words),
        texts=texts(labels, payment=_payment(document), notes=document.notes_markdown),
        footer=clipped(document.footer),
        sheet=sheet(),
        style=style,
        csp=content_security_policy(style),
    )


def _payment(document: InvoiceDocument) -> str:
    """How to pay, where there is something to pay: nobody should pay a paid or void invoice."""
    if document.status in ("paid", "void"):
        return ""
    return f"{document.payment_terms}\n\n{document.payment_means_markdown}"


def _facts(document: InvoiceDocument, words: Words) -> list[Fact]:
    labels, day = words.labels, words.format.day
    facts = []
    if document.issue_date:
        facts.append(Fact(labels.issue_date, day(document.issue_date)))
    if document.due_date:
        facts.append(Fact(labels.due_date, day(document.due_date)))
    if document.period_start and document.period_end:
        facts.append(Fact(labels.period, words.format.period(document.period_start, document.period_end)))
    if document.buyer_reference:
        facts.append(Fact(labels.buyer_reference, clipped(document.buyer_reference)))
    for reference in document.references:
        issued = f" ({day(reference.issued).replace(' ', NO_BREAK)})" if reference.issued else ""
        facts.append(Fact(getattr(labels, reference.kind), clipped(reference.number) + issued))
    return facts


def _headline(document: InvoiceDocument, words: Words) -> Headline:
    labels, money = words.labels, words.format.money
    if document.kind == "credit_note":
        return Headline(labels.amount_credited, money(document.total_minor), "")
    if document.status == "paid":
        remark = labels.paid_on.format(date=words.format.day(document.paid_on)) if document.paid_on else ""
        return Headline(labels.amount_paid, money(document.paid_minor), remark)
    if document.status == "draft":
        return Headline(labels.total, money(document.total_minor), labels.draft_note)
    if document.status == "void":
        return Headline(labels.total, money(document.total_minor), "")
    remark = labels.due_by.format(date=words.format.day(document.due_date)) if document.due_date else ""
    return Headline(labels.amount_due, money(document.balance_minor), remark)


def _table(document: InvoiceDocument, words: Words) -> tuple[list[Column], list[Row]]:
    labels, lines = words.labels, document.lines
    columns = []
    if any(line.quantity is not None for line in lines):
        columns.append(Column("quantity", labels.quantity))
    if any(line.unit for line in lines):
        columns.append(Column("unit", labels.unit))
    if any(line.unit_price is not None for line in lines):
        columns.append(Column("unit-price", labels.unit_price))
    columns.append(Column("amount", f"{labels.amount} ({document.currency})"))
    texts_by_column = {
        "quantity": ["" if line.quantity is None else words.format.number(line.quantity) for line in lines],
        "unit": [clipped(line.unit) for line in lines],
        "unit-price": ["" if line.unit_price is None else words.format.unit_price(line.unit_price) for line in lines],
        "amount": [words.format.amount(line.amount_minor) for line in lines],
    }
    cells = [_cells(column.name, texts_by_column[column.name], words) for column in columns]
    rows = []
    group: str | None = None
    for line, row in zip(lines, zip(*cells, strict=True), strict=True):
        starts = line.group or "" if line.group != group else ""
        group = line.group
        rows.append(Row(clipped(starts), clipped(line.description), _detail(line, document, words), list(row)))
    return columns, rows


def _cells(name: str, texts_of_column: Sequence[str], words: Words) -> list[Cell]:
    """Numbers of one column end at the same decimal mark: shorter ones are filled with zeros that are not painted."""
    if name == "unit":
        return [Cell(name, text, "") for text in texts_of_column]
    mark = words.format.decimal_mark()
    decimals = [len(text.partition(mark)[2]) for text in texts_of_column]
    most = max(decimals, default=0)
    cells = []
    for text, own in zip(texts_of_column, decimals, strict=True):
        missing = "" if not text or own == most else (mark if own == 0 else "") + "0" * (most - own)
        cells.append(Cell(name, text, missing))
    return cells


def _detail(line: DocumentLine, document: InvoiceDocument, words: Words) -> str:
    """A line's own period is told where it is not the document's, as for usage that came late."""
    period = (line.period_start, line.period_end)
    if line.period_start and line.period_end and period != (document.period_start, document.period_end):
        told = words.format.period(line.period_start, line.period_end)
        return f"{told} · {clipped(line.detail)}" if line.detail else told
    return clipped(line.detail)


def _widths(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    """Columns as wide as what is in them, so that no number is ever broken; the description takes the rest."""
    rules = []
    together = Decimal(0)
    for index, column in enumerate(columns):
        if column.name == "unit":
            longest = max((len(row.cells[index].text) for row in rows), default=0)
            wide = min(Decimal(10), max(Decimal("0.6") * longest, width(column.label) * _HEADING)) + 1
        else:
            widest = max((width(row.cells[index].text + row.cells[index].padding) for row in rows), default=Decimal(0))
            wide = max(widest, width(column.label) * _HEADING) + Decimal("1.4")
        rules.append(f"col.{column.name}{{width:{wide:.2f}em}}")
        together += wide
    if together > _COMFORTABLE:
        rules.append(".lines td,.lines th,.lines col{font-size:6.8pt}")
    return rules


def _totals(document: InvoiceDocument, words: Words) -> list[Total]:
    labels, amount = words.labels, words.format.amount
    is_credit = document.kind == "credit_note"
    totals = [Total("subtotal", labels.subtotal, amount(document.subtotal_minor))]
    totals += [Total("discount", line.label, amount(-line.amount_minor)) for line in document.discounts]
    taxes = []
    for tax in document.taxes:
        rate = "" if tax.rate_percent is None else f" {words.format.percent(tax.rate_percent)}"
        form = labels.tax_contained if document.prices_include_tax else labels.tax_on
        label = form.format(tax=tax.label + rate, amount=amount(tax.taxable_minor))
        taxes.append(Total("tax", label, amount(tax.tax_minor)))
    total = Total(
        "total",
        labels.total_credited if is_credit else labels.total,
        words.format.money(document.total_minor),
    )
    totals += [total, *taxes] if document.prices_include_tax else [*taxes, total]
    if document.credit_applied_minor:
        totals.append(Total("credit", labels.credit_applied, amount(-document.credit_applied_minor)))
    if document.paid_minor:
        totals.append(Total("paid", labels.payments, amount(-document.paid_minor)))
    if document.balance_minor != document.total_minor and not is_credit:
        totals.append(Total("due", labels.amount_due, words.format.money(document.balance_minor)))
    return totals


def _remarks(document: InvoiceDocument, words: Words) -> list[str]:
    """The sentences that tax law asks for, each once."""
    sentences = []
    for tax in document.taxes:
        if tax.reason:
            sentences.append(str(getattr(words.labels, tax.reason)))
        sentences.append(clipped(tax.note))
    return [sentence for sentence in dict.fromkeys(sentences) if sentence.strip()]


def _chart(series: UsageSeries, words: Words, color: str) -> Chart:
    points = charts.condensed(series.points, series.aggregate)
    picture = charts.bar_chart_svg([value for _, value in points], color=color)
    summary, highest = _summary(series, words)
    first, last = series.points[0][0], series.points[-1][0]
    title = clipped(series.title)
    between = f"{words.format.day(first)} – {words.format.day(last)}"
    return Chart(
        title=title,
        summary=summary,
        highest=highest,
        picture=data_uri(picture.encode(), "image/svg+xml"),
        alternative=f"{title}, {between}: {', '.join(told for told in (summary, highest) if told)}",
        first=words.format.short_day(first),
        last=words.format.short_day(last),
    )


def _summary(series: UsageSeries, words: Words) -> tuple[str, str]:
    """What it comes to, and the highest day. A level does not add up."""
    labels = words.labels
    day, highest = max(series.points, key=lambda point: point[1])
    if highest <= 0:
        return labels.usage_none, ""
    told = labels.usage_highest.format(value=_measure(highest, series, words), date=words.format.short_day(day))
    if series.aggregate == "level":
        return told, ""
    total = sum((value for _, value in series.points), Decimal(0))
    return labels.usage_total.format(total=_measure(total, series, words)), told


def _measure(value: Decimal, series: UsageSeries, words: Words) -> str:
    number = words.format.number(value)
    return f"{number} {series.unit}" if series.unit else number
