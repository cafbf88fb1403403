"""What a statement of account says."""

from __future__ import annotations

import re
from html import unescape

from hypothesis import given
from hypothesis import strategies as st

from nbilling.documents.render import statement_html


def rows_of(html: str) -> list[list[str]]:
    table = html[html.index("<tbody>") : html.index("</tbody>")]
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table, re.DOTALL)
    return [
        [unescape(re.sub("<[^>]+>", " ", cell)).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        for row in rows
    ]


def test_documents_and_payments_are_listed_with_the_running_balance(statement) -> None:
    assert rows_of(statement_html(statement())) == [
        ["1 Jan 2026", "Opening balance", "", "", "120.50"],
        ["3 Jan 2026", "Payment Bank transfer", "", "120.50", "0.00"],
        ["1 Mar 2026", "Invoice INV-2026-000031 due 15 Mar 2026", "1,030.86", "", "1,030.86"],
        ["4 Mar 2026", "Credit note CN-2026-000003", "", "30.86", "1,000.00"],
        ["31 Mar 2026", "Closing balance", "", "", "1,000.00"],
    ]


def test_the_head_tells_what_is_owed_and_how_much_of_it_is_late(statement) -> None:
    html = statement_html(statement(overdue_minor=5000))
    assert (
        '<p class="label">Balance due</p>\n<p class="figure">€1,000.00</p>\n<p class="remark">€50.00 of it overdue</p>'
        in html
    )
    assert "<title>Statement of account 1 Jan – 31 Mar 2026</title>" in html.replace("\u2009", " ")


def test_a_balance_in_the_customers_favour_is_called_that(statement) -> None:
    html = statement_html(statement(opening_balance_minor=-5000, entries=[]))
    assert "Balance in your favour" in html
    assert '<p class="figure">€50.00</p>' in html
    assert "There were no documents and no payments in this period." in html


def test_a_statement_speaks_the_language_of_the_customer(statement) -> None:
    html = statement_html(statement(locale="fr"))
    for word in ("Relevé de compte", "Solde d’ouverture", "Avoir CN-2026-000003", "Débit", "échéance 15 mars 2026"):
        assert word in html


@given(st.lists(st.integers(-(10**12), 10**12), max_size=30), st.integers(-(10**12), 10**12))
def test_the_last_balance_is_the_sum_of_all(amounts: list[int], opening: int) -> None:
    from datetime import date

    from nbilling.model.documents import Party, StatementDocument, StatementEntry

    document = StatementDocument(
        issue_date=date(2026, 4, 1),
        period_start=date(2026, 1, 1),
        period_end=date(2026, 4, 1),
        seller=Party("s"),
        buyer=Party("b"),
        currency="JPY",
        currency_exponent=0,
        opening_balance_minor=opening,
        entries=[StatementEntry(day=date(2026, 2, 1), kind="adjustment", amount_minor=amount) for amount in amounts],
    )
    rows = rows_of(statement_html(document))
    assert len(rows) == len(amounts) + 2
    assert int(rows[-1][4].replace(",", "")) == opening + sum(amounts)
