"""Statements of account: from the record to the strings that ``statement.html`` prints."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from nbilling.documents.formatting import width
from nbilling.documents.invoice import Column
from nbilling.documents.page import (
    Fact,
    Headline,
    Page,
    Words,
    clipped,
    content_security_policy,
    logo_uri,
    party_block,
    sheet,
    shortened,
    style_of,
    texts,
    words_for,
)
from nbilling.model.documents import StatementDocument


class StatementRow(NamedTuple):
    """One document or payment. Only one of ``charge`` and ``credit`` is filled."""

    kind: str
    day: str
    text: str
    detail: str
    charge: str
    credit: str
    balance: str


def statement_values(document: StatementDocument) -> dict[str, Any]:
    """Everything that ``statement.html`` reads. ``BadInput`` as for an invoice."""
    words = words_for(document)
    labels = words.labels
    rows = _rows(document, words)
    columns = [
        Column("charge", labels.charges),
        Column("credit", labels.credits),
        Column("balance", f"{labels.balance} ({document.currency})"),
    ]
    style = style_of(document, labels, _widths(columns, rows))
    return {
        "page": _page(document, words, style),
        "t": labels,
        "columns": columns,
        "rows": rows,
        "remarks": [] if document.entries else [labels.no_entries],
    }


def _rows(document: StatementDocument, words: Words) -> list[StatementRow]:
    labels, amount, day = words.labels, words.format.amount, words.format.day
    balance = document.opening_balance_minor
    first, last = day(document.period_start), words.format.last_day(document.period_end)
    rows = [StatementRow("opening", first, labels.opening_balance, "", "", "", amount(balance))]
    for entry in document.entries:
        balance += entry.amount_minor
        kind = str(getattr(labels, f"entry_{entry.kind}"))
        due = labels.due_short.format(date=day(entry.due_date)) if entry.due_date else ""
        rows.append(
            StatementRow(
                kind="",
                day=day(entry.day),
                text=clipped(f"{kind} {entry.reference}".strip()),
                detail=" · ".join(part for part in (clipped(entry.description), due) if part),
                charge=amount(entry.amount_minor) if entry.amount_minor >= 0 else "",
                credit=amount(-entry.amount_minor) if entry.amount_minor < 0 else "",
                balance=amount(balance),
            )
        )
    rows.append(StatementRow("closing", last, labels.closing_balance, "", "", "", amount(balance)))
    return rows


def _widths(columns: list[Column], rows: list[StatementRow]) -> list[str]:
    rules = [f"col.day{{width:{max(width(row.day) for row in rows) + 1:.2f}em}}"]
    for column in columns:
        widest = max(width(getattr(row, column.name)) for row in rows)
        wide = max(widest, width(column.label) * Decimal("0.9")) + Decimal("1.4")
        rules.append(f"col.{column.name}{{width:{wide:.2f}em}}")
    return rules


def _page(document: StatementDocument, words: Words, style: str) -> Page:
    labels, money = words.labels, words.format.money
    closing = document.closing_balance_minor
    period = words.format.period(document.period_start, document.period_end)
    overdue = labels.of_which_overdue.format(amount=money(document.overdue_minor)) if document.overdue_minor else ""
    return Page(
        language=words.language,
        title=shortened(f"{labels.statement} {document.number or period}"),
        author=shortened(document.seller.name),
        heading=labels.statement,
        number=document.number or "",
        watermark="",
        watermark_class="",
        stamp="",
        stamp_class="",
        logo=logo_uri(document.logo),
        parties=[
            party_block(labels.seller, document.seller, words),
            party_block(labels.buyer, document.buyer, words),
        ],
        facts=[
            Fact(labels.statement_date, words.format.day(document.issue_date)),
            Fact(labels.statement_period, period),
        ],
        headline=Headline(
            labels.balance_in_favour if closing < 0 else labels.balance_due,
            money(abs(closing)),
            overdue,
        ),
        texts=texts(labels, payment=document.payment_means_markdown, notes=document.notes_markdown),
        footer=clipped(document.footer),
        sheet=sheet(),
        style=style,
        csp=content_security_policy(style),
    )
