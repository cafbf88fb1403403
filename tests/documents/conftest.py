"""An invoice and a statement to vary, and readers of what comes out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from nbilling.model.documents import (
    DocumentLine,
    InvoiceDocument,
    Party,
    StatementDocument,
    StatementEntry,
    TaxLine,
)

SELLER = Party(
    "Northbeam Cloud GmbH",
    ("Torstraße 140", "10119 Berlin"),
    "billing@northbeam.example",
    "+49 30 1234 5678",
    (("VAT ID", "DE136695976"),),
    "DE",
)
BUYER = Party("Marlow & Finch Ltd", ("22 Orchard Row", "Bristol BS1 4DJ"), "ap@marlow.example", country="GB")


@pytest.fixture
def invoice() -> Callable[..., InvoiceDocument]:
    """``invoice(status='paid', …)``: an open invoice over 34.51 EUR with one line, changed as told."""

    def make(**changes: Any) -> InvoiceDocument:
        values: dict[str, Any] = {
            "status": "open",
            "number": "INV-2026-000042",
            "issue_date": date(2026, 4, 1),
            "due_date": date(2026, 4, 15),
            "period_start": date(2026, 3, 1),
            "period_end": date(2026, 4, 1),
            "seller": SELLER,
            "buyer": BUYER,
            "currency": "EUR",
            "currency_exponent": 2,
            "lines": [
                DocumentLine(description="Pro plan", quantity=1, unit="month", unit_price="29", amount_minor=2900)
            ],
            "subtotal_minor": 2900,
            "taxes": [TaxLine(label="VAT", rate_percent="19", taxable_minor=2900, tax_minor=551)],
            "tax_minor": 551,
            "total_minor": 3451,
            "balance_minor": 3451,
            "locale": "en_GB",
        }
        return InvoiceDocument(**(values | changes))

    return make


@pytest.fixture
def statement() -> Callable[..., StatementDocument]:
    """A quarter with an opening balance of 120.50, two payments, an invoice and a credit note."""

    def make(**changes: Any) -> StatementDocument:
        values: dict[str, Any] = {
            "issue_date": date(2026, 4, 1),
            "period_start": date(2026, 1, 1),
            "period_end": date(2026, 4, 1),
            "seller": SELLER,
            "buyer": BUYER,
            "currency": "EUR",
            "currency_exponent": 2,
            "opening_balance_minor": 12050,
            "locale": "en_GB",
            "entries": [
                StatementEntry(day=date(2026, 1, 3), kind="payment", amount_minor=-12050, description="Bank transfer"),
                StatementEntry(
                    day=date(2026, 3, 1),
                    kind="invoice",
                    amount_minor=103086,
                    reference="INV-2026-000031",
                    due_date=date(2026, 3, 15),
                ),
                StatementEntry(
                    day=date(2026, 3, 4), kind="credit_note", amount_minor=-3086, reference="CN-2026-000003"
                ),
            ],
        }
        return StatementDocument(**(values | changes))

    return make
