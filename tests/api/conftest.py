"""A ledger on disk with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import nbilling
from nbilling.model.clock import parse_time


class HandClock:
    """Stands where the test puts it."""

    def __init__(self, time: str) -> None:
        self.at = parse_time(time)

    def now(self) -> int:
        return self.at

    def to(self, time: str) -> None:
        self.at = parse_time(time)


SELLER = {
    "BILLING_COMPANY_NAME": "Northwind Cloud GmbH",
    "BILLING_COMPANY_ADDRESS": "Hafenstrasse 12\\n20457 Hamburg",
    "BILLING_COMPANY_COUNTRY": "DE",
    "BILLING_COMPANY_VAT_NUMBER": "DE136695976",
    "BILLING_TAX_RATE": "19",
    "BILLING_TAX_LABEL": "VAT",
    "INVOICE_NOTES": "Thank you.",
}


@pytest.fixture
def clock() -> HandClock:
    return HandClock("2026-01-10T12:00:00Z")


@pytest.fixture
def open_billing(tmp_path: Path, clock: HandClock) -> Iterator[Callable[..., nbilling.Billing]]:
    opened = []
    nbilling.init(tmp_path / "billing.db")

    def make(**settings: str) -> nbilling.Billing:
        opened.append(nbilling.open(tmp_path / "billing.db", config=nbilling.Config(settings), clock=clock))
        return opened[-1]

    yield make
    for billing in opened:
        billing.close()


@pytest.fixture
def billing(open_billing: Callable[..., nbilling.Billing]) -> nbilling.Billing:
    return open_billing()
