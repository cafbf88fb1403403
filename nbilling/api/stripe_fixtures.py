"""What comes to life here in a fixtures ledger, and in no other: invoices ``inv_test_…`` and the code ``SAVE20``.

The local ``inv_test_7`` is not Stripe's: it is a one-off draft of the customer ``cus_test_7``, else of the latest
``cus_test_…``, with a line so that discounts show.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nbilling.engine.core import Core
from nbilling.engine.discounts import Discounts
from nbilling.engine.invoices import Invoices
from nbilling.model.errors import Conflict
from nbilling.store import customers, discounts, invoices, stripe_links

if TYPE_CHECKING:
    import sqlite3

_INVOICE = re.compile(r"inv_test_([A-Za-z0-9_]{1,200})", re.ASCII)
_CUSTOMER = "cus_test_"
CODE, PERCENT = "SAVE20", 20
LINE = ("Fixture item", "1", "10", 1000)


class FixtureInvoices(Invoices):
    """Invoices of which some come to life when they are first named."""

    def show(self, invoice_id: str) -> dict[str, Any]:
        """See :meth:`Invoices.show`."""
        self.bring_to_life(invoice_id)
        return super().show(invoice_id)

    def apply_discount(self, invoice_id: str, code: str) -> dict[str, Any]:
        """See :meth:`Invoices.apply_discount`."""
        self.bring_to_life(invoice_id)
        bring_code_to_life(self._core, code)
        return super().apply_discount(invoice_id, code)

    def apply_discount_percentage(self, invoice_id: str, percentage: object) -> dict[str, Any]:
        """See :meth:`Invoices.apply_discount_percentage`."""
        self.bring_to_life(invoice_id)
        return super().apply_discount_percentage(invoice_id, percentage)

    def finalize(self, invoice_id: str) -> dict[str, Any]:
        """See :meth:`Invoices.finalize`."""
        self.bring_to_life(invoice_id)
        return super().finalize(invoice_id)

    def mark_paid(self, invoice_id: str, method: str) -> dict[str, Any]:
        """See :meth:`Invoices.mark_paid`."""
        self.bring_to_life(invoice_id)
        return super().mark_paid(invoice_id, method)

    def bring_to_life(self, invoice_id: object) -> None:
        """Makes the draft that an unknown id of the pattern stands for; anything else: nothing."""
        match = _INVOICE.fullmatch(invoice_id) if isinstance(invoice_id, str) else None
        if match is None or not self._is_unborn(self._core.read(), match[0]):
            return
        suffix = match[1]

        def job(db: sqlite3.Connection) -> None:
            if not self._is_unborn(db, match[0]):
                return
            now = self._core.now(db)
            owner = f"{_CUSTOMER}{suffix}"
            if customers.find(db, owner) is None:
                owner = stripe_links.latest_named(db, _CUSTOMER) or owner
            row = self._accounts.ensure(db, owner, now)
            draft = self._drafts.one_off(db, row, now)
            draft = draft._replace(invoice_id=match[0], reason=f"one_off:{match[0]}")
            invoices.save(db, draft)
            discounts.add_manual_line(db, draft.id, *LINE, now)
            self._drafts.refreshed(db, row, draft, now)
            self._core.audit(db, now, "invoice.fixture", match[0], {"customer": owner})

        self._core.write(job)

    @staticmethod
    def _is_unborn(db: sqlite3.Connection, invoice_id: str) -> bool:
        return customers.fact(db, "mode") == "fixtures" and invoices.find(db, invoice_id) is None


def bring_code_to_life(core: Core, code: object) -> None:
    """Makes the code ``SAVE20`` of a fixtures ledger when it is first taken."""
    if not (isinstance(code, str) and code.upper() == CODE):
        return
    db = core.read()
    if customers.fact(db, "mode") == "fixtures" and discounts.find(db, CODE) is None:
        # Another process may have been faster.
        with suppress(Conflict):
            Discounts(core).create(CODE, percent=PERCENT)
