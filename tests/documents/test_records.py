"""What a document's records refuse: what could only be printed wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from nbilling.model.documents import LOGO_LIMIT, DocumentLine, Party, StatementEntry, TaxLine, UsageSeries
from nbilling.model.errors import BadInput


@pytest.mark.parametrize("amount", [29.0, "2900", Decimal(2900), True, None])
def test_an_amount_is_an_int_of_minor_units_and_nothing_else(amount: object) -> None:
    with pytest.raises(BadInput, match="amount_minor must be an int"):
        DocumentLine(description="x", amount_minor=amount)


@pytest.mark.parametrize("quantity", [0.1, "1e", "NaN", "Infinity", "1e999999", Decimal("sNaN"), True, "9" * 80])
def test_a_quantity_is_exact_finite_and_of_bounded_length(quantity: object) -> None:
    with pytest.raises(BadInput, match="not an exact number"):
        DocumentLine(description="x", amount_minor=0, quantity=quantity)


def test_quantities_prices_and_rates_are_read_from_text_exactly() -> None:
    line = DocumentLine(description="x", amount_minor=0, quantity="16.336", unit_price="0.000000000001")
    assert (line.quantity, line.unit_price) == (Decimal("16.336"), Decimal("0.000000000001"))
    assert TaxLine(label="VAT", taxable_minor=0, tax_minor=0, rate_percent="8.1").rate_percent == Decimal("8.1")
    assert UsageSeries("Requests", "", [(date(2026, 3, 1), "0.5")]).points == ((date(2026, 3, 1), Decimal("0.5")),)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "lost"},
        {"kind": "statement"},
        {"currency": "eur"},
        {"currency_exponent": 5},
        {"currency_exponent": "2"},
        {"locale": "de;DROP"},
        {"locale": ""},
        {"page_size": "A5"},
        {"accent_color": "red"},
        {"accent_color": "#fff}body{display:none"},
        {"logo": b"x" * (LOGO_LIMIT + 1)},
        {"period_start": date(2026, 4, 1), "period_end": date(2026, 4, 1)},
        {"period_end": None},
        {"issue_date": datetime(2026, 4, 1, tzinfo=UTC)},
        {"issue_date": "2026-04-01"},
    ],
    ids=repr,
)
def test_an_invoice_refuses_what_it_could_only_print_wrong(invoice, changes) -> None:
    with pytest.raises(BadInput):
        invoice(**changes)


def test_half_a_period_on_a_line_is_refused() -> None:
    with pytest.raises(BadInput, match="a start and an end"):
        DocumentLine(description="x", amount_minor=0, period_start=date(2026, 3, 1))


def test_one_address_line_given_as_text_stays_one_line() -> None:
    assert Party("Ada", "1 High Street").lines == ("1 High Street",)


def test_an_unknown_kind_of_entry_is_refused() -> None:
    with pytest.raises(BadInput, match="use one of invoice, credit_note"):
        StatementEntry(day=date(2026, 1, 1), kind="gift", amount_minor=1)


def test_the_closing_balance_is_the_opening_one_and_all_entries(statement) -> None:
    assert statement().closing_balance_minor == 12050 - 12050 + 103086 - 3086
