"""The billing run: every period that has ended becomes a finalised invoice, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from nbilling.engine.accounts import Accounts
from nbilling.engine.core import Core
from nbilling.engine.invoices import Invoices
from nbilling.model.clock import DAY
from nbilling.model.money import format_amount
from nbilling.model.periods import local_day
from nbilling.model.text import customer_id as valid_customer_id
from nbilling.store import customers, subscriptions
from nbilling.store.customers import CustomerRow
from nbilling.store.invoices import InvoiceRow
from nbilling.store.subscriptions import PeriodRow

if TYPE_CHECKING:
    import sqlite3

BATCH = 100
"""Customers a commit. A run that is killed goes on where it was when it is started again."""


class Billed(NamedTuple):
    """One invoice that a run has made."""

    customer_id: str
    invoice: InvoiceRow


class BillingRun:
    """Closes due periods. Safe to run twice, at once, late by months: a period has one invoice."""

    def __init__(self, core: Core, accounts: Accounts, invoices: Invoices) -> None:
        self._core = core
        self._accounts = accounts
        self._invoices = invoices

    def run(
        self,
        customer_id: str | None = None,
        *,
        dry_run: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, Any]:
        """Finalises an invoice for every period that ended ``invoice_grace_days`` ago or earlier.

        A bought subscription is billed for every period since its start, also those nobody looked at; the free default
        only for months with usage. What was subscribed at Stripe is billed there, and by nobody else. ``dry_run``: the
        same, rolled back. ``progress`` is told customers done and in all. Returns ``{customers, invoices, totals,
        made}``; ``totals`` by currency.
        """
        db = self._core.read()
        if customer_id is not None:
            due = [self._core.known_customer(db, valid_customer_id(customer_id)).customer_id]
        else:
            due = subscriptions.due_customers(db, self._ended_by(db))
        made: list[Billed] = []
        size = max(1, len(due)) if dry_run else BATCH
        for start in range(0, len(due), size):
            batch = due[start : start + size]
            made += self._core.write(lambda job, batch=batch: self._bill(job, batch), dry_run=dry_run)  # type: ignore[misc]
            if progress is not None:
                progress(start + len(batch), len(due))
        return _report(due, made)

    def _ended_by(self, db: sqlite3.Connection) -> int:
        return self._core.now(db) - self._core.config.invoice_grace_days * DAY

    def _bill(self, db: sqlite3.Connection, batch: list[str]) -> list[Billed]:
        now = self._core.now(db)
        made = []
        for customer_id in batch:
            row = self._accounts.ensure(db, customer_id, now)
            for period in self._due_periods(db, row, self._ended_by(db)):
                invoice = self._invoices.close(db, row, period, now)
                made.append(Billed(customer_id, invoice))
                row = customers.get(db, row.id)
        return made

    def _due_periods(self, db: sqlite3.Connection, row: CustomerRow, ended_by: int) -> list[PeriodRow]:
        today = local_day(row.zone, ended_by)
        for held in subscriptions.bought(db, row.id):
            made, day = subscriptions.period_starts(db, held.id), held.start_day
            while day < min(held.end_day, today):
                day = made.get(day) or self._accounts.period_of_day(db, row, day).end_day
        return subscriptions.due_periods(db, row.id, ended_by)


def _report(due: list[str], made: list[Billed]) -> dict[str, Any]:
    totals: dict[str, int] = {}
    for _, invoice in made:
        totals[invoice.currency] = totals.get(invoice.currency, 0) + invoice.total_minor
    return {
        "customers": len(due),
        "invoices": len(made),
        "totals": {currency: format_amount(minor, currency) for currency, minor in sorted(totals.items())},
        "made": [
            {
                "id": invoice.invoice_id,
                "number": invoice.number,
                "customer_id": customer_id,
                "total": format_amount(invoice.total_minor, invoice.currency),
                "total_minor": invoice.total_minor,
                "currency": invoice.currency,
            }
            for customer_id, invoice in made
        ],
    }
